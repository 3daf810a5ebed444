/* spf.h - SPF records (RFC 7208): their terms, and the macros in them. Who asks the DNS is in edge/spf.c.
 *
 * A record is checked as a whole first: one wrong term anywhere makes it void (section 4.6). */
#ifndef PROTO_SPF_H
#define PROTO_SPF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/ip.h"
#include "base/span.h"

enum { SPF_RECORD_MAX = 4096, SPF_DOMAIN_MAX = 253 };

enum spf_kind {
	SPF_ALL,
	SPF_INCLUDE,
	SPF_A,
	SPF_MX,
	SPF_PTR,
	SPF_IP4,
	SPF_IP6,
	SPF_EXISTS,
	SPF_REDIRECT, /* the modifiers */
	SPF_EXP,
	SPF_OTHER, /* a modifier nobody knows: ignored */
};

/* Spans point into the record. */
struct spf_term {
	enum spf_kind kind;
	char qualifier;          /* '+', '-', '~' or '?'; '+' when none is there */
	struct span text;        /* the whole term */
	struct span domain;      /* a macro string; empty: the domain itself */
	unsigned bits_4, bits_6; /* of SPF_A, SPF_MX */
	struct ip_prefix net;    /* of SPF_IP4, SPF_IP6 */
};

/* "v=spf1" with a space or the end behind it, in any case. */
bool spf_is_record(struct span text);

struct spf_walk {
	struct span rest;
};
void spf_walk_init(struct spf_walk *w, struct span record); /* spf_is_record(record) */
/* False: the record is at its end, or *bad_out is set: that term is wrong. */
bool spf_next(struct spf_walk *w, struct spf_term *out, bool *bad_out);

/* Is the whole record well formed? Then *redirect_out is its redirect (empty: none). */
bool spf_record_ok(struct span record, struct span *redirect_out);

/* What macros stand for; of p, the client's confirmed name, nothing is known: "unknown". */
struct spf_facts {
	struct span local,
	    sender_domain;  /* of the sender; "postmaster" when it has no local part */
	struct span domain; /* whose record it is */
	struct span helo;
	struct ip_addr client;
	struct span receiver; /* who asks, and when: for spf_explain() alone */
	uint64_t now_s;
};

/* Appends the macro string expanded to a domain name of at most SPF_DOMAIN_MAX bytes: labels on the left are
 * cut off when it is longer (section 7.3). False: not a macro string. */
bool spf_expand(struct span macro, const struct spf_facts *f, struct buf *out);

/* The exp= of a good record: a macro string for the name of a TXT record (section 6.2). Empty: none. */
struct span spf_explanation(struct span record);
/* What such a TXT record says, expanded. False: it is wrong, or not US-ASCII: there is no explanation then. */
bool spf_explain(struct span text, const struct spf_facts *f, struct buf *out);

#endif
