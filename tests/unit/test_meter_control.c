/* test_meter_control.c - what an operator sees, resets and bans, with this host's tables and with Redis. */
#include "tests/unit/meter/place.h"

static struct loop *l;
static struct metermaid *m;
static struct buf said;
static bool later, ended;

static uint32_t on_later(void *arg)
{
	later = true;
	return 7;
}

static void on_end(void *arg, uint32_t id, struct span json)
{
	assert_int_equal(id, 7);
	ended = true;
	buf_add_span(&said, json);
}

/* What `postern WORDS` gets. */
static const char *ask(const char *words)
{
	static const struct meter_late late = { on_later, on_end, NULL };
	static char text[256];
	const char *v[8];
	size_t n = 0;
	uint64_t until = clock_mono_ms() + 5000;
	snprintf(text, sizeof text, "%s", words);
	for (char *at = text; at != NULL; n++) {
		v[n] = at;
		at = strchr(at, ' ');
		if (at != NULL)
			*at++ = '\0';
	}
	buf_clear(&said);
	later = ended = false;
	if (!metermaid_control(m, v, n, &late, &said))
		return NULL;
	while (later && !ended && clock_mono_ms() < until)
		loop_step(l, 10);
	assert_int_equal(later, ended);
	return buf_cstr(&said);
}

static void has(const char *words, const char *part)
{
	const char *got = ask(words);
	if (got == NULL || strstr(got, part) == NULL)
		fail_msg("%s: %s lacks %s", words, got, part);
}

static struct conf *load_rules(const char *redis_line)
{
	char text[1024];
	snprintf(text, sizeof text,
	    "metermaid { %s\n"
	    " rule c_in { on connect; key client/32,64, client/24,48; rate 2/1h, 5/1h; }\n"
	    " rule c_user { on login; kind counter; key user; rate 9/1d+20/7d; }\n"
	    " rule c_held { on session; kind concurrency; key user; limit 5; }\n"
	    " rule c_grey { on rcpt; kind greylist; key client/24,64, sender; wait 1h; }\n"
	    " rule c_list { on auth; kind list; action refuse; }\n}\n",
	    redis_line);
	struct conf *c = load(text, NULL);
	assert_non_null(c);
	return c;
}

/* What the other checks look at; the lease is the caller's. */
static struct meter_lease *ask_questions(const struct meter_facts *f)
{
	for (int i = 0; i < 4; i++)
		question(l, m, METER_CONNECT, f);
	for (int i = 0; i < 3; i++)
		question(l, m, METER_LOGIN, f);
	question(l, m, METER_SESSION, f);
	struct meter_lease *lease = last_copy.lease;
	question(l, m, METER_RCPT, f);
	return lease;
}

static void check_shown(void)
{
	has("meter rules",
	    "\"rule\":\"c_in\",\"on\":\"connect\",\"kind\":\"rate\",\"rate\":\"2/1h, 5/1h\"");
	has("meter rules", "\"rate\":\"9/1d+20/7d\"");
	has("meter top c_in", "\"key\":\"192.0.2.7/32\"");
	/* an address is all its networks; a network is one of them */
	has("meter show 192.0.2.7", "\"key\":\"192.0.2.7/32\",\"kind\":\"rate\",\"used\":2");
	has("meter show 192.0.2.7", "\"key\":\"192.0.2.0/24\",\"kind\":\"rate\",\"used\":2");
	assert_null(strstr(ask("meter show 192.0.2.0/24"), "/32"));
	has("meter show u@example.org", "\"used\":3,\"limit\":\"9/1d\"");
	has("meter show u@example.org c_user", "u@example.org#2\"");
	has("meter show u@example.org c_held", "\"used\":1,\"limit\":\"5\"");
	has("meter show 192.0.2.0/24|s@example.org", "\"kind\":\"greylist\"");
	assert_string_equal(ask("meter show 198.51.100.1"), "[]");
	assert_string_equal(ask("meter show u@example.org c_in"), "[]");
}

/* The next one passes at once. */
static void check_reset(const struct meter_facts *f)
{
	assert_int_equal(question(l, m, METER_CONNECT, f).action, METER_DEFER);
	has("meter reset 192.0.2.7 c_in", "\"state\":\"reset\"");
	assert_int_equal(question(l, m, METER_CONNECT, f).action, METER_ALLOW);
}

static void check_bans(const struct meter_facts *f)
{
	has("meter ban 192.0.2.0/24 --for 1h", "\"state\":\"banned\"");
	has("meter bans", "\"rule\":\"ban\",\"key\":\"192.0.2.0/24\",\"left_s\":3600");
	assert_int_equal(question(l, m, METER_CONNECT, f).action, METER_REFUSE);
	has("meter unban 192.0.2.0/24", "\"state\":\"off the list\"");
	has("meter unban 192.0.2.0/24", "\"state\":\"was not on the list\"");
	assert_int_equal(question(l, m, METER_CONNECT, f).action, METER_ALLOW);
	has("meter ban U@Example.org --list c_list", "\"state\":\"banned\"");
	assert_int_equal(question(l, m, METER_AUTH, f).action, METER_REFUSE);
	has("meter ban 192.0.2.5/24", "host bits");
	has("meter ban 192.0.2.5 --list c_in", "no such list");
	assert_null(ask("meter ban 192.0.2.5 --for ever"));
	assert_null(ask("meter ban"));
	assert_null(ask("meter show"));
	assert_null(ask("meter frobnicate"));
}

/* Another worker knows of the ban within a second. */
static void check_other_worker(const struct conf *c, const struct meter_facts *f)
{
	struct metermaid *other = metermaid_new(l, NULL, c);
	until_healthy(l, other);
	uint64_t until = clock_mono_ms() + 3000;
	while (question(l, other, METER_LOGIN, f).action == METER_ALLOW &&
	       meter_ask(other, METER_AUTH, f, on_answer, NULL) == NULL && clock_mono_ms() < until)
		loop_step(l, 10);
	assert_int_equal(question(l, other, METER_AUTH, f).action, METER_REFUSE);
	metermaid_free(&other);
	assert_int_equal(keys_without_ttl(), 0);
}

/* A look that metermaid_free() cuts off has an end. */
static void begin_look(void)
{
	static const struct meter_late late = { on_later, on_end, NULL };
	ended = false;
	assert_true(metermaid_control(
	    m, (const char *const[]){ "meter", "show", "192.0.2.7" }, 3, &late, &said));
}

static void run(bool with_redis)
{
	char line[64] = "";
	pid_t redis = 0;
	l = loop_new();
	said = BUF_INIT(100000);
	if (with_redis) {
		redis_port = pick_port();
		redis = start_redis();
		snprintf(line, sizeof line, "redis 127.0.0.1:%d; deadline 2s;", redis_port);
	}
	struct conf *c = load_rules(line);
	m = metermaid_new(l, NULL, c);
	if (with_redis)
		until_healthy(l, m);
	struct meter_facts f = from("192.0.2.7", "u@example.org");
	struct meter_lease *lease = ask_questions(&f);
	check_shown();
	check_reset(&f);
	check_bans(&f);
	if (with_redis) {
		check_other_worker(c, &f);
		begin_look();
	}
	meter_release(&lease);
	metermaid_free(&m);
	assert_true(ended || !with_redis);
	conf_unref(&c);
	loop_free(&l);
	buf_end(&said);
	if (redis != 0)
		stop_redis(redis);
}

static void test_host(void **state)
{
	run(false);
}

static void test_redis(void **state)
{
	run(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_redis),
	};
	return cmocka_run_group_tests_name("meter_control", tests, NULL, NULL);
}
