/* limit.h - what an answer of MeterMaid leaves behind in a session, besides its verdict. */
#ifndef EDGE_LIMIT_H
#define EDGE_LIMIT_H

#include "metermaid/metermaid.h"

#include "edge/session.h"

/* For the decision record, and the mark of a tag for the header field of its mails: of the mail under way, else of
 * each mail that is still to come in this session. moment: "meter_rcpt". */
void limit_note(struct session *s, const char *moment, const struct meter_answer *a);
/* An access rule's mark on the mail under way. */
void limit_tag_mail(struct session *s, const char *tag);
/* The header field with all of them; nothing when there are none. False: it does not fit. */
bool limit_put_tags(const struct session *s, struct buf *lines);
/* The marks, for the log. Lives until the next call. */
const char *limit_tags(const struct session *s);

#endif
