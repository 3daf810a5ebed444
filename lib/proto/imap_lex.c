/* imap_lex.c - the tokens of IMAP, read one after the other with a sticky error; see imap_lex.h.
 *
 * Step after imap_frame.c; before imap_cmd.c, imap_resp.c and the store's handlers. Owns nothing. */
#include "base/check.h"
#include "proto/imap_lex.h"

enum {
	QUOTED_MAX = 1000
}; /* longer strings are written as literals: some peers have short lines */

static bool is_atom_char(unsigned char c)
{
	return c > 0x20 && c < 0x7f && memchr("(){%*\"\\]", c, 8) == NULL;
}

static bool is_astring_char(unsigned char c)
{
	return is_atom_char(c) || c == ']';
}

static bool is_list_char(unsigned char c)
{
	return is_astring_char(c) || c == '%' || c == '*';
}

static bool is_tag_char(unsigned char c)
{
	return is_astring_char(c) && c != '+';
}

static struct span without_crlf(struct span s)
{
	if (s.n >= 2 && s.p[s.n - 2] == '\r' && s.p[s.n - 1] == '\n')
		s.n -= 2;
	return s;
}

void imap_cursor_init(struct imap_cursor *c, struct span command, struct buf *scratch)
{
	*c = (struct imap_cursor){ .in = without_crlf(command), .scratch = scratch };
}

void imap_fail(struct imap_cursor *c, const char *why)
{
	if (c->why == NULL)
		c->why = why;
}

bool imap_at_end(const struct imap_cursor *c)
{
	return c->at >= c->in.n;
}

int imap_peek(const struct imap_cursor *c)
{
	return c->why != NULL || imap_at_end(c) ? -1 : (unsigned char)c->in.p[c->at];
}

bool imap_try(struct imap_cursor *c, char ch)
{
	if (imap_peek(c) != (unsigned char)ch)
		return false;
	c->at++;
	return true;
}

bool imap_try_word(struct imap_cursor *c, const char *word)
{
	struct span w = span_str(word);
	struct span left = span_from(c->in, c->at);
	if (c->why != NULL || !span_istarts(left, w))
		return false;
	if (left.n > w.n && is_atom_char((unsigned char)left.p[w.n]))
		return false;
	c->at += w.n;
	return true;
}

void imap_read_char(struct imap_cursor *c, char ch)
{
	if (imap_try(c, ch))
		return;
	imap_fail(c, ch == '('   ? "Opening parenthesis expected"
		     : ch == ')' ? "Closing parenthesis expected"
				 : "Unexpected character");
}

void imap_read_sp(struct imap_cursor *c)
{
	if (!imap_try(c, ' '))
		imap_fail(c, imap_at_end(c) ? "Missing argument" : "Space expected");
}

void imap_read_end(struct imap_cursor *c)
{
	if (c->why == NULL && !imap_at_end(c))
		imap_fail(c, "Too many arguments");
}

/* The longest run of bytes that fit; at least one. */
static struct span read_run(
    struct imap_cursor *c, bool (*fits)(unsigned char), const char *why_empty)
{
	if (c->why != NULL)
		return SPAN_NONE;
	size_t from = c->at;
	while (c->at < c->in.n && fits((unsigned char)c->in.p[c->at]))
		c->at++;
	if (c->at == from) {
		imap_fail(c, why_empty);
		return SPAN_NONE;
	}
	return span_of(c->in.p + from, c->at - from);
}

struct span imap_read_tag(struct imap_cursor *c)
{
	struct span tag = read_run(c, is_tag_char, "Missing or bad tag");
	if (tag.n > IMAP_TAG_MAX) {
		imap_fail(c, "Tag too long");
		return SPAN_NONE;
	}
	return tag;
}

struct span imap_read_atom(struct imap_cursor *c)
{
	return read_run(c, is_atom_char, "Atom expected");
}

struct span imap_read_rest(struct imap_cursor *c)
{
	if (c->why != NULL)
		return SPAN_NONE;
	struct span rest = span_from(c->in, c->at);
	c->at = c->in.n;
	return rest;
}

/* ---- strings ------------------------------------------------------------------------------------- */

/* Copies raw (inside of the quotes) into scratch without its backslashes. The whole room is made
 * first, so that earlier spans into scratch stay where they are. */
