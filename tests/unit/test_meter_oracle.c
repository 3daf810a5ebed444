/* test_meter_oracle.c - 1, 4 and 16 processes ask the same keys through one Redis: never more than the
 * documented bound, never less than what is due for keys that are cold. */
#include "tests/unit/meter/oracle.h"

static pid_t redis;

static int begin(void **state)
{
	redis_port = pick_port();
	redis = start_redis();
	return 0;
}

static int end(void **state)
{
	stop_redis(redis);
	return 0;
}

static struct oracle_plan plan_of(unsigned procs, enum oracle_load load)
{
	struct oracle_plan p = { .procs = procs, .load = load, .ms = 1200 };
	if (load == LOAD_UNIFORM) { /* cold: each key a few times */
		p.keys = 20000;
		p.rule = "rule r { on connect; key client/32,64; rate 2/10s; }";
		p.limit = bucket_limit_make(2, 10000, 0);
	} else {
		p.keys = load == LOAD_ZIPF ? 1000 : 1;
		p.rule = "rule r { on connect; key client/32,64; rate 1000/1s; burst 800; }";
		p.limit = bucket_limit_make(1000, 1000, 800);
		p.bound = 800 / 16;
	}
	return p;
}

static void check(unsigned procs, enum oracle_load load)
{
	static const char *const names[] = { "uniform", "zipf", "single" };
	struct oracle_plan plan = plan_of(procs, load);
	flush_redis();
	struct oracle_result r = oracle_run(&plan);
	print_message("%u processes, %s: asked %lu, passed %lu, due %lu, beyond the bound %.2f\n",
	    procs, names[load], r.asked, r.passed, r.due, r.over_bound);
	assert_true(r.asked > 1000 && r.passed > 0);
	assert_int_equal(r.degraded, 0);
	assert_true(r.over_bound == 0);
	assert_int_equal(keys_without_ttl(), 0);
	if (load == LOAD_UNIFORM)
		assert_true(r.passed * 100 >= r.due * 99);
	else
		assert_true(r.passed * 100 >= r.due * 85); /* tokens that nobody used are lost */
}

static void test_one_process(void **state)
{
	check(1, LOAD_UNIFORM);
	check(1, LOAD_ZIPF);
	check(1, LOAD_SINGLE);
}

static void test_four_processes(void **state)
{
	check(4, LOAD_UNIFORM);
	check(4, LOAD_ZIPF);
	check(4, LOAD_SINGLE);
}

static void test_sixteen_processes(void **state)
{
	check(16, LOAD_UNIFORM);
	check(16, LOAD_ZIPF);
	check(16, LOAD_SINGLE);
}

/* The worst there is for tokens: taken while little is asked, used when the bucket is full again. */
static void test_tokens_left_over(void **state)
{
	struct oracle_plan plan = {
		.procs = 4, .load = LOAD_SINGLE, .keys = 1, .ms = 2000, .waves = true
	};
	plan.rule = "rule r { on connect; key client/32,64; rate 10000/1s; burst 800; }";
	plan.limit = bucket_limit_make(10000, 1000, 800);
	plan.bound = 800 / 16;
	flush_redis();
	struct oracle_result r = oracle_run(&plan);
	print_message("waves: asked %lu, passed %lu, due %lu, beyond the bound %.2f\n", r.asked,
	    r.passed, r.due, r.over_bound);
	assert_true(r.passed > 3000);
	assert_true(r.over_bound == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_process),
		cmocka_unit_test(test_four_processes),
		cmocka_unit_test(test_sixteen_processes),
		cmocka_unit_test(test_tokens_left_over),
	};
	return cmocka_run_group_tests_name("meter_oracle", tests, begin, end);
}
