/* expand.h - who gets the mail for an address: aliases, catch-alls, forwards and groups followed to their ends
 * (part of step 3; asked by envelope.c at RCPT, while the client waits, and by added.c).
 *
 * Bounded in members, depth, questions and time; an address is followed once, so that a loop ends by itself.
 * The client named one recipient and gets one answer. What the answer is, and what becomes of each member:
 *
 *	what was found                          answer                  member
 *	a member that takes mail                250                     delivered, or by way of the spool
 *	... beside one refused for good (5xx)   250                     reported to the return path, as a refusal of
 *	                                                                its store is (commit.h)
 *	... beside a mailbox that takes none    250                     to the spool, tried again there
 *	now (full, inactive)
 *	... beside a group, or somebody who     4xx                     none
 *	forwards, that takes none now
 *	only members that are refused for good  the first one's 5xx
 *	some refused now, none takes mail       the first one's 4xx     none: nothing is promised
 *	anything that cannot be looked up now   451                     none: the client asks for all of them again
 *	too many members or levels, too long    452, 451                none
 *	a mailbox on hold                       250                     waits in the spool
 *
 * A group with a password takes its members on the condition that the message gives it (shape.h): that is asked where
 * the message is here (parts.h).
 * A member by way of a group with mgrpErrorsTo has that as its return path; mail with the null return path keeps
 * it, whatever it goes through. */
#ifndef EDGE_EXPAND_H
#define EDGE_EXPAND_H

#include "directory/directory.h"
#include "directory/target.h"
#include "net/ticket.h"

#include "edge/edge_conf.h"
#include "edge/transaction.h"

/* Who writes, as far as groups ask. */
struct expand_sender {
	struct span address; /* empty: null sender */
	const char *user;    /* who has authenticated, or NULL */
	bool trusted;        /* it is a client of ours: its sender is believed */
	uint64_t size;       /* SIZE as declared, 0: not */
};

struct expand_opts {
	struct loop *loop;
	struct directory *directory;
	const struct edge_conf *conf;
	struct expand_sender sender; /* spans and strings live until the answer */
	/* It was taken before: its own group does not ask again who may post, and no group is put off. */
	bool posted;
};

enum expand_end {
	EXPAND_TAKEN,    /* members are there: at least one */
	EXPAND_REFUSED,  /* code, enhanced, text */
	EXPAND_NOBODY,   /* the same: there is nobody with this address */
	EXPAND_ELSEWHERE /* its domain is not ours */
};

struct expansion {
	enum expand_end end;
	unsigned code;
	const char *enhanced, *text; /* valid during the callback */
	/* The address is one user's, with a mailbox and nothing else: members[0] is that user. */
	bool plain;
	bool held; /* every member waits in the spool for now */
	enum behind behind;
	/* Whoever is called may take these, and null them; else they are freed. */
	struct recipient *members;
	size_t n;
	/* The address in its canonical form: marks what leaves by way of it (Delivered-To). */
	char *via;
};

/* Does a member get the mail in a transaction of its own (parts.h), and so a copy of it in the spool? */
bool expansion_goes_apart(const struct expansion *e);
/* Gives the members to a recipient, who owns them then. */
void expansion_take(struct expansion *e, struct recipient *r);

typedef void expand_fn(void *arg, struct expansion *e);
/* address: canonical, "local@domain", or a name alone for one of the default domain. Copied. */
struct ticket *expand_start(
    const struct expand_opts *opts, struct span address, expand_fn *fn, void *arg);

/* Is the sender one of those that the values mean (addresses, mailto:, ldap: URLs; groups stand for their
 * members, users for all of their addresses)? UNKNOWN: cannot be said now. */
typedef void expand_has_fn(void *arg, enum directory_status has);
struct ticket *expand_has(
    const struct expand_opts *opts, struct text_list values, expand_has_fn *fn, void *arg);

#endif
