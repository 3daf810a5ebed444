/* milter.c - one connection to one filter, for one SMTP session (part of steps 3 and 4; used by
 * filter.c).
 *
 * Owns its stream and the deadline of the step it waits in. A question is a walk through the states up
 * to its goal; which packets a filter gets, and which it answers, it has said in the negotiation.
 * Packets are never sent ahead of an answer: a filter that says no would take them for another mail. */
#include "edge/milter.h"

#include "base/check.h"
#include "base/mem.h"
#include "edge/edge_tables.h"
#include "edge/milter_internal.h"
#include "net/dial.h"

enum {
	IN_MAX = 4 + 1 + MILTER_REPLY_MAX,
	OUT_MAX = 256 * 1024,
	OUT_LOW = MILTER_DATA_MAX + 8192, /* room for macros and the largest packet */
	LINGER_MS = 1000,
};
static const struct stream_limits limits = { .in_max = IN_MAX, .out_max = OUT_MAX };

static const struct {
	const char *name;
	enum milter_command cmd;
	int macros;  /* enum milter_macro_stage; -1: none */
	unsigned no; /* bits of the negotiation: the filter does not want it ... */
	unsigned nr; /* ... or does not answer it */
	uint32_t version;
	milter_say_fn *say; /* false: nothing (more) to say in this state */
	bool content;       /* content_timeout runs, not command_timeout */
} states[MS_COUNT] = {
	[MS_CLOSED] = { .name = "closed" },
	[MS_DIAL] = { .name = "connecting" },
	[MS_OPTNEG] = { "negotiation", MILTER_OPTNEG, -1, 0, 0, 0, milter_say_optneg, false },
	[MS_CONNECT] = { "connect", MILTER_CONNECT, MILTER_M_CONNECT, MILTER_NO_CONNECT,
	    MILTER_NR_CONNECT, 0, milter_say_connect, false },
	[MS_HELO] = { "helo", MILTER_HELO, MILTER_M_HELO, MILTER_NO_HELO, MILTER_NR_HELO, 0,
	    milter_say_helo, false },
	[MS_MAIL] = { "mail", MILTER_MAIL, MILTER_M_MAIL, MILTER_NO_MAIL, MILTER_NR_MAIL, 0,
	    milter_say_words, false },
	[MS_RCPT] = { "rcpt", MILTER_RCPT, MILTER_M_RCPT, MILTER_NO_RCPT, MILTER_NR_RCPT, 0,
	    milter_say_words, false },
	[MS_DATA] = { "data", MILTER_DATA, MILTER_M_DATA, MILTER_NO_DATA, MILTER_NR_DATA, 4,
	    milter_say_empty, false },
	[MS_HEADER] = { "header", MILTER_HEADER, -1, MILTER_NO_HEADERS, MILTER_NR_HEADER, 0,
	    milter_say_field, false },
	[MS_EOH] = { "eoh", MILTER_EOH, MILTER_M_EOH, MILTER_NO_EOH, MILTER_NR_EOH, 0,
	    milter_say_empty, false },
	[MS_BODY] = { "body", MILTER_BODY, -1, MILTER_NO_BODY, MILTER_NR_BODY, 0, milter_say_text,
	    true },
	[MS_EOM] = { "eom", MILTER_EOM, MILTER_M_EOM, 0, 0, 0, milter_say_empty, true },
	[MS_IDLE] = { .name = "idle" },
};

static void dial_next(struct milter *m);

enum milter_command milter_command(const struct milter *m)
{
	return states[m->state].cmd;
}

/* ---- the end of a question ------------------------------------------------------------------------ */

static void set_state(struct milter *m, enum milter_state to)
{
	ticket_cancel(&m->dialing);
	m->state = to;
	m->at = 0;
	m->waiting = false;
	timer_clear(&m->deadline);
}

static void drop_stream(struct milter *m)
{
	set_state(m, MS_CLOSED);
	m->open = false;
	if (m->io != NULL)
		stream_free(&m->io);
}

