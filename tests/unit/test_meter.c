/* test_meter.c - the arithmetic against an oracle, the host table, rules and keys, and a real Redis
 * that is killed, frozen and emptied. */
#include "tests/unit/meter/place.h"

/* ---- arithmetic ---- */

static void test_bucket_lets_a_burst_then_the_pace(void **state)
{
	struct bucket_limit l = bucket_limit_make(60, 60000, 10); /* one a second, ten at once */
	uint64_t tat = 0, next, now = 1000000000;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(bucket_wait_us(l, tat, now, 1, &next), 0);
		tat = next;
	}
	assert_int_equal(bucket_wait_us(l, tat, now, 1, &next), 1000000);
	assert_int_equal(bucket_wait_us(l, tat, now + 999999, 1, &next), 1);
	assert_int_equal(bucket_wait_us(l, tat, now + 1000000, 1, &next), 0);
	assert_int_equal(bucket_wait_us(l, 0, now, 1000, &next), 0);
	assert_int_equal(next, now + l.tolerance_us);
}

/* Never more than burst + rate * time in any window, whatever the pattern. */
static void test_bucket_against_a_counting_oracle(void **state)
{
	struct bucket_limit l = bucket_limit_make(100, 1000, 20);
	uint64_t tat = 0, next, now = 5000000, begin = now, passed = 0;
	for (int i = 0; i < 200000; i++) {
		now += rand_below(2000);
		if (bucket_wait_us(l, tat, now, 1, &next) == 0) {
			tat = next;
			passed++;
		}
		assert_true(passed <= 20 + (now - begin) / l.interval_us);
	}
	assert_true(passed >= (now - begin) / l.interval_us * 99 / 100);
}

static void test_bucket_share_and_force(void **state)
{
	struct bucket_limit l = bucket_limit_make(100, 1000, 20), s = bucket_limit_share(l, 4);
	assert_int_equal(s.interval_us, 40000);
	assert_int_equal(s.tolerance_us, 200000);
	assert_int_equal(bucket_limit_share(l, 1000).tolerance_us, 10000 * 1000);
	uint64_t tat = 0;
	for (int i = 0; i < 1000; i++)
		tat = bucket_forced_tat(l, tat, 7000000, 1);
	assert_int_equal(tat, 7000000 + l.tolerance_us + l.interval_us);
	assert_true(bucket_limit_make(UINT64_MAX, 1, 0).interval_us == 1);
	assert_true(bucket_limit_make(1, UINT64_MAX, UINT64_MAX).tolerance_us <= UINT64_C(1) << 53);
}

/* ---- table ---- */

static struct op ask(const char *key, uint64_t count, uint64_t cost)
{
	return (struct op){ .id = digest_key_of(span_str(key)),
		.kind = OP_RATE,
		.rate = bucket_limit_make(count, 60000, 0),
		.cost = cost };
}

static void test_table_charges_all_or_none(void **state)
{
	struct table *t = table_new_private(1024);
	struct op both[2] = { ask("wide", 10, 1), ask("narrow", 2, 1) };
	struct op_answer a;
	for (int i = 0; i < 2; i++)
		assert_int_equal(
		    table_question(t, both, 2, (struct op_now){ 1000000, OP_TAKE }).index, 2);
	for (int i = 0; i < 50; i++) {
		a = table_question(t, both, 2, (struct op_now){ 1000000, OP_TAKE });
		assert_true(a.index == 1 && a.hard && a.wait_us > 0);
	}
	/* the refused questions left the wide key alone: 8 of 10 are still there */
	for (int i = 0; i < 8; i++)
		assert_int_equal(
		    table_question(t, both, 1, (struct op_now){ 1000000, OP_TAKE }).index, 1);
	assert_int_equal(table_question(t, both, 1, (struct op_now){ 1000000, OP_TAKE }).index, 0);
	a = table_question(t, both, 1, (struct op_now){ 1000000 + 60000000, OP_PEEK });
	assert_int_equal(a.index, 1);
	table_free(&t);
}

