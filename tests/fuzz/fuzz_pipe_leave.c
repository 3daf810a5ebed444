/* fuzz_pipe_leave.c - records of sessions that move to another process: the card and the pipe behind it. Whatever is read
 * is written again as it was; what is not whole is refused and leaves nothing behind. */
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "mmp/handover.h"
#include "net/loop.h"
#include "net/pipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;

static void on_end(void *arg, const struct pipe_done *done)
{
}

static void try_card(struct span in)
{
	struct bytes_reader r = bytes_reader_of(in);
	struct session_card card;
	struct buf again = BUF_INIT(HANDOVER_RECORD_MAX);
	if (session_card_get(&r, &card)) {
		struct session_card same;
		session_card_put(&again, &card);
		struct bytes_reader back = bytes_reader_of(buf_span(&again));
		CHECK(session_card_get(&back, &same) && back.rest.n == 0);
		CHECK(span_eq(same.user, card.user) && span_eq(same.store, card.store) &&
		      same.client.port == card.client.port && same.tls == card.tls);
	}
	buf_end(&again);
}

static void try_pipe(struct span in)
{
	static const struct pipe_owner owner = { 1000, on_end, NULL, 0 };
	struct bytes_reader r = bytes_reader_of(in);
	struct buf again = BUF_INIT(HANDOVER_RECORD_MAX);
	int v[2], fds[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, v) == 0);
	struct pipe *p = pipe_load(loop, &r, v, &owner);
	if (p != NULL) {
		CHECK(pipe_save(p, &again, fds) && fds[0] == v[0] && fds[1] == v[1]);
		CHECK(buf_len(&again) == in.n);
		pipe_thaw(p);
		pipe_free(&p);
	} else {
		close(v[0]);
		close(v[1]);
	}
	buf_end(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	if (loop == NULL)
		loop = loop_new();
	if (size < 1)
		return 0;
	if (data[0] & 1)
		try_card(span_from(in, 1));
	else
		try_pipe(span_from(in, 1));
	return 0;
}
