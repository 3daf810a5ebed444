/* shape.c - a message as members of a group get it (between steps 4 and 5; parts.c, reprocess.c). */
#include "edge/shape.h"

#include "base/fmt.h"
#include "base/mem.h"
#include "base/rand.h"
#include "edge/body.h"
#include "net/digest.h"
#include "proto/header.h"
#include "proto/mime.h"

enum {
	HEADER_LOOK = 256 * 1024,
	MEMORY = 16 * 1024,
	PIECE = 64 * 1024,
	BOUNDARY_RAW = 18,
	QP_LINE = 72,
	PLAIN_LINE_MAX = 900, /* a longer line of a text is encoded */
};

struct shape {
	unsigned refs;
	struct shape *outer; /* a reference, or NULL */
	char *password;      /* owned; of the group, or NULL */
	bool wants, without;
	char *refused;       /* owned */
	char *removed;       /* owned; names of fields, each behind a line feed; NULL: none */
	char *above, *below; /* owned; NULL: none */
};

/* ---- life ------------------------------------------------------------------------------------- */

/* Fields without which nothing could be said about a message's way, or its parts. */
static bool must_stay(struct span name)
{
	return span_ieq_str(name, "Received") || span_ieq_str(name, "Delivered-To") ||
	       span_ieq_str(name, "MIME-Version") || span_istarts(name, SPAN("Content-"));
}

static char *names_of(const struct text_list *list)
{
	struct buf b = BUF_INIT(GROUP_FIELDS_MAX);
	const char *text = list->p;
	char *names = NULL;
	for (size_t i = 0; i < list->n; i++, text = text_list_next(text)) {
		struct span rest = span_str(text), name = span_trim(span_cut(&rest, ':'));
		if (name.n > 0 && !must_stay(name))
			buf_printf(&b, "%.*s\n", SPAN_ARG(name));
	}
	if (buf_len(&b) > 0)
		names = mem_span_str(buf_span(&b));
	buf_end(&b);
	return names;
}

struct shape *shape_new(const struct shape_opts *o)
{
	const struct group *g = o->group;
	bool texts = o->texts && (g->removed.n > 0 || g->above != NULL || g->below != NULL);
	if (!texts && g->password == NULL && !o->wants)
		return o->outer != NULL ? shape_ref(o->outer) : NULL;
	struct shape *s = MEM_NEW(struct shape);
	s->refs = 1;
	s->outer = o->outer != NULL ? shape_ref(o->outer) : NULL;
	s->password = mem_str(g->password);
	s->wants = o->wants;
	s->without = o->without;
	s->refused = mem_str(o->refused);
	if (!o->texts)
		return s;
	s->removed = names_of(&g->removed);
	s->above = mem_str(g->above);
	s->below = mem_str(g->below);
	return s;
}

struct shape *shape_ref(struct shape *s)
{
	s->refs++;
	return s;
}

void shape_unref(struct shape **ps)
{
	struct shape *s = *ps;
	*ps = NULL;
	if (s == NULL || --s->refs > 0)
		return;
	if (s->password != NULL)
		mem_wipe(s->password, strlen(s->password));
	mem_free(s->password);
	mem_free(s->refused);
	mem_free(s->removed);
	mem_free(s->above);
	mem_free(s->below);
	shape_unref(&s->outer);
	mem_free(s);
}

/* ---- passwords -------------------------------------------------------------------------------- */

bool shape_has_secret(const struct shape *s)
{
	while (s != NULL && s->password == NULL)
		s = s->outer;
	return s != NULL;
}

bool shape_asks(const struct shape *s)
{
	while (s != NULL && !s->wants)
		s = s->outer;
	return s != NULL;
}

static bool is_approval(struct span name)
{
	return span_ieq_str(name, "Approved") || span_ieq_str(name, "X-Approved");
}

/* All of them are looked at: one message may be for several groups. Nothing is learnt from the time it takes. */
static bool is_given(const char *password, struct span approvals)
{
	struct header_walk w;
	struct header_field f;
	bool given = false;
	header_walk_init(&w, approvals);
	while (password != NULL && header_next(&w, &f) == HEADER_FIELD)
		if (is_approval(f.name))
			given = digest_equal(span_trim(f.value), span_str(password)) || given;
	return given;
}

const char *shape_refuses(const struct shape *s, struct span approvals)
{
	for (; s != NULL; s = s->outer)
		if (s->wants && is_given(s->password, approvals) == s->without)
			return s->without ? "" : s->refused;
	return NULL;
}

bool shape_strip(struct span start, struct buf *kept, struct buf *taken, size_t *bytes_out)
{
	struct header_walk w;
	struct header_field f;
	bool any = false;
	header_walk_init(&w, start);
	while (header_next(&w, &f) == HEADER_FIELD) {
		bool approval = is_approval(f.name);
		any = any || approval;
		buf_add_span(approval ? taken : kept, f.raw);
	}
	*bytes_out = header_size(start);
	buf_add_str(kept, "\r\n");
	return any;
}

/* ---- texts ------------------------------------------------------------------------------------ */

