/* partition_base.c - step 4 of 6: the log holds rows of the index in place of its oldest changes, so that segments alone
 * make the index anew. Before: partition_keep.c, which has just made a snapshot; after: partition_keep.c again, which
 * may then forget the changes that are in it. Owns the thread that reads the snapshot.
 *
 * Rows (index_dump.c) are a few dozen bytes a message. They go into the log in pieces, each naming the one before it,
 * between rounds and without syncs of their own; a last record says that all of them are there, and is a change like
 * others: the index notes where the newest rows are, and whoever replays the log notes it again. Until then the
 * rows before them are what counts. Pieces without an end are swept when later ones are whole.
 *
 * It is time when the log has grown by fold_after, and by several times what the rows took before: so they add a
 * fixed part to what is written, and changes that are still kept are bounded by it. */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store-backend/parse.h"
#include "store-backend/partition_internal.h"
#include "store-backend/partition_rows.h"

enum {
	PIECE_BYTES = 256 * 1024,
	PIECE_MS = 10, /* between two pieces */
	GROWTH = 8, /* so many times the rows are added to the log before they are written again */
	CACHES_MS = 10 /* so long at once */
};
_Static_assert(PIECE_BYTES < ROWS_PIECE_MAX / 2, "a row more than that fits");

#define base_writer_MAGIC 0xba5e0217u

struct base_writer {
	uint32_t magic;
	struct partition *p;    /* borrowed */
	struct flusher *thread; /* owned */
	struct timer timer;     /* armed: the next piece is to be made */
	uint64_t began_ms;

	/* Between two jobs the loop's, else the thread's. */
	char path[SNAPSHOT_PATH_SIZE];
	struct index_dump *dump; /* owned; NULL: nothing is being written, or nothing yet */
	struct buf piece;        /* owned */
	bool end;
	err_t err;

	bool writing;
	struct base_end made;
	bool ready;              /* the last record is due: with the next round */
	struct index_base noted; /* it is in p->txn; at 0: it is not */
};

/* ---- writing ------------------------------------------------------------------------------------------------- */

static void make_piece(void *arg)
{
	struct base_writer *w = arg;
	w->err = ERR_OK;
	if (w->dump == NULL)
		w->dump = index_dump_open(w->path, &w->err);
	if (!w->err)
		w->err = index_dump_next(w->dump, PIECE_BYTES, &w->piece, &w->end);
}

static void stop_writing(struct base_writer *w)
{
	timer_clear(&w->timer);
	index_dump_close(&w->dump);
	buf_end(&w->piece);
	w->piece = BUF_INIT(ROWS_PIECE_MAX);
	w->writing = w->ready = false;
}

/* The next snapshot is the next occasion. */
static void give_up(struct base_writer *w, err_t err)
{
	stop_writing(w);
	log_write(&store_events[STORE_EV_FOLD_FAILED], NULL,
	    LOG_FIELDS(LOG_STR("partition", w->p->name), LOG_ERR("err", err)));
}

static void on_timer(void *arg)
{
	struct base_writer *w = OBJ(base_writer, arg);
	if (!w->p->failed)
		flusher_run(w->thread, make_piece, w);
}

static void on_piece(void *arg)
{
	struct base_writer *w = OBJ(base_writer, arg);
	err_t err = w->err;
	if (w->p->failed)
		return;
	if (!err)
		err = record_base_rows(w->p->log, w->made.last, buf_span(&w->piece), &w->made.last);
	if (err && err != ERR_BUSY && err != ERR_NO_SPACE && !w->err) {
		partition_fail(w->p, "log", err);
		return;
	}
	if (err) {
		give_up(w, err);
		return;
	}
	w->made.pieces++;
	w->made.bytes += buf_len(&w->piece);
	buf_clear(&w->piece);
	w->ready = w->end;
	timer_set(w->end ? &w->p->keep_timer : &w->timer, w->end ? 0 : PIECE_MS);
}

/* Bytes that the log grew by, about. */
static uint64_t log_between(const struct partition *p, log_pos from, log_pos to)
{
	uint64_t segments = (to >> SEGMENT_BITS) - (from >> SEGMENT_BITS);
	return segments * p->segment_bytes + (to & UINT32_MAX) - (from & UINT32_MAX);
}

static bool is_time(const struct partition *p, log_pos covered)
{
	uint64_t least = p->settings.fold_after;
	bool none = p->base.at == 0;
	if (none && p->trimmed)
		return true;
	if (p->settings.keep_changes || covered <= p->base.covered)
		return false;
	if (least < GROWTH * p->base.bytes)
		least = GROWTH * p->base.bytes;
	return log_between(p, none ? (log_pos)1 << SEGMENT_BITS : p->base.covered, covered) >=
	       least;
}