static void forget(struct milter *m)
{
	timer_clear(&m->whole);
	soon_clear(&m->soon);
	m->fn = NULL;
	m->edit = NULL;
	m->words = SPAN_NONE;
}

/* Last statement of whoever calls it: fn may free m. While the question is being asked the answer GO is
 * what milter_ask() returns, and no other answer comes. */
static void answer(struct milter *m, const struct milter_answer *a)
{
	milter_fn *fn = m->fn;
	void *arg = m->arg;
	bool one_recipient = m->state == MS_RCPT && a->verdict == MILTER_REFUSE;
	if (a->verdict != MILTER_GO && !one_recipient)
		m->over = true;
	if (m->state == MS_EOM)
		m->open = false;
	if (a->verdict != MILTER_GO && m->state <= MS_HELO)
		drop_stream(m); /* the next mail asks anew */
	if (m->state != MS_CLOSED)
		set_state(m, MS_IDLE);
	forget(m);
	if (!m->asking)
		fn(arg, a);
}

static void on_soon(void *arg)
{
	struct milter *m = OBJ(milter, arg);
	answer(m, &(struct milter_answer){ .verdict = MILTER_FAILED });
}

static void give_up(struct milter *m)
{
	if (m->asking)
		soon_set(m->opts.loop, &m->soon);
	else
		on_soon(m);
}

static const struct conf_hostport *host_of(const struct milter *m)
{
	return &m->opts.conf->address.v[m->host];
}

static void log_failure(const struct milter *m, const char *why)
{
	metric_add(&edge_metrics[EDGE_M_FILTER_FAILURES], 1);
	log_write(&edge_events[EDGE_EV_FILTER_FAILED], m->opts.log_id,
	    LOG_FIELDS(LOG_STR("filter", m->opts.conf->head.title),
		LOG_STR("host", host_of(m)->host), LOG_U64("port", host_of(m)->port),
		LOG_STR("step", states[m->state].name), LOG_STR("why", why)));
}

/* The conversation cannot go on. As long as nothing of a mail was said another address may do. May end
 * the question. */
static void fail(struct milter *m, const char *why, bool silent)
{
	bool stale = m->state == MS_MAIL && m->kept;
	bool early = m->state <= MS_HELO || stale;
	if (m->state != MS_IDLE || m->open)
		log_failure(m, why);
	if ((early && !stale) || silent)
		milter_health_bad(m->opts.health, host_of(m),
		    loop_now_ms(m->opts.loop) + m->opts.conf->dead_time);
	drop_stream(m);
	if (m->edit != NULL)
		edit_drop(m->edit);
	if (m->fn == NULL)
		return;
	if (early)
		dial_next(m);
	else
		give_up(m);
}

/* ---- the walk ------------------------------------------------------------------------------------- */

static bool wanted(const struct milter *m)
{
	if (m->state == MS_OPTNEG)
		return true;
	return (m->neg.steps & states[m->state].no) == 0 &&
	       m->neg.version >= states[m->state].version;
}

/* Does the filter answer what was just sent? */
static bool answers(const struct milter *m)
{
	return m->state == MS_OPTNEG || (m->neg.steps & states[m->state].nr) == 0;
}

static void start_clock(struct milter *m)
{
	const struct edge_milter_conf *c = m->opts.conf;
	timer_set(&m->deadline, states[m->state].content ? c->content_timeout : c->command_timeout);
}

/* Says the next thing of this state; false: there is none. */
static bool say(struct milter *m)
{
	struct buf packet = BUF_INIT(OUT_LOW), macros = BUF_INIT(OUT_LOW);
	bool said = wanted(m) && states[m->state].say(m, &packet);
	if (said && states[m->state].macros >= 0)
		milter_put_macros(m, states[m->state].cmd,
		    (enum milter_macro_stage)states[m->state].macros, &macros);
	if (said) {
		stream_write_span(m->io, buf_span(&macros));
		stream_write_span(m->io, buf_span(&packet));
		m->open = m->open || m->state >= MS_MAIL;
	}
	buf_end(&packet);
	buf_end(&macros);
	return said;
}

