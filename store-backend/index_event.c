/* index_event.c - what happened, for those outside (RFC 5423 names, JSON): rows of the index, written with the change
 * they tell of, so that they are durable and known to be so when it is. Before: index_apply.c, index_message.c;
 * after: partition_events.c sends them on and says how far it has come. Owns nothing.
 *
 * The index does not depend on them. Their key is the place of the change in the log: replaying makes the same. */
#include <time.h>

#include "base/fmt.h"
#include "store-backend/index_apply.h"

enum {
	EVENT_RANGES = 2000, /* of uids in one event; more make several events */
	EVENT_MAX = 96 * 1024,
	WORD_MAX = 24
};

/* ---- rows ------------------------------------------------------------------------------------------------ */

static struct db_key event_key(struct index_event_id id)
{
	struct db_key k = key_entry(id.at, id.n);
	return k;
}

static void put_row(struct index_txn *t, const struct buf *json)
{
	struct db_key k = event_key((struct index_event_id){ t->record, t->event_n });
	struct buf row = BUF_INIT(EVENT_MAX + sizeof t->wall_s);
	buf_add(&row, &t->wall_s, sizeof t->wall_s);
	buf_add_span(&row, buf_span(json));
	if (buf_ok(json) && buf_ok(&row))
		txn_put(t, DB_EVENTS, &k, buf_span(&row).p, buf_len(&row));
	t->event_n++;
	buf_end(&row);
}

static void put_text(struct buf *b, const char *name, struct span text)
{
	buf_printf(b, ",\"%s\":", name);
	fmt_json_string(b, text);
}

static void put_number(struct buf *b, const char *name, uint64_t n)
{
	buf_printf(b, ",\"%s\":", name);
	buf_add_number(b, n);
}

/* Of this change, and of no other: what a consumer sees twice has the same. */
static void begin(struct index_txn *t, struct buf *b, const char *name, struct span user)
{
	char when[WORD_MAX];
	time_t wall = (time_t)t->wall_s;
	struct tm tm;
	(void)gmtime_r(&wall, &tm);
	(void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	*b = BUF_INIT(EVENT_MAX);
	buf_printf(b, "{\"event\":\"%s\",\"id\":\"%llu-%u\",\"timestamp\":\"%s\"", name,
	    (unsigned long long)t->record, t->event_n, when);
	put_text(b, "user", user);
}

static void finish(struct index_txn *t, struct buf *b)
{
	buf_add_char(b, '}');
	put_row(t, b);
	buf_end(b);
}

static void put_box(struct buf *b, const struct box *box)
{
	put_text(b, "mailbox", box_name(box));
	put_number(b, "uidvalidity", box->row.uidvalidity);
	put_number(b, "uidnext", box->row.uidnext);
	put_number(b, "modseq", box->row.modseq);
	put_number(b, "messages", box->row.messages);
	put_number(b, "unseen", box->row.unseen);
}

/* ---- messages ---------------------------------------------------------------------------------------------- */

static void put_uids(struct buf *b, const struct uid_range *v, size_t n)
{
	buf_add_str(b, ",\"uidset\":\"");
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_add_char(b, ',');
		buf_add_number(b, v[i].first);
		if (v[i].last > v[i].first) {
			buf_add_char(b, ':');
			buf_add_number(b, v[i].last);
		}
	}
	buf_add_char(b, '"');
}

static void put_flag_names(struct buf *b, const struct box *box, const struct marks *m)
{
	static const char *const names[] = { "\\\\Seen", "\\\\Answered", "\\\\Flagged",
		"\\\\Deleted", "\\\\Draft" };
	const char *comma = "";
	buf_add_str(b, ",\"flagNames\":[");
	for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
		if ((m->flags >> i & 1) != 0) {
			buf_printf(b, "%s\"%s\"", comma, names[i]);
			comma = ",";
		}
	for (unsigned i = 0; i < box->row.keyword_n; i++)
		if ((m->keywords >> i & 1) != 0) {
			buf_add_str(b, comma);
			fmt_json_string(b, span_of(box->keywords[i], box->keyword_len[i]));
			comma = ",";
		}
	buf_add_char(b, ']');
}

