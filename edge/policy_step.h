/* policy_step.h - the policy services of a listener at one moment of a mail, asked one after the other (part of steps 3
 * and 4). */
#ifndef EDGE_POLICY_STEP_H
#define EDGE_POLICY_STEP_H

#include "net/ticket.h"
#include "proto/milter_wire.h"
#include "proto/policy_action.h"

#include "edge/filter.h"
#include "edge/session.h"

/* Words of edge_policy.at. */
enum policy_moment {
	POLICY_AT_MAIL,
	POLICY_AT_RCPT,
	POLICY_AT_DATA,
	POLICY_AT_END,
	POLICY_MOMENTS
};

enum policy_moment policy_moment_of(const char *word); /* POLICY_MOMENTS: it is none */

/* About the mail under way; at RCPT about mail->to. The answer is GO, REFUSE or CLOSE; what else a service wants is noted
 * in the mail when the answer comes: to be discarded, held, redirected, copied, given fields, or deferred should it be
 * taken or refused. NULL: nobody is to be asked, go on. */
struct ticket *policy_step(struct session *s, enum policy_moment at, filter_fn *fn);

/* For ruling.c: what an action that refuses tells the client; what another one notes in the mail (false: it cannot be
 * done). who: of the setup. */
void policy_refusal(const struct policy_action *a, struct milter_text *out);
bool policy_note(
    struct mail *m, enum policy_moment at, const char *who, const struct policy_action *a);

#endif
