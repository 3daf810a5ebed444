/* smtp_out.h - one outgoing connection: the client side of LMTP and SMTP.
 *
 * Connects at the first mail, is kept for the next. Nothing the server says is trusted: replies are
 * bounded, codes are checked against the state, every state has its deadline, and every way in which
 * a conversation can end gives each recipient an outcome. A mail server with several addresses (SMTP) that does not come as far
 * as the envelope at one of them is tried at the next, at OUT_ADDRESSES_MAX in all. */
#ifndef EDGE_SMTP_OUT_H
#define EDGE_SMTP_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/span.h"
#include "edge/transaction.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/ticket.h"
#include "net/tls_ctx.h"

struct smtp_out;

enum { OUT_ADDRESSES_MAX = 5 };

enum out_kind { OUT_LMTP, OUT_SMTP };
/* DANE: encrypted, and the certificate is the one that DNSSEC names. STS: encrypted, and the certificate is one of the
 * public PKI for the host's name (RFC 8461). STS_TEST: as MAY, but what is wrong with it is told. */
enum out_tls {
	OUT_TLS_NONE,
	OUT_TLS_MAY,
	OUT_TLS_MUST,
	OUT_TLS_DANE,
	OUT_TLS_STS,
	OUT_TLS_STS_TEST,
	OUT_TLS_KINDS
};
static inline bool out_tls_is_must(enum out_tls t)
{
	return t == OUT_TLS_MUST || t == OUT_TLS_DANE || t == OUT_TLS_STS;
}

/* What became of TLS on a connection, for reports (RFC 8460 section 4.3). */
enum out_tls_fate {
	OUT_TLS_UNSEEN, /* nothing new: the connections were there before, or broke off earlier */
	OUT_TLS_BROKEN, /* broke off between STARTTLS and the end of the handshake: it may do another time */
	OUT_TLS_GOOD,
	OUT_TLS_NOT_OFFERED,
	OUT_TLS_WRONG_NAME,
	OUT_TLS_EXPIRED,
	OUT_TLS_UNTRUSTED,
	OUT_TLS_FAILED, /* for another reason; with DANE: none of the certificates that DNSSEC names */
	OUT_TLS_FATES
};

/* A connection that came far enough for a word on TLS. */
struct out_session {
	enum out_tls_fate tls; /* never UNSEEN */
	struct ip_addr local, peer;
};

/* What DNSSEC says of a next hop, with OUT_TLS_DANE. */
struct out_dane {
	const char
	    *domain; /* whose mail it takes: a certificate for that will do as well; NULL: none */
	/* Whose records they are: the host, or what that is an alias of; NULL: the host. */
	const char *base;
	struct span tlsa; /* TLSA records, each behind its length in two bytes: see tls_policy.h */
};

struct out_opts {
	struct loop *loop;
	struct dns *dns; /* may be NULL when host is no name */
	enum out_kind kind;
	const char *host; /* name, address, or path of a unix socket */
	uint16_t port;
	const char *helo; /* our name */
	bool foreign;     /* see dial_target */
	enum out_tls tls;
	const struct out_dane *dane;   /* OUT_TLS_DANE: copied */
	const struct tls_ctx *tls_ctx; /* NULL: as OUT_TLS_NONE, or fails with OUT_TLS_MUST */
	uint64_t connect_ms, reply_ms, final_ms, idle_ms;
};

/* Where the message's bytes come from: read() gives up to n bytes at `at`, valid until the next call,
 * empty with *err_out set when they cannot be had. */
struct mail_source {
	struct span (*read)(void *arg, uint64_t at, size_t n, err_t *err_out);
	void *arg;
	uint64_t size;
};

struct out_recipient {
	const char *address;     /* without brackets */
	struct outcome *outcome; /* filled here */
	unsigned notify; /* SMTP_NOTIFY_* and ORCPT (NULL: none), told to servers that offer DSN */
	const char *orcpt;
};

struct out_mail {
	struct ident id;    /* XDELIVERYID, where the server offers it */
	const char *sender; /* "" = null sender */
	bool body_8bit;
	int priority;      /* -9 to 9, told to servers that offer MT-PRIORITY */
	bool smtputf8;     /* its sender said so: its header may need it, though no address does */
	bool require_tls;  /* only under TLS, and but for a null sender only to a server that offers
			    REQUIRETLS (RFC 8689 section 5); LMTP: see out_conf_tls() */
	enum smtp_ret ret; /* with envid (NULL: none): told to servers that offer DSN */
	const char *envid;
	/* MAIL and RCPT, then RSET: would the server take it? The outcome of a recipient is the answer to its RCPT. Of
	 * the body only the size is told, if it is not 0. */
	bool ask_only;
	struct mail_source body;
	struct out_recipient *recipients; /* at least one */
	size_t recipient_count;
};

enum out_end {
	OUT_ANSWERED, /* every recipient has the server's answer (or ours: too big, bad address) */
	OUT_UNREACHED, /* nothing of the mail was said: every recipient is LATER; another host may do */
	OUT_STALE, /* a kept connection turned out to be dead before it answered: try a new one */
	OUT_BROKEN /* broke off inside: recipients without an answer are LATER */
};

struct out_result {
	enum out_end end;
	bool untried; /* UNREACHED by the memory of a pool (out_pool.h): nothing new is known */
	bool absent;  /* UNREACHED: its name has no address that may be spoken to, says the DNS */
	bool unfit; /* ANSWERED by us: it cannot keep the sender's wish for TLS, another host may */
	/* ANSWERED with the answer to MAIL: it has not looked at a recipient. */
	bool sender_refused;
	bool dsn; /* the server knows the sender's wishes: what it took, it reports on itself */
	struct ip_port peer;   /* none when never connected */
	enum out_tls_fate tls; /* of the last of the sessions */
	/* Those that are new, one for each address of the host that was spoken to; each is told once. They live during the
	 * callback. */
	const struct out_session *sessions;
	size_t session_n;
	uint64_t talk_ms; /* from the first command of the envelope on; 0: it did not come so far */
	const char *why;  /* for the log, when not ANSWERED; lives during the callback */
};
typedef void out_done_fn(void *arg, const struct out_result *r);

/* Strings and contexts of opts are copied or referenced. gone: the kept connection has ended while
 * nothing was sent over it (from the loop); the owner frees it there. */
struct smtp_out *smtp_out_new(
    const struct out_opts *opts, void (*gone)(void *arg, struct smtp_out *o), void *arg);
void smtp_out_free(struct smtp_out **o);

/* Only when smtp_out_ready(). mail must live until the answer; the owner may free o in fn. Cancelling
 * ends the connection: then smtp_out_free() is all that is left to do. */
struct ticket *smtp_out_send(struct smtp_out *o, struct out_mail *mail, out_done_fn *fn, void *arg);

bool smtp_out_ready(const struct smtp_out *o); /* new, or idle after a mail */
/* The end of data was sent to a server that does not know delivery ids: until it answers nobody can say
 * who has the message, and asking elsewhere may double it. */
bool smtp_out_in_doubt(const struct smtp_out *o);

#endif
