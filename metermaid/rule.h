/* rule.h - rules compiled from the configuration, and the keys a question has under them. */
#ifndef METERMAID_RULE_H
#define METERMAID_RULE_H

#include "metermaid/meter_conf.h"
#include "metermaid/metermaid.h"
#include "metermaid/op.h"

enum {
	RULES_MAX = 128,
	TIERS_MAX = 4,
	KEYS_PER_QUESTION_MAX = OPS_MAX,
	KEY_TEXT_MAX = 400,
	PART_TEXT_MAX = 80
};

/* The words of meter_rule.params.def, in their order. */
enum rule_kind {
	RULE_RATE,
	RULE_CONCURRENCY,
	RULE_PENALTY,
	RULE_COUNTER,
	RULE_GREYLIST,
	RULE_LIST
};
enum rule_action {
	ACT_ALLOW,
	ACT_TAG,
	ACT_DELAY,
	ACT_DEFER,
	ACT_REFUSE,
	ACT_DISCONNECT,
	ACT_SHADOW
};
enum rule_cost_kind { COST_ONE, COST_RECIPIENTS, COST_BYTES };
enum rule_loss { LOSS_OPEN, LOSS_CLOSED, LOSS_SHARE };

/* What a key is made of besides the client's network, in the order of the text. */
enum rule_part {
	PART_USER,
	PART_DOMAIN,
	PART_SENDER,
	PART_SENDER_DOMAIN,
	PART_RECIPIENT,
	PART_HELO,
	PART_LISTENER,
	PARTS
};

/* One length of the client's network (or none), and what holds for it. */
struct tier {
	int v4_bits, v6_bits; /* -1: this family is not counted here */
	struct bucket_limit limit[CONF_WINDOWS_MAX];
	uint64_t count[CONF_WINDOWS_MAX], per_ms[CONF_WINDOWS_MAX]; /* as configured */
	size_t windows;                                             /* at least 1 */
};

struct rule {
	const char *name; /* borrowed from the configuration */
	unsigned moments; /* bit of each */
	enum rule_kind kind;
	bool by_client;
	unsigned parts; /* bit of each enum rule_part */
	struct tier tiers[TIERS_MAX];
	size_t tier_n;
	bool never; /* the limit is 0 */
	enum rule_cost_kind cost;
	enum rule_action action;
	enum rule_loss on_loss;
	const struct meter_rule_conf *conf; /* NULL: the list ban, which needs no row */
	const char *tag, *ban_list;
	uint64_t ban_ms;
	uint64_t uid;         /* of kind and name: digests of keys begin with it */
	size_t slot;          /* of its metrics */
	uint64_t asked, over; /* by this worker */
};

struct rules {
	struct conf *conf; /* one reference */
	struct rule v[RULES_MAX + 1];
	size_t n;
	bool grow; /* one of them does */
	unsigned refs;
};

/* A key of a question, ready to be asked anywhere. */
struct meter_key {
	struct rule *rule;
	struct op op;
	uint8_t tier, window;
};

/* Compiles the section; a rule with mistakes is left out: metermaid_check() refuses such a
 * configuration when it is loaded. */
struct rules *rules_new(const struct conf *conf);
struct rules *rules_ref(struct rules *r);
void rules_unref(struct rules **r);
struct rule *rules_find(struct rules *r, const char *name);

/* NULL, or what is wrong with it (static, or in the buffer). */
const char *rule_compile(struct rule *r, const struct meter_rule_conf *c, struct buf *why);
extern const char *const rule_moments[METER_MOMENTS],
    *const rule_kinds[], *const rule_actions[], *const rule_parts[PARTS];

/* Does the rule look at a question with these facts at this moment? */
bool rule_applies(const struct rule *r, enum meter_moment moment, const struct meter_facts *f);
/* Adds the rule's keys behind the n that are there; returns how many there are now. Keys beyond
 * KEYS_PER_QUESTION_MAX are left out. */
size_t rule_add_keys(struct rule *r, const struct meter_facts *f,
    struct meter_key keys[KEYS_PER_QUESTION_MAX], size_t n);
/* Does its limit grow with the users who log in well? */
static inline bool rule_grows(const struct rule *r)
{
	return r->conf != NULL && r->conf->grow > 0;
}
/* The same of the keys that count f's user as one who logged in well from the client's networks; only of a
 * rule that grows. */
size_t rule_add_users(struct rule *r, const struct meter_facts *f,
    struct meter_key keys[KEYS_PER_QUESTION_MAX], size_t n);
/* "rule|192.0.2.0/24|user#1": at most KEY_TEXT_MAX bytes; long parts are replaced by their digest. */
void rule_key_text(const struct meter_key *k, const struct meter_facts *f, struct buf *out);
/* The facts that a key's text (behind the rule's name) was made of; false: not a key of this rule.
 * *bits_out: the length of the client's network, -1: an address, so every length is meant. */
bool rule_key_facts(const struct rule *r, struct span text, struct meter_facts *out, int *bits_out);
struct span rule_part(const struct meter_facts *f, enum rule_part part);
/* The length of the client's network in this tier; -1: its family is not counted there. */
int rule_tier_bits(const struct tier *t, const struct meter_facts *f);
/* The network that a key counts; only of a rule that counts by client. */
struct ip_prefix rule_key_net(const struct meter_key *k, const struct meter_facts *f);
/* For people: "60/1m", of kind concurrency "20"; nothing where there is no limit. more: what it has
 * grown by. */
struct rule_limit {
	size_t window;
	uint64_t more;
};
void rule_put_limit(
    const struct rule *r, const struct tier *t, struct rule_limit which, struct buf *out);

#endif
