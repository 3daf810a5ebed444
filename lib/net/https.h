/* https.h - one request over HTTPS, as a ticket: resolve, connect, verify the certificate, ask, take one small answer.
 *
 * For policies and reports of TLS (RFC 8461, RFC 8460): redirects are not followed, nothing is kept, cached or sent
 * along. The answer is bounded in bytes, the whole in time. */
#ifndef NET_HTTPS_H
#define NET_HTTPS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/ticket.h"
#include "net/tls_ctx.h"

struct https_ask {
	/* Name that the certificate has to be for, or an address in brackets or without. */
	struct span host;
	uint16_t port;
	struct span path;          /* "/..." with its query; printable ASCII without a space */
	const struct tls_ctx *tls; /* referenced */
	struct span type, body;    /* POST: Content-Type and what is sent; type empty: GET */
	size_t answer_max;         /* bytes of the answer's body */
	uint64_t deadline_ms;      /* for everything */
};

struct https_answer {
	/* ERR_OK: a whole answer came, whatever its status. ERR_TLS_UNVERIFIED: its certificate is not good;
	 * ERR_PROTOCOL, ERR_TOO_LONG: what came is not such an answer; others as of dial_start(). */
	err_t err;
	unsigned status;
	struct span type; /* media type in lower case, without parameters */
	struct span body;
	const char *text; /* words for the log when err */
};

/* What ask points to is copied; the answer lives during the callback. */
struct ticket *https_start(struct loop *l, struct dns *dns, const struct https_ask *ask,
    void (*fn)(void *arg, const struct https_answer *), void *arg);

#endif