/* Goes on until an answer is needed or the goal is reached; false: the question is over. */
static bool walk(struct milter *m)
{
	for (;;) {
		start_clock(m);
		if (stream_space(m->io) < OUT_LOW)
			return true; /* STREAM_SENT goes on */
		bool said = say(m);
		if (m->unread) {
			m->unread = false;
			fail(m, "the message cannot be read", false);
			return false;
		}
		m->waiting = said && answers(m);
		if (m->waiting)
			return true;
		if (!said && m->state == m->goal) {
			answer(m, &(struct milter_answer){ .verdict = MILTER_GO });
			return false;
		}
		if (!said)
			set_state(m, m->state + 1);
	}
}

/* ---- answers -------------------------------------------------------------------------------------- */

enum heard { HEARD_NEXT, HEARD_MORE, HEARD_ANSWER, HEARD_BAD };

static enum heard bad(struct milter *m, const char *why)
{
	m->why = why;
	return HEARD_BAD;
}

static enum heard on_optneg(struct milter *m, const struct milter_packet *p)
{
	struct milter_optneg *o = &m->neg;
	if (p->code != MILTER_R_OPTNEG ||
	    milter_parse_optneg(p->data, MILTER_MAY_ALL, MILTER_STEPS_ALL, o))
		return bad(m, "negotiation failed");
	for (size_t i = 0; i < MILTER_M_COUNT; i++) {
		mem_free(m->lists[i]);
		m->lists[i] = o->macros[i].p == NULL || o->macros[i].n > MACRO_LIST_MAX
				  ? NULL
				  : mem_span_str(o->macros[i]);
	}
	milter_health_good(m->opts.health, host_of(m));
	return HEARD_NEXT;
}

/* At the end of a message its changes must be kept first: there may be no room for them. */
static enum heard passed(struct milter *m)
{
	if (m->state != MS_EOM)
		return HEARD_NEXT;
	m->open = false;
	return edit_accept(m->edit) ? bad(m, "its changes could not be kept") : HEARD_NEXT;
}

static enum heard accepted(struct milter *m)
{
	if (m->state <= MS_HELO)
		m->pass_session = true;
	else
		m->over = true;
	return passed(m) == HEARD_BAD ? HEARD_BAD : HEARD_ANSWER;
}

static enum heard changed(struct milter *m, const struct milter_packet *p)
{
	struct milter_change c;
	uint32_t needs = milter_change_needs(p->code);
	if (m->state != MS_EOM || needs == 0)
		return bad(m, "a reply that is not allowed there");
	if ((m->neg.actions & needs) == 0)
		return bad(m, "a change it had not asked for");
	if (milter_parse_change(p, &c) ||
	    edit_note(m->edit, p->code, &c, (m->neg.steps & MILTER_LEADING_SPACE) != 0))
		return bad(m, "a malformed change, or too many");
	start_clock(m);
	return HEARD_MORE;
}

static enum heard refused(
    struct milter_answer *out, unsigned code, const char *enhanced, const char *text)
{
	out->verdict = code == 421 ? MILTER_CLOSE : MILTER_REFUSE;
	out->text.code = (uint16_t)code;
	memcpy(out->text.enhanced, enhanced, strlen(enhanced) + 1);
	memcpy(out->text.text, text, strlen(text) + 1);
	return HEARD_ANSWER;
}

static enum heard refused_in_its_words(
    struct milter *m, const struct milter_packet *p, struct milter_answer *out)
{
	if (milter_parse_text(p->data, &out->text))
		return bad(m, "malformed reply code");
	out->verdict = out->text.code == 421 ? MILTER_CLOSE : MILTER_REFUSE;
	return HEARD_ANSWER;
}

