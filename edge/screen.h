/* screen.h - what is asked in the DNS about a client from the moment it connects: lists, and its name.
 *
 * Asked beside MeterMaid and the greeting's delay. The lists' verdict is due in place of the greeting, or at
 * MAIL where the client may still authenticate; the name is taken when it has come, and waited for by an access rule only that
 * speaks of names. */
#ifndef EDGE_SCREEN_H
#define EDGE_SCREEN_H

#include "edge/session.h"

/* Begins: passed.c asks first what needs no question. */
void screen_start(struct session *s);
/* Asks what the client has not passed lately; what it has is not waited for (any more). */
void screen_ask(struct session *s);
void screen_free(struct screen **c);

/* Are answers missing that decide? Then wait in ST_SCREEN or ST_SENDER. */
bool screen_pending(const struct session *s);

/* The client is listed and gets its refusal in place of the greeting; else NONE is said. */
bool screen_bars_greeting(const struct session *s);
enum verdict screen_bar(struct session *s);

/* The client is listed and did not authenticate: the refusal of a recipient is put into text. 0, or the
 * reply's code. */
unsigned screen_recipient_code(const struct session *s, struct buf *text);

/* The confirmed name of the client; NULL: not known. */
const char *screen_name(const struct session *s);
/* PENDING: ruling_name_known() follows. */
enum screen_naming {
	SCREEN_NOT_ASKED, /* nobody asks: reverse_names is off, or the client is on loopback */
	SCREEN_PENDING,
	SCREEN_NAMED,
	SCREEN_NAMELESS,
	SCREEN_SILENT /* the DNS does not answer */
};
enum screen_naming screen_naming(const struct session *s);
/* X-Postern-Listed for a listed client whose mail is taken all the same. */
bool screen_put_header(const struct session *s, struct buf *out);

#endif
