/* body.c - the content of one message: in memory up to a bound, then in an unlinked file.
 *
 * Its bytes are, in this order: head (what was put in front), file (what overflowed), tail (what came
 * last), without the first `skip` of file and tail: head has replaced them. While everything fits, there is no file. The file has no name, so a crash leaves nothing. */
#include "edge/body.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"

enum {
	READ_MAX = 1024 * 1024, /* one body_read() */
	DIR_PATH_MAX = 4096,
};

struct body {
	struct buf head; /* owned */
	int fd;          /* owned; -1: no file */
	uint64_t file_size;
	uint64_t skip;   /* bytes of file and tail that are no longer part of it */
	struct buf tail; /* owned; at most memory_max */
	struct buf lent; /* owned; bytes of a read that are in several places or in the file */
	size_t memory_max;
	uint64_t size_max; /* of file and tail */
	char *dir;         /* owned */
};

struct body *body_new(size_t memory_max, uint64_t size_max, const char *dir)
{
	struct body *b = MEM_NEW(struct body);
	b->head = BUF_INIT(BODY_HEAD_MAX);
	b->tail = BUF_INIT(memory_max);
	b->lent = BUF_INIT(READ_MAX);
	b->fd = -1;
	b->memory_max = memory_max;
	b->size_max = size_max;
	b->dir = mem_str(dir);
	return b;
}

void body_free(struct body **b)
{
	struct body *gone = *b;
	if (gone == NULL)
		return;
	buf_end(&gone->head);
	buf_end(&gone->tail);
	buf_end(&gone->lent);
	if (gone->fd >= 0)
		close(gone->fd);
	mem_free(gone->dir);
	MEM_FREE(b);
}

/* Not every file system knows O_TMPFILE. */
static int open_named_and_unlink(const char *dir)
{
	struct buf path = BUF_INIT(DIR_PATH_MAX);
	int fd = -1;
	if (buf_printf(&path, "%s/postern-XXXXXX", dir)) {
		char *name = mem_str(buf_cstr(&path));
		fd = mkostemp(name, O_CLOEXEC);
		if (fd >= 0)
			unlink(name);
		mem_free(name);
	} else {
		errno = ENAMETOOLONG;
	}
	buf_end(&path);
	return fd;
}

int body_file(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
		fd = open_named_and_unlink(dir);
	return fd;
}

static err_t open_file(struct body *b)
{
	b->fd = body_file(b->dir);
	return b->fd < 0 ? err_from_errno(errno) : ERR_OK;
}

static err_t write_all(struct body *b, struct span bytes)
{
	while (bytes.n > 0) {
		ssize_t n = pwrite(b->fd, bytes.p, bytes.n, (off_t)b->file_size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? err_from_errno(errno) : ERR_NO_SPACE;
		b->file_size += (uint64_t)n;
		bytes = span_from(bytes, (size_t)n);
	}
	return ERR_OK;
}

static err_t spill(struct body *b, struct span more)
{
	err_t err = b->fd < 0 ? open_file(b) : ERR_OK;
	if (err)
		return err;
	err = write_all(b, buf_span(&b->tail));
	if (err)
		return err;
	buf_clear(&b->tail);
	return more.n > b->memory_max ? write_all(b, more) : ERR_OK;
}

err_t body_add(struct body *b, struct span bytes)
{
	uint64_t have = b->file_size + buf_len(&b->tail);
	if (bytes.n > b->size_max || have > b->size_max - bytes.n)
		return ERR_TOO_LONG;
	if (buf_len(&b->tail) + bytes.n > b->memory_max) {
		err_t err = spill(b, bytes);
		if (err || bytes.n > b->memory_max)
			return err;
	}
	CHECK(buf_add_span(&b->tail, bytes));
	return ERR_OK;
}

err_t body_set_head(struct body *b, uint64_t drop, struct span head)
{
	uint64_t size = body_size(b), old = buf_len(&b->head);
	if (drop > size)
		drop = size;
	struct span kept = span_from(buf_span(&b->head), drop < old ? (size_t)drop : (size_t)old);
	if (head.n > BODY_HEAD_MAX - kept.n)
		return ERR_TOO_LONG;
	struct buf joined = BUF_INIT(BODY_HEAD_MAX);
	buf_add_span(&joined, head);
	buf_add_span(&joined, kept);
	CHECK(buf_ok(&joined));
	b->skip += drop > old ? drop - old : 0;
	buf_end(&b->head);
	b->head = joined;
	return ERR_OK;
}

err_t body_prepend(struct body *b, struct span header_lines)
{
	return body_set_head(b, 0, header_lines);
}

uint64_t body_size(const struct body *b)
{
	return buf_len(&b->head) + b->file_size + buf_len(&b->tail) - b->skip;
}

/* Appends n bytes of the file at `at` to lent. */
static err_t lend_file(struct body *b, uint64_t at, size_t n)
{
	while (n > 0) {
		char *to = NULL;
		size_t room = buf_room(&b->lent, n, &to);
		CHECK(room > 0);
		ssize_t got = pread(b->fd, to, room < n ? room : n, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? err_from_errno(errno) : ERR_CORRUPT;
		buf_added(&b->lent, (size_t)got);
		at += (uint64_t)got;
		n -= (size_t)got;
	}
	return ERR_OK;
}

static size_t part(uint64_t at, size_t n, uint64_t part_size)
{
	if (at >= part_size)
		return 0;
	return part_size - at < n ? (size_t)(part_size - at) : n;
}

/* The bytes [at, at+n) out of the three places, joined in lent. */
static struct span lend(struct body *b, uint64_t at, size_t n, err_t *err_out)
{
	buf_clear(&b->lent);
	size_t head = buf_len(&b->head);
	size_t k = part(at, n, head);
	buf_add_span(&b->lent, span_first(span_from(buf_span(&b->head), (size_t)at), k));
	at += k;
	n -= k;
	uint64_t in_file = at - head + b->skip;
	k = n == 0 ? 0 : part(in_file, n, b->file_size);
	*err_out = lend_file(b, in_file, k);
	if (*err_out)
		return SPAN_NONE;
	n -= k;
	if (n > 0)
		buf_add_span(&b->lent,
		    span_first(
			span_from(buf_span(&b->tail), (size_t)(in_file + k - b->file_size)), n));
	CHECK(buf_ok(&b->lent));
	return buf_span(&b->lent);
}

struct span body_read(struct body *b, uint64_t at, size_t n, err_t *err_out)
{
	uint64_t size = body_size(b), head = buf_len(&b->head);
	*err_out = ERR_OK;
	if (at >= size)
		return SPAN_NONE;
	if (n > READ_MAX)
		n = READ_MAX;
	if (n > size - at)
		n = (size_t)(size - at);
	if (at + n <= head)
		return span_first(span_from(buf_span(&b->head), (size_t)at), n);
	if (at >= head && at - head + b->skip >= b->file_size)
		return span_first(
		    span_from(buf_span(&b->tail), (size_t)(at - head + b->skip - b->file_size)), n);
	return lend(b, at, n, err_out);
}
