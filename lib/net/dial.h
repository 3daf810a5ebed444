/* dial.h - an outgoing connection: resolve, connect address by address, TLS when asked. */
#ifndef NET_DIAL_H
#define NET_DIAL_H

#include "base/err.h"
#include "base/ip.h"
#include "net/dns.h"
#include "net/stream.h"
#include "net/ticket.h"
#include "net/tls_ctx.h"

struct dial_target {
	struct span host; /* name, address text, or path of a unix socket ("/...") */
	uint16_t port;    /* ignored for a unix socket */
	const struct tls_ctx
	    *tls; /* implicit TLS from the first byte; NULL: plaintext (STARTTLS later) */
	const char *tls_name; /* name to verify; NULL: host */
	const char *alpn;     /* NULL: none */
	struct span first;    /* sent before anything else, before TLS: a PROXY v2 header */
	/* The server speaks first: its first words tell that it is there, at the cost of one wake-up. */
	bool greets;
	/* A stranger has named the host: addresses of loopback, and those that are no host's, are none of it. */
	bool foreign;
	size_t skip;          /* so many of its addresses have been tried */
	uint64_t deadline_ms; /* for everything, e.g. 10000 */
	struct stream_limits limits;
};

struct dial_result {
	err_t err; /* ERR_OK: stream is set and the callback owns it */
	struct stream *stream;
	struct ip_port addr; /* the address that answered, or the last tried */
	size_t tried;        /* addresses up to that one, skipped ones too */
	bool more;           /* the host has others */
	const char *text;    /* words for the log when err */
};

/* The target is copied (tls is referenced). The stream's callback is set by stream_set_owner() inside
 * fn; bytes that came early are kept for it. dns may be NULL when host is never a name. */
struct ticket *dial_start(struct loop *l, struct dns *dns, const struct dial_target *target,
    void (*fn)(void *arg, const struct dial_result *), void *arg);

#endif
