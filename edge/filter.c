/* filter.c - the filters of a session, asked one after the other (part of steps 3 and 4; called by
 * envelope.c and content.c).
 *
 * Owns struct filters: a connection to each filter (milter.c), the mail's view that filters change
 * (milter_edit.c), and the one question that the session waits for. */
#include "edge/filter.h"

#include "base/check.h"
#include "base/mem.h"

#include "edge/added.h"
#include "edge/filter_conf.h"
#include "edge/mail.h"
#include "edge/recipient.h"
#include "edge/scanner.h"
#include "edge/sender.h"
#include "edge/verdict.h"

#define filters_MAGIC 0xf1170001u

enum { WORDS_MAX = 8192, OUR_FIELDS = 1 /* Received */ };

enum kind { ASK_COMMAND, ASK_MESSAGE };

struct slot {
	struct milter *milter; /* owned */
	bool begun;            /* it knows of the mail */
	bool discards;         /* it wants nobody of those who want it to get the mail */
};

struct filters {
	struct ticket ticket; /* first; of the question */
	uint32_t magic;
	struct session *session; /* its owner */
	struct slot *slots;      /* owned, in the order of the file */
	size_t n;
	char client_name[FILTER_CLIENT_SIZE];
	/* the mail */
	struct buf sender;     /* the words of MAIL, for filters that hear of it later */
	struct edit *edit;     /* owned; while the message is looked at */
	bool broken;           /* text is the answer to everything */
	const char *discarded; /* the filter that wants nobody to get it, or NULL */
	struct milter_text text;
	/* the question */
	filter_fn *fn; /* NULL: there is none */
	enum kind kind;
	enum milter_question what;
	struct buf words;
	size_t at;    /* the filter that is asked */
	bool begins;  /* ... about the sender first */
	size_t scans; /* the scanner that is asked */
	bool asking;
	struct ticket *ask;
	struct filter_answer given; /* known while the question was being asked */
	struct soon soon;
};

/* ---- answers -------------------------------------------------------------------------------------- */

static void forget(struct filters *f)
{
	ticket_cancel(&f->ask);
	soon_clear(&f->soon);
	buf_clear(&f->words);
	f->fn = NULL;
}

/* Last statement of whoever calls it. What is known at once comes from the loop all the same, except GO:
 * that is what asking without a ticket means. */
static void answer(struct filters *f, struct filter_answer a)
{
	filter_fn *fn = f->fn;
	if (f->asking && a.verdict != MILTER_GO) {
		f->given = a;
		soon_set(f->session->edge->loop, &f->soon);
		return;
	}
	forget(f);
	if (!f->asking)
		fn(f->session, &a);
}

static void on_soon(void *arg)
{
	struct filters *f = OBJ(filters, arg);
	answer(f, f->given);
}

static void log_verdict(const struct filters *f, const struct filter_answer *a)
{
	static const char *const words[] = { "go", "refuse", "discard", "close", "failed" };
	const struct mail *m = f->session->mail;
	metric_add(&edge_metrics[EDGE_M_FILTER_VERDICTS], 1);
	log_write(&edge_events[EDGE_EV_FILTER_VERDICT], m != NULL ? mail_id(m) : NULL,
	    LOG_FIELDS(LOG_STR("session", f->session->id.s), LOG_STR("filter", a->filter),
		LOG_STR("verdict", words[a->verdict]),
		LOG_U64("code", a->text == NULL ? 250 : a->text->code),
		LOG_STR("text", a->text == NULL ? NULL : a->text->text)));
}

/* A decision of a filter, or over one. text: NULL for a DISCARD. */
static void decide(
    struct filters *f, enum milter_verdict v, const struct milter_text *text, const char *filter)
{
	struct filter_answer a = { .verdict = v, .filter = filter };
	if (text != NULL) {
		if (text != &f->text)
			f->text = *text;
		if (f->text.enhanced[0] == '\0')
			memcpy(f->text.enhanced, f->text.code < 500 ? "4.7.1" : "5.7.1", 6);
		a.text = &f->text;
	}
	log_verdict(f, &a);
	answer(f, a);
}

