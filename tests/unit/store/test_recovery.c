/* test_recovery.c - a partition that is opened again: with its index, without it, with a wrong one; from snapshots;
 * behind a torn log; and what is forgotten and what is not. */
#include "files.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "commitlog/commitlog.h"
#include "commitlog/record.h"
#include "store-backend/index.h"
#include "store-backend/operation_wire.h"
#include "store-backend/partition_internal.h"

enum { CHANGES = 8, MANY = 2 }; /* beside the deliveries; messages beside those */

/* Something of everything, `n` deliveries among it. */
static void make_changes(struct world *w, const char *tag, unsigned n)
{
	struct answer r;
	struct uid_range first = { 1, 2 };
	char id[32], folder[32];
	uint64_t inbox = ensure(w, "a@x");
	snprintf(folder, sizeof folder, "Box-%s", tag);
	uint64_t box = create(w, "a@x", folder);
	struct op_recipient to[2] = { { SPAN("a@x"), SPAN_NONE }, { SPAN("b@x"), SPAN_NONE } };
	for (unsigned i = 0; i < n; i++) {
		snprintf(id, sizeof id, "%s-%u", tag, i);
		struct operation op = deliver_to(to, 2, id);
		assert_int_equal(ask(w, &op, &r), OPR_OK);
	}
	struct operation op = op_of(OP_COPY, "a@x");
	op.mailbox = inbox;
	op.target = box;
	op.uids = (struct uid_set){ &first, 1 };
	assert_int_equal(ask(w, &op, &r), OPR_OK);
	struct span words[1] = { SPAN("$Forwarded") };
	op = op_of(OP_FLAGS, "a@x");
	op.mailbox = box;
	op.uids = (struct uid_set){ &first, 1 };
	op.set = (struct flag_set){ STORE_FLAGGED, words, 1 };
	assert_int_equal(ask(w, &op, &r), OPR_OK);
	struct op_message many[MANY] = { { .size = 6, .set = op.set }, { .size = 3, .date_s = 5 } };
	op = op_of(OP_APPEND_MANY, "a@x");
	op.mailbox = box;
	op.message.bytes = SPAN("a: 1\r\nb:2");
	op.messages = many;
	op.message_n = MANY;
	assert_int_equal(ask(w, &op, &r), OPR_OK);
	struct op_entry entries[2] = { { SPAN("/private/a"), SPAN("v"), false },
		{ SPAN("/shared/b"), SPAN(""), false } };
	op = op_of(OP_SET_METADATA, "a@x");
	op.mailbox = box;
	op.entries = entries;
	op.entry_n = 2;
	op.quota_messages = 1;
	assert_int_equal(ask(w, &op, &r), OPR_OK);
	op = op_of(OP_EXPUNGE, "a@x");
	op.mailbox = box;
	first.first = 2;
	op.uids = (struct uid_set){ &first, 1 };
	assert_int_equal(ask(w, &op, &r), OPR_OK);
	op = op_of(OP_RENAME, "a@x");
	char renamed[40];
	snprintf(renamed, sizeof renamed, "Old/%s", folder);
	op.name = span_str(folder);
	op.new_name = span_str(renamed);
	assert_int_equal(ask(w, &op, &r), OPR_OK);
}

static void open_as(struct world *w, const char *how, uint64_t digest)
{
	assert_int_equal(world_open(w), ERR_OK);
	struct partition_facts f = partition_facts(w->partition);
	assert_string_equal(f.how, how);
	assert_int_equal(f.digest, digest);
}

static void snapshot_now(struct world *w, size_t there_then)
{
	char names[8][480];
	uint64_t until = clock_mono_ms() + DEADLINE_MS;
	partition_snapshot(w->partition);
	while (list(w, "snapshots", ".mdb", names) < there_then && clock_mono_ms() < until)
		loop_step(w->loop, 5);
	/* its thread is heard of in the round after */
	for (int i = 0; i < 10; i++)
		loop_step(w->loop, 5);
	assert_int_equal(list(w, "snapshots", ".mdb", names), there_then);
}

/* Runs until the log holds rows that cover more than that. */
static void wait_folded(struct world *w, log_pos before)
{
	uint64_t until = clock_mono_ms() + DEADLINE_MS;
	while (partition_facts(w->partition).folded <= before && clock_mono_ms() < until)
		loop_step(w->loop, 5);
	assert_true(partition_facts(w->partition).folded > before);
}

