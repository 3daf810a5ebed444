/* ldap_fetch.c - a question as one or two searches.
 *
 * user: by the key; when found by another name than its own at the store, by that one too, since two entries
 * with one name would share a mailbox. domain: its entry, else any user of it. store: its entry. Absent is only
 * what a server has said in full and without an error. Owns the request and the records found so far. */
#include "directory/ldap_fetch.h"

#include "base/check.h"
#include "base/mem.h"

#include "directory/cache.h"
#include "directory/ldap_query.h"
#include "directory/name.h"
#include "directory/record_draft.h"
#include "directory/tables.h"

#define fetch_MAGIC 0x1da9fe7cu

enum fetch_state {
	FETCH_ENTRY,        /* who has the key as a name? */
	FETCH_OWN_NAME,     /* has nobody else the store's name of the user that was found? */
	FETCH_DOMAIN_USERS, /* there is no entry of the domain: has it users? */
	FETCH_LIST,         /* whose addresses does the URL mean? */
	FETCH_STATES
};

struct fetch {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct ldap_fetch_ask ask; /* ask.key is the text of key */
	struct buf key;
	uint64_t ends_ms;
	enum fetch_state state;
	struct ldap_req req;
	struct record *found; /* owned reference: the answer, while its own name is looked for */
	struct record *hit;   /* owned reference: the first that fits in this search */
	bool twice, bad;      /* of this search: two fit; one cannot be used */
	struct buf list;      /* of FETCH_LIST: addresses, each with its NUL */
	size_t list_n;
	answer_fn *fn;
	void *arg;
};

typedef void judge_fn(struct fetch *f, bool complete);
static judge_fn judge_entry, judge_own_name, judge_domain_users, judge_list;

static const struct {
	judge_fn *judge;
} states[FETCH_STATES] = {
	[FETCH_ENTRY] = { judge_entry },
	[FETCH_OWN_NAME] = { judge_own_name },
	[FETCH_DOMAIN_USERS] = { judge_domain_users },
	[FETCH_LIST] = { judge_list },
};

static struct fetch *of_req(struct ldap_req *r)
{
	return OBJ(fetch, LIST_OF(struct fetch, req, r));
}

/* ---- life ---- */

static void forget_hits(struct fetch *f)
{
	record_unref(&f->hit);
	buf_clear(&f->list);
	f->list_n = 0;
	f->twice = f->bad = false;
}

static void fetch_free(struct fetch *f)
{
	ldap_pool_forget(&f->req);
	forget_hits(f);
	record_unref(&f->found);
	buf_end(&f->list);
	buf_end(&f->key);
	f->magic = 0;
	mem_free(f);
}

static void on_cancel(struct ticket *t)
{
	fetch_free(OBJ(fetch, t));
}

/* The end of f. */
static void answer(struct fetch *f, enum answer answer)
{
	struct record *r = answer == ANSWER_FOUND ? record_ref(f->found) : NULL;
	answer_fn *fn = f->fn;
	void *arg = f->arg;
	fetch_free(f);
	fn(arg, answer, r);
	record_unref(&r);
}

static void search(struct fetch *f, enum fetch_state state)
{
	uint64_t now = loop_now_ms(f->ask.loop);
	forget_hits(f);
	f->state = state;
	ldap_pool_ask(f->ask.pool, &f->req, f->ends_ms > now ? f->ends_ms - now : 0);
}

/* ---- entries ---- */

static struct span search_key(const struct fetch *f)
{
	return f->state == FETCH_OWN_NAME ? span_str(f->found->account.user) : f->ask.key;
}

static struct record *make_record(const struct fetch *f, const struct entry *e, const char **why)
{
	enum record_kind kind = f->state == FETCH_DOMAIN_USERS ? RECORD_USER : f->ask.kind;
	return record_from_entry(kind, f->ask.conf, e, why);
}

static bool fits(const struct fetch *f, const struct entry *e, const struct record *r)
{
	if (f->state == FETCH_DOMAIN_USERS)
		return span_eq_str(f->ask.key, r->account.domain);
	if (f->ask.kind == RECORD_DN) /* there is one entry with this name */
		return true;
	return record_has_key(f->ask.conf, e, r, search_key(f));
}

static const char *who(const struct record *r)
{
	if (r->kind == RECORD_GROUP)
		return r->group.id;
	return r->kind == RECORD_USER ? r->account.id : "";
}

static void log_bad(struct fetch *f, struct span dn, const char *why)
{
	f->bad = true;
	directory_log(ENTRY_BAD, LOG_SPAN("dn", dn), LOG_STR("why", why));
}

/* Entries without an address are nobody to write to. */
static void list_entry(struct fetch *f, const struct entry *e)
{
	struct span mail = entry_get(e, f->ask.conf->attr_mail, 0);
	if (!record_is_address(mail))
		return;
	buf_add_span(&f->list, mail);
	buf_add_char(&f->list, '\0');
	f->list_n++;
}

static void on_entry(struct ldap_req *req, const struct entry *e, bool cut)
{
	struct fetch *f = of_req(req);
	const char *why = NULL;
	if (f->state == FETCH_LIST) {
		list_entry(f, e);
		return;
	}
	struct record *r = cut ? NULL : make_record(f, e, &why);
	if (r == NULL && !cut && why == NULL)
		return; /* neither a user nor a group */
	if (r == NULL) {
		log_bad(f, cut ? SPAN_NONE : entry_dn(e), cut ? "too many values" : why);
	} else if (fits(f, e, r) && f->hit == NULL) {
		f->hit = r;
		return;
	} else if (fits(f, e, r) && f->state != FETCH_DOMAIN_USERS) {
		f->twice = true;
		directory_log(AMBIGUOUS, LOG_STR("what", "ldap"), LOG_SPAN("name", search_key(f)),
		    LOG_STR("first", who(f->hit)), LOG_SPAN("second", entry_dn(e)));
	}
	record_unref(&r);
}

