/* asked_ns.h - for a test whose every case has a name server, with the test's on_question(), and who asks it. */
#ifndef TESTS_NET_ASKED_NS_H
#define TESTS_NET_ASKED_NS_H

#include "fake_ns.h"

static struct fake_ns ns;
static struct dns *dns;

static void on_question(struct ns_reply *r);

static int setup(void **state)
{
	loop_setup(state);
	dns = fake_ns_begin_asked(&ns, on_question);
	return 0;
}

static int teardown(void **state)
{
	dns_free(&dns);
	fake_ns_end(&ns);
	return loop_teardown(state);
}

#endif
