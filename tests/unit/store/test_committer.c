/* test_committer.c - the committer of a partition and the link to it: every kind of change, what is refused, who
 * is told, large messages, a full disk. */
#include "fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "commitlog/commitlog.h"
#include "store-backend/index.h"

static struct uid_set one_range(struct uid_range *r)
{
	return (struct uid_set){ r, 1 };
}

/* ---- the kinds --------------------------------------------------------------------------------------- */

static void test_users_and_mailboxes(void **state)
{
	struct world w;
	struct answer r;
	world_make(&w);
	struct operation op = op_of(OP_CREATE, "a@x");
	op.name = SPAN("Work");
	assert_int_equal(ask(&w, &op, &r), OPR_NO_USER);
	uint64_t inbox = ensure(&w, "a@x");
	assert_int_equal(ensure(&w, "a@x"), inbox);
	assert_int_not_equal(ensure(&w, "b@x"), inbox);
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_true(r.a.uidvalidity > 0);
	assert_int_equal(ask(&w, &op, &r), OPR_EXISTS);
	op.kind = OP_RENAME;
	op.new_name = SPAN("Old/Work");
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(ask(&w, &op, &r), OPR_EXISTS);
	op.name = SPAN("Nowhere");
	op.new_name = SPAN("Elsewhere");
	assert_int_equal(ask(&w, &op, &r), OPR_NO_MAILBOX);
	op.name = SPAN("Old");
	op.new_name = SPAN("Old/Inside");
	assert_int_equal(ask(&w, &op, &r), OPR_DENIED);
	op.kind = OP_DELETE;
	op.name = SPAN("INBOX");
	assert_int_equal(ask(&w, &op, &r), OPR_DENIED);
	op.name = SPAN("Old/Work");
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(ask(&w, &op, &r), OPR_NO_MAILBOX);
	op.kind = OP_SUBSCRIBE;
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	op.kind = OP_UNSUBSCRIBE;
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	world_end(&w);
}

static void test_messages(void **state)
{
	struct world w;
	struct answer r;
	struct uid_range all = { 1, 10 };
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x"), work = create(&w, "a@x", "Work");
	for (uint32_t i = 1; i <= 3; i++) {
		assert_int_equal(append(&w, "a@x", inbox, message, &r), OPR_OK);
		assert_int_equal(r.a.uid, i);
	}
	assert_int_equal(append(&w, "b@x", inbox, message, &r), OPR_NO_MAILBOX);
	struct operation op = op_of(OP_FLAGS, "a@x");
	op.mailbox = inbox;
	op.uids = one_range(&all);
	op.how = FLAGS_ADD;
	op.set.flags = STORE_DELETED;
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	uint64_t modseq = r.a.modseq;
	assert_true(modseq > 3);
	op.set.flags = STORE_SEEN;
	op.unchanged_since = modseq - 1;
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(r.a.uids.n, 1); /* all three were left alone */
	assert_int_equal(r.a.uids.v[0].last, 3);
	op = op_of(OP_COPY, "a@x");
	op.mailbox = inbox;
	op.target = work;
	op.uids = one_range(&all);
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(r.a.target_uids.v[0].last, 3);
	op.kind = OP_MOVE;
	op.target = 4711;
	assert_int_equal(ask(&w, &op, &r), OPR_NO_TARGET);
	op.target = work;
	all.last = 1;
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(r.a.target_uids.v[0].first, 4);
	op = op_of(OP_EXPUNGE, "a@x");
	op.mailbox = inbox;
	all.last = 100;
	op.uids = one_range(&all);
	op.only_deleted = true;
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(r.a.uids.v[0].first, 2);
	assert_int_equal(r.a.uids.v[0].last, 3);
	op = op_of(OP_TAKE_RECENT, "a@x");
	op.mailbox = work;
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(r.a.recent_from, 1);
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(r.a.recent_from, 5);
	world_end(&w);
}