static const struct milter_text away_now = {
	.code = 451, .enhanced = "4.3.0", .text = "a filter is not available, try again later"
};
static const struct milter_text away = {
	.code = 554, .enhanced = "5.3.0", .text = "a filter is not available"
};
static const struct milter_text not_kept = {
	.code = 451, .enhanced = "4.3.0", .text = "the message could not be kept"
};
static const struct milter_text big_header = {
	.code = 552, .enhanced = "5.3.4", .text = "the header section is too big"
};
static const struct milter_text no_directory = {
	.code = 451, .enhanced = "4.3.0", .text = "cannot look up the mailbox now"
};
static const struct milter_text unwanted = {
	.code = 550, .enhanced = "5.7.1", .text = "refused by a filter"
};

/* on_failure of a filter; false: go on without it. lasts: for the rest of the mail. */
static bool failed(struct filters *f, int on_failure, const char *filter, bool lasts)
{
	if (on_failure == EDGE_FAIL_ACCEPT)
		return false;
	f->broken = lasts;
	decide(f, MILTER_REFUSE, on_failure == EDGE_FAIL_REJECT ? &away : &away_now, filter);
	return true;
}

/* A refusal of the message, or a discard, by a filter that only some recipients want (`wanted`), is about them: true, the others
 * go on. False: there are no others, and nothing was done. words: of a refusal. */
static bool spares_some(struct filters *f, const char *filter, struct filter_wish wanted,
    enum edge_on_verdict action, const struct milter_text *words)
{
	const struct session *s = f->session;
	const struct verdict_hit hit = { .filter = filter,
		.action = (int)action,
		.wanted = wanted,
		.firm = true,
		.refusal = words };
	if (filter_wish_of_all(&wanted) ||
	    verdict_apply(s->setup->edge, s->mail->t, &hit) != VERDICT_ON)
		return false;
	log_verdict(f, &(struct filter_answer){ .filter = filter,
			   .verdict = words != NULL ? MILTER_REFUSE : MILTER_DISCARD,
			   .text = words });
	session_notef(f->session, "filter", "%s: %s those who want it", filter,
	    words != NULL ? "refuses it for" : "discards it for");
	return true;
}

/* ---- the end of a message -------------------------------------------------------------------------- */

static void finish_message(struct filters *f)
{
	struct transaction *t = f->session->mail->t;
	if (t->recipient_count == 0) /* they have deleted all of them */
		decide(f, MILTER_DISCARD, NULL, NULL);
	else
		answer(f, (struct filter_answer){ .verdict = MILTER_GO });
}

static void on_added(void *arg, bool known)
{
	struct filters *f = OBJ(filters, arg);
	f->ask = NULL;
	if (known)
		finish_message(f);
	else
		decide(f, MILTER_REFUSE, &no_directory, NULL);
}

static void look_up_added(struct filters *f)
{
	struct session *s = f->session;
	struct added_opts opts = { .expand = recipient_expand_opts(s),
		.t = s->mail->t,
		.max = (size_t)s->setup->edge->recipients_max };
	opts.n = edit_added(f->edit, &opts.addresses);
	if (opts.n == 0)
		finish_message(f);
	else
		f->ask = added_start(&opts, on_added, f);
}

/* ---- scanners -------------------------------------------------------------------------------------- */

static bool on_listener(const struct conf_strings *listeners, const struct session *s)
{
	return edge_names_listener(listeners, s->listener->head.title);
}

static void scan_next(struct filters *f);

static void scan_failed(struct filters *f, const struct edge_scanner_conf *conf)
{
	const char *name = conf->head.title;
	const struct filter_wish wish = { &conf->recipient_domains, &conf->wanted_by };
	bool rejects = conf->on_failure == EDGE_FAIL_REJECT;
	if (rejects && spares_some(f, name, wish, EDGE_VERDICT_REFUSE, &away))
		scan_next(f);
	else if (!failed(f, conf->on_failure, name, true))
		scan_next(f);
}

static void on_scanned(void *arg, enum scan_verdict v)
{
	struct filters *f = OBJ(filters, arg);
	const struct edge_scanner_conf *conf = f->session->setup->edge->scanner[f->scans++];
	f->ask = NULL;
	switch (v) {
	case SCAN_PASS:
		scan_next(f);
		break;
	case SCAN_REFUSE:
		decide(f, MILTER_REFUSE, &unwanted, conf->head.title);
		break;
	case SCAN_DISCARD:
		decide(f, MILTER_DISCARD, NULL, conf->head.title);
		break;
	case SCAN_FAILED:
		scan_failed(f, conf);
		break;
	}
}

