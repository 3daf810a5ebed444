/* transaction.h - one mail: envelope, content and the fate of each recipient. Not the connection:
 * a session has at most one at a time; the queue makes them anew from the spool. */
#ifndef EDGE_TRANSACTION_H
#define EDGE_TRANSACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ident.h"
#include "base/ip.h"
#include "directory/account.h"
#include "edge/body.h"
#include "proto/smtp_ext.h"

enum { RECIPIENTS_MAX = 1000, REPLY_TEXT_SIZE = 400 };

enum fate {
	FATE_OPEN,      /* not decided yet */
	FATE_DELIVERED, /* a store answered 250 */
	FATE_REFUSED,   /* permanent: 5xx */
	FATE_LATER,     /* 4xx, unreachable or unknown: to the spool */
	FATE_SPOOLED,   /* durable in the spool */
};

/* What the last hop said of a recipient, or what we say for it. */
struct outcome {
	enum fate fate;
	uint16_t code;              /* SMTP reply code, 0 = none yet */
	char enhanced[12];          /* "4.4.1" */
	char text[REPLY_TEXT_SIZE]; /* cleaned: one line, no controls */
	bool remote;                /* these are the next hop's words, not ours */
};

/* What stands behind an address, to whom its sender wants a report of success (RFC 3461 section 5.2.7). */
enum behind {
	BEHIND_ONE,     /* one end: the wish goes along with the mail, and whoever has it reports */
	BEHIND_SEVERAL, /* it was expanded: that is reported here, and the wish goes no further */
	BEHIND_LIST /* a group with a return path of its own: delivered, and no wish goes along */
};

struct shape;
struct recipient {
	char *address;   /* as in RCPT TO, without brackets: owned */
	char *user;      /* local: login name at the store; NULL: to be relayed */
	char *detail;    /* sub-address behind "+", or NULL */
	char *store;     /* local: mailHost value */
	unsigned notify; /* SMTP_NOTIFY_*: of what its sender wants to hear; 0: did not say */
	char *orcpt;     /* ORCPT as it came, or NULL */
	char *hold_why;  /* owned; its copy of the mail is to be held, in words, or NULL */
	/* Who gets the mail for this address instead (expand.h): owned, NULL: it is the recipient itself. Members
	 * have none of their own. */
	struct recipient *members;
	size_t member_count;
	enum behind behind; /* with members */
	char *via; /* with members, owned: this address, as it marks what leaves (Delivered-To) */
	char *filters; /* owned: words of the filters that the user and its domain want, or NULL */
	char *sender;  /* of members, owned: the return path of theirs, or NULL: the mail's */
	char *fields;  /* of members, owned: header fields of their groups, or NULL */
	/* Of members: a reference to what their groups do to the mail (shape.h), or NULL. */
	struct shape *shape;
	uint64_t size_max;      /* of members: bytes that a group lets through */
	struct outcome outcome; /* of members it may be decided before anybody is asked */
};

struct commit_unit;

struct transaction {
	struct ident id; /* transaction id = delivery id, to the store and in logs */
	struct ident session;
	char *sender;       /* reverse-path without brackets; "" = null sender */
	bool body_8bit;     /* BODY=8BITMIME */
	bool smtputf8;      /* SMTPUTF8 was said (RFC 6531) */
	int priority;       /* -9 to 9: MT-PRIORITY, or what the header says; see content.c */
	bool priority_said; /* by MT-PRIORITY: the header is not asked */
	char *auth_user;    /* submission: who; NULL on MX */
	bool hold;          /* an operator is to look at it: to the queue, held there */
	char *hold_why;     /* owned; in words, or NULL */
	bool require_tls;   /* REQUIRETLS: every hop from here on (RFC 8689) */
	bool tls_optional;  /* TLS-Required: no, and REQUIRETLS was not said */
	bool trusted;       /* the sender is who it says: reports may go there */
	/* SPF says that the client may send for the sender: reports may go there, too. */
	bool aligned;
	/* SPF says that it may not: its address is borrowed, even if it is of ours. */
	bool disowned;
	struct commit_unit
	    *unit;    /* others have the rest of its mail (commit_unit.h): all of it to the
				   * spool, with them; or NULL */
	char *prefix; /* header fields in front of the body, or NULL */
	enum smtp_ret ret;
	char *envid; /* ENVID as it came, or NULL */
	struct ip_addr client;
	uint64_t arrived_us;          /* wall clock */
	struct body *body;            /* owned */
	struct recipient *recipients; /* owned */
	size_t recipient_count;
};

struct transaction *transaction_new(struct ident session);
void transaction_free(struct transaction **t);
/* Holds it; the first reason stays. */
void transaction_hold(struct transaction *t, struct span why);
void recipients_free(struct recipient *r, size_t n); /* and the array */
/* NULL when the list is full (max). The strings are copied; user, detail, store may be empty. */
struct recipient *transaction_add(struct transaction *t, size_t max, struct span address,
    struct span user, struct span detail, struct span store);
/* Is the sender to hear of one of these ends (SMTP_NOTIFY_*)? What who has said nothing (0) wants: RFC 3461
 * section 4.1. */
bool recipient_wants(unsigned notify, unsigned ends);
/* What goes along to whoever is behind an address: all of it, or all but the wish to hear of success. */
unsigned recipient_notify_behind(unsigned notify, enum behind behind);
/* Has the sender to hear of this recipient's success? It wants to, and reports may go there. */
bool transaction_tells_success(const struct transaction *t, const struct recipient *r);
/* Why the sender of a mail is told nothing, in words for the log. */
extern const char transaction_untold[];
/* Takes the recipient with this address (as in RCPT TO; else in another case) out. False: there is none. */
bool transaction_remove(struct transaction *t, struct span address);
void transaction_remove_all(struct transaction *t); /* recipients */

#endif
