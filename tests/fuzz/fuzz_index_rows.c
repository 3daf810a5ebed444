/* fuzz_index_rows.c - rows of the index in a log that somebody else has written: what is taken for an index can be read,
 * checked and changed, and its own rows make the same index again.
 *
 * The input is records, each { kind, u16 length, bytes }: 'R' a piece of rows behind the one before, 'r' one that names its
 * own place in the log as the one before it, 'E' the end that belongs to the pieces, 'e' an end as it stands, 'O' a change
 * that comes later. */
#include <stdio.h>
#include <unistd.h>

#include "base/check.h"
#include "store-backend/index_check.h"
#include "store-backend/partition_internal.h"
#include "store-backend/partition_replay.h"
#include "store-backend/partition_rows.h"
#include "tests/fuzz/folder.h"

enum { LOGS_OF = 2000, PIECE_MAX = 1 << 16, INDEX_MAX = 1 << 24 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct hostile {
	struct commitlog *log;
	struct commitlog_reader *reader;
	struct index_writer *writer;
	struct base_end end; /* of the pieces so far */
	log_pos from, ends;  /* of this input; the newest end: 0, there is none */
};

static struct loop *loop;
static unsigned runs;

static const char *below(const char *name)
{
	static char path[4][120];
	static unsigned turn;
	char *p = path[turn++ % 4];
	(void)snprintf(p, sizeof path[0], "%s/%s", fuzz_folder, name);
	return p;
}

static void fresh_index(struct index_writer **w, const char *dir, const char *file)
{
	err_t err;
	index_writer_close(w, false);
	(void)unlink(below(file));
	*w = index_writer_open(below(dir), INDEX_MAX, &err);
	CHECK(*w != NULL);
}

/* ---- the log -------------------------------------------------------------------------------------------------- */

static void begin(struct hostile *h)
{
	struct commitlog_opts o = {
		.dir = below("log"), .segment_bytes = 64 << 20, .unsafe_no_sync = true
	};
	err_t err;
	if (h->log != NULL && runs++ % LOGS_OF != 0)
		return;
	if (loop == NULL) {
		loop = loop_new();
		fuzz_folder_make();
	}
	commitlog_reader_close(&h->reader);
	commitlog_close(&h->log);
	fuzz_remove(below("log"));
	h->log = commitlog_open(loop, &o, &err, NULL);
	CHECK(h->log != NULL);
	h->reader = commitlog_reader_open(below("log"));
}

static void put_piece(struct hostile *h, struct span bytes, log_pos before)
{
	CHECK(record_base_rows(h->log, before, bytes, &h->end.last) == ERR_OK);
	h->end.pieces++;
	h->end.bytes += bytes.n;
}

static void put_record(struct hostile *h, char kind, struct span bytes)
{
	log_pos at, here = commitlog_end(h->log);
	uint32_t type = kind == 'e' ? LOG_BASE : LOG_OPERATION;
	if (kind == 'R' || kind == 'r') {
		put_piece(h, bytes, kind == 'R' ? h->end.last : here);
		return;
	}
	if (kind == 'E') {
		h->end.covered = here;
		CHECK(record_base(h->log, &h->end, &h->ends) == ERR_OK);
		return;
	}
	CHECK(commitlog_append(h->log, type, &bytes, 1, &at) == ERR_OK);
}

static void put_all(struct hostile *h, struct span in)
{
	h->end = (struct base_end){ 0 };
	h->from = commitlog_end(h->log);
	h->ends = 0;
	while (in.n >= 3) {
		size_t n = (uint8_t)in.p[1] | (size_t)(uint8_t)in.p[2] << 8;
		char kind = in.p[0];
		in = span_from(in, 3);
		put_record(h, kind, span_first(in, n < in.n ? n : in.n));
		in = span_from(in, n < in.n ? n : in.n);
	}
}

/* ---- what became of it ------------------------------------------------------------------------------------------ */

static void on_fault(void *arg, const char *what)
{
	CHECK(what != NULL);
}

static void on_blob(void *arg, log_pos blob)
{
	struct hostile *h = arg;
	(void)commitlog_reader_verify(h->reader, blob);
}

static void on_rows(void *arg, log_pos at)
{
	struct hostile *h = arg;
	(void)rows_check(h->reader, at);
}

static bool on_mailbox(void *arg, const struct index_mailbox *m)
{
	struct index_view *v = arg;
	CHECK(m->keyword_n <= STORE_KEYWORDS_MAX && m->name.n <= STORE_MAILBOX_NAME_MAX);
	(void)index_mailbox_digest(v, m->id);
	(void)index_rights(v, m, SPAN("who@x"));
	(void)index_mailbox_object(v, m->id);
	return true;
}

static void look_at(struct hostile *h)
{
	struct index *x = index_writer_reader(h->writer);
	struct index_check c = {
		.on_fault = on_fault, .on_blob = on_blob, .on_rows = on_rows, .arg = h
	};
	struct index_quota_mark mark;
	CHECK(index_check_run(x, &c));
	struct index_view *v = index_view_begin(x);
	struct index_mailbox m = { 0 };
	while (m.id < UINT64_MAX && index_mailbox_from(v, m.id + 1, &m))
		(void)on_mailbox(v, &m);
	index_mailboxes(v, SPAN("a@x"), on_mailbox, v);
	index_granted(v, SPAN("b@x"), on_mailbox, v);
	(void)index_quota_mark(v, SPAN("a@x"), &mark);
	(void)index_stay(v, SPAN("a@x"));
	index_view_end(&v);
	index_close(&x);
	(void)index_writer_event_count(h->writer);
	(void)index_writer_caches_due(h->writer);
}

/* Its rows make an index that has the same rows. */
static void check_again(struct hostile *h)
{
	static struct index_writer *twin;
	struct buf rows = BUF_INIT(INDEX_MAX);
	err_t err;
	bool end = false;
	struct index_dump *d = index_dump_open(below("index/data.mdb"), &err);
	CHECK(d != NULL);
	fresh_index(&twin, "twin", "twin/data.mdb");
	struct index_txn *t = index_txn_begin(twin, &err);
	CHECK(t != NULL);
	while (!end) {
		buf_clear(&rows);
		CHECK(index_dump_next(d, 1000, &rows, &end) == ERR_OK);
		CHECK(index_load(t, buf_span(&rows)) == ERR_OK);
	}
	index_dump_close(&d);
	CHECK(index_txn_commit(&t, 1) == ERR_OK);
	CHECK(index_writer_digest(twin) == index_writer_digest(h->writer));
	buf_end(&rows);
}

/* As at a start: what the log has behind the rows, and what every start counts. */
static void change(struct hostile *h, log_pos from)
{
	struct partition_replay r = { .writer = h->writer, .name = "fuzz", .skip_damaged = true };
	log_pos to = commitlog_end(h->log);
	err_t err = commitlog_reader_replay(h->reader, from, to, partition_replay_record, &r);
	if (!err && !r.err)
		(void)partition_replay_commit(&r, to);
	partition_replay_end(&r);
	(void)index_writer_mark(h->writer, "boot", true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct hostile h;
	log_pos covered = 0, found = 0;
	begin(&h);
	put_all(&h, span_of(data, size < PIECE_MAX ? size : PIECE_MAX));
	if (h.ends == 0)
		return 0;
	fresh_index(&h.writer, "index", "index/data.mdb");
	if (rows_check(h.reader, h.ends) != ERR_OK ||
	    rows_restore(h.reader, h.ends, h.writer, &covered) != ERR_OK)
		return 0;
	CHECK(covered >= h.from);
	if (runs % 64 == 0) /* it reads all that there ever was */
		CHECK(rows_find(h.reader, commitlog_end(h.log), &found) == ERR_OK && found != 0);
	look_at(&h);
	check_again(&h);
	change(&h, covered);
	look_at(&h);
	return 0;
}
