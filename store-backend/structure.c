/* structure.c - ENVELOPE, BODY and BODYSTRUCTURE as IMAP texts (RFC 3501 section 7.4.2); see parse.h.
 *
 * Before: mime.h has found the parts. After: parse.c keeps the texts, imap/fetch sends them. Owns
 * nothing. What a header says badly is said by a default: a client can rely on the grammar. */
#include "base/check.h"
#include "proto/imap_lex.h"
#include "store-backend/parse.h"

enum {
	STRING_MAX = 16 * 1024,       /* a longer value is cut */
	ADDRESSES_BYTES = 256 * 1024, /* one list; more addresses are left out */
	LANGUAGES_MAX = 16
};

/* ---- strings ------------------------------------------------------------------------------------- */

static void put_nil(struct buf *out)
{
	buf_add_str(out, "NIL");
}

static void put_nstring(struct buf *out, struct span s)
{
	if (s.p == NULL)
		put_nil(out);
	else
		imap_put_string(out, s);
}

/* A field's value on one line, or NIL. */
static void put_field(struct buf *out, struct span header, const char *name)
{
	struct span value;
	struct buf line = BUF_INIT(STRING_MAX);
	if (!mime_find_field(header, name, &value)) {
		put_nil(out);
		return;
	}
	(void)mime_unfold(span_first(value, STRING_MAX), &line);
	imap_put_string(out, buf_span(&line));
	buf_end(&line);
}

/* ---- envelope ------------------------------------------------------------------------------------ */

static void put_address(struct buf *out, const struct mime_address *a)
{
	struct span host = a->host;
	if (a->kind == MIME_GROUP_END) {
		buf_add_str(out, "(NIL NIL NIL NIL)");
		return;
	}
	if (a->kind == MIME_MAILBOX && host.p == NULL)
		host = SPAN("MISSING_DOMAIN"); /* NIL would say that a group begins */
	buf_add_char(out, '(');
	put_nstring(out, span_first(a->name, STRING_MAX));
	buf_add_char(out, ' ');
	put_nstring(out, span_first(a->route, STRING_MAX));
	buf_add_char(out, ' ');
	imap_put_string(out, span_first(a->mailbox, STRING_MAX));
	buf_add_char(out, ' ');
	put_nstring(out, span_first(host, STRING_MAX));
	buf_add_char(out, ')');
}

/* False, and nothing added: there is no address. */
static bool put_addresses(struct buf *out, struct span value)
{
	struct buf scratch = BUF_INIT(4 * STRING_MAX), list = BUF_INIT(ADDRESSES_BYTES);
	struct mime_address a;
	size_t whole = 0; /* bytes of the addresses that fit */
	bool in_group = false;
	while (mime_next_address(&value, &scratch, &a)) {
		if (a.kind == MIME_GROUP_END ? !in_group : a.kind == MIME_GROUP_START && in_group)
			continue;
		put_address(&list, &a);
		if (!buf_ok(&list))
			break;
		whole = buf_len(&list);
		if (a.kind != MIME_MAILBOX)
			in_group = a.kind == MIME_GROUP_START;
	}
	if (whole > 0) {
		buf_add_char(out, '(');
		buf_add_span(out, span_first(buf_span(&list), whole));
		buf_add_str(out, in_group ? "(NIL NIL NIL NIL))" : ")");
	}
	buf_end(&scratch);
	buf_end(&list);
	return whole > 0;
}

/* The addresses of the field, or of `instead` (may be NULL) when it has none. */
static void put_address_field(
    struct buf *out, struct span header, const char *name, const char *instead)
{
	struct span value;
	if (mime_find_field(header, name, &value) && put_addresses(out, value))
		return;
	if (instead != NULL && mime_find_field(header, instead, &value) &&
	    put_addresses(out, value))
		return;
	put_nil(out);
}

bool parse_put_envelope(struct buf *out, struct span header)
{
	static const struct {
		const char *name, *instead;
	} lists[] = { { "From", NULL }, { "Sender", "From" }, { "Reply-To", "From" },
		{ "To", NULL }, { "Cc", NULL }, { "Bcc", NULL } };
	buf_add_char(out, '(');
	put_field(out, header, "Date");
	buf_add_char(out, ' ');
	put_field(out, header, "Subject");
	for (size_t i = 0; i < COUNT_OF(lists); i++) {
		buf_add_char(out, ' ');
		put_address_field(out, header, lists[i].name, lists[i].instead);
	}
	buf_add_char(out, ' ');
	put_field(out, header, "In-Reply-To");
	buf_add_char(out, ' ');
	put_field(out, header, "Message-ID");
	return buf_add_char(out, ')');
}

/* ---- body structure ------------------------------------------------------------------------------ */

struct writer {
	struct buf *out;
	struct span message;
	const struct mime *m;
	bool extensions;
	struct parse_decoded decoded; /* of the first part */
	size_t first;
};

static void put_part(const struct writer *w, uint16_t i);

static void put_params(struct buf *out, const struct mime_value *v)
{
	if (v->param_count == 0) {
		put_nil(out);
		return;
	}
	for (size_t i = 0; i < v->param_count; i++) {
		buf_add_char(out, i == 0 ? '(' : ' ');
		imap_put_string(out, v->params[i].name);
		buf_add_char(out, ' ');
		imap_put_string(out, v->params[i].value);
	}
	buf_add_char(out, ')');
}

