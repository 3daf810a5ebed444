/* loop_trace.h - what the tests of the event loop share: which callbacks ran, in order. */
#ifndef TESTS_LOOP_TRACE_H
#define TESTS_LOOP_TRACE_H

#include "net_test.h"

#include "net/loop_internal.h"

static char trace[256];

static void note(char c)
{
	size_t n = strlen(trace);
	if (n + 1 < sizeof trace) {
		trace[n] = c;
		trace[n + 1] = '\0';
	}
}

static void on_note(void *arg)
{
	note(*(const char *)arg);
}

__attribute__((unused)) static unsigned ready_n, ready_events;

__attribute__((unused)) static void on_fd(void *arg, unsigned events)
{
	ready_n++;
	ready_events |= events;
}

static struct timer t[4];
static struct soon s[4];
static char names[] = "0123456789";

static int setup(void **state)
{
	trace[0] = '\0';
	loop_setup(state);
	for (size_t i = 0; i < COUNT_OF(t); i++) {
		timer_init(&t[i], loop, on_note, &names[i]);
		soon_init(&s[i], on_note, &names[i]);
	}
	return 0;
}

#endif
