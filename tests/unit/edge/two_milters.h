/* two_milters.h - sessions whose mail goes through two filters, `one` and `two`, that listen in the bench's folder. Included
 * behind BENCH_EDGE, which has the listeners and the blocks. */
#ifndef TESTS_TWO_MILTERS_H
#define TESTS_TWO_MILTERS_H

#include "tests/unit/edge/session_bench.h"

#include "tests/unit/edge/fake_milter.h"
static struct fake_milter one, two;

static int begin(void **state)
{
	char path[128];
	memset(&given, 0, sizeof given);
	given.code = 250;
	snprintf(path, sizeof path, "%s/one.sock", dir);
	fake_milter_start(&one, loop, path);
	snprintf(path, sizeof path, "%s/two.sock", dir);
	fake_milter_start(&two, loop, path);
	return 0;
}

static int end(void **state)
{
	fake_milter_end(&one);
	fake_milter_end(&two);
	return 0;
}

static unsigned count(struct fake_milter *f, const char *words)
{
	unsigned n = 0;
	for (const char *p = buf_cstr(&f->seen); (p = strstr(p, words)) != NULL; p++)
		n++;
	return n;
}

__attribute__((unused)) static bool saw(struct fake_milter *f, const char *words)
{
	return count(f, words) > 0;
}

/* Runs the loop until f was told these words n times. */
__attribute__((unused)) static void wait_seen(struct fake_milter *f, const char *words, unsigned n)
{
	uint64_t until = clock_mono_ms() + TALK_MS;
	while (count(f, words) < n) {
		loop_step(loop, 5);
		assert_true(clock_mono_ms() < until);
	}
}

__attribute__((unused)) static void talk_through(
    const char *listener, const char *script, struct talk *t, size_t cut)
{
	*t = talk_open(listener, "192.0.2.1");
	talk_until(t, "220");
	talk_send(t, span_str(script), cut);
	shutdown(t->fd, SHUT_WR);
	talk_until(t, NULL);
}

__attribute__((unused)) static void check_once(
    const char *listener, const char *script, const char *want)
{
	struct talk t;
	talk_through(listener, script, &t, SIZE_MAX);
	if (strcmp(codes(&t), want) != 0)
		print_error(
		    "%.*s\n%.*s\n", SPAN_ARG(buf_span(&t.heard)), SPAN_ARG(buf_span(&one.seen)));
	assert_string_equal(codes(&t), want);
	talk_close(&t);
}

#define MESSAGE "Subject: x\r\nX-A: 1\r\nX-A: 2\r\n  folded\r\n\r\nhello\r\n"
#define SEND ALICE "DATA\r\n" MESSAGE ".\r\n"
#define TAKEN "220 250 250 250 354 250 221"

#endif
