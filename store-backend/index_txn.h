/* index_txn.h - the parts of a write transaction, shared by index_write.c, index_apply.c,
 * index_message.c, index_mailbox.c and their like (nobody else). */
#ifndef STORE_INDEX_TXN_H
#define STORE_INDEX_TXN_H

#include "base/buf.h"
#include "base/map.h"
#include "store-backend/index_db.h"
#include "store-backend/index_write.h"

struct index_writer {
	struct db db;
	uint64_t size_max;
	struct index_txn *open; /* at most one */
	bool events;            /* are kept */
};

struct uid_list {
	struct uid_range *v; /* owned */
	size_t n, cap;
};
void uid_list_add(struct uid_list *l, uint32_t uid); /* ascending */
static inline struct uid_set uid_list_set(const struct uid_list *l)
{
	return (struct uid_set){ l->v, l->n };
}

/* A mailbox taken out of its row to be changed. */
struct box {
	uint64_t id;
	struct mailbox_row row;
	char user[STORE_USER_MAX], name[STORE_MAILBOX_NAME_MAX];
	uint8_t keyword_len[STORE_KEYWORDS_MAX];
	char keywords[STORE_KEYWORDS_MAX][STORE_KEYWORD_LEN_MAX];
};

struct touched {
	uint64_t mailbox, modseq;
	bool gone;
};

struct index_txn {
	struct index_writer *writer;
	MDB_txn *txn;
	err_t err; /* sticky */
	/* Opened when needed. Rows that are near one another are found on the page where the last one was;
	 * what goes has a place of its own, as modseqs go in one place and come in another. */
	MDB_cursor *at[DB_COUNT], *going[DB_COUNT];
	struct meta_row meta;
	uint64_t wall_s;         /* of the operation that is being applied */
	struct touched *touched; /* owned */
	size_t touched_n, touched_cap;
	struct map *touched_at; /* mailbox id -> 1 + place in touched */

	log_pos record;   /* of the operation that is being applied; 0: no events */
	uint32_t event_n; /* events of it so far */
	bool events;
	bool salted; /* object_begin() was here */

	struct operation_answer answer;
	struct uid_list uids, target_uids;
	struct op_outcome *outcomes; /* owned */
};

/* ---- rows: failures go to t->err ----------------------------------------------------------------------- */
void txn_fail(struct index_txn *t, int rc);
bool txn_get(struct index_txn *t, enum db_table table, struct db_key *k, MDB_val *out);
void txn_put(struct index_txn *t, enum db_table table, struct db_key *k, const void *p, size_t n);
bool txn_del(struct index_txn *t, enum db_table table, struct db_key *k); /* false: was not there */
/* The cursor that txn_del() has, for who goes over what goes; NULL: t->err says why. */
MDB_cursor *txn_going(struct index_txn *t, enum db_table table);
/* Deletes all keys that begin with prefix. */
void txn_del_all(struct index_txn *t, enum db_table table, const struct db_key *prefix);
void txn_touch(struct index_txn *t, uint64_t mailbox, uint64_t modseq, bool gone);

/* ---- index_run.c: uids by the modseq of their entries ------------------------------------------------------ */
/* They are in no run. */
void run_put(struct index_txn *t, uint64_t id, uint64_t modseq, struct uid_range r);
void run_cut(struct index_txn *t, uint64_t id, uint64_t modseq, struct uid_range r);
/* The same for entries one after the other; run_end() does what is left. */
struct run_change {
	struct index_txn *t;
	uint64_t id; /* of the mailbox */
	uint64_t cut_modseq, put_modseq;
	struct uid_range cut, put; /* first 0: none */
};
void run_leave(struct run_change *r, uint32_t uid, uint64_t modseq);
void run_join(struct run_change *r, uint32_t uid, uint64_t modseq); /* after run_leave(), if both */
void run_end(struct run_change *r);

/* ---- index_mailbox.c: users, mailboxes, entries, blobs ------------------------------------------------- */
bool user_load(struct index_txn *t, struct span user, struct user_row *out);
void user_store(struct index_txn *t, struct span user, const struct user_row *row);
void user_drop(struct index_txn *t, struct span user); /* the row alone */
/* Makes the user with INBOX when missing. */
void user_ensure(struct index_txn *t, struct span user, uint64_t quota_bytes,
    uint64_t quota_messages, struct user_row *out);
/* Whoever watches the user hears of it. */
void user_touch(struct index_txn *t, struct span user);
bool user_has_room(const struct user_row *u, uint64_t bytes, uint64_t messages);

bool box_load(struct index_txn *t, uint64_t id, struct box *out);
void box_store(struct index_txn *t, const struct box *b);
static inline struct span box_user(const struct box *b)
{
	return span_of(b->user, b->row.user_n);
}
static inline struct span box_name(const struct box *b)
{
	return span_of(b->name, b->row.name_n);
}
/* Makes it; the caller has checked that name is free. */
void box_create(
    struct index_txn *t, struct span user, struct span name, uint32_t uses, struct box *out);
void box_delete(struct index_txn *t, struct box *b);
void box_rename(struct index_txn *t, struct box *b, struct span name);
/* The bit of a keyword; 64: unknown, and (add) no bit is left. */
unsigned box_keyword(struct box *b, struct span word, bool add);
uint64_t box_keyword_bits(struct box *b, const struct flag_set *set, bool add, bool *full_out);

