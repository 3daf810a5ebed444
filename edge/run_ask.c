/* run_ask.c - see run_ask.h (part of step 6; before: deliver.c). Owns the two files and the connection. */
#include "edge/run_ask.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fd.h"
#include "base/mem.h"
#include "edge/body.h"
#include "proto/header.h"

#define run_MAGIC 0x4a11e403u

enum {
	PIECE = 256 * 1024,
	HEADER_LOOK = 64 * 1024,
	PATIENCE_MS = 20 * 1000, /* over the time of the run */
};

struct run {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct loop *loop;
	char *socket_path, *marked;
	struct buf ask; /* the frame */
	struct mail_source body;
	uint64_t at; /* of body */
	bool lf, has_cr;
	int message, result, link; /* owned; -1: none */
	struct watch *watch;
	struct soon next;
	struct timer deadline;
	uint64_t time_ms;
	struct buf in;
	run_fn *fn;
	void *arg;
};

static void run_free(struct run *x)
{
	int fds[] = { x->message, x->result, x->link };
	watch_free(&x->watch);
	soon_clear(&x->next);
	timer_clear(&x->deadline);
	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	mem_free(x->socket_path);
	mem_free(x->marked);
	buf_end(&x->ask);
	buf_end(&x->in);
	x->magic = 0;
	mem_free(x);
}

static void cancel(struct ticket *t)
{
	run_free(OBJ(run, t));
}

static void give(struct run *x, const struct run_result *r)
{
	run_fn *fn = x->fn;
	void *arg = x->arg;
	int fd = x->result;
	struct buf text = x->in;
	struct run_result out = *r;
	x->result = -1;
	x->in = BUF_INIT(RUN_ANSWER_MAX);
	out.fd = fd;
	run_free(x);
	fn(arg, &out);
	buf_end(&text);
	if (fd >= 0)
		close(fd);
}

static void fail(struct run *x, const char *why)
{
	give(x, &(struct run_result){ .answer = { RUN_REFUSED, 0, span_str(why) } });
}

/* ---- the message -------------------------------------------------------------------------------- */

static bool is_marked(const struct run *x, struct span head)
{
	struct header_walk w;
	struct header_field f;
	header_walk_init(&w, head);
	while (x->marked != NULL && header_next(&w, &f) == HEADER_FIELD)
		if (span_ieq(f.name, SPAN("Delivered-To")) &&
		    span_ieq_str(span_trim(f.value), x->marked))
			return true;
	return false;
}

/* A CR at the end of a piece waits for what follows. */
static void put_lf(struct run *x, struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (x->has_cr && s.p[i] != '\n')
			buf_add_char(out, '\r');
		x->has_cr = s.p[i] == '\r';
		if (!x->has_cr)
			buf_add_char(out, s.p[i]);
	}
}

static err_t write_piece(struct run *x, struct span s, bool last)
{
	struct buf out = BUF_INIT(s.n + 2);
	if (!x->lf)
		return fd_write_all(x->message, s);
	put_lf(x, &out, s);
	if (last && x->has_cr)
		buf_add_char(&out, '\r');
	err_t err = fd_write_all(x->message, buf_span(&out));
	buf_end(&out);
	return err;
}

static void connect_to(struct run *x);

static void on_next(void *arg)
{
	struct run *x = OBJ(run, arg);
	err_t err = ERR_OK;
	if (x->at >= x->body.size) {
		connect_to(x);
		return;
	}
	struct span piece = x->body.read(x->body.arg, x->at, PIECE, &err);
	if (!err && piece.n == 0)
		err = ERR_CORRUPT;
	if (!err && x->at == 0 && is_marked(x, span_first(piece, HEADER_LOOK))) {
		give(x, &(struct run_result){ .looped = true });
		return;
	}
	x->at += piece.n;
	if (!err)
		err = write_piece(x, piece, x->at >= x->body.size);
	if (err)
		fail(x, err == ERR_NO_SPACE ? "4.3.1 there is no room for the message in temp_dir"
					    : "4.3.0 the message cannot be copied");
	else
		soon_set(x->loop, &x->next);
}

/* ---- the runner --------------------------------------------------------------------------------- */

static void on_link(void *arg, unsigned events)
{
	struct run *x = OBJ(run, arg);
	struct run_result r = { .looped = false };
	char block[RUN_ANSWER_MAX];
	ssize_t n = recv(x->link, block, sizeof block, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		buf_add(&x->in, block, (size_t)n);
	enum run_got got = run_answer_get(buf_span(&x->in), &r.answer);
	if (got == RUN_WHOLE)
		give(x, &r);
	else if (n <= 0 || got == RUN_BAD || !buf_ok(&x->in))
		fail(x, "4.3.0 the runner gave no answer");
}

static void on_deadline(void *arg)
{
	fail(OBJ(run, arg), "4.3.0 the runner gave no answer in time");
}

static bool send_ask(struct run *x)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * RUN_FDS)];
		struct cmsghdr align;
	} control = { { 0 } };
	int fds[RUN_FDS] = { x->message, x->result };
	size_t n = x->result >= 0 ? 2 : 1;
	struct span frame = buf_span(&x->ask);
	struct iovec iov = { (void *)(uintptr_t)frame.p, frame.n };
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(sizeof(int) * n) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * n);
	memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
	return sendmsg(x->link, &m, MSG_NOSIGNAL) == (ssize_t)frame.n;
}

static void connect_to(struct run *x)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = strlen(x->socket_path);
	x->link = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (n < sizeof sa.sun_path)
		memcpy(sa.sun_path, x->socket_path, n);
	if (x->link < 0 || n == 0 || n >= sizeof sa.sun_path ||
	    connect(x->link, (const struct sockaddr *)&sa, sizeof sa) != 0 || !send_ask(x)) {
		fail(x, "4.3.0 the runner cannot be reached");
		return;
	}
	close(x->message);
	x->message = -1;
	x->watch = watch_new(x->loop, x->link, on_link, x);
	watch_set(x->watch, WATCH_READ);
	timer_set(&x->deadline, x->time_ms + PATIENCE_MS);
}

/* ---- life --------------------------------------------------------------------------------------- */

static void on_no_file(void *arg)
{
	fail(OBJ(run, arg), "4.3.0 there can be no file in temp_dir");
}

struct ticket *run_start(const struct run_opts *o, run_fn *fn, void *arg)
{
	char path[RUN_PATH_SIZE];
	struct run *x = MEM_NEW(struct run);
	x->ticket.cancel = cancel;
	x->magic = run_MAGIC;
	x->loop = o->loop;
	x->socket_path = mem_str(run_socket_path(o->run_dir, path));
	x->marked = mem_str(o->marked);
	x->body = o->body;
	x->lf = o->lf;
	x->time_ms = o->time_ms;
	x->ask = BUF_INIT(RUN_ASK_MAX);
	x->in = BUF_INIT(RUN_ANSWER_MAX);
	x->link = -1;
	x->fn = fn;
	x->arg = arg;
	x->message = body_file(o->temp_dir);
	x->result = o->wants_result ? body_file(o->temp_dir) : -1;
	timer_init(&x->deadline, x->loop, on_deadline, x);
	bool ok = run_ask_put(&x->ask, o->ask) && x->message >= 0 &&
		  (!o->wants_result || x->result >= 0) &&
		  write_piece(x, o->prefix, false) == ERR_OK;
	soon_init(&x->next, ok ? on_next : on_no_file, x);
	soon_set(x->loop, &x->next);
	return &x->ticket;
}