/* In a process of its own that dies without closing anything. */
static void change_and_die(struct world *w, const char *tag, unsigned n)
{
	pid_t pid = fork();
	if (pid == 0) {
		world_loop(w);
		assert_int_equal(world_open(w), ERR_OK);
		world_link(w);
		make_changes(w, tag, n);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- the index ---------------------------------------------------------------------------------------- */

static void test_index_kept_lost_or_wrong(void **state)
{
	struct world w;
	char names[8][480];
	world_make(&w);
	make_changes(&w, "one", 5);
	uint64_t digest = partition_facts(w.partition).digest;
	assert_int_not_equal(digest, 0);
	world_close(&w);
	open_as(&w, "kept", digest);
	assert_int_equal(partition_facts(w.partition).replayed, 0);
	world_close(&w);
	w.opts.boot = "boot-2"; /* closed in order: as good as before */
	open_as(&w, "kept", digest);
	world_close(&w);
	remove_below(&w, "index");
	open_as(&w, "rebuilt", digest);
	assert_int_equal(partition_facts(w.partition).replayed, CHANGES + 5);
	world_close(&w);
	assert_int_equal(list(&w, "index", "data.mdb", names), 0);
	char path[200];
	snprintf(path, sizeof path, "%s/index/data.mdb", w.path);
	spoil(path, 0, 8192);
	open_as(&w, "rebuilt", digest);
	world_close(&w);
	assert_int_equal(truncate(path, 100), 0);
	open_as(&w, "rebuilt", digest);
	/* And it goes on. */
	make_changes(&w, "two", 3);
	world_end(&w);
}

static void test_another_boot(void **state)
{
	struct world w;
	world_folder(&w);
	change_and_die(&w, "one", 5);
	world_loop(&w);
	assert_int_equal(world_open(&w), ERR_OK);
	struct partition_facts f = partition_facts(w.partition);
	assert_string_equal(f.how, "kept");
	world_close(&w);
	change_and_die(&w, "two", 5);
	w.opts.boot = "boot-2"; /* its pages may never have reached the disk */
	assert_int_equal(world_open(&w), ERR_OK);
	assert_string_equal(partition_facts(w.partition).how, "rebuilt");
	assert_int_equal(partition_facts(w.partition).replayed, 2 * (CHANGES + 5));
	world_end(&w);
}

/* A start that dies is not repeated with the same index: here by the signal for a file that is too short. */
static void test_start_that_dies(void **state)
{
	struct world w;
	char path[200];
	struct stat st;
	int status;
	world_make(&w);
	make_changes(&w, "one", 40);
	uint64_t digest = partition_facts(w.partition).digest;
	operation_link_free(&w.link);
	world_close(&w);
	snprintf(path, sizeof path, "%s/index/data.mdb", w.path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, 3 * 4096), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct sigaction dfl = { .sa_handler = SIG_DFL };
		sigaction(SIGBUS, &dfl, NULL); /* not cmocka's */
		sigaction(SIGSEGV, &dfl, NULL);
		if (world_open(&w) == ERR_OK)
			(void)partition_facts(w.partition);
		_exit(7);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(!WIFEXITED(status) || WEXITSTATUS(status) != 7);
	open_as(&w, "rebuilt", digest);
	world_end(&w);
}

/* ---- the log --------------------------------------------------------------------------------------------- */

static void test_torn_tail(void **state)
{
	struct world w;
	char names[8][480];
	struct stat st;
	world_folder(&w);
	change_and_die(&w, "one", 5);
	size_t n = list(&w, "log", ".seg", names);
	assert_true(n >= 1);
	assert_int_equal(stat(names[n - 1], &st), 0);
	/* The last change is half there, and the index is of a time when it was. */
	assert_int_equal(truncate(names[n - 1], st.st_size - 20), 0);
	world_loop(&w);
	assert_int_equal(world_open(&w), ERR_OK);
	struct partition_facts f = partition_facts(w.partition);
	assert_string_equal(f.how, "rebuilt");
	assert_int_equal(f.replayed, CHANGES + 4);
	uint64_t digest = f.digest;
	world_close(&w);
	remove_below(&w, "index");
	open_as(&w, "rebuilt", digest);
	world_link(&w);
	make_changes(&w, "two", 3);
	world_end(&w);
}

/* ---- snapshots -------------------------------------------------------------------------------------------- */

struct newest {
	uint32_t type;
	log_pos at;
};

static bool on_newest(void *arg, const struct log_record *rec)
{
	struct newest *n = arg;
	if (rec->type == n->type && !rec->dead)
		n->at = rec->pos;
	return true;
}

/* Where the last live record of a type is; the partition is closed. */
static log_pos newest(struct world *w, uint32_t type)
{
	char dir[200];
	struct newest n = { .type = type };
	err_t err;
	snprintf(dir, sizeof dir, "%s/log", w->path);
	struct commitlog_opts o = { .dir = dir, .segment_bytes = w->opts.segment_bytes };
	struct commitlog *log = commitlog_open(w->loop, &o, &err, NULL);
	assert_int_equal(commitlog_replay(log, 0, on_newest, &n), ERR_OK);
	commitlog_close(&log);
	return n.at;
}

static void test_snapshots(void **state)
{
	struct world w;
	char names[8][480];
	world_make(&w);
	make_changes(&w, "one", 5);
	snapshot_now(&w, 1);
	wait_folded(&w, 0);
	make_changes(&w, "two", 5);
	snapshot_now(&w, 2);
	make_changes(&w, "three", 5);
	uint64_t digest = partition_facts(w.partition).digest;
	world_close(&w);
	remove_below(&w, "index");
	open_as(&w, "snapshot", digest);
	assert_int_equal(partition_facts(w.partition).replayed, CHANGES + 5);
	world_close(&w);
	/* The newest is spoilt: the older one and more of the log. */
	assert_int_equal(list(&w, "snapshots", ".mdb", names), 2);
	spoil(names[1], 20000, 10);
	remove_below(&w, "index");
	log_setup("test", LOG_ERROR + 1, false);
	open_as(&w, "snapshot", digest);
	assert_int_equal(partition_facts(w.partition).replayed, 2 * (CHANGES + 5));
	world_close(&w);
	/* None is left, and the log has been cut, but it has rows in place of what was. */
	remove_below(&w, "snapshots");
	remove_below(&w, "index");
	open_as(&w, "folded", digest);
	world_close(&w);
	/* These are spoilt as well: it says so instead of beginning with half a store. */
	log_pos at = newest(&w, LOG_BASE_ROWS);
	assert_int_not_equal(at, 0);
	assert_int_equal(list(&w, "log", ".seg", names), 1);
	spoil(names[0], (off_t)(at & UINT32_MAX) + RECORD_HEADER_BYTES + 20, 10);
	remove_below(&w, "snapshots");
	remove_below(&w, "index");
	assert_int_equal(world_open(&w), ERR_CORRUPT);
	world_end(&w);
}

/* Opens from a snapshot in a process that dies as soon as it serves; does the newest one stay? */
static bool newest_stays(struct world *w, uint64_t digest)
{
	char before[8][480], after[8][480];
	size_t n = list(w, "snapshots", ".mdb", before), there = 0;
	assert_true(n > 0);
	remove_below(w, "index");
	pid_t pid = fork();
	int status;
	if (pid == 0) {
		open_as(w, "snapshot", digest);
		_exit(0); /* the thread that copies is somewhere in its work */
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	size_t now = list(w, "snapshots", ".mdb", after);
	for (size_t i = 0; i < now; i++)
		there += strcmp(after[i], before[n - 1]) == 0;
	assert_true(now > 0);
	return there == 1;
}

/* A snapshot may become the index itself only while another good one is there, and no start has died of it. */
static void test_last_good_snapshot_stays(void **state)
{
	struct world w;
	char names[8][480], starting[200];
	world_folder(&w);
	world_loop(&w);
	w.opts.settings.fold_after = UINT64_MAX; /* no rows in the log */
	assert_int_equal(world_open(&w), ERR_OK);
	world_link(&w);
	make_changes(&w, "one", 5);
	snapshot_now(&w, 1);
	uint64_t digest = partition_facts(w.partition).digest;
	operation_link_free(&w.link);
	world_close(&w);
	assert_true(newest_stays(&w, digest)); /* it is the only one */
	open_as(&w, "kept", digest);
	world_link(&w);
	make_changes(&w, "two", 5);
	snapshot_now(&w, 2);
	digest = partition_facts(w.partition).digest;
	operation_link_free(&w.link);
	world_close(&w);
	snprintf(starting, sizeof starting, "%s/starting", w.path);
	close(open(starting, O_CREAT | O_WRONLY, 0600));
	assert_true(newest_stays(&w, digest)); /* the last start has died */
	assert_false(newest_stays(&w, digest));
	open_as(&w, "kept", digest);
	world_link(&w);
	make_changes(&w, "three", 5);
	snapshot_now(&w, 2);
	digest = partition_facts(w.partition).digest;
	operation_link_free(&w.link);
	world_close(&w);
	assert_int_equal(list(&w, "snapshots", ".mdb", names), 2);
	spoil(names[0], 20000, 10);
	log_setup("test", LOG_ERROR + 1, false);
	assert_true(newest_stays(&w, digest)); /* the other one is spoilt */
	w.opts.settings.fold_after = 0;
	open_as(&w, "kept", digest);
	world_link(&w);
	snapshot_now(&w, 2);
	wait_folded(&w, 0);
	make_changes(&w, "four", 5);
	snapshot_now(&w, 2); /* it knows of the rows */
	digest = partition_facts(w.partition).digest;
	operation_link_free(&w.link);
	world_close(&w);
	assert_int_equal(list(&w, "snapshots", ".mdb", names), 2);
	unlink(names[0]);
	remove_below(&w, "index");
	open_as(&w, "snapshot", digest);
	assert_int_not_equal(access(names[1], F_OK), 0); /* it is the index */
	world_end(&w);
}

/* ---- what is forgotten ------------------------------------------------------------------------------------ */

static struct commitlog_reader *reader_of(struct world *w)
{
	char path[200];
	snprintf(path, sizeof path, "%s/log", w->path);
	return commitlog_reader_open(path);
}

/* Runs until the record at pos is gone. */
static bool wait_gone(struct world *w, log_pos pos)
{
	struct commitlog_reader *r = reader_of(w);
	uint64_t until = clock_mono_ms() + DEADLINE_MS, size;
	err_t err;
	while ((err = commitlog_reader_size(r, pos, &size)) == ERR_OK && clock_mono_ms() < until)
		loop_step(w->loop, 20);
	commitlog_reader_close(&r);
	return err == ERR_NOT_FOUND;
}

/* The blob of the first message of a mailbox; the partition is closed. */
static log_pos blob_of(struct world *w, uint64_t mailbox, uint32_t uid)
{
	char path[200];
	struct index_entry e = { 0 };
	err_t err;
	snprintf(path, sizeof path, "%s/index", w->path);
	struct index *x = index_open(path, &err);
	struct index_view *v = index_view_begin(x);
	assert_true(index_entry(v, mailbox, uid, &e));
	index_view_end(&v);
	index_close(&x);
	return e.blob;
}

struct counts {
	log_pos border;
	unsigned old_changes, messages;
};

static bool count_record(void *arg, const struct log_record *rec)
{
	struct counts *c = arg;
	if (!rec->dead && rec->type == LOG_OPERATION && rec->pos < c->border)
		c->old_changes++;
	c->messages += !rec->dead && rec->type == LOG_BLOB;
	return true;
}

/* What is forgotten is marked as dead in the log a moment later. */
static bool wait_swept(struct world *w, log_pos border)
{
	uint64_t until = clock_mono_ms() + DEADLINE_MS;
	struct counts c = { .border = border, .old_changes = 1 };
	while (c.old_changes > 0 && clock_mono_ms() < until) {
		struct commitlog_reader *r = reader_of(w);
		loop_step(w->loop, 20);
		c.old_changes = 0;
		if (commitlog_reader_replay(r, 0, border, count_record, &c) != ERR_OK)
			c.old_changes = 1;
		commitlog_reader_close(&r);
	}
	return c.old_changes == 0;
}

/* Small segments, two snapshots, and changes before, between and after them. */
static void open_with_two_snapshots(struct world *w, bool keep_changes)
{
	world_folder(w);
	world_loop(w);
	w->opts.segment_bytes = 4096;
	w->opts.settings.keep_changes = keep_changes;
	assert_int_equal(world_open(w), ERR_OK);
	world_link(w);
	make_changes(w, "one", 20);
	snapshot_now(w, 1);
	make_changes(w, "two", 20);
	snapshot_now(w, 2);
	make_changes(w, "three", 20);
}

/* Changes that both snapshots cover leave the log; the messages stay. */
static void test_old_changes_go(void **state)
{
	struct world w;
	char names[8][480];
	struct counts c = { 0 };
	err_t err;
	open_with_two_snapshots(&w, false);
	assert_true(wait_gone(&w, pos_of(1, SEGMENT_HEADER_BYTES)));
	assert_int_equal(list(&w, "snapshots", ".mdb", names), 2);
	c.border = strtoull(strrchr(names[0], '/') + 1, NULL, 16);
	assert_true(wait_swept(&w, c.border));
	uint64_t digest = partition_facts(w.partition).digest;
	world_close(&w);
	char dir[200];
	snprintf(dir, sizeof dir, "%s/log", w.path);
	struct commitlog_opts o = { .dir = dir, .segment_bytes = 4096 };
	struct commitlog *log = commitlog_open(w.loop, &o, &err, NULL);
	assert_int_equal(commitlog_replay(log, 0, count_record, &c), ERR_OK);
	commitlog_close(&log);
	assert_int_equal(c.old_changes, 0);
	assert_int_equal(c.messages, 60 + 3 * MANY);
	remove_below(&w, "index");
	open_as(&w, "snapshot", digest);
	world_close(&w);
	/* The log has rows in place of them. */
	remove_below(&w, "index");
	remove_below(&w, "snapshots");
	open_as(&w, "folded", digest);
	world_end(&w);
}

/* With "changes keep" the segments are enough: no index, no snapshot. */
static void test_changes_kept(void **state)
{
	struct world w;
	open_with_two_snapshots(&w, true);
	uint64_t digest = partition_facts(w.partition).digest;
	world_close(&w);
	remove_below(&w, "index");
	remove_below(&w, "snapshots");
	open_as(&w, "rebuilt", digest);
	world_end(&w);
}

static void test_removed_messages_go(void **state)
{
	struct world w;
	struct answer r;
	struct uid_range first = { 1, 1 };
	char text[20001];
	world_folder(&w);
	world_loop(&w);
	w.opts.settings.reclaim_after_s = 0;
	assert_int_equal(world_open(&w), ERR_OK);
	world_link(&w);
	memset(text, 'x', 20000);
	text[20000] = '\0';
	uint64_t inbox = ensure(&w, "a@x"), other = create(&w, "a@x", "Other");
	assert_int_equal(append(&w, "a@x", inbox, text, &r), OPR_OK);
	assert_int_equal(append(&w, "a@x", inbox, text, &r), OPR_OK);
	struct operation op = op_of(OP_COPY, "a@x");
	op.mailbox = inbox;
	op.target = other;
	first = (struct uid_range){ 2, 2 };
	op.uids = (struct uid_set){ &first, 1 };
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	world_close(&w);
	log_pos one = blob_of(&w, inbox, 1), two = blob_of(&w, inbox, 2);
	assert_int_equal(world_open(&w), ERR_OK);
	op = op_of(OP_EXPUNGE, "a@x");
	op.mailbox = inbox;
	first = (struct uid_range){ 1, 2 };
	op.uids = (struct uid_set){ &first, 1 };
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	assert_true(wait_gone(&w, one));
	struct commitlog_reader *reader = reader_of(&w);
	assert_int_equal(commitlog_reader_verify(reader, two), ERR_OK); /* the copy is left */
	commitlog_reader_close(&reader);
	world_end(&w);
}

/* Which delivery ids are known decides what a delivery does: replay must forget the same ones. */
static void test_delivery_ids_go(void **state)
{
	struct world w;
	struct answer r;
	struct op_recipient to[1] = { { SPAN("a@x"), SPAN_NONE } };
	world_folder(&w);
	world_loop(&w);
	w.opts.settings.delivery_ids_max = 3;
	assert_int_equal(world_open(&w), ERR_OK);
	world_link(&w);
	uint64_t inbox = ensure(&w, "a@x");
	struct operation op = deliver_to(to, 1, "first");
	assert_int_equal(ask(&w, &op, &r), OPR_OK);
	make_changes(&w, "one", 5);
	/* Known until the housekeeping comes by, then new again. */
	uint64_t until = clock_mono_ms() + DEADLINE_MS;
	op = deliver_to(to, 1, "first");
	do {
		loop_step(w.loop, 50);
		assert_int_equal(ask(&w, &op, &r), OPR_OK);
	} while (r.outcomes[0].result == OPR_SEEN && clock_mono_ms() < until);
	assert_int_equal(r.outcomes[0].result, OPR_OK);
	assert_int_equal(r.outcomes[0].mailbox, inbox);
	make_changes(&w, "two", 5);
	uint64_t digest = partition_facts(w.partition).digest;
	world_close(&w);
	remove_below(&w, "index");
	open_as(&w, "rebuilt", digest);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_index_kept_lost_or_wrong),
		cmocka_unit_test(test_another_boot),
		cmocka_unit_test(test_start_that_dies),
		cmocka_unit_test(test_torn_tail),
		cmocka_unit_test(test_snapshots),
		cmocka_unit_test(test_last_good_snapshot_stays),
		cmocka_unit_test(test_old_changes_go),
		cmocka_unit_test(test_changes_kept),
		cmocka_unit_test(test_removed_messages_go),
		cmocka_unit_test(test_delivery_ids_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
