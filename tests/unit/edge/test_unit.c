/* test_unit.c - several messages as the bytes of one: what is written is read back, at every piece size of the source, and
 * what is cut off or changed anywhere is told from what is whole, or is another message, never one out of bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "edge/unit.h"

enum { PARTS = 3 };

static const char *const bodies[] = { "Subject: one\r\n\r\nfor two\r\n", "Subject: two\r\n\r\n" };
static const char *const fields[PARTS] = { "", "Delivered-To: g@x.example\r\n", "" };
static const size_t body_of[PARTS] = { 0, 0, 1 };
static const char unit_id[] = "abcdefghjkmnpqrstu";

static struct ident id_of(const char *text)
{
	struct ident id = { "" };
	assert_true(ident_parse(span_str(text), &id));
	return id;
}

static void put_head(struct buf *out, size_t which, size_t body_bytes)
{
	struct spool_recipient r[2] = { { .address = SPAN("a@b.example"), .user = SPAN("a") },
		{ .address = SPAN("c@d.example") } };
	struct spool_message m = { .id = unit_part_id(id_of(unit_id), which),
		.session = id_of("utsrqpnmkjhgfedcba"),
		.sender = SPAN("s@far.example"),
		.recipients = r,
		.recipient_count = 1 + which % 2,
		.body_bytes = strlen(fields[which]) + body_bytes };
	assert_true(spool_message_put(out, &m));
}

/* Index, heads, bodies. */
static void put_unit(struct buf *out)
{
	struct buf heads = BUF_INIT(10000);
	struct unit_part parts[PARTS];
	uint64_t heads_at = UNIT_START_BYTES + PARTS * UNIT_PART_BYTES, bodies_at;
	for (size_t i = 0; i < PARTS; i++) {
		parts[i] = (struct unit_part){ .head_at = heads_at + buf_len(&heads),
			.body_bytes = strlen(bodies[body_of[i]]),
			.fields_bytes = (uint32_t)strlen(fields[i]) };
		size_t before = buf_len(&heads);
		put_head(&heads, i, parts[i].body_bytes);
		parts[i].head_bytes = (uint32_t)(buf_len(&heads) - before);
		buf_add_str(&heads, fields[i]);
	}
	bodies_at = heads_at + buf_len(&heads);
	unit_put_start(out, PARTS);
	for (size_t i = 0; i < PARTS; i++) {
		parts[i].body_at = bodies_at + (body_of[i] == 1 ? strlen(bodies[0]) : 0);
		unit_put_part(out, &parts[i]);
	}
	buf_add_span(out, buf_span(&heads));
	buf_add_str(out, bodies[0]);
	buf_add_str(out, bodies[1]);
	buf_end(&heads);
	assert_true(buf_ok(out));
}

struct bytes {
	struct span all;
	size_t piece; /* at most so many at once */
	err_t err;    /* of every read */
};

static struct span read_bytes(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	const struct bytes *b = arg;
	assert_true(n > 0);
	*err_out = b->err;
	if (b->err)
		return SPAN_NONE;
	return span_first(span_from(b->all, (size_t)at), n < b->piece ? n : b->piece);
}

static struct mail_source source(struct bytes *b)
{
	return (struct mail_source){ read_bytes, b, b->all.n };
}

/* ERR_OK: it is a whole part, all of it within the bytes. */
static err_t load(
    struct bytes *b, size_t which, struct unit_part *p, struct buf *head, struct spool_message *m)
{
	struct mail_source s = source(b);
	*m = (struct spool_message){ 0 };
	err_t err = unit_find(&s, which, p);
	if (err == ERR_OK)
		err = unit_load(&s, p, id_of(unit_id), head, m);
	if (err != ERR_OK)
		return err;
	assert_true(p->body_at <= b->all.n && p->body_bytes <= b->all.n - p->body_at);
	assert_int_equal(buf_len(head), p->head_bytes + p->fields_bytes);
	assert_int_equal(m->body_bytes, p->fields_bytes + p->body_bytes);
	assert_in_range(m->recipient_count, 1, 1000);
	return ERR_OK;
}

static void check_part(struct bytes *b, size_t which)
{
	struct unit_part p;
	struct spool_message m;
	struct buf head = BUF_INIT(UNIT_HEAD_MAX);
	assert_int_equal(load(b, which, &p, &head, &m), ERR_OK);
	assert_string_equal(m.id.s, unit_part_id(id_of(unit_id), which).s);
	assert_int_equal(m.recipient_count, 1 + which % 2);
	assert_true(span_eq_str(span_from(buf_span(&head), p.head_bytes), fields[which]));
	assert_true(span_eq_str(span_first(span_from(b->all, (size_t)p.body_at), p.body_bytes),
	    bodies[body_of[which]]));
	spool_message_end(&m);
	buf_end(&head);
}

static void test_round_trip(void **state)
{
	struct buf out = BUF_INIT(20000);
	put_unit(&out);
	struct bytes b = { .all = buf_span(&out) };
	for (b.piece = 1; b.piece <= buf_len(&out); b.piece++)
		for (size_t i = 0; i < PARTS; i++)
			check_part(&b, i);
	buf_end(&out);
}

/* A part is whole when its own bytes are there; what stands in the index behind the last one is not asked for. */
static void test_cut_off(void **state)
{
	struct buf out = BUF_INIT(20000), head = BUF_INIT(UNIT_HEAD_MAX);
	struct unit_part p;
	struct spool_message m;
	put_unit(&out);
	for (size_t n = 0; n < buf_len(&out); n++) {
		struct bytes b = { .all = span_first(buf_span(&out), n), .piece = 7 };
		for (size_t i = 0; i < PARTS; i++) {
			err_t err = load(&b, i, &p, &head, &m);
			bool whole = i < 2 && n >= buf_len(&out) - strlen(bodies[1]);
			assert_int_equal(err, whole ? ERR_OK : ERR_CORRUPT);
			spool_message_end(&m);
		}
	}
	buf_end(&head);
	buf_end(&out);
}

