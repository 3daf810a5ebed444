/* mime.c - one pass over a message finds where its parts are; see mime.h.
 *
 * Step before the store's parse.c. Owns the array of parts, bounded by MIME_PARTS_MAX. */
#include "base/check.h"
#include "base/mem.h"
#include "proto/mime.h"

struct open {
	uint16_t part; /* the multipart ... */
	size_t n;
	char boundary[MIME_BOUNDARY_MAX]; /* ... and what stands behind "--" in its delimiters */
};

struct parser {
	struct mime *m;
	struct span in;
	uint16_t current; /* the innermost part that is not closed */
	bool in_header;   /* ... and whether its body has begun */
	size_t open_count;
	struct open open[MIME_DEPTH_MAX];
	size_t line_at;     /* where the present line begins */
	uint32_t line_ends; /* line ends before it */
};

static struct mime_part *part_of(const struct parser *p, uint16_t i)
{
	return &p->m->v[i];
}

struct span mime_header(struct span message, const struct mime_part *part)
{
	struct span h = span_of(message.p + part->header_at, part->body_at - part->header_at);
	return span_first(h, MIME_HEADER_MAX);
}

/* ---- opening and closing parts ------------------------------------------------------------------- */

/* last: the parent's last child so far, or MIME_NONE. */
static void open_part(struct parser *p, uint16_t parent, uint16_t last, bool digest)
{
	struct mime *m = p->m;
	if (m->n == m->cap)
		mime_reserve(m, m->cap == 0 ? 4 : m->cap * 2);
	uint16_t i = (uint16_t)m->n++;
	m->v[i] = (struct mime_part){ .parent = parent,
		.first_child = MIME_NONE,
		.next = MIME_NONE,
		.digest = digest,
		.header_at = p->line_at };
	if (parent != MIME_NONE) {
		m->v[i].depth = (uint8_t)(m->v[parent].depth + 1);
		if (last == MIME_NONE)
			m->v[parent].first_child = i;
		else
			m->v[last].next = i;
	}
	p->current = i;
	p->in_header = true;
}

static bool has_room(const struct parser *p, const struct mime_part *part)
{
	return part->depth < MIME_DEPTH_MAX && p->m->n < MIME_PARTS_MAX;
}

static bool is_identity(struct span encoding)
{
	return encoding.n == 0 || span_ieq_str(encoding, "7bit") ||
	       span_ieq_str(encoding, "8bit") || span_ieq_str(encoding, "binary");
}

bool mime_boundary(const struct mime_value *type, struct span *out)
{
	*out = mime_param(type, "boundary");
	while (out->n > 0 && out->p[out->n - 1] == ' ') /* RFC 2046: never ends with white space */
		out->n--;
	return out->n > 0 && out->n <= MIME_BOUNDARY_MAX;
}

static bool push_boundary(struct parser *p, const struct mime_value *type)
{
	struct span b;
	if (!mime_boundary(type, &b) || p->open_count == MIME_DEPTH_MAX)
		return false;
	struct open *o = &p->open[p->open_count++];
	o->part = p->current;
	o->n = b.n;
	memcpy(o->boundary, b.p, b.n);
	return true;
}

/* What is the part whose header has just ended? */
static enum mime_kind kind_of(struct parser *p, struct mime_part *part, bool *digest_out)
{
	struct mime_value type;
	struct span header = mime_header(p->in, part), value, encoding;
	struct buf scratch = BUF_INIT(MIME_HEADER_MAX);
	enum mime_kind kind = part->digest ? MIME_MESSAGE : MIME_LEAF;
	mime_find_field(header, "Content-Transfer-Encoding", &encoding);
	if (mime_find_field(header, "Content-Type", &value) &&
	    mime_parse_value(value, &scratch, &type)) {
		kind = MIME_LEAF;
		if (span_ieq_str(type.type, "multipart"))
			kind = has_room(p, part) && push_boundary(p, &type) ? MIME_MULTIPART
									    : MIME_OPAQUE;
		else if (span_ieq_str(type.type, "message") &&
			 (span_ieq_str(type.subtype, "rfc822") ||
			     span_ieq_str(type.subtype, "global")))
			kind = MIME_MESSAGE;
		*digest_out = span_ieq_str(type.subtype, "digest");
	}
	if (kind == MIME_MESSAGE && (!has_room(p, part) || !is_identity(mime_token(encoding))))
		kind = MIME_OPAQUE;
	buf_end(&scratch);
	return kind;
}

/* The body of the current part begins at the present line. */
static void end_header(struct parser *p)
{
	struct mime_part *part = part_of(p, p->current);
	bool digest = false;
	part->body_at = p->line_at;
	part->lines = p->line_ends; /* until the part is closed */
	part->kind = kind_of(p, part, &digest);
	part->digest = digest; /* from here on: the default of its children */
	p->in_header = false;
	if (part->kind == MIME_MESSAGE)
		open_part(p, p->current, MIME_NONE, false);
}