static void test_delivery(void **state)
{
	struct world w;
	struct answer r;
	struct op_recipient to[4] = { { SPAN("a@x"), SPAN_NONE }, { SPAN("full@x"), SPAN_NONE },
		{ SPAN("new@x"), SPAN("Lists") }, { SPAN("a@x"), SPAN("Work") } };
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x"), work = create(&w, "a@x", "Work");
	struct operation op = op_of(OP_ENSURE_USER, "full@x");
	op.quota_bytes = 10;
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	op = deliver_to(to, 4, "id1");
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(r.a.outcome_n, 4);
	assert_int_equal(r.outcomes[0].result, OPR_OK);
	assert_int_equal(r.outcomes[0].mailbox, inbox);
	assert_int_equal(r.outcomes[1].result, OPR_OVER_QUOTA);
	assert_int_equal(r.outcomes[2].result, OPR_OK);
	assert_int_equal(r.outcomes[3].result, OPR_OK);
	assert_int_equal(r.outcomes[3].mailbox, work);
	/* The same once more: nobody gets a second copy. Another id is another message. */
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(r.outcomes[0].result, OPR_SEEN);
	assert_int_equal(r.outcomes[1].result, OPR_OVER_QUOTA);
	assert_int_equal(r.outcomes[2].result, OPR_SEEN);
	op = deliver_to(to, 1, "id2");
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(r.outcomes[0].uid, 2);
	world_close(&w);

	/* One record for all, and its bytes are there. */
	err_t err;
	char path[160], bytes[sizeof message];
	struct index_entry e1, e2, e3;
	struct index_mailbox box;
	snprintf(path, sizeof path, "%s/index", w.path);
	struct index *x = index_open(path, &err);
	assert_non_null(x);
	struct index_view *v = index_view_begin(x);
	assert_true(index_mailbox_find(v, SPAN("new@x"), SPAN("INBOX"), &box));
	assert_true(index_entry(v, inbox, 1, &e1) && index_entry(v, work, 1, &e2) &&
		    index_entry(v, box.id, 1, &e3));
	assert_int_equal(e1.blob, e2.blob);
	assert_int_equal(e1.blob, e3.blob);
	assert_false(index_entry(v, inbox, 3, &e3));
	index_view_end(&v);
	index_close(&x);
	snprintf(path, sizeof path, "%s/log", w.path);
	struct commitlog_reader *reader = commitlog_reader_open(path);
	assert_int_equal(commitlog_reader_verify(reader, e1.blob), ERR_OK);
	assert_int_equal(
	    commitlog_reader_read(reader, e1.blob, 0, bytes, sizeof message - 1), ERR_OK);
	assert_memory_equal(bytes, message, sizeof message - 1);
	commitlog_reader_close(&reader);
	world_end(&w);
}

/* Larger than what is held in memory, from memory and from a file. */
static void test_large_message(void **state)
{
	enum { SIZE = 3 * 1024 * 1024 + 17 };
	struct world w;
	struct answer r1, r2, r3;
	char *big = mem_alloc(SIZE), path[160];
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x");
	for (size_t i = 0; i < SIZE; i++)
		big[i] = (char)('a' + i % 23);
	snprintf(path, sizeof path, "%s/big", w.dir);
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(write(fd, "xyz", 3), 3);
	assert_int_equal(write(fd, big, SIZE), SIZE);
	struct file_ref *file = file_ref_new(fd);
	struct operation op = op_of(OP_APPEND, "a@x");
	op.mailbox = inbox;
	op.message.bytes = span_of(big, SIZE);
	start(&w, &op, &r1);
	op.message = (struct message_source){ .file = file, .file_at = 3, .size = SIZE };
	start(&w, &op, &r2);
	op.message = (struct message_source){ .bytes = SPAN("small\r\n") };
	start(&w, &op, &r3);
	assert_true(wait_until(&w, &r3.here) && r1.here && r2.here);
	assert_int_equal(r1.a.uid, 1);
	assert_int_equal(r2.a.uid, 2);
	assert_int_equal(r3.a.uid, 3);
	file_ref_put(&file);
	world_close(&w);
	char *got = mem_alloc(SIZE);
	err_t err;
	snprintf(path, sizeof path, "%s/index", w.path);
	struct index *x = index_open(path, &err);
	struct index_view *v = index_view_begin(x);
	snprintf(path, sizeof path, "%s/log", w.path);
	struct commitlog_reader *reader = commitlog_reader_open(path);
	for (uint32_t uid = 1; uid <= 2; uid++) {
		struct index_entry e;
		assert_true(index_entry(v, inbox, uid, &e));
		assert_int_equal(e.size, SIZE);
		assert_int_equal(commitlog_reader_read(reader, e.blob, 0, got, SIZE), ERR_OK);
		assert_memory_equal(got, big, SIZE);
	}
	commitlog_reader_close(&reader);
	index_view_end(&v);
	index_close(&x);
	mem_free(got);
	mem_free(big);
	world_end(&w);
}

