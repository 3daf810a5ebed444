/* fuzz_unit.c - parts of a mail from a lying disk: the first bytes say which part is asked for and how the source cuts its
 * pieces. A part that is found lies within the unit, and its head is written back the same. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#include "edge/spool_record.c"
#include "edge/unit.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CHOICES = 2, PIECES_LEAST = 1 };

struct bytes {
	struct span all;
	size_t piece;
};

static struct span read_bytes(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	const struct bytes *b = arg;
	CHECK(at <= b->all.n && n > 0);
	*err_out = ERR_OK;
	return span_first(span_from(b->all, (size_t)at), n < b->piece ? n : b->piece);
}

static void check_part(
    struct span all, const struct unit_part *p, struct span head, const struct spool_message *m)
{
	struct buf out = BUF_INIT(SPOOL_RECORD_MAX);
	CHECK(p->body_at <= all.n && p->body_bytes <= all.n - p->body_at);
	CHECK(head.n == (size_t)p->head_bytes + p->fields_bytes);
	CHECK(m->body_bytes == p->fields_bytes + p->body_bytes);
	CHECK(m->recipient_count > 0 && m->recipient_count <= 1000);
	CHECK(unit_recipients(m) >= m->recipient_count);
	CHECK(spool_message_put(&out, m));
	buf_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf head = BUF_INIT(UNIT_HEAD_MAX);
	struct spool_message m = { 0 };
	struct unit_part p;
	if (size < CHOICES)
		return 0;
	struct bytes b = { span_of(data + CHOICES, size - CHOICES), PIECES_LEAST + data[1] };
	const struct mail_source s = { read_bytes, &b, b.all.n };
	struct ident id = { "abcdefghjkmnpqrstu" };
	if (unit_find(&s, data[0], &p) == ERR_OK && unit_load(&s, &p, id, &head, &m) == ERR_OK)
		check_part(b.all, &p, buf_span(&head), &m);
	spool_message_end(&m);
	buf_end(&head);
	return 0;
}
