/* index_type.c - how much of each kind of message there is, by mailbox and by user. What is not mail is counted with each
 * entry that comes and goes; mail is the rest. Before: index_mailbox.c, which has the entry; quota.c reads. Owns nothing.
 *
 * Counted from the entries alone, so that replaying makes the same; entries of an index from before kinds were kept
 * are mail. */
#include "store-backend/index_txn.h"

static bool is_counted(enum message_type type)
{
	return type > TYPE_MAIL && type < TYPE_COUNT;
}

static struct db_key mailbox_key(uint64_t mailbox, enum message_type type)
{
	struct db_key k = { .n = 0 };
	uint8_t last = (uint8_t)type;
	key_span(&k, SPAN("m"));
	key_u64(&k, mailbox);
	key_span(&k, span_of((const char *)&last, 1));
	return k;
}

static struct db_key user_key(struct span user, enum message_type type)
{
	struct db_key k = { .n = 0 };
	char last[] = { '\0', (char)type };
	key_span(&k, SPAN("u"));
	key_span(&k, user);
	key_span(&k, span_of(last, sizeof last));
	return k;
}

/* ---- counting ----------------------------------------------------------------------------------------------- */

/* More than there is cannot go, so neither number falls below nothing. */
static void change(struct index_txn *t, struct db_key *k, const struct type_use *by, bool up)
{
	struct type_use now = { 0 };
	MDB_val v;
	if (txn_get(t, DB_TYPES, k, &v) && !row_get(&v, &now, sizeof now))
		now = (struct type_use){ 0 };
	if (!up && (now.messages < by->messages || now.bytes < by->bytes)) {
		txn_fail(t, MDB_CORRUPTED);
		return;
	}
	now.bytes += up ? by->bytes : -by->bytes;
	now.messages += up ? by->messages : -by->messages;
	if (now.messages > 0)
		txn_put(t, DB_TYPES, k, &now, sizeof now);
	else
		(void)txn_del(t, DB_TYPES, k);
}

void type_count(struct index_txn *t, const struct box *b, const struct entry_row *e, bool up)
{
	enum message_type type = message_type_from(e->type);
	struct type_use one = { e->size, 1 };
	if (!is_counted(type))
		return;
	struct db_key m = mailbox_key(b->id, type), u = user_key(box_user(b), type);
	change(t, &m, &one, up);
	change(t, &u, &one, up);
}

static void store(struct index_txn *t, struct db_key *k, const struct type_use *use)
{
	if (use->messages > 0)
		txn_put(t, DB_TYPES, k, use, sizeof *use);
	else
		(void)txn_del(t, DB_TYPES, k);
}

void type_set(struct index_txn *t, uint64_t mailbox, enum message_type type, struct type_use use)
{
	struct db_key k = mailbox_key(mailbox, type);
	if (is_counted(type))
		store(t, &k, &use);
}

void type_sum(struct index_txn *t, struct span user, const uint64_t *mailboxes, size_t n)
{
	for (int type = TYPE_MAIL + 1; type < TYPE_COUNT; type++) {
		struct db_key k = user_key(user, (enum message_type)type);
		struct type_use sum = { 0 }, one;
		MDB_val v;
		for (size_t i = 0; i < n; i++) {
			struct db_key m = mailbox_key(mailboxes[i], (enum message_type)type);
			if (!txn_get(t, DB_TYPES, &m, &v) || !row_get(&v, &one, sizeof one))
				continue;
			sum.bytes += one.bytes;
			sum.messages += one.messages;
		}
		store(t, &k, &sum);
	}
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static void read_one(const struct db *db, MDB_txn *txn, struct db_key *k, struct type_use *out)
{
	MDB_val v;
	if (!db_get(db, txn, DB_TYPES, k, &v) || !row_get(&v, out, sizeof *out))
		*out = (struct type_use){ 0 };
}

static void set_rest(struct type_uses *u, uint64_t bytes, uint64_t messages)
{
	u->of[TYPE_ANY] = u->of[TYPE_MAIL] = (struct type_use){ bytes, messages };
	for (int type = TYPE_MAIL + 1; type < TYPE_COUNT; type++) {
		u->of[TYPE_MAIL].bytes -= u->of[type].bytes;
		u->of[TYPE_MAIL].messages -= u->of[type].messages;
	}
}

void db_types(const struct db *db, MDB_txn *txn, const struct index_mailbox *m,
    struct type_uses *mailbox_out, struct type_uses *user_out)
{
	struct user_row user = { 0 };
	for (int type = TYPE_MAIL + 1; type < TYPE_COUNT; type++) {
		struct db_key in = mailbox_key(m->id, (enum message_type)type);
		struct db_key of = user_key(m->user, (enum message_type)type);
		read_one(db, txn, &in, &mailbox_out->of[type]);
		read_one(db, txn, &of, &user_out->of[type]);
	}
	(void)db_user(db, txn, m->user, &user);
	set_rest(mailbox_out, m->bytes, m->messages);
	set_rest(user_out, user.bytes, user.messages);
}