/* ---- watching ------------------------------------------------------------------------------------------- */

struct heard {
	bool any;
	unsigned n;
	struct mailbox_news last;
};

static void on_news(void *arg, const struct mailbox_news *news)
{
	struct heard *h = arg;
	h->any = true;
	h->n++;
	h->last = *news;
}

static void test_watch(void **state)
{
	struct world w;
	struct answer r;
	struct heard h = { 0 }, other = { 0 };
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x"), work = create(&w, "a@x", "Work");
	struct mailbox_watch *watch = mailbox_watch_start(w.link, work, on_news, &h);
	struct mailbox_watch *second = mailbox_watch_start(w.link, inbox, on_news, &other);
	assert_true(
	    wait_until(&w, &h.any) && wait_until(&w, &other.any)); /* for what it may have missed */
	assert_int_equal(h.last.modseq, 1);
	h.any = other.any = false;
	assert_int_equal(append(&w, "a@x", work, message, &r), OPR_OK);
	assert_true(wait_until(&w, &h.any));
	assert_int_equal(h.last.mailbox, work);
	assert_int_equal(h.last.modseq, r.a.modseq);
	assert_false(other.any);
	/* A restart: told again, because something may have been missed. */
	h.any = false;
	world_close(&w);
	assert_int_equal(world_open(&w), ERR_OK);
	assert_true(wait_until(&w, &h.any));
	assert_int_equal(w.ready, 2);
	h.any = false;
	struct operation op = op_of(OP_DELETE, "a@x");
	op.name = SPAN("Work");
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_true(wait_until(&w, &h.any));
	assert_true(h.last.gone);
	mailbox_watch_stop(&watch);
	unsigned n = h.n;
	(void)create(&w, "a@x", "Work");
	assert_int_equal(h.n, n);
	mailbox_watch_stop(&second);
	world_end(&w);
}

/* ---- the disk ------------------------------------------------------------------------------------------------ */

static void set_file_limit(rlim_t most)
{
	struct rlimit lim;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &lim), 0);
	lim.rlim_cur = most;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &lim), 0);
}

static void test_no_space(void **state)
{
	enum { SIZE = 200000 };
	struct world w;
	struct answer r;
	char *text = mem_alloc(SIZE + 1);
	struct sigaction ign = { .sa_handler = SIG_IGN }, old;
	world_folder(&w);
	world_loop(&w);
	w.opts.segment_bytes = 64u * 1024 * 1024;
	assert_int_equal(world_open(&w), ERR_OK);
	world_link(&w);
	memset(text, 'x', SIZE);
	uint64_t inbox = ensure(&w, "a@x");
	sigaction(SIGXFSZ, &ign, &old);
	set_file_limit(3 * 1024 * 1024);
	uint32_t taken = 0;
	while (taken < 100 && append(&w, "a@x", inbox, text, &r) == OPR_OK)
		taken++;
	assert_in_range(taken, 5, 20);
	assert_int_equal(r.a.result, OPR_NO_SPACE);
	/* A large one, which goes to a file first. */
	struct operation op = op_of(OP_APPEND, "a@x");
	char *large = mem_alloc(4 * 1024 * 1024);
	op.mailbox = inbox;
	op.message.bytes = span_of(large, 4 * 1024 * 1024);
	assert_int_equal(ask(&w, &op, &r), OPR_NO_SPACE);
	assert_null(w.failed);
	set_file_limit(RLIM_INFINITY);
	assert_int_equal(append(&w, "a@x", inbox, text, &r), OPR_OK);
	assert_int_equal(r.a.uid, taken + 1);
	sigaction(SIGXFSZ, &old, NULL);
	world_close(&w);
	assert_int_equal(world_open(&w), ERR_OK);
	assert_int_equal(append(&w, "a@x", inbox, text, &r), OPR_OK);
	assert_int_equal(r.a.uid, taken + 2);
	mem_free(text);
	mem_free(large);
	world_end(&w);
}