static enum heard on_packet(
    struct milter *m, const struct milter_packet *p, struct milter_answer *out)
{
	bool skips = m->state == MS_BODY && (m->neg.steps & MILTER_CAN_SKIP) != 0;
	if (m->state == MS_OPTNEG)
		return on_optneg(m, p);
	switch (p->code) {
	case MILTER_R_CONTINUE:
		return passed(m);
	case MILTER_R_ACCEPT:
		return accepted(m);
	case MILTER_R_REJECT:
		return refused(out, 550, "5.7.1", "refused by a filter");
	case MILTER_R_TEMPFAIL:
		return refused(out, 451, "4.7.1", "refused by a filter, try again later");
	case MILTER_R_REPLYCODE:
		return refused_in_its_words(m, p, out);
	case MILTER_R_SHUTDOWN:
		return refused(out, 421, "4.7.0", "closed by a filter, try again later");
	case MILTER_R_DISCARD:
		out->verdict = MILTER_DISCARD;
		return m->state < MS_MAIL ? bad(m, "discard before a mail") : HEARD_ANSWER;
	case MILTER_R_SKIP:
		m->at = skips ? edit_text_size(m->edit) : m->at;
		return skips ? HEARD_NEXT : bad(m, "skip outside of the text");
	case MILTER_R_PROGRESS:
		start_clock(m);
		return m->state == MS_EOM ? HEARD_MORE : bad(m, "progress before the end");
	default:
		return changed(m, p);
	}
}

/* The only reader. A packet lies in the stream until it has been dealt with. */
static void read_on(struct milter *m)
{
	struct milter_packet p;
	size_t eat;
	while (m->io != NULL) {
		struct milter_answer a = { .verdict = MILTER_GO };
		enum milter_rx rx = milter_take(stream_input(m->io), &p, &eat);
		enum heard h = HEARD_MORE;
		if (rx == MILTER_MORE && !stream_at_eof(m->io))
			return;
		if (rx == MILTER_READY && m->waiting)
			h = on_packet(m, &p, &a);
		else
			h = bad(m, rx == MILTER_READY ? "a reply to nothing"
				   : rx == MILTER_BAD ? "not a milter packet"
						      : "connection closed");
		stream_eat(m->io, eat);
		if (h == HEARD_BAD)
			fail(m, m->why, false);
		else if (h == HEARD_ANSWER)
			answer(m, &a);
		if (h == HEARD_BAD || h == HEARD_ANSWER || (h == HEARD_NEXT && !walk(m)))
			return;
	}
}

/* ---- events --------------------------------------------------------------------------------------- */

static void on_stream(void *arg, enum stream_event ev)
{
	struct milter *m = OBJ(milter, arg);
	switch (ev) {
	case STREAM_FAILED:
		m->why = err_text(stream_err(m->io));
		fail(m, m->why, false);
		break;
	case STREAM_SENT:
		if (m->fn != NULL && !m->waiting)
			walk(m);
		break;
	case STREAM_INPUT:
	case STREAM_EOF:
		read_on(m);
		break;
	case STREAM_SECURED:
		break;
	}
}

static void on_deadline(void *arg)
{
	struct milter *m = OBJ(milter, arg);
	fail(m, "no answer in time", true);
}

static void on_dialled(void *arg, const struct dial_result *r)
{
	struct milter *m = OBJ(milter, arg);
	m->dialing = NULL;
	if (r->err) {
		fail(m, r->text != NULL ? r->text : err_text(r->err), true);
		return;
	}
	m->io = r->stream;
	stream_set_owner(m->io, limits, on_stream, m);
	m->pass_session = false;
	set_state(m, MS_OPTNEG);
	walk(m);
}

