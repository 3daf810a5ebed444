/* scan_text.c - what spamd sends behind its verdict (part of step 4, scanner.c). */
#include "edge/scan_text.h"

#include "proto/header.h"

#include "edge/edge_conf.h"

void scan_text_init(struct scan_text *t, int command)
{
	bool names = command <= EDGE_SPAMD_SYMBOLS;
	*t = (struct scan_text){ .command = command };
	t->head = BUF_INIT(names ? (size_t)SCAN_SYMBOLS_MAX : (size_t)HEADER_BYTES_MAX);
}

void scan_text_end(struct scan_text *t)
{
	buf_end(&t->head);
	t->in_body = false;
}

/* Behind the empty line that ends a header section; SIZE_MAX: it is not there yet. */
static size_t section_end(struct span s)
{
	size_t crlf = span_find_span(s, SPAN("\r\n\r\n")), lf = span_find_span(s, SPAN("\n\n"));
	if (crlf == SIZE_MAX && lf == SIZE_MAX)
		return SIZE_MAX;
	return crlf < lf ? crlf + 4 : lf + 2;
}

static err_t add_body(struct edit *e, struct span bytes)
{
	struct milter_change c = { .value = bytes };
	return edit_note(e, MILTER_R_REPLACE_BODY, &c, false);
}

err_t scan_text_add(struct scan_text *t, struct span bytes, struct edit *e)
{
	if (t->in_body)
		return t->command == EDGE_SPAMD_PROCESS ? add_body(e, bytes) : ERR_OK;
	if (!buf_add_span(&t->head, bytes))
		return ERR_TOO_LONG;
	size_t end = t->command <= EDGE_SPAMD_SYMBOLS ? SIZE_MAX : section_end(buf_span(&t->head));
	if (end == SIZE_MAX)
		return ERR_OK;
	t->in_body = true;
	struct span rest = span_from(buf_span(&t->head), end);
	err_t err = t->command == EDGE_SPAMD_PROCESS ? add_body(e, rest) : ERR_OK;
	t->head.tail = t->head.head + end;
	return err;
}

void scan_text_put_symbols(const struct scan_text *t, struct buf *out)
{
	struct span names = span_trim(buf_span(&t->head));
	buf_add_str(out, " tests=");
	for (size_t i = 0; i < names.n; i++) {
		unsigned char c = (unsigned char)names.p[i];
		bool good = ascii_is_alpha(c) || ascii_is_digit(c) || c == '_';
		buf_add_char(out, good || c == ',' ? (char)c : '?');
		if (c == ',')
			buf_add_str(out, "\n\t");
	}
}

err_t scan_text_apply(struct scan_text *t, struct edit *e)
{
	err_t err = edit_replace_fields(e, buf_span(&t->head));
	return err ? err : edit_accept(e);
}
