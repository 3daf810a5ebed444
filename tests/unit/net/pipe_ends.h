/* pipe_ends.h - a pipe between two raw sockets, or with a client under TLS, for the tests of pipes. */
#ifndef TESTS_NET_PIPE_ENDS_H
#define TESTS_NET_PIPE_ENDS_H

#include "certs.h"
#include "end.h"

#include "net/net_facts.h"
#include "net/pipe.h"

enum { MANY = 4 << 20 };

/* ---- a pipe between two raw sockets ---- */

static int ends[2]; /* the client's and the store's own descriptors */
static struct end side[2];
static struct pipe *running;
static struct pipe_done done;
static unsigned done_n;

__attribute__((unused)) static void on_done(void *arg, const struct pipe_done *d)
{
	done = *d;
	done_n++;
	running = NULL;
}

__attribute__((unused)) static void sides_begin(void (*pair)(int v[2]))
{
	done_n = 0;
	for (int i = 0; i < 2; i++) {
		int v[2];
		pair(v);
		end_begin(&side[i], v[0], 1000, 100000);
		side[i].hold = true;
		ends[i] = v[1];
	}
}

__attribute__((unused)) static void begin_pipe(uint64_t idle_ms)
{
	running = pipe_start(
	    loop, &side[0].s, &side[1].s, &(struct pipe_owner){ idle_ms, on_done, NULL, 0 });
	assert_null(side[0].s);
	assert_null(side[1].s);
}

__attribute__((unused)) static void sides_end(void)
{
	pipe_free(&running);
	for (int i = 0; i < 2; i++) {
		end_end(&side[i]);
		if (ends[i] >= 0)
			close(ends[i]);
	}
	run_rounds(3);
}

__attribute__((unused)) static void close_end(int i)
{
	close(ends[i]);
	ends[i] = -1;
}

/* ---- TLS on the client's side ---- */

static struct tls_ctx *tls_server_ctx, *tls_client_ctx;
static struct end far; /* the client itself */
static bool may_park;
static uint64_t parked_before;

__attribute__((unused)) static uint64_t parked_n(void)
{
	return metric_get(&net_metrics[NET_TLS_PARKED]) - parked_before;
}

__attribute__((unused)) static void tls_begin(void)
{
	int v[2];
	sides_begin(unix_pair);
	close_end(0);
	end_end(&side[0]);
	unix_pair(v);
	end_begin(&side[0], v[0], 1000, 100000);
	side[0].hold = true;
	end_begin(&far, v[1], 1 << 20, MANY);
	tls_server_ctx = test_server();
	tls_client_ctx = test_client(TLS_VERIFY_NAME);
	parked_before = metric_get(&net_metrics[NET_TLS_PARKED]);
	if (may_park)
		tls_ctx_set_park(tls_server_ctx);
	stream_start_tls_server(side[0].s, tls_server_ctx);
	stream_start_tls_client(far.s, tls_client_ctx, "mail.example", NULL);
	WAIT_FOR(side[0].n[STREAM_SECURED] == 1 && far.n[STREAM_SECURED] == 1);
}

__attribute__((unused)) static void tls_end(void)
{
	assert_int_equal(parked_n(), may_park ? 1 : 0);
	end_end(&far);
	sides_end();
	tls_ctx_unref(&tls_server_ctx);
	tls_ctx_unref(&tls_client_ctx);
}

#endif
