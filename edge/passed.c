/* passed.c - what a client has passed before and passes now (part of step 2; beside: admit.c, screen.c).
 *
 * Owns: struct passed of a session, with its ticket. */
#include "edge/passed.h"

#include "base/check.h"
#include "base/fmt.h"
#include "base/mem.h"

#include "edge/admit.h"
#include "edge/ruling.h"
#include "edge/screen.h"
#include "edge/sender.h"

#define passed_MAGIC 0xed6e0021u

enum { NOTE_MAX = 256 };

struct passed {
	uint32_t magic;
	struct session *session;
	struct ticket *ask; /* owned while asked */
	struct timer head;  /* how long the DNS waits for it */
	bool answered;      /* the state has told what it knows */
	bool cuts_delay;
	bool has[PASS_KINDS], earned[PASS_KINDS];
	char *name; /* owned; remembered or earned, or NULL */
};

/* ---- settings --------------------------------------------------------------------------------- */

static uint64_t lifetime(const struct session *s, enum meter_pass kind)
{
	const struct edge_conf *c = s->setup->edge;
	const uint64_t ms[] = { [PASS_LISTS] = c->pass_lists,
		[PASS_GREETING] = c->pass_greeting,
		[PASS_NAME] = c->pass_name };
	return ms[kind];
}

/* Is there a test that a pass would spare, and is it to be remembered? */
static bool is_wanted(const struct session *s)
{
	const struct edge_conf *c = s->setup->edge;
	return s->listener->role == EDGE_MX && s->dry == NULL &&
	       ((c->pass_lists > 0 && c->dnsbl_n > 0) ||
		   (c->pass_greeting > 0 && c->banner_delay > 0) ||
		   (c->pass_name > 0 && c->reverse_names));
}

/* ---- the answer ------------------------------------------------------------------------------- */

static void note(const struct passed *p, const struct passes *known)
{
	static const char *const words[PASS_KINDS] = { "lists", "greeting", "name" };
	struct buf text = BUF_INIT(NOTE_MAX);
	for (size_t i = 0; i < PASS_KINDS; i++) {
		if (!p->has[i])
			continue;
		buf_printf(&text, "%s%s ", buf_len(&text) > 0 ? ", " : "", words[i]);
		fmt_duration(&text, known->since_ms[i] - 1);
		buf_add_str(&text, " ago");
	}
	if (buf_len(&text) > 0)
		session_note(p->session, "passed", buf_span(&text));
	buf_end(&text);
}

static void take(struct passed *p, const struct passes *known)
{
	bool any = false;
	for (size_t i = 0; i < PASS_KINDS; i++) {
		uint64_t since = known->since_ms[i];
		p->has[i] = since > 0 && since <= lifetime(p->session, (enum meter_pass)i);
		any = any || p->has[i];
	}
	if (p->has[PASS_NAME] && p->name == NULL)
		p->name = mem_span_str(known->name);
	note(p, known);
	if (any)
		metric_add(&edge_metrics[EDGE_M_PASSED], 1);
}

/* Whatever the session waits for may be there now. */
static void go_on(struct passed *p)
{
	struct session *s = p->session;
	screen_ask(s);
	if ((s->state == ST_BANNER && p->cuts_delay && p->has[PASS_GREETING]) ||
	    (s->state == ST_SCREEN && !screen_pending(s)))
		session_step(s, admit_greet(s));
	else if (s->state == ST_SENDER)
		session_step(s, sender_go_on(s));
	else
		ruling_name_known(s);
}

static void on_passes(void *arg, const struct passes *known)
{
	struct passed *p = OBJ(passed, arg);
	p->ask = NULL;
	p->answered = true;
	timer_clear(&p->head);
	take(p, known);
	go_on(p);
}

static void on_head(void *arg)
{
	go_on(OBJ(passed, arg));
}

/* ---- asking ----------------------------------------------------------------------------------- */

