/* lex.h - inside of lib/conf: the words of a configuration file.
 *
 * Words run up to white space or one of ; , { } and double quotes; # begins a comment where a word
 * could begin. A quoted string ends on its own line and knows \" \\ \n \t. Pure: bytes in, tokens
 * out; a bad byte is a token too, so that the parser can go on behind it. */
#ifndef CONF_LEX_H
#define CONF_LEX_H

#include "base/buf.h"
#include "base/span.h"

enum token_kind {
	TOK_WORD,
	TOK_STRING,
	TOK_SEMICOLON,
	TOK_COMMA,
	TOK_OPEN,
	TOK_CLOSE,
	TOK_END,
	TOK_BAD
};

struct token {
	enum token_kind kind;
	struct span raw;       /* as it stands in the file */
	const char *why;       /* TOK_BAD: the reason */
	bool is_text;          /* TOK_BAD: it was meant as a word or a string */
	unsigned line, column; /* where it begins, counted from 1, columns in characters */
	unsigned end_column;   /* just behind it (tokens never span lines) */
};

struct lexer {
	struct span rest;
	unsigned line, column;
};

void lex_init(struct lexer *l, struct span text);
void lex_next(struct lexer *l, struct token *out);

/* The bytes a TOK_STRING stands for, appended to out. */
bool lex_unquote(const struct token *t, struct buf *out);
/* Appends v so that it reads back as one word or string. */
bool lex_quote(struct span v, struct buf *out);

#endif
