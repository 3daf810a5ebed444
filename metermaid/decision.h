/* decision.h - what MeterMaid decided and why, as a line of a record, and back.
 *
 *	D 1764186473106581 3 m=auth q=peek how=asked c=192.0.2.1 u=a@example.org v=defer by=guesses wait=1000
 *
 * A letter, the time of the state's clock in microseconds, the place among those of the same time, then
 * fields in any order, a space before each. Bytes that are no plain text, and `%`, `,` and `/` of names,
 * are %XX. Letters: D a decision; C a charge nobody waits for, or an answer that came too late; E what a
 * rule of kind concurrency counted has ended; R a rule, as it is from now on; U a user who logged in
 * well, for a rule that grows; Z an operator's reset; X the worker has ended. */
#ifndef METERMAID_DECISION_H
#define METERMAID_DECISION_H

#include "metermaid/metermaid.h"
#include "metermaid/op.h"

enum { DECISION_LINE_MAX = 8192 };

enum decision_how {
	DECIDED_ASKED,  /* where the state is */
	DECIDED_TOKENS, /* tokens taken in advance */
	DECIDED_KEPT,   /* a refusal that still held */
	DECIDED_LOST,   /* the state could not be asked: on_loss */
	DECIDED_LOCAL,  /* a list, or a limit of 0 */
	DECIDED_HOWS
};

struct decision {
	char letter;
	uint64_t us;
	uint32_t seq;
	enum meter_moment moment; /* D, C */
	enum op_mode mode;
	enum decision_how how;
	struct meter_facts f;
	enum meter_action action;
	bool disconnect;
	struct span rule; /* that decided; R, Z: the rule's name, Z: empty: all */
	struct span tag;
	unsigned tier, window; /* of its key that decided */
	uint64_t wait_us;
	uint64_t lease; /* what is held, 0: nothing; E: what ends */
	/* "rule/tier/window/n,...": taken in advance with this question; as written. */
	struct span tokens;
	/* "list,...": on which the client or the user was by command; as written. */
	struct span bans;
	struct span key; /* Z; R: "tier" or "host", where the state is */
	uint64_t is;     /* R: conf_block_revision() of the rule */
};

/* Appends the line and its LF; false: it would be longer than DECISION_LINE_MAX, nothing was added. */
bool decision_put(const struct decision *d, struct buf *out);
/* A line without its LF. Spans point into the line or into scratch, which is cleared. False: not one. */
bool decision_parse(struct span line, struct buf *scratch, struct decision *out);
/* Letter, time and place alone. */
bool decision_parse_time(struct span *line, struct decision *out);
/* A name for a list of names, and the next name of one (appended to out, decoded). */
void decision_put_name(struct buf *out, struct span name);
bool decision_take_name(struct span *rest, char sep, struct buf *out);

#endif
