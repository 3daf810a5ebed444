/* quota.h - limits of mailboxes, kinds and domains by the rules `quota NAME { }`, and when a user is to be warned of the own limits.
 *
 * The user's own limits are the index's (index_mailbox.c), which never takes too much. Those of mailboxes and of kinds of
 * messages (`type`, of a mailbox or of all mailboxes of a user) are looked at before a change is logged: for APPEND, COPY and MOVE by the committer, for mail by the LMTP worker, so that
 * deliveries at the same moment may go beyond them by what is under way. Those of domains go over all partitions of this
 * node, so they are looked at by the workers, which read all of them: domain_quota.h. */
#ifndef STORE_QUOTA_H
#define STORE_QUOTA_H

#include "store-backend/index.h"
#include "store-backend/store_conf.h"

struct quota_ask {
	const struct index_mailbox *mailbox;   /* where it would go */
	struct type_uses in_mailbox, of_owner; /* as it is: index_types(), index_txn_types() */
	struct type_uses more;                 /* what would come */
	bool moves; /* from another mailbox of the same owner, who has no more than before */
};
/* The first rule by which it would not fit; NULL: it fits. Of a kind that nothing comes of, no rule is in the way. */
const struct store_quota_conf *quota_in_the_way(
    const struct store_conf *s, const struct quota_ask *a);
/* Is there less than the rule of that name allows? in_mailbox, of_owner as in struct quota_ask. True if there is no such rule
 * any more, or if it is of domains. */
bool quota_rule_within(const struct store_conf *s, struct span rule, const struct quota_ask *a);
/* The user's own limits: so much more would fit; one of them is reached; what is there is more than one of them. */
bool quota_has_room(const struct index_user *u, uint64_t bytes, uint64_t messages);
bool quota_is_reached(const struct index_user *u);
bool quota_is_exceeded(const struct index_user *u);
/* A rule that limits a kind of messages over all mailboxes of this user; it is a quota root (RFC 9208) of theirs. */
bool quota_is_root(const struct store_quota_conf *q, struct span user);
/* The highest of these percentages that was reached, and of which limit; 0: none. */
struct quota_level {
	unsigned percent; /* of those */
	unsigned used;    /* what is really used, in percent */
	bool messages;    /* of the number of messages, not of the bytes */
};
struct quota_level quota_level_of(const struct conf_ints *warn, const struct index_user *u);
/* Of a rule that has `warn`, fits the user and the mailbox and has a level: what is there and allowed in the words of a user. */
bool quota_rule_level(const struct store_quota_conf *q, const struct quota_ask *a,
    struct index_user *is_out, struct quota_level *level_out);
/* Mail of this sender is delivered whatever the limits say. */
bool quota_is_exempt(const struct store_conf *s, struct span sender);

/* What all users of a domain have on this node, and what they may have: by the directory (as a login brought it into the index)
 * and by each rule with `domains` that fits, of which the smallest counts. */
struct domain_use {
	struct index_domain all; /* added up; limits are those of the newest partition */
	struct type_use limit;   /* 0 = none */
};
void quota_domain_add(struct domain_use *u, const struct index_domain *one); /* a partition */
/* After the last one. */
void quota_domain_limit(const struct store_conf *s, struct span domain, struct domain_use *u);
bool quota_domain_has_room(const struct domain_use *u, uint64_t bytes, uint64_t messages);
/* What goes with the same change; no more goes than there is. */
void quota_domain_remove(struct domain_use *u, uint64_t bytes, uint64_t messages);
/* So far below the limits that it is worth telling: nine tenths. */
bool quota_domain_within(const struct domain_use *u);
/* Does anybody want to know who has no room? */
bool quota_wants_marks(const struct store_conf *s);
/* May QuotaExceed be told (again)? s NULL: as by its default. */
bool quota_mark_is_due(
    const struct store_conf *s, const struct index_quota_mark *mark, uint64_t now_s);
/* OP_QUOTA_MARK on what is there now (since_s 0: nothing). FLAGS_REMOVE: by the limit that it names, which has to stay where it
 * is; FLAGS_ADD: name and mailbox are the caller's to say. */
void quota_mark_op(struct operation *op_out, struct span user, enum flag_how how,
    const struct index_quota_mark *mark);
/* The root of a domain's limits, as in struct index_quota_mark. */
struct span quota_domain_root(struct span domain, char out[STORE_USER_MAX + 1]);
/* Has there been no room for longer than quota_grace? */
bool quota_is_grace_over(
    const struct store_conf *s, const struct index_quota_mark *mark, uint64_t now_s);
void quota_check(const struct store_conf *s, struct conf_diag *d);

/* What a message tells a user. */
struct quota_warning {
	struct span user;
	struct span domain;                  /* whose limits they are; empty: the user's own */
	const struct store_quota_conf *rule; /* or of this rule of mailboxes or of a kind; NULL */
	struct span mailbox;                 /* with a rule of mailboxes */
	struct index_user is;                /* what is there and allowed */
	const char *hostname;
};
/* The message, complete, with CRLF, and the delivery that brings it. It points into itself: do not copy it. */
struct quota_letter {
	struct operation op;
	struct buf text, cache; /* owned */
	struct op_recipient to;
	char root[STORE_USER_MAX + 1];
};
/* False: it does not fit. In both cases quota_letter_end() is next. */
bool quota_letter_write(
    struct quota_letter *out, const struct quota_warning *w, struct span id, uint64_t wall_s);
void quota_letter_end(struct quota_letter *l);
/* Of a domain: what is there and allowed in the words of a user. */
struct index_user quota_domain_as_user(const struct domain_use *u);
enum { QUOTA_WARNING_ID_SIZE = 64, QUOTA_WARNING_MAX = 4096 };
/* The delivery id of a warning: of the level and the period, so that it comes once. what: "quota", ... */
struct span quota_warning_id(const struct store_conf *s, const char *what, unsigned percent,
    uint64_t wall_s, char out[QUOTA_WARNING_ID_SIZE]);

#endif
