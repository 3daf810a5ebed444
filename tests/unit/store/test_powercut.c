/* test_powercut.c - the power goes, at every kind of sync, with what was not synced gone, there or torn: what was
 * acknowledged is found again, and check finds nothing wrong. */
#include "tests/unit/store/files.h"
#include "tests/unit/powercut.h"

#include "store-backend/index_check.h"
#include "store-backend/index_write.h"

enum { ROUNDS = 700, USERS = 4, EVERY = 9, CUTS_WANTED = 40 };

/* What was acknowledged, in order: message `number` is the uid in the mailbox of user number % USERS. */
struct promise {
	uint64_t mailbox;
	uint32_t uid, flags;
	bool gone;
	unsigned flagged_at, gone_at; /* places in the order */
};
static struct promise promises[ROUNDS];
static unsigned promise_n;

static const char *user_of(unsigned number)
{
	static const char *const users[USERS] = { "a@x", "b@x", "c@x", "d@x" };
	return users[number % USERS];
}

static void text_of(unsigned number, char out[4096])
{
	int n = snprintf(out, 4096, "Subject: %u\r\n\r\n", number);
	for (unsigned i = 0; i < 1 + number % 40; i++)
		n += snprintf(
		    out + n, 4096 - (size_t)n, "line %u of the message number %u\r\n", i, number);
}

/* The annotation of INBOX that says how far its user is; acknowledged at this place in the order. */
static struct note {
	uint64_t mailbox;
	unsigned noted_at;
} notes[ROUNDS];

/* A user with room for one message is refused, has room again, and is refused: places in the order. */
static unsigned refused_at[ROUNDS], roomy_at[ROUNDS], refused_n, roomy_n;

static unsigned acknowledge(void)
{
	return atomic_fetch_add(&cut.acknowledged, 1) + 1;
}

static void change(struct world *w, unsigned number, enum operation_kind kind)
{
	struct promise *p = &promises[number];
	struct uid_range uid = { p->uid, p->uid };
	struct operation op = op_of(kind, user_of(number));
	struct answer r;
	op.mailbox = p->mailbox;
	op.uids = (struct uid_set){ &uid, 1 };
	op.set.flags = STORE_FLAGGED;
	assert_int_equal(ask(w, &op, &r), OPR_OK);
	if (kind == OP_FLAGS)
		p->flagged_at = acknowledge();
	else
		p->gone_at = acknowledge();
}

static void annotate(struct world *w, unsigned number)
{
	char value[16];
	struct op_entry entry = { .name = SPAN("/private/number") };
	struct operation op = op_of(OP_SET_METADATA, user_of(number));
	struct answer r;
	(void)snprintf(value, sizeof value, "%u", number);
	entry.value = span_str(value);
	op.mailbox = promises[number].mailbox;
	op.entries = &entry;
	op.entry_n = 1;
	op.quota_messages = 1;
	assert_int_equal(ask(w, &op, &r), OPR_OK);
	notes[number] = (struct note){ op.mailbox, acknowledge() };
}

static void fill(struct world *w)
{
	static uint64_t box;
	struct answer r;
	if (refused_n == 0) {
		struct operation op = op_of(OP_ENSURE_USER, "full@x");
		op.quota_messages = 1;
		assert_int_equal(ask(w, &op, &r), OPR_OK);
		box = r.a.mailbox;
	}
	assert_int_equal(append(w, "full@x", box, "x\r\n", &r), OPR_OK);
	struct uid_range uid = { r.a.uid, r.a.uid };
	for (int i = 0; i < 2; i++) /* told once */
		assert_int_equal(append(w, "full@x", box, "x\r\n", &r), OPR_OVER_QUOTA);
	refused_at[refused_n++] = acknowledge();
	struct operation op = op_of(OP_EXPUNGE, "full@x");
	op.mailbox = box;
	op.uids = (struct uid_set){ &uid, 1 };
	assert_int_equal(ask(w, &op, &r), OPR_OK);
	roomy_at[roomy_n++] = acknowledge();
}

/* Changes, acknowledged one by one; now and then a copy of the index, so that the log is cut as well. */
static void work(struct world *w)
{
	uint64_t inbox[USERS];
	struct answer r;
	char text[4096];
	for (unsigned i = 0; i < USERS; i++)
		inbox[i] = ensure(w, user_of(i));
	for (promise_n = 0; promise_n < ROUNDS; promise_n++) {
		struct promise *p = &promises[promise_n];
		text_of(promise_n, text);
		p->mailbox = inbox[promise_n % USERS];
		assert_int_equal(append(w, user_of(promise_n), p->mailbox, text, &r), OPR_OK);
		p->uid = r.a.uid;
		p->flags = acknowledge(); /* the place in the order at which it is there */
		if (promise_n % 3 == 2)
			change(w, promise_n - 2, OP_FLAGS);
		if (promise_n % 5 == 4)
			change(w, promise_n - 4, OP_EXPUNGE);
		if (promise_n % 11 == 0)
			annotate(w, promise_n);
		if (promise_n % 13 == 5)
			fill(w);
		if (promise_n % 100 == 99)
			partition_snapshot(w->partition);
	}
}

/* ---- afterwards ---------------------------------------------------------------------------------------------- */

static void on_fault(void *arg, const char *what)
{
	fprintf(stderr, "%s\n", what);
	(*(unsigned *)arg)++;
}

static struct commitlog_reader *checked;
static unsigned from_rows; /* indexes that were made of rows in the log */

