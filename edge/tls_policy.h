/* tls_policy.h - how much TLS a next hop gets: what the configuration says of its domain, and what DNSSEC says of its
 * certificate (DANE for SMTP, RFC 7672). For deliver.c (step 6 of 6). */
#ifndef EDGE_TLS_POLICY_H
#define EDGE_TLS_POLICY_H

#include "edge/edge_conf.h"
#include "edge/smtp_out.h"
#include "net/dns.h"

/* The block next_hop of this domain, or of one that it is below; NULL: none. */
const struct edge_next_hop_conf *tls_policy_block(const struct edge_conf *c, const char *domain);
/* What it says; else smtp_tls. OUT_TLS_DANE: nothing less will do. */
enum out_tls tls_policy_of(const struct edge_conf *c, const char *domain);

/* Bytes of the records of an out_dane, and how many there are. */
enum { TLS_POLICY_BYTES_MAX = 16384, TLS_POLICY_RECORDS_MAX = DNS_TEXTS_MAX };

/* A copy with bytes of its own. */
struct out_dane out_dane_copy(const struct out_dane *d);
void out_dane_end(struct out_dane *d);
/* out: room for TLS_POLICY_RECORDS_MAX. */
size_t tls_policy_records(struct span tlsa, struct tls_dane_record *out);
bool tls_policy_is_usable(struct span tlsa); /* see tls_dane_is_usable() */

enum tls_policy_answer {
	TLS_POLICY_NONE, /* nothing that is secure is said of it */
	TLS_POLICY_DANE,
	TLS_POLICY_FAILED /* it cannot be known now: not a host to speak to */
};
/* dane: with TLS_POLICY_DANE; lives during the callback, its domain is NULL. */
typedef void tls_policy_fn(void *arg, enum tls_policy_answer answer, const struct out_dane *dane);
/* What does DNSSEC say of the certificate at this port of this host? Its own name must be secure too, else its TLSA
 * records are not asked for: servers of zones without DNSSEC answer strangely. Addresses that cannot be looked up now are
 * TLS_POLICY_FAILED: whoever looks them up a moment later may find them (section 2.1.3). For an alias the records of what it
 * stands for count, then its own; where only the alias itself is secure, its own (RFC 7672 section 2.2.2). */
struct ticket *tls_policy_ask(
    struct dns *d, const char *host, uint16_t port, tls_policy_fn *fn, void *arg);

#endif
