/* oracle.h - several processes ask one rule at full speed; an oracle that sees every request in order
 * says what should have passed. Needs place.h. */
#ifndef TEST_METER_ORACLE_H
#define TEST_METER_ORACLE_H

#include <math.h>
#include <sys/mman.h>

#include "tests/unit/meter/place.h"

enum {
	ORACLE_KEYS_MAX = 100000,
	ORACLE_DEPTH = 8,
	ORACLE_DEPTH_MAX = 64,
	ORACLE_LOG_MAX = 16000000, /* mapped; only what is asked takes memory */
	ORACLE_PROCS_MAX = 16
};
enum oracle_load { LOAD_UNIFORM, LOAD_ZIPF, LOAD_SINGLE };

struct oracle_plan {
	unsigned procs;
	enum oracle_load load;
	uint32_t keys;
	uint64_t ms;
	unsigned depth;    /* questions under way in a process; 0: ORACLE_DEPTH */
	uint64_t pause_us; /* between the questions of a process; 0: as fast as answers come */
	bool waves;        /* asks little, so that tokens are left; then nothing; then all it can */
	const char *rule;  /* of section metermaid */
	struct bucket_limit limit;
	uint64_t bound; /* tokens beyond the limit that are documented */
};

static inline unsigned oracle_depth(const struct oracle_plan *p)
{
	return p->depth > 0 ? p->depth : ORACLE_DEPTH;
}

struct oracle_entry {
	uint64_t us;
	uint32_t key, took_us;
	bool passed;
};

struct oracle_log { /* shared by all processes */
	uint64_t n, degraded;
	struct oracle_entry v[ORACLE_LOG_MAX];
};

struct oracle_result {
	uint64_t asked, passed, due; /* due: what the oracle would have let pass */
	double over_bound;           /* tokens, 0: never */
	uint64_t degraded;
};

struct oracle_worker {
	const struct oracle_plan *plan;
	struct oracle_log *log;
	struct loop *l;
	struct metermaid *m;
	const double *cdf;
	uint64_t until_us;
	unsigned out;
	struct oracle_slot {
		struct oracle_worker *w;
		uint32_t key;
		uint64_t asked_us;
		bool waits;
	} slots[ORACLE_DEPTH_MAX];
};

