/* session_parts.h - what session.c, input.c and reply.c share (nobody else). */
#ifndef STORE_IMAP_SESSION_PARTS_H
#define STORE_IMAP_SESSION_PARTS_H

#include "store-backend/imap/session.h"

typedef enum verdict imap_state_fn(struct imap_session *s);

/* session.c: the only way to another state. */
void imap_set_state(struct imap_session *s, enum imap_state to);
/* session.c: frees what the command in work owns. */
void imap_end_command(struct imap_session *s);

/* input.c: states in which the client's bytes are read. */
imap_state_fn imap_go_command, imap_go_sasl, imap_go_literal, imap_go_literal_end;
/* input.c: one plain line without its end is added to *line. V_NEXT: it is there. */
enum verdict imap_take_line(struct imap_session *s, struct buf *line);

/* remote.c */
imap_state_fn imap_go_remote;

/* reply.c: a command is in work, and may stay so for long. */
void imap_watch_progress(struct imap_session *s);
void imap_on_progress(void *arg);

/* reply.c: what NOTIFY allows to be told while no command is in progress. V_NEXT: it is told. */
enum verdict imap_tell_between(struct imap_session *s);

/* reply.c: states in which answers leave. */
imap_state_fn imap_go_idle, imap_go_finish;

#endif
