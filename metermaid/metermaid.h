/* metermaid.h - limits of the whole tier: ask before you go on. The only header others include.
 *
 * Rules are the `metermaid` section: each says at which moment it is asked, its key, its kind and
 * what to do. State is in Redis (atomic, server time), or in tables shared by the workers of this host
 * when no Redis is configured, or an equal share per worker while Redis is away. */
#ifndef METERMAID_METERMAID_H
#define METERMAID_METERMAID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ip.h"
#include "base/span.h"
#include "conf/conf.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/ticket.h"

struct metermaid;

enum meter_moment { METER_CONNECT, METER_AUTH, METER_MESSAGE, METER_MOMENTS };

struct meter_facts {
	struct ip_addr client;
	struct span user;   /* login name, lower-cased by the asker; empty: not known */
	struct span sender; /* envelope sender; empty: null sender or not known */
	struct span listener;
	uint64_t recipients; /* for cost */
	uint64_t bytes;
};

enum meter_action { METER_ALLOW, METER_DEFER, METER_REFUSE, METER_DELAY };

struct meter_answer {
	enum meter_action action;
	const char *rule;  /* name of the rule that decided; "" for METER_ALLOW */
	uint64_t retry_ms; /* when the same question would pass; or the delay */
	bool degraded;     /* Redis was away: on_loss decided */
};
typedef void meter_fn(void *arg, const struct meter_answer *answer);

extern const struct conf_block metermaid_block;

/* Master, before fork: makes the shared table for the case without Redis and counts the workers that
 * share limits. Worker: metermaid_new(). */
void metermaid_prepare(void);
struct metermaid *metermaid_new(struct loop *l, struct dns *dns, const struct conf *conf);
void metermaid_reload(struct metermaid *m, const struct conf *fresh);
void metermaid_free(struct metermaid **m);

/* One question over all rules of the moment, all or nothing: when one refuses, none is charged. At
 * METER_AUTH nothing is charged by asking: failed logins are, by meter_charge().
 * NULL: no rule applies, go on; the callback will not come. The facts are copied. Always answers
 * within the section's deadline. */
struct ticket *meter_ask(struct metermaid *m, enum meter_moment moment, const struct meter_facts *f,
    meter_fn *fn, void *arg);

/* Charge after the fact, nothing waits for it: a failed login counts (moment METER_AUTH). */
void meter_charge(struct metermaid *m, enum meter_moment moment, const struct meter_facts *f);

/* Errors of rules that no single row can see; a program's schema check calls it. */
void metermaid_check(const struct conf *c, struct conf_diag *d);

/* Appends JSON for the control socket: words = { "meter", "rules" } or { "meter", "top" [, RULE] }. */
bool metermaid_control(struct metermaid *m, const char *const *words, size_t n, struct buf *out);
bool metermaid_healthy(const struct metermaid *m); /* Redis answers, or none is configured */

#endif
