/* back.c - a login conversation with a store (step 4 of 5, beside route.c): framing, TLS, deadline and
 * the ticket; the words are in back_imap.c and back_pop3.c. Owns: struct talk. */
#include "mmp/back.h"

#include "base/base64.h"
#include "base/check.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "proto/sasl.h"

enum { USER_MAX = 512, DETAIL_MAX = 200, CAPABILITY_MAX = 4096, NOTICES_MAX = 4096 };

const struct stream_limits back_stream_limits = {
	.in_max = 2 * TALK_LINE_MAX,
	.out_max = 2 * TALK_COMMAND_MAX,
};

static void talk_free(struct talk *t)
{
	timer_clear(&t->deadline);
	stream_free(&t->stream);
	mem_free(t->tls_name);
	mem_free(t->client_name);
	smtp_reply_reader_end(&t->replies);
	buf_end(&t->user);
	buf_end(&t->authz);
	buf_wipe_end(&t->secret);
	buf_end(&t->line);
	buf_end(&t->capability);
	buf_end(&t->notices);
	buf_end(&t->detail);
	t->magic = 0;
	mem_free(t);
}

static void on_cancel(struct ticket *ticket)
{
	talk_free(OBJ(talk, ticket));
}

/* Gives the answer; the conversation is gone when it returns. */
static void answer(struct talk *t)
{
	struct back_done done = {
		.status = t->status,
		.learnt = t->learnt,
		.capability = buf_span(&t->capability),
		.notices = buf_span(&t->notices),
		.detail = buf_len(&t->detail) > 0 ? buf_cstr(&t->detail) : NULL,
	};
	back_fn *fn = t->fn;
	void *arg = t->arg;
	if (t->status == BACK_OK) {
		done.stream = t->stream;
		t->stream = NULL;
	}
	timer_clear(&t->deadline);
	fn(arg, &done);
	talk_free(t);
}

enum talk_verdict talk_end(struct talk *t, enum back_status status, struct span text)
{
	t->status = status;
	buf_clear(&t->detail);
	if (status != BACK_OK) /* nobody asks why */
		fmt_line_text(&t->detail, text, DETAIL_MAX);
	return TALK_DONE;
}

enum talk_verdict talk_broken(struct talk *t, const char *what)
{
	return talk_end(t, t->exposed ? BACK_BROKEN : BACK_UNREADY, span_str(what));
}

enum talk_verdict talk_lost(struct talk *t, struct span text)
{
	return talk_end(t, t->exposed ? BACK_TEMPORARY : BACK_UNREADY, text);
}

enum talk_verdict talk_say(struct talk *t, int step, struct buf *take_out)
{
	bool whole = buf_ok(take_out) && stream_write_span(t->stream, buf_span(take_out));
	buf_wipe_end(take_out);
	t->step = step;
	return whole ? TALK_READ : talk_broken(t, "command too long to send");
}

bool talk_is_probe(const struct talk *t)
{
	return t->probe && !t->learn && (t->starttls == NULL || stream_is_tls(t->stream));
}

/* One that is another site's is a store if the policy says so; one of our own name is ourselves all the same. */
bool talk_loops(const struct talk *t, struct span greeting)
{
	if (span_find_span(greeting, SPAN(MULTIPLEXOR_READY)) == SIZE_MAX)
		return false;
	return !t->policy->multiplexor || span_ieq_str(span_cut(&greeting, ' '), t->own_name);
}

bool talk_may_be_plain(const struct talk *t)
{
	return !t->external && buf_len(&t->authz) == 0;
}

const char *talk_mechanism(const struct talk *t)
{
	return t->external ? "EXTERNAL" : "PLAIN";
}

bool talk_put_response(struct talk *t, struct buf *out)
{
	if (!buf_ok(&t->user) || !buf_ok(&t->authz) || !buf_ok(&t->secret))
		return false;
	if (t->external)
		t->exposed = base64_put(out, buf_span(&t->authz));
	else
		t->exposed = sasl_plain_put(
		    out, buf_span(&t->authz), buf_span(&t->user), buf_span(&t->secret));
	return t->exposed;
}

enum talk_verdict talk_respond(struct talk *t, int step, struct buf *take_out)
{
	bool good = talk_put_response(t, take_out);
	buf_add_str(take_out, "\r\n");
	if (good)
		return talk_say(t, step, take_out);
	buf_wipe_end(take_out);
	return talk_end(t, BACK_TEMPORARY, SPAN("name or password cannot be sent"));
}

static enum talk_verdict start_tls(struct talk *t)
{
	if (stream_start_tls_client(t->stream, t->starttls, t->tls_name, NULL) > 0)
		return talk_broken(t, "bytes injected before TLS");
	return TALK_WAIT;
}

static enum line_rx take_line(struct talk *t, struct span *out, size_t *eat_out)
{
	return line_take(&t->scan, stream_input(t->stream), out, eat_out);
}