static bool scans(const struct filters *f, const struct edge_scanner_conf *c)
{
	return on_listener(&c->listeners, f->session) && scan_wanted(c, f->session->mail->t);
}

/* Each is given the message as it stands, with all that was changed so far. */
static void scan_next(struct filters *f)
{
	struct session *s = f->session;
	const struct edge_conf *c = s->setup->edge;
	struct scan_opts opts = { .loop = s->edge->loop,
		.dns = s->edge->dns,
		.health = s->edge->milter_health,
		.icap = s->edge->icap,
		.edge = c,
		.t = s->mail->t,
		.edit = f->edit };
	if (edit_write(f->edit)) {
		decide(f, MILTER_REFUSE, &not_kept, NULL);
		return;
	}
	while (f->scans < c->scanner_n && !scans(f, c->scanner[f->scans]))
		f->scans++;
	if (f->scans == c->scanner_n) {
		look_up_added(f);
		return;
	}
	opts.conf = c->scanner[f->scans];
	f->ask = scan_start(&opts, on_scanned, f);
}

/* ---- one filter after the other ---------------------------------------------------------------------- */

static milter_fn on_milter;

static struct filter_wish wish_of(const struct slot *slot)
{
	const struct edge_milter_conf *conf = milter_conf(slot->milter);
	return (struct filter_wish){ &conf->recipient_domains, &conf->wanted_by };
}

static bool for_some(const struct slot *slot)
{
	const struct filter_wish w = wish_of(slot);
	return !filter_wish_of_all(&w);
}

/* A filter that only some want hears of a mail with the first of them: what it thinks of the
 * sender is said to that recipient, and others have nothing to do with it. */
static bool concerned(const struct filters *f, const struct slot *slot)
{
	const struct filter_wish w = wish_of(slot);
	const struct mail *mail = f->session->mail;
	if (slot->discards)
		return false;
	if (f->kind == ASK_COMMAND && f->what == MILTER_ASK_MAIL)
		return filter_wish_of_all(&w);
	if (f->kind == ASK_COMMAND && f->what == MILTER_ASK_RCPT)
		return filter_wanted_at_rcpt(&w, mail);
	return slot->begun && filter_wanted(&w, mail->t);
}

static struct ticket *ask_one(struct filters *f, struct slot *slot)
{
	struct span sender = buf_span(&f->sender);
	struct ticket *ask = NULL;
	if (f->kind == ASK_MESSAGE)
		return milter_ask_message(slot->milter, f->edit, on_milter, f);
	if (!slot->begun) {
		slot->begun = true;
		ask = milter_ask(slot->milter, MILTER_ASK_MAIL, sender, on_milter, f);
		f->begins = ask != NULL;
	}
	if (ask != NULL || f->what == MILTER_ASK_MAIL)
		return ask;
	return milter_ask(slot->milter, f->what, buf_span(&f->words), on_milter, f);
}

static void discarded(struct filters *f, struct slot *slot);

static void ask_next(struct filters *f)
{
	for (; f->at < f->n; f->at++) {
		struct slot *slot = &f->slots[f->at];
		if (f->kind == ASK_MESSAGE && slot->discards) {
			discarded(f, slot);
			return;
		}
		f->ask = concerned(f, slot) ? ask_one(f, slot) : NULL;
		if (f->ask != NULL)
			return;
	}
	if (f->kind == ASK_MESSAGE)
		scan_next(f);
	else
		answer(f, (struct filter_answer){ .verdict = MILTER_GO });
}

static void go_on(struct filters *f)
{
	f->at++;
	ask_next(f);
}

/* It stays so for the rest of the mail; the envelope goes on as if nothing had been said. */
static void discarded_for_all(struct filters *f, const char *filter)
{
	f->discarded = filter;
	if (f->kind == ASK_MESSAGE &&
	    verdict_refused_any(f->session->mail->t)) /* who is refused is not silently dropped */
		decide(f, MILTER_REFUSE, &unwanted, filter);
	else if (f->kind == ASK_MESSAGE)
		decide(f, MILTER_DISCARD, NULL, filter);
	else
		answer(f, (struct filter_answer){ .verdict = MILTER_GO });
}

