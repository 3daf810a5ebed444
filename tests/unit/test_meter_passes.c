/* test_meter_passes.c - what clients have passed, remembered in a real Redis, or on this host without one. */
#include "tests/unit/meter/place.h"

#include "metermaid/passes.h"

static struct {
	unsigned calls;
	struct passes known;
	char name[PASS_NAME_MAX + 1];
} told;

static void on_passes(void *arg, const struct passes *known)
{
	told.calls++;
	told.known = *known;
	snprintf(told.name, sizeof told.name, "%.*s", SPAN_ARG(known->name));
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;
	assert_true(ip_parse(span_str(text), &a));
	return a;
}

/* As edge asks: here if it is known here, else of Redis. True: Redis was asked. */
static bool look(struct loop *l, struct metermaid *m, const char *client)
{
	uint64_t until = clock_mono_ms() + 5000;
	memset(&told, 0, sizeof told);
	if (passes_ask_now(m, addr(client), &told.known))
		return false;
	struct ticket *t = passes_ask(m, addr(client), on_passes, &told);
	assert_non_null(t);
	assert_int_equal(told.calls, 0);
	while (told.calls == 0 && clock_mono_ms() < until)
		loop_step(l, 10);
	assert_int_equal(told.calls, 1);
	return true;
}

static struct passes_new all(const char *name, uint64_t most)
{
	return (struct passes_new){
		.kind = { true, true, name != NULL }, .name = name, .keep_ms = 60000, .most = most
	};
}

static struct metermaid *meter_of(struct loop *l, const char *settings)
{
	struct conf *c = load(settings, NULL);
	struct metermaid *m = metermaid_new(l, NULL, c);
	conf_unref(&c);
	return m;
}

static struct metermaid *with_redis(struct loop *l)
{
	char text[128];
	snprintf(text, sizeof text, "metermaid { redis 127.0.0.1:%d; }", redis_port);
	struct metermaid *m = meter_of(l, text);
	until_healthy(l, m);
	return m;
}

static void expect(bool lists, bool greeting, const char *name)
{
	assert_int_equal(told.known.since_ms[PASS_LISTS] > 0, lists);
	assert_int_equal(told.known.since_ms[PASS_GREETING] > 0, greeting);
	assert_int_equal(told.known.since_ms[PASS_NAME] > 0, name[0] != '\0');
	assert_string_equal(told.name, name);
}

static long long number(const char *command)
{
	redisContext *c = client();
	redisReply *r = redisCommand(c, command);
	assert_true(r != NULL && r->type == REDIS_REPLY_INTEGER);
	long long n = r->integer;
	freeReplyObject(r);
	redisFree(c);
	return n;
}

static void run(const char *command)
{
	redisContext *c = client();
	redisReply *r = redisCommand(c, command);
	assert_true(r != NULL && r->type != REDIS_REPLY_ERROR);
	freeReplyObject(r);
	redisFree(c);
}

/* Two workers, as on two hosts: what one notes the other knows, until one drops it. */
static void test_shared(void **state)
{
	pid_t redis = start_redis();
	struct loop *l = loop_new();
	struct metermaid *a = with_redis(l), *b = with_redis(l);
	assert_true(look(l, b, "203.0.113.7"));
	expect(false, false, "");
	struct passes_new n = all("mx-1.example.org", 100);
	passes_note(a, addr("203.0.113.7"), &n);
	assert_true(look(l, a, "203.0.113.7")); /* behind the note on the same link */
	assert_true(look(l, b, "203.0.113.7"));
	expect(true, true, "mx-1.example.org");
	assert_true(told.known.since_ms[PASS_LISTS] < 60000);
	assert_true(look(l, b, "203.0.113.8"));
	expect(false, false, "");
	assert_int_equal(keys_without_ttl(), 0);
	passes_drop(b, addr("203.0.113.7"));
	look(l, b, "203.0.113.7");
	look(l, a, "203.0.113.7");
	expect(false, false, "");
	assert_int_equal(number("ZCARD {postern}:passes"), 0);
	metermaid_free(&a);
	metermaid_free(&b);
	loop_free(&l);
	stop_redis(redis);
}

