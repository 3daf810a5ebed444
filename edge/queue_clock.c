/* queue_clock.c - the queue's time: the wall clock's at some moment, and what the loop has counted since. Beside: queue.c. */
#include "base/clock.h"
#include "edge/queue_internal.h"

enum { FOLLOWED_US = 600 * 1000 * 1000 };

uint64_t queue_now_us(const struct queue *q)
{
	return q->time_us + 1000 * (loop_now_ms(q->loop) - q->time_ms);
}

void queue_follow_clock(struct queue *q)
{
	uint64_t wall = clock_wall_us(), now = queue_now_us(q);
	uint64_t off = wall > now ? wall - now : now - wall;
	if (off < FOLLOWED_US || q->time_us == 0) {
		q->time_us = wall;
		q->time_ms = loop_now_ms(q->loop);
		q->jumped = false;
	} else if (!q->jumped) {
		q->jumped = true;
		log_write(&queue_events[QUEUE_EV_CLOCK_JUMPED], NULL,
		    LOG_FIELDS(LOG_U64("seconds", off / 1000000),
			LOG_STR("way", wall > now ? "forward" : "back")));
	}
}
