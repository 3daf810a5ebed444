/* test_expire.c - which messages the rules find: each condition alone and together, the oldest beyond a number,
 * exclusive rules, steps of any size; and types by Content-Type. */
#include "fixture.h"
#include "rules_fixture.h"

#include "base/check.h"
#include "conf/conf.h"
#include "store-backend/expire.h"
#include "store-backend/index_write.h"
#include "store-backend/operation_wire.h"
#include "store-backend/parse.h"

enum { DAY = 86400, NOW = 100 * DAY };

struct store {
	char dir[64];
	struct index_writer *w;
	uint64_t blobs, inbox, trash;
};

static const struct operation_answer *apply(
    struct store *s, struct index_txn *t, const struct operation *op)
{
	struct index_facts facts = { .wall_s = NOW - 5 * DAY, .blob = ++s->blobs };
	const struct operation_answer *a = index_apply(t, op, &facts);
	assert_int_equal(a->result, OPR_OK);
	return a;
}

/* Message n is n days old, of n * 100 bytes. */
static void put(struct store *s, struct index_txn *t, uint64_t box, unsigned n)
{
	static const char *const types[] = { "text/plain", "audio/basic", "image/tiff",
		"video/mp4" };
	static const uint32_t flags[] = { 0, STORE_SEEN, STORE_SEEN | STORE_FLAGGED };
	struct operation op = op_of(OP_APPEND, "a@x");
	struct buf text = BUF_INIT(4096), cache = BUF_INIT(STORE_CACHE_MAX);
	buf_printf(&text, "List-Id: <%s.Example>\r\nX-Odd: w%u\r\nContent-Type: %s\r\n\r\nbody\r\n",
	    n % 2 == 0 ? "news" : "talk", n, types[n % 4]);
	parse_message(buf_span(&text), &cache);
	op.mailbox = box;
	op.message.size = n * 100;
	op.message.cache = buf_span(&cache);
	op.date_s = NOW - (int64_t)n * DAY;
	op.set.flags = flags[n % 3];
	(void)apply(s, t, &op);
	buf_end(&text);
	buf_end(&cache);
}

