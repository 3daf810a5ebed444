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
struct meter_lease;

enum meter_moment {
	METER_CONNECT,
	METER_TLS,
	METER_AUTH,
	METER_MAIL,
	METER_RCPT,
	METER_MESSAGE,
	METER_LOGIN,   /* a login has succeeded: IMAP, POP3, AUTH */
	METER_SESSION, /* what it holds lasts as long as the session */
	METER_MOMENTS
};

struct meter_facts {
	struct ip_addr client;
	struct span user;      /* login name, lower-cased by the asker; empty: not known */
	struct span sender;    /* envelope sender; empty: null sender or not known */
	struct span recipient; /* at METER_RCPT */
	struct span helo;
	struct span listener;
	uint64_t recipients; /* for cost */
	uint64_t bytes;
	bool authenticated;   /* the user has logged in */
	uint32_t secret_hash; /* at METER_AUTH: meter_secret_hash(); 0: not known */
	/* Filled in by the meter: milliseconds since this user's last good login from there and one more; 0:
	 * none is known. A good login is a question at METER_LOGIN with authenticated. */
	uint64_t known_ms;
};

enum meter_action { METER_ALLOW, METER_DEFER, METER_REFUSE, METER_DELAY };

struct meter_answer {
	enum meter_action action;
	bool disconnect;           /* with METER_REFUSE and METER_DEFER: and close the connection */
	const char *rule;          /* name of the rule that decided; "" for METER_ALLOW */
	const char *tag;           /* a rule's mark; NULL: none */
	uint64_t retry_ms;         /* when the same question would pass; or the delay */
	bool degraded;             /* Redis was away: on_loss decided */
	struct meter_lease *lease; /* now the asker's, for meter_release(); NULL: nothing is held */
};
static inline bool meter_lets_in(const struct meter_answer *a)
{
	return a->action == METER_ALLOW || a->action == METER_DELAY;
}

/* Strings of the answer live until the callback returns. */
typedef void meter_fn(void *arg, const struct meter_answer *answer);

extern const struct conf_block metermaid_block;

/* Master, before fork: makes the shared tables for the case without Redis, the list of bans and the
 * metrics of rules. Worker: metermaid_new(). */
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

/* The same without waiting, when the answer is known here; the answer's strings live until the next
 * reload. False: nothing was decided or charged, ask by meter_ask(). */
bool meter_ask_now(struct metermaid *m, enum meter_moment moment, const struct meter_facts *f,
    struct meter_answer *answer_out);

/* What meter_ask() would be answered now, at METER_AUTH for a login that has not failed; nothing is charged, counted,
 * held or logged. Which rules apply is appended to rules_out, each with the key it counts under, as "rule|key".
 * NULL: none does; the callback will not come. */
struct meter_look {
	enum meter_moment moment;
	const struct meter_facts *facts;
	struct buf *rules_out;
};
struct ticket *meter_peek(
    struct metermaid *m, const struct meter_look *look, meter_fn *fn, void *arg);

/* Charge after the fact, nothing waits for it: a failed login counts (moment METER_AUTH). */
void meter_charge(struct metermaid *m, enum meter_moment moment, const struct meter_facts *f);

/* What rules of kind concurrency count at this moment goes on here, and has been let in before, by another worker:
 * counted without asking, never refused. NULL: no rule counts it. */
struct meter_lease *meter_hold(
    struct metermaid *m, enum meter_moment moment, const struct meter_facts *f);

/* What a rule of kind concurrency counted ends. Fine on NULL, and after metermaid_free(). */
void meter_release(struct meter_lease **l);

/* A keyed digest of a user's secret, for meter_facts: a penalty counts the same wrong one once. Not
 * enough of it to guess the secret from. 0 for an empty secret. */
uint32_t meter_secret_hash(struct span user, struct span secret);
/* Has METER_AUTH a rule besides the list of bans? Else nobody looks at a secret's digest. */
bool meter_counts_logins(const struct metermaid *m);

/* The marks of answers (and of others) as a list "a, b", for the header field meter_tag_field and the log. Each is
 * there once; what cannot stand in a header field becomes '?'; what does not fit in tags->max, and a mark
 * of more than METER_TAG_MAX bytes, is left out. */
enum { METER_TAG_MAX = 128, METER_TAGS_MAX = 256 };
extern const char meter_tag_field[];
void meter_add_tag(struct buf *tags, const char *tag);
void meter_add_tags(struct buf *tags, struct span more); /* a list of that form */

/* Errors of rules that no single row can see; a program's schema check calls it. */
void metermaid_check(const struct conf *c, struct conf_diag *d);

/* Appends JSON for the control socket, an array of objects. words: { "meter", "rules" | "top" [, RULE] |
 * "show" | "reset", KEY [, RULE] | "ban", KEY [, "--for", DURATION] [, "--list", RULE] | "unban", KEY
 * [, "--list", RULE] | "bans" | "watch", ID [, FILTER...] }. False: not one of these. What Redis must be asked comes later: then
 * late->begin() is called, nothing is appended, and late->end() has the answer, at the latest when the
 * meter is freed. */
struct meter_late {
	uint32_t (*begin)(void *arg);
	void (*end)(void *arg, uint32_t id, struct span json);
	void *arg;
};
bool metermaid_control(struct metermaid *m, const char *const *words, size_t n,
    const struct meter_late *late, struct buf *out);
bool metermaid_healthy(const struct metermaid *m); /* Redis answers, or none is configured */

#endif
