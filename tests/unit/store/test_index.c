/* test_index.c - operations applied to the index: the same operations make the same index, its counters are those of
 * what is in it, and what is refused changes nothing. */
#include "index_bench.h"
#include "index_rows.h"

#include "base/rand.h"
#include "store-backend/index_check.h"

enum { USERS = 3, BOXES = 6, OPERATIONS = 4000, IN_TXN = 37 };

static const char *const users[USERS] = { "a@x", "b@x", "c@x" };
static const char *const names[BOXES] = { "INBOX", "Work", "Work/Deep", "Old", "Old/Work", "Z" };
static const struct span words[3] = { { "$One", 4 }, { "$Two", 4 }, { "Three", 5 } };

static uint64_t digest(struct bench *b)
{
	bench_commit(b);
	return index_writer_digest(b->w);
}

/* ---- at random --------------------------------------------------------------------------------------- */

enum { FIRST_OF_MANY = 1 << 30 };

struct dice {
	uint64_t boxes[64]; /* ids seen, of anybody */
	size_t box_n;
	struct uid_range range[2];
	struct op_recipient to[4];
	char id[16];
	struct op_message many[3];
	struct op_entry entries[2];
	log_pos blobs; /* of these: beyond those that apply() gives out */
};

static uint64_t any_box(struct dice *d)
{
	return d->box_n == 0 || rand_below(20) == 0 ? rand_below(100)
						    : d->boxes[rand_below(d->box_n)];
}

static void throw_message(struct dice *d, struct operation *op)
{
	op->message.size = rand_below(1000);
	op->message.cache = span_first(SPAN("cached cached"), (size_t)rand_below(13));
	op->date_s = (int64_t)rand_below(1u << 30);
	op->date_zone = 60;
	op->recipient_n = 1 + (size_t)rand_below(4);
	for (size_t i = 0; i < op->recipient_n; i++)
		d->to[i] = (struct op_recipient){ span_str(users[rand_below(USERS)]),
			rand_below(2) == 0 ? SPAN_NONE : span_str(names[rand_below(BOXES)]) };
	op->recipients = d->to;
	snprintf(d->id, sizeof d->id, "id%u", (unsigned)rand_below(200));
	op->delivery_id = rand_below(4) == 0 ? SPAN_NONE : span_str(d->id);
}

static void throw_messages(struct dice *d, struct operation *op)
{
	op->message = (struct message_source){ .size = 0 };
	op->messages = d->many;
	op->message_n = 1 + (size_t)rand_below(3);
	for (size_t i = 0; i < op->message_n; i++) {
		d->many[i] = (struct op_message){ .size = 1 + rand_below(300),
			.date_s = (int64_t)rand_below(1u << 30),
			.blob = ++d->blobs,
			.cache = span_first(SPAN("cached"), (size_t)rand_below(6)) };
		d->many[i].set = (struct flag_set){ (uint32_t)rand_below(STORE_FLAGS_ALL + 1),
			op->set.keywords, i == 0 ? op->set.keyword_n : 0 };
		op->message.size += d->many[i].size;
	}
}

static void throw_entries(struct dice *d, struct operation *op)
{
	static const char *const entries[] = { "/private/a", "/private/b", "/shared/a", "!key" };
	for (size_t i = 0; i < 2; i++)
		d->entries[i] = (struct op_entry){ span_str(entries[rand_below(4)]),
			span_first(SPAN("value value"), (size_t)rand_below(11)),
			rand_below(3) == 0 };
	if (rand_below(8) == 0)
		op->mailbox = 0;
	op->name = rand_below(2) == 0 ? SPAN_NONE : span_str(users[rand_below(USERS)]);
	op->quota_messages = rand_below(4);
	op->entries = d->entries;
	op->entry_n = 1 + (size_t)rand_below(2);
}

