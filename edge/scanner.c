/* scanner.c - one message to spamd, clamd or an ICAP server (part of step 4; called by filter.c).
 *
 * Owns a struct scan for each message that is scanned: its connection and one deadline. What ICAP says is scan_icap.c's. */
#include "edge/scanner_internal.h"

#include "base/check.h"
#include "base/mem.h"
#include "net/dial.h"

#include "edge/edge_tables.h"
#include "edge/filter_conf.h"
#include "edge/verdict.h"

enum {
	IN_MAX = 256 * 1024,
	OUT_MAX = 256 * 1024,
	PIECE = 64 * 1024,
	REQUEST_MAX = 512,
	WORDS_MAX = 300,
};
static const struct stream_limits limits = { .in_max = IN_MAX, .out_max = OUT_MAX };

static void dial_next(struct scan *c);

/* ---- the end -------------------------------------------------------------------------------------- */

static void drop_stream(struct scan *c)
{
	ticket_cancel(&c->dialing);
	timer_clear(&c->deadline);
	if (c->io != NULL)
		stream_free(&c->io);
	scan_text_end(&c->text);
	edit_drop(c->opts.edit);
}

static void scan_free(struct scan *c)
{
	drop_stream(c);
	soon_clear(&c->soon);
	c->magic = 0;
	mem_free(c);
}

static void cancel(struct ticket *t)
{
	scan_free(OBJ(scan, t));
}

static void finish(struct scan *c, enum scan_verdict v)
{
	scan_fn *fn = c->fn;
	void *arg = c->arg;
	scan_free(c);
	fn(arg, v);
}

void scan_fail(struct scan *c, const char *why)
{
	static const char *const steps[] = { "connecting", "options", "preview", "sending",
		"verdict", "rest" };
	metric_add(&edge_metrics[EDGE_M_FILTER_FAILURES], 1);
	log_write(&edge_events[EDGE_EV_FILTER_FAILED], c->opts.t->id.s,
	    LOG_FIELDS(LOG_STR("filter", c->opts.conf->head.title),
		LOG_STR("host", scan_host(c)->host), LOG_U64("port", scan_host(c)->port),
		LOG_STR("step", steps[c->state]), LOG_STR("why", why)));
	milter_health_bad(
	    c->opts.health, scan_host(c), loop_now_ms(c->opts.loop) + c->opts.conf->dead_time);
	drop_stream(c);
	dial_next(c);
}

/* ---- the verdict ---------------------------------------------------------------------------------- */

static void log_scan(const struct scan *c, bool hit, const char *words)
{
	log_write(&edge_events[EDGE_EV_MESSAGE_SCANNED], c->opts.t->id.s,
	    LOG_FIELDS(LOG_STR("filter", c->opts.conf->head.title),
		LOG_STR("verdict", hit ? "hit" : "clean"), LOG_STR("text", words)));
}

/* One field of that name, whoever sent others. */
static bool mark(struct scan *c, const char *name, struct span value)
{
	edit_remove_fields(c->opts.edit, name);
	return value.n == 0 || edit_add_field(c->opts.edit, name, value) == ERR_OK;
}

/* far: beyond refuse_score. */
static enum scan_verdict act(struct scan *c, bool hit, bool far, bool marked)
{
	const struct edge_scanner_conf *conf = c->opts.conf;
	const struct verdict_hit found = { .filter = conf->head.title,
		.action = far ? (int)EDGE_VERDICT_REFUSE : conf->on_hit,
		.folder = conf->folder,
		.wanted = { &conf->recipient_domains, &conf->wanted_by },
		.firm = far };
	enum verdict_end end =
	    hit || far ? verdict_apply(c->opts.edge, c->opts.t, &found) : VERDICT_ON;
	if (end == VERDICT_ON)
		return marked ? SCAN_PASS : SCAN_FAILED;
	return end == VERDICT_DISCARD ? SCAN_DISCARD : SCAN_REFUSE;
}

void scan_settle_virus(struct scan *c, const char *name)
{
	bool hit = name[0] != '\0';
	struct buf words = BUF_INIT(WORDS_MAX);
	buf_printf(&words, hit ? "Infected (%s)" : "Clean", name);
	bool marked = mark(c, "X-Virus-Status", buf_span(&words));
	log_scan(c, hit, hit ? name : NULL);
	buf_end(&words);
	finish(c, act(c, hit, false, marked));
}

