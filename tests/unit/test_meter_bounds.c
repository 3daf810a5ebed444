/* test_meter_bounds.c - floods of distinct keys: a rule keeps keys_max of them, those that are used much stay
 * with their counts, and a flood under one rule takes nothing from another; in Redis and on this host. */
#include "tests/unit/meter/place.h"

#ifdef __SANITIZE_ADDRESS__
enum { FLOOD = 100000 };
#else
enum { FLOOD = 200000 };
#endif
enum { SHORT_FLOOD = 60000, KEYS_MAX = 2000, HEAVY_FIRST = 20, HEAVY_EACH = 10000 };
enum { AWAY_MAX = 512, TEXT_MAX = 1024 };

struct place {
	struct loop *l;
	struct conf *c;
	struct metermaid *m;
	size_t away;
};

static void enter(struct place *p, bool redis, const char *rules)
{
	char text[TEXT_MAX], server[64] = "";
	if (redis)
		snprintf(server, sizeof server, "redis 127.0.0.1:%d;", redis_port);
	snprintf(text, sizeof text, "metermaid { %s deadline 10s;\n%s\n}\n", server, rules);
	*p = (struct place){ .l = loop_new() };
	p->c = load(text, NULL);
	assert_non_null(p->c);
	p->m = metermaid_new(p->l, NULL, p->c);
	until_healthy(p->l, p->m);
}

static void leave(struct place *p)
{
	metermaid_free(&p->m);
	conf_unref(&p->c);
	loop_free(&p->l);
}

static void on_flood(void *arg, const struct meter_answer *a)
{
	struct place *p = arg;
	assert_false(a->degraded);
	p->away--;
}

static void ask(struct place *p, enum meter_moment moment, const struct meter_facts *f)
{
	uint64_t until = clock_mono_ms() + 10000;
	struct meter_answer a;
	if (meter_ask_now(p->m, moment, f, &a))
		return;
	assert_non_null(meter_ask(p->m, moment, f, on_flood, p));
	p->away++;
	while (p->away >= AWAY_MAX && clock_mono_ms() < until)
		loop_step(p->l, 10);
	assert_true(p->away < AWAY_MAX);
}

static void settle(struct place *p)
{
	uint64_t until = clock_mono_ms() + 10000;
	while (p->away > 0 && clock_mono_ms() < until)
		loop_step(p->l, 10);
	assert_int_equal(p->away, 0);
}

static struct meter_facts facts_of(uint32_t n)
{
	struct meter_facts f = from("10.0.0.0", "");
	f.client.b[13] = (uint8_t)(n >> 16);
	f.client.b[14] = (uint8_t)(n >> 8);
	f.client.b[15] = (uint8_t)n;
	return f;
}

/* How often the heavy one was asked about: some times before, then once in HEAVY_EACH. */
static unsigned flood(struct place *p, enum meter_moment moment, unsigned n)
{
	struct meter_facts heavy = from("192.0.2.1", "");
	unsigned asked = 0;
	for (; asked < HEAVY_FIRST; asked++)
		ask(p, moment, &heavy);
	settle(p);
	for (uint32_t i = 0; i < n; i++) {
		struct meter_facts f = facts_of(i);
		ask(p, moment, &f);
		if (i % HEAVY_EACH == 0) {
			ask(p, moment, &heavy);
			asked++;
		}
	}
	settle(p);
	return asked;
}

static uint32_t on_later(void *arg)
{
	return 1;
}

static void on_said(void *arg, uint32_t id, struct span json)
{
	buf_add_span(arg, json);
}

static unsigned long used(struct place *p, const char *key, const char *rule)
{
	struct buf said = BUF_INIT(100000);
	const struct meter_late late = { on_later, on_said, &said };
	uint64_t until = clock_mono_ms() + 5000;
	assert_true(metermaid_control(
	    p->m, (const char *const[]){ "meter", "show", key, rule }, 4, &late, &said));
	while (buf_len(&said) == 0 && clock_mono_ms() < until)
		loop_step(p->l, 10);
	const char *at = strstr(buf_cstr(&said), "\"used\":");
	unsigned long n = at != NULL ? strtoul(at + 7, NULL, 10) : 0;
	buf_end(&said);
	return n;
}

static long long number(redisContext *c, const char *command)
{
	redisReply *r = redisCommand(c, command);
	assert_non_null(r);
	long long n = r->integer;
	freeReplyObject(r);
	return n;
}

static long long memory(redisContext *c)
{
	redisReply *r = redisCommand(c, "INFO memory");
	long long n = strtoll(strstr(r->str, "used_memory:") + 12, NULL, 10);
	freeReplyObject(r);
	return n;
}

/* Keys that are none of the rule's: the index, the roll call, bans and their version, the set-up's. */
enum { OTHER_KEYS = 5 };