static void test_table_is_bounded_and_keeps_the_heavy(void **state)
{
	struct table *t = table_new_private(64);
	struct op heavy = ask("heavy", 3, 3);
	char name[32];
	assert_int_equal(
	    table_question(t, &heavy, 1, (struct op_now){ 1000000, OP_TAKE }).index, 1);
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof name, "light-%d", i);
		struct op light = ask(name, 1000, 1);
		table_question(t, &light, 1, (struct op_now){ 1000000, OP_TAKE });
	}
	assert_int_equal(
	    table_question(t, &heavy, 1, (struct op_now){ 1000000, OP_TAKE }).index, 0);
	table_free(&t);
}

/* Eight processes, one shared key: together they pass exactly one burst. One dies with the lock. */
static void test_shared_table_over_processes(void **state)
{
	struct table *t = table_new_shared(1024);
	struct op a = ask("k", 1000, 1);
	int passed = 0, status;
	for (int p = 0; p < 8; p++)
		if (fork() == 0) {
			int mine = 0;
			for (int i = 0; i < 200; i++)
				mine +=
				    table_question(t, &a, 1, (struct op_now){ 1000000, OP_TAKE })
					.index == 1;
			_exit(mine);
		}
	for (int p = 0; p < 8; p++) {
		wait(&status);
		passed += WEXITSTATUS(status);
	}
	assert_int_equal(passed, 1000);
	table_free(&t);
}

/* ---- a metermaid with a real server ---- */

static void test_rules_with_mistakes_are_refused(void **state)
{
	size_t errors;
	assert_null(load("metermaid {\n rule a { on connect; key clint/32; rate 1/1m; }\n"
			 " rule b { on connect; key user; rate 1/1m; }\n"
			 " rule c { on auth; key sender; rate 1/1m; }\n}\n",
	    &errors));
	assert_int_equal(errors, 3);
}

static void test_without_redis(void **state)
{
	struct loop *l = loop_new();
	struct conf *c =
	    load("metermaid { rule n { on connect; key client/24,48; rate 2/1h; }\n"
		 " rule f { on auth; key client/32,64, user; rate 2/1h; action refuse; } }\n",
		NULL);
	assert_non_null(c);
	struct metermaid *m = metermaid_new(l, NULL, c);
	struct meter_facts one = from("192.0.2.1", ""), two = from("192.0.2.200", ""),
			   far = from("198.51.100.1", "");
	assert_int_equal(question(l, m, METER_CONNECT, &one).action, METER_ALLOW);
	assert_int_equal(question(l, m, METER_CONNECT, &two).action, METER_ALLOW);
	struct meter_answer a = question(l, m, METER_CONNECT, &one);
	assert_int_equal(a.action, METER_DEFER);
	assert_true(a.retry_ms > 1700000 && a.retry_ms <= 1800000 && !a.degraded);
	assert_int_equal(question(l, m, METER_CONNECT, &far).action, METER_ALLOW);
	assert_null(meter_ask(m, METER_MESSAGE, &one, on_answer, NULL));
	/* asking about a login costs nothing; failing does, for that user from there only */
	struct meter_facts bad = from("192.0.2.9", "u"), other = from("192.0.2.9", "v");
	for (int i = 0; i < 5; i++)
		assert_int_equal(question(l, m, METER_AUTH, &bad).action, METER_ALLOW);
	meter_charge(m, METER_AUTH, &bad);
	meter_charge(m, METER_AUTH, &bad);
	assert_int_equal(question(l, m, METER_AUTH, &bad).action, METER_REFUSE);
	assert_int_equal(question(l, m, METER_AUTH, &other).action, METER_ALLOW);
	struct buf out = BUF_INIT(65536);
	assert_true(
	    metermaid_control(m, (const char *const[]){ "meter", "top", "f" }, 3, NULL, &out));
	assert_non_null(strstr(buf_cstr(&out), "{\"rule\":\"f\",\"key\":\"192.0.2.9/32|u\""));
	buf_end(&out);
	struct ticket *t = meter_ask(m, METER_CONNECT, &far, on_answer, NULL);
	last = NULL;
	ticket_cancel(&t);
	loop_step(l, 5);
	assert_null(last);
	t = meter_ask(m, METER_CONNECT, &far, on_answer, NULL);
	metermaid_free(&m);
	conf_unref(&c);
	loop_free(&l);
}

