/* fetch_parse.c - the items of a FETCH command (RFC 3501 section 6.4.5); see fetch.h. Owns nothing. */
#include "base/check.h"

#include "store-backend/imap/fetch.h"

/* Letters, digits and dots: an atom would take the bracket too. */
static struct span take_word(struct imap_cursor *c)
{
	size_t from = c->at;
	while (imap_peek(c) == '.' || ascii_is_alpha((unsigned char)imap_peek(c)) ||
	       ascii_is_digit((unsigned char)imap_peek(c))) {
		c->at++;
	}
	return span_of(c->in.p + from, c->at - from);
}

/* ---- sections ------------------------------------------------------------------------------------ */

static void parse_names(struct imap_cursor *c, struct fetch_request *req, struct fetch_item *it)
{
	imap_read_sp(c);
	imap_read_char(c, '(');
	it->name_at = req->name_n;
	do {
		struct span name = imap_read_astring(c);
		if (name.n == 0)
			imap_fail(c, "Header field name expected");
		if (req->name_n == FETCH_NAMES_MAX)
			imap_fail(c, "Too many header field names");
		if (!imap_ok(c))
			return;
		req->names[req->name_n++] = name;
	} while (imap_try(c, ' '));
	it->name_n = req->name_n - it->name_at;
	imap_read_char(c, ')');
}

/* True: a section text follows the dot that was read, or stands alone. */
static bool parse_path(struct imap_cursor *c, struct fetch_item *it)
{
	while (imap_peek(c) >= '0' && imap_peek(c) <= '9') {
		if (it->path_n == MIME_DEPTH_MAX) {
			imap_fail(c, "Part number too deep");
			return false;
		}
		it->path[it->path_n++] = imap_read_nz_number(c);
		if (!imap_try(c, '.'))
			return false;
	}
	return true;
}

static void parse_section_text(
    struct imap_cursor *c, struct fetch_request *req, struct fetch_item *it)
{
	static const struct {
		const char *word;
		enum fetch_text text;
	} texts[] = { { "HEADER", TEXT_HEADER }, { "HEADER.FIELDS", TEXT_FIELDS },
		{ "HEADER.FIELDS.NOT", TEXT_FIELDS_NOT }, { "TEXT", TEXT_TEXT },
		{ "MIME", TEXT_MIME } };
	struct span word = take_word(c);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		if (span_ieq_str(word, texts[i].word))
			it->text = texts[i].text;
	}
	if (it->text == TEXT_WHOLE || (it->text == TEXT_MIME && it->path_n == 0))
		imap_fail(c, "Unknown section");
	if (it->text == TEXT_FIELDS || it->text == TEXT_FIELDS_NOT)
		parse_names(c, req, it);
}

static void parse_partial(struct imap_cursor *c, struct fetch_item *it)
{
	it->partial = imap_try(c, '<');
	if (!it->partial)
		return;
	it->from = imap_read_number(c);
	imap_read_char(c, '.');
	it->count = imap_read_nz_number(c);
	imap_read_char(c, '>');
}

/* Behind the opening bracket. */
static void parse_section(struct imap_cursor *c, struct fetch_request *req, struct fetch_item *it)
{
	it->kind = FETCH_SECTION;
	if (imap_peek(c) != ']' && parse_path(c, it))
		parse_section_text(c, req, it);
	imap_read_char(c, ']');
	parse_partial(c, it);
}

/* BINARY[path]<partial>, BINARY.SIZE[path] */
static void parse_binary(struct imap_cursor *c, struct fetch_item *it)
{
	imap_read_char(c, '[');
	if (imap_peek(c) != ']' && parse_path(c, it))
		imap_fail(c, "Part number expected");
	imap_read_char(c, ']');
	if (it->kind == FETCH_BINARY)
		parse_partial(c, it);
}

/* ---- items --------------------------------------------------------------------------------------- */

static const struct {
	const char *word;
	struct fetch_item item;
} items[] = {
	{ "UID", { .kind = FETCH_UID } },
	{ "FLAGS", { .kind = FETCH_FLAGS } },
	{ "INTERNALDATE", { .kind = FETCH_INTERNALDATE } },
	{ "RFC822.SIZE", { .kind = FETCH_SIZE } },
	{ "MODSEQ", { .kind = FETCH_MODSEQ } },
	{ "SAVEDATE", { .kind = FETCH_SAVEDATE } },
	{ "EMAILID", { .kind = FETCH_EMAILID } },
	{ "THREADID", { .kind = FETCH_THREADID } },
	{ "ENVELOPE", { .kind = FETCH_ENVELOPE } },
	{ "BODY", { .kind = FETCH_BODY } },
	{ "BODYSTRUCTURE", { .kind = FETCH_BODYSTRUCTURE } },
	{ "RFC822", { .kind = FETCH_SECTION, .alias = "RFC822" } },
	{ "RFC822.HEADER", { .kind = FETCH_SECTION,
			       .alias = "RFC822.HEADER",
			       .peek = true,
			       .text = TEXT_HEADER } },
	{ "RFC822.TEXT", { .kind = FETCH_SECTION, .alias = "RFC822.TEXT", .text = TEXT_TEXT } },
};

