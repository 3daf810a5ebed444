/* lex.c - step 1 of loading: bytes to tokens; after: tree.c. Owns nothing. */
#include "conf/lex.h"

void lex_init(struct lexer *l, struct span text)
{
	*l = (struct lexer){ text, 1, 1 };
	if (span_starts(text, SPAN("\xef\xbb\xbf"))) /* some editors write a byte order mark */
		l->rest = span_from(text, 3);
}

static void step(struct lexer *l, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)l->rest.p[i];
		if (c == '\n') {
			l->line++;
			l->column = 1;
		} else if ((c & 0xc0) != 0x80) {
			l->column++;
		}
	}
	l->rest = span_from(l->rest, n);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_control(char c)
{
	return (unsigned char)c < ' ' || c == 0x7f;
}

static bool ends_word(char c)
{
	return is_blank(c) || is_control(c) || c == ';' || c == ',' || c == '{' || c == '}' ||
	       c == '"';
}

static void skip_blank(struct lexer *l)
{
	for (;;) {
		size_t n = 0;
		while (n < l->rest.n && is_blank(l->rest.p[n]))
			n++;
		step(l, n);
		if (l->rest.n == 0 || l->rest.p[0] != '#')
			return;
		n = span_find(l->rest, '\n');
		step(l, n == SIZE_MAX ? l->rest.n : n);
	}
}

static size_t word_length(struct span s)
{
	size_t n = 0;
	while (n < s.n && !ends_word(s.p[n]))
		n++;
	return n;
}

/* s begins with a quote. The length with both quotes; *why is set when it is broken, the length is
 * then that of what to skip. */
static size_t string_length(struct span s, const char **why)
{
	size_t n = 1;
	for (; n < s.n && s.p[n] != '"' && s.p[n] != '\n'; n++) {
		if (s.p[n] == '\\' && n + 1 < s.n && s.p[n + 1] != '\n') {
			char c = s.p[++n];
			if (c != '"' && c != '\\' && c != 'n' && c != 't')
				*why =
				    "unknown escape in a quoted string; known: \\\" \\\\ \\n \\t";
		} else if (is_control(s.p[n]) && s.p[n] != '\t') {
			*why = "control character in a quoted string";
		}
	}
	if (n < s.n && s.p[n] == '"')
		return n + 1;
	*why = "quoted string is not closed on its line";
	return n;
}

static enum token_kind kind_of(char c)
{
	switch (c) {
	case ';':
		return TOK_SEMICOLON;
	case ',':
		return TOK_COMMA;
	case '{':
		return TOK_OPEN;
	case '}':
		return TOK_CLOSE;
	case '"':
		return TOK_STRING;
	default:
		return is_control(c) ? TOK_BAD : TOK_WORD;
	}
}

void lex_next(struct lexer *l, struct token *out)
{
	size_t n = 1;
	skip_blank(l);
	*out = (struct token){ .kind = TOK_END, .line = l->line, .column = l->column };
	if (l->rest.n > 0) {
		out->kind = kind_of(l->rest.p[0]);
		if (out->kind == TOK_BAD)
			out->why = "control character";
		else if (out->kind == TOK_STRING)
			n = string_length(l->rest, &out->why);
		else if (out->kind == TOK_WORD)
			n = word_length(l->rest);
		out->raw = span_first(l->rest, n);
		if (out->why == NULL && !span_is_utf8(out->raw))
			out->why = "not UTF-8";
		if (out->why != NULL) {
			out->is_text = out->kind != TOK_BAD;
			out->kind = TOK_BAD;
		}
		step(l, n);
	}
	out->end_column = l->column;
}

bool lex_unquote(const struct token *t, struct buf *out)
{
	struct span s = span_from(span_first(t->raw, t->raw.n - 1), 1);
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c == '\\' && i + 1 < s.n) {
			c = s.p[++i];
			c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
		}
		buf_add_char(out, c);
	}
	return buf_ok(out);
}

bool lex_quote(struct span v, struct buf *out)
{
	if (v.n > 0 && v.p[0] != '#' && word_length(v) == v.n)
		return buf_add_span(out, v);
	buf_add_char(out, '"');
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] == '"' || v.p[i] == '\\' || v.p[i] == '\n') {
			buf_add_char(out, '\\');
			buf_add_char(out, v.p[i] == '\n' ? 'n' : v.p[i]);
		} else {
			buf_add_char(out, v.p[i]);
		}
	}
	return buf_add_char(out, '"');
}
