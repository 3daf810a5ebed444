/* ip.h - addresses, endpoints, prefixes and sets of prefixes.
 *
 * Every address is held as 16 bytes; IPv4 as its v4-mapped IPv6 form, so that an IPv4 client is the
 * same client on whatever socket it arrives. Prefix lengths in text and in this interface are of
 * the address's own family (0-32 for IPv4, 0-128 for IPv6). */
#ifndef BASE_IP_H
#define BASE_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/span.h"

struct ip_addr {
	uint8_t b[16]; /* all zero: "none" (also the IPv6 unspecified address) */
};

struct ip_port {
	struct ip_addr addr;
	uint16_t port; /* host byte order */
};

struct ip_prefix {
	struct ip_addr addr; /* host bits zero */
	uint8_t bits;        /* 0-128, counted in the 16-byte form */
};

struct ip_prefixes {
	struct ip_prefix *v; /* owned by whoever built the set */
	size_t n;
};

enum { IP_TEXT_SIZE = 64 }; /* fits "[ipv6]:port" and "ipv6/128" */

bool ip_is_v4(struct ip_addr a);
bool ip_is_none(struct ip_addr a);
bool ip_is_any(struct ip_addr a); /* where a listener hears on every address: 0.0.0.0, :: */
bool ip_is_loopback(struct ip_addr a);
bool ip_eq(struct ip_addr a, struct ip_addr b);
bool ip_parse(struct span text, struct ip_addr *out);          /* "192.0.2.1", "2001:db8::1" */
bool ip_parse_port(struct span text, struct ip_port *out);     /* "1.2.3.4:25", "[::1]:25" */
bool ip_parse_prefix(struct span text, struct ip_prefix *out); /* host bits must be zero */
const char *ip_text(struct ip_addr a, char out[IP_TEXT_SIZE]);
const char *ip_port_text(struct ip_port e, char out[IP_TEXT_SIZE]);
const char *ip_prefix_text(struct ip_prefix p, char out[IP_TEXT_SIZE]);

/* The network of `bits` (family's own count) that holds a. */
struct ip_prefix ip_network(struct ip_addr a, unsigned bits);
bool ip_in_prefix(struct ip_addr a, struct ip_prefix p);
bool ip_in_set(struct ip_addr a, const struct ip_prefixes *set); /* set may be NULL */

struct ip_port ip_from_sockaddr(const struct sockaddr *sa); /* AF_UNIX etc. give none:0 */
/* Fills *out; an IPv4 address becomes AF_INET. Returns the length for bind()/connect(). */
socklen_t ip_to_sockaddr(struct ip_port e, struct sockaddr_storage *out);

/* "1.2.0.192.in-addr.arpa" / nibbles under ip6.arpa; with another zone: a DNS list query. */
enum { IP_REVERSE_SIZE = 80 };
const char *ip_reverse(struct ip_addr a, char out[IP_REVERSE_SIZE]); /* without any zone */

#endif
