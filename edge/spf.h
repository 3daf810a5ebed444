/* spf.h - SPF (RFC 7208): may this client send for this domain? check_host() as a ticket.
 *
 * Bounded as section 4.6.4 wants: ten terms that ask the DNS, two of them answered with nothing, ten hosts of
 * an mx term; beyond that the record is void (permerror). The mechanism ptr knows the
 * client's confirmed name only, the macro p is "unknown". */
#ifndef EDGE_SPF_H
#define EDGE_SPF_H

#include "base/ip.h"
#include "base/span.h"
#include "net/dns.h"
#include "net/ticket.h"

enum spf_result {
	SPF_NONE,
	SPF_NEUTRAL,
	SPF_PASS,
	SPF_FAIL,
	SPF_SOFTFAIL,
	SPF_TEMPERROR,
	SPF_PERMERROR
};
const char *spf_result_word(enum spf_result r); /* "pass" */

enum { SPF_WHY_SIZE = 128, SPF_EXPLANATION_SIZE = 256 };

struct spf_answer {
	enum spf_result result;
	char why[SPF_WHY_SIZE]; /* the term that decided, or what is wrong; plain ASCII */
	char explanation
	    [SPF_EXPLANATION_SIZE]; /* of a fail, in its domain's words (exp=); "": none */
};

struct spf_ask {
	struct ip_addr client;
	struct span local, domain;  /* of the sender, or "postmaster" and the HELO name */
	struct span helo, receiver; /* receiver: this host */
	uint64_t deadline_ms;       /* for all of it */
};

/* The spans are copied. fn comes once, from the loop. */
struct ticket *spf_check(struct loop *l, struct dns *dns, const struct spf_ask *ask,
    void (*fn)(void *arg, const struct spf_answer *), void *arg);

#endif
