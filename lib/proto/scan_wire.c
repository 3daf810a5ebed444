/* scan_wire.c - what scanners answer; no I/O. */
#include "proto/scan_wire.h"

void scan_name_set(char name[SCAN_NAME_MAX + 1], struct span given)
{
	struct span s = span_first(given, SCAN_NAME_MAX);
	for (size_t i = 0; i < s.n; i++)
		name[i] = s.p[i] > 0x20 && s.p[i] < 0x7f ? s.p[i] : '?';
	name[s.n] = '\0';
}

/* ---- spamd ------------------------------------------------------------------------------------- */

/* "-12.5" as thousandths, and as text. */
static bool parse_number(struct span s, int64_t *milli_out, char text[SPAMD_NUMBER_MAX])
{
	bool minus = s.n > 0 && s.p[0] == '-';
	struct span rest = span_from(s, minus), whole = span_cut(&rest, '.');
	uint64_t units, fraction = 0;
	if (s.n >= SPAMD_NUMBER_MAX || !span_u64(whole, 1000000, &units))
		return false;
	for (size_t i = 0; i < rest.n; i++) {
		if (!ascii_is_digit((unsigned char)rest.p[i]))
			return false;
		static const unsigned weight[] = { 100, 10, 1 };
		if (i < 3)
			fraction += weight[i] * (unsigned)(rest.p[i] - '0');
	}
	*milli_out = (int64_t)(units * 1000 + fraction) * (minus ? -1 : 1);
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	return true;
}

/* "True ; 15.2 / 5.0" */
static bool parse_spam(struct span value, struct spamd_head *out)
{
	int64_t required;
	struct span rest = value, word = span_trim(span_cut(&rest, ';'));
	struct span score = span_trim(span_cut(&rest, '/'));
	out->spam = span_ieq(word, SPAN("True")) || span_ieq(word, SPAN("Yes"));
	if (!out->spam && !span_ieq(word, SPAN("False")) && !span_ieq(word, SPAN("No")))
		return false;
	return parse_number(score, &out->score_milli, out->score) &&
	       parse_number(span_trim(rest), &required, out->required);
}

/* "SPAMD/1.1 0 EX_OK" */
static bool first_line_ok(struct span line)
{
	struct span name = span_cut(&line, ' '), code = span_cut(&line, ' ');
	return span_starts(name, SPAN("SPAMD/")) && span_eq_str(code, "0");
}

static bool parse_line(struct span line, struct spamd_head *out, bool *spam_out)
{
	struct span value = line, name = span_cut(&value, ':');
	value = span_trim(value);
	if (span_ieq(name, SPAN("Content-length"))) {
		out->has_length = true;
		return span_u64(value, UINT32_MAX, &out->length);
	}
	if (!span_ieq(name, SPAN("Spam")))
		return true;
	*spam_out = true;
	return parse_spam(value, out);
}

static bool parse_head(struct span head, struct spamd_head *out)
{
	bool first = true, spam = false;
	*out = (struct spamd_head){ 0 };
	while (head.n > 0) {
		struct span line = span_trim(span_cut(&head, '\n'));
		if (first ? !first_line_ok(line) : !parse_line(line, out, &spam))
			return false;
		first = false;
	}
	return spam;
}

enum scan_rx spamd_take_head(struct span input, struct spamd_head *out, size_t *eat_out)
{
	size_t end = span_find_span(input, SPAN("\r\n\r\n"));
	*eat_out = 0;
	if (end == SIZE_MAX || end > SPAMD_HEAD_MAX)
		return input.n > SPAMD_HEAD_MAX ? SCAN_BAD : SCAN_MORE;
	*eat_out = end + 4;
	return parse_head(span_first(input, end), out) ? SCAN_READY : SCAN_BAD;
}

/* ---- clamd ------------------------------------------------------------------------------------- */

static enum scan_rx parse_clamd(struct span line, char *name)
{
	name[0] = '\0';
	if (!span_starts(line, SPAN("stream: ")))
		return SCAN_BAD;
	line = span_trim(span_from(line, 8));
	if (span_eq_str(line, "OK"))
		return SCAN_READY;
	if (line.n <= 6 || !span_iends(line, SPAN(" FOUND")))
		return SCAN_BAD;
	scan_name_set(name, span_first(line, line.n - 6));
	return SCAN_READY;
}

enum scan_rx clamd_take(struct span input, char name[SCAN_NAME_MAX + 1])
{
	size_t end = 0;
	while (end < input.n && input.p[end] != '\0' && input.p[end] != '\n')
		end++;
	if (end > CLAMD_REPLY_MAX)
		return SCAN_BAD;
	return end == input.n ? SCAN_MORE : parse_clamd(span_first(input, end), name);
}
