/* replay.h - showing the records of a segment to somebody; shared by commitlog.c and reader.c (nobody else). */
#ifndef COMMITLOG_REPLAY_H
#define COMMITLOG_REPLAY_H

#include "commitlog/record.h"

struct replay {
	bool (*fn)(void *arg, const struct log_record *);
	void *arg;
	log_pos to;         /* records from here on are not shown */
	struct buf payload; /* owned by the caller */
	bool stopped;
};

/* Until the end of the segment, or r->stopped. ERR_IO. */
err_t replay_walk(struct replay *r, struct walk *w);

#endif
