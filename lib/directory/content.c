/* content.c - one map for each kind of record. A key that two entries claim is kept as ambiguous. */
#include "directory/content.h"

#include "base/map.h"
#include "base/mem.h"

#include "directory/name.h"
#include "directory/tables.h"

enum { KEYS_MAX = 16 * 1000 * 1000, AMBIGUOUS_LOGGED_MAX = 20 };

struct content {
	const struct directory_conf *conf;
	struct map *keys[RECORD_KINDS]; /* each value owns a reference */
	struct map *user_domains;       /* domains of users; values are `plain` */
	struct record *plain;           /* owned: a domain without an entry */
	struct record *ambiguous;       /* owned: stands for keys with two claims */
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

void content_free(struct content **c)
{
	if (*c == NULL)
		return;
	for (size_t i = 0; i < RECORD_KINDS; i++) {
		map_each((*c)->keys[i], unref_value, NULL);
		map_free(&(*c)->keys[i]);
	}
	map_free(&(*c)->user_domains);
	record_unref(&(*c)->plain);
	record_unref(&(*c)->ambiguous);
	MEM_FREE(c);
}

/* ---- adding ---- */

struct claim {
	struct content *content;
	struct record *record;
	bool full;
};

static const char *who(const struct record *r)
{
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
	struct map *m = c->keys[claim->record->kind];
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

static const char *add_as(struct content *c, const struct entry *e, enum record_kind kind)
{
	static struct record *(*const make[RECORD_KINDS])(
	    const struct directory_conf *, const struct entry *, const char **) = {
		[RECORD_USER] = record_from_user,
		[RECORD_DOMAIN] = record_from_domain,
		[RECORD_STORE] = record_from_store,
	};
	const char *why = NULL;
	struct claim claim = { .content = c, .record = make[kind](c->conf, e, &why) };
	if (claim.record == NULL)
		return why;
	record_each_key(c->conf, e, claim.record, put_key, &claim);
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

/* ---- looking ---- */

enum answer content_look(
    const struct content *c, enum record_kind kind, struct span key, struct record **record_out)
{
	struct record *r = map_get(c->keys[kind], key);
	if (r == NULL && kind == RECORD_DOMAIN)
		r = map_get(c->user_domains, key);
	if (r == NULL)
		return ANSWER_ABSENT;
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
