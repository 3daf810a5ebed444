/* queue_kick.c - ETRN's part in the queue process (before: spool_serve.c; after: queue_scan.c).
 *
 * Owns the questions that have no answer yet, and when which node was started last. */
#include "edge/queue_kick.h"

#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

#include "edge/queue_scan.h"

#define queue_kick_MAGIC 0x5e53e004u

enum { LATELY_MAX = 1024, WORD_MAX = QUEUE_KICK_NODE_MAX + 16 };

struct queue_kicks {
	struct queue *queue;      /* borrowed */
	struct queue_kick *going; /* goes over the queue, or NULL */
	struct {
		uint64_t of,
		    at_ms; /* two that share a place: the older one may be started sooner */
	} lately[LATELY_MAX];
};

struct queue_kick {
	struct ticket base; /* first */
	uint32_t magic;
	struct queue_kicks *home; /* NULL: gone */
	struct soon soon;
	struct queue_kicked result;
	queue_kick_fn *fn; /* NULL: nobody waits any more */
	void *arg;
};

/* ---- how often -------------------------------------------------------------------------------- */

static bool is_due(struct queue_kicks *k, struct span node)
{
	char lower[QUEUE_KICK_NODE_MAX];
	span_lower_to(lower, node);
	uint64_t of = hash_keyed(span_of(lower, node.n)), now = loop_now_ms(k->queue->loop);
	size_t at = of % LATELY_MAX;
	bool due =
	    k->lately[at].of != of || now - k->lately[at].at_ms >= k->queue->edge->etrn_interval;
	if (due) {
		k->lately[at].of = of;
		k->lately[at].at_ms = now;
	}
	return due;
}

/* ---- the answer ------------------------------------------------------------------------------- */

static void kick_free(struct queue_kick *a)
{
	soon_clear(&a->soon);
	a->magic = 0;
	mem_free(a);
}

static void on_soon(void *arg)
{
	struct queue_kick *a = OBJ(queue_kick, arg);
	queue_kick_fn *fn = a->fn;
	void *to = a->arg;
	struct queue_kicked r = a->result;
	kick_free(a);
	if (fn != NULL)
		fn(to, &r);
}

/* What end_kick() of queue_control.c has written: a number, and "+" if there are more. */
static void take_result(struct queue_kick *a, struct span said)
{
	uint64_t n = 0;
	a->result.more = said.n > 0 && said.p[said.n - 1] == '+';
	a->result.later = !span_u64(span_first(said, said.n - a->result.more), SIZE_MAX, &n);
	a->result.recipients = (size_t)n;
}

static uint32_t on_begin(void *arg)
{
	struct queue_kick *a = OBJ(queue_kick, arg);
	a->home->going = a;
	return 0;
}

static void on_end(void *arg, uint32_t ask, struct span said)
{
	struct queue_kick *a = OBJ(queue_kick, arg);
	if (a->home != NULL)
		a->home->going = NULL;
	a->home = NULL;
	take_result(a, said);
	on_soon(a);
}

static void on_cancel(struct ticket *t)
{
	struct queue_kick *a = OBJ(queue_kick, t);
	a->fn = NULL;
	if (a->home == NULL || a->home->going != a)
		kick_free(a);
}

/* ---- asking ----------------------------------------------------------------------------------- */

static void start(struct queue_kick *a, struct span node)
{
	const struct queue_late late = { on_begin, on_end, a };
	struct queue_kicks *k = a->home;
	struct buf said = BUF_INIT(64);
	a->result.later = true;
	if (k->going == NULL && node.n > 0 && node.n <= QUEUE_KICK_NODE_MAX && is_due(k, node))
		queue_control_kick(k->queue, node, &late, &said);
	if (buf_len(&said) > 0)
		take_result(a, buf_span(&said));
	if (k->going != a)
		soon_set(k->queue->loop, &a->soon);
	buf_end(&said);
}

struct ticket *queue_kick(struct queue_kicks *k, struct span node, queue_kick_fn *fn, void *arg)
{
	struct queue_kick *a = MEM_NEW(struct queue_kick);
	a->base.cancel = on_cancel;
	a->magic = queue_kick_MAGIC;
	a->home = k;
	a->fn = fn;
	a->arg = arg;
	soon_init(&a->soon, on_soon, a);
	start(a, node);
	return &a->base;
}

struct queue_kicks *queue_kicks_new(struct queue *q)
{
	struct queue_kicks *k = MEM_NEW(struct queue_kicks);
	k->queue = q;
	return k;
}

void queue_kicks_free(struct queue_kicks **k)
{
	if (*k != NULL && (*k)->going != NULL)
		(*k)->going->home = NULL; /* ends with its scan */
	MEM_FREE(k);
}
