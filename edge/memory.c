/* memory.c - how much memory the worker holds, against memory_max (beside accept.c, mail.c and envelope.c).
 *
 * Owns: the worker's state of pressure, and its gauges. */
#include "edge/memory.h"

#include "base/mem.h"

#include "edge/edge_tables.h"

enum { TOLD_EVERY_MS = 60000 };

const char memory_words[] = "too little memory now, try again later";

void memory_start(struct edge *e)
{
	e->memory_start = mem_in_use();
}

/* What the settings took may have been given back since: after a reload. */
static uint64_t held(const struct edge *e)
{
	size_t now = mem_in_use();
	uint64_t bytes = now > e->memory_start ? now - e->memory_start : 0;
	metric_set(&edge_metrics[EDGE_M_MEMORY], bytes);
	return bytes;
}

static void tell(struct edge *e, uint64_t bytes)
{
	uint64_t now = loop_now_ms(e->loop);
	if (e->memory_told_ms != 0 && now - e->memory_told_ms < TOLD_EVERY_MS)
		return;
	e->memory_told_ms = now;
	log_write(&edge_events[EDGE_EV_WORKER_MEMORY], NULL,
	    LOG_FIELDS(LOG_U64("bytes", bytes), LOG_U64("limit", e->setup->edge->memory_max),
		LOG_U64("sessions", e->session_n)));
}

bool memory_is_pressed(struct edge *e)
{
	uint64_t bytes = held(e), max = e->setup->edge->memory_max;
	bool pressed = bytes >= (e->pressed ? max - max / 4 : max - max / 8);
	if (pressed == e->pressed)
		return pressed;
	e->pressed = pressed;
	metric_set(&edge_metrics[EDGE_M_MEMORY_PRESSED], pressed);
	if (pressed)
		tell(e, bytes);
	return pressed;
}

bool memory_is_full(struct edge *e)
{
	bool full = held(e) >= e->setup->edge->memory_max;
	if (full)
		metric_add(&edge_metrics[EDGE_M_MEMORY_REFUSED], 1);
	return full;
}