void event_messages(
    struct index_txn *t, const char *name, const struct box *box, const struct event_more *more)
{
	struct buf b;
	for (size_t at = 0; t->events && t->record != 0 && at < more->uids.n; at += EVENT_RANGES) {
		size_t n = more->uids.n - at < EVENT_RANGES ? more->uids.n - at : EVENT_RANGES;
		begin(t, &b, name, box_user(box));
		put_box(&b, box);
		put_uids(&b, more->uids.v + at, n);
		if (more->size > 0)
			put_number(&b, "messageSize", more->size);
		if (more->marks != NULL)
			put_flag_names(&b, box, more->marks);
		if (more->from != NULL)
			put_text(&b, "oldMailbox", box_name(more->from));
		finish(t, &b);
	}
}

void event_message(
    struct index_txn *t, const char *name, const struct box *box, uint32_t uid, uint64_t size)
{
	struct uid_range one = { uid, uid };
	event_messages(t, name, box, &(struct event_more){ .uids = { &one, 1 }, .size = size });
}

/* ---- flags --------------------------------------------------------------------------------------------------- */

static bool same_marks(const struct marks *a, const struct marks *b)
{
	return a->flags == b->flags && a->keywords == b->keywords;
}

static void tell_marks(struct event_flags *f, const char *name, struct marks m)
{
	struct event_more more = { .uids = uid_list_set(&f->uids), .marks = &m };
	if (m.flags != 0 || m.keywords != 0)
		event_messages(f->t, name, f->box, &more);
}

void event_flags_end(struct event_flags *f)
{
	struct marks set = f->set;
	if (f->uids.n > 0) {
		/* RFC 5423 4.3: these two flags have events of their own. */
		tell_marks(f, "MessageRead", (struct marks){ set.flags & STORE_SEEN, 0 });
		tell_marks(f, "MessageTrash", (struct marks){ set.flags & STORE_DELETED, 0 });
		set.flags &= ~(uint32_t)(STORE_SEEN | STORE_DELETED);
		tell_marks(f, "FlagsSet", set);
		tell_marks(f, "FlagsClear", f->clear);
	}
	f->uids.n = 0;
}

void event_flags_add(
    struct event_flags *f, uint32_t uid, const struct marks *old, const struct marks *now)
{
	struct marks set = { now->flags & ~old->flags, now->keywords & ~old->keywords };
	struct marks clear = { old->flags & ~now->flags, old->keywords & ~now->keywords };
	if (!f->t->events || f->t->record == 0)
		return;
	if (!same_marks(&set, &f->set) || !same_marks(&clear, &f->clear))
		event_flags_end(f);
	f->set = set;
	f->clear = clear;
	uid_list_add(&f->uids, uid);
}

/* ---- mailboxes ------------------------------------------------------------------------------------------------- */

void event_mailbox(
    struct index_txn *t, const char *name, const struct box *box, struct span old_name)
{
	struct buf b;
	if (!t->events || t->record == 0)
		return;
	begin(t, &b, name, box_user(box));
	put_box(&b, box);
	if (old_name.n > 0)
		put_text(&b, "oldMailbox", old_name);
	finish(t, &b);
}

void event_name(struct index_txn *t, const char *name, struct span user, struct span mailbox)
{
	struct buf b;
	if (!t->events || t->record == 0)
		return;
	begin(t, &b, name, user);
	put_text(&b, "mailbox", mailbox);
	finish(t, &b);
}

void event_quota_of(struct index_txn *t, const char *name, struct span user,
    const struct user_row *u, const struct event_limit *by)
{
	struct buf b;
	if (!t->events || t->record == 0)
		return;
	begin(t, &b, name, user);
	if (by->mailbox != NULL)
		put_text(&b, "mailbox", box_name(by->mailbox));
	/* RFC 5423 5: in units of 1024 octets. */
	put_number(&b, "diskQuota", u->quota_bytes / 1024);
	put_number(&b, "diskUsed", u->bytes / 1024);
	put_number(&b, "maxMessages", u->quota_messages);
	put_number(&b, "messages", u->messages);
	if (by->root.n > 0)
		put_text(&b, "vnd.postern.quotaRoot", by->root);
	finish(t, &b);
}

void event_quota(struct index_txn *t, const char *name, struct span user, const struct user_row *u)
{
	static const struct event_limit own = { 0 };
	event_quota_of(t, name, user, u, &own);
}

