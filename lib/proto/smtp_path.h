/* smtp_path.h - reverse and forward paths (RFC 5321 section 4.1.2, RFC 6531): what stands in <>.
 *
 * A parsed path holds its own copy in canonical form: the source route stripped, the local part quoted
 * only where it must be, the domain in lower case without a final dot. Two spellings of one address
 * give the same canonical text. */
#ifndef PROTO_SMTP_PATH_H
#define PROTO_SMTP_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/ip.h"
#include "base/span.h"

enum { SMTP_LOCAL_MAX = 64, SMTP_DOMAIN_MAX = 255, SMTP_ADDRESS_MAX = 254 };
enum { SMTP_PATH_SIZE = SMTP_ADDRESS_MAX + 1 };

enum smtp_path_kind {
	SMTP_PATH_NULL,      /* <>: a reverse-path only */
	SMTP_PATH_MAILBOX,   /* local@domain */
	SMTP_PATH_POSTMASTER /* <postmaster> without domain: a forward-path only */
};

struct smtp_path {
	enum smtp_path_kind kind;
	bool utf8;                    /* has bytes above 0x7f: needs SMTPUTF8 on the way */
	uint16_t len, local_len;      /* of address; of the local part in it, quotes included */
	char address[SMTP_PATH_SIZE]; /* canonical, NUL-terminated; "" for the null path */
};

/* LONG_LOCAL: the local part may be as long as the address allows; rewritten return paths (SRS) are. */
enum {
	SMTP_PATH_UTF8_OK = 1,
	SMTP_PATH_NULL_OK = 2,
	SMTP_PATH_POSTMASTER_OK = 4,
	SMTP_PATH_LONG_LOCAL_OK = 8
};

/* Length of the path at the start of `in`, from '<' to its '>' (quoted strings may hold '>' and
 * spaces); 0 when there is none. */
size_t smtp_path_scan(struct span in);

/* path: with its brackets. flags: SMTP_PATH_*_OK. ERR_SYNTAX or ERR_TOO_LONG with a sentence in
 * *why_out (may be NULL). */
err_t smtp_path_parse(
    struct span path, unsigned flags, struct smtp_path *out, const char **why_out);

/* The same for a bare address "local@domain" (directory, configuration). */
err_t smtp_address_parse(
    struct span address, unsigned flags, struct smtp_path *out, const char **why_out);

static inline struct span smtp_path_text(const struct smtp_path *p)
{
	return span_of(p->address, p->len);
}

static inline struct span smtp_path_local(const struct smtp_path *p)
{
	return span_of(p->address, p->local_len);
}

/* Empty for <postmaster> and <>. An address literal keeps its brackets. */
static inline struct span smtp_path_domain(const struct smtp_path *p)
{
	return span_from(smtp_path_text(p), p->local_len == p->len ? p->len : p->local_len + 1u);
}

/* Splits the local part at the first separator: "user+detail". False: there is none, or nothing before
 * it, or the local part is quoted; then *user_out is the whole local part and *detail_out is empty. */
bool smtp_path_split(
    const struct smtp_path *p, char separator, struct span *user_out, struct span *detail_out);

/* A domain name (LDH labels and '_', 1-63 bytes each, UTF-8 if allowed, no final dot), or an address
 * literal "[192.0.2.1]", "[IPv6:2001:db8::1]". */
bool smtp_domain_ok(struct span domain, bool utf8_ok);
bool smtp_literal_ok(struct span literal);
bool smtp_literal_parse(struct span literal, struct ip_addr *out); /* false: it is none */
/* What a client may call itself in EHLO and HELO: names that real clients send break the grammar of domains;
 * what could break a trace line, or is longer than SMTP_DOMAIN_MAX, is refused. */
bool smtp_helo_ok(struct span name);

#endif
