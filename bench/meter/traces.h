/* traces.h - who guards logins in the traces: one attempt after the other, on a clock of the trace's own. */
#ifndef BENCH_METER_TRACES_H
#define BENCH_METER_TRACES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ip.h"

struct login {
	struct ip_addr client;
	unsigned user;
	uint32_t secret; /* a number for each password; never 0 */
	bool right;
	bool trusted; /* from a webmail host: where a guard has a list of such, it is on it */
};

/* What became of it: refused without a look at the password; or looked at, before_ms after it came, and answered
 * after_ms later. */
struct verdict {
	bool tested;
	uint64_t before_ms, after_ms;
};

/* The clock is clock_mono_ms(), faked. begin() forgets everything. */
struct guard {
	const char *name;
	void (*begin)(void);
	struct verdict (*judge)(const struct login *a);
	void (*end)(void);
};

extern const struct guard guard_dovecot, guard_fail2ban; /* peers.c of this folder */

enum {
	FAILURE_MS = 2000
}; /* everybody's answer to a wrong password takes so long, before anything else */

#endif
