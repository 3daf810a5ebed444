/* reader.c - reading records by position: for other processes, and for the log's own commitlog_read().
 * Owns a bounded number of open segments; least recently used goes first. */
#include "commitlog/commitlog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "commitlog/record.h"
#include "commitlog/replay.h"

enum { READER_SEGMENTS = 32, VERIFY_CHUNK = 64 * 1024 };

struct open_segment {
	struct file_ref *file; /* owned reference; NULL = free place */
	uint32_t number;
	uint64_t salt;
	uint64_t used; /* reader's clock when last used */
};

struct commitlog_reader {
	int dir_fd; /* owned; -1 until the folder exists */
	char *dir;
	uint64_t clock;
	struct open_segment open[READER_SEGMENTS];
};

struct commitlog_reader *commitlog_reader_open(const char *dir)
{
	struct commitlog_reader *r = MEM_NEW(struct commitlog_reader);
	r->dir = mem_str(dir);
	r->dir_fd = -1;
	return r;
}

void commitlog_reader_close(struct commitlog_reader **rp)
{
	struct commitlog_reader *r = *rp;
	if (r == NULL)
		return;
	for (size_t i = 0; i < READER_SEGMENTS; i++) {
		if (r->open[i].file != NULL)
			file_ref_put(&r->open[i].file);
	}
	if (r->dir_fd >= 0)
		close(r->dir_fd);
	mem_free(r->dir);
	MEM_FREE(rp);
}

static err_t open_into(struct commitlog_reader *r, struct open_segment *o, uint32_t number)
{
	char name[SEGMENT_NAME_SIZE];
	struct segment_header h;
	if (r->dir_fd < 0)
		r->dir_fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->dir_fd < 0)
		return err_from_errno(errno);
	int fd = openat(r->dir_fd, segment_name(number, name), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	err_t err = segment_header_read(fd, number, &h);
	if (err == ERR_CORRUPT && log_salt_read(r->dir_fd, &h.salt))
		err = ERR_OK; /* the records are whole */
	if (err) {
		close(fd);
		return err;
	}
	if (o->file != NULL)
		file_ref_put(&o->file);
	o->file = file_ref_new(fd);
	o->number = number;
	o->salt = h.salt;
	return ERR_OK;
}

static err_t reader_segment(struct commitlog_reader *r, uint32_t number, struct open_segment **out)
{
	struct open_segment *oldest = &r->open[0];
	for (size_t i = 0; i < READER_SEGMENTS; i++) {
		struct open_segment *o = &r->open[i];
		if (o->file != NULL && o->number == number) {
			o->used = ++r->clock;
			*out = o;
			return ERR_OK;
		}
		if (o->file == NULL || o->used < oldest->used)
			oldest = o;
	}
	err_t err = open_into(r, oldest, number);
	if (err)
		return err;
	oldest->used = ++r->clock;
	*out = oldest;
	return ERR_OK;
}

/* ERR_NOT_FOUND: dead, or no such record. */
static err_t reader_record(
    struct commitlog_reader *r, log_pos pos, struct open_segment **seg_out, struct record_header *h)
{
	uint8_t raw[RECORD_HEADER_BYTES];
	err_t err = reader_segment(r, pos_segment(pos), seg_out);
	if (err)
		return err;
	err = read_full(file_ref_fd((*seg_out)->file), raw, sizeof raw, pos_offset(pos));
	if (err)
		return err;
	if (!record_header_decode(raw, pos, (*seg_out)->salt, h))
		return ERR_CORRUPT;
	return h->dead ? ERR_NOT_FOUND : ERR_OK;
}

err_t commitlog_reader_read(
    struct commitlog_reader *r, log_pos pos, uint64_t at, void *out, size_t n)
{
	struct open_segment *seg;
	struct record_header h;
	err_t err = reader_record(r, pos, &seg, &h);
	if (err)
		return err;
	if (at > h.length || n > h.length - at)
		return ERR_NOT_FOUND;
	return read_full(
	    file_ref_fd(seg->file), out, n, pos_offset(pos) + RECORD_HEADER_BYTES + at);
}

err_t commitlog_reader_file(struct commitlog_reader *r, log_pos pos, struct file_ref **file_out,
    uint64_t *offset_out, uint64_t *payload_bytes_out)
{
	struct open_segment *seg;
	struct record_header h;
	err_t err = reader_record(r, pos, &seg, &h);
	if (err)
		return err;
	*file_out = file_ref_get(seg->file);
	*offset_out = pos_offset(pos) + RECORD_HEADER_BYTES;
	*payload_bytes_out = h.length;
	return ERR_OK;
}

