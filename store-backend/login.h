/* login.h - who is this, and is that their secret? For IMAP and POP3 sessions alike.
 *
 * One ticket does it all: directory_find, the account's status, the service it may use, directory_verify,
 * the right of `authz` to be acted for, and the user's mailboxes made if this is the first login
 * (OP_ENSURE_USER, only when the index does not hold the user with these limits already). */
#ifndef STORE_LOGIN_H
#define STORE_LOGIN_H

#include "base/err.h"
#include "base/ip.h"
#include "base/span.h"
#include "net/ticket.h"
#include "store-backend/store.h"

enum login_result {
	LOGIN_OK,
	LOGIN_DENIED, /* unknown user, wrong secret, disabled: the peer learns no more than "no" */
	LOGIN_NO_SERVICE, /* the account may not use this protocol */
	LOGIN_LATER       /* directory or committer away, account on hold: not the user's fault */
};

struct login_ask {
	const char *service; /* "imap", "pop3": as in mailAllowedServiceAccess */
	struct span user;    /* authcid as typed: "user" or "user@domain" */
	struct span authz;   /* empty, or the user to act for: only a listed proxy user may */
	struct span secret;  /* copied and wiped */
	struct ip_addr client;
	bool secure; /* TLS or loopback */
};

struct login_answer {
	enum login_result result;
	const char *why;  /* for the log: "absent", "bad-secret", "directory-away" ... */
	const char *user; /* the store's name for the user; valid during the callback */
	struct store_partition *partition;
	bool guest; /* another store of the site asks for its user, who has no mailboxes here */
};

typedef void login_fn(void *arg, const struct login_answer *a);
/* Everything in ask is copied. session_id is for the log lines (login.ok, login.failed) it writes. */
struct ticket *login_start(struct store_worker *w, const char *session_id,
    const struct login_ask *ask, login_fn *fn, void *arg);

#endif
