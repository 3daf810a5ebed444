/* access_filter.c - the service filter of an account. Pure. */
#include "directory/access_filter.h"

struct tally {
	bool allowed, denied; /* a rule of that kind matches */
	bool has_deny;        /* there is a denying rule at all */
	bool broken;          /* something is not understood */
};

static bool is_all(struct span word)
{
	return span_eq_str(word, "*") || span_ieq_str(word, "ALL");
}

static bool services_match(struct span list, const char *const *names, size_t n)
{
	bool match = false;
	while (list.p != NULL) {
		struct span word = span_trim(span_cut(&list, ','));
		match = match || is_all(word);
		for (size_t i = 0; i < n; i++)
			match = match || (names[i] != NULL && span_ieq_str(word, names[i]));
	}
	return match;
}

static bool is_word_list(struct span list)
{
	for (size_t i = 0; i < list.n; i++)
		if (list.p[i] == ' ' || list.p[i] == '\t')
			return false;
	return list.n > 0;
}

static void take_rule(struct tally *t, struct span rule, const char *const *names, size_t n)
{
	bool deny = rule.n > 0 && rule.p[0] == '-';
	if (deny || (rule.n > 0 && rule.p[0] == '+'))
		rule = span_from(rule, 1);
	struct span services = span_trim(span_cut(&rule, ':'));
	struct span clients = span_trim(rule);
	t->has_deny = t->has_deny || deny;
	if (!is_word_list(services) || !is_all(clients)) {
		t->broken = true;
		return;
	}
	if (!services_match(services, names, n))
		return;
	t->allowed = t->allowed || !deny;
	t->denied = t->denied || deny;
}

bool access_filter_allows(struct span filter, const char *const *names, size_t n)
{
	struct tally t = { 0 };
	filter = span_trim(filter);
	if (filter.n == 0)
		return true;
	for (size_t rules = 0; filter.p != NULL; rules++) {
		if (rules >= ACCESS_FILTER_RULES_MAX)
			return false;
		take_rule(&t, span_trim(span_cut(&filter, '$')), names, n);
	}
	if (t.broken)
		return false;
	return t.allowed || (!t.denied && t.has_deny);
}