static bool mark_spam(struct scan *c)
{
	const struct spamd_head *h = &c->head;
	struct buf words = BUF_INIT(SCAN_SYMBOLS_MAX + WORDS_MAX);
	if (c->opts.conf->command >= EDGE_SPAMD_HEADERS)
		return scan_text_apply(&c->text, c->opts.edit) == ERR_OK;
	buf_printf(
	    &words, "%s, score=%s required=%s", h->spam ? "Yes" : "No", h->score, h->required);
	if (c->opts.conf->command == EDGE_SPAMD_SYMBOLS)
		scan_text_put_symbols(&c->text, &words);
	bool ok = mark(c, "X-Spam-Flag", h->spam ? SPAN("YES") : SPAN_NONE) &&
		  mark(c, "X-Spam-Status", buf_span(&words));
	buf_end(&words);
	return ok;
}

static void settle_spamd(struct scan *c)
{
	const struct edge_scanner_conf *conf = c->opts.conf;
	bool marked = mark_spam(c);
	bool far = conf->refuse_score > 0 && c->head.score_milli >= conf->refuse_score * 1000;
	log_scan(c, c->head.spam, c->head.score);
	finish(c, act(c, c->head.spam, far, marked));
}

/* ---- reading -------------------------------------------------------------------------------------- */

static void read_clamd(struct scan *c)
{
	char name[SCAN_NAME_MAX + 1];
	switch (clamd_take(stream_input(c->io), name)) {
	case SCAN_READY:
		scan_settle_virus(c, name);
		break;
	case SCAN_BAD:
		scan_fail(c, "not a verdict");
		break;
	case SCAN_MORE:
		if (stream_at_eof(c->io))
			scan_fail(c, "connection closed");
		break;
	}
}

static void read_after(struct scan *c)
{
	struct span in = stream_input(c->io);
	bool end = c->head.has_length && in.n >= c->head.length;
	if (end)
		in = span_first(in, (size_t)c->head.length);
	c->head.length -= c->head.has_length ? in.n : 0;
	err_t err = scan_text_add(&c->text, in, c->opts.edit);
	stream_eat(c->io, in.n);
	if (err)
		scan_fail(c, "what it sent back cannot be used");
	else if (end || (!c->head.has_length && stream_at_eof(c->io)))
		settle_spamd(c);
	else if (stream_at_eof(c->io))
		scan_fail(c, "connection closed");
}

static void read_spamd(struct scan *c)
{
	size_t eat;
	if (c->state == SC_AFTER) {
		read_after(c);
		return;
	}
	enum scan_rx rx = spamd_take_head(stream_input(c->io), &c->head, &eat);
	if (rx == SCAN_BAD) {
		scan_fail(c, "not a verdict");
	} else if (rx == SCAN_MORE) {
		if (stream_at_eof(c->io))
			scan_fail(c, "connection closed");
	} else {
		stream_eat(c->io, eat);
		c->state = SC_AFTER;
		if (c->opts.conf->command == EDGE_SPAMD_CHECK)
			settle_spamd(c);
		else
			read_after(c);
	}
}

/* ---- sending -------------------------------------------------------------------------------------- */

static void begin_spamd(struct scan *c)
{
	static const char *const commands[] = { "CHECK", "SYMBOLS", "HEADERS", "PROCESS" };
	unsigned long long size = (unsigned long long)body_size(c->opts.t->body);
	stream_printf(c->io, "%s SPAMC/1.5\r\nContent-length: %llu\r\n\r\n",
	    commands[c->opts.conf->command], size);
	scan_send_from(c, 0);
}

static void put_spamd(struct scan *c, struct span piece)
{
	stream_write_span(c->io, piece);
}

static void begin_clamd(struct scan *c)
{
	stream_write_span(c->io, SPAN("zINSTREAM\0"));
	scan_send_from(c, 0);
}

