/* tls_ctx.h - TLS contexts made from bytes (files are read by the master), shared by reference.
 *
 * TLS 1.2 is the least version, renegotiation is off, buffers are released when idle. */
#ifndef NET_TLS_CTX_H
#define NET_TLS_CTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

struct tls_ctx;
struct tls_tickets;

struct tls_pair {
	struct span chain_pem; /* leaf first, then intermediates */
	struct span key_pem;   /* must fit the leaf */
};

/* Could a server go on with it now? False, with a sentence in why (may be NULL): it cannot be read, the key does
 * not fit, the leaf has expired or is not valid yet. */
bool tls_pair_check(const struct tls_pair *pair, struct buf *why);

struct tls_server_opts {
	const struct tls_pair *pairs; /* the first is the default; others chosen by SNI from their
	                                  subjectAltName, wildcards of one label included */
	size_t pair_count;
	struct tls_tickets *tickets; /* a reference is taken; NULL: keys of its own */
	struct span client_ca_pem; /* ask for (not demand) a client certificate; none: do not ask */
	/* Ask for a certificate even without authorities: whoever asks knows keys. */
	bool ask_client;
	const char *alpn; /* protocol name to agree on ("imap"); NULL: none. A client that
	                                  offers ALPN without it is refused, one without ALPN passes */
};

enum tls_verify {
	TLS_VERIFY_NAME,
	TLS_VERIFY_CHAIN,
	TLS_VERIFY_NONE,
	TLS_VERIFY_TELL /* looked at as for TLS_VERIFY_NAME, and taken whatever it is: see stream_certificate() */
};

struct tls_client_opts {
	struct span ca_pem; /* trust anchors; none: the system's */
	enum tls_verify verify;
	struct tls_pair pair; /* client certificate; empty spans: none */
};

/* What DNSSEC says of a server's certificate (RFC 7672): usages DANE-TA(2) and DANE-EE(3) count, others are not usable. */
struct tls_dane {
	const char *name; /* of the server, told as SNI; a DANE-TA certificate must be for it ... */
	const char *others[2]; /* ... or for one of these; NULL: none */
	const struct tls_dane_record {
		uint8_t usage, selector, matching;
		struct span data;
	} * v;
	size_t n;
};

/* Can any of these records be used? If none, a connection with them takes any certificate (RFC 7672 section 2.2). */
bool tls_dane_is_usable(const struct tls_dane_record *v, size_t n);

/* First thing of a program: OpenSSL takes its memory from mem.h, so that mem_in_use() knows of it. */
void tls_count_memory(void);

/* NULL on failure with a sentence in why (may be NULL). The reference is the caller's. */
struct tls_ctx *tls_server_new(const struct tls_server_opts *opts, struct buf *why);
struct tls_ctx *tls_client_new(const struct tls_client_opts *opts, struct buf *why);
/* Before its first connection: sessions of TLS 1.3 may do without their OpenSSL object once they are
 * in a pipe, which then holds them in a few hundred bytes. */
void tls_ctx_set_park(struct tls_ctx *c);
struct tls_ctx *tls_ctx_ref(const struct tls_ctx *c);
void tls_ctx_unref(struct tls_ctx **c);

#endif
