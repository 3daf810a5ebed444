/* unit.c - several messages as the bytes of one, and back (between steps 5 and 6: written by commit_unit.c, read by
 * unpack.c). Owns nothing. */
#include "edge/unit.h"

#include <stdio.h>

#include "base/bytes.h"
#include "base/hash.h"

enum { VERSION = 1 };

/* ---- writing ---------------------------------------------------------------------------------- */

void unit_put_start(struct buf *out, size_t n)
{
	bytes_put_u8(out, VERSION);
	bytes_put_u16(out, (unsigned)n);
}

void unit_put_part(struct buf *out, const struct unit_part *p)
{
	bytes_put_u64(out, p->head_at);
	bytes_put_u32(out, p->head_bytes);
	bytes_put_u32(out, p->fields_bytes);
	bytes_put_u64(out, p->body_at);
	bytes_put_u64(out, p->body_bytes);
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* Sources give pieces; exactly n bytes are wanted. */
static err_t read_exactly(const struct mail_source *s, uint64_t at, size_t n, struct buf *out)
{
	err_t err = ERR_OK;
	while (n > 0) {
		struct span piece = span_first(s->read(s->arg, at, n, &err), n);
		if (err)
			return err;
		if (piece.n == 0 || !buf_add_span(out, piece))
			return ERR_CORRUPT;
		at += piece.n;
		n -= piece.n;
	}
	return ERR_OK;
}

static bool is_within(uint64_t at, uint64_t n, uint64_t from, uint64_t end)
{
	return at >= from && at <= end && n <= end - at;
}

static bool part_is_good(const struct unit_part *p, uint64_t index_end, uint64_t size)
{
	return p->head_bytes > 0 && p->head_bytes <= SPOOL_RECORD_MAX &&
	       p->fields_bytes <= UNIT_FIELDS_MAX &&
	       is_within(p->head_at, (uint64_t)p->head_bytes + p->fields_bytes, index_end, size) &&
	       is_within(p->body_at, p->body_bytes, index_end, size);
}

static size_t get_start(struct span start)
{
	struct bytes_reader r = bytes_reader_of(start);
	unsigned version = bytes_u8(&r), n = bytes_u16(&r);
	return bytes_ok(&r) && version == VERSION && n <= UNIT_PARTS_MAX ? n : 0;
}

static void get_part(struct span entry, struct unit_part *out)
{
	struct bytes_reader r = bytes_reader_of(entry);
	out->head_at = bytes_u64(&r);
	out->head_bytes = bytes_u32(&r);
	out->fields_bytes = bytes_u32(&r);
	out->body_at = bytes_u64(&r);
	out->body_bytes = bytes_u64(&r);
}

err_t unit_find(const struct mail_source *unit, size_t which, struct unit_part *out)
{
	struct buf bytes = BUF_INIT(UNIT_START_BYTES + UNIT_PART_BYTES);
	*out = (struct unit_part){ 0 };
	err_t err = read_exactly(unit, 0, UNIT_START_BYTES, &bytes);
	size_t n = err == ERR_OK ? get_start(buf_span(&bytes)) : 0;
	uint64_t index_end = UNIT_START_BYTES + (uint64_t)n * UNIT_PART_BYTES;
	if (err == ERR_OK && (which >= n || index_end > unit->size))
		err = ERR_CORRUPT;
	buf_clear(&bytes);
	if (err == ERR_OK)
		err = read_exactly(
		    unit, UNIT_START_BYTES + which * UNIT_PART_BYTES, UNIT_PART_BYTES, &bytes);
	if (err == ERR_OK) {
		get_part(buf_span(&bytes), out);
		if (!part_is_good(out, index_end, unit->size))
			err = ERR_CORRUPT;
	}
	buf_end(&bytes);
	return err;
}

/* As a worker's question has to be (spool_serve.c), and not the unit once more. */
static bool message_is_good(
    const struct spool_message *m, const struct unit_part *p, struct ident unit_id)
{
	return m->body_at == p->head_bytes && m->chunk_count == 0 && m->parent.s[0] == '\0' &&
	       m->body_bytes == p->fields_bytes + p->body_bytes && strcmp(m->id.s, unit_id.s) != 0;
}

err_t unit_load(const struct mail_source *unit, const struct unit_part *p, struct ident unit_id,
    struct buf *head, struct spool_message *out)
{
	*out = (struct spool_message){ 0 };
	buf_clear(head);
	err_t err = read_exactly(unit, p->head_at, p->head_bytes + p->fields_bytes, head);
	if (err == ERR_OK)
		err = spool_message_get(span_first(buf_span(head), p->head_bytes), out);
	if (err == ERR_OK && !message_is_good(out, p, unit_id))
		err = ERR_CORRUPT;
	return err;
}

/* ---- the unit as a message -------------------------------------------------------------------- */

/* One behind the other, so that no two of a mail can be alike. */
struct ident unit_part_id(struct ident unit, size_t which)
{
	static const struct hash_key key = { 0x706f737465726e20,
		2 }; /* of no secret: the same after a start */
	return ident_derived(unit, hash_sip(&key, span_str(unit.s)) + which);
}

void unit_recipient(
    size_t which, size_t recipients, struct unit_label *label, struct spool_recipient *out)
{
	snprintf(label->address, sizeof label->address, "part-%zu@unpack.invalid", which + 1);
	snprintf(label->detail, sizeof label->detail, "%zu", recipients);
	snprintf(label->text, sizeof label->text, "a part for %zu recipients", recipients);
	*out = (struct spool_recipient){ .address = span_str(label->address),
		.detail = span_str(label->detail),
		.store = SPAN(UNIT_PLACE),
		.fate = SPOOL_WAITING,
		.code = 250,
		.enhanced = SPAN("2.0.0"),
		.text = span_str(label->text) };
}

size_t unit_recipients(const struct spool_message *m)
{
	size_t n = 0;
	for (size_t i = 0; i < m->recipient_count; i++) {
		const struct spool_recipient *r = &m->recipients[i];
		uint64_t of_part = 1;
		if (!span_eq_str(r->store, UNIT_PLACE) ||
		    !span_u64(r->detail, SPOOL_RECORD_MAX, &of_part) || of_part == 0)
			of_part = 1;
		n += (size_t)of_part;
	}
	return n;
}
