/* content.c - one map for each kind of record. A key that two entries claim is kept as ambiguous. */
#include "directory/content.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

#include "directory/member_url.h"
#include "directory/name.h"
#include "directory/record_draft.h"
#include "directory/tables.h"

enum { KEYS_MAX = 16 * 1000 * 1000, AMBIGUOUS_LOGGED_MAX = 20, SEARCHES_MAX = 256 };

/* A search that groups name, and what it has found so far. */
struct found {
	struct member_url url;
	struct buf texts;
	size_t n;
};

struct content {
	const struct directory_conf *conf;
	struct map *keys[RECORD_KINDS]; /* each value owns a reference */
	struct map *user_domains;       /* domains of users; values are `plain` */
	struct record *plain;           /* owned: a domain without an entry */
	struct record *ambiguous;       /* owned: stands for keys with two claims */
	struct map *searches;           /* URL -> struct found, owned */
	size_t counts[RECORD_KINDS];
	size_t logged;
};

struct content *content_new(const struct directory_conf *conf)
{
	struct content *c = MEM_NEW(struct content);
	c->conf = conf;
	for (size_t i = 0; i < RECORD_KINDS; i++)
		c->keys[i] = map_new(KEYS_MAX);
	c->user_domains = map_new(KEYS_MAX);
	c->searches = map_new(SEARCHES_MAX);
	c->plain = record_plain_domain();
	c->ambiguous = record_plain_domain();
	return c;
}

static bool unref_value(void *arg, struct span key, void *value)
{
	struct record *r = value;
	record_unref(&r);
	return true;
}

static bool free_search(void *arg, struct span key, void *value)
{
	struct found *s = value;
	buf_end(&s->texts);
	mem_free(s);
	return true;
}

void content_free(struct content **c)
{
	if (*c == NULL)
		return;
	for (size_t i = 0; i < RECORD_KINDS; i++) {
		map_each((*c)->keys[i], unref_value, NULL);
		map_free(&(*c)->keys[i]);
	}
	map_each((*c)->searches, free_search, NULL);
	map_free(&(*c)->searches);
	map_free(&(*c)->user_domains);
	record_unref(&(*c)->plain);
	record_unref(&(*c)->ambiguous);
	MEM_FREE(c);
}

/* ---- adding ---- */

struct claim {
	struct content *content;
	struct record *record;
	enum record_kind kind; /* the map */
	bool full;
};

static const char *who(const struct record *r)
{
	if (r->kind == RECORD_GROUP)
		return r->group.id;
	return r->kind == RECORD_USER ? r->account.id : "";
}

/* A bare uid may well stand in several domains: told when somebody logs in with it, not here. */
static void log_ambiguous(
    struct content *c, struct span key, const struct record *first, const struct record *second)
{
	bool bare = second->kind == RECORD_USER && span_find(key, '@') == SIZE_MAX;
	if (bare || c->logged++ >= AMBIGUOUS_LOGGED_MAX)
		return;
	directory_log(AMBIGUOUS, LOG_STR("what", "file"), LOG_SPAN("name", key),
	    LOG_STR("first", who(first)), LOG_STR("second", who(second)));
}

static void put_key(void *arg, struct span key)
{
	struct claim *claim = arg;
	struct content *c = claim->content;
	struct map *m = c->keys[claim->kind];
	struct record *old = map_get(m, key), *fresh = claim->record;
	if (old == fresh || old == c->ambiguous)
		return;
	if (old != NULL) {
		log_ambiguous(c, key, old, fresh);
		fresh = c->ambiguous;
	}
	if (!map_set(m, key, fresh, NULL)) {
		claim->full = true;
		return;
	}
	record_ref(fresh);
	record_unref(&old);
}

static void put_dn(struct claim *claim)
{
	struct buf key = BUF_INIT(DN_BYTES_MAX);
	claim->kind = RECORD_DN;
	if (name_dn_key(&key, span_str(who(claim->record))))
		put_key(claim, buf_span(&key));
	buf_end(&key);
}

/* A search that cannot be used, or is one too many, is never found: "could not look". */
static void want_search(struct content *c, struct span url)
{
	const char *why = NULL;
	if (!span_istarts(url, SPAN("ldap:")) || map_get(c->searches, url) != NULL)
		return;
	struct found *s = MEM_NEW(struct found);
	if (!member_url_parse(url, &s->url, &why) || !map_set(c->searches, url, s, NULL)) {
		directory_log(ENTRY_BAD, LOG_SPAN("dn", url),
		    LOG_STR("why", why != NULL ? why : "too many searches"));
		mem_free(s);
		return;
	}
	s->texts = BUF_INIT(RECORD_LONG_TEXT_MAX);
}

