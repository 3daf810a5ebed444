/* dnsbl.h - DNS block and allow lists: a client's score, and whether the lists can be believed.
 *
 * All lists are asked at once, answers come from the resolver's cache where they can, and one deadline
 * (dnsbl_timeout) ends the wait. Only a list that is known to work counts; a list that does not answer, or
 * answers with an error code, adds nothing. Each list is tested every dnsbl_check_interval; a change is
 * logged. */
#ifndef EDGE_DNSBL_H
#define EDGE_DNSBL_H

#include "base/ip.h"
#include "net/dns.h"
#include "net/ticket.h"

#include "edge/edge_conf.h"

struct dnsbl; /* per worker */

enum { DNSBL_WORDS_MAX = 512 };

struct dnsbl_answer {
	int64_t score;
	const char
	    *zone; /* of the hit with the greatest weight; NULL: no hit. For the callback only */
	bool sure; /* every list that is believed has answered, and at least one has */
	struct span words; /* "zen.example 127.0.0.2 +4, list.example (does not answer)": ditto */
};

struct dnsbl *dnsbl_new(struct loop *l, struct dns *dns, const struct edge_conf *c);
/* Lists that stay keep what is known of them. */
void dnsbl_reload(struct dnsbl *d, const struct edge_conf *c);
void dnsbl_free(struct dnsbl **d); /* cancels what is asked */

/* NULL: there is no list to ask about this client (none at all, or dns_exempt holds it). */
struct ticket *dnsbl_ask(struct dnsbl *d, struct ip_addr client,
    void (*fn)(void *arg, const struct dnsbl_answer *), void *arg);

/* For edge_conf_check(): titles and codes. */
void dnsbl_check(const struct edge_conf *c, struct conf_diag *d);

#endif
