/* policy_action.c - requests and replies of policy services. Owns nothing; spans point into the reply. */
#include "proto/policy_action.h"

#include <string.h>

#include "base/check.h"
#include "base/fmt.h"

bool policy_attr_put(struct buf *out, const char *name, struct span value)
{
	buf_printf(out, "%s=", name);
	for (size_t i = 0; i < value.n; i++) {
		unsigned char c = (unsigned char)value.p[i];
		buf_add_char(out, c < ' ' || c == 0x7f ? '?' : value.p[i]);
	}
	return buf_add_char(out, '\n');
}

bool policy_attr_end(struct buf *out)
{
	return buf_add_char(out, '\n');
}

enum policy_reply_rx policy_reply_take(struct span input, struct span *action_out, size_t *eat_out)
{
	struct span rest = span_first(input, POLICY_REPLY_MAX);
	*action_out = SPAN_NONE;
	*eat_out = 0;
	for (;;) {
		size_t n = span_find(rest, '\n');
		if (n == SIZE_MAX)
			return input.n >= POLICY_REPLY_MAX ? POLICY_REPLY_BAD : POLICY_REPLY_MORE;
		struct span line = span_first(rest, n);
		rest = span_from(rest, n + 1);
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (line.n == 0)
			break;
		if (span_find(line, '\0') != SIZE_MAX || span_find(line, '=') == SIZE_MAX)
			return POLICY_REPLY_BAD;
		if (span_starts(line, SPAN("action=")) && action_out->p == NULL)
			*action_out = span_trim(span_from(line, 7));
	}
	*eat_out = (size_t)(rest.p - input.p);
	return action_out->p == NULL ? POLICY_REPLY_BAD : POLICY_REPLY_READY;
}

/* ---- actions ---------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	enum policy_word word;
	unsigned code;
	bool wants_text;
} words[] = {
	{ "DUNNO", POLICY_DUNNO, 0, false },
	{ "OK", POLICY_OK, 0, false },
	{ "PERMIT", POLICY_OK, 0, false },
	{ "REJECT", POLICY_REFUSE, 554, false },
	{ "DEFER", POLICY_REFUSE, 450, false },
	{ "DEFER_IF_PERMIT", POLICY_DEFER_IF_PERMIT, 450, false },
	{ "DEFER_IF_REJECT", POLICY_DEFER_IF_REJECT, 450, false },
	{ "DISCARD", POLICY_DISCARD, 0, false },
	{ "HOLD", POLICY_HOLD, 0, false },
	{ "PREPEND", POLICY_PREPEND, 0, true },
	{ "REDIRECT", POLICY_REDIRECT, 0, true },
	{ "BCC", POLICY_BCC, 0, true },
	{ "WARN", POLICY_WARN, 0, false },
	{ "INFO", POLICY_WARN, 0, false },
};

static void set_text(struct policy_action *out, struct span text)
{
	struct buf line = BUF_INIT(POLICY_TEXT_MAX);
	fmt_line_text(&line, text, POLICY_TEXT_MAX);
	memcpy(out->text, buf_cstr(&line), buf_len(&line) + 1);
	buf_end(&line);
}

/* "5.7.1": a digit, and two numbers of at most three digits (RFC 3463 section 2). */
static bool is_enhanced(struct span s, unsigned code)
{
	size_t dots = 0, digits = 0;
	if (s.n < 5 || s.n >= POLICY_ENHANCED_SIZE || (unsigned)(s.p[0] - '0') != code / 100)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		bool dot = s.p[i] == '.';
		if (dot ? digits == 0 : !ascii_is_digit((unsigned char)s.p[i]) || digits == 3)
			return false;
		digits = dot ? 0 : digits + 1;
		dots += dot;
	}
	return dots == 2 && digits > 0 && s.p[1] == '.';
}

/* Words of a refusal, with or without an enhanced code before them. */
static void set_refusal(struct policy_action *out, unsigned code, struct span text)
{
	struct span rest = text, first = span_cut(&rest, ' ');
	out->code = code;
	if (is_enhanced(first, code)) {
		memcpy(out->enhanced, first.p, first.n);
		text = span_trim(rest);
	}
	set_text(out, text);
}

static bool is_digits(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_is_digit((unsigned char)s.p[i]))
			return false;
	return s.n > 0;
}

/* 4NN and 5NN are refusals, all other numbers mean OK. */
static void set_number(struct policy_action *out, struct span number, struct span text)
{
	uint64_t code = 0;
	bool refusal =
	    number.n == 3 && span_u64(number, 999, &code) && (code / 100 == 4 || code / 100 == 5);
	out->word = refusal ? POLICY_REFUSE : POLICY_OK;
	if (refusal)
		set_refusal(out, (unsigned)code, text);
}

/* name ":" text, and nothing that could begin another field. */
static bool is_field(struct span text)
{
	size_t n = span_find(text, ':');
	for (size_t i = 0; n != SIZE_MAX && i < n; i++)
		if (text.p[i] <= ' ' || text.p[i] > '~')
			return false;
	return n != SIZE_MAX && n > 0;
}

bool policy_action_parse(struct span action, struct policy_action *out)
{
	struct span rest = span_trim(action), name = span_cut(&rest, ' ');
	rest = span_trim(rest);
	*out = (struct policy_action){ .word = POLICY_DUNNO };
	if (is_digits(name)) {
		set_number(out, name, rest);
		return true;
	}
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (!span_ieq_str(name, words[i].name))
			continue;
		out->word = words[i].word;
		if (words[i].code != 0)
			set_refusal(out, words[i].code, rest);
		else
			set_text(out, rest);
		return (rest.n > 0 || !words[i].wants_text) &&
		       (out->word != POLICY_PREPEND || is_field(span_str(out->text)));
	}
	return false;
}
