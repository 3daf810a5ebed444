/* recover.c - step 2: what is really on the disk? Finds the segments, scans from the last point that is
 * known to be durable, cuts what a crash left behind it, and opens the end for appending.
 *
 * A bad record is cut when nothing proves that it had been durable (then nobody was told of it). When a later
 * record says so it is damage: that is stepped over, here and by commitlog_replay(), which tells it. Whole
 * segments behind a cut are removed and their numbers never used again: a reader may still have them open. */
#include "commitlog/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rand.h"

enum { SEGMENTS_MAX = 1 << 20 };

static int by_number(const void *a, const void *b)
{
	uint32_t x = ((const struct log_segment *)a)->number;
	uint32_t y = ((const struct log_segment *)b)->number;
	return (x > y) - (x < y);
}

static struct log_segment *add_segment(struct commitlog *log, uint32_t number, uint64_t bytes)
{
	if (log->seg_n == log->seg_cap) {
		log->seg_cap = log->seg_cap == 0 ? 16 : log->seg_cap * 2;
		log->segs = mem_grow(log->segs, log->seg_cap, sizeof *log->segs);
	}
	struct log_segment *s = &log->segs[log->seg_n++];
	*s = (struct log_segment){
		.number = number, .records = COUNT_UNKNOWN, .dead = COUNT_UNKNOWN, .bytes = bytes
	};
	return s;
}

struct log_segment *log_find_segment(struct commitlog *log, uint32_t number)
{
	struct log_segment key = { .number = number };
	return bsearch(&key, log->segs, log->seg_n, sizeof key, by_number);
}

/* Bytes of the file that have no blocks: what was punched before. */
static uint64_t holes_in(const struct stat *st)
{
	uint64_t blocks = (uint64_t)st->st_blocks * 512;
	return blocks < (uint64_t)st->st_size ? (uint64_t)st->st_size - blocks : 0;
}

