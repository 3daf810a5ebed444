/* auth.h - step 2 of a submission: AUTH, by the mechanisms of lib/directory. */
#ifndef EDGE_AUTH_H
#define EDGE_AUTH_H

#include "edge/session.h"

/* The line of EHLO, if there is a mechanism for this client now. */
void auth_put_offer(const struct session *s, struct buf *out);
enum verdict auth_start(struct session *s, const struct smtp_cmd *cmd);
/* The client's next line of the exchange. */
enum verdict auth_line(struct session *s, struct span line);
/* The penalty's time is over: the refusal is said. */
enum verdict auth_answer(struct session *s);
void attempt_free(struct attempt **a);

#endif
