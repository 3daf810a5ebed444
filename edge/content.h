/* content.h - step 4: the bytes of the message, and what is decided of them. */
#ifndef EDGE_CONTENT_H
#define EDGE_CONTENT_H

#include "edge/mail.h"
#include "edge/session.h"

enum verdict content_data(struct session *s, const struct smtp_cmd *cmd);
/* Takes what has arrived of the message. */
enum verdict content_input(struct session *s);
/* The client is too slow. */
enum verdict content_slow(struct session *s);
/* On to step 5: the message is whole and no limit stands against it. */
enum verdict content_filter(struct session *s);

/* What filters decided of the mail, when it is not GO. */
enum verdict content_filtered(struct session *s, const struct filter_answer *a);
/* Asks policy services and filters whether the message may come; goes on with one of the two. */
enum verdict content_begin(struct session *s, mail_begin_fn *begin, mail_no_fn *no);
/* All bytes of the mail are here, by DATA or BDAT. */
enum verdict content_ended(struct session *s);

#endif