static err_t list_segments(struct commitlog *log)
{
	int fd = openat(log->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (d == NULL)
		return ERR_IO;
	err_t err = ERR_OK;
	struct dirent *e;
	while (!err && (e = readdir(d)) != NULL) {
		uint32_t number;
		struct stat st;
		if (!segment_name_parse(e->d_name, &number))
			continue;
		if (fstatat(log->dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			err = ERR_IO;
		else if (!S_ISREG(st.st_mode) || st.st_size > UINT32_MAX)
			err = ERR_CORRUPT;
		else if (log->seg_n == SEGMENTS_MAX)
			err = ERR_TOO_MANY;
		else
			add_segment(log, number, (uint64_t)st.st_size)->dead_bytes = holes_in(&st);
	}
	closedir(d);
	if (log->seg_n > 0)
		qsort(log->segs, log->seg_n, sizeof *log->segs, by_number);
	return err;
}

static int open_segment(struct commitlog *log, uint32_t number, int flags)
{
	char name[SEGMENT_NAME_SIZE];
	return openat(log->dir_fd, segment_name(number, name), flags | O_CLOEXEC, 0600);
}

static err_t remove_segment(struct commitlog *log, uint32_t number)
{
	char name[SEGMENT_NAME_SIZE];
	if (unlinkat(log->dir_fd, segment_name(number, name), 0) != 0 && errno != ENOENT)
		return ERR_IO;
	return ERR_OK;
}

err_t log_new_segment(struct commitlog *log, uint32_t number)
{
	uint8_t raw[SEGMENT_HEADER_BYTES];
	struct segment_header h = { number, log->salt, log->durable };
	int fd = open_segment(log, number, O_RDWR | O_CREAT | O_EXCL);
	if (fd < 0)
		return err_from_errno(errno);
	segment_header_encode(&h, raw);
	ssize_t n = pwrite(fd, raw, sizeof raw, 0);
	err_t err = n == (ssize_t)sizeof raw ? ERR_OK : ERR_NO_SPACE;
	if (n < 0)
		err = err_from_errno(errno);
	if (!err && !log->no_sync && (fdatasync(fd) != 0 || fsync(log->dir_fd) != 0))
		err = ERR_IO;
	if (err) {
		close(fd);
		(void)remove_segment(log, number);
		return err;
	}
	struct log_segment *s = add_segment(log, number, sizeof raw);
	s->records = s->dead = 0;
	log->fd = fd;
	log->end = sizeof raw;
	return ERR_OK;
}

/* Does a segment from index `i` on prove that pos had been durable? */
static bool later_proof(struct commitlog *log, size_t i, log_pos pos)
{
	bool proof = false;
	for (; i < log->seg_n && !proof; i++) {
		struct segment_header h;
		struct walk w;
		int fd = open_segment(log, log->segs[i].number, O_RDONLY);
		if (fd < 0)
			return true;
		bool damaged;
		proof = segment_header_or(fd, log->segs[i].number, log->salt, &h, &damaged) ||
			h.durable > pos;
		if (!proof && walk_init(&w, fd, &h, 0) == ERR_OK) {
			proof = walk_proves_durable(&w, SEGMENT_HEADER_BYTES, pos) || w.failed;
			walk_end(&w);
		}
		close(fd);
	}
	return proof;
}

struct scan {
	struct commitlog *log;
	size_t i; /* segment */
	struct walk w;
	struct buf payload;
	bool cut; /* the log ends at w.at */
};

/* At a record that cannot be stepped over or whose payload is wrong: the torn tail, or damage? */
static bool is_damage(struct scan *s, log_pos pos, uint64_t search_from)
{
	return pos < s->log->durable || walk_proves_durable(&s->w, search_from, pos) ||
	       later_proof(s->log, s->i + 1, pos);
}

/* Nothing may be appended behind what is damaged up to the end of the file. */
static void step_over(struct scan *s)
{
	(void)walk_skip(&s->w);
	s->log->bad_end = s->w.at == s->w.size;
}

static err_t scan_records(struct scan *s)
{
	struct record_header h;
	log_pos pos = 0;
	while (!s->w.failed) {
		uint64_t at = s->w.at;
		enum walk_result r = walk_next(&s->w, &pos, &h);
		if (r == WALK_END)
			return ERR_OK;
		if (r == WALK_IO)
			return ERR_IO;
		pos = pos_of(s->w.number, at);
		if (r == WALK_BAD) {
			s->cut = !is_damage(s, pos, at + 1) && !s->w.failed;
			if (s->cut)
				return ERR_OK;
			step_over(s);
			continue;
		}
		if (h.durable > s->log->durable)
			s->log->durable = h.durable;
		if (h.dead)
			continue;
		err_t err = walk_payload(&s->w, pos, &h, &s->payload);
		if (err == ERR_CORRUPT && !is_damage(s, pos, s->w.at) && !s->w.failed) {
			s->w.at = at;
			s->cut = true;
			return ERR_OK;
		}
		if (err && err != ERR_CORRUPT)
			return err;
	}
	return ERR_IO;
}

static err_t cut_at(struct scan *s)
{
	struct commitlog *log = s->log;
	struct log_segment *seg = &log->segs[s->i];
	int fd = open_segment(log, seg->number, O_RDWR);
	if (fd < 0)
		return err_from_errno(errno);
	err_t err = ERR_OK;
	if (ftruncate(fd, (off_t)s->w.at) != 0 || (!log->no_sync && fsync(fd) != 0))
		err = ERR_IO;
	close(fd);
	seg->bytes = s->w.at;
	if (err || s->i + 1 == log->seg_n)
		return err;
	uint32_t last = log->segs[log->seg_n - 1].number;
	while (!err && log->seg_n > s->i + 1)
		err = remove_segment(log, log->segs[--log->seg_n].number);
	if (err)
		return err;
	return log_new_segment(log, last + 1);
}

static err_t scan_segment(struct commitlog *log, size_t i, bool *cut_out)
{
	struct segment_header h;
	bool damaged;
	int fd = open_segment(log, log->segs[i].number, O_RDONLY);
	if (fd < 0)
		return err_from_errno(errno);
	struct scan s = { .log = log, .i = i, .payload = BUF_INIT(COMMITLOG_PAYLOAD_MAX) };
	err_t err = segment_header_or(fd, log->segs[i].number, log->salt, &h, &damaged);
	log->bad_end = log->segs[i].bytes < SEGMENT_HEADER_BYTES;
	if (!err && h.durable > log->durable)
		log->durable = h.durable;
	if (!err)
		err = walk_init(&s.w, fd, &h, 0);
	if (!err) {
		err = scan_records(&s);
		if (!err && s.cut)
			err = cut_at(&s);
		*cut_out = s.cut;
		walk_end(&s.w);
	}
	buf_end(&s.payload);
	close(fd);
	return err;
}

/* Writes the bytes from `from` on once more, as they are. */
static err_t write_again(struct commitlog *log, const struct log_segment *seg, uint64_t from)
{
	enum { CHUNK = 1 << 16 };
	int fd = open_segment(log, seg->number, O_RDWR);
	if (fd < 0)
		return err_from_errno(errno);
	char *chunk = mem_alloc(CHUNK);
	err_t err = ERR_OK;
	while (!err && from < seg->bytes) {
		size_t n = seg->bytes - from < CHUNK ? (size_t)(seg->bytes - from) : CHUNK;
		err = read_full(fd, chunk, n, from);
		if (!err && pwrite(fd, chunk, n, (off_t)from) != (ssize_t)n)
			err = ERR_IO;
		from += n;
	}
	if (!err && fdatasync(fd) != 0)
		err = ERR_IO;
	mem_free(chunk);
	close(fd);
	return err;
}

/* What nothing proves to be on the disk. After kill -9 it is in the page cache; after a sync that failed it may be
 * there as well, but the kernel takes it for written and would not try again. */
static err_t make_durable(struct commitlog *log)
{
	err_t err = ERR_OK;
	for (size_t i = 0; !err && i < log->seg_n; i++) {
		const struct log_segment *seg = &log->segs[i];
		bool first = seg->number == pos_segment(log->durable);
		if (first || seg->number > pos_segment(log->durable))
			err = write_again(log, seg, first ? pos_offset(log->durable) : 0);
	}
	return err;
}

/* A last segment that is no longer than a header and has no good one was being made at the crash. */
static err_t drop_unfinished(struct commitlog *log, uint32_t *next_out)
{
	while (log->seg_n > 0) {
		struct log_segment *last = &log->segs[log->seg_n - 1];
		struct segment_header h;
		int fd = open_segment(log, last->number, O_RDONLY);
		if (fd < 0)
			return err_from_errno(errno);
		err_t err = segment_header_read(fd, last->number, &h);
		close(fd);
		if (last->number >= *next_out)
			*next_out = last->number + 1;
		if (!err || last->bytes > SEGMENT_HEADER_BYTES)
			return ERR_OK;
		err = remove_segment(log, last->number);
		if (err)
			return err;
		log->seg_n--;
	}
	return ERR_OK;
}

/* What the newest good header says. Where there is none, the copy of the salt makes the records readable. */
static err_t read_headers(struct commitlog *log, struct buf *why)
{
	for (size_t i = log->seg_n; i-- > 0;) {
		struct segment_header h;
		int fd = open_segment(log, log->segs[i].number, O_RDONLY);
		if (fd < 0)
			return err_from_errno(errno);
		err_t err = segment_header_read(fd, log->segs[i].number, &h);
		close(fd);
		if (!err) {
			log->salt = h.salt;
			log->durable = h.durable;
			return ERR_OK;
		}
	}
	if (log_salt_read(log->dir_fd, &log->salt))
		return ERR_OK;
	buf_printf(why, "every segment's header is damaged, and the copy in the file lock");
	return ERR_CORRUPT;
}

/* Index of the segment that holds the newest point known durable: all before it are whole. */
static size_t first_to_scan(struct commitlog *log)
{
	size_t i = log->seg_n - 1;
	while (i > 0 && log->segs[i].number > pos_segment(log->durable))
		i--;
	return i;
}

static err_t open_end(struct commitlog *log, uint32_t next)
{
	if (log->fd >= 0)
		return ERR_OK; /* made by a cut */
	struct log_segment *last = &log->segs[log->seg_n - 1];
	if (last->number + 1 < next || log->bad_end || last->bytes % 8 != 0)
		return log_new_segment(log, next);
	log->fd = open_segment(log, last->number, O_RDWR);
	if (log->fd < 0)
		return err_from_errno(errno);
	log->end = last->bytes;
	return ERR_OK;
}

/* A precaution: a disk that has no room for it opens all the same. */
static void keep_salt(struct commitlog *log)
{
	uint64_t kept;
	if (log_salt_read(log->dir_fd, &kept) && kept == log->salt)
		return;
	if (log_salt_write(log->lock_fd, log->salt) == ERR_OK && !log->no_sync)
		(void)fdatasync(log->lock_fd);
}

err_t log_recover(struct commitlog *log, struct buf *why)
{
	uint32_t next = 1;
	bool cut = false;
	err_t err = list_segments(log);
	if (!err)
		err = drop_unfinished(log, &next);
	if (!err && log->seg_n > 0)
		err = read_headers(log, why);
	if (err)
		return err;
	if (log->seg_n == 0) {
		log->salt = rand_u64();
		err = log_new_segment(log, next);
	} else {
		for (size_t i = first_to_scan(log); !err && !cut && i < log->seg_n; i++)
			err = scan_segment(log, i, &cut);
		if (!err && !log->no_sync)
			err = make_durable(log);
		if (!err)
			err = open_end(log, next);
	}
	if (!err)
		log->durable = pos_of(log->segs[log->seg_n - 1].number, log->end);
	if (!err)
		keep_salt(log);
	return err;
}