/* What is kept free is for removing and for the index, not for new messages. */
static void test_space_reserve(void **state)
{
	struct world w;
	struct answer r;
	struct uid_range all = { 1, 9 };
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x");
	assert_int_equal(append(&w, "a@x", inbox, message, &r), OPR_OK);
	w.opts.settings.space_reserve = UINT64_MAX;
	partition_set(w.partition, &w.opts.settings);
	assert_int_equal(append(&w, "a@x", inbox, message, &r), OPR_NO_SPACE);
	struct op_recipient to[1] = { { SPAN("a@x"), SPAN_NONE } };
	struct operation op = deliver_to(to, 1, "id");
	assert_int_equal(ask(&w, &op, &r), OPR_NO_SPACE);
	op = op_of(OP_EXPUNGE, "a@x");
	op.mailbox = inbox;
	op.uids = one_range(&all);
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(r.a.uids.n, 1);
	w.opts.settings.space_reserve = 0;
	partition_set(w.partition, &w.opts.settings);
	assert_int_equal(append(&w, "a@x", inbox, message, &r), OPR_OK);
	world_end(&w);
}

/* An index that is full takes no more messages; it still removes some, and then takes more. */
static void test_index_full(void **state)
{
	enum { CACHE = 200000 };
	struct world w;
	struct answer r;
	struct uid_range all = { 1, 1000 };
	char *cache = mem_alloc(CACHE);
	world_folder(&w);
	world_loop(&w);
	w.opts.index_bytes = 16u * 1024 * 1024;
	w.opts.settings.reclaim_after_s = 0;
	assert_int_equal(world_open(&w), ERR_OK);
	world_link(&w);
	uint64_t inbox = ensure(&w, "a@x");
	struct operation op = op_of(OP_APPEND, "a@x");
	op.mailbox = inbox;
	op.message.bytes = span_str(message);
	op.message.cache = span_of(cache, CACHE);
	unsigned n = 0;
	while (n < 1000 && ask(&w, &op, &r) == OPR_OK)
		n++;
	assert_int_equal(r.a.result, OPR_NO_SPACE);
	assert_in_range(n, 20, 80);
	struct operation expunge = op_of(OP_EXPUNGE, "a@x");
	expunge.mailbox = inbox;
	expunge.uids = one_range(&all);
	assert_int_equal(ask(&w, &expunge, &r), OPR_OK);
	/* Until the housekeeping has taken them out. */
	uint64_t until = clock_mono_ms() + DEADLINE_MS;
	while (ask(&w, &op, &r) == OPR_NO_SPACE && clock_mono_ms() < until)
		loop_step(w.loop, 50);
	assert_int_equal(r.a.result, OPR_OK);
	assert_null(w.failed);
	mem_free(cache);
	world_end(&w);
}

