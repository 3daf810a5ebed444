/* domain_quota.c - what a domain has and may have on this node; see domain_quota.h. Before: lmtp/lmtp_room.c, imap/append.c,
 * imap/change.c and login.c, which ask; index_domain.c counts. Owns nothing. */
#include "store-backend/domain_quota.h"

#include "directory/name.h"

void domain_use_now(struct store_worker *w, const struct store_conf *rules, struct span domain,
    struct domain_use *out)
{
	struct index_domain one;
	*out = (struct domain_use){ 0 };
	for (size_t i = 0; i < store_partition_count(w); i++) {
		struct index_view *v = index_view_begin(store_partition_at(w, i)->index);
		if (v == NULL)
			continue;
		index_domain(v, domain, &one);
		quota_domain_add(out, &one);
		index_view_end(&v);
	}
	quota_domain_limit(rules, domain, out);
}

static uint64_t limit_of(int64_t says)
{
	return says > 0 ? (uint64_t)says : 0;
}

/* A version more than the newest: the next look takes it from whatever partition it is in. */
bool domain_limits_op(
    struct store_worker *w, struct span user, const struct account *a, struct operation *op_out)
{
	struct domain_use use;
	domain_use_now(w, store_options(store_worker_conf(w)), name_domain(user), &use);
	operation_init(op_out, OP_DOMAIN_LIMITS);
	op_out->user = user;
	op_out->quota_bytes = limit_of(a->domain_quota_bytes);
	op_out->quota_messages = limit_of(a->domain_quota_messages);
	op_out->unchanged_since = use.all.version + 1;
	return use.all.quota_bytes != op_out->quota_bytes ||
	       use.all.quota_messages != op_out->quota_messages;
}