static struct span unescape(struct imap_cursor *c, struct span raw)
{
	char *room;
	if (c->scratch == NULL) {
		imap_fail(c, "String too complex");
		return SPAN_NONE;
	}
	if (buf_len(c->scratch) == 0)
		(void)buf_room(c->scratch, c->in.n, &room);
	size_t from = buf_len(c->scratch);
	for (size_t i = 0; i < raw.n; i++) {
		if (raw.p[i] == '\\')
			i++;
		if (!buf_add_char(c->scratch, raw.p[i])) {
			imap_fail(c, "String too long");
			return SPAN_NONE;
		}
	}
	return span_from(buf_span(c->scratch), from);
}

static struct span read_quoted(struct imap_cursor *c)
{
	size_t from = ++c->at;
	bool escapes = false;
	while (c->at < c->in.n) {
		char ch = c->in.p[c->at];
		if (ch == '"') {
			struct span raw = span_of(c->in.p + from, c->at - from);
			c->at++;
			return escapes ? unescape(c, raw) : raw;
		}
		if (ch == '\r' || ch == '\n')
			break;
		if (ch == '\\') {
			int next = c->at + 1 < c->in.n ? c->in.p[c->at + 1] : -1;
			if (next != '"' && next != '\\') {
				imap_fail(c, "Bad escape in quoted string");
				return SPAN_NONE;
			}
			escapes = true;
			c->at++;
		}
		c->at++;
	}
	imap_fail(c, "Unfinished quoted string");
	return SPAN_NONE;
}

static uint64_t read_literal_header(struct imap_cursor *c)
{
	imap_read_char(c, '{');
	uint64_t n = imap_read_number64(c);
	(void)imap_try(c, '+');
	imap_read_char(c, '}');
	return n;
}

struct span imap_read_literal(struct imap_cursor *c)
{
	uint64_t n = read_literal_header(c);
	imap_read_char(c, '\r');
	imap_read_char(c, '\n');
	if (c->why != NULL)
		return SPAN_NONE;
	if (n > c->in.n - c->at) {
		imap_fail(c, "Bad literal");
		return SPAN_NONE;
	}
	struct span s = span_of(c->in.p + c->at, (size_t)n);
	c->at += (size_t)n;
	return s;
}

uint64_t imap_read_literal_size(struct imap_cursor *c)
{
	uint64_t n = read_literal_header(c);
	imap_read_end(c);
	return c->why == NULL ? n : 0;
}

struct span imap_read_string(struct imap_cursor *c)
{
	int ch = imap_peek(c);
	if (ch == '"')
		return read_quoted(c);
	if (ch != '{') {
		imap_fail(c, "String expected");
		return SPAN_NONE;
	}
	struct span s = imap_read_literal(c);
	if (span_find(s, '\0') != SIZE_MAX) {
		imap_fail(c, "NUL in string");
		return SPAN_NONE;
	}
	return s;
}

struct span imap_read_astring(struct imap_cursor *c)
{
	int ch = imap_peek(c);
	if (ch == '"' || ch == '{')
		return imap_read_string(c);
	return read_run(c, is_astring_char, "String expected");
}

struct span imap_read_nstring(struct imap_cursor *c, bool *nil_out)
{
	*nil_out = imap_try_word(c, "NIL");
	return *nil_out ? SPAN_NONE : imap_read_string(c);
}

struct span imap_read_list_mailbox(struct imap_cursor *c)
{
	int ch = imap_peek(c);
	if (ch == '"' || ch == '{')
		return imap_read_string(c);
	return read_run(c, is_list_char, "Mailbox pattern expected");
}

/* ---- numbers ------------------------------------------------------------------------------------- */

static bool is_digit(unsigned char c)
{
	return ascii_is_digit(c);
}

static uint64_t read_number(struct imap_cursor *c, uint64_t max)
{
	uint64_t n = 0;
	struct span digits = read_run(c, is_digit, "Number expected");
	if (c->why == NULL && !span_u64(digits, max, &n))
		imap_fail(c, "Number out of range");
	return c->why == NULL ? n : 0;
}

uint32_t imap_read_number(struct imap_cursor *c)
{
	return (uint32_t)read_number(c, UINT32_MAX);
}

uint32_t imap_read_nz_number(struct imap_cursor *c)
{
	uint32_t n = imap_read_number(c);
	if (n == 0)
		imap_fail(c, "Number must not be zero");
	return n;
}

uint64_t imap_read_number64(struct imap_cursor *c)
{
	return read_number(c, INT64_MAX);
}

