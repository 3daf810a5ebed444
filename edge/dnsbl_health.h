/* dnsbl_health.h - how far one DNS list can be believed: arithmetic only, no questions.
 *
 * A list counts while its test entries are as they must be (RFC 5782 section 5) and while it does not all at
 * once list nearly everybody. Lists end by answering everything, or by answering with an error code; a list
 * in that state must harm nobody. */
#ifndef EDGE_DNSBL_HEALTH_H
#define EDGE_DNSBL_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DNSBL_WINDOW = 64 }; /* clients of different networks that make one measurement */

struct dnsbl_health {
	const char *broken;          /* why the list is not believed; NULL: it is */
	bool suspect;                /* the share of hits has jumped */
	uint32_t seen[DNSBL_WINDOW]; /* networks asked about in this window */
	size_t n, hits;
	unsigned windows;
	unsigned usual; /* share of hits in past windows, in per mille */
};

/* tested: it needs no test before it is believed. */
void dnsbl_health_init(struct dnsbl_health *h, bool tested);
/* The list answered about a client of this network (a hash of it): hit or not. */
void dnsbl_health_note(struct dnsbl_health *h, uint32_t network, bool hit);
/* NULL: believe it; else why not. */
const char *dnsbl_health_fault(const struct dnsbl_health *h);

#endif
