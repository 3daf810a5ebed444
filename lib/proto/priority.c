/* priority.c - words for urgent and others; no I/O. */
#include "proto/priority.h"

#include "base/check.h"
#include "proto/header.h"

enum priority_class priority_class_of(int level)
{
	return level > 0 ? PRIORITY_URGENT : level < 0 ? PRIORITY_NONURGENT : PRIORITY_NORMAL;
}

bool priority_parse(struct span text, int *out)
{
	bool minus = text.n > 0 && text.p[0] == '-';
	struct span digit = span_from(text, minus);
	if (digit.n != 1 || !ascii_is_digit((unsigned char)digit.p[0]))
		return false;
	*out = (digit.p[0] - '0') * (minus ? -1 : 1);
	return true;
}

static const struct {
	const char *name, *word;
	int level;
} words[] = {
	{ "Priority", "urgent", PRIORITY_HEADER_URGENT },
	{ "Priority", "normal", 0 },
	{ "Priority", "non-urgent", PRIORITY_HEADER_LOW },
	{ "X-Priority", "1", PRIORITY_HEADER_URGENT },
	{ "X-Priority", "2", PRIORITY_HEADER_URGENT },
	{ "X-Priority", "3", 0 },
	{ "X-Priority", "4", PRIORITY_HEADER_LOW },
	{ "X-Priority", "5", PRIORITY_HEADER_LOW },
	{ "Importance", "high", PRIORITY_HEADER_URGENT },
	{ "Importance", "normal", 0 },
	{ "Importance", "low", PRIORITY_HEADER_LOW },
	{ "Precedence", "special-delivery", PRIORITY_HEADER_URGENT },
	{ "Precedence", "first-class", 0 },
	{ "Precedence", "list", PRIORITY_HEADER_LOW },
	{ "Precedence", "bulk", PRIORITY_HEADER_LOW },
	{ "Precedence", "junk", PRIORITY_HEADER_LOW },
};

/* "1 (Highest)": the first word counts. */
int priority_of_header(struct span header)
{
	struct header_field f;
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (!header_find(header, span_str(words[i].name), 0, &f))
			continue;
		struct span rest = span_trim(f.value), word = span_trim(span_cut(&rest, ' '));
		if (span_ieq_str(word, words[i].word))
			return words[i].level;
	}
	return 0;
}
