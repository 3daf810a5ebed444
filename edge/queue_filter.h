/* queue_filter.h - which recipients of the queue an operator means: words like sender=*@example.org. */
#ifndef EDGE_QUEUE_FILTER_H
#define EDGE_QUEUE_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

/* Every word given must agree; empty spans and 0 were not given. Texts may hold `*`, case is ignored. */
struct queue_filter {
	struct span id, sender, recipient, domain, destination, reason, state;
	uint64_t older_s, younger_s;
	bool all;          /* the word "all" */
	struct span to;    /* no condition: where `reroute` shall send them */
	struct span after; /* no condition: the id behind which `list` goes on */
};

/* What is known of one recipient. */
struct queue_facts {
	struct span id, sender, recipient, destination, reason, state;
	uint64_t age_s;
};

enum { QUEUE_FILTER_WORD_MAX = 500 };

/* Words: all, id=, sender=, recipient=, domain= (of the recipient; @example.org: it and all below it), destination=,
 * reason=, state=, older=, younger=, to=, after=; a word
 * without "=" is an id. sender= alone means the null sender. Spans point into the words. False: a
 * sentence is in why. */
bool queue_filter_parse(
    const char *const *words, size_t n, struct queue_filter *out, struct buf *why);
/* Does it say anything? */
bool queue_filter_given(const struct queue_filter *f);
/* Is a domain one that domain= means? */
bool queue_filter_domain_is(struct span wanted, struct span domain);
bool queue_filter_matches(const struct queue_filter *f, const struct queue_facts *facts);

#endif