/* ---- for those who send them on ---------------------------------------------------------------------------------- */

static struct db_key position_key(void)
{
	struct db_key k = { .n = 0 };
	key_span(&k, SPAN("events"));
	return k;
}

void index_writer_events(struct index_writer *w, bool on)
{
	w->events = on;
}

struct index_event_id index_writer_events_sent(struct index_writer *w)
{
	struct index_event_id id = { 0, 0 };
	struct db_key k = position_key();
	MDB_txn *txn;
	MDB_val v;
	if (mdb_txn_begin(w->db.env, NULL, MDB_RDONLY, &txn) != 0)
		return id;
	if (db_get(&w->db, txn, DB_META, &k, &v))
		id = (struct index_event_id){ key_get_u64(&v, 0), key_get_u32(&v, 8) };
	mdb_txn_abort(txn);
	return id;
}

struct each_event {
	index_event_fn *fn;
	void *arg;
};

static bool on_row(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct each_event *e = arg;
	struct index_event_id id = { key_get_u64(key, 0), key_get_u32(key, 8) };
	uint64_t wall_s;
	if (!row_get(value, &wall_s, sizeof wall_s))
		return true;
	return e->fn(e->arg, id, wall_s, span_from(val_span(value), sizeof wall_s));
}

void index_writer_each_event(
    struct index_writer *w, struct index_event_id after, index_event_fn *fn, void *arg)
{
	struct each_event e = { fn, arg };
	struct db_key all = { .n = 0 }, from;
	MDB_txn *txn;
	if (after.n == UINT32_MAX)
		after = (struct index_event_id){ after.at + 1, 0 };
	else
		after.n++;
	from = event_key(after);
	if (mdb_txn_begin(w->db.env, NULL, MDB_RDONLY, &txn) != 0)
		return;
	db_each(&(struct db_range){ &w->db, txn, DB_EVENTS, &all, &from }, on_row, &e);
	mdb_txn_abort(txn);
}

uint64_t index_writer_event_count(struct index_writer *w)
{
	MDB_txn *txn;
	MDB_stat st = { 0 };
	if (mdb_txn_begin(w->db.env, NULL, MDB_RDONLY, &txn) != 0)
		return 0;
	(void)mdb_stat(txn, w->db.t[DB_EVENTS], &st);
	mdb_txn_abort(txn);
	return st.ms_entries;
}

static bool is_done(const MDB_val *key, const MDB_val *value, const struct index_events_done *d)
{
	struct index_event_id id = { key_get_u64(key, 0), key_get_u32(key, 8) };
	uint64_t wall_s;
	bool sent = id.at < d->sent.at || (id.at == d->sent.at && id.n <= d->sent.n);
	return sent && row_get(value, &wall_s, sizeof wall_s) && wall_s < d->before_s;
}

struct due {
	const struct index_events_done *done;
	bool yes;
};

static bool look_due(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct due *d = arg;
	d->yes = is_done(key, value, d->done);
	return false;
}

bool index_writer_events_due(struct index_writer *w, const struct index_events_done *d)
{
	struct due due = { d, false };
	struct db_key all = { .n = 0 };
	MDB_txn *txn;
	if (mdb_txn_begin(w->db.env, NULL, MDB_RDONLY, &txn) != 0)
		return false;
	db_each(&(struct db_range){ &w->db, txn, DB_EVENTS, &all, &all }, look_due, &due);
	mdb_txn_abort(txn);
	return due.yes;
}

size_t index_events_done(struct index_txn *t, const struct index_events_done *d)
{
	struct db_key k = position_key(), position = event_key(d->sent);
	MDB_val key, value;
	MDB_cursor *c;
	size_t n = 0;
	txn_put(t, DB_META, &k, position.b, position.n);
	int rc = mdb_cursor_open(t->txn, t->writer->db.t[DB_EVENTS], &c);
	if (rc != 0) {
		txn_fail(t, rc);
		return 0;
	}
	rc = mdb_cursor_get(c, &key, &value, MDB_FIRST);
	while (rc == 0 && n < d->most && (n < d->over || is_done(&key, &value, d))) {
		rc = mdb_cursor_del(c, 0);
		n++;
		if (rc == 0)
			rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(c);
	txn_fail(t, rc == MDB_NOTFOUND ? 0 : rc);
	return n;
}
