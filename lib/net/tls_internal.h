/* tls_internal.h - TLS contexts as lib/net sees them. */
#ifndef NET_TLS_INTERNAL_H
#define NET_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <stdint.h>

#include "base/map.h"
#include "net/tls_ctx.h"
#include "net/tls_tickets.h"

#define tls_ctx_MAGIC 0x715c7001u

enum { TLS_NAMES_MAX = 65536 };

struct tls_ctx {
	uint32_t magic;
	unsigned refs;
	bool server;
	bool park;              /* its sessions are watched, so that they may be parked */
	enum tls_verify verify; /* client */
	SSL_CTX **pairs;        /* owned; a client has one */
	size_t pair_count;
	struct map *by_name;         /* owned; server: lower-case name or "*.rest" -> SSL_CTX */
	unsigned char *alpn;         /* owned; wire form: length, name; NULL: none */
	struct tls_tickets *tickets; /* referenced; server */
};

/* A new connection's object, holding what it needs of the context; the descriptor is not set. name
 * and alpn: client only, may be NULL. NULL with a fault text in the OpenSSL queue. */
SSL *tls_session_new(const struct tls_ctx *c, const char *name, const char *alpn);

/* The same for a server that DNSSEC speaks for. When no record is usable, any certificate will do (RFC 7672 section
 * 2.2). */
SSL *tls_session_dane(const struct tls_ctx *c, const struct tls_dane *dane);

/* tls_bio.c: the descriptor that the session reads and writes; it stays the caller's. */
void tls_session_attach(SSL *ssl, int fd);

/* tls_tickets.c: the parts of one ticket, as OpenSSL hands them out. */
struct ticket_parts {
	unsigned char *key_name, *iv;
	EVP_CIPHER_CTX *cipher;
	EVP_MAC_CTX *mac;
};
/* As OpenSSL's callback: -1 error, 0 no such key (a full handshake follows), 1 yes, 2 yes and it is to be
 * replaced by one under the newest key. */
int tickets_seal(struct tls_tickets *t, const struct ticket_parts *p);
int tickets_open(struct tls_tickets *t, const struct ticket_parts *p);

/* tls_pem.c: each answers false with a sentence in why (which may be NULL). */
bool tls_use_pair(SSL_CTX *ctx, const struct tls_pair *pair, struct buf *why);
EVP_PKEY *tls_private_key(
    struct span pem, struct buf *why); /* caller frees; NULL: it cannot be read */
bool tls_use_authorities(SSL_CTX *ctx, struct span pem, bool ask_client, struct buf *why);
bool tls_say(struct buf *why, const char *what);      /* what + OpenSSL's reason; always false */
bool tls_say_only(struct buf *why, const char *what); /* what; always false */
BIO *tls_bio_of(struct span pem);                     /* to read from; the bytes are borrowed */
/* The reading of a PEM block that just failed found nothing more, rather than something bad. */
bool tls_at_end_of_pem(void);
/* Calls fn for each DNS name of the certificate in use, lower case. */
void tls_each_name(SSL_CTX *ctx, void (*fn)(void *arg, struct span name), void *arg);

#endif