static void test_flipped(void **state)
{
	struct buf out = BUF_INIT(20000), head = BUF_INIT(UNIT_HEAD_MAX);
	struct unit_part p;
	struct spool_message m;
	size_t bad = 0;
	put_unit(&out);
	for (size_t n = 0; n < buf_len(&out); n++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			struct bytes b = { .all = buf_span(&out), .piece = 100 };
			out.p[out.head + n] = (char)(out.p[out.head + n] ^ (1 << bit));
			for (size_t i = 0; i < PARTS; i++) {
				bad += load(&b, i, &p, &head, &m) != ERR_OK;
				spool_message_end(&m);
			}
			out.p[out.head + n] = (char)(out.p[out.head + n] ^ (1 << bit));
		}
	}
	assert_true(bad > UNIT_START_BYTES * 8);
	buf_end(&head);
	buf_end(&out);
}

static void set_part(struct buf *unit, const struct unit_part *p)
{
	struct buf entry = BUF_INIT(UNIT_PART_BYTES);
	unit_put_part(&entry, p);
	memcpy(unit->p + unit->head + UNIT_START_BYTES, buf_cstr(&entry), UNIT_PART_BYTES);
	buf_end(&entry);
}

static struct unit_part with(struct unit_part p, int what, uint64_t to)
{
	switch (what) {
	case 0:
		p.head_at = to;
		break;
	case 1:
		p.body_at = to;
		break;
	case 2:
		p.body_bytes = to;
		break;
	case 3:
		p.head_bytes = (uint32_t)to;
		break;
	default:
		p.fields_bytes = (uint32_t)to;
		break;
	}
	return p;
}

/* Places beyond the end, sums that overflow, parts that lie over the index. */
static void test_bounds(void **state)
{
	static const uint64_t wrong[] = { 0, 1, UNIT_START_BYTES, 20000, UINT32_MAX, UINT32_MAX - 1,
		UINT64_MAX, UINT64_MAX - 1, INT64_MAX, SPOOL_RECORD_MAX + 1 };
	struct buf out = BUF_INIT(20000), head = BUF_INIT(UNIT_HEAD_MAX);
	struct spool_message m;
	struct unit_part good, p;
	put_unit(&out);
	struct bytes b = { .all = buf_span(&out), .piece = 1000 };
	assert_int_equal(load(&b, 0, &good, &head, &m), ERR_OK);
	spool_message_end(&m);
	for (int what = 0; what < 5; what++)
		for (size_t i = 0; i < COUNT_OF(wrong); i++) {
			struct unit_part try = with(good, what, wrong[i]);
			if (what == 4 && wrong[i] == 0)
				continue; /* it has none */
			set_part(&out, &try);
			assert_int_equal(load(&b, 0, &p, &head, &m), ERR_CORRUPT);
			spool_message_end(&m);
		}
	set_part(&out, &good);
	assert_int_equal(load(&b, PARTS, &p, &head, &m), ERR_CORRUPT);
	assert_int_equal(load(&b, SIZE_MAX, &p, &head, &m), ERR_CORRUPT);
	b.err = ERR_IO;
	assert_int_equal(load(&b, 0, &p, &head, &m), ERR_IO);
	buf_end(&head);
	buf_end(&out);
}

/* A part that has the unit's own id would be taken for one that is there. */
static void test_own_id(void **state)
{
	struct buf out = BUF_INIT(20000), head = BUF_INIT(UNIT_HEAD_MAX);
	struct spool_message m;
	struct unit_part p;
	put_unit(&out);
	struct bytes b = { .all = buf_span(&out), .piece = 1000 };
	struct mail_source s = source(&b);
	assert_int_equal(unit_find(&s, 1, &p), ERR_OK);
	assert_int_equal(
	    unit_load(&s, &p, unit_part_id(id_of(unit_id), 1), &head, &m), ERR_CORRUPT);
	spool_message_end(&m);
	buf_end(&head);
	buf_end(&out);
}

static void test_ids(void **state)
{
	struct ident unit = id_of(unit_id), again;
	for (size_t i = 0; i < UNIT_PARTS_MAX; i++) {
		struct ident a = unit_part_id(unit, i), b = unit_part_id(unit, i + 1);
		assert_true(ident_parse(span_str(a.s), &again));
		assert_string_equal(a.s, unit_part_id(unit, i).s);
		assert_string_not_equal(a.s, b.s);
		assert_string_not_equal(a.s, unit.s);
		assert_memory_equal(a.s, unit.s, 9);
	}
}

/* The queue asks for room for everybody behind the parts. */
static void test_recipients(void **state)
{
	struct unit_label labels[2];
	struct spool_recipient r[4] = { { .address = SPAN("a@b.example"), .detail = SPAN("700") } };
	struct spool_message m = { .recipients = r, .recipient_count = 1 };
	assert_int_equal(unit_recipients(&m), 1);
	unit_recipient(0, 1000, &labels[0], &r[0]);
	unit_recipient(999, 17, &labels[1], &r[1]);
	assert_true(span_eq_str(r[1].address, "part-1000@unpack.invalid"));
	m.recipient_count = 2;
	assert_int_equal(unit_recipients(&m), 1017);
	r[1].detail = SPAN("many");
	assert_int_equal(unit_recipients(&m), 1001);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_flipped),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_own_id),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_recipients),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
