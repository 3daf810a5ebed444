/* flood.h - 5,000 questions a second, and how they were answered. Included by one test program each. */
#ifndef TEST_METER_FLOOD_H
#define TEST_METER_FLOOD_H

#include "tests/unit/meter/place.h"

enum { PACE_PER_MS = 5, DEADLINE_MS = 50, SLACK_MS = 150 };

struct flood {
	struct loop *l;
	struct metermaid *m;
	uint64_t asked, answered, degraded, refused, longest_ms;
};
struct asked {
	struct flood *f;
	uint64_t at_ms;
};

static inline void on_flood(void *arg, const struct meter_answer *a)
{
	struct asked *q = arg;
	uint64_t took = clock_mono_ms() - q->at_ms;
	q->f->answered++;
	q->f->degraded += a->degraded;
	q->f->refused += a->action != METER_ALLOW;
	if (took > q->f->longest_ms)
		q->f->longest_ms = took;
	mem_free(q);
}

/* At the pace for so long; then until all are answered. Counts start again. */
static inline void flood(struct flood *f, uint64_t ms)
{
	uint64_t begun = clock_mono_ms(), now;
	*f = (struct flood){ .l = f->l, .m = f->m };
	while ((now = clock_mono_ms()) < begun + ms || f->answered < f->asked) {
		assert_true(now < begun + ms + 5000);
		for (int i = 0;
		     now < begun + ms && f->asked < (now - begun) * PACE_PER_MS && i < 64; i++) {
			struct asked *q = MEM_NEW(struct asked);
			char ip[32];
			snprintf(ip, sizeof ip, "10.9.%u.%u", (unsigned)rand_below(256),
			    (unsigned)rand_below(256));
			struct meter_facts facts = from(ip, "");
			*q = (struct asked){ f, now };
			assert_non_null(meter_ask(f->m, METER_CONNECT, &facts, on_flood, q));
			f->asked++;
		}
		loop_step(f->l, 1);
	}
	print_message("asked %lu, degraded %lu, refused %lu, longest %lu ms\n", f->asked,
	    f->degraded, f->refused, f->longest_ms);
	assert_true(f->asked > ms * PACE_PER_MS / 2);
	assert_true(f->longest_ms <= DEADLINE_MS + SLACK_MS);
}

#endif