/* Users come and go, but are mostly here. */
static void throw_adopted(struct dice *d, struct operation *op)
{
	struct op_adopted *a = &op->adopted;
	if (op->kind == OP_STAY && rand_below(4) > 0)
		op->kind = OP_DELIVER;
	a->stay = rand_below(2) == 0 ? STAY_HERE : (enum store_stay)rand_below(STAY_COUNT);
	a->uidvalidity = 1 + (uint32_t)rand_below(3);
	a->recent_from = 1 + (uint32_t)rand_below(10);
	a->uidnext = a->recent_from + (uint32_t)rand_below(50);
	a->vanished_from = rand_below(5);
	a->uid = 1 + (uint32_t)rand_below(60);
	a->modseq = 1 + rand_below(100);
	a->keywords = rand_below(8);
	a->saved_s = 5;
	a->folder_hash = rand_below(2);
	a->object = rand_below(3);
	if (rand_below(4) == 0)
		op->actor = span_str(users[rand_below(USERS)]);
	if (op->kind == OP_SET_ACL) {
		op->name = rand_below(3) == 0 ? SPAN("anyone") : span_str(users[rand_below(USERS)]);
		op->uses = (uint32_t)rand_below(2048);
	}
	if (op->kind == OP_ADOPT_DELIVERY) {
		snprintf(d->id, sizeof d->id, "id%u", (unsigned)rand_below(200));
		op->delivery_id = span_str(d->id);
	}
}

static struct operation throw_operation(struct dice *d)
{
	struct operation op;
	operation_init(&op, (enum operation_kind)(1 + rand_below(OP_KIND_COUNT - 1)));
	/* Messages are what the rest works on; repairs have tests of their own. */
	if (rand_below(3) == 0 || op.kind == OP_MEND)
		op.kind = OP_DELIVER;
	op.user = span_str(users[rand_below(USERS)]);
	op.mailbox = any_box(d);
	op.target = any_box(d);
	op.name = span_str(names[rand_below(BOXES)]);
	op.new_name = span_str(names[rand_below(BOXES)]);
	d->range[0].first = 1 + (uint32_t)rand_below(20);
	d->range[0].last = d->range[0].first + (uint32_t)rand_below(10);
	d->range[1].first = d->range[0].last + 2;
	d->range[1].last = d->range[1].first + (uint32_t)rand_below(100);
	op.uids = (struct uid_set){ d->range, (size_t)rand_below(3) };
	op.only_deleted = rand_below(2) == 0;
	op.how = (enum flag_how)rand_below(3);
	if (op.kind == OP_QUOTA_MARK)
		op.how = rand_below(2) == 0 ? FLAGS_ADD : FLAGS_REMOVE;
	op.set = (struct flag_set){ (uint32_t)rand_below(STORE_FLAGS_ALL + 1), words,
		(size_t)rand_below(4) };
	if (rand_below(5) == 0)
		op.unchanged_since = rand_below(50);
	op.quota_bytes = rand_below(3) == 0 ? 20000 : 0;
	throw_adopted(d, &op);
	if (op.kind == OP_SET_METADATA || op.kind == OP_ADOPT_METADATA)
		throw_entries(d, &op);
	if (op.kind == OP_APPEND_MANY)
		throw_messages(d, &op);
	else if (operation_has_message(op.kind))
		throw_message(d, &op);
	return op;
}

static void note_boxes(struct dice *d, const struct operation_answer *a)
{
	if (a->mailbox == 0)
		return;
	size_t at = d->box_n < 64 ? d->box_n++ : (size_t)rand_below(64);
	d->boxes[at] = a->mailbox;
}

struct sums {
	struct index_view *v;
	uint64_t messages, bytes;
	uint32_t unseen, deleted;
	uint64_t modseq_max, user_messages, user_bytes;
	uint32_t last_uid, changes;
};

static bool on_entry(void *arg, const struct index_entry *e)
{
	struct sums *s = arg;
	assert_true(e->uid > s->last_uid);
	s->last_uid = e->uid;
	s->messages++;
	s->bytes += e->size;
	s->unseen += (e->flags & STORE_SEEN) == 0;
	s->deleted += (e->flags & STORE_DELETED) != 0;
	s->modseq_max = e->modseq > s->modseq_max ? e->modseq : s->modseq_max;
	return true;
}

static bool on_change(void *arg, const struct index_entry *e)
{
	((struct sums *)arg)->changes++;
	return true;
}

