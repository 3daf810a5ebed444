/* test_events.c - events as rows of the index: with the change they tell of, in order, each under its own id, bounded,
 * and gone when they were sent and are old. */
#include "fixture.h"

#include "store-backend/index.h"
#include "store-backend/index_write.h"
#include "store-backend/operation_wire.h"

static const char user[] = "a@x";

struct store {
	char dir[64];
	struct index_writer *w;
	log_pos at;
	uint64_t wall_s, inbox;
};

static void store_make(struct store *s, bool events)
{
	struct operation op = op_of(OP_ENSURE_USER, user);
	err_t err;
	*s = (struct store){ .wall_s = 1000000 };
	snprintf(s->dir, sizeof s->dir, "/tmp/test_events.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	s->w = index_writer_open(s->dir, 1 << 28, &err);
	assert_int_equal(err, ERR_OK);
	index_writer_events(s->w, events);
	struct index_txn *t = index_txn_begin(s->w, &err);
	struct index_facts facts = { .wall_s = s->wall_s, .at = ++s->at };
	s->inbox = index_apply(t, &op, &facts)->mailbox;
	assert_int_equal(index_txn_commit(&t, 1), ERR_OK);
}

static void store_end(struct store *s)
{
	index_writer_close(&s->w, true);
	nftw(s->dir, world_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* commit false: the change is thrown away, and what it tells with it. */
static void apply(struct store *s, const struct operation *op, bool commit)
{
	struct index_facts facts = { .wall_s = s->wall_s, .at = ++s->at, .blob = s->at };
	err_t err;
	struct index_txn *t = index_txn_begin(s->w, &err);
	assert_non_null(t);
	assert_int_equal(index_apply(t, op, &facts)->result, OPR_OK);
	if (commit)
		assert_int_equal(index_txn_commit(&t, s->at), ERR_OK);
	index_txn_abort(&t);
}

static void append_one(struct store *s, bool commit)
{
	struct operation op = op_of(OP_APPEND, user);
	op.mailbox = s->inbox;
	op.message.size = 7;
	apply(s, &op, commit);
}

static void mark(struct store *s, const struct uid_range *v, size_t n)
{
	struct operation op = op_of(OP_FLAGS, user);
	op.mailbox = s->inbox;
	op.how = FLAGS_ADD;
	op.set.flags = STORE_FLAGGED;
	op.uids = (struct uid_set){ v, n };
	apply(s, &op, true);
}

struct seen {
	struct index_event_id last;
	size_t n, most;
	char text[512]; /* of the last */
};

static bool on_event(void *arg, struct index_event_id id, uint64_t wall_s, struct span json)
{
	struct seen *x = arg;
	if (x->n == x->most)
		return false;
	assert_true(id.at > x->last.at || (id.at == x->last.at && (x->n == 0 || id.n > x->last.n)));
	assert_true(wall_s >= 1000000);
	x->last = id;
	x->n++;
	snprintf(x->text, sizeof x->text, "%.*s", SPAN_ARG(json));
	return true;
}

static struct seen look(struct store *s, struct index_event_id after, size_t most)
{
	struct seen x = { .most = most };
	index_writer_each_event(s->w, after, on_event, &x);
	return x;
}

static const struct index_event_id beginning = { 0, 0 };

static size_t done(struct store *s, struct index_event_id sent, uint64_t before_s, size_t over)
{
	struct index_events_done d = { sent, before_s, over, 1000 };
	err_t err;
	bool due = index_writer_events_due(s->w, &d);
	struct index_txn *t = index_txn_begin(s->w, &err);
	size_t n = index_events_done(t, &d);
	assert_int_equal(index_txn_commit(&t, s->at), ERR_OK);
	if (over == 0)
		assert_int_equal(due, n > 0);
	struct index_event_id noted = index_writer_events_sent(s->w);
	assert_true(noted.at == sent.at && noted.n == sent.n);
	return n;
}

static void test_rows(void **state)
{
	struct store s;
	store_make(&s, true);
	append_one(&s, true);
	append_one(&s, false);
	append_one(&s, true);
	struct seen x = look(&s, beginning, 100);
	assert_int_equal(x.n, 2);
	assert_string_equal(x.text,
	    "{\"event\":\"MessageAppend\",\"id\":\"4-0\",\"timestamp\":\"1970-01-12T13:46:40Z\","
	    "\"user\":"
	    "\"a@x\",\"mailbox\":\"INBOX\",\"uidvalidity\":1000000,\"uidnext\":3,\"modseq\":3,"
	    "\"messages\":2,\"unseen\":2,\"uidset\":\"2\",\"messageSize\":7}");
	x = look(&s, beginning, 1);
	assert_int_equal(look(&s, x.last, 100).n, 1);
	/* Sent, but not old; then both. What was not sent stays however old. */
	assert_int_equal(done(&s, x.last, s.wall_s, 0), 0);
	assert_int_equal(done(&s, x.last, s.wall_s + 1, 0), 1);
	assert_int_equal(done(&s, x.last, s.wall_s + 1, 0), 0);
	assert_int_equal(index_writer_event_count(s.w), 1);
	assert_int_equal(done(&s, x.last, 0, 1), 1); /* given up */
	assert_int_equal(index_writer_event_count(s.w), 0);
	store_end(&s);
}

static void test_off(void **state)
{
	struct store s;
	store_make(&s, false);
	append_one(&s, true);
	assert_int_equal(index_writer_event_count(s.w), 0);
	store_end(&s);
}

static void limit(struct store *s, uint64_t messages)
{
	struct operation op = op_of(OP_ENSURE_USER, user);
	op.quota_messages = messages;
	apply(s, &op, true);
}

/* since_s: of the mark that whoever decided has seen. */
static void quota_mark(struct store *s, enum flag_how how, uint64_t since_s)
{
	struct operation op = op_of(OP_QUOTA_MARK, user);
	op.how = how;
	op.name = SPAN("voice");
	op.mailbox = s->inbox;
	op.unchanged_since = since_s;
	apply(s, &op, true);
}

static uint64_t marked_since(struct store *s)
{
	struct index_quota_mark mark;
	err_t err;
	struct index_txn *t = index_txn_begin(s->w, &err);
	bool there = index_txn_quota_mark(t, span_str(user), &mark);
	if (there)
		assert_true(span_eq_str(mark.root, "voice") && mark.mailbox == s->inbox);
	assert_true(there == (mark.since_s > 0));
	index_txn_abort(&t);
	return mark.since_s;
}

/* RFC 5423 section 4.1. Whoever has seen another mark than there is changes nothing and tells nothing. */
static void test_quota_marks(void **state)
{
	struct store s;
	store_make(&s, true);
	limit(&s, 3);
	struct index_event_id before = look(&s, beginning, 100).last;
	quota_mark(&s, FLAGS_REMOVE, 0);
	assert_int_equal(look(&s, before, 100).n, 0);
	quota_mark(&s, FLAGS_ADD, 0);
	assert_int_equal(marked_since(&s), s.wall_s);
	struct seen x = look(&s, before, 100);
	assert_int_equal(x.n, 1);
	assert_string_equal(x.text,
	    "{\"event\":\"QuotaExceed\",\"id\":\"4-0\",\"timestamp\":\"1970-01-12T13:46:40Z\","
	    "\"user\":\"a@x\",\"mailbox\":\"INBOX\",\"diskQuota\":0,\"diskUsed\":0,"
	    "\"maxMessages\":3,\"messages\":0,\"vnd.postern.quotaRoot\":\"voice\"}");
	uint64_t first = s.wall_s;
	s.wall_s += 100;
	quota_mark(&s, FLAGS_ADD, 0);
	quota_mark(&s, FLAGS_REMOVE, first + 1);
	assert_int_equal(look(&s, x.last, 100).n, 0);
	assert_int_equal(marked_since(&s), first);
	quota_mark(&s, FLAGS_ADD, first); /* once more, as it was some time ago */
	assert_int_equal(look(&s, x.last, 100).n, 1);
	assert_int_equal(marked_since(&s), s.wall_s);
	quota_mark(&s, FLAGS_REMOVE, s.wall_s);
	assert_int_equal(marked_since(&s), 0);
	x = look(&s, x.last, 100);
	assert_int_equal(x.n, 2);
	assert_non_null(strstr(x.text, "\"QuotaWithin\""));
	store_end(&s);
}

/* Many uids make several events of one change; what does not change is not told of. */
static void test_many_uids(void **state)
{
	enum { MESSAGES = 9000, STEP = 2 };
	static struct uid_range odd[MESSAGES / STEP];
	struct uid_range all = { 1, MESSAGES };
	struct store s;
	store_make(&s, true);
	for (int i = 0; i < MESSAGES; i++)
		append_one(&s, true);
	struct seen x = look(&s, beginning, SIZE_MAX);
	assert_int_equal(x.n, MESSAGES);
	for (uint32_t i = 0; i < MESSAGES / STEP; i++)
		odd[i] = (struct uid_range){ i * STEP + 1, i * STEP + 1 };
	mark(&s, odd, MESSAGES / STEP);
	x = look(&s, x.last, SIZE_MAX);
	assert_int_equal(x.n, 3); /* 4500 ranges, 2000 in each */
	assert_non_null(strstr(x.text, "\"uidset\":\"8001,8003,"));
	struct index_event_id before = x.last;
	mark(&s, &all, 1);
	x = look(&s, before, SIZE_MAX);
	assert_int_equal(x.n, 3);
	before = x.last;
	mark(&s, &all, 1);
	assert_int_equal(look(&s, before, SIZE_MAX).n, 0);
	store_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_quota_marks),
		cmocka_unit_test(test_many_uids),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
