/* dns.h - asynchronous DNS by c-ares, one channel per loop.
 *
 * Names come from hostile input: at most 253 bytes, else the answer is DNS_ABSENT. /etc/hosts is not
 * read, except that "localhost" and literal addresses are answered without a query. */
#ifndef NET_DNS_H
#define NET_DNS_H

#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "net/loop.h"
#include "net/ticket.h"

struct dns;

enum dns_status { DNS_FOUND, DNS_ABSENT, DNS_FAILED }; /* absent: NXDOMAIN or no such record */

struct dns_opts {
	const struct ip_port *servers; /* none: those of the system's resolv.conf */
	size_t server_count;
	uint64_t deadline_ms; /* per question over all tries, e.g. 5000 */
};

struct dns *dns_new(struct loop *l, const struct dns_opts *opts);
void dns_free(struct dns **d); /* outstanding tickets are cancelled */

enum { DNS_ADDRS_MAX = 16, DNS_TEXTS_MAX = 16, DNS_MX_MAX = 32, DNS_NAME_SIZE = 256 };

struct dns_addrs {
	enum dns_status status;
	size_t n;
	struct ip_addr v[DNS_ADDRS_MAX];
	uint32_t ttl_s;
	bool
	    secure; /* validated (DNSSEC) by a server on this host; none else is believed. Of DNS_FOUND: each
			of these addresses */
	char alias
	    [DNS_NAME_SIZE]; /* whose addresses they are, when the name is an alias (CNAME); "": its own */
};
/* A and AAAA together, IPv6 and IPv4 interleaved as they came. */
struct ticket *dns_addr(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_addrs *), void *arg);

/* A records only, for DNS lists. */
struct ticket *dns_a(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_addrs *), void *arg);

struct dns_name {
	enum dns_status status;
	char name[DNS_NAME_SIZE]; /* without the final dot, lower case */
};
/* What is the name an alias of? DNS_ABSENT: of none. */
struct dns_alias {
	enum dns_status status;
	bool secure; /* as above: of this one step */
	char name[DNS_NAME_SIZE];
};
struct ticket *dns_cname(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_alias *), void *arg);

/* Reverse name, confirmed: the name's own addresses must hold `a`, else DNS_ABSENT. */
struct ticket *dns_reverse(
    struct dns *d, struct ip_addr a, void (*fn)(void *arg, const struct dns_name *), void *arg);

struct dns_mx {
	enum dns_status status; /* DNS_FOUND with n == 0: null MX (RFC 7505) */
	bool secure;            /* as above; of DNS_ABSENT too */
	size_t n;
	struct {
		uint16_t preference;
		char host[DNS_NAME_SIZE];
	} v[DNS_MX_MAX]; /* sorted by preference */
};
struct ticket *dns_mx(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_mx *), void *arg);

/* What the certificate of a server has to be (RFC 6698). */
struct dns_tlsa {
	enum dns_status status;
	bool secure;
	size_t n;
	struct {
		uint8_t usage, selector, matching;
		struct span data; /* valid during the callback */
	} v[DNS_TEXTS_MAX];
};
/* name: "_25._tcp.mail.example.org" */
struct ticket *dns_tlsa(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_tlsa *), void *arg);

struct dns_texts {
	enum dns_status status;
	size_t n;
	struct span v[DNS_TEXTS_MAX]; /* each record's strings joined; valid during the callback */
};
struct ticket *dns_txt(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_texts *), void *arg);

#endif