static void store_make(struct store *s)
{
	struct operation op = op_of(OP_ENSURE_USER, "a@x");
	err_t err;
	*s = (struct store){ 0 };
	snprintf(s->dir, sizeof s->dir, "/tmp/test_expire.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	s->w = index_writer_open(s->dir, 1 << 28, &err);
	assert_int_equal(err, ERR_OK);
	struct index_txn *t = index_txn_begin(s->w, &err);
	s->inbox = apply(s, t, &op)->mailbox;
	op = op_of(OP_CREATE, "a@x");
	op.name = SPAN("Trash/Old");
	s->trash = apply(s, t, &op)->mailbox;
	for (unsigned n = 10; n >= 1; n--) {
		put(s, t, s->inbox, n); /* uid 1 is the oldest: 10 days */
		put(s, t, s->trash, n);
	}
	assert_int_equal(index_txn_commit(&t, 1), ERR_OK);
}

static void store_end(struct store *s)
{
	index_writer_close(&s->w, true);
	nftw(s->dir, world_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A header that is not in the cache: message n has blob 3 + ..., but every one says the same here. */
static err_t read_log(void *arg, log_pos blob, uint64_t at, void *out, size_t n)
{
	static const char text[] = "X-Odd: some\r\n Words\r\n\r\nX-Body: no\r\n";
	memset(out, ' ', n);
	memcpy(out, text, n < sizeof text - 1 ? n : sizeof text - 1);
	return ERR_OK;
}

/* ---- settings as they are read ---------------------------------------------------------------------------- */

static void check(const struct conf *c, struct conf_diag *d)
{
	expire_check(conf_section(c, &store_block), d);
}

/* "RULE MAILBOX uid uid; ..." of a whole pass. */
static void run(struct store *s, const char *rules, char *out, size_t size)
{
	static struct expire_found f;
	size_t errors, n = 0;
	struct conf *c = rules_load(rules, check, &errors);
	assert_int_equal(errors, 0);
	struct expire x = { conf_section(c, &store_block), NOW, read_log, NULL };
	struct expire_cursor at = { 0 };
	struct index *index = index_writer_reader(s->w);
	enum expire_step r = EXPIRE_MORE;
	out[0] = '\0';
	while (r != EXPIRE_END) {
		struct index_view *v = index_view_begin(index);
		r = expire_step(&x, v, &at, &f);
		if (r == EXPIRE_FOUND)
			n += (size_t)snprintf(out + n, size - n, "%s %.*s", f.rule->head.title,
			    SPAN_ARG(f.mailbox.name));
		for (size_t i = 0; r == EXPIRE_FOUND && i < f.n; i++)
			n += (size_t)snprintf(out + n, size - n, " %u", f.uids[i].first);
		if (r == EXPIRE_FOUND)
			n += (size_t)snprintf(out + n, size - n, "; ");
		index_view_end(&v);
	}
	index_close(&index);
	conf_unref(&c);
}

static void test_rules(void **state)
{
	static const struct {
		const char *rules, *found;
	} cases[] = {
		{ "", "" },
		{ "expire a { folders INBOX; age 7d; }", "a INBOX 1 2 3; " },
		{ "expire a { folders \"Trash*\"; age 9d; }", "a Trash/Old 1; " },
		{ "expire a { folders \"Trash%\"; age 9d; }", "" },
		{ "expire a { folders INBOX; saved 4d; age 9d; }", "a INBOX 1; " },
		{ "expire a { folders INBOX; saved 6d; }", "" },
		{ "expire a { folders INBOX; larger 800; }", "a INBOX 1 2; " },
		{ "expire a { folders INBOX; flags seen, -flagged; }", "a INBOX 1 4 7 10; " },
		{ "expire a { folders INBOX; flags deleted; }", "" },
		{ "expire a { folders INBOX; header \"list-id: NEWS.\"; }", "a INBOX 1 3 5 7 9; " },
		{ "expire a { folders INBOX; header \"List-Id: news.\"; age 5d; larger 900; }",
		    "a INBOX 1; " },
		{ "expire a { folders INBOX; header \"X-Odd: some words\"; age 8d; }",
		    "a INBOX 1 2; " },
		{ "expire a { folders INBOX; header \"X-Body: no\"; }", "" },
		{ "expire a { folders INBOX; type voice; }", "a INBOX 2 6 10; " },
		{ "expire a { folders INBOX; type fax; }", "a INBOX 1 5 9; " },
		{ "expire a { folders INBOX; type video; }", "a INBOX 4 8; " },
		{ "expire a { folders INBOX; type mail; }", "a INBOX 3 7; " },
		{ "expire a { folders INBOX; messages_max 7; }", "a INBOX 1 2 3; " },
		{ "expire a { folders INBOX; messages_max 10; }", "" },
		{ "expire a { folders INBOX; messages_max 8; flags -seen; }", "a INBOX 2 5; " },
		{ "expire a { folders INBOX; bytes_max 4000; }", "a INBOX 1 2; " },
		{ "expire a { folders INBOX; users \"*@y\"; age 1d; }", "" },
		{ "expire a { folders INBOX; users \"a@*\"; age 9d; }", "a INBOX 1; " },
		{ "expire a { folders \"*\"; age 9d; } expire b { folders INBOX; larger 900; }",
		    "a INBOX 1; b INBOX 1; a Trash/Old 1; " },
		{ "expire a { folders \"*\"; age 8d; } expire b { folders INBOX; larger 900; "
		  "exclusive "
		  "yes; }",
		    "b INBOX 1; a Trash/Old 1 2; " },
		{ "expire a { folders INBOX; age 9d; exclusive yes; } expire b { folders INBOX; "
		  "age 8d; "
		  "exclusive yes; }",
		    "b INBOX 1 2; " },
		{ "expire a { folders \"*\"; age 9d; action move; target Trash/Old; }",
		    "a INBOX 1; " },
	};
	struct store s;
	char found[1024];
	store_make(&s);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		run(&s, cases[i].rules, found, sizeof found);
		if (strcmp(found, cases[i].found) != 0)
			fail_msg("%s: %s", cases[i].rules, found);
	}
	store_end(&s);
}

static void test_settings_that_are_refused(void **state)
{
	static const char *const cases[] = {
		"expire a { folders INBOX; }", /* everything would go */
		"expire a { age 1d; }",
		"expire a { folders INBOX; age 1d; action move; }",
		"expire a { folders INBOX; age 1d; action move; target \"a//b\"; }",
		"expire a { folders INBOX; age 1d; target Trash; }",
		"expire a { folders INBOX; flags sen; }",
		"expire a { folders INBOX; header Subject; }",
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		size_t errors;
		struct conf *c = rules_load(cases[i], check, &errors);
		if (errors == 0)
			fail_msg("%s", cases[i]);
		conf_unref(&c);
	}
}

/* More than a step takes: it goes on where it was. */
static void test_steps(void **state)
{
	enum { MESSAGES = 5000 };
	static struct expire_found f;
	struct store s;
	size_t errors, steps = 0, n = 0;
	err_t err;
	store_make(&s);
	struct index_txn *t = index_txn_begin(s.w, &err);
	for (unsigned i = 0; i < MESSAGES; i++)
		put(&s, t, s.inbox, 20 + i % 2);
	assert_int_equal(index_txn_commit(&t, 1), ERR_OK);
	struct conf *c = rules_load("expire a { folders INBOX; age 20d; }", check, &errors);
	struct expire x = { conf_section(c, &store_block), NOW, read_log, NULL };
	struct expire_cursor at = { 0 };
	struct index *index = index_writer_reader(s.w);
	enum expire_step r = EXPIRE_MORE;
	for (; r != EXPIRE_END; steps++) {
		struct index_view *v = index_view_begin(index);
		r = expire_step(&x, v, &at, &f);
		n += f.n;
		index_view_end(&v);
	}
	assert_int_equal(n, MESSAGES / 2);
	assert_true(steps > MESSAGES / 2 / EXPIRE_UIDS_MAX);
	index_close(&index);
	conf_unref(&c);
	store_end(&s);
}

static void test_types(void **state)
{
	assert_int_equal(message_type_of(SPAN_NONE), TYPE_MAIL);
	assert_int_equal(message_type_of(SPAN("nonsense")), TYPE_MAIL);
	assert_int_equal(message_type_of(SPAN("multipart/Voice-Message; boundary=x")), TYPE_VOICE);
	assert_int_equal(message_type_of(SPAN("AUDIO/wav")), TYPE_VOICE);
	assert_int_equal(message_type_of(SPAN("multipart/fax-message")), TYPE_FAX);
	assert_int_equal(message_type_of(SPAN("image/png")), TYPE_MAIL);
	assert_int_equal(message_type_of(SPAN("video/mp4 (movie)")), TYPE_VIDEO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_settings_that_are_refused),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_types),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
