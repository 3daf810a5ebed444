/* dkim.c - see dkim.h; for tlsrpt.c. Owns nothing. */
#include "edge/dkim.h"

#include <inttypes.h>

#include "base/base64.h"
#include "net/digest.h"
#include "proto/header.h"

enum {
	SIGNED_MAX = 256 * 1024, /* fields, in relaxed form */
	SIGNATURE_MAX = 2048,    /* an RSA key of 16384 bits */
	LINE = 72,
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* ---- the body: section 3.4.4 -------------------------------------------------------------------- */

/* White space at the end goes, any other becomes one space. */
static void add_relaxed_line(struct digest_run *r, struct span line)
{
	while (line.n > 0 && is_space(line.p[line.n - 1]))
		line.n--;
	while (line.n > 0) {
		size_t n = 0;
		while (n < line.n && !is_space(line.p[n]))
			n++;
		digest_run_add(r, span_first(line, n));
		line = span_from(line, n);
		for (n = 0; n < line.n && is_space(line.p[n]);)
			n++;
		if (n > 0)
			digest_run_add(r, SPAN(" "));
		line = span_from(line, n);
	}
}

static bool is_blank(struct span line)
{
	return span_trim(line).n == 0;
}

bool dkim_put_body_hash(struct span message, struct buf *out)
{
	uint8_t digest[DIGEST_LEN_MAX];
	struct digest_run *r = digest_run_new(DIGEST_SHA256);
	struct span rest = span_from(message, header_size(message));
	uint64_t blank = 0; /* lines that count if another one follows */
	while (rest.n > 0) {
		struct span line = span_cut(&rest, '\n');
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (is_blank(line)) {
			blank++;
			continue;
		}
		for (; blank > 0; blank--)
			digest_run_add(r, SPAN("\r\n"));
		add_relaxed_line(r, line);
		digest_run_add(r, SPAN("\r\n"));
	}
	return buf_add(out, digest, digest_run_end(&r, digest));
}

/* ---- the fields: section 3.4.2 ------------------------------------------------------------------ */

static void put_relaxed(const struct header_field *f, struct buf *out)
{
	struct span name = span_trim(f->name), value = span_trim(f->value);
	bool space = false;
	for (size_t i = 0; i < name.n; i++)
		buf_add_char(out, ascii_lower(name.p[i]));
	buf_add_char(out, ':');
	for (size_t i = 0; i < value.n; i++) {
		char c = value.p[i];
		if (is_space(c)) {
			space = true;
		} else if (c != '\r' && c != '\n') {
			if (space)
				buf_add_char(out, ' ');
			space = false;
			buf_add_char(out, c);
		}
	}
}

/* How often does the name stand in the list, up to here? */
static size_t times_before(struct span fields, struct span name)
{
	size_t n = 0;
	for (struct span rest = span_of(fields.p, (size_t)(name.p - fields.p)); rest.n > 0;)
		n += span_ieq(span_trim(span_cut(&rest, ':')), name);
	return n;
}

/* Of several fields of a name the last comes first; one that is not there is signed as nothing (section 5.4.2). */
static void put_field(struct span message, struct span fields, struct span name, struct buf *out)
{
	struct header_field f;
	size_t before = times_before(fields, name), have = header_count(message, name);
	if (before >= have || !header_find(message, name, have - 1 - before, &f))
		return;
	put_relaxed(&f, out);
	buf_add_str(out, "\r\n");
}

bool dkim_put_signed(struct span message, struct span fields, struct span own, struct buf *out)
{
	struct header_field f;
	for (struct span rest = fields; rest.n > 0;)
		put_field(message, fields, span_trim(span_cut(&rest, ':')), out);
	if (!header_find(own, SPAN("DKIM-Signature"), 0, &f))
		return false;
	put_relaxed(&f, out);
	return buf_ok(out);
}

/* ---- the signature ------------------------------------------------------------------------------ */

/* In lines of a length that mail has. */
static void put_folded(struct buf *out, struct span text)
{
	for (; text.n > 0; text = span_from(text, text.n < LINE ? text.n : LINE)) {
		buf_add_str(out, "\r\n\t");
		buf_add_span(out, span_first(text, LINE));
	}
}

/* Everything but the signature itself: "DKIM-Signature: ... b=" */
static void put_tags(const struct dkim *d, struct span message, uint64_t wall_s, struct buf *out)
{
	struct buf hash = BUF_INIT(DIGEST_LEN_MAX);
	dkim_put_body_hash(message, &hash);
	buf_printf(out,
	    "DKIM-Signature: v=1; a=%s; c=relaxed/relaxed;\r\n\td=%s;\r\n\ts=%s; t=%" PRIu64
	    ";\r\n\th=",
	    sign_key_algorithm(d->key), d->domain, d->selector, wall_s);
	for (struct span rest = span_str(d->fields); rest.n > 0;) {
		buf_add_span(out, span_cut(&rest, ':'));
		buf_add_str(out, rest.n > 0 ? ":\r\n\t " : ";\r\n\tbh=");
	}
	base64_put(out, buf_span(&hash));
	buf_add_str(out, ";\r\n\tb=");
	buf_end(&hash);
}

bool dkim_put_signature(const struct dkim *d, struct span message, uint64_t wall_s, struct buf *out)
{
	struct buf own = BUF_INIT(SIGNED_MAX), text = BUF_INIT(SIGNED_MAX);
	struct buf raw = BUF_INIT(SIGNATURE_MAX), digits = BUF_INIT(2 * SIGNATURE_MAX);
	put_tags(d, message, wall_s, &own);
	bool good =
	    buf_ok(&own) && dkim_put_signed(message, span_str(d->fields), buf_span(&own), &text) &&
	    sign_key_put(d->key, buf_span(&text), &raw) && base64_put(&digits, buf_span(&raw));
	if (good) {
		buf_add_span(out, buf_span(&own));
		put_folded(out, buf_span(&digits));
		buf_add_str(out, "\r\n");
	}
	buf_end(&own);
	buf_end(&text);
	buf_end(&raw);
	buf_end(&digits);
	return good && buf_ok(out);
}
