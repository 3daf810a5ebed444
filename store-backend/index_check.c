/* index_check.c - everything in the index is counted again: entries of mailboxes, mailboxes of users, references of
 * messages, users of domains. Owns one sorted list of all references, and one of all domains, while it runs. */
#include "store-backend/index_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "directory/name.h"
#include "store-backend/index_db.h"
#include "store-backend/index_write.h"

enum { WHOSE_MAX = STORE_USER_MAX + 16, DOMAINS_MAX = 1 << 24 };

struct refs {
	log_pos *v; /* owned */
	size_t n, cap;
};

struct check {
	struct index_check *c;
	struct index_view *view;
	const struct db *db;
	MDB_txn *txn;
	struct refs refs;
	const struct index_mailbox *box; /* whose entries are counted */
	struct index_mailbox sum;
	struct type_uses types, user_types, user_says;
	uint64_t user_mailboxes;
	struct map *domains; /* owned: what is counted by users; values owned */
	size_t at;           /* first of refs that no blob was found for */
};

static void fault(struct check *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fault(struct check *k, const char *fmt, ...)
{
	struct buf b = BUF_INIT(2048);
	va_list ap;
	va_start(ap, fmt);
	(void)buf_vprintf(&b, fmt, ap);
	va_end(ap);
	k->c->on_fault(k->c->arg, buf_cstr(&b));
	buf_end(&b);
}

static void add_ref(struct refs *r, log_pos blob)
{
	if (r->n == r->cap) {
		r->cap = r->cap == 0 ? 4096 : r->cap + r->cap / 2;
		r->v = mem_grow(r->v, r->cap, sizeof r->v[0]);
	}
	r->v[r->n++] = blob;
}

/* ---- mailboxes of users ---------------------------------------------------------------------------------- */

static bool on_entry(void *arg, const struct index_entry *e)
{
	struct check *k = arg;
	k->sum.messages++;
	k->sum.bytes += e->size;
	k->sum.unseen += (e->flags & STORE_SEEN) == 0;
	k->sum.deleted += (e->flags & STORE_DELETED) != 0;
	type_uses_add(&k->types, e->type, e->size, 1);
	add_ref(&k->refs, e->blob);
	if (e->uid >= k->box->uidnext || e->modseq > k->box->modseq ||
	    !db_run_holds(k->db, k->txn, k->box->id, e))
		fault(k, "mailbox %" PRIu64 ": uid or modseq of message %u", k->box->id, e->uid);
	return true;
}

static void add_types(struct type_uses *to, const struct type_uses *more)
{
	for (int type = 0; type < TYPE_COUNT; type++) {
		to->of[type].bytes += more->of[type].bytes;
		to->of[type].messages += more->of[type].messages;
	}
}

static void check_types(
    struct check *k, const char *whose, const struct type_uses *says, const struct type_uses *has)
{
	for (int type = TYPE_MAIL; type < TYPE_COUNT; type++)
		if (says->of[type].messages != has->of[type].messages ||
		    says->of[type].bytes != has->of[type].bytes)
			fault(k,
			    "%s: of type %d says %" PRIu64 " messages, %" PRIu64
			    " bytes; has %" PRIu64 ", %" PRIu64,
			    whose, type, says->of[type].messages, says->of[type].bytes,
			    has->of[type].messages, has->of[type].bytes);
}

static void check_mailbox_types(struct check *k, const struct index_mailbox *m)
{
	struct type_uses says;
	char whose[WHOSE_MAX];
	index_types(k->view, m, &says, &k->user_says);
	(void)snprintf(whose, sizeof whose, "mailbox %" PRIu64, m->id);
	check_types(k, whose, &says, &k->types);
	add_types(&k->user_types, &k->types);
}

static bool on_mailbox(void *arg, const struct index_mailbox *m)
{
	struct check *k = arg;
	k->box = m;
	k->sum = (struct index_mailbox){ 0 };
	k->types = (struct type_uses){ 0 };
	index_entries(k->view, m->id, (struct uid_range){ 1, UINT32_MAX }, on_entry, k);
	if (k->sum.messages != m->messages || k->sum.bytes != m->bytes ||
	    k->sum.unseen != m->unseen || k->sum.deleted != m->deleted)
		fault(k,
		    "mailbox %" PRIu64 ": says %u messages, %" PRIu64 " bytes; has %u, %" PRIu64,
		    m->id, m->messages, m->bytes, k->sum.messages, k->sum.bytes);
	k->c->mailboxes++;
	k->user_mailboxes++;
	check_mailbox_types(k, m);
	return true;
}

/* ---- domains ---------------------------------------------------------------------------------------------- */

static void count_in_domain(struct check *k, struct span user, const struct user_row *row)
{
	struct span domain = name_domain(user);
	struct index_domain *sum = domain.n == 0 ? NULL : map_get(k->domains, domain);
	if (domain.n == 0)
		return;
	if (sum == NULL) {
		sum = MEM_NEW(struct index_domain);
		if (!map_set(k->domains, domain, sum, NULL)) {
			mem_free(sum);
			return;
		}
	}
	sum->bytes += row->bytes;
	sum->messages += row->messages;
	sum->users++;
}

static void check_domain(struct check *k, struct span domain, const struct index_domain *has)
{
	struct index_domain says;
	index_domain(k->view, domain, &says);
	if (says.bytes != has->bytes || says.messages != has->messages || says.users != has->users)
		fault(k,
		    "domain %.*s: says %" PRIu64 " users, %" PRIu64 " messages, %" PRIu64
		    " bytes; has %" PRIu64 ", %" PRIu64 ", %" PRIu64,
		    (int)domain.n, domain.p, says.users, says.messages, says.bytes, has->users,
		    has->messages, has->bytes);
}

static bool on_domain(void *arg, struct span domain)
{
	static const struct index_domain nothing = { 0 };
	struct check *k = arg;
	if (map_get(k->domains, domain) == NULL)
		check_domain(k, domain, &nothing);
	return true;
}

static bool check_counted(void *arg, struct span domain, void *sum)
{
	check_domain(arg, domain, sum);
	return true;
}

static bool free_counted(void *arg, struct span domain, void *sum)
{
	mem_free(sum);
	return true;
}

/* Of all that have users, and of those that should have none. */
static void check_domains(struct check *k)
{
	index_domains(k->view, on_domain, k);
	map_each(k->domains, check_counted, k);
	map_each(k->domains, free_counted, NULL);
	map_free(&k->domains);
}

/* ---- users ------------------------------------------------------------------------------------------------ */

static bool on_user(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct check *k = arg;
	struct user_row row;
	struct span user = val_span(key);
	if (!row_get(value, &row, sizeof row)) {
		fault(k, "user %.*s: row too short", (int)user.n, user.p);
		return true;
	}
	k->user_types = k->user_says = (struct type_uses){ 0 };
	k->user_mailboxes = 0;
	index_mailboxes(k->view, user, on_mailbox, k);
	const struct type_use *all = &k->user_types.of[TYPE_ANY];
	if (row.bytes != all->bytes || row.messages != all->messages ||
	    row.mailboxes != k->user_mailboxes)
		fault(k,
		    "user %.*s: says %" PRIu64 " messages, %" PRIu64 " bytes; has %" PRIu64
		    ", %" PRIu64,
		    (int)user.n, user.p, row.messages, row.bytes, all->messages, all->bytes);
	char whose[WHOSE_MAX];
	(void)snprintf(whose, sizeof whose, "user %.*s", (int)user.n, user.p);
	check_types(k, whose, &k->user_says, &k->user_types);
	count_in_domain(k, user, &row);
	k->c->users++;
	k->c->messages += all->messages;
	return true;
}

/* ---- references -------------------------------------------------------------------------------------------- */

static int by_position(const void *a, const void *b)
{
	const log_pos *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* Blobs come in order of their position, like the sorted references. */
static bool on_blob(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct check *k = arg;
	struct refs *r = &k->refs;
	log_pos blob = key_get_u64(key, 0);
	struct blob_row row = { 0 };
	uint64_t n = 0;
	for (; k->at < r->n && r->v[k->at] < blob; k->at++)
		fault(k, "message at %" PRIu64 ": not in the table of messages", r->v[k->at]);
	for (; k->at < r->n && r->v[k->at] == blob; k->at++)
		n++;
	if (!row_get(value, &row, sizeof row) || row.refs != n)
		fault(k, "message at %" PRIu64 ": says %" PRIu64 " references, has %" PRIu64, blob,
		    row.refs, n);
	k->c->blobs++;
	if (n > 0)
		k->c->on_blob(k->c->arg, blob);
	return true;
}

static void check_blobs(struct check *k)
{
	struct db_key all = { .n = 0 };
	if (k->refs.n > 0)
		qsort(k->refs.v, k->refs.n, sizeof k->refs.v[0], by_position);
	db_each(&(struct db_range){ k->db, k->txn, DB_BLOBS, &all, &all }, on_blob, k);
	for (; k->at < k->refs.n; k->at++)
		fault(k, "message at %" PRIu64 ": not in the table of messages", k->refs.v[k->at]);
}

bool index_check_run(struct index *x, struct index_check *c)
{
	struct db_key all = { .n = 0 };
	struct check k = { .c = c, .view = index_view_begin(x) };
	if (k.view == NULL)
		return false;
	k.domains = map_new(DOMAINS_MAX);
	index_view_db(k.view, &k.db, &k.txn);
	log_pos rows = index_view_base(k.view).at;
	if (rows != 0 && c->on_rows != NULL)
		c->on_rows(c->arg, rows);
	db_each(&(struct db_range){ k.db, k.txn, DB_USERS, &all, &all }, on_user, &k);
	check_domains(&k);
	check_blobs(&k);
	mem_free(k.refs.v);
	index_view_end(&k.view);
	return true;
}
