/* srs.h - the return path of what is forwarded to the outside (Sender Rewriting Scheme): an address of ours
 * from which the first one can be read again, so that SPF holds at the next hop and reports find home. Pure.
 *
 *	SRS0=HHHHHHHH=TT=domain=local@srs_domain        from local@domain
 *	SRS1=HHHHHHHH=host==HHHH=TT=domain=local@...    from an SRS0 or SRS1 address of another site
 *
 * H is a keyed hash (HMAC-SHA-256, 40 bits in base32) of what follows it, without regard to case; T is a day
 * modulo 1024. Only who has the key can make an address that is read back: nothing is relayed for others. The
 * first key signs, all of them are tried in reading, so that a key can be replaced. */
#ifndef EDGE_SRS_H
#define EDGE_SRS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "proto/smtp_path.h"

enum { SRS_KEYS_MAX = 8, SRS_KEY_BYTES_MIN = 16 };

struct srs {
	const char *domain; /* NULL: nothing is rewritten */
	struct span keys[SRS_KEYS_MAX];
	size_t key_n;
	/* How long an address is good; it may be one day ahead, too: clocks differ. */
	uint64_t days;
};

/* Keys, one a line, in the option's bytes (which outlive s). False: there is none, one is too short, or there
 * are too many. */
bool srs_set_keys(struct srs *s, struct span lines);

/* False: it does not fit into an address; then the sender stays what it is. sender: canonical, not null. */
bool srs_forward(
    const struct srs *s, struct span sender, uint64_t now_us, char out[SMTP_PATH_SIZE]);

enum srs_result {
	SRS_NONE,   /* it is no such address of ours */
	SRS_GOOD,   /* out is the sender it was made from, canonical */
	SRS_FORGED, /* no key of ours made it */
	SRS_EXPIRED
};
enum srs_result srs_reverse(
    const struct srs *s, struct span address, uint64_t now_us, struct smtp_path *out);

#endif
