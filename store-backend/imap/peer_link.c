/* peer_link.c - connection and login at another store; see peer_link.h.
 *
 * Before: remote.c. States in order: dial, [STARTTLS], CAPABILITY, AUTHENTICATE, [ENABLE], ready. Owns the stream. */
#include <stdio.h>

#include "store-backend/imap/peer_link.h"

#include "base/check.h"
#include "base/mem.h"
#include "net/dial.h"
#include "proto/imap_resp.h"
#include "proto/sasl.h"

enum {
	PEER_IN_MAX = 128 * 1024,
	PEER_OUT_MAX = 512 * 1024, /* a whole command, beside what waits */
	PEER_RESPONSE_MAX = 64 * 1024,
	PEER_COMMAND_MAX = 8 * 1024,
	PEER_LINGER_MS = 2000,
	PEER_KEEPALIVE_S = 300,
	PORT_IMAP = 143,
	PORT_IMAPS = 993
};

enum peer_step {
	AT_DIAL,
	AT_GREETING,
	AT_STARTTLS,
	AT_TLS,
	AT_CAPABILITY,
	AT_LOGIN,
	AT_ENABLE,
	AT_READY,
	AT_GONE
};

#define peer_link_MAGIC 0x1a9450e9u
struct peer_link {
	uint32_t magic;
	struct store_worker *worker;
	struct peer_link_opts opts; /* of it only peer, conf and client */
	enum peer_step step;
	peer_link_fn *fn;
	void *arg;
	char *user; /* owned */
	struct ident session;
	struct ticket *dial;
	struct stream *io;     /* owned once dialled */
	struct timer deadline; /* until it is ready */
	struct imap_frame frame;
	char enable[64]; /* words for ENABLE */
	bool enabled;    /* ENABLED named every word */
	const char *why;
};

bool peer_link_is_ready(const struct peer_link *l)
{
	return l->step == AT_READY;
}

const struct store_peer_conf *peer_link_peer(const struct peer_link *l)
{
	return l->opts.peer;
}

struct stream *peer_link_stream(const struct peer_link *l)
{
	return l->step == AT_READY ? l->io : NULL;
}

const char *peer_link_why(const struct peer_link *l)
{
	return l->why == NULL ? "-" : l->why;
}

void peer_link_free(struct peer_link **lp)
{
	struct peer_link *l = *lp;
	if (l == NULL)
		return;
	ticket_cancel(&l->dial);
	timer_clear(&l->deadline);
	if (l->io != NULL && l->step == AT_READY)
		stream_close(&l->io, PEER_LINGER_MS);
	else
		stream_free(&l->io);
	mem_free(l->user);
	l->magic = 0;
	MEM_FREE(lp);
}

/* The owner frees it, now or later. */
static void gone(struct peer_link *l, const char *why)
{
	l->why = why;
	l->step = AT_GONE;
	timer_clear(&l->deadline);
	l->fn(l->arg, l, PEER_GONE);
}

/* ---- login ----------------------------------------------------------------------------------------- */

/* Each answers why it cannot go on, or NULL. */
typedef const char *answer_fn(struct peer_link *l, const struct imap_resp *r);

static const char *say(struct peer_link *l, enum peer_step step, const char *command)
{
	l->step = step;
	return stream_printf(l->io, "P%d %s\r\n", step, command) ? NULL : "connection is full";
}

static const char *say_login(struct peer_link *l)
{
	struct store_peer_login login = store_peer_login(l->opts.conf, l->opts.peer);
	struct buf plain = BUF_INIT(PEER_COMMAND_MAX);
	char client[IP_TEXT_SIZE];
	stream_printf(l->io,
	    "PI ID (\"x-originating-ip\" \"%s\" \"x-originating-port\" \"%u\" \"x-session-id\" "
	    "\"%s\")\r\n",
	    ip_text(l->opts.client.addr, client), l->opts.client.port, l->session.s);
	bool ok = sasl_plain_put(&plain, span_str(l->user), span_str(login.user), login.secret);
	l->step = AT_LOGIN;
	ok =
	    ok && stream_printf(l->io, "P%d AUTHENTICATE PLAIN %s\r\n", AT_LOGIN, buf_cstr(&plain));
	buf_wipe_end(&plain);
	return ok ? NULL : "the login is too long";
}

