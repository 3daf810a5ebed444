/* channel.h - kinds of destinations, and what the configuration says of each: block `channel` over the
 * general options of section edge. */
#ifndef EDGE_CHANNEL_H
#define EDGE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/edge_conf.h"

enum q_dest_kind { DEST_STORE, DEST_DOMAIN, DEST_RELAY, DEST_ROUTE };
enum { DEST_KINDS = DEST_ROUTE + 1 };

enum { CHANNEL_WINDOWS_MAX = 8, CHANNEL_RECIPIENTS_MAX = 100 };

struct channel {
	size_t concurrency;                        /* deliveries to one destination */
	size_t deliveries;                         /* of the channel */
	uint64_t retry_first, retry_max, lifetime; /* ms */
	size_t recipients;                         /* of one delivery */
	uint64_t size_max;                         /* bytes of a message; UINT64_MAX: any */
	bool mta_sts;                              /* policies of domains count (RFC 8461) */
	struct {
		uint16_t from, to; /* minutes of the day, UTC; to <= from: past midnight */
	} windows[CHANNEL_WINDOWS_MAX];
	size_t window_n; /* 0: always open */
};

/* May deliveries begin at this time (wall clock)? */
bool channel_is_open(const struct channel *c, uint64_t wall_us);

/* Block "store" is for our stores, "smtp" for mail exchangers and where an operator reroutes mail, "relay" for
 * relay_host. */
struct channel channel_of(const struct edge_conf *c, enum q_dest_kind kind);
/* Titles that mean nothing or stand twice, and times that contradict each other. */
void channel_check(const struct edge_conf *c, struct conf_diag *d);

#endif
