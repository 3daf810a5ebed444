/* index_check.c - everything in the index is counted again: entries of mailboxes, mailboxes of users, references of
 * messages. Owns one sorted list of all references while it runs. */
#include "store-backend/index_check.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store-backend/index_db.h"

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
	uint64_t user_bytes, user_messages, user_mailboxes;
	size_t at; /* first of refs that no blob was found for */
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
	struct db_key m = key_modseq(k->box->id, e->modseq, e->uid);
	MDB_val v;
	k->sum.messages++;
	k->sum.bytes += e->size;
	k->sum.unseen += (e->flags & STORE_SEEN) == 0;
	k->sum.deleted += (e->flags & STORE_DELETED) != 0;
	add_ref(&k->refs, e->blob);
	if (e->uid >= k->box->uidnext || e->modseq > k->box->modseq ||
	    !db_get(k->db, k->txn, DB_MODSEQS, &m, &v))
		fault(k, "mailbox %" PRIu64 ": uid or modseq of message %u", k->box->id, e->uid);
	return true;
}

static bool on_mailbox(void *arg, const struct index_mailbox *m)
{
	struct check *k = arg;
	k->box = m;
	k->sum = (struct index_mailbox){ 0 };
	index_entries(k->view, m->id, (struct uid_range){ 1, UINT32_MAX }, on_entry, k);
	if (k->sum.messages != m->messages || k->sum.bytes != m->bytes ||
	    k->sum.unseen != m->unseen || k->sum.deleted != m->deleted)
		fault(k,
		    "mailbox %" PRIu64 ": says %u messages, %" PRIu64 " bytes; has %u, %" PRIu64,
		    m->id, m->messages, m->bytes, k->sum.messages, k->sum.bytes);
	k->c->mailboxes++;
	k->user_mailboxes++;
	k->user_messages += k->sum.messages;
	k->user_bytes += k->sum.bytes;
	return true;
}

static bool on_user(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct check *k = arg;
	struct user_row row;
	struct span user = val_span(key);
	if (!row_get(value, &row, sizeof row)) {
		fault(k, "user %.*s: row too short", (int)user.n, user.p);
		return true;
	}
	k->user_bytes = k->user_messages = k->user_mailboxes = 0;
	index_mailboxes(k->view, user, on_mailbox, k);
	if (row.bytes != k->user_bytes || row.messages != k->user_messages ||
	    row.mailboxes != k->user_mailboxes)
		fault(k,
		    "user %.*s: says %" PRIu64 " messages, %" PRIu64 " bytes; has %" PRIu64
		    ", %" PRIu64,
		    (int)user.n, user.p, row.messages, row.bytes, k->user_messages, k->user_bytes);
	k->c->users++;
	k->c->messages += k->user_messages;
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
	index_view_db(k.view, &k.db, &k.txn);
	db_each(&(struct db_range){ k.db, k.txn, DB_USERS, &all, &all }, on_user, &k);
	check_blobs(&k);
	mem_free(k.refs.v);
	index_view_end(&k.view);
	return true;
}
