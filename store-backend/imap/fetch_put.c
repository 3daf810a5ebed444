/* fetch_put.c - the items of a FETCH answer, each from the cheapest place that knows it; see fetch.h.
 *
 * Before: fetch.c walks over messages and items. After: the session's text, and for long literals the
 * stream. Owns nothing. */
#include "base/check.h"

#include "store-backend/imap/fetch.h"

/* ---- sections ------------------------------------------------------------------------------------ */

static bool is_fields(const struct fetch_item *it)
{
	return it->text == TEXT_FIELDS || it->text == TEXT_FIELDS_NOT;
}

void fetch_put_path(const struct fetch_item *it, struct buf *out)
{
	for (size_t i = 0; i < it->path_n; i++)
		buf_printf(out, i == 0 ? "%u" : ".%u", it->path[i]);
}

/* The part whose header or body is meant; NULL: the message has no such section. */
const struct mime_part *fetch_section_part(const struct mime *m, const struct fetch_item *it)
{
	const struct mime_part *p = mime_find(m, it->path, it->path_n);
	bool of_part = it->path_n == 0 || it->text == TEXT_WHOLE || it->text == TEXT_MIME;
	if (p == NULL || of_part)
		return p;
	return p->kind == MIME_MESSAGE ? &m->v[p->first_child] : NULL;
}

static struct message_range section_range(const struct mime_part *p, const struct fetch_item *it)
{
	if (it->text == TEXT_TEXT || (it->text == TEXT_WHOLE && it->path_n > 0))
		return message_part_body(p);
	if (it->text == TEXT_WHOLE)
		return (struct message_range){ 0, p->end };
	return (struct message_range){ p->header_at, p->body_at - p->header_at };
}

void fetch_cut_range(const struct fetch_item *it, struct message_range *r)
{
	if (!it->partial)
		return;
	uint64_t from = it->from < r->n ? it->from : r->n;
	r->at += from;
	r->n -= from;
	if (r->n > it->count)
		r->n = it->count;
}

static bool is_named(const struct fetch_request *req, const struct fetch_item *it, struct span name)
{
	for (size_t i = 0; i < it->name_n; i++) {
		if (span_ieq(req->names[it->name_at + i], name))
			return true;
	}
	return false;
}

/* The fields that are asked for, and the empty line that ends a header. */
static void put_fields(struct buf *out, const struct fetch_request *req,
    const struct fetch_item *it, struct span header)
{
	struct mime_field f;
	while (mime_next_field(&header, &f)) {
		if (is_named(req, it, f.name) != (it->text == TEXT_FIELDS))
			continue;
		buf_add_span(out, f.whole);
		if (f.whole.p[f.whole.n - 1] != '\n')
			buf_add_str(out, "\r\n");
	}
	buf_add_str(out, "\r\n");
}

/* The header that has the fields. part NULL: the message's own, where the cache may be enough. */
static bool read_header(struct message *m, const struct fetch_request *req,
    const struct fetch_item *it, const struct mime_part *part, struct buf *own)
{
	struct span header;
	bool ok;
	if (part != NULL)
		return message_part_header(m, part, own);
	if (it->text == TEXT_FIELDS)
		ok = message_fields(m, req->names + it->name_at, it->name_n, &header);
	else
		ok = message_header(m, &header);
	return ok && buf_add_span(own, header);
}

static void put_label(struct buf *out, const struct fetch_request *req, const struct fetch_item *it)
{
	static const char *const texts[] = { "", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT",
		"TEXT", "MIME" };
	if (it->alias != NULL) {
		buf_add_str(out, it->alias);
		return;
	}
	buf_add_str(out, "BODY[");
	fetch_put_path(it, out);
	if (it->path_n > 0 && it->text != TEXT_WHOLE)
		buf_add_char(out, '.');
	buf_add_str(out, texts[it->text]);
	for (size_t i = 0; i < it->name_n; i++) {
		buf_add_str(out, i == 0 ? " (" : " ");
		imap_put_astring(out, req->names[it->name_at + i]);
	}
	buf_add_str(out, it->name_n > 0 ? ")]" : "]");
	if (it->partial)
		buf_printf(out, "<%u>", it->from);
}