static bool on_mailbox(void *arg, const struct index_mailbox *m)
{
	struct sums *all = arg, s = { 0 };
	index_entries(all->v, m->id, (struct uid_range){ 1, UINT32_MAX }, on_entry, &s);
	index_changes(all->v, m->id, 0, on_change, &s);
	assert_int_equal(s.messages, m->messages);
	assert_int_equal(s.changes, m->messages);
	assert_int_equal(s.bytes, m->bytes);
	assert_int_equal(s.unseen, m->unseen);
	assert_int_equal(s.deleted, m->deleted);
	assert_true(s.modseq_max <= m->modseq);
	assert_true(s.last_uid < m->uidnext);
	all->user_messages += s.messages;
	all->user_bytes += s.bytes;
	return true;
}

static void on_fault(void *arg, const char *what)
{
	fail_msg("%s", what);
}

static void on_blob(void *arg, log_pos blob)
{
}

/* Every counter against what is really there. The index is closed. */
static void recount(const char *dir)
{
	err_t err;
	struct index *x = index_open(dir, &err);
	struct sums s = { .v = index_view_begin(x) };
	assert_non_null(s.v);
	for (size_t i = 0; i < USERS; i++) {
		struct index_user u;
		s.user_messages = s.user_bytes = 0;
		if (!index_user(s.v, span_str(users[i]), &u))
			continue;
		index_mailboxes(s.v, span_str(users[i]), on_mailbox, &s);
		assert_int_equal(s.user_messages, u.messages);
		assert_int_equal(s.user_bytes, u.bytes);
	}
	index_view_end(&s.v);
	struct index_check c = { .on_fault = on_fault, .on_blob = on_blob };
	assert_true(index_check_run(x, &c));
	assert_true(c.users > 0);
	index_close(&x);
}

static void count_dead(void *arg, log_pos blob)
{
	++*(size_t *)arg;
}

/* Without mailboxes there is no reference left: every message is dead, and none twice. */
static void empty_all(struct bench *b, size_t more_blobs)
{
	static const struct uid_range all = { 1, UINT32_MAX };
	for (uint64_t id = 1; id < 2000; id++) {
		for (size_t i = 0; i < USERS; i++) {
			struct operation op = op_of(OP_EXPUNGE, users[i]);
			op.mailbox = id;
			op.uids = (struct uid_set){ &all, 1 };
			(void)apply(b, &op);
		}
	}
	for (size_t i = 0; i < USERS; i++) {
		struct operation op = op_of(OP_STAY, users[i]);
		op.adopted.stay = STAY_LEAVING;
		(void)apply(b, &op);
		op.adopted.stay = STAY_GONE;
		while (apply(b, &op)->uid > 0)
			;
	}
	size_t dead = 0;
	index_take_dead(b->t, UINT64_MAX, SIZE_MAX, count_dead, &dead);
	assert_int_equal(dead, b->blobs + more_blobs);
}

/* ---- rows for the log ------------------------------------------------------------------------------------- */

/* What the messages say of themselves comes from somewhere else. */
static void bring_caches(struct bench *c, const char *dir)
{
	err_t err;
	log_pos blob;
	struct index *x = index_open(dir, &err);
	struct index_view *v = index_view_begin(x);
	size_t n = 0;
	index_caches_gone(c->t, UINT64_MAX);
	for (; index_cache_next(c->t, &blob) && blob != 0; n++)
		index_cache_store(c->t, blob, index_cache(v, blob));
	assert_true(n > 0 && !index_cache_next(c->t, &blob));
	index_view_end(&v);
	index_close(&x);
}

/* The index is made of its rows; what is cut off or changed in them is noticed, or makes other rows, and nothing worse. */
static void through_rows(const char *dir, uint64_t digest_was)
{
	struct bench c;
	struct buf piece = BUF_INIT(ROWS_MAX);
	size_t n = 0;
	struct buf was = rows_of(dir, &piece, &n);
	bench_make(&c);
	bench_begin(&c);
	assert_int_equal(index_load(c.t, span_of(piece.p, n)), ERR_OK);
	bring_caches(&c, dir);
	bench_commit(&c);
	index_writer_close(&c.w, true);
	struct buf now = rows_of(c.dir, NULL, NULL);
	assert_true(buf_len(&was) > n && span_eq(buf_span(&was), buf_span(&now)));
	err_t err;
	c.w = index_writer_open(c.dir, 1 << 30, &err);
	assert_int_equal(digest(&c), digest_was); /* all tables are among the rows */
	for (size_t i = 0; i < n; i += 1 + (size_t)rand_below(n / 300)) {
		bench_begin(&c);
		(void)index_load(c.t, span_of(piece.p, i));
		piece.p[i] ^= (char)(1 << rand_below(8));
		(void)index_load(c.t, span_first(buf_span(&piece), n));
		piece.p[i] = (char)rand_below(256);
		index_txn_abort(&c.t);
	}
	bench_end(&c);
	buf_end(&was);
	buf_end(&now);
	buf_end(&piece);
}

