/* dry.c - a client that says EHLO, MAIL and RCPT to a session of our own and notes what it hears.
 *
 * Owns a struct dry for each run: the client's end of a socket pair, the clock, and what the session's records
 * hold. The session is its own; each knows the other until one of them ends. */
#include "edge/dry.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "net/stream.h"
#include "proto/smtp_path.h"

#include "edge/session.h"

#define dry_MAGIC 0xd2f02001u

enum {
	DRY_MS = 8000, /* who asks waits 10 s */
	REPLY_MAX = 8192,
	CHECKS_MAX = 64 * 1024,
	AFTER_RCPT = 3, /* steps before the recipients: the greeting, EHLO, MAIL */
};

struct dry {
	uint32_t magic;
	struct list_node link; /* in edge->dries */
	struct edge *edge;
	struct session *session; /* NULL: it has ended */
	struct stream *io;       /* owned */
	struct timer deadline;
	uint64_t begun_ms;
	char *helo, *sender, *recipients[DRY_RECIPIENTS_MAX]; /* owned */
	size_t n, step;  /* of what was said: greeting, EHLO, MAIL, each RCPT, QUIT */
	struct buf said; /* the command under way */
	/* Of the connection, of its mail, and what was heard: whole records, in this order in the answer. */
	struct record connection, mail, heard;
	dry_fn *fn;
	void *arg;
	uint32_t id;
};

/* ---- words ------------------------------------------------------------------------------------- */

static bool is_clean(const char *word)
{
	struct span w = span_str(word);
	for (size_t i = 0; i < w.n; i++)
		if ((unsigned char)w.p[i] < ' ' || w.p[i] == 0x7f)
			return false;
	return w.n <= DRY_WORD_MAX;
}

static const char *take_word(const char *name, const char *value, struct dry_ask *out)
{
	struct span option = span_str(name);
	if (!is_clean(value))
		return "a value is too long, or has control characters in it";
	if (span_eq_str(option, "--ip"))
		return ip_parse(span_str(value), &out->client) ? NULL : "--ip wants an address";
	if (span_eq_str(option, "--helo"))
		out->helo = value;
	else if (span_eq_str(option, "--from"))
		out->sender = span_eq_str(span_str(value), "<>") ? "" : value;
	else if (span_eq_str(option, "--listener"))
		out->listener = value;
	else if (span_eq_str(option, "--user"))
		out->user = value;
	else if (!span_eq_str(option, "--rcpt"))
		return "unknown word";
	else if (out->n == DRY_RECIPIENTS_MAX)
		return "too many recipients";
	else
		out->recipients[out->n++] = value;
	return NULL;
}

const char *dry_parse(const char *const *words, size_t n, struct dry_ask *out)
{
	const char *why = NULL;
	*out = (struct dry_ask){ .helo = "localhost" };
	for (size_t i = 0; i < n && why == NULL; i += 2)
		why = i + 1 < n ? take_word(words[i], words[i + 1], out) : "a value is missing";
	if (why == NULL && (ip_is_none(out->client) || out->sender == NULL || out->n == 0))
		why = "--ip, --from and --rcpt are wanted";
	return why;
}

/* ---- the end ----------------------------------------------------------------------------------- */

static void dry_free(struct dry *d)
{
	timer_clear(&d->deadline);
	stream_free(&d->io);
	list_remove(&d->link);
	record_end(&d->connection);
	record_end(&d->mail);
	record_end(&d->heard);
	buf_end(&d->said);
	mem_free(d->helo);
	mem_free(d->sender);
	for (size_t i = 0; i < d->n; i++)
		mem_free(d->recipients[i]);
	d->magic = 0;
	mem_free(d);
}

static void put_checks(struct buf *out, const struct record *r)
{
	struct span checks = buf_span(&r->checks);
	buf_printf(out, "%s%.*s", buf_len(out) > 1 && checks.n > 0 ? "," : "", SPAN_ARG(checks));
}

/* The session goes first: what it knows belongs to the answer. */
static void finish(struct dry *d)
{
	struct buf json = BUF_INIT(CHECKS_MAX);
	dry_fn *fn = d->fn;
	void *arg = d->arg;
	uint32_t id = d->id;
	if (d->session != NULL)
		session_drop(d->session, WHY_STOPPED);
	buf_add_char(&json, '[');
	put_checks(&json, &d->connection);
	put_checks(&json, &d->mail);
	put_checks(&json, &d->heard);
	buf_add_char(&json, ']');
	dry_free(d);
	fn(arg, id, buf_ok(&json) ? buf_span(&json) : SPAN("[]"));
	buf_end(&json);
}

void dry_free_all(struct edge *e)
{
	while (!list_empty(&e->dries))
		dry_free(LIST_OF(struct dry, link, e->dries.next));
}

/* ---- what the session has to tell -------------------------------------------------------------- */

static void keep(struct record *to, const struct record *r)
{
	buf_clear(&to->checks);
	to->checks.max = CHECKS_MAX;
	buf_add_span(&to->checks, buf_span(&r->checks));
}

void dry_keep_mail(struct dry *d, const struct record *r)
{
	keep(&d->mail, r);
}

void dry_keep_session(struct dry *d, const struct record *r)
{
	keep(&d->connection, r);
}

void dry_session(struct dry *d, struct session *s)
{
	d->session = s;
}

