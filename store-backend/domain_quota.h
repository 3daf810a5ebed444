/* domain_quota.h - has the domain room? Its users are in all partitions of this node, so their indexes are read and added up at
 * each question; changes of this moment may go beyond the limit by what is under way. What a domain has on other nodes
 * is not known here. A partition that cannot be read counts as empty.
 *
 * The limits are those that a login has brought into the index, and the rules `quota NAME { domains ... }`. */
#ifndef STORE_DOMAIN_QUOTA_H
#define STORE_DOMAIN_QUOTA_H

#include "store-backend/quota.h"
#include "store-backend/store.h"

void domain_use_now(struct store_worker *w, const struct store_conf *rules, struct span domain,
    struct domain_use *out);
/* OP_DOMAIN_LIMITS, which brings these limits of the user's domain; false: the index has them. */
bool domain_limits_op(
    struct store_worker *w, struct span user, const struct account *a, struct operation *op_out);

#endif