static void close_part(struct parser *p, size_t end, uint32_t line_ends)
{
	struct mime_part *part = part_of(p, p->current);
	if (p->in_header) {
		part->body_at = end < part->header_at ? part->header_at : end;
		part->lines = line_ends;
		part->kind = MIME_LEAF;
		part->digest = false;
		p->in_header = false;
	}
	part->end = end < part->body_at ? part->body_at : end;
	part->lines = line_ends > part->lines ? line_ends - part->lines : 0;
	if (part->kind == MIME_MULTIPART && part->first_child == MIME_NONE)
		part->kind = MIME_OPAQUE;
	p->current = part->parent;
}

/* ---- lines --------------------------------------------------------------------------------------- */

bool mime_is_delimiter(struct span boundary, struct span line, bool *last_out)
{
	if (!span_starts(line, SPAN("--")) || !span_starts(span_from(line, 2), boundary))
		return false;
	line = span_from(line, 2 + boundary.n);
	*last_out = span_starts(line, SPAN("--"));
	return span_trim(span_from(line, *last_out ? 2 : 0)).n == 0;
}

/* The line end before a delimiter belongs to the delimiter. */
static size_t end_before_line(const struct parser *p)
{
	size_t at = p->line_at;
	if (at > 0)
		at--;
	if (at > 0 && p->in.p[at - 1] == '\r')
		at--;
	return at;
}

static void on_delimiter(struct parser *p, size_t level, bool last, size_t next_line_at)
{
	uint16_t multipart = p->open[level].part;
	size_t end = end_before_line(p);
	uint32_t line_ends = p->line_ends > 0 ? p->line_ends - 1 : 0;
	uint16_t newest = MIME_NONE; /* the last one closed is the multipart's last child */
	while (p->current != multipart) {
		newest = p->current;
		close_part(p, end, line_ends);
		/* an empty line before the delimiter may have ended a header: then it is the part's, and
		 * so it is its parents' too */
		if (part_of(p, newest)->end > end)
			end = part_of(p, newest)->end;
	}
	if (last || p->m->n >= MIME_PARTS_MAX) {
		p->open_count = level;
		return;
	}
	p->open_count = level + 1;
	size_t line_at = p->line_at;
	p->line_at = next_line_at;
	open_part(p, multipart, newest, part_of(p, multipart)->digest);
	p->line_at = line_at;
}

/* True: the line was a delimiter and is done with. */
static bool try_delimiter(struct parser *p, struct span line, size_t next_line_at)
{
	if (p->open_count == 0 || line.n < 2 || line.p[0] != '-' || line.p[1] != '-')
		return false;
	for (size_t level = p->open_count; level-- > 0;) {
		bool last;
		struct span boundary = span_of(p->open[level].boundary, p->open[level].n);
		if (mime_is_delimiter(boundary, line, &last)) {
			on_delimiter(p, level, last, next_line_at);
			return true;
		}
	}
	return false;
}

static bool is_empty_line(struct span line)
{
	return line.n == 0 || (line.n == 1 && line.p[0] == '\r');
}

void mime_parse(struct mime *m, struct span message)
{
	struct parser p = { .m = m, .in = message };
	CHECK(m->n == 0);
	open_part(&p, MIME_NONE, MIME_NONE, false);
	while (p.line_at < message.n) {
		struct span rest = span_from(message, p.line_at);
		size_t lf = span_find(rest, '\n');
		struct span line = span_first(rest, lf == SIZE_MAX ? rest.n : lf);
		size_t next_at = p.line_at + line.n + (lf != SIZE_MAX);
		bool ends_header =
		    !try_delimiter(&p, line, next_at) && p.in_header && is_empty_line(line);
		p.line_at = next_at;
		p.line_ends += lf != SIZE_MAX;
		if (ends_header)
			end_header(&p);
	}
	while (p.current != MIME_NONE)
		close_part(&p, message.n, p.line_ends);
}

void mime_reserve(struct mime *m, size_t n)
{
	m->cap = n;
	m->v = mem_grow(m->v, n, sizeof m->v[0]);
}

void mime_end(struct mime *m)
{
	mem_free(m->v);
	*m = (struct mime){ 0 };
}

static const struct mime_part *nth_child(
    const struct mime *m, const struct mime_part *p, uint32_t n)
{
	uint16_t i = p->first_child;
	while (i != MIME_NONE && --n > 0)
		i = m->v[i].next;
	return i == MIME_NONE ? NULL : &m->v[i];
}

const struct mime_part *mime_find(const struct mime *m, const uint32_t *path, size_t n)
{
	const struct mime_part *p = &m->v[0];
	for (size_t i = 0; i < n && p != NULL; i++) {
		if (path[i] == 0)
			return NULL;
		if (i > 0 && p->kind == MIME_MESSAGE)
			p = &m->v[p->first_child];
		else if (i > 0 && p->kind != MIME_MULTIPART)
			return NULL;
		if (p->kind == MIME_MULTIPART)
			p = nth_child(m, p, path[i]);
		else if (path[i] != 1)
			return NULL;
	}
	return p;
}