static void test_random_operations(void **state)
{
	struct bench a, b;
	struct dice d = { .blobs = FIRST_OF_MANY };
	struct buf wire = BUF_INIT(OPERATION_HEAD_MAX);
	size_t ok = 0;
	bench_make(&a);
	bench_make(&b);
	for (size_t i = 0; i < OPERATIONS; i++) {
		struct operation op = throw_operation(&d), again;
		struct operation_arena arena = { 0 };
		buf_clear(&wire);
		assert_true(operation_encode(&op, &wire));
		if (!operation_decode(buf_span(&wire), &again, &arena))
			fail_msg("kind %d does not come back", (int)op.kind);
		const struct operation_answer *ans = apply(&a, &op);
		enum operation_result r = ans->result;
		ok += r == OPR_OK;
		note_boxes(&d, ans);
		assert_int_equal(apply(&b, &again)->result, r);
		operation_arena_end(&arena);
		if (i % IN_TXN == 0)
			bench_commit(&a);
		if (i % (IN_TXN * 5) == 0)
			bench_commit(&b);
	}
	assert_true(ok > OPERATIONS / 3);
	assert_int_equal(digest(&a), digest(&b));
	assert_int_not_equal(digest(&a), 0);
	uint64_t sum = digest(&a);
	index_writer_close(&a.w, true);
	recount(a.dir);
	through_rows(a.dir, sum);
	err_t err;
	a.w = index_writer_open(a.dir, 1 << 30, &err);
	empty_all(&a, (size_t)(d.blobs - FIRST_OF_MANY));
	bench_commit(&a);
	buf_end(&wire);
	bench_end(&a);
	bench_end(&b);
}

/* All or none, in the order they came, and each knows its own. */
static void test_append_many(void **state)
{
	struct bench b;
	static const struct span word = { "kw", 2 };
	struct op_message v[3] = {
		{ .size = 10, .blob = 1000, .date_s = 7, .set = { STORE_SEEN, &word, 1 } },
		{ .size = 20, .blob = 1001, .cache = SPAN("c") },
		{ .size = 30, .blob = 1002 },
	};
	bench_make(&b);
	struct operation op = op_of(OP_ENSURE_USER, "a@x");
	op.quota_messages = 5;
	uint64_t inbox = apply(&b, &op)->mailbox;
	op = op_of(OP_APPEND_MANY, "a@x");
	op.mailbox = inbox;
	op.messages = v;
	op.message_n = 3;
	op.message.size = 60;
	const struct operation_answer *a = apply(&b, &op);
	assert_int_equal(a->result, OPR_OK);
	assert_int_equal(a->uid, 1);
	assert_int_equal(a->target_uids.n, 1);
	assert_int_equal(a->target_uids.v[0].last, 3);
	for (int i = 0; i < 3; i++)
		v[i].blob += 10;
	assert_int_equal(apply(&b, &op)->result, OPR_OVER_QUOTA);
	op.mailbox = 99;
	for (int i = 0; i < 3; i++)
		v[i].blob += 10;
	assert_int_equal(apply(&b, &op)->result, OPR_NO_MAILBOX);
	bench_commit(&b);
	struct index *x = index_writer_reader(b.w);
	struct index_view *view = index_view_begin(x);
	struct index_entry e;
	struct index_mailbox m;
	assert_true(index_mailbox_get(view, inbox, &m));
	assert_int_equal(m.messages, 3);
	assert_int_equal(m.bytes, 60);
	assert_true(index_entry(view, inbox, 1, &e));
	assert_int_equal(e.flags, STORE_SEEN);
	assert_int_equal(e.keywords, 1);
	assert_int_equal(e.date_s, 7);
	assert_int_equal(e.blob, 1000);
	assert_true(index_entry(view, inbox, 3, &e));
	assert_int_equal(e.size, 30);
	assert_int_equal(index_cache(view, 1001).n, 1);
	index_view_end(&view);
	index_close(&x);
	/* what nobody took is dead, and not lost: it can be forgotten */
	assert_true(index_writer_has_blob(b.w, 1012));
	assert_true(index_writer_has_blob(b.w, 1022));
	bench_end(&b);
}