static inline uint32_t oracle_pick(const struct oracle_worker *w)
{
	if (w->plan->load == LOAD_SINGLE)
		return 0;
	if (w->plan->load == LOAD_UNIFORM)
		return (uint32_t)rand_below(w->plan->keys);
	double at = (double)rand_below(1u << 30) / (1u << 30);
	uint32_t low = 0, high = w->plan->keys - 1;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (w->cdf[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static inline double *oracle_zipf(uint32_t keys)
{
	double *cdf = mem_array(keys, sizeof *cdf), sum = 0;
	for (uint32_t i = 0; i < keys; i++)
		cdf[i] = sum += 1.0 / (i + 1);
	for (uint32_t i = 0; i < keys; i++)
		cdf[i] /= sum;
	return cdf;
}

static inline void oracle_note(struct oracle_slot *s, const struct meter_answer *a)
{
	struct oracle_log *log = s->w->log;
	uint64_t now = clock_wall_us(), took = now - s->asked_us;
	uint64_t at = __atomic_fetch_add(&log->n, 1, __ATOMIC_RELAXED);
	if (at < ORACLE_LOG_MAX)
		log->v[at] =
		    (struct oracle_entry){ now, s->key, (uint32_t)took, a->action == METER_ALLOW };
	if (a->degraded)
		__atomic_fetch_add(&log->degraded, 1, __ATOMIC_RELAXED);
}

static inline void oracle_answer(void *arg, const struct meter_answer *a)
{
	struct oracle_slot *s = arg;
	oracle_note(s, a);
	s->waits = false;
	s->w->out--;
}

static inline struct meter_facts oracle_facts(uint32_t key)
{
	struct meter_facts f = { .user = SPAN_NONE };
	char ip[32];
	snprintf(ip, sizeof ip, "10.%u.%u.%u", key >> 16, key >> 8 & 255, key & 255);
	assert_true(ip_parse(span_str(ip), &f.client));
	return f;
}

static inline void oracle_ask(struct oracle_slot *s)
{
	struct meter_answer now;
	s->key = oracle_pick(s->w);
	s->asked_us = clock_wall_us();
	struct meter_facts f = oracle_facts(s->key);
	if (meter_ask_now(s->w->m, METER_CONNECT, &f, &now)) {
		oracle_note(s, &now);
		return;
	}
	meter_ask(s->w->m, METER_CONNECT, &f, oracle_answer, s);
	s->waits = true;
	s->w->out++;
}

/* How long until the next question, by the time of day: all processes do the same. */
static inline uint64_t oracle_pause_us(const struct oracle_plan *p, bool *idle_out)
{
	uint64_t at = clock_wall_us() / 1000 % 250;
	*idle_out = p->waves && ((at >= 100 && at < 160) || at >= 200);
	return p->waves && at < 100 ? 700 : p->pause_us;
}

/* Each slot that has its answer asks again; with a pause, one slot when it is time. */
static inline void oracle_ask_all(struct oracle_worker *w, uint64_t *next)
{
	for (size_t i = 0; i < oracle_depth(w->plan); i++) {
		bool idle;
		uint64_t pause_us = oracle_pause_us(w->plan, &idle);
		if (w->slots[i].waits || idle || (pause_us > 0 && clock_wall_us() < *next))
			continue;
		*next = clock_wall_us() + pause_us;
		oracle_ask(&w->slots[i]);
	}
}

static inline void oracle_work(struct oracle_worker *w, int go)
{
	char c;
	uint64_t ready = clock_mono_ms() + 2600; /* the second roll call */
	until_healthy(w->l, w->m);
	while (clock_mono_ms() < ready)
		loop_step(w->l, 10);
	assert_int_equal(read(go, &c, 1), 0); /* closed: all are ready */
	w->until_us = clock_wall_us() + w->plan->ms * 1000;
	for (size_t i = 0; i < oracle_depth(w->plan); i++)
		w->slots[i].w = w;
	uint64_t next = clock_wall_us();
	while (clock_wall_us() < w->until_us || w->out > 0) {
		if (clock_wall_us() < w->until_us)
			oracle_ask_all(w, &next);
		loop_step(w->l, w->out > 0 && w->out == oracle_depth(w->plan) ? 1 : 0);
	}
}

static inline int oracle_by_time(const void *a, const void *b)
{
	const struct oracle_entry *x = a, *y = b;
	return x->us < y->us ? -1 : x->us > y->us;
}

static inline int oracle_by_wait(const void *a, const void *b)
{
	const struct oracle_entry *x = a, *y = b;
	return x->took_us < y->took_us ? -1 : x->took_us > y->took_us;
}

/* Two views of the same requests: the limit itself, which says what was due, and the limit with the
 * documented bound, which nothing may go beyond. When something was charged is known but for the time its
 * answer took: that much is granted, 99 of 100 of them; the slowest are left out of the second view. */
static inline struct oracle_result oracle_judge(
    const struct oracle_plan *plan, struct oracle_log *log)
{
	struct oracle_result r = { .asked = log->n, .degraded = log->degraded };
	uint64_t *due = mem_array(ORACLE_KEYS_MAX, sizeof *due);
	uint64_t *real = mem_array(ORACLE_KEYS_MAX, sizeof *real), tat;
	assert_true(log->n > 100 && log->n <= ORACLE_LOG_MAX);
	qsort(log->v, log->n, sizeof log->v[0], oracle_by_wait);
	uint64_t late_us = log->v[log->n * 99 / 100].took_us;
	uint64_t slack = plan->limit.interval_us * (plan->bound + 1) + late_us;
	qsort(log->v, log->n, sizeof log->v[0], oracle_by_time);
	for (uint64_t i = 0; i < log->n; i++) {
		const struct oracle_entry *e = &log->v[i];
		if (bucket_wait_us(plan->limit, due[e->key], e->us, 1, &tat) == 0) {
			due[e->key] = tat;
			r.due++;
		}
		if (!e->passed)
			continue;
		r.passed++;
		if (e->took_us > late_us)
			continue;
		uint64_t *at = &real[e->key];
		*at = (*at > e->us ? *at : e->us) + plan->limit.interval_us;
		uint64_t most = e->us + plan->limit.tolerance_us + slack;
		if (*at > most) {
			double over = (double)(*at - most) / (double)plan->limit.interval_us;
			r.over_bound = over > r.over_bound ? over : r.over_bound;
		}
	}
	mem_free(due);
	mem_free(real);
	return r;
}

static inline void oracle_child(
    const struct oracle_plan *plan, struct oracle_log *log, const struct conf *c, int go)
{
	struct oracle_worker *w = MEM_NEW(struct oracle_worker);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	log_set_fd(open("/dev/null", O_WRONLY));
	*w = (struct oracle_worker){ .plan = plan, .log = log, .l = loop_new() };
	w->m = metermaid_new(w->l, NULL, c);
	w->cdf = plan->load == LOAD_ZIPF ? oracle_zipf(plan->keys) : NULL;
	oracle_work(w, go);
	_exit(0);
}

/* redis_port: a server that runs. */
static inline struct oracle_result oracle_run(const struct oracle_plan *plan)
{
	char text[1024];
	int go[2], status;
	pid_t pids[ORACLE_PROCS_MAX];
	struct oracle_log *log =
	    mmap(NULL, sizeof *log, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, 0, 0);
	assert_true(log != MAP_FAILED && plan->procs <= ORACLE_PROCS_MAX);
	snprintf(text, sizeof text, "metermaid { redis 127.0.0.1:%d; deadline 5s;\n %s\n}\n",
	    redis_port, plan->rule);
	struct conf *c = load(text, NULL);
	assert_non_null(c);
	assert_int_equal(pipe(go), 0);
	metermaid_prepare();
	for (unsigned i = 0; i < plan->procs; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			close(go[1]);
			oracle_child(plan, log, c, go[0]);
		}
	}
	close(go[0]);
	close(go[1]); /* each waits until it is ready; they are within a few milliseconds */
	for (unsigned i = 0; i < plan->procs; i++) {
		waitpid(pids[i], &status, 0);
		assert_int_equal(status, 0);
	}
	struct oracle_result r = oracle_judge(plan, log);
	munmap(log, sizeof *log);
	conf_unref(&c);
	return r;
}

#endif