static void test_with_redis(void **state)
{
	char text[512];
	redis_port = pick_port();
	pid_t redis = start_redis();
	snprintf(text, sizeof text,
	    "metermaid { redis 127.0.0.1:%d; deadline 300ms;\n"
	    " rule wide { on connect; key client/16,32; rate 10/1h; }\n"
	    " rule narrow { on connect; key client/32,64; rate 3/1h; on_loss closed; }\n"
	    " rule msgs { on message; key sender; rate 100/1h; cost recipients; on_loss share; } "
	    "}\n",
	    redis_port);
	struct loop *l = loop_new();
	struct conf *c = load(text, NULL);
	assert_non_null(c);
	struct metermaid *a = metermaid_new(l, NULL, c), *b = metermaid_new(l, NULL, c);
	until_healthy(l, a);
	until_healthy(l, b);
	struct meter_facts one = from("192.0.2.1", ""), two = from("192.0.3.1", "");
	/* two workers, one limit: three pass, whoever asks; the refused ones do not charge `wide` */
	for (int i = 0; i < 3; i++)
		assert_int_equal(
		    question(l, i % 2 == 0 ? a : b, METER_CONNECT, &one).action, METER_ALLOW);
	for (int i = 0; i < 20; i++) {
		struct meter_answer r = question(l, i % 2 == 0 ? a : b, METER_CONNECT, &one);
		assert_true(
		    r.action == METER_DEFER && strcmp(r.rule, "narrow") == 0 && !r.degraded);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(question(l, a, METER_CONNECT, &two).action, METER_ALLOW);
	assert_int_equal(keys_without_ttl(), 0);
	/* emptied, script and all: goes on without an error */
	flush_redis();
	until_allowed(l, b, METER_CONNECT, &one);
	assert_false(last_copy.degraded);
	/* cost by recipients; more than a burst counts as one */
	struct meter_facts m = one;
	m.recipients = 60;
	assert_int_equal(question(l, a, METER_MESSAGE, &m).action, METER_ALLOW);
	assert_int_equal(question(l, a, METER_MESSAGE, &m).action, METER_DEFER);
	m.recipients = 40;
	assert_int_equal(question(l, b, METER_MESSAGE, &m).action, METER_ALLOW);
	/* frozen: within the deadline, as on_loss says */
	kill(redis, SIGSTOP);
	uint64_t began = clock_mono_ms();
	struct meter_answer r = question(l, a, METER_CONNECT, &two);
	assert_true(r.degraded && r.action == METER_DEFER && strcmp(r.rule, "narrow") == 0);
	r = question(l, a, METER_MESSAGE, &m);
	assert_true(r.degraded && r.action == METER_ALLOW);
	assert_true(clock_mono_ms() - began < 3000);
	kill(redis, SIGCONT);
	until_healthy(l, a);
	/* killed and started again, empty: back without a restart of ours */
	stop_redis(redis);
	assert_true(question(l, a, METER_CONNECT, &two).degraded);
	redis = start_redis();
	until_healthy(l, a);
	until_healthy(l, b);
	r = question(l, a, METER_CONNECT, &two);
	assert_true(!r.degraded && r.action == METER_ALLOW);
	/* questions under way when it all ends are forgotten */
	for (int i = 0; i < 40; i++)
		meter_ask(b, METER_CONNECT, &two, on_answer, NULL);
	metermaid_free(&b);
	meter_charge(a, METER_CONNECT, &two);
	loop_step(l, 0);
	struct ticket *t = meter_ask(a, METER_CONNECT, &two, on_answer, NULL);
	loop_step(l, 0);
	ticket_cancel(&t);
	metermaid_free(&a);
	conf_unref(&c);
	loop_free(&l);
	stop_redis(redis);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket_lets_a_burst_then_the_pace),
		cmocka_unit_test(test_bucket_against_a_counting_oracle),
		cmocka_unit_test(test_bucket_share_and_force),
		cmocka_unit_test(test_table_charges_all_or_none),
		cmocka_unit_test(test_table_is_bounded_and_keeps_the_heavy),
		cmocka_unit_test(test_shared_table_over_processes),
		cmocka_unit_test(test_rules_with_mistakes_are_refused),
		cmocka_unit_test(test_without_redis),
		cmocka_unit_test(test_with_redis),
	};
	return cmocka_run_group_tests_name("meter", tests, NULL, NULL);
}
