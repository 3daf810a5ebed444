/* parse.c - the parse cache of a message: made at delivery or APPEND, read by FETCH and SEARCH; see parse.h.
 *
 * Before: incoming.c. After: the committer stores it beside the entry, imap/ reads it. Owns nothing. */
#include "base/check.h"
#include "proto/imap_lex.h"
#include "store-backend/operation.h"
#include "store-backend/parse.h"

enum {
	CACHE_VERSION = 1,
	CACHE_HAS_FIELDS = 1,
	CACHE_HAS_DATE = 2,
	CACHE_HEAD = 2 + 4 + 5 * 4,
	PART_BYTES = 1 + 2 + 3 * 4,
	ENVELOPE_MAX = 48 * 1024,
	STRUCTURE_MAX = 72 * 1024, /* each of the two */
	FIELDS_MAX = 32 * 1024
};
_Static_assert(
    CACHE_HEAD + ENVELOPE_MAX + 2 * STRUCTURE_MAX + FIELDS_MAX + PART_BYTES * MIME_PARTS_MAX <=
	STORE_CACHE_MAX,
    "the pieces fit the whole");

enum cache_piece {
	PIECE_ENVELOPE,
	PIECE_BODY,
	PIECE_BODYSTRUCTURE,
	PIECE_FIELDS,
	PIECE_PARTS,
	PIECES
};

/* What clients ask for when they list a mailbox. */
static const char *const kept[] = { "Bcc", "Cc", "Content-Type", "Date",
	"Disposition-Notification-To", "From", "Importance", "In-Reply-To", "List-Id", "List-Post",
	"List-Unsubscribe", "Mail-Followup-To", "Message-ID", "MIME-Version", "Newsgroups",
	"Precedence", "Priority", "References", "Reply-To", "Resent-Message-ID", "Sender",
	"Subject", "To", "User-Agent", "X-Label", "X-Mailer", "X-Original-To", "X-Priority",
	"X-Spam-Flag", "X-Spam-Status" };

bool parse_field_kept(struct span name)
{
	for (size_t i = 0; i < COUNT_OF(kept); i++) {
		if (span_ieq_str(name, kept[i]))
			return true;
	}
	return false;
}

static void put_u32(struct buf *out, uint32_t v)
{
	uint8_t b[4] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) };
	buf_add(out, b, sizeof b);
}

static uint32_t get_u32(const char *p)
{
	const uint8_t *b = (const uint8_t *)p;
	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* ---- making -------------------------------------------------------------------------------------- */

static void put_fields(struct buf *out, struct span header)
{
	struct mime_field f;
	while (mime_next_field(&header, &f)) {
		if (parse_field_kept(f.name))
			buf_add_span(out, f.whole);
	}
}

static void put_parts(struct buf *out, const struct mime *m)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct mime_part *p = &m->v[i];
		buf_add_char(out, (char)p->kind);
		buf_add_char(out, (char)(p->parent & 0xff));
		buf_add_char(out, (char)(p->parent >> 8));
		put_u32(out, (uint32_t)p->header_at);
		put_u32(out, (uint32_t)p->body_at);
		put_u32(out, (uint32_t)p->end);
	}
}

static bool make_piece(
    struct buf *out, enum cache_piece piece, struct span message, const struct mime *m)
{
	struct span header = mime_header(message, &m->v[0]);
	switch (piece) {
	case PIECE_ENVELOPE:
		return parse_put_envelope(out, header);
	case PIECE_BODY:
		return parse_put_structure(out, message, m, false);
	case PIECE_BODYSTRUCTURE:
		return parse_put_structure(out, message, m, true);
	case PIECE_FIELDS:
		put_fields(out, header);
		return buf_ok(out);
	case PIECE_PARTS:
		put_parts(out, m);
		return buf_ok(out);
	case PIECES:
		break;
	}
	BUG("no such piece");
}

/* The date of the Date field; false: none that can be read. */
static bool sent_day(struct span header, int32_t *day_out)
{
	int64_t unix_s;
	struct span date;
	*day_out = 0;
	return mime_find_field(header, "Date", &date) && mime_parse_date(date, &unix_s, day_out);
}

