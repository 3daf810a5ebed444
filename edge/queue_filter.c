/* queue_filter.c - an operator's words as conditions. Owns nothing, knows no queue. */
#include "edge/queue_filter.h"

#include "base/check.h"

/* The null sender, as it is asked for. */
static const struct span null_sender = { "", 0 };

static bool take_duration(struct span v, uint64_t *seconds_out)
{
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	uint64_t number;
	if (v.n < 2 || !span_u64(span_first(v, v.n - 1), 1000000000, &number))
		return false;
	for (size_t i = 0; i < COUNT_OF(units); i++) {
		if (v.p[v.n - 1] == units[i].unit) {
			*seconds_out = number * units[i].seconds;
			return true;
		}
	}
	return false;
}

static bool take_text(struct queue_filter *f, struct span name, struct span value)
{
	const struct {
		const char *name;
		struct span *to;
	} texts[] = {
		{ "id", &f->id },
		{ "sender", &f->sender },
		{ "recipient", &f->recipient },
		{ "domain", &f->domain },
		{ "destination", &f->destination },
		{ "reason", &f->reason },
		{ "state", &f->state },
		{ "to", &f->to },
		{ "after", &f->after },
	};
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		if (!span_eq_str(name, texts[i].name))
			continue;
		*texts[i].to = value.n > 0 ? value : null_sender;
		return value.n > 0 || texts[i].to == &f->sender;
	}
	return false;
}

static bool take_word(struct queue_filter *f, struct span word)
{
	struct span value = word, name = span_cut(&value, '=');
	if (span_eq_str(word, "all"))
		return f->all = true;
	if (value.p == NULL) {
		f->id = word;
		return word.n > 0;
	}
	if (span_eq_str(name, "older"))
		return take_duration(value, &f->older_s);
	if (span_eq_str(name, "younger"))
		return take_duration(value, &f->younger_s);
	return take_text(f, name, value);
}

bool queue_filter_parse(
    const char *const *words, size_t n, struct queue_filter *out, struct buf *why)
{
	*out = (struct queue_filter){ 0 };
	for (size_t i = 0; i < n; i++) {
		struct span word = span_str(words[i]);
		if (word.n <= QUEUE_FILTER_WORD_MAX && take_word(out, word))
			continue;
		buf_printf(why,
		    "\"%.100s\" is none of all, ID, sender=, recipient=, domain=, destination=, "
		    "reason=, "
		    "state=, older=2h, younger=2h",
		    words[i]);
		return false;
	}
	return true;
}

bool queue_filter_given(const struct queue_filter *f)
{
	return f->all || f->id.p != NULL || f->sender.p != NULL || f->recipient.p != NULL ||
	       f->domain.p != NULL || f->destination.p != NULL || f->reason.p != NULL ||
	       f->state.p != NULL || f->older_s > 0 || f->younger_s > 0;
}

/* Reasons are sentences: a part of one is enough. */
static bool is_in(struct span part, struct span text)
{
	for (size_t i = 0; i + part.n <= text.n; i++)
		if (span_ieq(span_first(span_from(text, i), part.n), part))
			return true;
	return false;
}

bool queue_filter_domain_is(struct span wanted, struct span domain)
{
	bool below = span_starts(wanted, SPAN("@"));
	struct span name = below ? span_from(wanted, 1) : wanted;
	return span_ieq(domain, name) || (below && domain.n > name.n && span_iends(domain, name) &&
					     domain.p[domain.n - name.n - 1] == '.');
}

static bool is_of_domain(struct span wanted, struct span address)
{
	size_t at = span_rfind(address, '@');
	return at != SIZE_MAX && queue_filter_domain_is(wanted, span_from(address, at + 1));
}

bool queue_filter_matches(const struct queue_filter *f, const struct queue_facts *is)
{
	return (f->id.p == NULL || span_eq(f->id, is->id)) &&
	       (f->sender.p == NULL || span_is_like(is->sender, f->sender)) &&
	       (f->recipient.p == NULL || span_is_like(is->recipient, f->recipient)) &&
	       (f->domain.p == NULL || is_of_domain(f->domain, is->recipient)) &&
	       (f->destination.p == NULL || span_is_like(is->destination, f->destination)) &&
	       (f->reason.p == NULL || is_in(f->reason, is->reason)) &&
	       (f->state.p == NULL || span_ieq(f->state, is->state)) && is->age_s >= f->older_s &&
	       (f->younger_s == 0 || is->age_s <= f->younger_s);
}
