/* op.h - the state of one key and one step of it: the arithmetic of every kind of rule.
 *
 * A question is looked at first, op by op, and written after, all or nothing; meter.lua does the same
 * on the server, op_look() here for the tables of a host. Times are microseconds of one clock. */
#ifndef METERMAID_OP_H
#define METERMAID_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "metermaid/bucket.h"

enum op_kind {
	OP_RATE,     /* GCRA */
	OP_PENALTY,  /* GCRA that also charges what it refuses; a secret known already is free */
	OP_COUNTER,  /* so many in a period that begins with the first */
	OP_GREY_NET, /* how often this network has passed; the op behind it is OP_GREY */
	OP_GREY,     /* the first try waits, a later one passes */
	OP_LEASE, /* one more at the same time, held by `who` until it lets go or the lease ends */
	OP_LEASE_SET, /* what `who` holds now: cost; never refused */
	OP_USERS, /* the op behind it grows with the users who logged in well; with `who`: one more did */
	OP_KINDS
};
enum op_over { OVER_REFUSES, OVER_DELAYS, OVER_NOTED };
enum op_mode {
	OP_TAKE,  /* a question that passes is charged, others are not */
	OP_PEEK,  /* nothing is charged */
	OP_FORCE, /* charged whatever the answer; debt is capped */
};
enum { OPS_MAX = 32, OP_RING = 6, LEASE_RETRY_US = 1000000 };

struct key_id {
	uint64_t h1, h2; /* keyed digests, the same in all workers of a host */
};

struct op {
	struct key_id id;
	uint64_t keys_max; /* of this rule and kind, where the state is */
	uint16_t rule;     /* its number, not 0: for fairness among rules, so two may share one */
	enum op_kind kind;
	enum op_over over;
	uint64_t cost;
	struct bucket_limit rate; /* RATE, PENALTY */
	/* COUNTER, LEASE: the most; GREY: passes that free a network; else: of the rate. */
	uint64_t count;
	uint64_t span_us;     /* COUNTER: period; LEASE: its time; PENALTY: most debt; GREY: wait */
	uint64_t window_us;   /* GREY: time for the second try */
	uint64_t remember_us; /* PENALTY: secrets; GREY: who has passed; USERS: users */
	uint64_t extra;       /* RATE: tokens wanted beyond the cost, given only if they fit */
	/* PENALTY: digest of the secret, 0 none; LEASE: the holder; USERS: the user, 0 none. */
	uint64_t who;
	/* Behind USERS, and there: what each user adds to count; 0: it does not grow. */
	uint64_t grow;
	uint64_t grow_max; /* USERS: the most that count */
	bool keep;         /* LEASE_SET: never below what is held already */
};

/* The longest that a key of such an op lives after its last use. */
uint64_t op_life_us(const struct op *op);

struct op_state {
	/* RATE, PENALTY: the arrival time. GREY: when it may pass. LEASE: when looked at, what others
	 * hold; when kept, as COUNTER: what it is worth (a time). */
	uint64_t t;
	uint64_t until; /* after it the state means nothing */
	uint64_t n;
	/* PENALTY: digests of secrets, newest first. USERS: bits of users in this generation of
	 * remember_us, then those of the one before; n says which generation. */
	uint32_t ring[OP_RING];
};

struct op_look {
	struct op_state next; /* if it is charged */
	uint64_t wait_us;     /* 0: it passes */
	bool always;          /* next is written even when the question is refused */
	bool extra;           /* the extra tokens fit */
	uint64_t users;       /* USERS: how many, about */
};

struct op_now {
	uint64_t us;
	enum op_mode mode;
};
/* How many users a kept state of USERS means. */
uint64_t op_users(const struct op *op, const struct op_state *s, uint64_t now_us);
/* The op as it is when so many users are known: rate and burst, or count, are larger. */
struct op op_grown(const struct op *op, uint64_t users);
/* Ops that only serve the op behind them: nobody is told of their keys. */
static inline bool op_is_helper(enum op_kind kind)
{
	return kind == OP_GREY_NET || kind == OP_USERS;
}
/* net: the look at the op before (OP_GREY_NET, which OP_GREY may change; OP_USERS); else NULL. */
void op_look(const struct op *op, const struct op_state *had, struct op_now now,
    struct op_look *net, struct op_look *out);

struct op_answer {
	size_t index; /* which op decided; none: how many there are */
	uint64_t wait_us;
	bool hard;            /* refused, else a delay when index says so */
	uint32_t over, extra; /* bit of each op: beyond its limit; got its extra tokens */
	uint64_t us;          /* when, by the clock of the state; 0: it was not asked */
	uint32_t seq;         /* place among those of the same time */
};
/* Adds what op i (of less than OPS_MAX) says. */
void op_weigh(const struct op *op, size_t i, const struct op_look *look, struct op_answer *out);

#endif