/* ---- bounds and corners ----------------------------------------------------------------------------------- */

static void test_keywords_are_bounded(void **state)
{
	struct bench b;
	char text[70][8];
	struct span v[70];
	bench_make(&b);
	uint64_t inbox = make_user(&b, "a@x", 0);
	assert_int_equal(append_to(&b, "a@x", inbox, NULL), OPR_OK);
	for (size_t i = 0; i < 70; i++) {
		snprintf(text[i], sizeof text[i], "k%zu", i);
		v[i] = span_str(text[i]);
	}
	struct flag_set set = { 0, v, STORE_KEYWORDS_MAX };
	assert_int_equal(append_to(&b, "a@x", inbox, &set), OPR_OK);
	uint64_t before = digest(&b);
	static const struct uid_range one = { 1, 1 };
	struct operation op = op_of(OP_FLAGS, "a@x");
	op.mailbox = inbox;
	op.uids = (struct uid_set){ &one, 1 };
	op.set = (struct flag_set){ 0, v + 60, 10 };
	op.how = FLAGS_ADD;
	assert_int_equal(result(&b, &op), OPR_TOO_MANY);
	assert_int_equal(digest(&b), before);
	op.how = FLAGS_REMOVE; /* words that nobody knows are no error */
	assert_int_equal(result(&b, &op), OPR_OK);
	/* A copy brings its words along, or is refused. */
	struct operation make = op_of(OP_CREATE, "a@x");
	make.name = SPAN("Work");
	uint64_t work = apply(&b, &make)->mailbox;
	set = (struct flag_set){ 0, v + 64, 1 };
	assert_int_equal(append_to(&b, "a@x", work, &set), OPR_OK);
	op = op_of(OP_COPY, "a@x");
	op.mailbox = work;
	op.target = inbox;
	op.uids = (struct uid_set){ &one, 1 };
	assert_int_equal(result(&b, &op), OPR_TOO_MANY);
	op.mailbox = inbox;
	op.target = work;
	assert_int_equal(result(&b, &op), OPR_OK);
	bench_end(&b);
}

static void test_quota(void **state)
{
	struct bench b;
	static const struct uid_range all = { 1, 10 };
	const struct operation_answer *why;
	bench_make(&b);
	uint64_t inbox = make_user(&b, "a@x", 3);
	struct operation make = op_of(OP_CREATE, "a@x");
	make.name = SPAN("Work");
	uint64_t work = apply(&b, &make)->mailbox;
	assert_int_equal(append_to(&b, "a@x", inbox, NULL), OPR_OK);
	assert_int_equal(append_to(&b, "a@x", inbox, NULL), OPR_OK);
	struct operation op = op_of(OP_COPY, "a@x");
	op.mailbox = inbox;
	op.target = work;
	op.uids = (struct uid_set){ &all, 1 };
	uint64_t before = digest(&b);
	assert_int_equal(result(&b, &op), OPR_OVER_QUOTA); /* both or none */
	assert_int_equal(digest(&b), before);
	op.kind = OP_MOVE; /* needs no room */
	assert_int_equal(result(&b, &op), OPR_OK);
	assert_int_equal(append_to(&b, "a@x", inbox, NULL), OPR_OK);
	before = digest(&b);
	bench_begin(&b);
	struct operation more = op_of(OP_APPEND, "a@x");
	more.mailbox = inbox;
	more.message.size = 10;
	assert_false(index_would_take(b.t, &more, 1, &why));
	assert_int_equal(why->result, OPR_OVER_QUOTA);
	assert_int_equal(digest(&b), before);
	bench_end(&b);
}