/* A /64 has one entry; its name is that of one address. */
static void test_networks(void **state)
{
	pid_t redis = start_redis();
	struct loop *l = loop_new();
	struct metermaid *m = with_redis(l);
	struct passes_new n = all("six.example.org", 100);
	passes_note(m, addr("2001:db8::1"), &n);
	look(l, m, "2001:db8::1");
	expect(true, true, "six.example.org");
	look(l, m, "2001:db8::2");
	expect(true, true, "");
	look(l, m, "2001:db8:0:1::1");
	expect(false, false, "");
	metermaid_free(&m);
	loop_free(&l);
	stop_redis(redis);
}

/* Many clients: the bound holds, the newest are there, and what the index forgets is gone. */
static void test_bound(void **state)
{
	pid_t redis = start_redis();
	struct loop *l = loop_new();
	struct metermaid *m = with_redis(l);
	struct passes_new n = all(NULL, 100);
	char text[32];
	for (unsigned i = 0; i < 250; i++) {
		snprintf(text, sizeof text, "198.51.100.%u", i);
		passes_note(m, addr(text), &n);
		look(l, m, text);
		expect(true, true, "");
	}
	assert_int_equal(number("ZCARD {postern}:passes"), 100);
	assert_true(number("DBSIZE") <= 100 + 4);
	look(l, m, "198.51.100.3");
	expect(false, false, "");
	metermaid_free(&m);
	loop_free(&l);
	stop_redis(redis);
}

/* What cannot be ours is nothing, whatever it is. */
static void test_lies(void **state)
{
	static const char *const lies[] = {
		"HSET {postern}:pass:cb007107 lists x greeting 0 name 1",
		"HSET {postern}:pass:cb007107 lists -5 greeting 99999999999999999999 name 5\\ x\\ "
		"y",
	};
	pid_t redis = start_redis();
	struct loop *l = loop_new();
	struct metermaid *m = with_redis(l);
	for (size_t i = 0; i < COUNT_OF(lies); i++) {
		run(lies[i]);
		look(l, m, "203.0.113.7");
		expect(false, false, "");
	}
	redisContext *c = client();
	freeReplyObject(redisCommand(c, "HSET {postern}:pass:cb007107 name %s",
	    "1790000000000 203.0.113.7 evil\r\nX-Header: 1"));
	look(l, m, "203.0.113.7");
	expect(false, false, "");
	freeReplyObject(redisCommand(
	    c, "HSET {postern}:pass:cb007107 name %s", "1790000000000 203.0.113.7 good.example"));
	redisFree(c);
	look(l, m, "203.0.113.7");
	expect(false, false, "good.example");
	metermaid_free(&m);
	loop_free(&l);
	stop_redis(redis);
}

/* Redis does not answer, then is gone: nothing is known, in time, and nothing leaks. */
static void test_away(void **state)
{
	pid_t redis = start_redis();
	struct loop *l = loop_new();
	struct metermaid *m = with_redis(l);
	struct passes_new n = all("a.example", 100);
	passes_note(m, addr("203.0.113.7"), &n);
	look(l, m, "203.0.113.7");
	expect(true, true, "a.example");
	kill(redis, SIGSTOP);
	assert_true(look(l, m, "203.0.113.7"));
	expect(false, false, "");
	struct ticket *t = passes_ask(m, addr("203.0.113.7"), on_passes, &told);
	told.calls = 0;
	ticket_cancel(&t);
	kill(redis, SIGCONT);
	stop_redis(redis);
	while (metermaid_healthy(m))
		loop_step(l, 10);
	assert_int_equal(told.calls, 0);
	assert_false(look(l, m, "203.0.113.7"));
	expect(false, false, "");
	passes_note(m, addr("203.0.113.7"), &n);
	passes_drop(m, addr("203.0.113.7"));
	metermaid_free(&m);
	loop_free(&l);
}

/* Without a Redis: this host's memory, and no names. */
static void test_here(void **state)
{
	struct loop *l = loop_new();
	struct metermaid *m = meter_of(l, "metermaid { }");
	struct passes_new n = all("a.example", 100);
	assert_false(look(l, m, "203.0.113.7"));
	expect(false, false, "");
	passes_note(m, addr("203.0.113.7"), &n);
	assert_false(look(l, m, "203.0.113.7"));
	expect(true, true, "");
	assert_false(look(l, m, "203.0.113.9"));
	expect(false, false, "");
	passes_drop(m, addr("203.0.113.7"));
	look(l, m, "203.0.113.7");
	expect(false, false, "");
	metermaid_free(&m);
	loop_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_away),
		cmocka_unit_test(test_here),
	};
	log_setup("test", LOG_ERROR, false);
	redis_port = pick_port();
	metermaid_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