static const char *after_greeting(struct peer_link *l, const struct imap_resp *r)
{
	if (r->kind != IMAP_RESP_UNTAGGED || r->cond != IMAP_COND_OK)
		return "its greeting is not OK";
	if (l->opts.peer->tls == STORE_TLS_STARTTLS)
		return say(l, AT_STARTTLS, "STARTTLS");
	return say(l, AT_CAPABILITY, "CAPABILITY");
}

static const char *after_starttls(struct peer_link *l, const struct imap_resp *r)
{
	if (r->kind == IMAP_RESP_UNTAGGED)
		return NULL;
	if (r->cond != IMAP_COND_OK)
		return "offers no STARTTLS";
	l->step = AT_TLS;
	size_t early = stream_start_tls_client(
	    l->io, store_worker_tls_client(l->worker), l->opts.peer->address.host, NULL);
	return early == 0 ? NULL : "said something before TLS";
}

static const char *after_capability(struct peer_link *l, const struct imap_resp *r)
{
	struct span can = imap_resp_capabilities(r);
	if (r->kind == IMAP_RESP_TAGGED)
		return "did not say what it can do";
	if (can.n == 0)
		return NULL;
	if (!span_has_word(can, SPAN("AUTH=PLAIN")) || !span_has_word(can, SPAN("SASL-IR")) ||
	    !span_has_word(can, SPAN("LITERAL+")) || !span_has_word(can, SPAN("ID")))
		return "lacks AUTH=PLAIN, SASL-IR, LITERAL+ or ID";
	return say_login(l);
}

static const char *ready(struct peer_link *l)
{
	l->step = AT_READY;
	timer_clear(&l->deadline);
	return NULL; /* the owner is told when the response has been dealt with */
}

static bool answers(const struct imap_resp *r, enum peer_step step)
{
	const char tag[] = { 'P', (char)('0' + (int)step), '\0' };
	return r->kind == IMAP_RESP_TAGGED && span_eq_str(r->tag, tag);
}

static const char *after_login(struct peer_link *l, const struct imap_resp *r)
{
	if (!answers(r, AT_LOGIN))
		return NULL; /* of CAPABILITY or ID */
	if (r->cond != IMAP_COND_OK)
		return "refuses the login";
	if (l->enable[0] == '\0')
		return ready(l);
	struct buf line = BUF_INIT(PEER_COMMAND_MAX);
	buf_printf(&line, "ENABLE %s", l->enable);
	const char *why = say(l, AT_ENABLE, buf_cstr(&line));
	buf_end(&line);
	return why;
}

static const char *after_enable(struct peer_link *l, const struct imap_resp *r)
{
	if (r->kind == IMAP_RESP_UNTAGGED && span_ieq_str(r->name, "ENABLED")) {
		struct span words = span_str(l->enable);
		l->enabled = true;
		while (words.n > 0)
			l->enabled = span_has_word(r->data, span_cut(&words, ' ')) && l->enabled;
	}
	if (!answers(r, AT_ENABLE))
		return NULL;
	return l->enabled ? ready(l) : "cannot do what was enabled here";
}

static answer_fn *const steps[AT_READY] = {
	[AT_GREETING] = after_greeting,
	[AT_STARTTLS] = after_starttls,
	[AT_CAPABILITY] = after_capability,
	[AT_LOGIN] = after_login,
	[AT_ENABLE] = after_enable,
};

/* The next response of the login, out of the stream. False: it is not there yet, or there is no way on. */
static bool take_response(struct peer_link *l, struct buf *out)
{
	if (steps[l->step] == NULL)
		return false;
	enum imap_rx rx = imap_frame_scan(&l->frame, stream_input(l->io));
	if (rx == IMAP_RX_MORE)
		return false;
	if (rx != IMAP_RX_COMMAND) {
		gone(l, "does not speak IMAP");
		return false;
	}
	buf_add_span(out, span_first(stream_input(l->io), l->frame.len));
	stream_eat(l->io, l->frame.len);
	imap_frame_reset(&l->frame);
	return true;
}

