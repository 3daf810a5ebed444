/* rule.h - rules compiled from the configuration, and the keys a question has under them. */
#ifndef METERMAID_RULE_H
#define METERMAID_RULE_H

#include "metermaid/bucket.h"
#include "metermaid/meter_conf.h"
#include "metermaid/metermaid.h"

enum { RULES_MAX = 128, KEYS_PER_QUESTION_MAX = 16, KEY_TEXT_MAX = 200, PART_TEXT_MAX = 80 };

enum rule_cost_kind { COST_ONE, COST_RECIPIENTS, COST_BYTES };
enum rule_loss { LOSS_OPEN, LOSS_CLOSED, LOSS_SHARE };

struct rule {
	const char *name; /* borrowed from the configuration */
	enum meter_moment moment;
	bool by_client, by_user, by_sender;
	unsigned v4_bits, v6_bits;
	struct bucket_limit limit;
	uint64_t count, per_ms, burst; /* as configured, for people */
	enum rule_cost_kind cost;
	enum meter_action action;
	enum rule_loss on_loss;
	const struct ip_prefixes *exempt;
	uint64_t asked, refused; /* by this worker */
};

struct rules {
	struct conf *conf; /* one reference */
	struct rule v[RULES_MAX];
	size_t n;
	unsigned refs;
};

/* Compiles the section; a rule whose key cannot be understood is left out: metermaid_check() refuses
 * such a configuration when it is loaded. */
struct rules *rules_new(const struct conf *conf);
struct rules *rules_ref(struct rules *r);
void rules_unref(struct rules **r);

/* Does the rule look at a question with these facts at this moment? */
bool rule_applies(const struct rule *r, enum meter_moment moment, const struct meter_facts *f);
uint64_t rule_cost(const struct rule *r, const struct meter_facts *f);
/* "rule:192.0.2.0/24|user": at most KEY_TEXT_MAX bytes; long parts are replaced by their digest. */
void rule_key(const struct rule *r, const struct meter_facts *f, struct buf *out);

#endif
