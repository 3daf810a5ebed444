/* https.c - one request, one answer; below it dial.c makes the connection and verifies it.
 *
 * Owns the connection, the request until it is sent and the answer until it is given. */
#include "net/https.h"

#include "base/check.h"
#include "base/ip.h"
#include "base/mem.h"
#include "net/dial.h"
#include "proto/http_reply.h"

#define https_MAGIC 0x4775b001u

enum {
	HOST_MAX = 255,
	PATH_MAX_LEN = 2048,
	HEAD_MAX = 4096,
	IN_MAX = 16 * 1024,
	BODY_MAX = 16 * 1024 * 1024
};

struct https {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct loop *loop;
	struct soon refuse; /* the question cannot be asked */
	struct timer deadline;
	struct ticket *dialing;
	struct stream *io;  /* owned once it is connected */
	struct buf request; /* owned */
	struct http_reply_reader reply;
	void (*fn)(void *arg, const struct https_answer *);
	void *arg;
};

static void https_end(struct https *h)
{
	soon_clear(&h->refuse);
	timer_clear(&h->deadline);
	ticket_cancel(&h->dialing);
	stream_free(&h->io);
	buf_end(&h->request);
	http_reply_end(&h->reply);
	h->magic = 0;
	mem_free(h);
}

static void on_cancel(struct ticket *t)
{
	https_end(OBJ(https, t));
}

/* Last statement of whoever calls it. */
static void answer(struct https *h, err_t err, const char *text)
{
	struct http_reply_reader reply = h->reply;
	struct https_answer a = { .err = err, .text = text };
	void (*fn)(void *, const struct https_answer *) = h->fn;
	void *arg = h->arg;
	char words[256];
	if (err == ERR_OK) {
		a.status = reply.status;
		a.type = span_str(reply.type);
		a.body = buf_span(&reply.body);
	}
	struct span said = span_first(span_str(text), sizeof words - 1);
	memcpy(words, said.n > 0 ? said.p : "", said.n);
	words[said.n] = '\0';
	a.text = words;
	h->reply.body = BUF_INIT(0);
	https_end(h);
	fn(arg, &a);
	http_reply_end(&reply);
}

static void on_deadline(void *arg)
{
	answer(OBJ(https, arg), ERR_TIMEOUT, "no whole answer in time");
}

static void on_refuse(void *arg)
{
	answer(OBJ(https, arg), ERR_SYNTAX, "not a question for a web server");
}

static void read_more(struct https *h)
{
	size_t eat;
	enum http_reply_rx rx = http_reply_take(&h->reply, stream_input(h->io), &eat);
	stream_eat(h->io, eat);
	if (rx == HTTP_REPLY_READY)
		answer(h, ERR_OK, "");
	else if (rx == HTTP_REPLY_BAD)
		answer(h, ERR_PROTOCOL, h->reply.why);
	else if (stream_at_eof(h->io))
		answer(h, ERR_CONN_CLOSED, "the answer broke off");
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct https *h = OBJ(https, arg);
	if (ev == STREAM_FAILED)
		answer(h, stream_err(h->io), stream_err_text(h->io));
	else if (ev == STREAM_INPUT || ev == STREAM_EOF)
		read_more(h);
}

static void on_dialled(void *arg, const struct dial_result *r)
{
	struct https *h = OBJ(https, arg);
	h->dialing = NULL;
	if (r->err) {
		answer(h, r->err, r->text);
		return;
	}
	h->io = r->stream;
	stream_set_owner(h->io,
	    (struct stream_limits){ .in_max = IN_MAX, .out_max = buf_len(&h->request) + 1 },
	    on_stream, h);
	stream_write_span(h->io, buf_span(&h->request));
}

static bool is_path(struct span path)
{
	return path.n > 0 && path.n <= PATH_MAX_LEN && path.p[0] == '/' && span_is_visible(path);
}

/* The host stands in a header field: nothing that could end it. */
static bool is_host(struct span host)
{
	for (size_t i = 0; i < host.n; i++) {
		unsigned char c = (unsigned char)host.p[i];
		if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '.' && c != '-' && c != '_' &&
		    c != ':')
			return false;
	}
	return host.n > 0 && host.n <= HOST_MAX;
}

static void put_request(struct buf *out, const struct https_ask *ask)
{
	bool v6 = span_find(ask->host, ':') != SIZE_MAX;
	bool post = ask->type.n > 0;
	buf_printf(out, "%s %.*s HTTP/1.1\r\nHost: %s%.*s%s", post ? "POST" : "GET",
	    SPAN_ARG(ask->path), v6 ? "[" : "", SPAN_ARG(ask->host), v6 ? "]" : "");
	if (ask->port != 443)
		buf_printf(out, ":%u", ask->port);
	buf_add_str(out, "\r\nUser-Agent: Postern\r\nConnection: close\r\n");
	if (post)
		buf_printf(out, "Content-Type: %.*s\r\nContent-Length: %zu\r\n",
		    SPAN_ARG(ask->type), ask->body.n);
	buf_add_str(out, "\r\n");
	buf_add_span(out, ask->body);
}

struct ticket *https_start(struct loop *l, struct dns *dns, const struct https_ask *ask,
    void (*fn)(void *arg, const struct https_answer *), void *arg)
{
	struct https *h = MEM_NEW(struct https);
	struct dial_target to = { .host = ask->host,
		.port = ask->port,
		.tls = ask->tls,
		.alpn = "http/1.1",
		.deadline_ms = ask->deadline_ms,
		.limits = { .in_max = IN_MAX, .out_max = IN_MAX } };
	h->ticket.cancel = on_cancel;
	h->magic = https_MAGIC;
	h->loop = l;
	h->fn = fn;
	h->arg = arg;
	h->request = BUF_INIT(HEAD_MAX + BODY_MAX);
	soon_init(&h->refuse, on_refuse, h);
	timer_init(&h->deadline, l, on_deadline, h);
	http_reply_init(&h->reply, ask->answer_max);
	bool ok = is_host(ask->host) && is_path(ask->path) && ask->body.n <= BODY_MAX;
	if (ok)
		put_request(&h->request, ask);
	if (!ok || !buf_ok(&h->request)) {
		soon_set(l, &h->refuse);
		return &h->ticket;
	}
	timer_set(&h->deadline, ask->deadline_ms);
	h->dialing = dial_start(l, dns, &to, on_dialled, h);
	return &h->ticket;
}