static void on_blob(void *arg, log_pos blob)
{
	if (commitlog_reader_verify(checked, blob) != ERR_OK)
		on_fault(arg, "a message is damaged");
}

static void check_promise(struct index_view *v, unsigned number, unsigned promised)
{
	const struct promise *p = &promises[number];
	struct index_entry e;
	char text[4096], found[4096];
	if (p->flags > promised || p->flags == 0)
		return;
	bool there = index_entry(v, p->mailbox, p->uid, &e);
	if (p->gone_at != 0 && p->gone_at <= promised)
		assert_false(there);
	if (!there) {
		assert_true(p->gone_at != 0); /* or was about to be removed */
		return;
	}
	if (p->flagged_at != 0 && p->flagged_at <= promised)
		assert_int_equal(e.flags, STORE_FLAGGED);
	text_of(number, text);
	assert_int_equal(e.size, strlen(text));
	assert_int_equal(commitlog_reader_read(checked, e.blob, 0, found, strlen(text)), ERR_OK);
	assert_memory_equal(found, text, strlen(text));
}

/* It says this number, or a later one that was on its way. */
static void check_note(struct index_view *v, unsigned number, unsigned promised)
{
	const struct note *n = &notes[number];
	struct span value;
	uint64_t said;
	if (n->noted_at == 0 || n->noted_at > promised)
		return;
	assert_true(index_metadata_get(
	    v, n->mailbox, span_str(user_of(number)), SPAN("/private/number"), &value));
	assert_true(span_u64(value, ROUNDS, &said) && said >= number);
}

struct told {
	unsigned exceed, within;
};

static bool on_event(void *arg, struct index_event_id id, uint64_t wall_s, struct span json)
{
	struct told *t = arg;
	t->exceed += span_starts(json, SPAN("{\"event\":\"QuotaExceed\""));
	t->within += span_starts(json, SPAN("{\"event\":\"QuotaWithin\""));
	assert_true(t->exceed == t->within || t->exceed == t->within + 1);
	return true;
}

static unsigned up_to(const unsigned *at, unsigned n, unsigned promised)
{
	unsigned k = 0;
	while (k < n && at[k] <= promised)
		k++;
	return k;
}

/* Each that was answered is told, and told once; one more may have been on its way. */
static void check_events(const char *dir, unsigned promised)
{
	struct index_event_id beginning = { 0 };
	struct told t = { 0 };
	err_t err;
	struct index_writer *writer = index_writer_open(dir, 1 << 30, &err);
	assert_non_null(writer);
	index_writer_each_event(writer, beginning, on_event, &t);
	assert_in_range(t.exceed - up_to(refused_at, refused_n, promised), 0, 1);
	assert_in_range(t.within - up_to(roomy_at, roomy_n, promised), 0, 1);
	index_writer_close(&writer, true);
}

/* The partition is open. */
static void check_index(const struct world *w, unsigned n)
{
	char dir[256];
	unsigned faults = 0;
	err_t err;
	(void)snprintf(dir, sizeof dir, "%s/index", w->opts.path);
	struct index *x = index_open(dir, &err);
	assert_non_null(x);
	(void)snprintf(dir, sizeof dir, "%s/log", w->opts.path);
	checked = commitlog_reader_open(dir);
	struct index_check c = { .on_fault = on_fault, .on_blob = on_blob, .arg = &faults };
	assert_true(index_check_run(x, &c));
	assert_int_equal(faults, 0);
	struct index_view *v = index_view_begin(x);
	for (unsigned i = 0; i < promise_n; i++)
		check_promise(v, i, cut.promised[n]);
	for (unsigned i = 0; i < promise_n; i++)
		check_note(v, i, cut.promised[n]);
	index_view_end(&v);
	commitlog_reader_close(&checked);
	index_close(&x);
}

/* With all that is there, and with the segments alone. */
static void check_cut(struct world *was, unsigned n)
{
	struct world w = { 0 };
	char path[200], dir[256];
	w.opts = was->opts;
	(void)snprintf(path, sizeof path, "%s.cut%u", was->path, n);
	w.opts.path = path;
	w.opts.boot = "boot-2";
	w.opts.arg = &w;
	w.loop = loop_new();
	assert_int_equal(world_open(&w), ERR_OK);
	check_index(&w, n);
	partition_close(&w.partition);
	remove_below(&w, "index");
	remove_below(&w, "snapshots");
	assert_int_equal(world_open(&w), ERR_OK);
	from_rows += strcmp(partition_facts(w.partition).how, "folded") == 0;
	check_index(&w, n);
	partition_close(&w.partition);
	loop_free(&w.loop);
	(void)snprintf(dir, sizeof dir, "%s/index", path);
	check_events(dir, cut.promised[n]);
}

static void test_nothing_acknowledged_is_lost(void **state)
{
	struct world w;
	world_folder(&w);
	static const char *const parts[] = { "", "/log", "/snapshots", NULL };
	cut_begin(w.path, parts, "/index", EVERY);
	w.opts.settings.reclaim_after_s = 0;
	w.opts.events = true;
	world_loop(&w);
	assert_int_equal(world_open(&w), ERR_OK);
	world_link(&w);
	work(&w);
	cut.on = false;
	assert_in_range(cut.cuts, CUTS_WANTED, CUT_CUTS_MAX);
	for (unsigned i = 0; i < cut.cuts; i++)
		check_cut(&w, i);
	assert_true(from_rows > 0);
	print_message("%u cuts, %u begun from rows\n", cut.cuts, from_rows);
	cut_end();
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_nothing_acknowledged_is_lost) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
