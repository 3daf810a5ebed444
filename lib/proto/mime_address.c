/* mime_address.c - the addresses of From, To and their like, one after the other; see mime.h.
 *
 * Tolerant: an address is a run of tokens up to a comma, and what it means is decided by the angle
 * bracket, colon or "@" among them. Owns nothing; texts are built in the caller's scratch. */
#include "proto/mime.h"

enum { ROUTE_MAX = 1000 }; /* how far a route's colon is looked for */

/* Offsets into scratch, since it may move while texts are added. */
struct text {
	size_t from, n;
	bool set;
};

struct reader {
	struct span *rest;
	struct buf *out;
	struct text comment; /* the last one seen in this address */
};

static bool is_special(char ch)
{
	unsigned char c = (unsigned char)ch;
	return c <= 0x20 || c == 0x7f || memchr("()<>@,;:\\\"[]", c, 12) != NULL;
}

static int peek(const struct reader *r)
{
	return r->rest->n == 0 ? -1 : (unsigned char)r->rest->p[0];
}

static void skip(struct reader *r, size_t n)
{
	*r->rest = span_from(*r->rest, n);
}

static struct text text_begin(const struct reader *r)
{
	return (struct text){ .from = buf_len(r->out), .set = true };
}

static void text_end(const struct reader *r, struct text *t)
{
	t->n = buf_len(r->out) - t->from;
}

/* Up to the closing one of a pair, which nests when they differ; the opening one is behind us. */
static void take_enclosed(struct reader *r, struct buf *out, const char *pair, bool keep_backslash)
{
	struct span in = *r->rest;
	size_t i = 0, depth = 0;
	for (; i < in.n; i++) {
		char c = in.p[i];
		if (c == pair[1] && depth-- == 0)
			break;
		if (c == pair[0])
			depth++;
		if (c == '\\' && i + 1 < in.n) {
			if (keep_backslash)
				buf_add_char(out, c);
			c = in.p[++i];
		}
		if (c != '\r' && c != '\n' && c != '\0')
			buf_add_char(out, c);
	}
	skip(r, i + 1);
}

/* White space and comments. */
static void skip_cfws(struct reader *r)
{
	for (;;) {
		int c = peek(r);
		if (c == '(') {
			skip(r, 1);
			r->comment = text_begin(r);
			take_enclosed(r, r->out, "()", false);
			text_end(r, &r->comment);
		} else if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\0') {
			skip(r, 1);
		} else {
			return;
		}
	}
}

static bool at_word(const struct reader *r)
{
	int c = peek(r);
	return c == '"' || c == '[' || (c != -1 && !is_special((char)c));
}

/* Appends one word to out: atom (dots included), quoted string, or [domain literal]. */
static void take_word(struct reader *r, struct buf *out)
{
	int c = peek(r);
	if (c == '"') {
		skip(r, 1);
		take_enclosed(r, out, "\"\"", false);
		return;
	}
	if (c == '[') {
		skip(r, 1);
		buf_add_char(out, '[');
		take_enclosed(r, out, "[]", true);
		buf_add_char(out, ']');
		return;
	}
	size_t n = 0;
	while (n < r->rest->n && !is_special(r->rest->p[n]))
		n++;
	buf_add(out, r->rest->p, n);
	skip(r, n);
}

/* Words with one space between them where `spaced`, else run together ("a . b" of old). Collected
 * apart, since the comments among them are texts too. */
static struct text take_words(struct reader *r, bool spaced)
{
	struct buf words = BUF_INIT(MIME_HEADER_MAX);
	struct text t = { 0 };
	for (skip_cfws(r); at_word(r); skip_cfws(r)) {
		if (t.set && spaced)
			buf_add_char(&words, ' ');
		take_word(r, &words);
		t.set = true;
	}
	t.from = buf_len(r->out);
	buf_add_span(r->out, buf_span(&words));
	text_end(r, &t);
	buf_end(&words);
	return t;
}

/* Everything up to what ends an address; a comma or semicolon itself is taken by the caller. */
static void skip_junk(struct reader *r)
{
	for (int c = peek(r); c != -1 && c != ',' && c != ';'; c = peek(r)) {
		skip_cfws(r);
		c = peek(r);
		if (c == '"' || c == '[') {
			take_word(r, r->out);
		} else if (c != -1 && c != ',' && c != ';') {
			skip(r, 1);
		}
	}
}

struct parts {
	struct text name, route, mailbox, host;
};

/* "@a,@b:" in front of an address in brackets. */
static struct text take_route(struct reader *r)
{
	struct text route = { 0 };
	if (peek(r) != '@')
		return route;
	struct span near = span_first(*r->rest, ROUTE_MAX);
	size_t colon = span_find(near, ':'), close = span_find(near, '>');
	if (colon == SIZE_MAX || colon > close)
		return route;
	route = text_begin(r);
	mime_unfold(span_first(*r->rest, colon), r->out);
	text_end(r, &route);
	skip(r, colon + 1);
	return route;
}

static void take_address_spec(struct reader *r, struct parts *p)
{
	p->mailbox = take_words(r, false);
	if (peek(r) == '@') {
		skip(r, 1);
		p->host = take_words(r, false);
	}
}

/* Behind "<". */
static void take_angle(struct reader *r, struct parts *p)
{
	skip_cfws(r);
	p->route = take_route(r);
	take_address_spec(r, p);
	while (peek(r) != -1 && peek(r) != '>' && peek(r) != ',')
		skip(r, 1);
	if (peek(r) == '>')
		skip(r, 1);
	p->mailbox.set = true; /* "<>" is an address too */
}

static struct span text_of(const struct buf *b, struct text t)
{
	return t.set ? span_first(span_from(buf_span(b), t.from), t.n) : SPAN_NONE;
}

static void fill(struct reader *r, const struct parts *p, struct mime_address *out)
{
	if (out->kind == MIME_MAILBOX)
		out->name = text_of(r->out, p->name.set ? p->name : r->comment);
	out->route = text_of(r->out, p->route);
	out->mailbox = text_of(r->out, p->mailbox);
	out->host = text_of(r->out, p->host);
}

/* One address or group start from where an address may begin. False: nothing that could be one. */
static bool take_address(struct reader *r, struct mime_address *out)
{
	struct parts p = { 0 };
	struct span start = *r->rest;
	struct text phrase = take_words(r, true);
	int c = peek(r);
	if (c == ':' && phrase.set) {
		skip(r, 1);
		out->kind = MIME_GROUP_START;
		p.mailbox = phrase;
	} else if (c == '<') {
		skip(r, 1);
		p.name = phrase;
		take_angle(r, &p);
	} else if (c == '@' || phrase.set) {
		*r->rest = start; /* no phrase after all: read it as an address */
		take_address_spec(r, &p);
	} else {
		return false;
	}
	if (out->kind == MIME_MAILBOX)
		skip_junk(r);
	else
		skip_cfws(r);
	fill(r, &p, out);
	return true;
}

bool mime_next_address(struct span *rest, struct buf *scratch, struct mime_address *out)
{
	struct reader r = { .rest = rest, .out = scratch };
	buf_clear(scratch);
	*out = (struct mime_address){ .kind = MIME_MAILBOX };
	for (;;) {
		skip_cfws(&r);
		int c = peek(&r);
		if (c == -1)
			return false;
		if (c == ';') {
			skip(&r, 1);
			out->kind = MIME_GROUP_END;
			return true;
		}
		if (c == ',') {
			skip(&r, 1);
			continue;
		}
		r.comment.set = false;
		if (take_address(&r, out))
			return true;
		skip_junk(&r);
	}
}