static enum fetch_put put_field_section(struct buf *out, const struct fetch_request *req,
    const struct fetch_item *it, struct message *m, const struct mime_part *part)
{
	struct buf header = BUF_INIT(MIME_HEADER_MAX), text = BUF_INIT(FETCH_TEXT_MAX);
	bool ok = read_header(m, req, it, part, &header);
	if (ok) {
		put_fields(&text, req, it, buf_span(&header));
		struct message_range r = { 0, buf_len(&text) };
		fetch_cut_range(it, &r);
		put_label(out, req, it);
		buf_add_char(out, ' ');
		imap_put_literal(out, span_of(buf_span(&text).p + r.at, (size_t)r.n), false);
	}
	buf_end(&header);
	buf_end(&text);
	return ok ? PUT_DONE : PUT_UNREADABLE;
}

static enum fetch_put put_range(struct buf *out, const struct fetch_request *req,
    const struct fetch_item *it, struct message *m, const struct message_range *r)
{
	struct buf small = BUF_INIT(FETCH_INLINE_MAX);
	bool is_small = r->n <= FETCH_INLINE_MAX;
	if (is_small && !message_read(m, *r, &small)) {
		buf_end(&small);
		return PUT_UNREADABLE;
	}
	put_label(out, req, it);
	buf_printf(out, " {%llu}\r\n", (unsigned long long)r->n);
	buf_add_span(out, buf_span(&small));
	buf_end(&small);
	return is_small ? PUT_DONE : PUT_RANGE;
}

/* Where a section is: of fields the part that has them (NULL: the message itself). PUT_DONE: there is no such section. */
static enum fetch_put find_section(const struct fetch_item *it, struct message *m,
    const struct mime_part **part_out, struct message_range *range_out)
{
	*part_out = NULL;
	*range_out = (struct message_range){ 0, m->bytes.size };
	if (it->path_n == 0 && (it->text == TEXT_WHOLE || is_fields(it)))
		return PUT_RANGE;
	const struct mime *parts = message_parts(m);
	if (parts == NULL)
		return PUT_UNREADABLE;
	*part_out = fetch_section_part(parts, it);
	if (*part_out == NULL)
		return PUT_DONE;
	*range_out = section_range(*part_out, it);
	return PUT_RANGE;
}

static enum fetch_put put_section(struct buf *out, const struct fetch_request *req,
    const struct fetch_item *it, struct message *m, struct message_range *range_out)
{
	const struct mime_part *part;
	enum fetch_put found = find_section(it, m, &part, range_out);
	if (found == PUT_DONE) {
		put_label(out, req, it);
		buf_add_str(out, " NIL");
	}
	if (found != PUT_RANGE)
		return found;
	if (is_fields(it))
		return put_field_section(out, req, it, m, part);
	fetch_cut_range(it, range_out);
	return put_range(out, req, it, m, range_out);
}

enum fetch_section fetch_section(const struct fetch_request *req, const struct fetch_item *it,
    struct message *m, struct buf *text_out, struct message_range *range_out)
{
	const struct mime_part *part;
	struct buf header = BUF_INIT(MIME_HEADER_MAX);
	enum fetch_put found = find_section(it, m, &part, range_out);
	enum fetch_section s = found == PUT_DONE         ? SECTION_NONE
			       : found == PUT_UNREADABLE ? SECTION_UNREADABLE
							 : SECTION_RANGE;
	if (s == SECTION_RANGE && is_fields(it)) {
		s = read_header(m, req, it, part, &header) ? SECTION_TEXT : SECTION_UNREADABLE;
		if (s == SECTION_TEXT)
			put_fields(text_out, req, it, buf_span(&header));
		*range_out = (struct message_range){ 0, buf_len(text_out) };
	}
	buf_end(&header);
	fetch_cut_range(it, range_out);
	return s;
}

/* ---- texts --------------------------------------------------------------------------------------- */

static bool make_structure(struct buf *out, struct message *m, bool extensions)
{
	struct mime parts = { 0 };
	struct span whole;
	if (!message_whole(m, &whole))
		return false;
	mime_parse(&parts, whole);
	if (!parse_put_structure(out, whole, &parts, extensions)) {
		/* its texts alone are longer than any answer of ours: it stays closed */
		buf_clear(out);
		buf_printf(out, "(\"application\" \"octet-stream\" NIL NIL NIL \"binary\" %zu%s)",
		    whole.n, extensions ? " NIL NIL NIL NIL" : "");
	}
	mime_end(&parts);
	return true;
}