static struct passed *passed_new(struct session *s)
{
	struct passed *p = MEM_NEW(struct passed);
	p->magic = passed_MAGIC;
	p->session = s;
	timer_init(&p->head, s->edge->loop, on_head, p);
	return p;
}

void passed_start(struct session *s)
{
	struct passes known;
	struct passed *p = NULL;
	if (is_wanted(s))
		p = s->passed = passed_new(s);
	if (p != NULL && passes_ask_now(s->edge->meter, s->from.addr, &known)) {
		p->answered = true;
		take(p, &known);
	} else if (p != NULL) {
		p->ask = passes_ask(s->edge->meter, s->from.addr, on_passes, p);
	}
	if (p != NULL && p->ask != NULL)
		timer_set(&p->head, PASSED_HEAD_MS);
	else
		screen_ask(s);
}

void passed_free(struct passed **p)
{
	struct passed *gone = *p;
	*p = NULL;
	if (gone == NULL)
		return;
	ticket_cancel(&gone->ask);
	timer_clear(&gone->head);
	mem_free(gone->name);
	gone->magic = 0;
	mem_free(gone);
}

bool passed_pending(const struct session *s)
{
	return s->passed != NULL && timer_armed(&s->passed->head);
}

bool passed_has(const struct session *s, enum meter_pass kind)
{
	return s->passed != NULL && s->passed->has[kind];
}

const char *passed_name(const struct session *s)
{
	return passed_has(s, PASS_NAME) ? s->passed->name : NULL;
}

void passed_cuts_delay(struct session *s)
{
	if (s->passed != NULL)
		s->passed->cuts_delay = true;
}

/* ---- what is earned, and lost ----------------------------------------------------------------- */

void passed_earn(struct session *s, enum meter_pass kind, const char *name)
{
	struct passed *p = s->passed;
	if (p == NULL || p->has[kind] || lifetime(s, kind) == 0)
		return;
	p->earned[kind] = true;
	if (name != NULL) {
		mem_free(p->name);
		p->name = mem_str(name);
	}
}

void passed_keep(struct session *s)
{
	struct passed *p = s->passed;
	struct passes_new n = { .most = (uint64_t)s->setup->edge->passes_max };
	bool any = false;
	if (p == NULL)
		return;
	for (size_t i = 0; i < PASS_KINDS; i++) {
		uint64_t ms = lifetime(s, (enum meter_pass)i);
		n.keep_ms = ms > n.keep_ms ? ms : n.keep_ms;
		n.kind[i] = p->earned[i];
		any = any || p->earned[i];
		p->earned[i] = false;
	}
	n.name = p->name;
	if (any)
		passes_note(s->edge->meter, s->from.addr, &n);
}

void passed_revoke(struct session *s)
{
	struct passed *p = s->passed;
	bool any = false;
	if (p == NULL)
		return;
	for (size_t i = 0; i < PASS_KINDS; i++) {
		any = any || p->has[i];
		p->has[i] = p->earned[i] = false;
	}
	if (any || !p->answered)
		passes_drop(s->edge->meter, s->from.addr);
}

void passed_settle(struct session *s)
{
	static const bool misbehaves[] = {
		[WHY_EARLY_TALKER] = true,
		[WHY_PIPELINED] = true,
		[WHY_BAD_FRAMING] = true,
		[WHY_TOO_MANY_ERRORS] = true,
		[WHY_TOO_MANY_UNKNOWN] = true,
		[WHY_TOO_MANY_FAILURES] = true,
		[WHY_TLS_INJECTION] = true,
		[WHY_TLS_UNEXPECTED] = true,
		[WHY_PROXY_UNLISTED] = true,
		[WHY_HTTP] = true,
		[WHY_BARRED] = true,
	};
	if ((size_t)s->why < COUNT_OF(misbehaves) && misbehaves[s->why])
		passed_revoke(s);
}