err_t commitlog_reader_load(struct commitlog_reader *r, log_pos pos, struct buf *out)
{
	struct open_segment *seg;
	struct record_header h;
	char *room;
	err_t err = reader_record(r, pos, &seg, &h);
	if (err)
		return err;
	if (buf_room(out, h.length, &room) < h.length)
		return ERR_TOO_LONG;
	err = read_full(
	    file_ref_fd(seg->file), room, h.length, pos_offset(pos) + RECORD_HEADER_BYTES);
	if (err)
		return err;
	if (hash_crc32c(0, room, h.length) != h.payload_crc)
		return ERR_CORRUPT;
	buf_added(out, h.length);
	return ERR_OK;
}

err_t commitlog_reader_verify(struct commitlog_reader *r, log_pos pos)
{
	struct open_segment *seg;
	struct record_header h;
	err_t err = reader_record(r, pos, &seg, &h);
	uint32_t crc = 0;
	char *chunk = mem_alloc(!err && h.length < VERIFY_CHUNK ? h.length : VERIFY_CHUNK);
	for (uint64_t at = 0; !err && at < h.length; at += VERIFY_CHUNK) {
		size_t n = h.length - at < VERIFY_CHUNK ? (size_t)(h.length - at) : VERIFY_CHUNK;
		err = read_full(
		    file_ref_fd(seg->file), chunk, n, pos_offset(pos) + RECORD_HEADER_BYTES + at);
		if (!err)
			crc = hash_crc32c(crc, chunk, n);
	}
	mem_free(chunk);
	if (err)
		return err;
	return crc == h.payload_crc ? ERR_OK : ERR_CORRUPT;
}

err_t commitlog_reader_size(struct commitlog_reader *r, log_pos pos, uint64_t *payload_bytes_out)
{
	struct open_segment *seg;
	struct record_header h;
	err_t err = reader_record(r, pos, &seg, &h);
	if (!err)
		*payload_bytes_out = h.length;
	return err;
}

/* ---- one after the other -------------------------------------------------------------------------------- */

struct numbers {
	uint32_t *v; /* owned */
	size_t n, cap;
};

static int by_number(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* The segments that are there now, ascending. */
static err_t list_segments(struct commitlog_reader *r, struct numbers *out)
{
	DIR *d = opendir(r->dir);
	struct dirent *e;
	uint32_t number;
	if (d == NULL)
		return err_from_errno(errno);
	while ((e = readdir(d)) != NULL) {
		if (!segment_name_parse(e->d_name, &number))
			continue;
		if (out->n == out->cap) {
			out->cap = out->cap == 0 ? 64 : out->cap * 2;
			out->v = mem_grow(out->v, out->cap, sizeof *out->v);
		}
		out->v[out->n++] = number;
	}
	closedir(d);
	if (out->n > 0)
		qsort(out->v, out->n, sizeof *out->v, by_number);
	return ERR_OK;
}

static err_t replay_number(
    struct commitlog_reader *r, uint32_t number, uint64_t from, struct replay *out)
{
	struct open_segment *seg;
	struct walk w;
	err_t err = reader_segment(r, number, &seg);
	if (err == ERR_NOT_FOUND) /* gone meanwhile: nobody needed it */
		return ERR_OK;
	struct segment_header h = { .number = number };
	if (!err) {
		h.salt = seg->salt;
		err = walk_init(&w, file_ref_fd(seg->file), &h, from);
	}
	if (err)
		return err;
	err = replay_walk(out, &w);
	walk_end(&w);
	return err;
}

err_t commitlog_reader_replay(struct commitlog_reader *r, log_pos from, log_pos to,
    bool (*fn)(void *arg, const struct log_record *), void *arg)
{
	struct replay out = { .fn = fn, .arg = arg, .to = to };
	struct numbers list = { 0 };
	out.payload = BUF_INIT(COMMITLOG_PAYLOAD_MAX);
	err_t err = list_segments(r, &list);
	for (size_t i = 0; !err && !out.stopped && i < list.n; i++) {
		uint32_t number = list.v[i];
		if (number >= pos_segment(from))
			err = replay_number(
			    r, number, number == pos_segment(from) ? pos_offset(from) : 0, &out);
	}
	mem_free(list.v);
	buf_end(&out.payload);
	return err;
}