/* The next address that was not tried for this mail and has not failed lately. */
static void dial_next(struct milter *m)
{
	const struct edge_milter_conf *c = m->opts.conf;
	m->next =
	    milter_health_next(m->opts.health, &c->address, m->next, loop_now_ms(m->opts.loop));
	if (m->next == c->address.n) {
		give_up(m);
		return;
	}
	m->host = m->next++;
	struct dial_target target = {
		.host = span_str(host_of(m)->host),
		.port = host_of(m)->port,
		.deadline_ms = c->connect_timeout,
		.limits = limits,
	};
	set_state(m, MS_DIAL);
	m->dialing = dial_start(m->opts.loop, m->opts.dns, &target, on_dialled, m);
}

/* ---- public --------------------------------------------------------------------------------------- */

/* In the middle of a question the filter cannot be told to stop: it goes. */
static void cancel(struct ticket *t)
{
	struct milter *m = OBJ(milter, t);
	drop_stream(m);
	if (m->edit != NULL)
		edit_drop(m->edit);
	forget(m);
	m->over = true;
}

static struct ticket *ask(struct milter *m, milter_fn *fn, void *arg)
{
	CHECK(m->fn == NULL);
	m->fn = fn;
	m->arg = arg;
	m->asking = true;
	m->kept = m->state == MS_IDLE;
	m->next = 0;
	if (m->kept) {
		set_state(m, m->first);
		walk(m);
	} else if (m->first == MS_MAIL) {
		dial_next(m);
	} else {
		give_up(m);
	}
	m->asking = false;
	return m->fn != NULL ? &m->ticket : NULL;
}

struct ticket *milter_ask(
    struct milter *m, enum milter_question what, struct span words, milter_fn *fn, void *arg)
{
	static const enum milter_state goals[] = {
		[MILTER_ASK_MAIL] = MS_MAIL,
		[MILTER_ASK_RCPT] = MS_RCPT,
		[MILTER_ASK_DATA] = MS_DATA,
	};
	if (what == MILTER_ASK_MAIL)
		m->over = false;
	if (m->over || (m->pass_session && m->state == MS_IDLE))
		return NULL;
	m->first = m->goal = goals[what];
	m->words = words;
	return ask(m, fn, arg);
}

struct ticket *milter_ask_message(struct milter *m, struct edit *e, milter_fn *fn, void *arg)
{
	if (m->over || (m->pass_session && m->state == MS_IDLE))
		return NULL;
	m->first = MS_HEADER;
	m->goal = MS_EOM;
	m->edit = e;
	timer_set(&m->whole, m->opts.conf->message_timeout);
	return ask(m, fn, arg);
}

void milter_done(struct milter *m)
{
	struct buf out = BUF_INIT(64);
	CHECK(m->fn == NULL);
	if (m->open && m->io != NULL && milter_put(&out, MILTER_ABORT, SPAN_NONE))
		stream_write_span(m->io, buf_span(&out));
	buf_end(&out);
	m->open = false;
	m->over = true;
}

struct milter *milter_new(const struct milter_opts *opts)
{
	struct milter *m = MEM_NEW(struct milter);
	m->ticket.cancel = cancel;
	m->magic = milter_MAGIC;
	m->opts = *opts;
	timer_init(&m->deadline, opts->loop, on_deadline, m);
	timer_init(&m->whole, opts->loop, on_deadline, m);
	soon_init(&m->soon, on_soon, m);
	return m;
}

void milter_free(struct milter **pm)
{
	struct milter *m = *pm;
	if (m == NULL)
		return;
	struct buf out = BUF_INIT(64);
	if (m->state == MS_IDLE && milter_put(&out, MILTER_QUIT, SPAN_NONE)) {
		stream_write_span(m->io, buf_span(&out));
		stream_close(&m->io, LINGER_MS);
	}
	buf_end(&out);
	drop_stream(m);
	forget(m);
	for (size_t i = 0; i < MILTER_M_COUNT; i++)
		mem_free(m->lists[i]);
	m->magic = 0;
	MEM_FREE(pm);
}

const struct edge_milter_conf *milter_conf(const struct milter *m)
{
	return m->opts.conf;
}
