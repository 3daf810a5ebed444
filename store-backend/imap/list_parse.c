/* list_parse.c - the arguments of LIST (RFC 5258 section 6); see list.h. Owns nothing. */
#include "store-backend/imap/list.h"

#include "base/check.h"
#include "store-backend/imap/status.h"

static void parse_select(struct imap_cursor *c, struct list_request *out)
{
	static const struct {
		const char *word;
		unsigned bit;
	} words[] = { { "SUBSCRIBED", LIST_SUBSCRIBED }, { "REMOTE", LIST_REMOTE },
		{ "RECURSIVEMATCH", LIST_RECURSIVE }, { "SPECIAL-USE", LIST_SPECIAL_USE } };
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (!imap_try_word(c, words[i].word))
			continue;
		out->select |= words[i].bit;
		return;
	}
	imap_fail(c, "Unknown selection option");
}

/* Attributes of children and special use are always told. */
static void parse_return(struct imap_cursor *c, struct list_request *out)
{
	if (imap_try_word(c, "SUBSCRIBED")) {
		out->return_subscribed = true;
	} else if (imap_try_word(c, "MYRIGHTS")) {
		out->return_myrights = true;
	} else if (imap_try_word(c, "STATUS")) {
		imap_read_sp(c);
		out->status |= status_read_items(c);
	} else if (!imap_try_word(c, "CHILDREN") && !imap_try_word(c, "SPECIAL-USE")) {
		imap_fail(c, "Unknown return option");
	}
}

/* "(" [option *(SP option)] ")" */
static void parse_options(struct imap_cursor *c, struct list_request *out,
    void (*parse)(struct imap_cursor *c, struct list_request *out))
{
	out->extended = true;
	imap_read_char(c, '(');
	if (imap_try(c, ')'))
		return;
	do {
		parse(c, out);
	} while (imap_try(c, ' '));
	imap_read_char(c, ')');
}

static void parse_pattern(struct imap_cursor *c, struct list_request *out)
{
	struct span pattern = imap_read_list_mailbox(c);
	if (out->pattern_n == LIST_PATTERNS_MAX)
		imap_fail(c, "Too many patterns");
	else
		out->patterns[out->pattern_n++] = pattern;
}

/* One at least (RFC 5258 section 6). */
static void parse_patterns(struct imap_cursor *c, struct list_request *out)
{
	parse_options(c, out, parse_pattern);
	if (out->pattern_n == 0)
		imap_fail(c, "A pattern expected");
}

static void check_select(struct imap_cursor *c, const struct list_request *out)
{
	if ((out->select & LIST_RECURSIVE) != 0 &&
	    (out->select & (LIST_SUBSCRIBED | LIST_SPECIAL_USE)) == 0)
		imap_fail(c, "RECURSIVEMATCH needs another selection option");
}

void list_parse(struct imap_cursor *c, struct list_request *out)
{
	*out = (struct list_request){ 0 };
	imap_read_sp(c);
	if (imap_peek(c) == '(') {
		parse_options(c, out, parse_select);
		check_select(c, out);
		imap_read_sp(c);
	}
	out->reference = imap_read_astring(c);
	imap_read_sp(c);
	if (imap_peek(c) == '(')
		parse_patterns(c, out);
	else
		parse_pattern(c, out);
	if (!imap_try(c, ' '))
		return;
	if (!imap_try_word(c, "RETURN"))
		imap_fail(c, "RETURN expected");
	imap_read_sp(c);
	parse_options(c, out, parse_return);
}
