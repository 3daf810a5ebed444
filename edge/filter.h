/* filter.h - the filters of a session, asked one after the other (part of steps 3 and 4).
 *
 * A session has them from its first MAIL on, when its listener has any: a connection that never sends mail
 * costs no filter anything, and what a filter thinks of the client and its name it says at MAIL. The
 * first one that refuses decides. A filter that fails is treated as its on_failure says, for the whole
 * mail. */
#ifndef EDGE_FILTER_H
#define EDGE_FILTER_H

#include "net/ticket.h"

#include "edge/edge_conf.h"
#include "edge/milter.h"
#include "edge/session.h"

struct filters;

/* verdict: GO, REFUSE, DISCARD or CLOSE. */
struct filter_answer {
	enum milter_verdict verdict;
	const struct milter_text *text; /* REFUSE, CLOSE: with an enhanced code */
	const char *filter;             /* who decided; NULL: nobody in particular */
};
typedef void filter_fn(void *arg, const struct filter_answer *a);

/* Makes them if the listener has any and they are not there. */
void filters_open(struct session *s);
void filters_free(struct filters **f);

/* path: with its brackets; params: as they stand in the command; both borrowed for the call. NULL: nothing
 * to wait for, go on. A refused or discarded MAIL is over: filters_done(). */
struct ticket *filters_ask(struct filters *f, enum milter_question what, struct span path,
    struct span params, filter_fn *fn);
/* The whole message: filters see and change it, scanners judge it, recipients that were added are looked
 * up. After GO the transaction is what commit shall take. */
struct ticket *filters_ask_message(struct filters *f, filter_fn *fn);
/* The mail is over, whatever became of it. */
void filters_done(struct filters *f);

/* "[192.0.2.1]": what filters are told as the name of a client. */
enum { FILTER_CLIENT_SIZE = IP_TEXT_SIZE + 8 };
void filter_client_name(const struct session *s, char out[FILTER_CLIENT_SIZE]);
/* Macros of the session: a milter_macro_fn. */
bool filter_macro(void *session, struct span name, struct buf *out);

#endif