/* Each piece behind its length; one of no bytes ends it. */
static void put_clamd(struct scan *c, struct span piece)
{
	uint32_t n = (uint32_t)piece.n;
	char head[4] = { (char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n };
	stream_write(c->io, head, sizeof head);
	stream_write_span(c->io, piece);
}

static const struct scan_kind {
	void (*begin)(struct scan *c);
	void (*put_piece)(struct scan *c, struct span piece);
	void (*read)(struct scan *c);
} kinds[] = {
	[EDGE_SCANNER_SPAMD] = { begin_spamd, put_spamd, read_spamd },
	[EDGE_SCANNER_CLAMD] = { begin_clamd, put_clamd, read_clamd },
	[EDGE_SCANNER_ICAP] = { icap_begin, icap_put_piece, icap_read },
};

static const struct scan_kind *kind_of(const struct scan *c)
{
	return &kinds[c->opts.conf->type];
}

static void pump(struct scan *c)
{
	err_t err = ERR_OK;
	while (c->state == SC_SEND && stream_space(c->io) > PIECE + REQUEST_MAX) {
		struct span piece = body_read(c->opts.t->body, c->sent, PIECE, &err);
		if (err) {
			scan_fail(c, "the message cannot be read");
			return;
		}
		kind_of(c)->put_piece(c, piece);
		c->sent += piece.n;
		if (piece.n == 0)
			c->state = SC_HEAD;
	}
}

void scan_send_from(struct scan *c, uint64_t at)
{
	c->state = SC_SEND;
	c->sent = at;
	pump(c);
}

/* ---- events --------------------------------------------------------------------------------------- */

static void on_stream(void *arg, enum stream_event ev)
{
	struct scan *c = OBJ(scan, arg);
	switch (ev) {
	case STREAM_FAILED:
		scan_fail(c, err_text(stream_err(c->io)));
		break;
	case STREAM_SENT:
		pump(c);
		break;
	case STREAM_INPUT:
	case STREAM_EOF:
		kind_of(c)->read(c);
		break;
	case STREAM_SECURED:
		break;
	}
}

static void on_deadline(void *arg)
{
	scan_fail(OBJ(scan, arg), "no answer in time");
}

static void on_dialled(void *arg, const struct dial_result *r)
{
	struct scan *c = OBJ(scan, arg);
	c->dialing = NULL;
	if (r->err) {
		scan_fail(c, r->text != NULL ? r->text : err_text(r->err));
		return;
	}
	c->io = r->stream;
	stream_set_owner(c->io, limits, on_stream, c);
	milter_health_good(c->opts.health, scan_host(c));
	timer_set(&c->deadline, c->opts.conf->timeout);
	scan_text_init(&c->text, c->opts.conf->command);
	kind_of(c)->begin(c);
}

static void on_soon(void *arg)
{
	finish(OBJ(scan, arg), SCAN_FAILED);
}

static void dial_next(struct scan *c)
{
	const struct edge_scanner_conf *conf = c->opts.conf;
	c->next =
	    milter_health_next(c->opts.health, &conf->address, c->next, loop_now_ms(c->opts.loop));
	if (c->next == conf->address.n) {
		soon_set(c->opts.loop, &c->soon);
		return;
	}
	c->host = c->next++;
	c->state = SC_DIAL;
	struct dial_target target = {
		.host = span_str(scan_host(c)->host),
		.port = scan_host(c)->port,
		.deadline_ms = conf->connect_timeout,
		.limits = limits,
	};
	c->dialing = dial_start(c->opts.loop, c->opts.dns, &target, on_dialled, c);
}

void scan_dial_again(struct scan *c)
{
	drop_stream(c);
	c->next = c->host;
	dial_next(c);
}

/* ---- public --------------------------------------------------------------------------------------- */

bool scan_wanted(const struct edge_scanner_conf *c, const struct transaction *t)
{
	return filter_wanted(&(struct filter_wish){ &c->recipient_domains, &c->wanted_by }, t) &&
	       body_size(t->body) <= c->size_max;
}

struct ticket *scan_start(const struct scan_opts *opts, scan_fn *fn, void *arg)
{
	struct scan *c = MEM_NEW(struct scan);
	c->ticket.cancel = cancel;
	c->magic = scan_MAGIC;
	c->opts = *opts;
	c->fn = fn;
	c->arg = arg;
	timer_init(&c->deadline, opts->loop, on_deadline, c);
	soon_init(&c->soon, on_soon, c);
	scan_text_init(&c->text, opts->conf->command);
	dial_next(c);
	return &c->ticket;
}
