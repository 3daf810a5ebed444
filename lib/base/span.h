/* span.h - a borrowed view of bytes: pointer and length, no NUL needed, no ownership.
 *
 * Wire bytes are always handled as spans, never with C-string calls. A span into a buffer lives
 * until the next call that changes that buffer. Comparisons "i" fold ASCII letters only. */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const char *p;
	size_t n;
};

#define SPAN(lit) ((struct span){ "" lit, sizeof(lit) - 1 })
#define SPAN_NONE ((struct span){ NULL, 0 })
/* For printf: "%.*s", SPAN_ARG(s) */
#define SPAN_ARG(s) (int)((s).n), ((s).p != NULL ? (s).p : "")

static inline struct span span_of(const void *p, size_t n)
{
	return (struct span){ (const char *)p, n };
}

static inline struct span span_str(const char *s)
{
	return s == NULL ? SPAN_NONE : (struct span){ s, strlen(s) };
}

bool span_eq(struct span a, struct span b);
bool span_ieq(struct span a, struct span b);
bool span_eq_str(struct span a, const char *b);
bool span_ieq_str(struct span a, const char *b);
int span_cmp(struct span a, struct span b); /* memcmp order, shorter first */
bool span_starts(struct span s, struct span prefix);
bool span_istarts(struct span s, struct span prefix);
bool span_iends(struct span s, struct span suffix);

/* The part of s from `from` on, or at most n bytes of it; out of range gives an empty span. */
struct span span_from(struct span s, size_t from);
struct span span_first(struct span s, size_t n);
struct span span_trim(struct span s); /* without SP, HTAB, CR, LF at both ends */

/* Index of the first (last) byte c, or SIZE_MAX. */
size_t span_find(struct span s, char c);
size_t span_rfind(struct span s, char c);
size_t span_find_span(struct span s, struct span what);

/* Cuts *rest at the first `sep`: the part before it is returned, *rest keeps what follows.
 * Without a separator all of *rest is returned and *rest becomes empty with p == NULL. */
struct span span_cut(struct span *rest, char sep);

/* Is the word in a list separated by spaces? Case-blind. */
bool span_has_word(struct span words, struct span word);

/* Strict unsigned decimal: digits only, at least one, value <= max. False otherwise. */
bool span_u64(struct span s, uint64_t max, uint64_t *out);

bool span_is_like(
    struct span text, struct span pattern); /* case ignored; `*` stands for any bytes, none too */
/* Takes the next byte of a text that is not empty, "%41" as "A" (RFC 3986 section 2.1). False: a broken escape; nothing is
 * taken. */
bool span_cut_escaped(struct span *rest, char *out);
bool span_is_ascii(struct span s); /* every byte below 0x80 */
/* A byte below a space, or DEL: what could end a line or a field. */
bool span_has_control(struct span s);
bool span_is_visible(struct span s); /* every byte from "!" to "~": printable ASCII, no space */
bool span_is_utf8(struct span s);    /* well-formed UTF-8 (RFC 3629) */

/* Case-folds ASCII into dst, which holds at least s.n bytes. */
void span_lower_to(char *dst, struct span s);

static inline bool ascii_is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static inline bool ascii_is_alpha(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}
/* The value of a hex digit in either case; -1: it is none. */
static inline int ascii_hex(char c)
{
	if (ascii_is_digit((unsigned char)c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#endif
