/* clock.h - the two clocks, replaceable in tests.
 *
 * Deadlines and ages use the monotonic clock; timestamps that people or other hosts see use the
 * wall clock. No other file of the project reads a clock. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_ms(void);
uint64_t clock_wall_us(void); /* microseconds since 1970, UTC */

/* Fixes both clocks for a test; clock_fake_advance() moves both; clock_fake_off() ends it. */
void clock_fake(uint64_t mono_ms, uint64_t wall_us);
void clock_fake_advance(uint64_t ms);
void clock_fake_off(void);

enum { CLOCK_RFC3339_SIZE = 32, CLOCK_RFC5322_SIZE = 40 };
/* "2026-11-24T03:42:51.123456Z" */
const char *clock_rfc3339(uint64_t wall_us, char out[CLOCK_RFC3339_SIZE]);
/* "Tue, 24 Nov 2026 03:42:51 +0000": RFC 5322 section 3.3, always in UTC */
const char *clock_rfc5322(uint64_t wall_us, char out[CLOCK_RFC5322_SIZE]);

#endif
