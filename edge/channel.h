/* channel.h - kinds of destinations, and what the configuration says of each: block `channel` over the
 * general options of section edge.
 *
 * Channels store, smtp, relay and unpack are always there. The others have a name of their own, and a type that says what
 * becomes of mail there. Some are ends (pipe, local), the others are stations on the way (hold, ...): mail goes on
 * from there as if it had not been there. */
#ifndef EDGE_CHANNEL_H
#define EDGE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/edge_conf.h"
#include "edge/schedule.h"

enum { CHANNELS_MAX = 64 }; /* named ones that a process knows in its life */

/* From DEST_CHANNEL on: one for each named channel. */
enum q_dest_kind {
	DEST_STORE,
	DEST_DOMAIN,
	DEST_RELAY,
	DEST_ROUTE,
	DEST_UNPACK, /* parts of a mail that are one message yet (unit.h) */
	DEST_CHANNEL,
	DEST_KINDS = DEST_CHANNEL,
	DEST_KINDS_MAX = DEST_CHANNEL + CHANNELS_MAX
};

enum { CHANNEL_WINDOWS_MAX = 8, CHANNEL_RECIPIENTS_MAX = 100, CHANNEL_NAME_MAX = 64 };

/* Words of edge_channel.type, .line_end and .format. */
enum channel_type {
	CHANNEL_DELIVER,
	CHANNEL_PIPE,
	CHANNEL_LOCAL,
	CHANNEL_HOLD,
	CHANNEL_REPROCESS,
	CHANNEL_DEFRAGMENT,
	CHANNEL_CONVERSION
};
enum channel_line_end { CHANNEL_LF, CHANNEL_CRLF };
enum channel_format { CHANNEL_MAILDIR, CHANNEL_MBOX };

struct channel {
	size_t concurrency; /* deliveries to one destination */
	size_t deliveries;  /* of the channel */
	struct schedule times;
	size_t recipients; /* of one delivery */
	uint64_t size_max; /* bytes of a message; UINT64_MAX: any */
	bool mta_sts;      /* policies of domains count (RFC 8461) */
	struct {
		uint16_t from, to; /* minutes of the day, UTC; to <= from: past midnight */
	} windows[CHANNEL_WINDOWS_MAX];
	size_t window_n; /* 0: always open */
};

/* May deliveries begin at this time (wall clock)? */
bool channel_is_open(const struct channel *c, uint64_t wall_us);

/* Block "store" is for our stores, "smtp" for mail exchangers and where an operator reroutes mail, "relay" for
 * relay_host, "unpack" for mail in parts, one part at a time. kind < DEST_KINDS. */
struct channel channel_of(const struct edge_conf *c, enum q_dest_kind kind);
const char *channel_kind_name(enum q_dest_kind kind); /* "store"; kind < DEST_KINDS */
/* The same of a named channel. */
struct channel channel_limits(const struct edge_conf *c, const struct edge_channel_conf *own);

/* ---- named channels ---- */

/* Is there a channel of this name where mail may be sent: store, smtp, relay, or a named one? */
bool channel_is_known(const struct edge_conf *c, const char *name);
/* What the channel of mail that goes elsewhere is called. */
const char *channel_elsewhere(const struct edge_conf *c);
/* NULL: there is none with this name. */
const struct edge_channel_conf *channel_named(const struct edge_conf *c, struct span name);
static inline bool channel_is_end(const struct edge_channel_conf *c)
{
	return c->type == CHANNEL_PIPE || c->type == CHANNEL_LOCAL;
}
/* Do its addresses have this one? "+detail" in it is not looked at. */
bool channel_has_address(const struct edge_channel_conf *c, struct span address);
/* The first end that has the address; NULL: none. */
const struct edge_channel_conf *channel_end_of(const struct edge_conf *c, struct span address);
/* The same of stations: is there one? */
bool channel_has_station(const struct edge_conf *c, struct span address);
/* Do programs run here, or mailboxes get mail: is a runner needed? */
bool channel_runs(const struct edge_channel_conf *c);

/* A recipient's store (spool_record.h) or an operator's route may be a channel: "channel:NAME". */
#define CHANNEL_PLACE "channel:"
/* The name; p NULL: it is none. */
struct span channel_of_place(struct span place);
static inline bool channel_is_place(const char *store)
{
	return channel_of_place(span_str(store)).p != NULL;
}
/* The place of this one. */
enum { CHANNEL_PLACE_SIZE = sizeof CHANNEL_PLACE + CHANNEL_NAME_MAX };
const char *channel_place(const struct edge_channel_conf *c, char out[CHANNEL_PLACE_SIZE]);

/* The place of what is no recipient: an address that was expanded, of which the sender is told that it was, as soon as the
 * queue has it (and an operator does not hold it). detail: "" or the second. */
#define EXPANDED_CHANNEL "expanded"
#define EXPANDED_PLACE CHANNEL_PLACE EXPANDED_CHANNEL
#define EXPANDED_LIST "list" /* a list has it: delivered (RFC 3461 section 5.2.7.1) */

/* Titles that mean nothing or stand twice, options that contradict each other. */
void channel_check(const struct edge_conf *c, struct conf_diag *d);
/* channel_check.c: what is said of named channels. */
void channel_check_named(const struct edge_channel_conf *c, struct conf_diag *d);

#endif
