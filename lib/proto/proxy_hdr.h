/* proxy_hdr.h - the PROXY protocol's header, versions 1 and 2 (haproxy proxy-protocol.txt).
 *
 * For bytes from peers that are listed as balancers only. A header may come in pieces. */
#ifndef PROTO_PROXY_HDR_H
#define PROTO_PROXY_HDR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/ip.h"
#include "base/span.h"

enum { PROXY_V1_MAX = 107, PROXY_V2_MAX = 4096 }; /* whole headers */

enum proxy_rx {
	PROXY_MORE, /* a header so far: wait */
	PROXY_DONE, /* complete */
	PROXY_BAD   /* not a header, or one that breaks the rules: close */
};

enum proxy_kind {
	PROXY_CLIENT, /* client and local are set */
	PROXY_LOCAL   /* LOCAL or UNKNOWN, or an address family without ports: a health check or the
	                 balancer itself; use the socket's own addresses */
};

struct proxy_hdr {
	enum proxy_kind kind;
	struct ip_port client, local;
	size_t len;      /* of the header: the session begins behind it */
	const char *why; /* after PROXY_BAD */
};

/* input: from the connection's first byte. TLVs are checked for their bounds and skipped. */
enum proxy_rx proxy_hdr_parse(struct span input, struct proxy_hdr *out);

/* Would the first bytes of a connection be a header, if the peer were listed? True only when it is
 * certain: "PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN", or the whole v2 signature. To say in the log
 * that proxy_from lacks the peer. */
bool proxy_hdr_looks_like(struct span input);

/* A version 2 header for a back end; both addresses of one family, else it goes out as IPv6. */
bool proxy_hdr_put(struct buf *out, struct ip_port client, struct ip_port local);
bool proxy_hdr_put_local(struct buf *out);

#endif