void base_copied(struct partition *p, const struct snapshot *made)
{
	struct base_writer *w = p->base_writer;
	if (w->writing || p->failed || p->low_space || !is_time(p, made->covered) ||
	    !snapshot_path(w->path, p->snapshot_dir, made))
		return;
	w->writing = true;
	w->made = (struct base_end){ .covered = made->covered };
	w->began_ms = clock_mono_ms();
	timer_set(&w->timer, 0);
}

bool base_in_batch(struct partition *p)
{
	struct base_writer *w = p->base_writer;
	log_pos at;
	if (!w->ready)
		return false;
	err_t err = record_base(p->log, &w->made, &at);
	if (err == ERR_NO_SPACE || err == ERR_BUSY)
		return false; /* another time */
	if (err) {
		partition_fail(p, "log", err);
		return false;
	}
	w->ready = false;
	w->noted = (struct index_base){ at, w->made.covered, w->made.bytes };
	index_base_store(p->txn, &w->noted);
	return true;
}

void base_after_batch(struct partition *p)
{
	struct base_writer *w = p->base_writer;
	if (w->noted.at == 0)
		return;
	p->base = w->noted;
	w->noted = (struct index_base){ 0 };
	stop_writing(w);
	log_write(&store_events[STORE_EV_FOLDED], NULL,
	    LOG_FIELDS(LOG_STR("partition", p->name), LOG_U64("covered", p->base.covered),
		LOG_U64("bytes", p->base.bytes), LOG_U64("ms", clock_mono_ms() - w->began_ms)));
	keep_sweep(p);
}

struct base_writer *base_writer_new(struct partition *p)
{
	struct base_writer *w = MEM_NEW(struct base_writer);
	*w = (struct base_writer){
		.magic = base_writer_MAGIC, .p = p, .piece = BUF_INIT(ROWS_PIECE_MAX)
	};
	timer_init(&w->timer, p->loop, on_timer, w);
	w->thread = flusher_new(p->loop, on_piece, w);
	if (w->thread == NULL)
		base_writer_free(&w);
	return w;
}

void base_writer_free(struct base_writer **wp)
{
	struct base_writer *w = *wp;
	if (w == NULL)
		return;
	flusher_free(&w->thread);
	stop_writing(w);
	buf_end(&w->piece);
	w->magic = 0;
	MEM_FREE(wp);
}

/* ---- at start ---------------------------------------------------------------------------------------------------- */

static struct commitlog_reader *open_reader(const struct partition *p)
{
	char log[PARTITION_PATH_SIZE];
	return partition_file(p, "log", log) ? commitlog_reader_open(log) : NULL;
}

err_t base_restore(struct partition *p, log_pos *covered_out)
{
	struct commitlog_reader *reader = open_reader(p);
	log_pos at = 0;
	err_t err = reader != NULL ? rows_find(reader, commitlog_end(p->log), &at) : ERR_TOO_LONG;
	if (!err)
		err = rows_restore(reader, at, p->writer, covered_out);
	commitlog_reader_close(&reader);
	return err;
}

bool base_is_whole(struct partition *p, const struct snapshot *s)
{
	char path[SNAPSHOT_PATH_SIZE];
	struct commitlog_reader *reader = open_reader(p);
	log_pos at = snapshot_path(path, p->snapshot_dir, s) ? index_copy_base(path).at : 0;
	bool whole = reader != NULL && at != 0 && rows_check(reader, at) == ERR_OK;
	commitlog_reader_close(&reader);
	return whole;
}

/* ---- the caches of its messages -------------------------------------------------------------------------------------- */

/* Without one a message is parsed whenever it is read; so a damaged one is left as it is. */
static void make_cache(struct partition *p, log_pos blob)
{
	struct buf message = BUF_INIT(OPERATION_MESSAGE_MAX), cache = BUF_INIT(STORE_CACHE_MAX);
	if (commitlog_load(p->log, blob, &message) == ERR_OK) {
		parse_message(buf_span(&message), &cache);
		index_cache_store(p->txn, blob, buf_span(&cache));
	}
	buf_end(&message);
	buf_end(&cache);
}

bool base_caches_in_batch(struct partition *p)
{
	uint64_t began = clock_mono_ms();
	log_pos blob;
	bool any = false;
	do {
		if (!index_cache_next(p->txn, &blob))
			return any;
		any = true;
		if (blob != 0)
			make_cache(p, blob);
	} while (clock_mono_ms() - began < CACHES_MS);
	p->keep_full = true;
	return true;
}
