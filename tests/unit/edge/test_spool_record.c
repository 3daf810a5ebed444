/* test_spool_record.c - records of the spool: round trips, every truncation, counts that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "edge/spool_record.h"

static struct ident id_of(const char *text)
{
	struct ident id;
	assert_true(ident_parse(span_str(text), &id));
	return id;
}

static void put_example(struct buf *out, uint64_t *chunks, size_t chunk_count)
{
	struct spool_recipient r[2] = {
		{ SPAN("a+x@b.example"), SPAN("a@b.example"), SPAN("x"), SPAN("store1"),
		    SPOOL_WAITING, SMTP_NOTIFY_NEVER, SPAN_NONE, 0, SPAN_NONE, SPAN_NONE,
		    SPAN_NONE },
		{ SPAN("c@d.example"), SPAN_NONE, SPAN_NONE, SPAN_NONE, SPOOL_REFUSED, 12,
		    SPAN("rfc822;c@d"), 550, SPAN("5.1.1"), SPAN("no such user"), SPAN_NONE },
	};
	struct spool_message m = { .id = id_of("abcdefghjkmnpqrstu"),
		.session = id_of("utsrqpnmkjhgfedcba"),
		.body_8bit = true,
		.smtputf8 = true,
		.require_tls = true,
		.arrived_us = 1234567890123,
		.sender = SPAN("s@b.example"),
		.auth_user = SPAN("s"),
		.trusted = true,
		.hold = true,
		.report = REPORT_DELAY,
		.notices = 3,
		.ret = SMTP_RET_HDRS,
		.envid = SPAN("e1"),
		.recipients = r,
		.recipient_count = 2,
		.body_bytes = 5,
		.chunks = chunks,
		.chunk_count = chunk_count };
	m.client.b[15] = 7;
	if (chunk_count > 0)
		m.body_bytes = (uint64_t)SPOOL_CHUNK + 1;
	assert_true(spool_message_put(out, &m));
}

static void test_message(void **state)
{
	struct buf out = BUF_INIT(10000);
	struct spool_message m;
	put_example(&out, NULL, 0);
	size_t envelope = buf_len(&out);
	buf_add_str(&out, "hello");
	assert_int_equal(spool_message_get(buf_span(&out), &m), ERR_OK);
	assert_string_equal(m.id.s, "abcdefghjkmnpqrstu");
	assert_string_equal(m.parent.s, "");
	assert_true(m.body_8bit && m.trusted && m.hold && m.require_tls && !m.tls_optional);
	assert_int_equal(m.report, REPORT_DELAY);
	assert_int_equal(m.notices, 3);
	assert_int_equal(m.ret, SMTP_RET_HDRS);
	assert_true(span_eq_str(m.envid, "e1"));
	assert_int_equal(m.recipients[0].notify, SMTP_NOTIFY_NEVER);
	assert_int_equal(m.recipients[1].notify, SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY);
	assert_true(span_eq_str(m.recipients[1].orcpt, "rfc822;c@d"));
	assert_int_equal(m.client.b[15], 7);
	assert_int_equal(m.recipient_count, 2);
	assert_true(span_eq_str(m.recipients[0].detail, "x"));
	assert_int_equal(m.recipients[1].user.n, 0);
	assert_int_equal(m.recipients[1].fate, SPOOL_REFUSED);
	assert_true(span_eq_str(m.recipients[1].text, "no such user"));
	assert_int_equal(m.body_at, envelope);
	assert_true(spool_message_is_whole(&m, buf_span(&out)));
	assert_false(spool_message_is_whole(&m, span_first(buf_span(&out), envelope + 4)));
	spool_message_end(&m);
	for (size_t n = 0; n < envelope; n++) {
		assert_int_equal(spool_message_get(span_first(buf_span(&out), n), &m), ERR_CORRUPT);
		spool_message_end(&m);
	}
	buf_end(&out);
}

/* A spare bit of all versions; older programs, which do not know it, read the rest. */
static void test_tls_optional(void **state)
{
	for (int no = 0; no <= 1; no++) {
		struct buf out = BUF_INIT(10000);
		struct spool_recipient r = { .address = SPAN("a@b.example") };
		struct spool_message m = { .id = id_of("abcdefghjkmnpqrstu"),
			.session = id_of("utsrqpnmkjhgfedcba"),
			.tls_optional = no != 0,
			.stage = SPOOL_STAGES - 1,
			.recipients = &r,
			.recipient_count = 1 };
		assert_true(spool_message_put(&out, &m));
		assert_int_equal(spool_message_get(buf_span(&out), &m), ERR_OK);
		assert_int_equal(m.tls_optional, no);
		assert_int_equal(m.stage, SPOOL_STAGES - 1);
		assert_false(m.require_tls);
		spool_message_end(&m);
		buf_end(&out);
	}
}

