/* imap_flow.c - the responses of an IMAP server as they flow past; see imap_flow.h. Owns nothing. */
#include <string.h>

#include "proto/imap_flow.h"

/* How much of the announcement of a literal the line ends with. */
enum { BRACE_NONE, BRACE_OPEN, BRACE_DIGITS, BRACE_CLOSED, BRACE_CR, BRACE_CR_ANNOUNCED };

void imap_flow_init(struct imap_flow *f)
{
	memset(f, 0, sizeof *f);
}

/* ---- what is it? ------------------------------------------------------------------------------------- */

/* Behind "* " or "tag ": the word with the byte behind it is there, or the answer is MORE. */
static enum imap_flow_kind classify_word(struct span rest, bool tagged)
{
	static const struct {
		const char *word;
		enum imap_flow_kind tagged, untagged;
	} rows[] = {
		{ "OK", IMAP_FLOW_OK, IMAP_FLOW_UNTAGGED },
		{ "NO", IMAP_FLOW_NO, IMAP_FLOW_UNTAGGED },
		{ "BAD", IMAP_FLOW_BAD, IMAP_FLOW_UNTAGGED },
		{ "BYE", IMAP_FLOW_BROKEN, IMAP_FLOW_BYE },
		{ "PREAUTH", IMAP_FLOW_BROKEN, IMAP_FLOW_BROKEN },
	};
	size_t n = 0;
	while (n < rest.n && n < sizeof "PREAUTH" && rest.p[n] != ' ' && rest.p[n] != '\r')
		n++;
	if (n == rest.n && n < sizeof "PREAUTH")
		return IMAP_FLOW_MORE;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if (span_ieq_str(span_first(rest, n), rows[i].word))
			return tagged ? rows[i].tagged : rows[i].untagged;
	}
	return tagged ? IMAP_FLOW_BROKEN : IMAP_FLOW_UNTAGGED;
}

static bool is_status(struct span rest)
{
	static const char *const words[] = { "OK", "NO", "BAD", "BYE" };
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		size_t n = strlen(words[i]);
		if (rest.n > n && span_ieq_str(span_first(rest, n), words[i]) &&
		    (rest.p[n] == ' ' || rest.p[n] == '\r'))
			return true;
	}
	return false;
}

static enum imap_flow_kind classify(struct imap_flow *f, struct span tag, struct span input)
{
	if (input.p[0] == '+') {
		f->literals = false;
		return IMAP_FLOW_CONTINUE;
	}
	bool tagged = input.p[0] != '*';
	size_t head = tagged ? tag.n : 1;
	struct span seen = span_first(input, head);
	if (tagged && !span_eq(seen, span_first(tag, seen.n)))
		return IMAP_FLOW_BROKEN;
	if (input.n <= head)
		return IMAP_FLOW_MORE;
	if (input.p[head] != ' ' || head == 0)
		return IMAP_FLOW_BROKEN;
	struct span rest = span_from(input, head + 1);
	enum imap_flow_kind kind = classify_word(rest, tagged);
	f->literals = kind == IMAP_FLOW_UNTAGGED && !is_status(rest);
	return kind;
}

/* ---- where does it end? -------------------------------------------------------------------------------- */

static bool add_digit(struct imap_flow *f, char c)
{
	uint64_t digit = (uint64_t)(c - '0');
	if (f->number > (UINT64_MAX - digit) / 10)
		return false;
	f->number = f->number * 10 + digit;
	return true;
}

/* One byte of a line. False: it must not be there. */
static bool step_brace(struct imap_flow *f, char c)
{
	bool digits = f->brace == BRACE_OPEN || f->brace == BRACE_DIGITS;
	if (c == '\0' || (c == '\n') != (f->brace == BRACE_CR || f->brace == BRACE_CR_ANNOUNCED))
		return false;
	if (c == '\r')
		f->brace = f->brace == BRACE_CLOSED ? BRACE_CR_ANNOUNCED : BRACE_CR;
	else if (c == '{')
		f->brace = BRACE_OPEN, f->number = 0;
	else if (digits && ascii_is_digit((unsigned char)c))
		f->brace = add_digit(f, c) ? BRACE_DIGITS : BRACE_NONE;
	else if (f->brace == BRACE_DIGITS && c == '}')
		f->brace = BRACE_CLOSED;
	else if (c != '\n')
		f->brace = BRACE_NONE;
	return true;
}

/* The bytes of the line under way, with its end if that is there; SIZE_MAX: broken. */
static size_t take_line(struct imap_flow *f, struct span input, bool *ended_out)
{
	for (size_t i = 0; i < input.n; i++) {
		if (!step_brace(f, input.p[i]) || ++f->line > IMAP_FLOW_LINE_MAX)
			return SIZE_MAX;
		*ended_out = input.p[i] == '\n';
		if (*ended_out)
			return i + 1;
	}
	return input.n;
}

static void end_line(struct imap_flow *f, bool *ends_out)
{
	bool announced = f->brace == BRACE_CR_ANNOUNCED && f->literals;
	f->literal_left = announced ? f->number : 0;
	f->brace = BRACE_NONE;
	f->line = 0;
	*ends_out = !announced;
	if (!announced)
		f->kind = IMAP_FLOW_MORE;
}

enum imap_flow_kind imap_flow_take(
    struct imap_flow *f, struct span tag, struct span input, size_t *n_out, bool *ends_out)
{
	*n_out = 0;
	*ends_out = false;
	if (input.n == 0 || f->kind == IMAP_FLOW_BROKEN)
		return f->kind == IMAP_FLOW_BROKEN ? IMAP_FLOW_BROKEN : IMAP_FLOW_MORE;
	if (f->kind == IMAP_FLOW_MORE)
		f->kind = classify(f, tag, input);
	enum imap_flow_kind kind = f->kind;
	if (kind == IMAP_FLOW_MORE || kind == IMAP_FLOW_BROKEN)
		return kind;
	if (f->literal_left > 0) {
		*n_out = f->literal_left < input.n ? (size_t)f->literal_left : input.n;
		f->literal_left -= *n_out;
		return kind;
	}
	bool ended = false;
	*n_out = take_line(f, input, &ended);
	if (*n_out == SIZE_MAX) {
		*n_out = 0;
		f->kind = IMAP_FLOW_BROKEN;
		return IMAP_FLOW_BROKEN;
	}
	if (ended)
		end_line(f, ends_out);
	return kind;
}
