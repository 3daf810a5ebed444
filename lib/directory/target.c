/* target.c - an address asked about in steps, each one look-up of directory.c.
 *
 * Owns a struct hunt for each question, with the domain's record and the user's or group's until it answers. */
#include "directory/target.h"

#include "base/check.h"
#include "base/mem.h"

#include "directory/alias_file.h"
#include "directory/cache.h"
#include "directory/directory_internal.h"
#include "directory/member_url.h"
#include "directory/name.h"
#include "directory/tables.h"

#define hunt_MAGIC 0x7a26e701u
#define members_MAGIC 0x7a26e702u

enum hunt_state {
	HUNT_DOMAIN,
	HUNT_USER,
	HUNT_GROUP,
	HUNT_PLAIN_USER, /* without its detail */
	HUNT_PLAIN_GROUP,
	HUNT_OWN_DOMAIN /* of a user who was found by an address in another domain */
};

struct hunt {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct directory *d;
	enum hunt_state state;
	struct buf name;       /* owned: "name+detail@domain", lower case */
	struct buf plain;      /* owned: the same without detail; empty: there is none */
	struct record *domain; /* owned reference, or NULL: no entry of it */
	struct record *user;   /* owned reference, in HUNT_OWN_DOMAIN */
	struct ticket *wait;   /* owned */
	bool renamed;
	directory_target_fn *fn;
	void *arg;
};

/* ---- life ---- */

static void hunt_free(struct hunt *h)
{
	ticket_cancel(&h->wait);
	record_unref(&h->domain);
	record_unref(&h->user);
	buf_end(&h->name);
	buf_end(&h->plain);
	h->magic = 0;
	mem_free(h);
}

static void on_cancel(struct ticket *t)
{
	hunt_free(OBJ(hunt, t));
}

static void give(struct hunt *h, enum directory_status status, struct target *t)
{
	struct hunt done = *h;
	h->wait = NULL;
	h->domain = NULL;
	h->name = h->plain = (struct buf){ 0 };
	hunt_free(h);
	if (t != NULL) {
		t->address = buf_cstr(&done.name);
		t->renamed = done.renamed;
	}
	done.fn(done.arg, status, t);
	record_unref(&done.domain);
	buf_end(&done.name);
	buf_end(&done.plain);
}

/* ---- answers ---- */

static enum account_status domain_status(const struct hunt *h)
{
	return h->domain != NULL ? h->domain->domain_status : ACCOUNT_ACTIVE;
}

static void give_user(struct hunt *h, const struct record *r, enum account_status status)
{
	status = domain_status(h) != ACCOUNT_ACTIVE ? domain_status(h) : status;
	struct record *own =
	    status != ACCOUNT_ACTIVE ? record_with_status(r, status) : record_ref(r);
	struct target t = { .kind = TARGET_USER, .user = &own->account };
	give(h, DIRECTORY_FOUND, &t);
	record_unref(&own);
}

static void give_group(struct hunt *h, const struct record *r)
{
	struct record *own = record_ref(r);
	struct target t = { .kind = TARGET_GROUP, .group = &own->group };
	t.status = domain_status(h) != ACCOUNT_ACTIVE ? domain_status(h) : own->group.status;
	give(h, DIRECTORY_FOUND, &t);
	record_unref(&own);
}

static void give_others(struct hunt *h, struct text_list others, bool catch_all)
{
	struct target t = { .kind = TARGET_OTHERS, .others = others, .catch_all = catch_all };
	t.status = domain_status(h);
	give(h, DIRECTORY_FOUND, &t);
}

static void give_elsewhere(struct hunt *h)
{
	struct target t = { .kind = TARGET_ELSEWHERE };
	give(h, DIRECTORY_ABSENT, &t);
}

static void give_nobody(struct hunt *h)
{
	struct target t = { .kind = TARGET_USER };
	give(h, DIRECTORY_ABSENT, &t);
}

/* ---- aliases ---- */

/* True: the hunt is over. */
static bool is_alias(struct hunt *h, struct span key)
{
	struct text_list others;
	switch (alias_file_get(directory_aliases(h->d), key, &others)) {
	case ALIAS_FOUND:
		give_others(h, others, false);
		return true;
	case ALIAS_UNKNOWN:
		give(h, DIRECTORY_UNKNOWN, NULL);
		return true;
	case ALIAS_ABSENT:
		break;
	}
	return false;
}

