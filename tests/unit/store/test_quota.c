/* test_quota.c - how much of each kind of message the index says there is, after everything that brings and takes
 * messages, and what the rules `quota NAME { }` allow. */
#include "fixture.h"
#include "rules_fixture.h"

#include "conf/conf.h"
#include "store-backend/index_check.h"
#include "store-backend/index_write.h"
#include "store-backend/operation_wire.h"
#include "store-backend/parse.h"
#include "store-backend/quota.h"

/* ---- what there is -------------------------------------------------------------------------------------------- */

struct store {
	char dir[64];
	struct index_writer *w;
	struct index_txn *t;
	uint64_t blobs, inbox, work, other; /* other: of b@x */
	unsigned faults;
};

static const struct operation_answer *apply(struct store *s, const struct operation *op)
{
	struct index_facts facts = { .wall_s = 1000, .blob = ++s->blobs };
	const struct operation_answer *a = index_apply(s->t, op, &facts);
	assert_int_equal(a->result, OPR_OK);
	return a;
}

static uint64_t make_user(struct store *s, const char *user)
{
	struct operation op = op_of(OP_ENSURE_USER, user);
	return apply(s, &op)->mailbox;
}

static void store_make(struct store *s)
{
	struct operation op = op_of(OP_CREATE, "a@x");
	err_t err;
	*s = (struct store){ 0 };
	snprintf(s->dir, sizeof s->dir, "/tmp/test_quota.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	s->w = index_writer_open(s->dir, 1 << 28, &err);
	assert_int_equal(err, ERR_OK);
	s->t = index_txn_begin(s->w, &err);
	s->inbox = make_user(s, "a@x");
	s->other = make_user(s, "b@x");
	op.name = SPAN("Work");
	s->work = apply(s, &op)->mailbox;
}

static void on_fault(void *arg, const char *what)
{
	((struct store *)arg)->faults++;
	print_message("%s\n", what);
}

static void on_blob(void *arg, log_pos blob)
{
}

static void store_end(struct store *s)
{
	struct index_check c = { .on_fault = on_fault, .on_blob = on_blob, .arg = s };
	assert_int_equal(index_txn_commit(&s->t, 1), ERR_OK);
	struct index *x = index_writer_reader(s->w);
	assert_true(index_check_run(x, &c));
	assert_int_equal(s->faults, 0);
	index_close(&x);
	index_writer_close(&s->w, true);
	nftw(s->dir, world_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void cache_of(const char *type, struct buf *out)
{
	struct buf text = BUF_INIT(4096);
	*out = BUF_INIT(STORE_CACHE_MAX);
	buf_printf(&text, "Subject: x\r\nContent-Type: %s\r\n\r\nbody\r\n", type);
	parse_message(buf_span(&text), out);
	buf_end(&text);
}

static void put(struct store *s, uint64_t box, const char *type, uint64_t size)
{
	struct operation op = op_of(OP_APPEND, "a@x");
	struct buf cache;
	cache_of(type, &cache);
	op.mailbox = box;
	op.message.size = size;
	op.message.cache = buf_span(&cache);
	(void)apply(s, &op);
	buf_end(&cache);
}

static void change(
    struct store *s, enum operation_kind kind, uint64_t from, uint64_t to, uint32_t uid)
{
	struct uid_range one = { uid, uid };
	struct operation op = op_of(kind, "a@x");
	op.mailbox = from;
	op.target = to;
	op.uids = (struct uid_set){ &one, 1 };
	(void)apply(s, &op);
}

static void put_uses(char *out, size_t size, const struct type_uses *u)
{
	size_t n = 0;
	for (int i = TYPE_ANY; i < TYPE_COUNT; i++)
		n += (size_t)snprintf(out + n, size - n, "%s%u/%u", i == 0 ? "" : " ",
		    (unsigned)u->of[i].messages, (unsigned)u->of[i].bytes);
}

/* "messages/bytes" of all, mail, voice, fax, video: of the mailbox; of its owner. */
static void assert_uses(struct store *s, uint64_t box, const char *in, const char *of)
{
	struct index_mailbox m;
	struct type_uses mailbox, user;
	char got[200];
	assert_true(index_txn_mailbox(s->t, box, &m));
	index_txn_types(s->t, &m, &mailbox, &user);
	put_uses(got, sizeof got, &mailbox);
	assert_string_equal(got, in);
	put_uses(got, sizeof got, &user);
	assert_string_equal(got, of);
}

static void test_counts(void **state)
{
	struct store s;
	store_make(&s);
	put(&s, s.inbox, "text/plain", 10);
	put(&s, s.inbox, "audio/wav", 100);
	put(&s, s.work, "multipart/fax-message", 1000);
	put(&s, s.work, "video/mp4", 5);
	assert_uses(&s, s.inbox, "2/110 1/10 1/100 0/0 0/0", "4/1115 1/10 1/100 1/1000 1/5");
	assert_uses(&s, s.work, "2/1005 0/0 0/0 1/1000 1/5", "4/1115 1/10 1/100 1/1000 1/5");
	change(&s, OP_COPY, s.inbox, s.work, 2);
	assert_uses(&s, s.work, "3/1105 0/0 1/100 1/1000 1/5", "5/1215 1/10 2/200 1/1000 1/5");
	change(&s, OP_MOVE, s.work, s.inbox, 1);
	assert_uses(&s, s.work, "2/105 0/0 1/100 0/0 1/5", "5/1215 1/10 2/200 1/1000 1/5");
	change(&s, OP_EXPUNGE, s.inbox, 0, 2);
	assert_uses(&s, s.inbox, "2/1010 1/10 0/0 1/1000 0/0", "4/1115 1/10 1/100 1/1000 1/5");
	struct operation op = op_of(OP_DELETE, "a@x");
	op.name = SPAN("Work");
	(void)apply(&s, &op);
	assert_uses(&s, s.inbox, "2/1010 1/10 0/0 1/1000 0/0", "2/1010 1/10 0/0 1/1000 0/0");
	assert_uses(&s, s.other, "0/0 0/0 0/0 0/0 0/0", "0/0 0/0 0/0 0/0 0/0");
	store_end(&s);
}

static void test_delivery_and_many(void **state)
{
	struct store s;
	struct buf voice, fax;
	store_make(&s);
	cache_of("audio/wav", &voice);
	cache_of("image/tiff", &fax);
	struct op_recipient to[2] = { { SPAN("a@x"), SPAN("Work") }, { SPAN("b@x"), SPAN_NONE } };
	struct operation op = op_of(OP_DELIVER, "");
	op.recipients = to;
	op.recipient_n = 2;
	op.message.size = 7;
	op.message.cache = buf_span(&voice);
	(void)apply(&s, &op);
	assert_uses(&s, s.work, "1/7 0/0 1/7 0/0 0/0", "1/7 0/0 1/7 0/0 0/0");
	assert_uses(&s, s.other, "1/7 0/0 1/7 0/0 0/0", "1/7 0/0 1/7 0/0 0/0");
	struct op_message many[2] = { { .size = 1, .blob = 1001, .cache = buf_span(&fax) },
		{ .size = 2, .blob = 1002 } };
	op = op_of(OP_APPEND_MANY, "a@x");
	op.mailbox = s.inbox;
	op.messages = many;
	op.message_n = 2;
	op.message.size = 3;
	(void)apply(&s, &op);
	assert_uses(&s, s.inbox, "2/3 1/2 0/0 1/1 0/0", "3/10 1/2 1/7 1/1 0/0");
	buf_end(&voice);
	buf_end(&fax);
	store_end(&s);
}

/* ---- rules ------------------------------------------------------------------------------------------------------ */

static void check(const struct conf *c, struct conf_diag *d)
{
	quota_check(conf_section(c, &store_block), d);
}

static const struct {
	const char *rules;
	enum message_type more; /* one of them, of 50 bytes, comes into Calls of a@x */
	bool moves, has_room;
} cases[] = {
	{ "", TYPE_VOICE, false, true },
	{ "quota q { type voice; messages 3; }", TYPE_VOICE, false, false },
	{ "quota q { type voice; messages 4; }", TYPE_VOICE, false, true },
	{ "quota q { type voice; messages 3; }", TYPE_FAX, false, true },
	{ "quota q { type voice; messages 1; }", TYPE_MAIL, false, true },
	{ "quota q { type voice; messages 3; }", TYPE_VOICE, true, true },
	{ "quota q { type voice; messages 3; users \"*@y\"; }", TYPE_VOICE, false, true },
	{ "quota q { type voice; messages 3; users \"*@x\"; }", TYPE_VOICE, false, false },
	{ "quota q { type voice; bytes 349; }", TYPE_VOICE, false, false },
	{ "quota q { type voice; bytes 350; }", TYPE_VOICE, false, true },
	/* of the mailbox alone */
	{ "quota q { type voice; folders Calls; messages 2; }", TYPE_VOICE, false, true },
	{ "quota q { type voice; folders Calls; messages 1; }", TYPE_VOICE, false, false },
	{ "quota q { type voice; folders Calls; messages 1; }", TYPE_VOICE, true, false },
	{ "quota q { type voice; folders Other; messages 1; }", TYPE_VOICE, false, true },
	{ "quota q { folders Calls; messages 2; }", TYPE_MAIL, false, false },
	{ "quota q { folders Calls; messages 3; }", TYPE_MAIL, false, true },
	{ "quota p { type fax; messages 1; } quota q { type voice; messages 3; }", TYPE_VOICE,
	    false, false },
};

static void test_rules(void **state)
{
	struct index_mailbox m = { .id = 1, .user = SPAN("a@x"), .name = SPAN("Calls") };
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct quota_ask a = { .mailbox = &m, .moves = cases[i].moves };
		size_t errors;
		struct conf *c = rules_load(cases[i].rules, check, &errors);
		assert_int_equal(errors, 0);
		type_uses_add(&a.in_mailbox, TYPE_VOICE, 100, 1);
		type_uses_add(&a.in_mailbox, TYPE_MAIL, 10, 1);
		type_uses_add(&a.of_owner, TYPE_VOICE, 300, 3);
		type_uses_add(&a.of_owner, TYPE_MAIL, 10, 1);
		type_uses_add(&a.more, cases[i].more, 50, 1);
		if ((quota_in_the_way(conf_section(c, &store_block), &a) == NULL) !=
		    cases[i].has_room)
			fail_msg("%zu: %s", i, cases[i].rules);
		conf_unref(&c);
	}
}

static void test_settings(void **state)
{
	static const struct {
		const char *rules;
		size_t errors;
	} v[] = {
		{ "quota q { type voice; messages 1; }", 0 },
		{ "quota q { type voice; }", 1 },
		{ "quota q { messages 1; }", 1 },
		{ "quota q { folders INBOX; bytes 1; }", 0 },
		{ "quota q { folders INBOX; bytes 1; warn 80; }", 0 },
		{ "quota q { domains x; bytes 1; warn 80; }", 1 },
	};
	for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
		size_t errors;
		struct conf *c = rules_load(v[i].rules, check, &errors);
		assert_int_equal(errors, v[i].errors);
		if (c != NULL)
			conf_unref(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_delivery_and_many),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_settings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