void parse_message(struct span message, struct buf *cache_out)
{
	static const size_t piece_max[PIECES] = { ENVELOPE_MAX, STRUCTURE_MAX, STRUCTURE_MAX,
		FIELDS_MAX, PART_BYTES * MIME_PARTS_MAX };
	struct mime m = { 0 };
	struct buf pieces[PIECES];
	int32_t day;
	CHECK(message.n <= UINT32_MAX);
	mime_parse(&m, message);
	unsigned has = sent_day(mime_header(message, &m.v[0]), &day) ? CACHE_HAS_DATE : 0;
	for (enum cache_piece i = 0; i < PIECES; i++) {
		pieces[i] = BUF_INIT(piece_max[i]);
		if (!make_piece(&pieces[i], i, message, &m))
			buf_clear(&pieces[i]);
		else if (i == PIECE_FIELDS)
			has |= CACHE_HAS_FIELDS;
	}
	buf_add_char(cache_out, CACHE_VERSION);
	buf_add_char(cache_out, (char)has);
	put_u32(cache_out, (uint32_t)day);
	for (size_t i = 0; i < PIECES; i++)
		put_u32(cache_out, (uint32_t)buf_len(&pieces[i]));
	for (size_t i = 0; i < PIECES; i++) {
		buf_add_span(cache_out, buf_span(&pieces[i]));
		buf_end(&pieces[i]);
	}
	mime_end(&m);
}

/* ---- reading ------------------------------------------------------------------------------------- */

bool parse_cache_open(struct span bytes, struct parse_cache *out)
{
	struct span *const pieces[PIECES] = { &out->envelope, &out->body, &out->bodystructure,
		&out->fields, &out->parts };
	*out = (struct parse_cache){ 0 };
	if (bytes.n < CACHE_HEAD || bytes.p[0] != CACHE_VERSION)
		return false;
	size_t at = CACHE_HEAD;
	for (size_t i = 0; i < PIECES; i++) {
		size_t n = get_u32(bytes.p + 6 + 4 * i);
		if (n > bytes.n - at) {
			*out = (struct parse_cache){ 0 };
			return false;
		}
		*pieces[i] = span_of(bytes.p + at, n);
		at += n;
	}
	out->has_fields = (bytes.p[1] & CACHE_HAS_FIELDS) != 0;
	out->has_date = (bytes.p[1] & CACHE_HAS_DATE) != 0;
	out->sent_day = (int32_t)get_u32(bytes.p + 2);
	return true;
}

static void decode_part(const char *b, struct mime_part *p)
{
	*p = (struct mime_part){ .kind = (enum mime_kind)b[0],
		.parent = (uint16_t)((uint8_t)b[1] | (uint8_t)b[2] << 8),
		.first_child = MIME_NONE,
		.next = MIME_NONE,
		.header_at = get_u32(b + 3),
		.body_at = get_u32(b + 7),
		.end = get_u32(b + 11) };
}

/* Parents stand before children and children in order: then the links follow. last[i]: of part i. */
static bool link_part(struct mime *m, uint16_t i, uint64_t message_size, uint16_t *last)
{
	struct mime_part *p = &m->v[i];
	last[i] = MIME_NONE;
	if (p->kind > MIME_OPAQUE || p->header_at > p->body_at || p->body_at > p->end ||
	    p->end > message_size || (i == 0) != (p->parent == MIME_NONE))
		return false;
	if (i == 0)
		return true;
	if (p->parent >= i)
		return false;
	if (last[p->parent] == MIME_NONE)
		m->v[p->parent].first_child = i;
	else
		m->v[last[p->parent]].next = i;
	last[p->parent] = i;
	return true;
}

/* What mime_find() relies on. */
static bool children_fit_kinds(const struct mime *m)
{
	for (size_t i = 0; i < m->n; i++) {
		bool wants = m->v[i].kind == MIME_MULTIPART || m->v[i].kind == MIME_MESSAGE;
		if (wants != (m->v[i].first_child != MIME_NONE))
			return false;
	}
	return true;
}

bool parse_cache_parts(const struct parse_cache *c, uint64_t message_size, struct mime *m)
{
	uint16_t last[MIME_PARTS_MAX];
	size_t n = c->parts.n / PART_BYTES;
	bool ok = n > 0 && n <= MIME_PARTS_MAX && c->parts.n % PART_BYTES == 0;
	if (!ok)
		return false;
	mime_reserve(m, n);
	for (size_t i = 0; ok && i < n; i++) {
		decode_part(c->parts.p + i * PART_BYTES, &m->v[i]);
		m->n = i + 1;
		ok = link_part(m, (uint16_t)i, message_size, last);
	}
	if (ok && children_fit_kinds(m))
		return true;
	mime_end(m);
	return false;
}
