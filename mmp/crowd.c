/* crowd.c - counts, weighs and ends sessions before login (beside accept.c and session.c).
 *
 * Owns: the order of the list mmp->prelogin, the one idle longest first, and the doors' pause. Idle means
 * that the client is to act and has not finished a command: bytes that drip in do not count. */
#include "mmp/crowd.h"

#include "daemon/doors.h"

#include "mmp/authenticate.h"
#include "mmp/session.h"
#include "mmp/store_policy.h"

enum {
	EVICT_LOOK_MAX = 64, /* sessions looked at to find one that waits for its client */
	ATTEMPT_COST = 2048, /* a login under way, with what asks for it */
	STORE_COST = 8 * 1024,
	STORE_TLS_COST = 32 * 1024,
	TOLD_EVERY_MS = 60000
};

void crowd_enter(struct session *s)
{
	struct mmp *m = s->mmp;
	list_add_tail(&m->prelogin, &s->link);
	m->prelogin_n++;
	metric_set(&mmp_metrics[MMP_M_PRELOGIN], m->prelogin_n);
}

static void set_weight(struct session *s, size_t bytes)
{
	struct mmp *m = s->mmp;
	m->prelogin_bytes = m->prelogin_bytes - s->weight + bytes;
	s->weight = bytes;
	metric_set(&mmp_metrics[MMP_M_PRELOGIN_BYTES], m->prelogin_bytes);
}

void crowd_leave(struct session *s)
{
	set_weight(s, 0);
	list_remove(&s->link);
	s->mmp->prelogin_n--;
	metric_set(&mmp_metrics[MMP_M_PRELOGIN], s->mmp->prelogin_n);
}

void crowd_touch(struct session *s)
{
	list_remove(&s->link);
	list_add_tail(&s->mmp->prelogin, &s->link);
}

/* NULL: everybody waits for us, as far as can be told cheaply. */
static struct session *idle_longest(const struct mmp *m)
{
	struct list_node *n = m->prelogin.next;
	for (size_t i = 0; i < EVICT_LOOK_MAX && n != &m->prelogin; i++, n = n->next) {
		struct session *s = LIST_OF(struct session, link, n);
		if (session_is_idle(s))
			return s;
	}
	return NULL;
}

static bool evict_one(struct mmp *m)
{
	struct session *s = idle_longest(m);
	if (s == NULL)
		return false;
	metric_add(&mmp_metrics[MMP_M_SHED], 1);
	session_end_now(s, WHY_EVICTED);
	return true;
}

/* ---- memory ---------------------------------------------------------------------------------------- */

static size_t weight_of(const struct session *s)
{
	size_t all = sizeof *s + stream_memory(s->client);
	if (s->attempt != NULL)
		all += ATTEMPT_COST + buf_len(&s->attempt->secret);
	if (s->state == ST_DIAL || s->state == ST_LOGIN)
		all += s->attempt->policy->tls == MMP_TLS_NONE ? STORE_COST : STORE_TLS_COST;
	return all;
}

/* ---- numbers --------------------------------------------------------------------------------------- */

bool crowd_make_room(struct mmp *m)
{
	size_t most = (size_t)m->setup->mmp->connections_prelogin_max;
	return m->prelogin_n < most || evict_one(m);
}

static bool is_full(const struct mmp *m)
{
	const struct mmp_conf *c = m->setup->mmp;
	bool crowded = m->prelogin_n >= (size_t)c->connections_prelogin_max ||
		       m->prelogin_bytes >= m->setup->prelogin_share;
	return m->prelogin_n + m->piped_n >= (size_t)c->connections_max ||
	       (crowded && idle_longest(m) == NULL);
}

static void tell(struct mmp *m)
{
	uint64_t now = loop_now_ms(m->loop);
	if (m->full_told_ms != 0 && now - m->full_told_ms < TOLD_EVERY_MS)
		return;
	m->full_told_ms = now;
	log_write(&mmp_events[MMP_EV_WORKER_FULL], NULL,
	    LOG_FIELDS(LOG_U64("sessions", m->piped_n), LOG_U64("prelogin", m->prelogin_n),
		LOG_U64("prelogin_bytes", m->prelogin_bytes)));
}

void crowd_settle(struct mmp *m)
{
	bool full = is_full(m);
	if (full == m->full || m->doors == NULL)
		return;
	m->full = full;
	metric_set(&mmp_metrics[MMP_M_FULL], full);
	if (full)
		tell(m);
	doors_pause(m->doors, full);
}

void crowd_weigh(struct session *s)
{
	struct mmp *m = s->mmp;
	set_weight(s, weight_of(s));
	while (m->prelogin_bytes > m->setup->prelogin_share && evict_one(m))
		;
	crowd_settle(m); /* s may be gone, or wait for us now */
}
