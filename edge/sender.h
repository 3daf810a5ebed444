/* sender.h - step 3, what is asked about a sender: MAIL is answered from here. */
#ifndef EDGE_SENDER_H
#define EDGE_SENDER_H

#include "proto/smtp_path.h"

#include "edge/session.h"

struct sender;

/* s->mail is there, with this sender: the DNS is asked what the settings want to know. */
enum verdict sender_start(struct session *s, const struct smtp_path *from);
/* One of the answers has come: MAIL is answered when all have. */
enum verdict sender_go_on(struct session *s);
/* Does SPF say that the client may send for this sender? */
bool sender_is_aligned(const struct session *s);
/* Does it say that the client may not, or hardly (fail, softfail)? */
bool sender_is_disowned(const struct session *s);
void sender_free(struct sender **f);

/* Authentication-Results (RFC 8601) and Received-SPF (RFC 7208 section 9.1), when SPF was looked at: they stand above our
 * own Received. */
bool sender_put_header(const struct session *s, struct buf *out);
size_t sender_fields(const struct session *s); /* how many that are */

#endif
