/* convert.h - programs that change parts of a message, by rules (blocks `part` of a channel of type conversion).
 *
 * For a process of its own that has become the channel's user (run_child.c): everything here waits. The message is
 * looked at part by part; the first rule that fits a part says what becomes of it. Parts that nothing is done to keep
 * their bytes, and so does everything between parts. */
#ifndef EDGE_CONVERT_H
#define EDGE_CONVERT_H

#include "base/buf.h"
#include "edge/channel.h"

/* Exit statuses beside those of sysexits.h (EX_OK: the message has changed, and is in result). */
enum {
	CONVERT_SAME = 100, /* nothing was done to it */
	CONVERT_HOLD = 101, /* why: the reason */
	CONVERT_DROP = 102,
	/* EX_UNAVAILABLE: to be refused, why: the text; EX_TEMPFAIL: to be tried again */
};

struct convert_ask {
	const struct edge_channel_conf *channel;
	int message, result; /* message: lines end with CR LF */
	struct span sender;
	bool ours;      /* the sender's client is one of ours */
	struct span to; /* the channel it goes to from here */
};

int convert(const struct convert_ask *a, struct buf *why);

/* Before convert(), in a process of its own: SIGTERM ends its program with the whole group of that, its folder, and it. */
void convert_heed_end(void);

#endif