/* Copies of many messages at once: refused before the log has them, or the index could never be made again. */
static void test_index_full_of_copies(void **state)
{
	static struct uid_range all = { 1, UINT32_MAX };
	struct world w;
	struct answer r;
	char data[256];
	world_folder(&w);
	world_loop(&w);
	w.opts.index_bytes = 16u * 1024 * 1024;
	assert_int_equal(world_open(&w), ERR_OK);
	world_link(&w);
	uint64_t inbox = ensure(&w, "a@x");
	assert_int_equal(append(&w, "a@x", inbox, message, &r), OPR_OK);
	struct operation op = op_of(OP_COPY, "a@x");
	op.mailbox = op.target = inbox;
	op.uids = one_range(&all);
	unsigned n = 0;
	while (n < 24 && ask(&w, &op, &r) == OPR_OK)
		n++;
	assert_int_equal(r.a.result, OPR_NO_SPACE);
	assert_in_range(n, 11, 17);
	op = op_of(OP_FLAGS, "a@x");
	op.mailbox = inbox;
	op.uids = one_range(&all);
	for (uint32_t i = 0; i < 4; i++) {
		op.set.flags = i % 2;
		assert_int_equal(ask(&w, &op, &r), OPR_OK);
	}
	op.kind = OP_EXPUNGE;
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_null(w.failed);
	struct partition_facts was = partition_facts(w.partition);
	world_close(&w);
	snprintf(data, sizeof data, "%s/index/data.mdb", w.path);
	assert_int_equal(remove(data), 0);
	assert_int_equal(world_open(&w), ERR_OK);
	assert_string_equal(partition_facts(w.partition).how, "rebuilt");
	assert_true(partition_facts(w.partition).digest == was.digest);
	world_end(&w);
}

/* Several messages as one change, in memory and in a file: each is a record of its own. */
static void check_many(
    struct world *w, uint64_t inbox, const struct op_message *v, const char *bytes)
{
	char path[200];
	err_t err;
	snprintf(path, sizeof path, "%s/index", w->path);
	struct index *x = index_open(path, &err);
	struct index_view *view = index_view_begin(x);
	snprintf(path, sizeof path, "%s/log", w->path);
	struct commitlog_reader *reader = commitlog_reader_open(path);
	for (uint32_t uid = 1; uid <= 6; uid++) {
		const struct op_message *m = &v[(uid - 1) % 3];
		struct index_entry e;
		char *got = mem_alloc((size_t)m->size);
		assert_true(index_entry(view, inbox, uid, &e));
		assert_int_equal(e.size, m->size);
		assert_int_equal(e.flags, m->set.flags);
		assert_int_equal(
		    commitlog_reader_read(reader, e.blob, 0, got, (size_t)m->size), ERR_OK);
		assert_memory_equal(got,
		    bytes + (m == v          ? 0
				: m == v + 1 ? v[0].size
					     : v[0].size + v[1].size),
		    m->size);
		mem_free(got);
	}
	index_view_end(&view);
	index_close(&x);
	commitlog_reader_close(&reader);
}

static void test_many_messages(void **state)
{
	enum { SIZE = 3 * 1024 * 1024 };
	struct op_message v[3] = { { .size = 10, .set = { .flags = STORE_SEEN } },
		{ .size = SIZE - 11 }, { .size = 1, .set = { .flags = STORE_DRAFT } } };
	struct world w;
	struct answer r;
	char *bytes = mem_alloc(SIZE);
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (char)(i * 7 + i / 251);
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x");
	struct operation op = op_of(OP_APPEND_MANY, "a@x");
	op.mailbox = inbox;
	op.messages = v;
	op.message_n = 3;
	op.message.bytes = span_of(bytes, SIZE);
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(r.a.uid, 1);
	assert_int_equal(r.a.target_uids.v[0].last, 3);
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	assert_int_equal(pwrite(fd, bytes, SIZE, 0), SIZE);
	struct file_ref *file = file_ref_new(fd);
	op.message = (struct message_source){ .file = file, .size = SIZE };
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_int_equal(r.a.uid, 4);
	file_ref_put(&file);
	op.mailbox = 99;
	op.message = (struct message_source){ .bytes = span_of(bytes, SIZE) };
	assert_int_equal(ask(&w, &op, &r), OPR_NO_MAILBOX);
	world_close(&w);
	check_many(&w, inbox, v, bytes);
	mem_free(bytes);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_messages),
		cmocka_unit_test(test_users_and_mailboxes),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_delivery),
		cmocka_unit_test(test_large_message),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_no_space),
		cmocka_unit_test(test_space_reserve),
		cmocka_unit_test(test_index_full),
		cmocka_unit_test(test_index_full_of_copies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
