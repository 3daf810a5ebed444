/* question.h - a mail server's request as a question to MeterMaid, and MeterMaid's answer in its words. */
#ifndef METERMAID_SERVICE_QUESTION_H
#define METERMAID_SERVICE_QUESTION_H

#include "base/ident.h"
#include "metermaid/metermaid.h"
#include "proto/policy_wire.h"
#include "proto/smtp_path.h"

#include "metermaid/service/service_conf.h"

enum { QUESTION_USER_MAX = 256 };

/* The facts point into the request and into the question itself. */
struct question {
	enum meter_moment moment;
	struct meter_facts facts;
	struct smtp_path sender, recipient;
	char user[QUESTION_USER_MAX];
};

/* False: there is nothing to ask in this state of the SMTP session. Addresses and users are brought into the form
 * they have at the edge, so that keys are the same; what is no address is counted as it is. The question is
 * filled in place and must not be moved. */
bool question_read(const struct policy_request *r, const char *listener,
    enum meter_message_at message_at, struct question *out);

/* "450 4.7.1 limit NAME is reached, try again later [ID]"; for what METER_DEFER and METER_REFUSE want. */
void question_put_refusal(
    struct buf *out, enum meter_moment moment, const struct meter_answer *a, struct ident id);

#endif
