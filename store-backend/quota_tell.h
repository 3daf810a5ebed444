/* quota_tell.h - what workers alone know of limits is told: that a domain comes near its own, by a message to
 * quota_domain_warn_to; and that a worker has refused a message for want of room, before any committer heard of it: the user's committer makes
 * QuotaExceed of it (partition_mark.c), unless that was told a short time ago. Nothing when nobody wants to know (quota_wants_marks()).
 *
 * The refusal does not wait for it. The change is sent again to a committer that died; if the worker dies as well before it is
 * logged there is no mark, and the next refusal tells. */
#ifndef STORE_QUOTA_TELL_H
#define STORE_QUOTA_TELL_H

#include "store-backend/quota.h"
#include "store-backend/store.h"

/* By which limit. */
struct quota_by {
	const struct store_quota_conf *rule; /* or NULL */
	uint64_t mailbox;                    /* of a rule of mailboxes */
	bool domain;                         /* of the user's domain, by whatever rule */
};
/* v: of the partition that the user is in. */
void quota_tell_full(
    struct store_worker *w, struct index_view *v, struct span user, struct quota_by by);
/* Has the user's domain room for what comes? Then it is added to *use; and QuotaWithin, if it was told that there was none and
 * there is enough by now. Else QuotaExceed. */
bool quota_domain_admits(struct store_worker *w, struct index_view *v, struct span user,
    struct domain_use *use, const struct type_use *more);
/* use: with what comes now. If it reaches a number of quota_warn, a message is on its way, unless there is nobody to be told or it
 * was told in this period. */
void quota_warn_domain(struct store_worker *w, struct span domain, const struct domain_use *use);

#endif
