/* passes.h - which tests a client's network has passed, remembered for the tier. Beside metermaid.h and
 * redis_stream.h the only header others include.
 *
 * A network is an IPv4 address or an IPv6 /64. In Redis it is one small hash, `{postern}:pass:` and the network in
 * hex, which goes by itself when nothing has been noted for the time that its writer gave; an index by time keeps
 * their number within a bound: the one noted least lately goes first. Without a Redis, memory shared by the
 * workers of this host has them (65,536 pairs of network and test, no names). While Redis is away nothing is
 * known, and nothing is noted. */
#ifndef METERMAID_PASSES_H
#define METERMAID_PASSES_H

#include "metermaid/metermaid.h"

enum meter_pass { PASS_LISTS, PASS_GREETING, PASS_NAME, PASS_KINDS };
enum { PASS_NAME_MAX = 255 };

struct passes {
	/* Milliseconds since it was passed and one more; 0: it has not been, or nobody knows. The asker decides how
	 * long that is good. */
	uint64_t since_ms[PASS_KINDS];
	/* With PASS_NAME: the name of this very address (letters, digits, "-", "_", "."). For the callback only. */
	struct span name;
};
typedef void passes_fn(void *arg, const struct passes *known);

/* What is known here, without asking: true, and all that there is to know is in *out. False: Redis has to be asked. */
bool passes_ask_now(struct metermaid *m, struct ip_addr client, struct passes *out);
/* Asks Redis. Answers within the section's deadline; no answer in time is an empty one. NULL: Redis has just gone. */
struct ticket *passes_ask(struct metermaid *m, struct ip_addr client, passes_fn *fn, void *arg);

struct passes_new {
	bool kind[PASS_KINDS];
	const char *name; /* with PASS_NAME */
	uint64_t keep_ms; /* the longest time that any of them is good, at least 1 */
	uint64_t most;    /* networks that the tier remembers */
};
/* They have been passed now. Nobody waits for it; what Redis does not take is lost. */
void passes_note(struct metermaid *m, struct ip_addr client, const struct passes_new *n);
/* Forgets all of its network's. */
void passes_drop(struct metermaid *m, struct ip_addr client);

#endif
