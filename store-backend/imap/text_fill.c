/* text_fill.c - fills text indexes; see text_fill.h. Before: search.c says which; after: text_index.c.
 *
 * A mailbox is done in steps: the loop takes entries from the index of the partition, the thread reads these messages and adds
 * them in one transaction. Where a step begins the file itself says, for another worker may be at it, too. Owns the list of what is
 * wanted, the thread, and the step; of these the thread has the step while it runs. */
#include "store-backend/imap/text_fill.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "commitlog/flusher.h"

#include "store-backend/imap/blob.h"
#include "store-backend/imap/search.h"
#include "store-backend/store.h"
#include "store-backend/text_index.h"

#define text_fill_MAGIC 0x7e47f111u

enum { STEP_MESSAGES = 500, STEP_BYTES = 64 * 1024 * 1024, NICE = 10 };

struct want {
	uint64_t mailbox;
	uint32_t uidvalidity;
};

struct step {
	struct text_index_key key;
	const char *log_dir;
	uint32_t live;     /* messages of the mailbox */
	uint32_t from, to; /* uids above from, up to `to`; to 0: only look how far it is */
	struct index_entry *v;
	size_t n;
	uint64_t bytes;
	/* what came of it */
	uint32_t upto;
	err_t err;
};

struct text_fill {
	uint32_t magic;
	struct loop *loop;
	const struct store_partition *partition; /* borrowed */
	struct flusher *thread;                  /* owned; NULL until there is work */
	atomic_bool stop;
	char log_dir[TEXT_INDEX_PATH_SIZE];
	struct want wants[TEXT_FILL_WANTS_MAX]; /* the first is in work */
	size_t n;
	struct step step; /* owned: its entries */
};

/* ---- on the thread ----------------------------------------------------------------------------- */

/* Of what cannot be read nothing is known: each search finds out by itself. */
static err_t add_message(struct text_index *x, struct commitlog_reader *r,
    const struct index_entry *e, struct text_grams *grams)
{
	struct blob blob;
	struct message m;
	struct search_scan scan;
	blob_init(&blob, r, e);
	message_init(&m, &blob.bytes);
	search_scan_begin_grams(&scan, grams);
	while (search_scan_step(&scan, &m) == ANSWER_UNKNOWN)
		;
	search_scan_end(&scan);
	bool whole = m.err == ERR_OK;
	message_end(&m);
	err_t err = text_index_add(x, e->uid, whole ? grams : NULL);
	text_grams_clear(grams);
	return err;
}

static err_t add_all(struct text_fill *f, struct text_index *x)
{
	struct step *s = &f->step;
	struct text_grams grams;
	struct commitlog_reader *r = commitlog_reader_open(s->log_dir);
	err_t err = ERR_OK;
	text_grams_init(&grams);
	for (size_t i = 0; i < s->n && !err; i++)
		err = atomic_load(&f->stop) ? ERR_CANCELLED : add_message(x, r, &s->v[i], &grams);
	text_grams_end(&grams);
	commitlog_reader_close(&r);
	if (!err)
		err = text_index_commit(x, s->to);
	if (!err)
		s->upto = s->to;
	return err;
}

static void run_step(void *arg)
{
	struct text_fill *f = OBJ(text_fill, arg);
	struct step *s = &f->step;
	(void)setpriority(
	    PRIO_PROCESS, (id_t)gettid(), NICE); /* of this thread: nobody waits for it */
	struct text_index *x = text_index_open(&s->key, true, &s->err);
	if (!s->err)
		s->err = text_index_begin(x, s->live, &s->upto);
	if (!s->err && s->to > 0 && s->upto == s->from)
		s->err = add_all(f, x);
	else if (!s->err)
		s->err = text_index_commit(x, s->upto); /* it may have begun anew */
	text_index_close(&x);
}

/* ---- on the loop ------------------------------------------------------------------------------- */

static void tell_failure(const struct text_fill *f, err_t err)
{
	log_write(&store_events[STORE_EV_TEXT_INDEX_FAILED], NULL,
	    LOG_FIELDS(LOG_STR("partition", f->partition->name),
		LOG_U64("mailbox", f->wants[0].mailbox), LOG_ERR("err", err)));
}

