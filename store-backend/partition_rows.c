/* partition_rows.c - step 4 of 6, at start: rows of the index that the log holds become an index. Before: partition_recover.c,
 * or tool_shadow.c beside a store that works; partition_base.c has written them. After: index_dump.c. Owns nothing. */
#include "store-backend/partition_rows.h"

#include "base/mem.h"
#include "store-backend/partition_internal.h"

enum { LOAD_PIECES = 64 /* in one transaction */ };

struct pieces {
	log_pos *v; /* owned: the last one comes first */
	size_t n, cap;
	struct base_end end;
};

static bool look(void *arg, const struct log_record *rec)
{
	log_pos *at = arg;
	struct base_end end;
	if (rec->type == LOG_BASE && !rec->dead && !rec->damaged &&
	    record_get_base(rec->payload, &end))
		*at = rec->pos;
	return true;
}

err_t rows_find(struct commitlog_reader *reader, log_pos to, log_pos *end_out)
{
	*end_out = 0;
	err_t err = commitlog_reader_replay(reader, 0, to, look, end_out);
	return !err && *end_out == 0 ? ERR_NOT_FOUND : err;
}

static void add_piece(struct pieces *p, log_pos at)
{
	if (p->n == p->cap) {
		p->cap = p->cap == 0 ? 64 : p->cap * 2;
		p->v = mem_grow(p->v, p->cap, sizeof *p->v);
	}
	p->v[p->n++] = at;
}

static err_t read_end(struct commitlog_reader *reader, log_pos at, struct base_end *out)
{
	struct buf b = BUF_INIT(ROWS_PIECE_MAX);
	err_t err = commitlog_reader_load(reader, at, &b);
	if (!err && !record_get_base(buf_span(&b), out))
		err = ERR_CORRUPT;
	buf_end(&b);
	return err;
}

/* From the last piece to the first: the place of the last is in the end, and each says where the one before it is. */
static err_t follow(struct commitlog_reader *reader, log_pos end, struct pieces *out)
{
	uint8_t raw[sizeof(log_pos)];
	struct span rest;
	log_pos before = end;
	err_t err = read_end(reader, end, &out->end);
	for (log_pos pos = out->end.last; !err && pos != 0;) {
		if (pos >= before || out->n == out->end.pieces)
			return ERR_CORRUPT;
		add_piece(out, pos);
		before = pos;
		err = commitlog_reader_read(reader, pos, 0, raw, sizeof raw);
		if (!err)
			(void)record_get_base_rows(
			    span_of((const char *)raw, sizeof raw), &pos, &rest);
	}
	return !err && (out->n == 0 || out->n != out->end.pieces) ? ERR_CORRUPT : err;
}

err_t rows_check(struct commitlog_reader *reader, log_pos end)
{
	struct pieces p = { 0 };
	err_t err = follow(reader, end, &p);
	for (size_t i = 0; i < p.n && !err; i++)
		err = commitlog_reader_verify(reader, p.v[i]);
	mem_free(p.v);
	return err;
}

static err_t load_piece(struct commitlog_reader *reader, struct index_txn *t, log_pos at)
{
	struct buf b = BUF_INIT(ROWS_PIECE_MAX);
	struct span piece;
	log_pos before;
	err_t err = commitlog_reader_load(reader, at, &b);
	if (!err && !record_get_base_rows(buf_span(&b), &before, &piece))
		err = ERR_CORRUPT;
	if (!err)
		err = index_load(t, piece);
	buf_end(&b);
	return err;
}

/* p->n is how many are left. What they cover is said with the last transaction: before that the index is none. */
static err_t load_some(
    struct commitlog_reader *reader, log_pos end, struct pieces *p, struct index_writer *w)
{
	err_t err;
	struct index_txn *t = index_txn_begin(w, &err);
	if (t == NULL)
		return err;
	for (unsigned k = 0; k < LOAD_PIECES && p->n > 0 && !err; k++)
		err = load_piece(reader, t, p->v[--p->n]);
	if (!err && p->n == 0) {
		index_caches_gone(t, p->end.covered);
		index_base_store(t, &(struct index_base){ end, p->end.covered, p->end.bytes });
	}
	if (err)
		index_txn_abort(&t);
	else
		err = index_txn_commit(&t, p->n == 0 ? p->end.covered : 0);
	return err;
}

err_t rows_restore(
    struct commitlog_reader *reader, log_pos end, struct index_writer *w, log_pos *covered_out)
{
	struct pieces p = { 0 };
	err_t err = follow(reader, end, &p);
	while (!err && p.n > 0)
		err = load_some(reader, end, &p, w);
	*covered_out = p.end.covered;
	mem_free(p.v);
	return err == ERR_NOT_FOUND ? ERR_CORRUPT : err; /* a piece is gone */
}