/* Version 2 has the same fields; a bit that it did not know means nothing in it. */
static void test_version_2(void **state)
{
	struct buf out = BUF_INIT(10000);
	struct spool_message m;
	put_example(&out, NULL, 0);
	assert_int_equal(spool_message_get(buf_span(&out), &m), ERR_OK);
	assert_true(m.smtputf8);
	spool_message_end(&m);
	out.p[out.head] = 2;
	assert_int_equal(spool_message_get(buf_span(&out), &m), ERR_OK);
	assert_true(m.body_8bit && m.trusted && m.hold && !m.smtputf8);
	assert_int_equal(m.recipient_count, 2);
	spool_message_end(&m);
	out.p[out.head] = 7;
	assert_int_equal(spool_message_get(buf_span(&out), &m), ERR_CORRUPT);
	spool_message_end(&m);
	buf_end(&out);
}

/* A priority makes the record one of version 4, at every cut. */
static void test_priority(void **state)
{
	for (int level = -9; level <= 9; level++) {
		struct buf out = BUF_INIT(10000);
		struct spool_recipient r = { .address = SPAN("a@b.example") };
		struct spool_message m = { .id = id_of("abcdefghjkmnpqrstu"),
			.session = id_of("utsrqpnmkjhgfedcba"),
			.priority = level,
			.recipients = &r,
			.recipient_count = 1 };
		assert_true(spool_message_put(&out, &m));
		assert_int_equal(buf_span(&out).p[0], level != 0 ? 4 : 3);
		for (size_t n = 0; n < buf_len(&out); n++) {
			assert_int_equal(
			    spool_message_get(span_first(buf_span(&out), n), &m), ERR_CORRUPT);
			spool_message_end(&m);
		}
		assert_int_equal(spool_message_get(buf_span(&out), &m), ERR_OK);
		assert_int_equal(m.priority, level);
		spool_message_end(&m);
		buf_end(&out);
	}
}

/* What SPF says of the sender makes the record one of version 5, with a priority or without. */
static void test_aligned(void **state)
{
	for (int level = 0; level <= 2; level++) {
		struct buf out = BUF_INIT(10000);
		struct spool_recipient r = { .address = SPAN("a@b.example") };
		struct spool_message m = { .id = id_of("abcdefghjkmnpqrstu"),
			.session = id_of("utsrqpnmkjhgfedcba"),
			.aligned = level < 2,
			.disowned = level == 2,
			.priority = level,
			.recipients = &r,
			.recipient_count = 1 };
		assert_true(spool_message_put(&out, &m));
		assert_int_equal(buf_span(&out).p[0], 5);
		for (size_t n = 0; n < buf_len(&out); n++) {
			assert_int_equal(
			    spool_message_get(span_first(buf_span(&out), n), &m), ERR_CORRUPT);
			spool_message_end(&m);
		}
		assert_int_equal(spool_message_get(buf_span(&out), &m), ERR_OK);
		assert_true(m.aligned == (level < 2) && m.disowned == (level == 2) && !m.trusted);
		assert_int_equal(m.priority, level);
		spool_message_end(&m);
		buf_end(&out);
	}
}

/* Whose words a reason is makes the record one of version 6; without that it is one that older programs read. */
static void test_remote(void **state)
{
	for (int said = 0; said <= 1; said++) {
		struct buf out = BUF_INIT(10000);
		struct spool_recipient r[] = { { .address = SPAN("a@b.example") },
			{ .address = SPAN("c@b.example"),
			    .code = 550,
			    .text = SPAN("no"),
			    .remote = said != 0 ? SPAN("mx.b.example") : SPAN_NONE } };
		struct spool_message m = { .id = id_of("abcdefghjkmnpqrstu"),
			.session = id_of("utsrqpnmkjhgfedcba"),
			.recipients = r,
			.recipient_count = 2 };
		assert_true(spool_message_put(&out, &m));
		assert_int_equal(buf_span(&out).p[0], said != 0 ? 6 : 3);
		for (size_t n = 0; n < buf_len(&out); n++) {
			assert_int_equal(
			    spool_message_get(span_first(buf_span(&out), n), &m), ERR_CORRUPT);
			spool_message_end(&m);
		}
		assert_int_equal(spool_message_get(buf_span(&out), &m), ERR_OK);
		assert_int_equal(m.recipients[0].remote.n, 0);
		assert_true(span_eq_str(m.recipients[1].remote, said != 0 ? "mx.b.example" : ""));
		spool_message_end(&m);
		buf_end(&out);
	}
}

/* Records of the first version are in spools that were filled before an upgrade. */
static void test_version_1(void **state)
{
	static const char old[] = "\1\1\x12\0"
				  "abcdefghjkmnpqrstu\x12\0"
				  "abcdefghjkmnpqrstu\0\0"
				  "0123456789abcdef\1\0\0\0\0\0\0\0\3\0"
				  "s@b\0\0\1\0\3\0"
				  "c@d\0\0\0\0\0\0\2\x26\2\5\0"
				  "5.1.1\2\0no\2\0\0\0\0\0\0\0\0\0\0\0hi";
	static const char old_progress[] = "\1\1\x12\0"
					   "abcdefghjkmnpqrstu\0\0";
	struct span payload = span_of(old, sizeof old - 1);
	struct spool_message m;
	struct spool_progress p;
	assert_int_equal(spool_message_get(payload, &m), ERR_OK);
	assert_true(spool_message_is_whole(&m, payload));
	assert_int_equal(m.recipient_count, 1);
	assert_int_equal(m.recipients[0].fate, SPOOL_REFUSED);
	assert_int_equal(m.recipients[0].code, 550);
	assert_int_equal(m.recipients[0].notify, 0);
	assert_false(m.trusted || m.hold);
	spool_message_end(&m);
	assert_int_equal(
	    spool_progress_get(span_of(old_progress, sizeof old_progress - 1), &p), ERR_OK);
	assert_true(p.is_snapshot);
	spool_progress_end(&p);
}

