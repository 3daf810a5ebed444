/* sender.h - step 3, what is asked about a sender: MAIL is answered from here. */
#ifndef EDGE_SENDER_H
#define EDGE_SENDER_H

#include "edge/session.h"

/* s->mail is there, with its sender. */
enum verdict sender_start(struct session *s);
/* One of the answers has come. */
enum verdict sender_go_on(struct session *s);

#endif