static void is_bounded_in_redis(const char *rule, enum meter_moment moment, unsigned n)
{
	struct place p;
	enter(&p, true, rule);
	redisContext *c = client();
	long long before = memory(c);
	uint64_t at = clock_mono_ms();
	unsigned asked = flood(&p, moment, n);
	print_message("%u keys in %lu ms, %lld kept, %lld kB\n", n, clock_mono_ms() - at,
	    number(c, "DBSIZE"), (memory(c) - before) / 1000);
	assert_in_range(number(c, "DBSIZE"), KEYS_MAX, KEYS_MAX + OTHER_KEYS);
	assert_true(memory(c) - before < 4 * 1000 * 1000);
	assert_int_equal(used(&p, "192.0.2.1", "r"), asked);
	assert_int_equal(keys_without_ttl(), 0);
	leave(&p);
	redisFree(c);
}

static int begin(void **state)
{
	log_set_fd(open("/dev/null", O_WRONLY));
	return 0;
}

static pid_t redis;

static int with_redis(void **state)
{
	redis_port = pick_port();
	redis = start_redis();
	return 0;
}

static int without_redis(void **state)
{
	stop_redis(redis);
	return 0;
}

static void test_rate_in_redis(void **state)
{
	is_bounded_in_redis(
	    "rule r { on connect; key client/32,64; rate 1000/10d; keys_max 2000; }", METER_CONNECT,
	    FLOOD);
}

static void test_counter_in_redis(void **state)
{
	is_bounded_in_redis(
	    "rule r { on tls; kind counter; key client/32,64; rate 1000/1d; keys_max 2000; }",
	    METER_TLS, SHORT_FLOOD);
}

/* What ends by itself makes room; who comes when the rule is full is counted as well. */
static void test_room_is_made(void **state)
{
	struct place p;
	enter(&p, true, "rule r { on tls; key client/32,64; rate 3/6s; keys_max 16; }");
	struct meter_facts f;
	for (uint32_t i = 0; i < 100; i++) {
		f = facts_of(i);
		assert_int_equal(question(p.l, p.m, METER_TLS, &f).action, METER_ALLOW);
	}
	assert_int_equal(question(p.l, p.m, METER_TLS, &f).action, METER_ALLOW);
	assert_int_equal(question(p.l, p.m, METER_TLS, &f).action, METER_ALLOW);
	assert_int_equal(question(p.l, p.m, METER_TLS, &f).action, METER_DEFER);
	redisContext *c = client();
	assert_in_range(number(c, "DBSIZE"), 2, 16 + OTHER_KEYS);
	redisFree(c);
	leave(&p);
}

/* ---- on this host ---- */

static void test_on_this_host(void **state)
{
	struct place p;
	enter(&p, false,
	    "rule r { on connect; key client/32,64; rate 1000/10d; keys_max 2000; }\n"
	    "rule c { on connect; kind counter; key client/32,64; rate 1000/1d; }\n"
	    "rule quiet { on tls; key client/32,64; rate 9/10h; }");
	struct meter_facts quiet[64];
	for (uint32_t i = 0; i < COUNT_OF(quiet); i++) {
		quiet[i] = facts_of(0x800000 + i);
		ask(&p, METER_TLS, &quiet[i]);
	}
	unsigned asked = flood(&p, METER_CONNECT, FLOOD);
	assert_int_equal(used(&p, "192.0.2.1", "r"), asked);
	assert_int_equal(used(&p, "192.0.2.1", "c"), asked);
	for (uint32_t i = 0; i < COUNT_OF(quiet); i++) {
		char key[IP_TEXT_SIZE];
		ip_text(quiet[i].client, key);
		assert_int_equal(used(&p, key, "quiet"), 1);
	}
	leave(&p);
}

/* A table of its own: so many cells of the rule, however many keys. */
static void test_the_part_of_a_rule(void **state)
{
	struct table *t = table_new_private(4096);
	struct op op = { .kind = OP_RATE, .cost = 1, .keys_max = 256, .rule = 7 };
	struct op_now now = { .us = 1000000, .mode = OP_TAKE };
	struct op_state s;
	size_t kept = 0;
	op.rate = bucket_limit_make(10, 3600 * 1000, 0);
	for (uint64_t i = 1; i <= 100000; i++) {
		op.id = (struct key_id){ i * UINT64_C(0x9e3779b97f4a7c15) >> 20, i << 16 };
		table_question(t, &op, 1, now);
	}
	for (uint64_t i = 1; i <= 100000; i++) {
		op.id = (struct key_id){ i * UINT64_C(0x9e3779b97f4a7c15) >> 20, i << 16 };
		kept += table_show(t, &op, now.us, &s);
	}
	assert_in_range(kept, 128, 256);
	table_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rate_in_redis, with_redis, without_redis),
		cmocka_unit_test_setup_teardown(test_counter_in_redis, with_redis, without_redis),
		cmocka_unit_test_setup_teardown(test_room_is_made, with_redis, without_redis),
		cmocka_unit_test(test_on_this_host),
		cmocka_unit_test(test_the_part_of_a_rule),
	};
	return cmocka_run_group_tests_name("meter_bounds", tests, begin, NULL);
}
