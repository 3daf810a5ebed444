/* remote.h - mailboxes that others share and that another store of the site has (peer NAME { }).
 *
 * The session is a guest there by a link of its own (peer_link.h). A command that names such a mailbox, or that is about
 * messages while one is selected, goes to the link as the client has said it, with its tag; what the other store says
 * goes to the client as it comes. Both stores use the same names, and the other one has the same things enabled, so
 * nothing is translated. Whether an owner is elsewhere is asked of the directory, unless the owner is known here.
 *
 * A link that ends ends the session when its mailbox is selected (a client cannot be told otherwise that its numbers are
 * void); else the command gets [UNAVAILABLE]. */
#ifndef STORE_IMAP_REMOTE_H
#define STORE_IMAP_REMOTE_H

#include "store-backend/imap/session.h"

struct imap_remote;
void imap_remote_free(struct imap_remote **r);

/* Before the handler, with the verb read: is it for another store, or is that not known yet? Then the verdict is what
 * happens next. */
bool imap_remote_takes(struct imap_session *s, enum verdict *v_out);

/* Is the selected mailbox one of another store? */
bool imap_remote_is_selected(const struct imap_session *s);
void imap_remote_deselect(struct imap_session *s);
/* Whoever is no user of this store may be one of another. False: is here, or there are no other stores. */
bool imap_remote_may_have(struct imap_session *s, struct span owner);
/* That store; empty: none is asked now or has the selected mailbox. */
struct span imap_remote_name(const struct imap_session *s);

/* More is enabled in the session: it is in a selected mailbox's store too, whose answer is the client's (true); other links
 * are made anew when they are needed. */
bool imap_remote_enable(struct imap_session *s, enum verdict *v_out);

/* A large literal of the client is for another store. */
bool imap_remote_is_sending(const struct imap_session *s);
/* Some of its bytes: how many were taken; fewer: there is no room, and the driver is called when there is. */
size_t imap_remote_data(struct imap_session *s, struct span bytes);
/* What stands behind the literal is in cmd.more. */
enum verdict imap_remote_more(struct imap_session *s);

/* The command in work is over, or is thrown away. */
void imap_remote_end_command(struct imap_session *s);

/* Messages come from another store: the append in work is fed from there, and not by the client. */
bool imap_remote_is_taking(const struct imap_session *s);
/* They are here, under uids from `first` on. */
enum verdict imap_remote_taken(struct imap_session *s, uint32_t uidvalidity, uint32_t first);

/* What the other stores list for the session's user, collected for one LIST: each name once, in the session's own
 * encoding as UTF-8, with lines of STATUS and MYRIGHTS that belong to it. */
struct remote_listed {
	const char *name;
	const char *lines; /* "" or whole untagged lines */
};
size_t imap_remote_listed(const struct imap_session *s, const struct remote_listed **v_out);

#endif