static bool take_entry(void *arg, const struct index_entry *e)
{
	struct step *s = arg;
	if (s->n == STEP_MESSAGES || (s->n > 0 && s->bytes + e->size > STEP_BYTES))
		return false;
	s->v[s->n++] = *e;
	s->bytes += e->size;
	s->to = e->uid;
	return true;
}

/* The mailbox that is first wanted; false: it is gone, or has no messages. */
static bool find_mailbox(struct text_fill *f, struct index_view *v)
{
	struct index_mailbox m;
	bool there = v != NULL && index_mailbox_get(v, f->wants[0].mailbox, &m) &&
		     m.uidvalidity == f->wants[0].uidvalidity;
	f->step.live = there ? m.messages : 0;
	return f->step.live > 0;
}

/* A step that takes nothing yet, but looks how far the index is. */
static bool gather_none(struct text_fill *f)
{
	struct index_view *v = index_view_begin(f->partition->index);
	bool there = find_mailbox(f, v);
	index_view_end(&v);
	f->step.n = 0;
	f->step.to = 0;
	return there;
}

/* What is next above `from`. False: nothing, or the mailbox is gone. */
static bool gather(struct text_fill *f, uint32_t from)
{
	struct step *s = &f->step;
	struct index_view *v = index_view_begin(f->partition->index);
	s->n = 0;
	s->bytes = 0;
	s->from = from;
	s->to = 0;
	if (find_mailbox(f, v))
		index_entries(v, f->wants[0].mailbox, (struct uid_range){ from + 1, UINT32_MAX },
		    take_entry, s);
	index_view_end(&v);
	return s->n > 0;
}

static void drop_first(struct text_fill *f)
{
	f->n--;
	memmove(&f->wants[0], &f->wants[1], f->n * sizeof f->wants[0]);
}

static void on_step(void *arg);

/* The first step of a mailbox only looks how far its index is. */
static void begin_next(struct text_fill *f)
{
	if (f->thread == NULL)
		f->thread = flusher_new(f->loop, on_step, f);
	while (f->n > 0) {
		f->step.key = (struct text_index_key){ f->partition->path, f->wants[0].mailbox,
			f->wants[0].uidvalidity };
		if (f->thread != NULL && gather_none(f)) {
			flusher_run(f->thread, run_step, f);
			return;
		}
		drop_first(f);
	}
}

static void on_step(void *arg)
{
	struct text_fill *f = OBJ(text_fill, arg);
	struct step *s = &f->step;
	err_t err = s->err;
	if (!err && s->upto < UINT32_MAX && gather(f, s->upto)) {
		flusher_run(f->thread, run_step, f);
		return;
	}
	if (err == ERR_CORRUPT)
		text_index_mark(&s->key);
	if (err && err != ERR_BUSY) /* another worker is at it */
		tell_failure(f, err);
	drop_first(f);
	begin_next(f);
}

void text_fill_want(struct text_fill *f, uint64_t mailbox, uint32_t uidvalidity)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->wants[i].mailbox == mailbox)
			return;
	if (f->n == TEXT_FILL_WANTS_MAX)
		return;
	f->wants[f->n++] = (struct want){ mailbox, uidvalidity };
	if (f->n == 1)
		begin_next(f);
}

struct text_fill *text_fill_new(struct loop *l, const struct store_partition *p)
{
	struct text_fill *f = MEM_NEW(struct text_fill);
	f->magic = text_fill_MAGIC;
	f->loop = l;
	f->partition = p;
	(void)snprintf(f->log_dir, sizeof f->log_dir, "%s/log", p->path);
	f->step.log_dir = f->log_dir;
	f->step.v = mem_array(STEP_MESSAGES, sizeof f->step.v[0]);
	return f;
}

void text_fill_free(struct text_fill **pf)
{
	struct text_fill *f = *pf;
	if (f == NULL)
		return;
	atomic_store(&f->stop, true);
	flusher_free(&f->thread);
	mem_free(f->step.v);
	f->magic = 0;
	MEM_FREE(pf);
}
