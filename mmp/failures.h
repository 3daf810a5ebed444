/* failures.h - failed logins of the last minutes, by client network and by account, in one worker.
 *
 * A failure costs more the more there were; a wrong password that is tried again, as mail programs do, is no
 * further failure, nor are two that take turns. Fixed in size: what was long ago gives way. Names and passwords are kept as keyed hashes; those of passwords are MeterMaid's. */
#ifndef MMP_FAILURES_H
#define MMP_FAILURES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/span.h"

struct failures;

struct failures *failures_new(void);
void failures_free(struct failures **f);

struct failure {
	struct ip_addr client; /* counted by its /32 or /64 */
	struct span user;
	/* meter_secret_hash(); 0: the attempt showed none, and counts each time. */
	uint32_t secret_hash;
};

/* One more. How many there were lately, of the network or of the account, whichever are more; this one among them
 * unless it is the same once more: *again_out. */
unsigned failures_note(
    struct failures *f, const struct failure *what, uint64_t now_ms, bool *again_out);

/* How many there were lately, without one more. */
unsigned failures_look(const struct failures *f, const struct failure *what, uint64_t now_ms);

#endif