/* Nobody has the name: the domain's catch-all, of the alias file or of its entry. */
static void to_catch_all(struct hunt *h)
{
	struct text_list others;
	struct span name = buf_span(&h->name);
	size_t at = span_rfind(name, '@');
	struct span all = at == SIZE_MAX ? SPAN_NONE : span_from(name, at);
	if (all.n > 0 && alias_file_get(directory_aliases(h->d), all, &others) == ALIAS_FOUND)
		give_others(h, others, true);
	else if (h->domain != NULL && h->domain->catch_all.n > 0)
		give_others(h, h->domain->catch_all, true);
	else
		give_nobody(h);
}

/* ---- steps ---- */

static void on_look(void *arg, enum directory_status status, const struct record *r);

static void look(struct hunt *h, enum hunt_state state, enum record_kind kind, struct span key)
{
	h->state = state;
	h->wait = directory_look(h->d, kind, key, on_look, h);
}

static void on_group_absent(struct hunt *h, enum hunt_state state);

static void look_domain(struct hunt *h)
{
	look(h, HUNT_DOMAIN, RECORD_DOMAIN, name_domain(buf_span(&h->name)));
}

static void look_group(struct hunt *h, enum hunt_state state, struct span key)
{
	const char *class = directory_settings(h->d)->group_class;
	if (class != NULL && class[0] != '\0')
		look(h, state, RECORD_GROUP, key);
	else
		on_group_absent(h, state);
}

/* The name stands for the same in another domain: once, as the model has it. False: it is an alias of an
 * alias. */
static bool rename_to(struct hunt *h, const char *domain)
{
	struct buf fresh = BUF_INIT(NAME_BYTES_MAX);
	bool ok = !h->renamed;
	buf_add_span(&fresh, name_local(buf_span(&h->name)));
	buf_printf(&fresh, "@%s", domain);
	ok = ok && buf_ok(&fresh);
	if (ok) {
		buf_clear(&h->name);
		buf_add_span(&h->name, buf_span(&fresh));
		h->renamed = true;
	}
	buf_end(&fresh);
	return ok;
}

static void look_name(struct hunt *h)
{
	if (is_alias(h, buf_span(&h->name)))
		return;
	look(h, HUNT_USER, RECORD_USER, buf_span(&h->name));
}

static void on_domain(struct hunt *h, enum directory_status status, const struct record *r)
{
	struct span domain = name_domain(buf_span(&h->name));
	if (status == DIRECTORY_ABSENT && !directory_conf_lists(directory_settings(h->d), domain)) {
		give_elsewhere(h);
		return;
	}
	if (r != NULL && r->canonical != NULL && !span_eq_str(domain, r->canonical)) {
		if (rename_to(h, r->canonical)) {
			look_domain(h);
		} else {
			directory_log(ENTRY_BAD, LOG_SPAN("dn", domain),
			    LOG_STR("why", "a domain that is an alias of an alias"));
			give(h, DIRECTORY_UNKNOWN, NULL);
		}
		return;
	}
	h->domain = r != NULL ? record_ref(r) : NULL;
	look_name(h);
}

static void on_group_absent(struct hunt *h, enum hunt_state state)
{
	if (state == HUNT_GROUP && name_strip_detail(&h->plain, buf_span(&h->name))) {
		if (!is_alias(h, buf_span(&h->plain)))
			look(h, HUNT_PLAIN_USER, RECORD_USER, buf_span(&h->plain));
	} else {
		to_catch_all(h);
	}
}

/* The status of a user's own domain counts, whatever address led to the user. */
static void on_user(struct hunt *h, const struct record *r)
{
	struct span own = span_str(r->account.domain);
	if (own.n == 0 || span_eq(own, name_domain(buf_span(&h->name)))) {
		give_user(h, r, ACCOUNT_ACTIVE);
		return;
	}
	h->user = record_ref(r);
	look(h, HUNT_OWN_DOMAIN, RECORD_DOMAIN, own);
}

static void on_own_domain(struct hunt *h, const struct record *r)
{
	struct record *user = h->user;
	h->user = NULL;
	give_user(h, user, r != NULL ? r->domain_status : ACCOUNT_ACTIVE);
	record_unref(&user);
}

