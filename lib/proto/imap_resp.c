/* imap_resp.c - one framed response of an IMAP server; see imap_resp.h.
 *
 * Step after imap_frame.c; before mmp's back. Owns nothing. */
#include "base/check.h"
#include "proto/imap_resp.h"

static const struct {
	const char *word;
	enum imap_cond cond;
	bool tagged; /* may answer a command */
} conds[] = {
	{ "OK", IMAP_COND_OK, true },
	{ "NO", IMAP_COND_NO, true },
	{ "BAD", IMAP_COND_BAD, true },
	{ "PREAUTH", IMAP_COND_PREAUTH, false },
	{ "BYE", IMAP_COND_BYE, false },
};

/* Text may be missing altogether: some servers end with the condition. */
static void read_resp_text(struct imap_cursor *c, struct imap_resp *r)
{
	if (!imap_try(c, ' ') && !imap_at_end(c))
		imap_fail(c, "Space expected");
	if (!imap_try(c, '[')) {
		r->text = imap_read_rest(c);
		return;
	}
	struct span rest = imap_read_rest(c);
	size_t end = span_find(rest, ']');
	if (end == SIZE_MAX) { /* no code after all: it is text */
		r->text = span_of(rest.p - 1, rest.n + 1);
		return;
	}
	r->code_args = span_first(rest, end);
	r->code = span_cut(&r->code_args, ' ');
	r->text = span_from(rest, end + 1);
	if (r->text.n > 0 && r->text.p[0] == ' ')
		r->text = span_from(r->text, 1);
}

/* OK, NO ... if that is what comes next; the words of untagged data stay. */
static bool try_cond(struct imap_cursor *c, struct imap_resp *r)
{
	for (size_t i = 0; i < COUNT_OF(conds); i++) {
		if ((r->kind == IMAP_RESP_UNTAGGED || conds[i].tagged) &&
		    imap_try_word(c, conds[i].word)) {
			r->cond = conds[i].cond;
			read_resp_text(c, r);
			return true;
		}
	}
	return false;
}

static void read_untagged(struct imap_cursor *c, struct imap_resp *r)
{
	if (try_cond(c, r))
		return;
	int ch = imap_peek(c);
	if (ch >= '0' && ch <= '9') {
		r->has_number = true;
		r->number = imap_read_number(c);
		imap_read_sp(c);
	}
	r->name = imap_read_atom(c);
	if (!imap_at_end(c))
		imap_read_sp(c);
	r->data = imap_read_rest(c);
}

err_t imap_resp_parse(struct span response, struct imap_resp *out)
{
	struct imap_cursor c;
	*out = (struct imap_resp){ .kind = IMAP_RESP_TAGGED };
	imap_cursor_init(&c, response, NULL);
	if (imap_try(&c, '+')) {
		out->kind = IMAP_RESP_CONTINUE;
		(void)imap_try(&c, ' ');
		out->text = imap_read_rest(&c);
		return ERR_OK;
	}
	if (imap_try(&c, '*')) {
		out->kind = IMAP_RESP_UNTAGGED;
		imap_read_sp(&c);
		read_untagged(&c, out);
	} else {
		out->tag = imap_read_tag(&c);
		imap_read_sp(&c);
		if (imap_ok(&c) && !try_cond(&c, out))
			imap_fail(&c, "No condition");
	}
	return imap_ok(&c) ? ERR_OK : ERR_PROTOCOL;
}

struct span imap_resp_capabilities(const struct imap_resp *r)
{
	if (span_ieq_str(r->code, "CAPABILITY"))
		return r->code_args;
	if (r->kind == IMAP_RESP_UNTAGGED && span_ieq_str(r->name, "CAPABILITY") && !r->has_number)
		return r->data;
	return SPAN_NONE;
}

/* One argument of LOGIN, as a literal where it must be one. */
static bool put_secret(struct buf *out, struct span s, bool plus)
{
	if (imap_put_quoted(out, s))
		return true;
	return buf_ok(out) && plus && span_find(s, '\0') == SIZE_MAX &&
	       imap_put_literal(out, s, true);
}

bool imap_put_login(
    struct buf *out, struct span tag, struct span user, struct span secret, bool plus)
{
	return buf_add_span(out, tag) && buf_add_str(out, " LOGIN ") &&
	       put_secret(out, user, plus) && buf_add_char(out, ' ') &&
	       put_secret(out, secret, plus) && buf_add_str(out, "\r\n");
}
