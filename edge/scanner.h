/* scanner.h - one message to spamd, clamd or an ICAP server, and what is done about the verdict.
 *
 * A scan has no effect at the scanner, so every failure is answered by asking the next address. Nothing is
 * changed in the message unless the scanner's whole answer is there and good. */
#ifndef EDGE_SCANNER_H
#define EDGE_SCANNER_H

#include "net/dns.h"
#include "net/loop.h"
#include "net/ticket.h"

#include "edge/edge_conf.h"
#include "edge/milter.h"
#include "edge/milter_edit.h"

/* All borrowed until the answer. */
struct scan_opts {
	struct loop *loop;
	struct dns *dns;
	struct milter_health *health;
	struct icap_memory *icap;
	const struct edge_scanner_conf *conf;
	const struct edge_conf *edge;
	struct transaction *t; /* with the message as it stands */
	struct edit *edit;     /* the same; gets the fields that are added */
};

enum scan_verdict {
	SCAN_PASS, /* as it is, or with new fields */
	SCAN_REFUSE,
	SCAN_DISCARD,
	SCAN_FAILED /* on_failure decides */
};
typedef void scan_fn(void *arg, enum scan_verdict v);

/* Is this message one for the scanner? */
bool scan_wanted(const struct edge_scanner_conf *c, const struct transaction *t);
struct ticket *scan_start(const struct scan_opts *opts, scan_fn *fn, void *arg);

#endif