/* Appends: uid and modseq are set from the mailbox, whose modseq the caller has raised; the blob gets a
 * reference. Returns the uid; runs: of the mailbox. */
uint32_t box_entry_add(
    struct run_change *runs, struct box *b, struct user_row *u, struct entry_row *e);
struct marks {
	uint32_t flags;
	uint64_t keywords;
};
/* Changes marks of uids of `set` that exist, in order: fn says what they are to be, or false: they stay. An entry's modseq
 * becomes the mailbox's, which fn may raise. */
typedef bool marks_fn(void *arg, uint32_t uid, const struct entry_row *e, struct marks *now_out);
void box_entries_mark(
    struct index_txn *t, struct box *b, const struct uid_set *set, marks_fn *fn, void *arg);
/* All but taking it out of its run. */
void box_entry_remove(struct index_txn *t, struct box *b, struct user_row *u, uint32_t uid,
    const struct entry_row *e);
/* The uid is not there any more since the mailbox's modseq. */
void box_note_vanished(struct index_txn *t, struct box *b, uint32_t uid);
/* Forgets what vanished up to that modseq. */
void box_forget_vanished(struct index_txn *t, struct box *b, uint64_t modseq);
/* A delivery was made: k is of key_delivery(). */
void delivery_remember(struct index_txn *t, struct db_key *k);
/* Uids of `set` that exist, in order. */
void box_entries_in(struct index_txn *t, uint64_t id, const struct uid_set *set,
    bool (*fn)(void *arg, uint32_t uid, const struct entry_row *e), void *arg);

/* ---- index_acl.c ------------------------------------------------------------------------------------------ */
void acl_store(struct index_txn *t, uint64_t mailbox, struct span who, uint32_t rights);
void acl_drop(struct index_txn *t, uint64_t mailbox); /* all of it */
void acl_inherit(struct index_txn *t, uint64_t from, uint64_t to);

/* ---- index_metadata.c ------------------------------------------------------------------------------------- */
void metadata_drop(struct index_txn *t, uint64_t mailbox);      /* all of it */
void metadata_drop_user(struct index_txn *t, struct span user); /* at the server */

/* ---- index_object.c ------------------------------------------------------------------------------------------ */
enum { OBJECT_MESSAGE = 'b', OBJECT_MAILBOX = 'f' };
void object_begin(
    struct index_txn *t, const struct index_facts *facts); /* before the first change */
void object_store(
    struct index_txn *t, char kind, uint64_t number, uint64_t object); /* 0: nothing */
void object_drop(struct index_txn *t, char kind, uint64_t number);

/* ---- index_type.c ------------------------------------------------------------------------------------------ */
/* The rows of a mailbox say so from now on; those of its owner, what the mailboxes' rows say together. */
void type_set(struct index_txn *t, uint64_t mailbox, enum message_type type, struct type_use use);
void type_sum(struct index_txn *t, struct span user, const uint64_t *mailboxes, size_t n);
void type_count(struct index_txn *t, const struct box *b, const struct entry_row *e, bool up);

/* ---- index_domain.c ---------------------------------------------------------------------------------------- */
/* The user's row changes; NULL: there is none (before, afterwards). */
void domain_count(
    struct index_txn *t, struct span user, const struct user_row *was, const struct user_row *now);
void domain_count_all(struct index_txn *t); /* unless that was done */

/* ---- index_quota.c ------------------------------------------------------------------------------------------ */
void quota_mark_drop(struct index_txn *t, struct span user);

/* ---- index_event.c: what is told outside; nothing unless events are kept ---------------------------------- */
struct event_more {
	struct uid_set uids;
	uint64_t size;             /* of the message; 0: not told */
	const struct marks *marks; /* flagNames; NULL: none */
	const struct box *from;    /* where they were before; NULL */
};
/* The mailbox is as it is after the change. */
void event_messages(
    struct index_txn *t, const char *name, const struct box *box, const struct event_more *more);
void event_message(
    struct index_txn *t, const char *name, const struct box *box, uint32_t uid, uint64_t size);
void event_mailbox(
    struct index_txn *t, const char *name, const struct box *box, struct span old_name);
void event_name(struct index_txn *t, const char *name, struct span user, struct span mailbox);
void event_quota(struct index_txn *t, const char *name, struct span user, const struct user_row *u);
/* The same, told for the sake of a limit. */
struct event_limit {
	struct span root;          /* empty: the user's own; else as in struct index_quota_mark */
	const struct box *mailbox; /* whose it is, or NULL */
};
void event_quota_of(struct index_txn *t, const char *name, struct span user,
    const struct user_row *u, const struct event_limit *by);

/* Changes of flags, put together as long as they are alike. */
struct event_flags {
	struct index_txn *t;
	const struct box *box;
	struct uid_list uids; /* owned: the caller frees uids.v */
	struct marks set, clear;
};
void event_flags_add(
    struct event_flags *f, uint32_t uid, const struct marks *old, const struct marks *now);
void event_flags_end(struct event_flags *f);

void blob_add(struct index_txn *t, log_pos blob, uint64_t size, struct span cache);
void blob_ref(struct index_txn *t, log_pos blob);
void blob_unref(struct index_txn *t, log_pos blob);

#endif