static enum talk_verdict read_line(struct talk *t)
{
	struct span line = SPAN_NONE;
	size_t eat = 0;
	enum line_rx rx = (t->back->take != NULL ? t->back->take : take_line)(t, &line, &eat);
	if (rx == LINE_READY) {
		buf_clear(&t->line);
		buf_add_span(&t->line, line);
		stream_eat(t->stream, eat);
		return t->back->on_line(t, buf_span(&t->line));
	}
	if (t->scan.skipping) /* its end need not come: it is too long already */
		rx = LINE_TOO_LONG;
	if (rx != LINE_MORE)
		return talk_broken(t, line_rx_why(rx));
	if (stream_at_eof(t->stream))
		return talk_lost(t, SPAN("closed the connection"));
	return TALK_WAIT;
}

/* The driver; t may be gone when it returns. */
static void talk_step(struct talk *t)
{
	enum talk_verdict v;
	do {
		v = read_line(t);
		if (v == TALK_TLS)
			v = start_tls(t);
	} while (v == TALK_READ);
	if (v == TALK_DONE)
		answer(t);
}

static enum talk_verdict on_secured(struct talk *t)
{
	if (!store_policy_key_fits(t->policy, t->stream))
		return talk_broken(t, "its key is not a pinned one");
	return talk_is_probe(t) ? talk_end(t, BACK_OK, SPAN_NONE) : t->back->on_secured(t);
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct talk *t = OBJ(talk, arg);
	switch (ev) {
	case STREAM_INPUT:
	case STREAM_EOF:
		talk_step(t);
		break;
	case STREAM_SECURED:
		if (on_secured(t) == TALK_DONE)
			answer(t);
		break;
	case STREAM_FAILED:
		talk_lost(t, span_str(stream_err_text(t->stream)));
		answer(t);
		break;
	case STREAM_SENT:
		break;
	}
}

static void on_deadline(void *arg)
{
	struct talk *t = OBJ(talk, arg);
	talk_lost(t, SPAN("no answer in time"));
	answer(t);
}

/* Who logs in, for whom, with which proof. */
static void set_login(struct talk *t, const struct back_ask *ask)
{
	const struct store_policy *p = t->policy;
	switch (p->login) {
	case LOGIN_PASSWORD:
		buf_add_span(&t->user, ask->user);
		buf_add_span(&t->secret, ask->secret);
		break;
	case LOGIN_PROXY:
		buf_add_str(&t->user, p->user);
		buf_add_span(&t->secret, p->secret);
		buf_add_span(&t->authz, ask->user);
		break;
	case LOGIN_MASTER:
		buf_add_span(&t->user, ask->user);
		buf_add_str(&t->user, p->separator);
		buf_add_str(&t->user, p->user);
		buf_add_span(&t->secret, p->secret);
		break;
	case LOGIN_CERTIFICATE:
		t->external = true;
		buf_add_span(&t->authz, ask->user);
		break;
	case LOGIN_XCLIENT: /* of submission only: route.c sees to that */
		buf_add_span(&t->authz, ask->user);
		break;
	}
}

struct ticket *back_login(
    struct loop *l, struct stream **take_stream, const struct back_ask *ask, back_fn *fn, void *arg)
{
	struct talk *t = MEM_NEW(struct talk);
	t->ticket.cancel = on_cancel;
	t->magic = talk_MAGIC;
	t->back = ask->back;
	t->stream = *take_stream;
	*take_stream = NULL;
	t->policy = ask->policy;
	t->starttls = ask->policy->tls == MMP_TLS_STARTTLS ? ask->policy->ctx : NULL;
	if (t->starttls != NULL)
		t->tls_name = mem_str(ask->tls_name);
	if (ask->client_name.n > 0)
		t->client_name = mem_span_str(ask->client_name);
	t->own_name = ask->own_name;
	smtp_reply_reader_init(&t->replies);
	t->user = BUF_IN(t->user_room, USER_MAX);
	t->secret = BUF_IN(t->secret_room, SASL_SECRET_MAX);
	t->scan = LINE_SCAN_INIT(TALK_LINE_MAX);
	t->line = BUF_INIT(TALK_LINE_MAX);
	t->capability = BUF_INIT(CAPABILITY_MAX);
	t->notices = BUF_INIT(NOTICES_MAX);
	t->detail = BUF_INIT(DETAIL_MAX + 1);
	t->authz = BUF_INIT(USER_MAX);
	t->probe = ask->probe;
	if (!t->probe)
		set_login(t, ask);
	t->facts = ask->facts;
	t->learn = ask->learn;
	t->fn = fn;
	t->arg = arg;
	stream_set_owner(t->stream, back_stream_limits, on_stream, t);
	stream_set_secret(t->stream);
	timer_init(&t->deadline, l, on_deadline, t);
	timer_set(&t->deadline, ask->deadline_ms);
	return &t->ticket;
}