static const struct {
	const char *word;
	enum fetch_kind kinds[5];
	size_t n;
} macros[] = {
	{ "FAST", { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_SIZE }, 3 },
	{ "ALL", { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_SIZE, FETCH_ENVELOPE }, 4 },
	{ "FULL", { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_SIZE, FETCH_ENVELOPE, FETCH_BODY }, 5 },
};

bool fetch_has(const struct fetch_request *req, enum fetch_kind kind)
{
	for (size_t i = 0; i < req->n; i++) {
		if (req->v[i].kind == kind)
			return true;
	}
	return false;
}

/* The same plain item twice is said once. */
static void add_item(struct imap_cursor *c, struct fetch_request *req, const struct fetch_item *it)
{
	if (it->kind < FETCH_SECTION && fetch_has(req, it->kind))
		return;
	if (req->n == FETCH_ITEMS_MAX)
		imap_fail(c, "Too many items");
	else
		req->v[req->n++] = *it;
}

static bool try_macro(struct imap_cursor *c, struct fetch_request *req)
{
	for (size_t i = 0; i < COUNT_OF(macros); i++) {
		if (!imap_try_word(c, macros[i].word))
			continue;
		for (size_t k = 0; k < macros[i].n; k++)
			add_item(c, req, &(struct fetch_item){ .kind = macros[i].kinds[k] });
		return true;
	}
	return false;
}

/* [SP "(" "LAZY" ")"]: it is always there. */
static void parse_preview(struct imap_cursor *c, struct fetch_request *req)
{
	add_item(c, req, &(struct fetch_item){ .kind = FETCH_PREVIEW });
	struct imap_cursor before = *c;
	if (!imap_try(c, ' '))
		return;
	if (!imap_try(c, '(')) {
		*c = before; /* the next item */
		return;
	}
	if (!imap_try_word(c, "LAZY")) {
		*c = before; /* a modifier of the command, or nonsense */
		return;
	}
	imap_read_char(c, ')');
}

static bool try_binary(struct imap_cursor *c, struct span word, struct fetch_request *req)
{
	struct fetch_item it = { .kind = FETCH_BINARY };
	it.peek = span_ieq_str(word, "BINARY.PEEK");
	if (span_ieq_str(word, "BINARY.SIZE"))
		it.kind = FETCH_BINARY_SIZE;
	else if (!it.peek && !span_ieq_str(word, "BINARY"))
		return false;
	parse_binary(c, &it);
	add_item(c, req, &it);
	return true;
}

static void parse_item(struct imap_cursor *c, struct fetch_request *req)
{
	struct fetch_item it = { 0 };
	struct span word = take_word(c);
	bool body = span_ieq_str(word, "BODY");
	it.peek = span_ieq_str(word, "BODY.PEEK");
	if (it.peek || (body && imap_peek(c) == '[')) {
		imap_read_char(c, '[');
		parse_section(c, req, &it);
		add_item(c, req, &it);
		return;
	}
	if (try_binary(c, word, req))
		return;
	if (span_ieq_str(word, "PREVIEW")) {
		parse_preview(c, req);
		return;
	}
	for (size_t i = 0; i < COUNT_OF(items); i++) {
		if (span_ieq_str(word, items[i].word)) {
			add_item(c, req, &items[i].item);
			return;
		}
	}
	imap_fail(c, "Unknown FETCH item");
}

void fetch_parse(struct imap_cursor *c, bool with_uid, struct fetch_request *out)
{
	*out = (struct fetch_request){ 0 };
	if (with_uid)
		add_item(c, out, &items[0].item);
	if (try_macro(c, out))
		return;
	bool list = imap_try(c, '(');
	do {
		parse_item(c, out);
	} while (list && imap_try(c, ' '));
	if (list)
		imap_read_char(c, ')');
}

/* CHANGEDSINCE asks for MODSEQ too. */
static void parse_since(struct imap_cursor *c, struct fetch_request *out)
{
	imap_read_sp(c);
	out->since = imap_read_number64(c);
	out->changed = true;
	add_item(c, out, &(struct fetch_item){ .kind = FETCH_MODSEQ });
}

void fetch_parse_modifiers(struct imap_cursor *c, struct fetch_request *out)
{
	if (!imap_try(c, ' '))
		return;
	imap_read_char(c, '(');
	do {
		if (imap_try_word(c, "VANISHED"))
			out->vanished = true;
		else if (!out->changed && imap_try_word(c, "CHANGEDSINCE"))
			parse_since(c, out);
		else
			imap_fail(c, "Unknown FETCH modifier");
	} while (imap_try(c, ' '));
	imap_read_char(c, ')');
	if (out->vanished && !out->changed)
		imap_fail(c, "VANISHED needs CHANGEDSINCE");
}

bool fetch_sets_seen(const struct fetch_request *req)
{
	for (size_t i = 0; i < req->n; i++) {
		enum fetch_kind kind = req->v[i].kind;
		if ((kind == FETCH_SECTION || kind == FETCH_BINARY) && !req->v[i].peek)
			return true;
	}
	return false;
}

bool fetch_needs_entry(const struct fetch_request *req)
{
	for (size_t i = 0; i < req->n; i++) {
		if (req->v[i].kind != FETCH_UID && req->v[i].kind != FETCH_FLAGS)
			return true;
	}
	return false;
}