/* ---- flags --------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	uint32_t bit;
} system_flags[] = {
	{ "Seen", IMAP_SEEN },
	{ "Answered", IMAP_ANSWERED },
	{ "Flagged", IMAP_FLAGGED },
	{ "Deleted", IMAP_DELETED },
	{ "Draft", IMAP_DRAFT },
	{ "Recent", IMAP_RECENT },
};

struct span imap_read_flag(struct imap_cursor *c, uint32_t *system_out)
{
	*system_out = 0;
	bool system = imap_try(c, '\\');
	struct span word = imap_read_atom(c);
	if (!system) {
		if (word.n > IMAP_KEYWORD_MAX)
			imap_fail(c, "Keyword too long");
		return c->why == NULL ? word : SPAN_NONE;
	}
	for (size_t i = 0; i < COUNT_OF(system_flags); i++) {
		if (span_ieq_str(word, system_flags[i].name))
			*system_out = system_flags[i].bit;
	}
	if (*system_out == IMAP_RECENT)
		imap_fail(c, "\\Recent cannot be set");
	if (*system_out == 0)
		imap_fail(c, "Unknown system flag");
	return SPAN_NONE;
}

static void add_keyword(struct imap_cursor *c, struct imap_flags *out, struct span word)
{
	for (size_t i = 0; i < out->keyword_count; i++) {
		if (span_ieq(out->keywords[i], word))
			return;
	}
	if (out->keyword_count == IMAP_KEYWORDS_MAX) {
		imap_fail(c, "Too many keywords");
		return;
	}
	out->keywords[out->keyword_count++] = word;
}

void imap_read_flags(struct imap_cursor *c, bool bare_ok, struct imap_flags *out)
{
	out->system = 0;
	out->keyword_count = 0;
	bool list = !bare_ok || imap_peek(c) == '(';
	if (list) {
		imap_read_char(c, '(');
		if (imap_try(c, ')'))
			return;
	}
	do {
		uint32_t bit;
		struct span word = imap_read_flag(c, &bit);
		out->system |= bit;
		if (c->why == NULL && bit == 0)
			add_keyword(c, out, word);
	} while (imap_try(c, ' '));
	if (list)
		imap_read_char(c, ')');
}

bool imap_put_system_flags(struct buf *out, uint32_t system)
{
	bool first = true;
	for (size_t i = 0; i < COUNT_OF(system_flags); i++) {
		if ((system & system_flags[i].bit) == 0)
			continue;
		buf_add_str(out, first ? "\\" : " \\");
		buf_add_str(out, system_flags[i].name);
		first = false;
	}
	return buf_ok(out);
}

/* ---- output -------------------------------------------------------------------------------------- */

static bool can_quote(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char ch = (unsigned char)s.p[i];
		if (ch == '\0' || ch == '\r' || ch == '\n' || ch >= 0x80)
			return false;
	}
	return s.n <= QUOTED_MAX;
}

static bool put_quoted(struct buf *out, struct span s)
{
	char quoted[2 * QUOTED_MAX + 2];
	size_t n = 0;
	quoted[n++] = '"';
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\')
			quoted[n++] = '\\';
		quoted[n++] = s.p[i];
	}
	quoted[n++] = '"';
	return buf_add(out, quoted, n);
}

bool imap_put_quoted(struct buf *out, struct span s)
{
	return can_quote(s) && put_quoted(out, s);
}

bool imap_put_literal(struct buf *out, struct span s, bool plus)
{
	return buf_printf(out, "{%zu%s}\r\n", s.n, plus ? "+" : "") && buf_add_span(out, s);
}

bool imap_put_string(struct buf *out, struct span s)
{
	return can_quote(s) ? put_quoted(out, s) : imap_put_literal(out, s, false);
}

static bool can_be_atom(struct span s)
{
	bool atom = s.n > 0 && s.n <= QUOTED_MAX && !span_ieq_str(s, "NIL");
	for (size_t i = 0; atom && i < s.n; i++)
		atom = is_astring_char((unsigned char)s.p[i]);
	return atom;
}

bool imap_put_astring(struct buf *out, struct span s)
{
	return can_be_atom(s) ? buf_add_span(out, s) : imap_put_string(out, s);
}

bool imap_put_utf8_astring(struct buf *out, struct span s)
{
	if (can_be_atom(s))
		return buf_add_span(out, s);
	return s.n <= QUOTED_MAX ? put_quoted(out, s) : imap_put_literal(out, s, false);
}