static void discarded(struct filters *f, struct slot *slot)
{
	const struct edge_milter_conf *conf = milter_conf(slot->milter);
	slot->discards = for_some(slot);
	bool later = slot->discards && f->kind == ASK_COMMAND;
	if (later || spares_some(f, conf->head.title, wish_of(slot), EDGE_VERDICT_DISCARD, NULL))
		go_on(f);
	else
		discarded_for_all(f, conf->head.title);
}

/* Of the message, or before its first byte: of all recipients together. */
static bool is_of_message(const struct filters *f)
{
	return f->kind == ASK_MESSAGE || f->what == MILTER_ASK_DATA;
}

static void refused(struct filters *f, struct slot *slot, const struct milter_answer *a)
{
	const struct edge_milter_conf *conf = milter_conf(slot->milter);
	bool for_good = a->verdict == MILTER_REFUSE && a->text.code >= 500;
	if (for_good && is_of_message(f) &&
	    spares_some(f, conf->head.title, wish_of(slot), EDGE_VERDICT_REFUSE, &a->text))
		go_on(f);
	else
		decide(f, a->verdict, &a->text, conf->head.title);
}

static void quarantine(struct filters *f, const struct slot *slot, const char *why)
{
	const struct edge_milter_conf *conf = milter_conf(slot->milter);
	const struct session *s = f->session;
	const struct verdict_hit hit = { .filter = conf->head.title,
		.action = conf->on_quarantine,
		.folder = conf->folder,
		.why = why,
		.wanted = wish_of(slot) };
	enum verdict_end end = verdict_apply(s->setup->edge, s->mail->t, &hit);
	if (end == VERDICT_DISCARD)
		discarded_for_all(f, conf->head.title);
	else if (end == VERDICT_REFUSE)
		decide(f, MILTER_REFUSE, &unwanted, conf->head.title);
	else if (edit_add_field(f->edit, "X-Quarantine", span_str(why)))
		decide(f, MILTER_REFUSE, &not_kept, conf->head.title);
	else
		go_on(f);
}

static void passed(struct filters *f, const struct slot *slot)
{
	char *why = f->kind == ASK_MESSAGE ? edit_take_quarantine(f->edit) : NULL;
	if (why == NULL)
		go_on(f);
	else
		quarantine(f, slot, why);
	mem_free(why);
}

static void filter_failed(struct filters *f, struct slot *slot)
{
	const struct edge_milter_conf *conf = milter_conf(slot->milter);
	bool lasts = !for_some(slot) || f->kind == ASK_MESSAGE || f->what != MILTER_ASK_RCPT;
	slot->begun = slot->begun && lasts;
	bool rejects = conf->on_failure == EDGE_FAIL_REJECT && is_of_message(f);
	if (rejects && spares_some(f, conf->head.title, wish_of(slot), EDGE_VERDICT_REFUSE, &away))
		go_on(f);
	else if (!failed(f, conf->on_failure, conf->head.title, lasts))
		go_on(f);
}

/* It has nothing against the sender: what of the question itself? */
static void begun(struct filters *f)
{
	f->begins = false;
	if (f->what == MILTER_ASK_MAIL)
		go_on(f);
	else
		ask_next(f);
}

static void on_milter(void *arg, const struct milter_answer *a)
{
	struct filters *f = OBJ(filters, arg);
	struct slot *slot = &f->slots[f->at];
	f->ask = NULL;
	if (f->begins && a->verdict == MILTER_GO) {
		begun(f);
		return;
	}
	if (f->begins && for_some(slot))
		slot->begun = false; /* the next of its recipients may try again */
	f->begins = false;
	switch (a->verdict) {
	case MILTER_GO:
		passed(f, slot);
		break;
	case MILTER_REFUSE:
	case MILTER_CLOSE:
		refused(f, slot, a);
		break;
	case MILTER_DISCARD:
		discarded(f, slot);
		break;
	case MILTER_FAILED:
		filter_failed(f, slot);
		break;
	}
}

/* ---- questions ------------------------------------------------------------------------------------ */

static void cancel(struct ticket *t)
{
	forget(OBJ(filters, t));
}