static void want_searches(struct content *c, const struct group *g)
{
	const struct text_list *lists[] = { &g->searches, &g->allowed, &g->disallowed,
		&g->moderators };
	for (size_t l = 0; l < COUNT_OF(lists); l++) {
		const char *text = lists[l]->p;
		for (size_t i = 0; i < lists[l]->n; i++, text = text_list_next(text))
			want_search(c, span_str(text));
	}
}

static const char *add_as(struct content *c, const struct entry *e, enum record_kind kind)
{
	const char *why = NULL;
	struct claim claim = { c, record_from_entry(kind, c->conf, e, &why), kind, false };
	if (claim.record == NULL)
		return why;
	record_each_key(c->conf, e, claim.record, put_key, &claim);
	if (kind == RECORD_USER || kind == RECORD_GROUP)
		put_dn(&claim);
	if (kind == RECORD_GROUP)
		want_searches(c, &claim.record->group);
	struct span domain =
	    kind == RECORD_USER ? span_str(claim.record->account.domain) : SPAN_NONE;
	if (domain.n > 0 && !map_set(c->user_domains, domain, c->plain, NULL))
		claim.full = true;
	c->counts[kind]++;
	record_unref(&claim.record);
	return claim.full ? "too many names" : NULL;
}

const char *content_add(struct content *c, const struct entry *e)
{
	const char *why = NULL;
	for (enum record_kind kind = 0; kind < RECORD_KINDS && why == NULL; kind++)
		if (record_is_kind(c->conf, e, kind))
			why = add_as(c, e, kind);
	return why;
}

/* ---- searches ---- */

bool content_wants_search(const struct content *c)
{
	return map_count(c->searches) > 0;
}

struct shown {
	const struct entry *entry;
	struct span mail;
};

static bool search_one(void *arg, struct span key, void *value)
{
	const struct shown *shown = arg;
	struct found *s = value;
	if (member_url_fits(&s->url, shown->entry) && s->n++ <= RECORD_LIST_MAX) {
		buf_add_span(&s->texts, shown->mail);
		buf_add_char(&s->texts, '\0');
	}
	return true;
}

void content_search(struct content *c, const struct entry *e)
{
	struct shown shown = { e, entry_get(e, c->conf->attr_mail, 0) };
	if (record_is_address(shown.mail))
		map_each(c->searches, search_one, &shown);
}

static bool keep_found(void *arg, struct span key, void *value)
{
	struct content *c = arg;
	const struct found *s = value;
	struct record *r = NULL;
	if (buf_ok(&s->texts) && s->n <= RECORD_LIST_MAX)
		r = record_from_list(buf_span(&s->texts), s->n);
	if (r == NULL)
		directory_log(ENTRY_BAD, LOG_SPAN("dn", key), LOG_STR("why", "too many entries"));
	else if (!map_set(c->keys[RECORD_LIST], key, r, NULL))
		record_unref(&r);
	return true;
}

void content_found(struct content *c)
{
	map_each(c->searches, keep_found, c);
}

/* ---- looking ---- */

enum answer content_look(
    const struct content *c, enum record_kind kind, struct span key, struct record **record_out)
{
	struct record *r = map_get(c->keys[kind], key);
	if (r == NULL && kind == RECORD_DOMAIN)
		r = map_get(c->user_domains, key);
	if (r == NULL)
		return kind == RECORD_LIST ? ANSWER_UNKNOWN : ANSWER_ABSENT;
	/* Two entries with one name at the store would share a mailbox: neither is served. */
	if (r != c->ambiguous && kind == RECORD_USER &&
	    map_get(c->keys[kind], span_str(r->account.user)) == c->ambiguous)
		r = c->ambiguous;
	if (r == c->ambiguous) {
		directory_log(AMBIGUOUS, LOG_STR("what", "file"), LOG_SPAN("name", key));
		return ANSWER_UNKNOWN;
	}
	*record_out = record_ref(r);
	return ANSWER_FOUND;
}

size_t content_count(const struct content *c, enum record_kind kind)
{
	return c->counts[kind];
}
