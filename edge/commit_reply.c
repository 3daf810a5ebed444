/* commit_reply.c - one reply for all recipients of a message; the end of step 5 of 6 (commit.c).
 *
 * SMTP has one reply for many fates. 250 promises every recipient that was taken at RCPT: delivered,
 * durable, or refused with its sender told where that may be. When even one is promised to nobody it
 * must be 4xx, although those who have the message then get it again. */
#include "base/buf.h"
#include "edge/commit.h"
#include "edge/outcome.h"

static const struct outcome *first_with(const struct transaction *t, enum fate fate)
{
	for (size_t i = 0; i < t->recipient_count; i++)
		if (t->recipients[i].outcome.fate == fate)
			return &t->recipients[i].outcome;
	return NULL;
}

void commit_reply(const struct transaction *t, struct outcome *out)
{
	const struct outcome *refused = first_with(t, FATE_REFUSED);
	struct buf text = BUF_INIT(2 * REPLY_TEXT_SIZE);
	if (first_with(t, FATE_LATER) != NULL) {
		buf_printf(&text, "the message cannot be taken now, try again later [%s]", t->id.s);
		outcome_set(out, FATE_LATER, 451, "4.3.0", buf_span(&text));
	} else if (refused != NULL && first_with(t, FATE_DELIVERED) == NULL &&
		   first_with(t, FATE_SPOOLED) == NULL) {
		buf_printf(&text, "%.300s [%s]", refused->text, t->id.s);
		outcome_set(out, FATE_REFUSED, refused->code, refused->enhanced, buf_span(&text));
	} else {
		buf_printf(&text, "taken as %s", t->id.s);
		outcome_set(out, FATE_DELIVERED, 250, "2.0.0", buf_span(&text));
	}
	buf_end(&text);
}
