/* fetch_binary.c - a part without its transfer encoding (RFC 3516); see fetch.h. Owns nothing. */
#include "base/check.h"
#include "store-backend/imap/fetch.h"

static bool is_known(struct span encoding)
{
	static const char *const names[] = { "7bit", "8bit", "binary", "base64",
		"quoted-printable" };
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		if (span_ieq_str(encoding, names[i]))
			return true;
	}
	return encoding.n == 0;
}

/* Only a leaf has an encoding of its own. */
static enum fetch_binary_start read_encoding(
    struct message *m, const struct mime_part *p, enum mime_transfer *how_out)
{
	struct buf header = BUF_INIT(MIME_HEADER_MAX);
	struct span value, encoding;
	*how_out = TRANSFER_NONE;
	if (p->kind == MIME_MULTIPART || p->kind == MIME_MESSAGE)
		return BINARY_STARTED;
	bool ok = message_part_header(m, p, &header);
	mime_find_field(buf_span(&header), "Content-Transfer-Encoding", &value);
	encoding = mime_token(value);
	bool known = is_known(encoding);
	*how_out = mime_transfer_of(encoding);
	buf_end(&header);
	return !ok ? BINARY_UNREADABLE : known ? BINARY_STARTED : BINARY_UNKNOWN;
}

enum fetch_binary_start fetch_binary_start(
    struct fetch_binary *b, struct message *m, const struct fetch_item *it)
{
	*b = (struct fetch_binary){ .item = it, .range = { 0, m->bytes.size } };
	if (it->path_n == 0 && it->text == TEXT_WHOLE)
		return BINARY_STARTED;
	const struct mime *parts = message_parts(m);
	if (parts == NULL)
		return BINARY_UNREADABLE;
	const struct mime_part *p = fetch_section_part(parts, it);
	if (p == NULL)
		return BINARY_NIL;
	b->range = message_part_body(p);
	return read_encoding(m, p, &b->how);
}

void fetch_binary_label(const struct fetch_item *it, struct buf *out)
{
	buf_add_str(out, it->kind == FETCH_BINARY ? "BINARY[" : "BINARY.SIZE[");
	fetch_put_path(it, out);
	buf_add_char(out, ']');
	if (it->partial)
		buf_printf(out, "<%u>", it->from);
}

/* The next piece, decoded. */
static bool decode(struct fetch_binary *b, struct message *m, struct buf *out)
{
	struct buf raw = BUF_INIT(TEXT_PIECE_MAX);
	struct message_range r = { b->range.at + b->at, b->range.n - b->at };
	r.n = r.n < TEXT_PIECE_MAX ? r.n : TEXT_PIECE_MAX;
	bool ok = message_read(m, r, &raw);
	b->at += r.n;
	if (ok)
		transfer_put(&b->transfer, buf_span(&raw), out);
	if (ok && b->at == b->range.n)
		transfer_end(&b->transfer, out);
	buf_end(&raw);
	return ok;
}

static void begin_round(struct fetch_binary *b)
{
	b->at = b->told = 0;
	b->transfer = (struct transfer){ .how = b->how };
}

static enum fetch_binary_step end_count(struct fetch_binary *b, const char *before, struct buf *out)
{
	struct message_range r = { 0, b->size };
	buf_add_str(out, before);
	if (!b->silent)
		fetch_binary_label(b->item, out);
	if (b->item->kind == FETCH_BINARY_SIZE) {
		buf_printf(out, " %llu", (unsigned long long)b->size);
		return BINARY_DONE;
	}
	fetch_cut_range(b->item, &r);
	b->from = r.at;
	b->count = r.n;
	if (!b->silent)
		buf_printf(
		    out, b->zeros ? " ~{%llu}\r\n" : " {%llu}\r\n", (unsigned long long)b->count);
	b->telling = true;
	begin_round(b);
	return b->count == 0 ? BINARY_DONE : BINARY_GOES_ON;
}

/* Of the decoded bytes what lies in the range that was asked for. */
static void tell(struct fetch_binary *b, struct span bytes, struct buf *out)
{
	uint64_t begin = b->told, end = b->from + b->count;
	b->told += bytes.n;
	if (b->told <= b->from || begin >= end)
		return;
	size_t skip = begin < b->from ? (size_t)(b->from - begin) : 0;
	bytes = span_from(bytes, skip);
	uint64_t left = end - (begin + skip);
	buf_add_span(out, span_first(bytes, left < bytes.n ? (size_t)left : bytes.n));
}

enum fetch_binary_step fetch_binary_step(
    struct fetch_binary *b, struct message *m, const char *before, struct buf *out)
{
	struct buf piece = BUF_INIT(4 * TEXT_PIECE_MAX);
	if (b->at == 0)
		begin_round(b);
	if (!decode(b, m, &piece)) {
		buf_end(&piece);
		return BINARY_FAILED;
	}
	struct span bytes = buf_span(&piece);
	enum fetch_binary_step next = BINARY_GOES_ON;
	if (b->telling) {
		tell(b, bytes, out);
		next = b->told >= b->from + b->count ? BINARY_DONE : BINARY_GOES_ON;
	} else {
		b->size += bytes.n;
		b->zeros = b->zeros || span_find(bytes, '\0') != SIZE_MAX;
		for (size_t i = 0; i < bytes.n; i++)
			b->lines += bytes.p[i] == '\n';
		if (b->at == b->range.n)
			next = end_count(b, before, out);
	}
	buf_end(&piece);
	return next;
}