void dry_session_gone(struct dry *d)
{
	d->session = NULL;
}

/* ---- the conversation -------------------------------------------------------------------------- */

static void note(struct dry *d, const char *check, const char *what, struct span answer)
{
	struct buf text = BUF_INIT(REPLY_MAX);
	buf_printf(&text, "%s%s%.*s", what, what[0] != '\0' ? ": " : "", SPAN_ARG(answer));
	record_note(&d->heard, loop_now_ms(d->edge->loop) - d->begun_ms, check, buf_span(&text));
	buf_end(&text);
}

/* False: everything was said. */
static bool say_next(struct dry *d, bool refused)
{
	bool over = d->step >= AFTER_RCPT + d->n;
	buf_clear(&d->said);
	if (over)
		return false;
	d->step++;
	if (refused && d->step <= AFTER_RCPT) /* nothing more can be tried */
		return false;
	if (d->step == 1)
		buf_printf(&d->said, "EHLO %s", d->helo);
	else if (d->step == 2)
		buf_printf(&d->said, "MAIL FROM:<%s>", d->sender);
	else if (d->step - AFTER_RCPT < d->n)
		buf_printf(&d->said, "RCPT TO:<%s>", d->recipients[d->step - AFTER_RCPT]);
	else
		return false;
	return stream_printf(d->io, "%s\r\n", buf_cstr(&d->said));
}

/* A whole reply at the front of in; 0: it is not all there. */
static size_t reply_length(struct span in)
{
	size_t at = 0;
	for (;;) {
		size_t n = span_find(span_from(in, at), '\n');
		if (n == SIZE_MAX)
			return 0;
		if (n < 4 || in.p[at + 3] != '-')
			return at + n + 1;
		at += n + 1;
	}
}

/* The last line of a reply says enough. */
static struct span last_line(struct span reply)
{
	struct span text = span_trim(reply);
	size_t at = span_rfind(text, '\n');
	return at == SIZE_MAX ? text : span_from(text, at + 1);
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct dry *d = OBJ(dry, arg);
	size_t n;
	if (ev == STREAM_FAILED || ev == STREAM_EOF) {
		finish(d);
		return;
	}
	while ((n = reply_length(stream_input(d->io))) > 0) {
		struct span line = last_line(span_first(stream_input(d->io), n));
		bool refused = line.n == 0 || line.p[0] == '4' || line.p[0] == '5';
		note(d, "answer", d->step == 0 ? "greeting" : buf_cstr(&d->said), line);
		stream_eat(d->io, n);
		if (!say_next(d, refused)) {
			finish(d);
			return;
		}
	}
}

static void on_deadline(void *arg)
{
	struct dry *d = OBJ(dry, arg);
	note(d, "dry_run", buf_cstr(&d->said), SPAN("no answer in time"));
	finish(d);
}

/* ---- the beginning ----------------------------------------------------------------------------- */

static const struct edge_listener_conf *listener_of(const struct edge *e, const char *name)
{
	const struct edge_conf *c = e->setup->edge;
	if (name != NULL)
		return edge_listener(c, name);
	for (size_t i = 0; i < c->listener_n; i++)
		if (c->listener[i]->role == EDGE_MX)
			return c->listener[i];
	return c->listener_n > 0 ? c->listener[0] : NULL;
}

static struct dry *dry_new(struct edge *e, const struct dry_ask *ask, int take_fd)
{
	struct dry *d = MEM_NEW(struct dry);
	struct stream_limits limits = { .in_max = REPLY_MAX, .out_max = REPLY_MAX };
	d->magic = dry_MAGIC;
	d->edge = e;
	d->begun_ms = loop_now_ms(e->loop);
	d->helo = mem_str(ask->helo);
	d->sender = mem_str(ask->sender);
	d->n = ask->n;
	for (size_t i = 0; i < ask->n; i++)
		d->recipients[i] = mem_str(ask->recipients[i]);
	d->said = BUF_INIT(4 * DRY_WORD_MAX);
	d->io = stream_new(e->loop, take_fd, limits, on_stream, d);
	timer_init(&d->deadline, e->loop, on_deadline, d);
	timer_set(&d->deadline, DRY_MS);
	list_add_tail(&e->dries, &d->link);
	note(d, "dry_run", "",
	    SPAN("limits, policy services and filters are not asked, no message follows"));
	return d;
}

struct dry *dry_start(struct edge *e, const struct dry_ask *ask, const char **why_out)
{
	const struct edge_listener_conf *listener = listener_of(e, ask->listener);
	int pair[2];
	*why_out = NULL;
	if (listener == NULL)
		*why_out = "there is no such listener";
	else if (!edge_client_enter(e, ask->client))
		*why_out = "this client has too many connections: connections_per_client_max";
	if (*why_out != NULL)
		return NULL;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
		edge_client_leave(e, ask->client);
		*why_out = "no descriptor is free";
		return NULL;
	}
	struct dry *d = dry_new(e, ask, pair[0]);
	struct accepted a = { .fd = pair[1], .probe = true };
	a.client.addr = a.peer.addr = ask->client;
	session_start_dry(e, listener, &a, d, ask->user);
	return d;
}

void dry_answer_to(struct dry *d, dry_fn *fn, void *arg, uint32_t id)
{
	d->fn = fn;
	d->arg = arg;
	d->id = id;
}
