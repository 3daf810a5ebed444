/* sts.h - MTA-STS (RFC 8461): which mail exchangers of a domain are its own, and that they have to prove it under TLS.
 *
 * For deliver.c (step 6 of 6). A policy is fetched when the domain's record in the DNS names one that is not known,
 * remembered up to its max_age and fetched again long before that ends. What cannot be fetched is not asked for again
 * for five minutes; meanwhile, and when the record is gone, the policy that is known counts. Bounds: 4096 policies,
 * 4 MiB of them; the one that was not used for longest goes first. They are kept in a file over restarts. */
#ifndef EDGE_STS_H
#define EDGE_STS_H

#include "base/buf.h"
#include "base/span.h"
#include "edge/edge_conf.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/ticket.h"
#include "proto/mta_sts.h"

struct sts;

/* A policy, shared by reference. */
struct sts_rules {
	unsigned refs;
	char id[STS_ID_MAX + 1];
	struct sts_policy policy; /* into text */
	char *text;               /* owned: the policy in our own words */
	size_t bytes;
};
struct sts_rules *sts_rules_ref(struct sts_rules *r);
void sts_rules_unref(struct sts_rules **r); /* fine on NULL */
/* Is this mail exchanger one that the policy names? */
bool sts_allows(const struct sts_rules *r, const char *host);

/* Why a policy that the domain has announced is not to be had (RFC 8460 section 4.3.2.2). */
enum sts_fault { STS_FINE, STS_FETCH_FAILED, STS_CERTIFICATE_BAD, STS_POLICY_BAD };

struct sts_answer {
	struct sts_rules
	    *rules; /* STS_TESTING or STS_ENFORCE; NULL: none counts. Take a reference to keep it */
	enum sts_fault fault; /* of the last attempt; rules may be there all the same */
	const char *why;      /* of the fault */
	bool later;           /* too many are being fetched: it cannot be known now */
};
typedef void sts_fn(void *arg, const struct sts_answer *a);

/* kept: the file, or NULL. */
struct sts *sts_new(struct loop *l, struct dns *dns, const struct edge_conf *c, const char *kept);
/* For what is fetched from now on. */
void sts_set(struct sts *s, const struct edge_conf *c);
void sts_free(struct sts **s); /* tickets are cancelled; the file is written */

/* What counts for this domain now? */
struct ticket *sts_ask(struct sts *s, const char *domain, sts_fn *fn, void *arg);

/* ---- for tests, and sts_file.c ---- */

enum { STS_POLICIES_MAX = 4096, STS_BYTES_MAX = 4 * 1024 * 1024, STS_KEPT_MAX = 4 * STS_BYTES_MAX };

struct sts_kept {
	struct span domain, id;
	uint64_t fetched_us;
	struct sts_policy policy;
};
/* One line of the file, with its end. */
void sts_kept_put(
    struct buf *out, const char *domain, uint64_t fetched_us, const struct sts_rules *r);
/* The next good line of *rest; what is malformed is passed over. False: none is left. */
bool sts_kept_take(struct span *rest, struct sts_kept *out);

#endif