/* False: the link may be gone. */
static bool step(struct peer_link *l)
{
	struct imap_resp r;
	struct buf response = BUF_INIT(PEER_RESPONSE_MAX);
	const char *why = NULL;
	bool there = take_response(l, &response);
	if (there && imap_resp_parse(buf_span(&response), &r) != ERR_OK)
		why = "does not speak IMAP";
	else if (there)
		why = r.cond == IMAP_COND_BYE ? "says goodbye" : steps[l->step](l, &r);
	buf_end(&response);
	if (why != NULL)
		gone(l, why);
	return there && why == NULL;
}

static void go_on(struct peer_link *l)
{
	if (l->step == AT_READY) {
		l->fn(l->arg, l, PEER_MOVED);
		return;
	}
	while (step(l)) {
		if (l->step != AT_READY)
			continue;
		l->fn(l->arg, l, PEER_READY);
		return;
	}
}

/* ---- connection -------------------------------------------------------------------------------------- */

static void on_stream(void *arg, enum stream_event ev)
{
	struct peer_link *l = OBJ(peer_link, arg);
	switch (ev) {
	case STREAM_SECURED:
		l->why = l->step == AT_TLS ? say(l, AT_CAPABILITY, "CAPABILITY") : NULL;
		break;
	case STREAM_FAILED:
		gone(l, stream_err_text(l->io));
		return;
	case STREAM_EOF:
		if (stream_input(l->io).n == 0 || l->step != AT_READY) {
			gone(l, "closed the connection");
			return;
		}
		break;
	case STREAM_INPUT:
	case STREAM_SENT:
		break;
	}
	go_on(l);
}

static void on_dialled(void *arg, const struct dial_result *r)
{
	struct peer_link *l = OBJ(peer_link, arg);
	l->dial = NULL;
	if (r->err != ERR_OK) {
		gone(l, r->text);
		return;
	}
	l->io = r->stream;
	l->step = AT_GREETING;
	stream_set_owner(l->io, (struct stream_limits){ PEER_IN_MAX, PEER_OUT_MAX }, on_stream, l);
	stream_keepalive(l->io, PEER_KEEPALIVE_S);
	go_on(l);
}

static void on_deadline(void *arg)
{
	struct peer_link *l = OBJ(peer_link, arg);
	gone(l, l->why != NULL ? l->why : "too slow");
}

struct peer_link *peer_link_new(
    struct store_worker *w, const struct peer_link_opts *opts, peer_link_fn *fn, void *arg)
{
	static const struct imap_limits limits = { PEER_RESPONSE_MAX, PEER_RESPONSE_MAX,
		PEER_RESPONSE_MAX };
	struct peer_link *l = MEM_NEW(struct peer_link);
	const struct store_peer_conf *p = opts->peer;
	bool implicit = p->tls == STORE_TLS_IMPLICIT;
	uint16_t port = implicit ? PORT_IMAPS : PORT_IMAP;
	l->magic = peer_link_MAGIC;
	l->worker = w;
	l->opts = *opts;
	l->session = *opts->session;
	l->user = mem_str(opts->user);
	snprintf(l->enable, sizeof l->enable, "%s", opts->enable);
	l->fn = fn;
	l->arg = arg;
	imap_frame_init(&l->frame, limits, false);
	timer_init(&l->deadline, store_worker_loop(w), on_deadline, l);
	timer_set(&l->deadline, opts->conf->peer_timeout);
	struct dial_target target = { .host = span_str(p->address.host),
		.port = p->address.port != 0 ? p->address.port : port,
		.tls = implicit ? store_worker_tls_client(w) : NULL,
		.alpn = implicit ? "imap" : NULL,
		.greets = true,
		.deadline_ms = opts->conf->peer_timeout,
		.limits = { PEER_IN_MAX, PEER_OUT_MAX } };
	if (p->tls != STORE_TLS_NONE && store_worker_tls_client(w) == NULL) {
		l->why = "no TLS with these settings";
		timer_set(&l->deadline, 0);
	} else {
		l->dial =
		    dial_start(store_worker_loop(w), store_worker_dns(w), &target, on_dialled, l);
	}
	return l;
}