bool shape_changes(const struct shape *s)
{
	while (s != NULL && s->removed == NULL && s->above == NULL && s->below == NULL)
		s = s->outer;
	return s != NULL;
}

static bool is_removed(const struct shape *s, struct span name)
{
	for (; s != NULL; s = s->outer) {
		struct span rest = span_str(s->removed);
		while (rest.n > 0)
			if (span_ieq(span_cut(&rest, '\n'), name))
				return true;
	}
	return false;
}

/* Lines with CR LF. */
static void put_lines(struct buf *out, const char *text)
{
	struct span rest = span_str(text);
	while (rest.n > 0) {
		struct span line = span_cut(&rest, '\n');
		line.n -= line.n > 0 && line.p[line.n - 1] == '\r';
		buf_printf(out, "%.*s\r\n", SPAN_ARG(line));
	}
}

/* The texts of outer groups stand around those of inner ones. */
static void put_above(struct buf *out, const struct shape *s)
{
	if (s == NULL)
		return;
	put_above(out, s->outer);
	put_lines(out, s->above);
}

static void put_below(struct buf *out, const struct shape *s)
{
	for (; s != NULL; s = s->outer)
		put_lines(out, s->below);
}

static bool has_long_line(struct span text)
{
	bool is_long = false;
	while (text.n > 0)
		is_long = span_cut(&text, '\n').n > PLAIN_LINE_MAX || is_long;
	return is_long;
}

/* Quoted-printable (RFC 2045 section 6.7); lines end with CR LF. */
static void put_quoted(struct buf *out, struct span text)
{
	size_t column = 0;
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c == '\r')
			continue;
		if (c == '\n') {
			buf_add_str(out, "\r\n");
			column = 0;
			continue;
		}
		if (column >= QP_LINE) {
			buf_add_str(out, "=\r\n");
			column = 0;
		}
		bool end = i + 1 == text.n || text.p[i + 1] == '\r';
		bool plain = c > ' ' && c < 0x7f && c != '=' && (c != '.' || column > 0);
		if (plain || (c == ' ' && !end))
			buf_add_char(out, (char)c);
		else
			buf_printf(out, "=%02X", c);
		column += plain || (c == ' ' && !end) ? 1 : 3;
	}
}

/* ---- how they get into a message ---------------------------------------------------------------- */

enum way { WAY_NONE, WAY_PLAIN, WAY_QUOTED, WAY_AROUND };

/* Charsets in which an octet of ASCII is that character. */
static bool is_ascii_like(struct span charset)
{
	return charset.n == 0 || span_ieq_str(charset, "us-ascii") ||
	       span_ieq_str(charset, "utf-8") || span_istarts(charset, SPAN("iso-8859-")) ||
	       span_istarts(charset, SPAN("windows-125")) || span_istarts(charset, SPAN("koi8-"));
}

static bool is_sealed(const struct mime_value *type)
{
	if (span_ieq_str(type->type, "multipart"))
		return span_ieq_str(type->subtype, "signed") ||
		       span_ieq_str(type->subtype, "encrypted");
	return span_ieq_str(type->type, "application") &&
	       (span_ieq_str(type->subtype, "pkcs7-mime") ||
		   span_ieq_str(type->subtype, "x-pkcs7-mime"));
}

static enum way way_of_text(
    const struct mime_value *type, struct span encoding, struct span above, struct span below)
{
	struct span charset = mime_param(type, "charset");
	bool plain = type->type.n == 0 ||
		     (span_ieq_str(type->type, "text") && span_ieq_str(type->subtype, "plain"));
	bool ascii = span_is_ascii(above) && span_is_ascii(below);
	bool quoted = span_ieq_str(encoding, "quoted-printable");
	bool octets = span_ieq_str(encoding, "8bit");
	bool clear = octets || encoding.n == 0 || span_ieq_str(encoding, "7bit");
	if (!plain || !is_ascii_like(charset) || (!quoted && !clear))
		return WAY_AROUND;
	if (!ascii && (!span_ieq_str(charset, "utf-8") || (!quoted && !octets)))
		return WAY_AROUND;
	if (clear && (has_long_line(above) || has_long_line(below)))
		return WAY_AROUND;
	return quoted ? WAY_QUOTED : WAY_PLAIN;
}

static enum way way_of(struct span section, struct span above, struct span below)
{
	struct span value;
	struct buf scratch = BUF_INIT(HEADER_LOOK);
	struct mime_value type = { 0 };
	enum way way = WAY_NONE;
	if (mime_find_field(section, "Content-Type", &value))
		mime_parse_value(value, &scratch, &type);
	struct span encoding = SPAN_NONE;
	if (mime_find_field(section, "Content-Transfer-Encoding", &value))
		encoding = mime_token(value);
	if ((above.n > 0 || below.n > 0) && !is_sealed(&type))
		way = way_of_text(&type, encoding, above, below);
	buf_end(&scratch);
	return way;
}

/* ---- a message in the making -------------------------------------------------------------------- */

struct making {
	const struct shape *shape;
	const struct mail_source *from;
	struct body *body; /* owned until the end */
	enum way way;
	struct buf above, below; /* owned; texts as lines */
	struct buf own, part;    /* owned; fields of the message, and of the part that it becomes */
	char boundary[2 * BOUNDARY_RAW + 16];
	err_t err;
};

