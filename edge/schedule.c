/* schedule.c - the times of a channel; beside channel.c, for queue.c and bounce.c (step 6 of 6). Owns nothing. */
#include "edge/schedule.h"

#include <stdbool.h>

#include "base/check.h"

enum { WAIT_MIN_MS = 100, WAIT_MAX_MS = 24 * 3600 * 1000 };
static const uint64_t age_max_ms = 30ull * 24 * 3600 * 1000;

/* The tables of a block: of each class its own, or the one for all. */
struct tables {
	struct {
		const char *name;
		const struct conf_strings *own, *all;
	} by[PRIORITY_CLASSES];
};

static struct tables backoffs_of(const struct edge_channel_conf *c)
{
	return (struct tables){ .by = {
				    [PRIORITY_URGENT] = { "urgent_backoff", &c->urgent_backoff,
					&c->backoff },
				    [PRIORITY_NORMAL] = { "normal_backoff", &c->normal_backoff,
					&c->backoff },
				    [PRIORITY_NONURGENT] = { "nonurgent_backoff",
					&c->nonurgent_backoff, &c->backoff },
				} };
}

static struct tables notices_of(const struct edge_channel_conf *c)
{
	return (struct tables){ .by = {
				    [PRIORITY_URGENT] = { "urgent_notices", &c->urgent_notices,
					&c->notices },
				    [PRIORITY_NORMAL] = { "normal_notices", &c->normal_notices,
					&c->notices },
				    [PRIORITY_NONURGENT] = { "nonurgent_notices",
					&c->nonurgent_notices, &c->notices },
				} };
}

/* What schedule_check() would refuse is left out. */
static size_t take_times(
    const struct tables *t, enum priority_class class, uint64_t *out, size_t max)
{
	const struct conf_strings *texts =
	    t->by[class].own->n > 0 ? t->by[class].own : t->by[class].all;
	size_t n = 0;
	for (size_t i = 0; i < texts->n && n < max; i++)
		n += conf_duration(span_str(texts->v[i]), &out[n]);
	return n;
}

static uint64_t first_of(uint64_t own, uint64_t general)
{
	return own != 0 ? own : general;
}

void schedule_init(
    struct schedule *s, const struct edge_conf *c, const struct edge_channel_conf *own)
{
	const struct tables backoffs = backoffs_of(own), notices = notices_of(own);
	*s = (struct schedule){ .first = first_of(own->retry_first, c->queue_retry_first),
		.most = first_of(own->retry_max, c->queue_retry_max),
		.lifetime = first_of(own->lifetime, c->queue_lifetime),
		.notice = c->delay_notice,
		.notice_every = c->delay_notice_every };
	for (size_t k = 0; k < PRIORITY_CLASSES; k++) {
		struct schedule_class *by = &s->by[k];
		by->backoff_n =
		    take_times(&backoffs, (enum priority_class)k, by->backoff, BACKOFFS_MAX);
		by->notice_n =
		    take_times(&notices, (enum priority_class)k, by->notices, NOTICES_MAX);
	}
}

uint64_t schedule_wait(const struct schedule *s, enum priority_class class, uint32_t attempts)
{
	const struct schedule_class *by = &s->by[class];
	uint64_t wait = s->first;
	if (by->backoff_n > 0) {
		size_t at = attempts > 0 ? attempts - 1 : 0;
		return by->backoff[at < by->backoff_n ? at : by->backoff_n - 1];
	}
	for (uint32_t i = 1; i < attempts && wait < s->most; i++)
		wait *= 2;
	if (wait > s->most)
		wait = s->most;
	if (class != PRIORITY_NORMAL)
		wait = class == PRIORITY_URGENT ? wait / 2 : wait * 2;
	return wait;
}

uint64_t schedule_wait_max(const struct schedule *s)
{
	uint64_t most = 2 * s->most; /* of non-urgent mail */
	for (size_t k = 0; k < PRIORITY_CLASSES; k++)
		for (size_t i = 0; i < s->by[k].backoff_n; i++)
			if (s->by[k].backoff[i] > most)
				most = s->by[k].backoff[i];
	return most;
}

uint64_t schedule_lifetime(const struct schedule *s, enum priority_class class)
{
	const struct schedule_class *by = &s->by[class];
	return by->notice_n > 0 ? by->notices[by->notice_n - 1] : s->lifetime;
}

uint64_t schedule_notice(const struct schedule *s, enum priority_class class, unsigned sent)
{
	const struct schedule_class *by = &s->by[class];
	if (by->notice_n > 0)
		return sent + 1 < by->notice_n ? by->notices[sent] : UINT64_MAX;
	bool more = sent == 0 || (s->notice_every > 0 && sent < REPEATED_NOTICES_MAX);
	return more ? s->notice + sent * s->notice_every : UINT64_MAX;
}

unsigned schedule_notices(const struct schedule *s, enum priority_class class, uint64_t age_ms)
{
	unsigned n = 0;
	while (n < REPEATED_NOTICES_MAX && schedule_notice(s, class, n) <= age_ms)
		n++;
	return n;
}

/* ---- mistakes ----------------------------------------------------------------------------------- */

struct rule {
	size_t max;
	uint64_t min_ms, max_ms;
	bool rises;
};

static void check_table(const struct edge_channel_conf *own, const char *name,
    const struct conf_strings *texts, const struct rule *rule, struct conf_diag *d)
{
	const char *title = own->head.title;
	uint64_t before = 0, ms;
	if (texts->n > rule->max)
		conf_error(
		    d, own->head.pos, "channel %s, %s: more than %zu", title, name, rule->max);
	for (size_t i = 0; i < texts->n; i++) {
		const char *text = texts->v[i];
		if (!conf_duration(span_str(text), &ms) || ms < rule->min_ms || ms > rule->max_ms)
			conf_error(d, own->head.pos, "channel %s, %s: \"%s\" is no such time",
			    title, name, text);
		else if (rule->rises && ms <= before)
			conf_error(d, own->head.pos, "channel %s, %s: they rise", title, name);
		else
			before = ms;
	}
}

static void check_tables(const struct edge_channel_conf *own, const struct tables *t,
    const char *for_all, const struct rule *rule, struct conf_diag *d)
{
	check_table(own, for_all, t->by[0].all, rule, d);
	for (size_t k = 0; k < PRIORITY_CLASSES; k++)
		check_table(own, t->by[k].name, t->by[k].own, rule, d);
}

void schedule_check(const struct edge_channel_conf *own, struct conf_diag *d)
{
	const struct tables backoffs = backoffs_of(own), notices = notices_of(own);
	const struct rule waits = { BACKOFFS_MAX, WAIT_MIN_MS, WAIT_MAX_MS, false };
	const struct rule ages = { NOTICES_MAX, 1000, age_max_ms, true };
	check_tables(own, &backoffs, "backoff", &waits, d);
	check_tables(own, &notices, "notices", &ages, d);
	if (backoffs.by[0].all->n > 0 && (own->retry_first > 0 || own->retry_max > 0))
		conf_error(d, own->head.pos, "channel %s: backoff or retry_first and retry_max",
		    own->head.title);
	if (notices.by[0].all->n > 0 && own->lifetime > 0)
		conf_error(d, own->head.pos,
		    "channel %s: notices or lifetime: the last notice is the end", own->head.title);
}
