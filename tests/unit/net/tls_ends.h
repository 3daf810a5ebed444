/* tls_ends.h - a server's stream and the other end of its connection, with what both need for TLS, for each case of a test. */
#ifndef TESTS_NET_TLS_ENDS_H
#define TESTS_NET_TLS_ENDS_H

#include "certs.h"
#include "end.h"

enum { TLS_IN_MAX = 100000, TLS_OUT_MAX = 2 << 20 };

static struct end us,
    them; /* the server, and a client that is a stream too, when a case wants it */
static int wire[2];
static struct tls_ctx *server, *client;

static int setup(void **state)
{
	loop_setup(state);
	tcp_pair(wire);
	end_begin(&us, wire[0], TLS_IN_MAX, TLS_OUT_MAX);
	them = (struct end){ .s = NULL };
	server = test_server();
	client = test_client(TLS_VERIFY_NAME);
	return 0;
}

static int teardown(void **state)
{
	end_end(&us);
	end_end(&them);
	tls_ctx_unref(&server);
	tls_ctx_unref(&client);
	return loop_teardown(state);
}

/* A new connection, within a case. */
static void again(void)
{
	void *none = NULL;
	teardown(&none);
	setup(&none);
}

/* The client is a stream from here on. */
static void them_begin(void)
{
	end_begin(&them, wire[1], TLS_IN_MAX, TLS_OUT_MAX);
}

#endif