static bool add_name(void *arg, const struct index_mailbox *m)
{
	char *out = arg;
	size_t n = strlen(out);
	snprintf(out + n, 200 - n, "%.*s:%u ", SPAN_ARG(m->name), m->messages);
	return true;
}

static void assert_names(struct bench *b, const char *want)
{
	char got[200] = "";
	err_t err;
	bench_commit(b);
	index_writer_close(&b->w, true);
	struct index *x = index_open(b->dir, &err);
	struct index_view *v = index_view_begin(x);
	index_mailboxes(v, SPAN("a@x"), add_name, got);
	index_view_end(&v);
	index_close(&x);
	assert_string_equal(got, want);
	b->w = index_writer_open(b->dir, 1 << 30, &err);
	assert_int_equal(err, ERR_OK);
}

static enum operation_result rename_to(struct bench *b, const char *from, const char *to)
{
	struct operation op = op_of(OP_RENAME, "a@x");
	op.name = span_str(from);
	op.new_name = span_str(to);
	return result(b, &op);
}

static void test_names(void **state)
{
	struct bench b;
	bench_make(&b);
	uint64_t inbox = make_user(&b, "a@x", 0);
	struct operation op = op_of(OP_CREATE, "a@x");
	op.name = SPAN("A/B/C");
	assert_int_equal(result(&b, &op), OPR_OK);
	assert_names(&b, "A:0 A/B:0 A/B/C:0 INBOX:0 ");
	op.kind = OP_DELETE;
	op.name = SPAN("A/B");
	assert_int_equal(result(&b, &op), OPR_OK); /* inferiors stay */
	assert_names(&b, "A:0 A/B/C:0 INBOX:0 ");
	assert_int_equal(rename_to(&b, "A/B", "Q"), OPR_OK); /* of what has only inferiors */
	assert_names(&b, "A:0 INBOX:0 Q/C:0 ");
	assert_int_equal(rename_to(&b, "A", "Q"), OPR_OK);
	assert_int_equal(rename_to(&b, "Q", "R/S"), OPR_OK);
	assert_names(&b, "INBOX:0 R:0 R/S:0 R/S/C:0 ");
	assert_int_equal(append_to(&b, "a@x", inbox, NULL), OPR_OK);
	assert_int_equal(rename_to(&b, "INBOX", "Saved"), OPR_OK);
	assert_names(&b, "INBOX:0 R:0 R/S:0 R/S/C:0 Saved:1 ");
	/* A name that would become too long, whole or not at all. */
	char longer[STORE_MAILBOX_NAME_MAX + 1];
	memset(longer, 'x', sizeof longer);
	longer[STORE_MAILBOX_NAME_MAX - 1] = '\0';
	assert_int_equal(rename_to(&b, "R/S", longer), OPR_BAD_NAME);
	assert_names(&b, "INBOX:0 R:0 R/S:0 R/S/C:0 Saved:1 ");
	bench_end(&b);
}

static void test_answers_are_remembered(void **state)
{
	struct bench b;
	bench_make(&b);
	(void)make_user(&b, "a@x", 0);
	(void)make_user(&b, "b@x", 0);
	bench_begin(&b);
	assert_true(index_txn_answered(b.t, 1, 1, 1).n > 0);
	assert_true(index_txn_answered(b.t, 1, 2, 1).n > 0);
	assert_int_equal(index_txn_answered(b.t, 1, 3, 1).n, 0);
	assert_int_equal(index_txn_answered(b.t, 2, 1, 1).n, 0);
	/* The client has heard the first. */
	assert_true(index_txn_answered(b.t, 1, 2, 2).n > 0);
	assert_int_equal(index_txn_answered(b.t, 1, 1, 1).n, 0);
	assert_int_equal(index_prune_answers(b.t, 1000, 100), 0);
	assert_int_equal(index_prune_answers(b.t, 2000, 100), 1);
	assert_int_equal(index_txn_answered(b.t, 1, 2, 2).n, 0);
	bench_end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_operations),
		cmocka_unit_test(test_append_many),
		cmocka_unit_test(test_keywords_are_bounded),
		cmocka_unit_test(test_quota),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_answers_are_remembered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