static void on_look(void *arg, enum directory_status status, const struct record *r)
{
	struct hunt *h = OBJ(hunt, arg);
	h->wait = NULL;
	if (status == DIRECTORY_UNKNOWN)
		give(h, DIRECTORY_UNKNOWN, NULL);
	else if (h->state == HUNT_DOMAIN)
		on_domain(h, status, r);
	else if (h->state == HUNT_OWN_DOMAIN)
		on_own_domain(h, r);
	else if (status == DIRECTORY_FOUND && r->kind == RECORD_USER)
		on_user(h, r);
	else if (status == DIRECTORY_FOUND)
		give_group(h, r);
	else if (h->state == HUNT_USER)
		look_group(h, HUNT_GROUP, buf_span(&h->name));
	else if (h->state == HUNT_PLAIN_USER)
		look_group(h, HUNT_PLAIN_GROUP, buf_span(&h->plain));
	else
		on_group_absent(h, h->state);
}

struct ticket *directory_target(
    struct directory *d, struct span address, directory_target_fn *fn, void *arg)
{
	struct hunt *h = MEM_NEW(struct hunt);
	h->ticket.cancel = on_cancel;
	h->magic = hunt_MAGIC;
	h->d = d;
	h->fn = fn;
	h->arg = arg;
	h->name = BUF_INIT(2 * NAME_BYTES_MAX);
	h->plain = BUF_INIT(2 * NAME_BYTES_MAX);
	bool ok = name_user_key(&h->name, address, directory_settings(d)->default_domain);
	if (ok && name_domain(buf_span(&h->name)).n > 0)
		look_domain(h);
	else /* an empty key is answered with "absent", from the loop */
		look(h, HUNT_USER, RECORD_USER, ok ? buf_span(&h->name) : SPAN_NONE);
	return &h->ticket;
}

static struct record *record_of_group(const struct group *g)
{
	return OBJ(record, (char *)(uintptr_t)g - offsetof(struct record, group));
}

const struct group *directory_group_ref(const struct group *g)
{
	return &record_ref(record_of_group(g))->group;
}

void directory_group_unref(const struct group **g)
{
	struct record *r = *g == NULL ? NULL : record_of_group(*g);
	*g = NULL;
	record_unref(&r);
}

/* ---- members ---- */

struct members {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct ticket *wait; /* owned */
	bool refused;        /* it is nothing that may be looked up */
	directory_members_fn *fn;
	void *arg;
};

static void members_cancel(struct ticket *t)
{
	struct members *m = OBJ(members, t);
	ticket_cancel(&m->wait);
	m->magic = 0;
	mem_free(m);
}

static struct text_list addresses_of(const struct record *r)
{
	if (r->kind == RECORD_LIST)
		return r->list;
	return (
	    struct text_list){ r->kind == RECORD_USER ? r->account.address : r->group.address, 1 };
}

static void on_members(void *arg, enum directory_status status, const struct record *r)
{
	struct members *m = OBJ(members, arg);
	struct members done = *m;
	struct record *own = r != NULL ? record_ref(r) : NULL;
	m->magic = 0;
	mem_free(m);
	done.fn(done.arg, done.refused ? DIRECTORY_UNKNOWN : status,
	    own != NULL ? addresses_of(own) : (struct text_list){ 0 });
	record_unref(&own);
}

/* The key to look for; false: it may not be looked for. */
static bool members_key(
    const struct directory_conf *c, struct span what, bool is_url, struct buf *key)
{
	const char *why = NULL;
	if (is_url) {
		struct member_url *url = MEM_NEW(struct member_url);
		if (member_url_parse(what, url, &why) && !member_dn_allowed(c, span_str(url->base)))
			why = "it is outside group_bases";
		mem_free(url);
		buf_add_span(key, what);
	} else if (!name_dn_key(key, what)) {
		why = "it is not a DN";
	} else if (!member_dn_allowed(c, buf_span(key))) {
		why = "it is outside group_bases";
	}
	if (why != NULL)
		directory_log(ENTRY_BAD, LOG_SPAN("dn", what), LOG_STR("why", why));
	return why == NULL;
}

struct ticket *directory_members(
    struct directory *d, struct span dn_or_url, directory_members_fn *fn, void *arg)
{
	struct members *m = MEM_NEW(struct members);
	struct buf key = BUF_INIT(CACHE_KEY_MAX);
	bool is_url = span_istarts(dn_or_url, SPAN("ldap:"));
	m->ticket.cancel = members_cancel;
	m->magic = members_MAGIC;
	m->fn = fn;
	m->arg = arg;
	m->refused = !members_key(directory_settings(d), dn_or_url, is_url, &key);
	m->wait = directory_look(d, is_url ? RECORD_LIST : RECORD_DN,
	    m->refused ? SPAN_NONE : buf_span(&key), on_members, m);
	buf_end(&key);
	return &m->ticket;
}