static void begin(struct filters *f)
{
	if (f->broken)
		answer(f, (struct filter_answer){ .verdict = MILTER_REFUSE, .text = &f->text });
	else if (f->discarded != NULL && f->kind == ASK_MESSAGE)
		decide(f, MILTER_DISCARD, NULL, f->discarded);
	else if (f->discarded != NULL)
		answer(f, (struct filter_answer){ .verdict = MILTER_GO });
	else
		ask_next(f);
}

static struct ticket *ask(struct filters *f, filter_fn *fn, enum kind kind)
{
	CHECK(f->fn == NULL);
	f->fn = fn;
	f->kind = kind;
	f->at = f->scans = 0;
	f->begins = false;
	f->asking = true;
	begin(f);
	f->asking = false;
	return f->fn != NULL ? &f->ticket : NULL;
}

static void put_words(struct buf *out, struct span path, struct span params)
{
	buf_printf(out, "<%.*s>%c", SPAN_ARG(path), '\0');
	while (params.n > 0) {
		struct span word = span_cut(&params, ' ');
		if (word.n > 0)
			buf_printf(out, "%.*s%c", SPAN_ARG(word), '\0');
	}
}

struct ticket *filters_ask(struct filters *f, enum milter_question what, struct span path,
    struct span params, filter_fn *fn)
{
	struct buf *words = what == MILTER_ASK_MAIL ? &f->sender : &f->words;
	f->what = what;
	buf_clear(words);
	if (what != MILTER_ASK_DATA)
		put_words(words, path, params);
	return ask(f, fn, ASK_COMMAND);
}

struct ticket *filters_ask_message(struct filters *f, filter_fn *fn)
{
	const struct edge_conf *c = f->session->setup->edge;
	struct edit_opts opts = { .shown = sender_fields(f->session),
		.ours = OUR_FIELDS,
		.size_max = c->message_size_max,
		.temp_dir = c->temp_dir };
	edit_free(&f->edit);
	err_t err = edit_new(f->session->mail->t, &opts, &f->edit);
	if (err && !f->broken) {
		f->text = err == ERR_TOO_MANY ? big_header : not_kept;
		f->broken = true;
	}
	return ask(f, fn, ASK_MESSAGE);
}

void filters_done(struct filters *f)
{
	if (f == NULL)
		return;
	for (size_t i = 0; i < f->n; i++) {
		milter_done(f->slots[i].milter);
		f->slots[i].begun = f->slots[i].discards = false;
	}
	edit_free(&f->edit);
	f->broken = false;
	f->discarded = NULL;
}

/* ---- public --------------------------------------------------------------------------------------- */

void filters_open(struct session *s)
{
	const struct edge_conf *c = s->setup->edge;
	if (s->filters != NULL || s->dry != NULL ||
	    !filter_conf_has_any(c, s->listener->head.title))
		return;
	struct filters *f = MEM_NEW(struct filters);
	f->ticket.cancel = cancel;
	f->magic = filters_MAGIC;
	f->session = s;
	f->words = BUF_INIT(WORDS_MAX);
	f->sender = BUF_INIT(WORDS_MAX);
	soon_init(&f->soon, on_soon, f);
	filter_client_name(s, f->client_name);
	f->slots = mem_array(c->milter_n, sizeof *f->slots);
	struct milter_opts opts = { .loop = s->edge->loop,
		.dns = s->edge->dns,
		.health = s->edge->milter_health,
		.client = s->from,
		.client_name = f->client_name,
		.helo = s->helo,
		.log_id = s->id.s,
		.macro = filter_macro,
		.macro_arg = s };
	for (size_t i = 0; i < c->milter_n; i++) {
		opts.conf = c->milter[i];
		if (on_listener(&opts.conf->listeners, s))
			f->slots[f->n++].milter = milter_new(&opts);
	}
	s->filters = f;
}

void filters_free(struct filters **pf)
{
	struct filters *f = *pf;
	if (f == NULL)
		return;
	forget(f);
	for (size_t i = 0; i < f->n; i++)
		milter_free(&f->slots[i].milter);
	edit_free(&f->edit);
	mem_free(f->slots);
	buf_end(&f->words);
	buf_end(&f->sender);
	f->magic = 0;
	MEM_FREE(pf);
}