static void on_restart(struct ldap_req *req)
{
	forget_hits(of_req(req));
}

/* ---- answers ---- */

static void log_refused(const struct fetch *f, int code, struct span text)
{
	directory_log(REFUSED, LOG_STR("uri", f->req.uri), LOG_STR("what", "search"),
	    LOG_I64("code", code), LOG_SPAN("text", text));
}

static void judge_entry(struct fetch *f, bool complete)
{
	bool user = f->ask.kind == RECORD_USER, domain = f->ask.kind == RECORD_DOMAIN;
	if (f->twice || f->bad || !complete) {
		answer(f, ANSWER_UNKNOWN);
	} else if (f->hit == NULL && domain) {
		search(f, FETCH_DOMAIN_USERS);
	} else if (f->hit == NULL) {
		answer(f, ANSWER_ABSENT);
	} else {
		f->found = record_ref(f->hit);
		if (user && !span_eq_str(f->ask.key, f->found->account.user))
			search(f, FETCH_OWN_NAME);
		else
			answer(f, ANSWER_FOUND);
	}
}

static void judge_own_name(struct fetch *f, bool complete)
{
	bool same =
	    f->hit != NULL && span_eq_str(span_str(f->hit->account.id), f->found->account.id);
	if (complete && !f->twice && !f->bad && !same)
		log_bad(
		    f, span_str(f->found->account.id), "its name at the store does not lead to it");
	answer(f, complete && !f->twice && !f->bad ? ANSWER_FOUND : ANSWER_UNKNOWN);
}

static void judge_domain_users(struct fetch *f, bool complete)
{
	if (f->hit != NULL) {
		f->found = record_plain_domain();
		answer(f, ANSWER_FOUND);
	} else {
		answer(f, complete && !f->bad ? ANSWER_ABSENT : ANSWER_UNKNOWN);
	}
}

/* A part of a list is no list. */
static void judge_list(struct fetch *f, bool complete)
{
	bool whole = complete && buf_ok(&f->list) && f->list_n <= RECORD_LIST_MAX;
	f->found = whole ? record_from_list(buf_span(&f->list), f->list_n) : NULL;
	if (f->found == NULL)
		log_bad(f, f->ask.key, "too many entries");
	answer(f, f->found != NULL ? ANSWER_FOUND : ANSWER_UNKNOWN);
}

static void on_done(struct ldap_req *req, enum ldap_outcome outcome, const struct ldap_answer *a)
{
	struct fetch *f = of_req(req);
	bool limited =
	    outcome == LDAP_ANSWERED && a->code == LDAP_CODE_SIZE_LIMIT; /* what came counts */
	bool gone = outcome == LDAP_ANSWERED && a->code == LDAP_CODE_NO_SUCH_OBJECT;
	if (outcome == LDAP_TOO_LARGE)
		log_refused(f, 0, SPAN("the answer is too large"));
	else if (gone) {
		answer(f, ANSWER_ABSENT);
		return;
	} else if (outcome == LDAP_ANSWERED && a->code != LDAP_CODE_OK &&
		   !(limited && f->state == FETCH_DOMAIN_USERS && f->hit != NULL))
		log_refused(f, a->code, a->text);
	if (outcome == LDAP_AWAY)
		answer(f, ANSWER_AWAY);
	else if (outcome == LDAP_TOO_LARGE || (a->code != LDAP_CODE_OK && !limited))
		answer(f, ANSWER_UNKNOWN);
	else
		states[f->state].judge(f, !limited);
}

static bool put_request(struct ldap_req *req, struct buf *out, int32_t id)
{
	static const enum ldap_query queries[RECORD_KINDS] = {
		[RECORD_USER] = LDAP_Q_USER,
		[RECORD_DOMAIN] = LDAP_Q_DOMAIN,
		[RECORD_STORE] = LDAP_Q_STORE,
		[RECORD_GROUP] = LDAP_Q_GROUP,
		[RECORD_DN] = LDAP_Q_DN,
		[RECORD_LIST] = LDAP_Q_LIST,
	};
	struct fetch *f = of_req(req);
	enum ldap_query q =
	    f->state == FETCH_DOMAIN_USERS ? LDAP_Q_DOMAIN_USERS : queries[f->ask.kind];
	return ldap_query_put(out, id, f->ask.conf, q, search_key(f));
}

static const struct ldap_req_ops req_ops = {
	.put = put_request,
	.restart = on_restart,
	.entry = on_entry,
	.done = on_done,
};

struct ticket *ldap_fetch_start(const struct ldap_fetch_ask *ask, answer_fn *fn, void *arg)
{
	struct fetch *f = MEM_NEW(struct fetch);
	f->ticket.cancel = on_cancel;
	f->magic = fetch_MAGIC;
	f->ask = *ask;
	f->key = BUF_INIT(CACHE_KEY_MAX);
	f->list = BUF_INIT(RECORD_LONG_TEXT_MAX);
	buf_add_span(&f->key, ask->key);
	f->ask.key = buf_span(&f->key);
	f->ends_ms = loop_now_ms(ask->loop) + ask->conf->deadline;
	f->req.ops = &req_ops;
	f->req.own_base = ask->kind == RECORD_DN || ask->kind == RECORD_LIST;
	f->fn = fn;
	f->arg = arg;
	search(f, ask->kind == RECORD_LIST ? FETCH_LIST : FETCH_ENTRY);
	return &f->ticket;
}
