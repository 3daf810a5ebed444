/* screen.c - DNS lists and the client's name (part of step 2; before: accept.c; beside: admit.c).
 *
 * Owns: struct screen of a session, with its two tickets. Failure of the DNS never refuses anybody. */
#include "edge/screen.h"

#include "base/check.h"
#include "base/mem.h"

#include "edge/admit.h"
#include "edge/dnsbl.h"
#include "edge/passed.h"
#include "edge/ruling.h"
#include "edge/sender.h"

#define screen_MAGIC 0xed6e0014u

enum { TEXT_MAX = 512 };

struct screen {
	uint32_t magic;
	struct session *session;
	struct ticket *lists, *reverse; /* owned while asked */
	bool asked, listed;
	char *zone, *words; /* owned, or NULL */
	char *name;         /* owned, or NULL */
	bool nameless, silent;
};

static void on_name(void *arg, const struct dns_name *n)
{
	static const char *const words[] = {
		[DNS_FOUND] = "", [DNS_ABSENT] = "no confirmed name", [DNS_FAILED] = "no answer"
	};
	struct screen *c = OBJ(screen, arg);
	c->reverse = NULL;
	if (n->status == DNS_FOUND) {
		c->name = mem_str(n->name);
		passed_earn(c->session, PASS_NAME, c->name);
	}
	c->nameless = n->status == DNS_ABSENT;
	c->silent = n->status == DNS_FAILED;
	session_note(c->session, "name", span_str(c->name != NULL ? c->name : words[n->status]));
	ruling_name_known(c->session);
}

static void keep_lists(struct screen *c, const struct dnsbl_answer *a)
{
	struct session *s = c->session;
	struct buf text = BUF_INIT(DNSBL_WORDS_MAX + TEXT_MAX);
	c->lists = NULL;
	c->listed = a->score >= s->setup->edge->dnsbl_threshold;
	if (a->words.n > 0)
		c->words = mem_span_str(a->words);
	buf_add_str(&text, a->score < 0 ? "score -" : "score ");
	buf_add_number(&text, (uint64_t)(a->score < 0 ? -a->score : a->score));
	buf_printf(&text, "%s%.*s", a->words.n > 0 ? ": " : "", SPAN_ARG(a->words));
	session_note(s, "dnsbl", buf_span(&text));
	buf_end(&text);
	if (!c->listed) {
		if (a->sure)
			passed_earn(s, PASS_LISTS, NULL);
		return;
	}
	passed_revoke(s);
	c->zone = mem_str(a->zone);
	metric_add(&edge_metrics[EDGE_M_LISTED], 1);
}

static void on_lists(void *arg, const struct dnsbl_answer *a)
{
	struct screen *c = OBJ(screen, arg);
	struct session *s = c->session;
	keep_lists(c, a);
	if (s->state == ST_SCREEN)
		session_step(s, admit_greet(s));
	else if (s->state == ST_SENDER)
		session_step(s, sender_go_on(s));
}

static void ask_name(struct screen *c, struct session *s)
{
	if (passed_name(s) != NULL && c->name == NULL) {
		ticket_cancel(&c->reverse);
		c->name = mem_str(passed_name(s));
	} else if (!c->asked) {
		c->reverse = dns_reverse(s->edge->dns, s->from.addr, on_name, c);
	}
}

void screen_ask(struct session *s)
{
	struct screen *c = OBJ(screen, s->screen);
	if (passed_has(s, PASS_LISTS))
		ticket_cancel(&c->lists);
	else if (!c->asked && s->listener->role == EDGE_MX)
		c->lists = dnsbl_ask(s->edge->dnsbl, s->from.addr, on_lists, c);
	if (s->setup->edge->reverse_names)
		ask_name(c, s);
	c->asked = true;
}

void screen_start(struct session *s)
{
	if ((s->probe && s->dry == NULL) || ip_is_loopback(s->from.addr))
		return;
	struct screen *c = MEM_NEW(struct screen);
	c->magic = screen_MAGIC;
	c->session = s;
	s->screen = c;
	passed_start(s);
}

void screen_free(struct screen **c)
{
	struct screen *gone = *c;
	*c = NULL;
	if (gone == NULL)
		return;
	ticket_cancel(&gone->lists);
	ticket_cancel(&gone->reverse);
	mem_free(gone->zone);
	mem_free(gone->words);
	mem_free(gone->name);
	gone->magic = 0;
	mem_free(gone);
}

/* Where AUTH is offered nobody is turned away before it could be used. */
static bool at_connect(const struct session *s)
{
	return s->setup->edge->dnsbl_at == DNSBL_AT_CONNECT && !edge_has_auth(s->listener) &&
	       s->setup->edge->dnsbl_action != DNSBL_TAG;
}

bool screen_pending(const struct session *s)
{
	if (s->screen == NULL || s->user != NULL)
		return false;
	bool unasked = passed_pending(s) && s->setup->edge->dnsbl_n > 0;
	if (s->screen->lists == NULL && !unasked)
		return false;
	return s->helo != NULL || at_connect(s);
}

bool screen_bars_greeting(const struct session *s)
{
	return s->screen != NULL && s->screen->listed && at_connect(s);
}

static void put_text(const struct session *s, struct buf *text)
{
	char addr[IP_TEXT_SIZE];
	buf_printf(text, "your address %s is on the DNS list %s", ip_text(s->from.addr, addr),
	    s->screen->zone);
}

enum verdict screen_bar(struct session *s)
{
	struct buf text = BUF_INIT(TEXT_MAX);
	bool defer = s->setup->edge->dnsbl_action == DNSBL_DEFER;
	put_text(s, &text);
	session_refuse_quietly(s, defer ? 421 : 554, defer ? "4.7.1" : "5.7.1", buf_cstr(&text));
	buf_end(&text);
	metric_add(&edge_metrics[EDGE_M_BARRED], 1);
	return session_close(s, WHY_LISTED, s->screen->zone);
}

unsigned screen_recipient_code(const struct session *s, struct buf *text)
{
	int action = s->setup->edge->dnsbl_action;
	if (s->screen == NULL || !s->screen->listed || s->user != NULL || action == DNSBL_TAG)
		return 0;
	put_text(s, text);
	return action == DNSBL_DEFER ? 450 : 554;
}

const char *screen_name(const struct session *s)
{
	return s->screen != NULL ? s->screen->name : NULL;
}

enum screen_naming screen_naming(const struct session *s)
{
	const struct screen *c = s->screen;
	if (c == NULL)
		return SCREEN_NOT_ASKED;
	if (c->name != NULL)
		return SCREEN_NAMED;
	if (c->reverse != NULL || !c->asked)
		return SCREEN_PENDING;
	return c->nameless ? SCREEN_NAMELESS : c->silent ? SCREEN_SILENT : SCREEN_NOT_ASKED;
}

bool screen_put_header(const struct session *s, struct buf *out)
{
	const struct screen *c = s->screen;
	if (c == NULL || !c->listed || s->user != NULL)
		return true;
	return buf_printf(out, "X-Postern-Listed: %s\r\n", c->words);
}