static void put_disposition(struct buf *out, struct span header)
{
	struct mime_value v;
	struct span value;
	struct buf scratch = BUF_INIT(MIME_HEADER_MAX);
	if (mime_find_field(header, "Content-Disposition", &value) &&
	    mime_parse_value(value, &scratch, &v)) {
		buf_add_char(out, '(');
		imap_put_string(out, v.type);
		buf_add_char(out, ' ');
		put_params(out, &v);
		buf_add_char(out, ')');
	} else {
		put_nil(out);
	}
	buf_end(&scratch);
}

static void put_languages(struct buf *out, struct span header)
{
	struct span value;
	size_t n = 0;
	mime_find_field(header, "Content-Language", &value);
	while (value.n > 0 && n < LANGUAGES_MAX) {
		struct span tag = mime_token(span_cut(&value, ','));
		if (tag.n == 0)
			continue;
		buf_add_char(out, n++ == 0 ? '(' : ' ');
		imap_put_string(out, tag);
	}
	if (n > 0)
		buf_add_char(out, ')');
	else
		put_nil(out);
}

/* disposition, language, location: the end of both kinds of extension data. */
static void put_extension_tail(struct buf *out, struct span header)
{
	buf_add_char(out, ' ');
	put_disposition(out, header);
	buf_add_char(out, ' ');
	put_languages(out, header);
	buf_add_char(out, ' ');
	put_field(out, header, "Content-Location");
}

/* Type and subtype to be shown, which the kind of the part decides in the end. */
static void read_type(
    const struct mime_part *p, struct span header, struct buf *scratch, struct mime_value *v)
{
	struct span value;
	bool known = mime_find_field(header, "Content-Type", &value) &&
		     mime_parse_value(value, scratch, v) && v->subtype.n > 0;
	if (p->kind == MIME_MESSAGE && !known) {
		*v = (struct mime_value){ .type = SPAN("message"), .subtype = SPAN("rfc822") };
	} else if (!known || (p->kind == MIME_OPAQUE && span_ieq_str(v->type, "multipart"))) {
		*v = (struct mime_value){
			.type = SPAN("text"), .subtype = SPAN("plain"), .param_count = 1
		};
		v->params[0].name = SPAN("charset");
		v->params[0].value = SPAN("us-ascii");
	} else if (p->kind == MIME_OPAQUE) {
		*v = (struct mime_value){ .type = SPAN("application"),
			.subtype = SPAN("octet-stream") };
	}
}

static void put_multipart(const struct writer *w, const struct mime_part *p, struct span header,
    const struct mime_value *type)
{
	for (uint16_t i = p->first_child; i != MIME_NONE; i = w->m->v[i].next)
		put_part(w, i);
	buf_add_char(w->out, ' ');
	imap_put_string(w->out, type->subtype);
	if (!w->extensions)
		return;
	buf_add_char(w->out, ' ');
	put_params(w->out, type);
	put_extension_tail(w->out, header);
}

static void put_encoding(struct buf *out, struct span header)
{
	struct span value;
	mime_find_field(header, "Content-Transfer-Encoding", &value);
	struct span token = mime_token(value);
	imap_put_string(out, token.n > 0 ? token : SPAN("7bit"));
}

static void put_single(const struct writer *w, const struct mime_part *p, struct span header,
    const struct mime_value *type)
{
	struct buf *out = w->out;
	imap_put_string(out, type->type);
	buf_add_char(out, ' ');
	imap_put_string(out, type->subtype);
	buf_add_char(out, ' ');
	put_params(out, type);
	buf_add_char(out, ' ');
	put_field(out, header, "Content-ID");
	buf_add_char(out, ' ');
	put_field(out, header, "Content-Description");
	buf_add_char(out, ' ');
	bool decoded = w->decoded.is && p == &w->m->v[w->first];
	uint64_t size = decoded ? w->decoded.size : p->end - p->body_at;
	uint64_t lines = decoded ? w->decoded.lines : p->lines;
	if (decoded)
		imap_put_string(out, SPAN("binary"));
	else
		put_encoding(out, header);
	buf_printf(out, " %llu", (unsigned long long)size);
	if (p->kind == MIME_MESSAGE) {
		buf_add_char(out, ' ');
		parse_put_envelope(out, mime_header(w->message, &w->m->v[p->first_child]));
		buf_add_char(out, ' ');
		put_part(w, p->first_child);
	}
	if (p->kind == MIME_MESSAGE || span_ieq_str(type->type, "text"))
		buf_printf(out, " %llu", (unsigned long long)lines);
	if (!w->extensions)
		return;
	buf_add_char(out, ' ');
	put_field(out, header, "Content-MD5");
	put_extension_tail(out, header);
}

/* Recursion ends at MIME_DEPTH_MAX. */
static void put_part(const struct writer *w, uint16_t i)
{
	const struct mime_part *p = &w->m->v[i];
	struct span header = mime_header(w->message, p);
	struct buf scratch = BUF_INIT(MIME_HEADER_MAX);
	struct mime_value type;
	if (!buf_ok(w->out))
		return;
	read_type(p, header, &scratch, &type);
	buf_add_char(w->out, '(');
	if (p->kind == MIME_MULTIPART)
		put_multipart(w, p, header, &type);
	else
		put_single(w, p, header, &type);
	buf_add_char(w->out, ')');
	buf_end(&scratch);
}

bool parse_put_structure(
    struct buf *out, struct span message, const struct mime *m, bool with_extensions)
{
	struct writer w = { .out = out, .message = message, .m = m, .extensions = with_extensions };
	put_part(&w, 0);
	return buf_ok(out);
}

bool parse_put_part(struct buf *out, struct span message, const struct mime *m, size_t part,
    const struct parse_decoded *decoded)
{
	struct writer w = { out, message, m, true, *decoded, part };
	put_part(&w, (uint16_t)part);
	return buf_ok(out);
}
