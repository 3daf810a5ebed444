/* queue_scan.c - an operator's question or order goes over every message of the queue, in memory or not.
 *
 * Beside: queue_control.c (the words and what they do). Some rows of the shelf in a round, so that deliveries go on
 * meanwhile; after SCAN_MS it ends where it is, and the same order said again goes on from there. Owns
 * copies of the words. */
#include "base/check.h"
#include "base/mem.h"
#include "edge/queue_scan.h"

enum {
	LOADS_MAX = 200, /* in one round */
	VISITS_MAX = 20000,
	SCAN_MS = 8000, /* the asker waits 10 s */
	REPLY_MAX = 16 * 1024 * 1024,
};

#define queue_scan_MAGIC 0x5ca00001u

struct queue_scan {
	uint32_t magic;
	struct list_node link; /* in queue.scans */
	struct queue *queue;
	struct scan_job job; /* its filter's spans point into words */
	char *words[SCAN_WORDS_MAX];
	size_t word_n;
	struct queue_late late;
	uint32_t ask;
	uint32_t at;       /* the last row that was looked at */
	struct ident last; /* of the last message that was visited */
	uint64_t until_ms;
	struct buf out;
	struct timer next;
};

static char *joined(const char *const *words, size_t n)
{
	struct buf all = BUF_INIT((size_t)SCAN_WORDS_MAX * (QUEUE_FILTER_WORD_MAX + 1));
	for (size_t i = 0; i < n; i++)
		buf_printf(&all, "%s\n", words[i]);
	char *text = mem_str(buf_cstr(&all));
	buf_end(&all);
	return text;
}

/* An order that did not get through remembers where it was. */
static void remember(struct queue_scan *s)
{
	struct queue *q = s->queue;
	if (s->job.order == NULL)
		return; /* a list says where it was */
	MEM_FREE(&q->left_words);
	q->left_at = 0;
	if (!s->job.more || s->at == 0)
		return;
	q->left_words = joined((const char *const *)s->words, s->word_n);
	q->left_at = s->at;
}

static uint32_t place_to_begin(const struct queue_scan *s, const char *const *words, size_t n)
{
	const struct queue *q = s->queue;
	struct ident after;
	if (s->job.filter.after.p != NULL && ident_parse(s->job.filter.after, &after))
		return shelf_find(q->shelf, after);
	char *text = joined(words, n);
	bool same = q->left_words != NULL && strcmp(text, q->left_words) == 0;
	mem_free(text);
	return same ? q->left_at : 0;
}

static void scan_free(struct queue_scan *s)
{
	list_remove(&s->link);
	timer_clear(&s->next);
	for (size_t i = 0; i < s->word_n; i++)
		mem_free(s->words[i]);
	buf_end(&s->out);
	s->magic = 0;
	mem_free(s);
}

/* True: every row has been visited, or no more can be. */
static bool visit_some(struct queue_scan *s)
{
	struct queue *q = s->queue;
	size_t loads = 0;
	for (size_t i = 0; i < VISITS_MAX && loads < LOADS_MAX; i++) {
		if (s->job.is_full(&s->job)) {
			s->job.more = true;
			return true;
		}
		uint32_t row = shelf_next(q->shelf, s->at);
		if (row == 0)
			return true;
		s->at = row;
		if (shelf_row(q->shelf, row)->done || s->job.skim(&s->job, q, row))
			continue;
		loads += shelf_row(q->shelf, row)->place != SHELF_LOADED;
		struct q_entry *e = row_load(q, row);
		if (e == NULL)
			continue;
		s->last = e->id;
		s->job.visit(&s->job, e, &s->out);
	}
	return false;
}

static void finish(struct queue_scan *s)
{
	if (s->job.more && s->at != 0)
		s->job.at = s->last;
	s->job.end(&s->job, &s->out);
	remember(s);
}

static void scan_end(struct queue_scan *s)
{
	finish(s);
	s->late.end(s->late.arg, s->ask, buf_span(&s->out));
	scan_free(s);
}

static void on_next(void *arg)
{
	struct queue_scan *s = OBJ(queue_scan, arg);
	if (visit_some(s)) {
		scan_end(s);
	} else if (loop_now_ms(s->queue->loop) >= s->until_ms) {
		s->job.more = true;
		scan_end(s);
	} else {
		timer_set(&s->next, 0);
	}
}

void queue_scan_start(struct queue *q, const struct scan_words *said, struct scan_job *job,
    const struct queue_late *late, struct buf *out)
{
	struct queue_scan *s = MEM_NEW(struct queue_scan);
	struct buf why = BUF_INIT(1000);
	bool done = false;
	s->magic = queue_scan_MAGIC;
	s->queue = q;
	s->job = *job;
	s->out = BUF_INIT(REPLY_MAX);
	s->until_ms = loop_now_ms(q->loop) + SCAN_MS;
	timer_init(&s->next, q->loop, on_next, s);
	list_add_tail(&q->scans, &s->link);
	for (; s->word_n < said->n; s->word_n++)
		s->words[s->word_n] = mem_str(said->v[s->word_n]);
	CHECK(queue_filter_parse(
	    (const char *const *)s->words + 1, s->word_n - 1, &s->job.filter, &why));
	buf_end(&why);
	s->at = place_to_begin(s, said->v, said->n);
	s->job.begin(&s->job, &s->out);
	do {
		done = visit_some(s);
	} while (!done && late == NULL);
	if (done) {
		finish(s);
		buf_add_span(out, buf_span(&s->out));
		scan_free(s);
		return;
	}
	s->late = *late;
	s->ask = late->begin(late->arg);
	timer_set(&s->next, 0);
}

void queue_scans_end(struct queue *q)
{
	while (!list_empty(&q->scans)) {
		struct queue_scan *s = LIST_OF(struct queue_scan, link, q->scans.next);
		s->job.more = true;
		s->at = 0; /* rows get other numbers */
		scan_end(s);
	}
}
