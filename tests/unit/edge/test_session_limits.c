/* test_session_limits.c - what a worker and a session may have at most: memory, errors, unknown commands. */
#define BENCH_EDGE "	memory_max 4M; unknown_max 4; errors_free 100;\n"
#include "tests/unit/edge/session_bench.h"

#include "base/metric.h"

#include "edge/mail.h"
#include "edge/memory.h"

enum { MAX = 4 * 1024 * 1024, BIT = 64 * 1024, WHOLE_BODY = 16 * 1024 };

/* ---- memory: ballast brings the worker to where it is wanted -------------------------------------- */

static void *ballast;
static size_t ballast_n;

static uint64_t shown(size_t metric)
{
	return metric_get(&edge_metrics[metric]);
}

/* The worker holds so many bytes, or a little less. */
static void hold(size_t bytes)
{
	ballast_n += bytes - BIT / 2 - (mem_in_use() - edge->memory_start);
	ballast = mem_resize(ballast, ballast_n);
	(void)memory_is_pressed(edge);
	assert_in_range(shown(EDGE_M_MEMORY), bytes - BIT, bytes);
}

static void let_go(void)
{
	MEM_FREE(&ballast);
	ballast_n = 0;
	assert_false(memory_is_pressed(edge));
}

static void test_memory_is_counted(void **state)
{
	size_t before = mem_in_use();
	char *p = mem_alloc(100000);
	assert_in_range(mem_in_use() - before, 100000, 110000);
	p = mem_resize(p, 300000);
	assert_in_range(mem_in_use() - before, 300000, 310000);
	mem_free(p);
	mem_free(NULL);
	assert_int_equal(mem_in_use(), before);
}

/* Seven eighths begin it, three quarters end it. */
static void test_pressure_has_two_marks(void **state)
{
	static const struct {
		size_t bytes;
		bool pressed;
	} steps[] = { { MAX / 2, false }, { MAX - MAX / 8, false }, { MAX - MAX / 8 + BIT, true },
		{ MAX - MAX / 4 + BIT, true }, { MAX - MAX / 4, false }, { MAX - MAX / 8, false },
		{ MAX, true } };
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		hold(steps[i].bytes);
		assert_int_equal(edge->pressed, steps[i].pressed);
		assert_int_equal(shown(EDGE_M_MEMORY_PRESSED), steps[i].pressed);
	}
	let_go();
	assert_int_equal(shown(EDGE_M_MEMORY_PRESSED), 0);
}

/* Whoever has a session sends mail, whose body goes to its file. */
static void test_sessions_go_on_under_pressure(void **state)
{
	hold(MAX - BIT);
	assert_true(edge->pressed);
	struct talk t = talk_open("mx", "192.0.2.80");
	given.code = 250;
	talk_until(&t, "220");
	talk_send(&t, SPAN(ALICE "DATA\r\n"), SIZE_MAX);
	talk_until(&t, "354");
	talk_send(&t, SPAN(TEXT ".\r\n" QUIT), SIZE_MAX);
	talk_until(&t, NULL);
	assert_string_equal(codes(&t), "220 250 250 250 354 250 221");
	talk_close(&t);
	let_go();
}

static void test_all_of_it_refuses_mail_for_now(void **state)
{
	uint64_t before = shown(EDGE_M_MEMORY_REFUSED);
	given.code = 250;
	struct talk t = talk_open("mx", "192.0.2.81");
	talk_until(&t, "220");
	hold(MAX + BIT);
	talk_send(&t, SPAN(MAIL), SIZE_MAX);
	talk_until(&t, "452 4.3.1 ");
	hold(MAX - BIT);
	talk_send(&t, SPAN("MAIL FROM:<s@far.example>\r\n"), SIZE_MAX);
	talk_send(&t, SPAN("RCPT TO:<alice@example.org>\r\n"), SIZE_MAX);
	talk_until(&t, "2.1.5");
	hold(MAX + BIT);
	talk_send(&t, SPAN("RCPT TO:<bob@example.org>\r\nDATA\r\n"), SIZE_MAX);
	talk_until(&t, "354");
	talk_send(&t, SPAN(TEXT ".\r\n" QUIT), SIZE_MAX); /* what was promised is kept */
	talk_until(&t, NULL);
	assert_string_equal(codes(&t), "220 250 452 250 250 452 354 250 221");
	assert_int_equal(shown(EDGE_M_MEMORY_REFUSED), before + 2);
	talk_close(&t);
	let_go();
}

/* Bodies of 16 KiB in memory are what remains of larger ones. */
static void test_bodies_are_short_under_pressure(void **state)
{
	for (int pressed = 0; pressed < 2; pressed++) {
		struct edge_conf *c = (struct edge_conf *)(uintptr_t)edge->setup->edge;
		uint64_t usual = c->body_memory;
		c->body_memory = 4 * WHOLE_BODY;
		if (pressed)
			hold(MAX - BIT);
		struct talk t = talk_open("mx", "192.0.2.82");
		talk_until(&t, "220");
		talk_send(&t, SPAN(ALICE "DATA\r\n"), SIZE_MAX);
		talk_until(&t, "354");
		assert_int_equal(edge->body_memory, pressed ? WHOLE_BODY : 4 * WHOLE_BODY);
		talk_close(&t);
		c->body_memory = usual;
	}
	let_go();
}

/* ---- errors ------------------------------------------------------------------------------------- */

#define NO "RCPT TO:<a@b.example>\r\n"
#define TAKEN "MAIL FROM:<s@far.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n" TEXT ".\r\n"

/* errors_max 8, unknown_max 4: the last that is allowed, and the one that is not. */
static void test_errors(void **state)
{
	static const struct {
		const char *script, *want;
	} cases[] = {
		{ HELLO NO NO NO NO NO NO NO QUIT, "220 250 503 503 503 503 503 503 503 221" },
		{ HELLO NO NO NO NO NO NO NO NO QUIT,
		    "220 250 503 503 503 503 503 503 503 503 421" },
		{ HELLO NO NO NO NO NO NO NO TAKEN NO QUIT, /* a message forgives */
		    "220 250 503 503 503 503 503 503 503 250 250 354 250 503 221" },
		{ "A\r\nB\r\nC\r\n" QUIT, "220 500 500 500 221" },
		{ "A\r\nB\r\nC\r\nD\r\n" QUIT, "220 500 500 500 500 421" },
		{ HELLO NO NO NO NO NO NO "A\r\nB\r\n" QUIT, /* unknown ones are errors, too */
		    "220 250 503 503 503 503 503 503 500 500 421" },
	};
	given.code = 250;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		for (size_t cut = 1; cut < 100; cut += 98) {
			struct span script = span_str(cases[i].script);
			struct talk t = talk_whole("mx", "192.0.2.83", script, cut);
			assert_string_equal(codes(&t), cases[i].want);
			talk_close(&t);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_is_counted),
		cmocka_unit_test(test_pressure_has_two_marks),
		cmocka_unit_test(test_sessions_go_on_under_pressure),
		cmocka_unit_test(test_all_of_it_refuses_mail_for_now),
		cmocka_unit_test(test_bodies_are_short_under_pressure),
		cmocka_unit_test(test_errors),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