static void test_chunks(void **state)
{
	struct buf out = BUF_INIT(10000);
	struct spool_message m;
	uint64_t chunks[] = { 0x100000010, 0x100040020 };
	put_example(&out, chunks, 2);
	assert_int_equal(spool_message_get(buf_span(&out), &m), ERR_OK);
	assert_int_equal(m.chunk_count, 2);
	assert_true(m.chunks[1] == chunks[1]);
	assert_true(spool_message_is_whole(&m, buf_span(&out)));
	m.body_bytes = 1;
	assert_false(spool_message_is_whole(&m, buf_span(&out)));
	spool_message_end(&m);
	buf_end(&out);
}

/* A byte that is wrong may give another message, but never more than is there. */
static void test_wrong_bytes(void **state)
{
	struct buf out = BUF_INIT(10000);
	put_example(&out, NULL, 0);
	for (size_t i = 0; i < buf_len(&out); i++) {
		char *p = out.p + out.head + i, was = *p;
		struct spool_message m;
		*p = (char)0xff;
		spool_message_get(buf_span(&out), &m);
		spool_message_end(&m);
		*p = was;
	}
	buf_end(&out);
}

static void check_progress(struct span remote, int version)
{
	struct buf out = BUF_INIT(10000);
	struct spool_step steps[] = {
		{ 0, SPOOL_WAITING, 3, 99, 451, SPAN("4.4.1"), SPAN("down"), true, SPAN("h:25"),
		    remote },
		{ 7, SPOOL_DELIVERED, 1, 0, 250, SPAN("2.0.0"), SPAN("ok"), false, SPAN_NONE,
		    SPAN_NONE },
	};
	struct spool_progress p = { id_of("abcdefghjkmnpqrstu"), true, 7, steps, 2 }, back;
	assert_true(spool_progress_put(&out, &p));
	assert_int_equal(buf_span(&out).p[0], version);
	assert_int_equal(spool_progress_get(buf_span(&out), &back), ERR_OK);
	assert_true(back.is_snapshot);
	assert_int_equal(back.notices, 7);
	assert_int_equal(back.step_count, 2);
	assert_int_equal(back.steps[0].attempts, 3);
	assert_int_equal(back.steps[0].due_us, 99);
	assert_true(back.steps[0].on_hold && !back.steps[1].on_hold);
	assert_true(span_eq_str(back.steps[0].route, "h:25"));
	assert_true(span_eq(back.steps[0].remote, remote));
	assert_int_equal(back.steps[1].remote.n, 0);
	assert_true(span_eq_str(back.steps[1].enhanced, "2.0.0"));
	spool_progress_end(&back);
	for (size_t n = 0; n < buf_len(&out); n++) {
		assert_int_equal(
		    spool_progress_get(span_first(buf_span(&out), n), &back), ERR_CORRUPT);
		spool_progress_end(&back);
	}
	buf_add_char(&out, 'x');
	assert_int_equal(spool_progress_get(buf_span(&out), &back), ERR_CORRUPT);
	spool_progress_end(&back);
	buf_end(&out);
}

/* The least version that can say it all. */
static void test_progress(void **state)
{
	check_progress(SPAN_NONE, 3);
	check_progress(SPAN("mx.b.example"), 4);
}

static void test_done(void **state)
{
	struct buf out = BUF_INIT(100);
	struct spool_done d = { .id = id_of("abcdefghjkmnpqrstu"), .at_us = 42 }, back;
	for (int i = 0; i < 2; i++) {
		d.withdrawn = i == 1;
		buf_clear(&out);
		assert_true(spool_done_put(&out, &d));
		assert_int_equal(spool_done_get(buf_span(&out), &back), ERR_OK);
		assert_string_equal(back.id.s, d.id.s);
		assert_int_equal(back.at_us, 42);
		assert_int_equal(back.withdrawn, d.withdrawn);
	}
	for (size_t n = 0; n < buf_len(&out); n++)
		assert_int_equal(spool_done_get(span_first(buf_span(&out), n), &back), ERR_CORRUPT);
	buf_end(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message),
		cmocka_unit_test(test_version_1),
		cmocka_unit_test(test_version_2),
		cmocka_unit_test(test_priority),
		cmocka_unit_test(test_aligned),
		cmocka_unit_test(test_tls_optional),
		cmocka_unit_test(test_remote),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_wrong_bytes),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_done),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