static bool make_envelope(struct buf *out, struct message *m)
{
	struct span header;
	if (!message_header(m, &header))
		return false;
	if (!parse_put_envelope(out, header))
		m->err = ERR_TOO_LONG;
	return buf_ok(out);
}

/* Of text it is the part that has it, of a header or fields the one that the number names. */
static const struct mime_part *shown_part(const struct mime *parts, const struct fetch_item *it)
{
	if (it->text == TEXT_WHOLE || it->text == TEXT_TEXT)
		return fetch_section_part(parts, it);
	return mime_find(parts, it->path, it->path_n);
}

bool fetch_put_part_structure(struct buf *out, struct message *m, const struct fetch_item *it,
    const struct parse_decoded *decoded)
{
	struct mime parts = { 0 };
	struct span whole;
	if (!message_whole(m, &whole))
		return false;
	mime_parse(&parts, whole);
	const struct mime_part *p = shown_part(&parts, it);
	bool ok = p != NULL && parse_put_part(out, whole, &parts, (size_t)(p - parts.v), decoded);
	mime_end(&parts);
	return ok;
}

/* ENVELOPE, BODY, BODYSTRUCTURE: from the cache, or made anew. */
static enum fetch_put put_text(struct buf *out, const struct fetch_item *it, struct message *m)
{
	struct buf fresh = BUF_INIT(FETCH_TEXT_MAX);
	const char *name = it->kind == FETCH_ENVELOPE ? "ENVELOPE "
			   : it->kind == FETCH_BODY   ? "BODY "
						      : "BODYSTRUCTURE ";
	struct span text = it->kind == FETCH_ENVELOPE ? m->cache.envelope
			   : it->kind == FETCH_BODY   ? m->cache.body
						      : m->cache.bodystructure;
	bool ok = text.n > 0;
	if (!ok) {
		ok = it->kind == FETCH_ENVELOPE
			 ? make_envelope(&fresh, m)
			 : make_structure(&fresh, m, it->kind == FETCH_BODYSTRUCTURE);
		text = buf_span(&fresh);
	}
	if (ok) {
		buf_add_str(out, name);
		buf_add_span(out, text);
	}
	buf_end(&fresh);
	return ok ? PUT_DONE : PUT_UNREADABLE;
}

enum fetch_put fetch_put_item(struct buf *out, const struct fetch_request *req,
    const struct fetch_item *it, const struct fetch_subject *of, struct message_range *range_out)
{
	const struct selected_message *known = &of->box->v[of->at];
	switch (it->kind) {
	case FETCH_UID:
		buf_printf(out, "UID %u", known->uid);
		return PUT_DONE;
	case FETCH_FLAGS:
		buf_add_str(out, "FLAGS ");
		selected_put_flags(of->box, known, out);
		return PUT_DONE;
	case FETCH_INTERNALDATE:
		buf_add_str(out, "INTERNALDATE ");
		imap_put_date_time_zone(out, of->entry.date_s, of->entry.date_zone);
		return PUT_DONE;
	case FETCH_SIZE:
		buf_printf(out, "RFC822.SIZE %llu", (unsigned long long)of->entry.size);
		return PUT_DONE;
	case FETCH_MODSEQ:
		buf_printf(
		    out, "MODSEQ (%llu)", (unsigned long long)selected_modseq(of->box, &of->entry));
		return PUT_DONE;
	case FETCH_SAVEDATE:
		buf_add_str(out, "SAVEDATE ");
		imap_put_date_time(out, of->entry.saved_s);
		return PUT_DONE;
	case FETCH_EMAILID:
		buf_add_str(out, "EMAILID (");
		imap_put_emailid(out, of->object);
		buf_add_char(out, ')');
		return PUT_DONE;
	case FETCH_THREADID:
		buf_add_str(out, "THREADID NIL");
		return PUT_DONE;
	case FETCH_PREVIEW:
		return fetch_put_preview(out, of->message) ? PUT_DONE : PUT_UNREADABLE;
	case FETCH_ENVELOPE:
	case FETCH_BODY:
	case FETCH_BODYSTRUCTURE:
		return put_text(out, it, of->message);
	case FETCH_SECTION:
		return put_section(out, req, it, of->message, range_out);
	case FETCH_BINARY:
	case FETCH_BINARY_SIZE:
		break; /* in steps: fetch_binary_start() */
	}
	BUG("no such item");
}