static void add(struct making *m, struct span bytes)
{
	if (m->err == ERR_OK)
		m->err = body_add(m->body, bytes);
}

static void add_buf(struct making *m, struct buf *b)
{
	if (m->err == ERR_OK && !buf_ok(b))
		m->err = ERR_TOO_LONG;
	add(m, buf_span(b));
	buf_clear(b);
}

static void sort_fields(struct making *m, struct span section)
{
	struct header_walk w;
	struct header_field f;
	header_walk_init(&w, section);
	while (header_next(&w, &f) == HEADER_FIELD) {
		bool inner = m->way == WAY_AROUND && span_istarts(f.name, SPAN("Content-"));
		bool version = m->way == WAY_AROUND && span_ieq_str(f.name, "MIME-Version");
		if (!version && !is_removed(m->shape, f.name))
			buf_add_span(inner ? &m->part : &m->own, f.raw);
	}
}

static void put_boundary(struct making *m)
{
	unsigned char raw[BOUNDARY_RAW];
	struct buf b = BUF_INIT(sizeof m->boundary - 1);
	rand_bytes(raw, sizeof raw);
	buf_add_str(&b, "=_postern_");
	fmt_hex(&b, span_of(raw, sizeof raw));
	memcpy(m->boundary, buf_cstr(&b), buf_len(&b) + 1);
	buf_end(&b);
}

static void add_text_part(struct making *m, const struct buf *text)
{
	struct buf out = BUF_INIT(HEADER_LOOK);
	if (buf_len(text) == 0)
		return;
	buf_printf(&out,
	    "--%s\r\nContent-Type: text/plain; charset=utf-8\r\n"
	    "Content-Transfer-Encoding: quoted-printable\r\nContent-Disposition: inline\r\n\r\n",
	    m->boundary);
	put_quoted(&out, buf_span(text));
	buf_add_str(&out, "\r\n");
	add_buf(m, &out);
	buf_end(&out);
}

static void add_inline(struct making *m, struct buf *text)
{
	struct buf quoted = BUF_INIT(HEADER_LOOK);
	if (m->way == WAY_QUOTED)
		put_quoted(&quoted, buf_span(text));
	add_buf(m, m->way == WAY_QUOTED ? &quoted : text);
	buf_end(&quoted);
}

static void add_front(struct making *m)
{
	struct span encoding;
	bool octets = mime_find_field(buf_span(&m->part), "Content-Transfer-Encoding", &encoding) &&
		      span_ieq_str(mime_token(encoding), "8bit");
	if (m->way != WAY_AROUND) {
		buf_add_str(&m->own, "\r\n");
		add_buf(m, &m->own);
		add_inline(m, &m->above);
		return;
	}
	put_boundary(m);
	buf_printf(&m->own,
	    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"%s\"\r\n%s\r\n",
	    m->boundary, octets ? "Content-Transfer-Encoding: 8bit\r\n" : "");
	add_buf(m, &m->own);
	add_text_part(m, &m->above);
	buf_printf(&m->own, "--%s\r\n%.*s\r\n", m->boundary, SPAN_ARG(buf_span(&m->part)));
	add_buf(m, &m->own);
}

static void add_end(struct making *m)
{
	if (m->way != WAY_AROUND) {
		add_inline(m, &m->below);
		return;
	}
	add(m, SPAN("\r\n"));
	add_text_part(m, &m->below);
	buf_printf(&m->own, "--%s--\r\n", m->boundary);
	add_buf(m, &m->own);
}

static void copy_text(struct making *m, uint64_t at)
{
	while (m->err == ERR_OK && at < m->from->size) {
		struct span piece = m->from->read(m->from->arg, at, PIECE, &m->err);
		if (m->err == ERR_OK && piece.n == 0)
			m->err = ERR_CORRUPT;
		add(m, piece);
		at += piece.n;
	}
}

static struct body *making_end(struct making *m)
{
	buf_end(&m->above);
	buf_end(&m->below);
	buf_end(&m->own);
	buf_end(&m->part);
	if (m->err)
		body_free(&m->body);
	return m->body;
}

struct body *shape_body(
    const struct shape *s, const struct mail_source *from, uint64_t size_max, const char *temp_dir)
{
	struct making m = { .shape = s, .from = from };
	m.body = body_new(MEMORY, size_max, temp_dir);
	m.above = m.below = m.own = m.part = BUF_INIT(HEADER_LOOK + 4096);
	put_above(&m.above, s);
	put_below(&m.below, s);
	struct span start = from->read(from->arg, 0, HEADER_LOOK, &m.err);
	size_t n = header_size(start);
	if (m.err)
		return making_end(&m);
	m.way = way_of(span_first(start, n), buf_span(&m.above), buf_span(&m.below));
	if (m.way == WAY_NONE) {
		buf_clear(&m.above);
		buf_clear(&m.below);
	}
	sort_fields(&m, span_first(start, n));
	add_front(&m);
	copy_text(&m, n);
	add_end(&m);
	return making_end(&m);
}
