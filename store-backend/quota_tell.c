/* quota_tell.c - refusals of the workers become events; see quota_tell.h. Before: lmtp/lmtp_room.c, imap/append.c and
 * imap/change.c, which refuse; after: partition_mark.c. Owns nothing. */
#include "store-backend/quota_tell.h"

#include "base/clock.h"
#include "directory/name.h"

enum { MS = 1000, ASKED_MAX = 64 /* under way to a committer: more are not told */ };

static void on_told(void *arg, const struct operation_answer *a)
{
	struct store_partition *p = arg;
	p->marks_asked--;
}

static void tell(struct store_worker *w, const struct operation *op)
{
	struct store_partition *p = store_partition_of(w, op->user);
	if (p->marks_asked == ASKED_MAX || !operation_link_up(p->link))
		return;
	p->marks_asked++;
	(void)operation_ask(p->link, op, on_told, p);
}

void quota_tell_full(
    struct store_worker *w, struct index_view *v, struct span user, struct quota_by by)
{
	const struct store_conf *s = store_options(store_worker_conf(w));
	struct index_quota_mark mark;
	struct index_user u;
	struct operation op;
	char root[STORE_USER_MAX + 1] = "@";
	bool there = index_quota_mark(v, user, &mark);
	uint64_t every_s = s->quota_exceed_every / MS, now_s = clock_wall_us() / 1000000;
	if (!store_wants_events(s) || (there && now_s < mark.since_s + every_s) ||
	    !index_user(v, user, &u))
		return;
	operation_init(&op, OP_QUOTA_MARK);
	op.user = user;
	op.how = FLAGS_ADD;
	op.unchanged_since = mark.since_s;
	op.mailbox = by.mailbox;
	if (by.rule != NULL)
		op.name = span_str(by.rule->head.title);
	if (by.domain) {
		struct span domain = name_domain(user);
		memcpy(root + 1, domain.p, domain.n);
		op.name = span_of(root, 1 + domain.n);
	}
	tell(w, &op);
}

void quota_tell_domain(
    struct store_worker *w, struct index_view *v, struct span user, const struct domain_use *use)
{
	struct index_quota_mark mark;
	struct operation op;
	if (!store_wants_events(store_options(store_worker_conf(w))) ||
	    !index_quota_mark(v, user, &mark) || !span_starts(mark.root, SPAN("@")) ||
	    !quota_domain_within(use))
		return;
	operation_init(&op, OP_QUOTA_MARK);
	op.user = user;
	op.how = FLAGS_REMOVE;
	op.name = mark.root;
	op.unchanged_since = mark.since_s;
	tell(w, &op);
}
