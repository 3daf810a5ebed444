/* record.c - encoding, decoding and walking of records on disk; step 1, everything else stands on it.
 * Owns nothing but a walk's window. */
#include "commitlog/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"

static const char SEGMENT_MAGIC[4] = { 'P', 'S', 'e', 'g' };
static const char RECORD_MAGIC[4] = { 'P', 'R', 'e', 'c' };
enum { SEGMENT_VERSION = 1 };

static void put_u32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void put_u64(uint8_t *p, uint64_t v)
{
	put_u32(p, (uint32_t)v);
	put_u32(p + 4, (uint32_t)(v >> 32));
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get_u64(const uint8_t *p)
{
	return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_BYTES])
{
	memcpy(out, SEGMENT_MAGIC, 4);
	put_u32(out + 4, h->number);
	put_u64(out + 8, h->salt);
	put_u64(out + 16, h->durable);
	put_u32(out + 24, SEGMENT_VERSION);
	put_u32(out + 28, hash_crc32c(0, out, 28));
}

bool segment_header_decode(const uint8_t raw[SEGMENT_HEADER_BYTES], struct segment_header *out)
{
	if (memcmp(raw, SEGMENT_MAGIC, 4) != 0 || get_u32(raw + 24) != SEGMENT_VERSION ||
	    get_u32(raw + 28) != hash_crc32c(0, raw, 28))
		return false;
	out->number = get_u32(raw + 4);
	out->salt = get_u64(raw + 8);
	out->durable = get_u64(raw + 16);
	return true;
}

err_t segment_header_read(int fd, uint32_t number, struct segment_header *out)
{
	uint8_t raw[SEGMENT_HEADER_BYTES];
	err_t err = read_full(fd, raw, sizeof raw, 0);
	if (err)
		return err;
	if (!segment_header_decode(raw, out) || out->number != number)
		return ERR_CORRUPT;
	return ERR_OK;
}

err_t segment_header_or(
    int fd, uint32_t number, uint64_t salt, struct segment_header *out, bool *damaged_out)
{
	err_t err = segment_header_read(fd, number, out);
	*damaged_out = err == ERR_CORRUPT || err == ERR_NOT_FOUND;
	if (!*damaged_out)
		return err;
	*out = (struct segment_header){ .number = number, .salt = salt };
	return ERR_OK;
}

bool log_salt_read(int dir_fd, uint64_t *salt_out)
{
	char text[SALT_TEXT_BYTES];
	uint64_t salt = 0;
	int fd = openat(dir_fd, "lock", O_RDONLY | O_CLOEXEC);
	err_t err = fd < 0 ? ERR_IO : read_full(fd, text, sizeof text, 0);
	if (fd >= 0)
		close(fd);
	if (err || text[SALT_TEXT_BYTES - 1] != '\n')
		return false;
	for (int i = 0; i < SALT_TEXT_BYTES - 1; i++) {
		int digit = ascii_hex(text[i]);
		if (digit < 0)
			return false;
		salt = salt << 4 | (uint64_t)digit;
	}
	*salt_out = salt;
	return true;
}

err_t log_salt_write(int lock_fd, uint64_t salt)
{
	char text[SALT_TEXT_BYTES + 1];
	snprintf(text, sizeof text, "%016" PRIx64 "\n", salt);
	ssize_t n = pwrite(lock_fd, text, SALT_TEXT_BYTES, 0);
	if (n < 0)
		return err_from_errno(errno);
	return n == SALT_TEXT_BYTES ? ERR_OK : ERR_NO_SPACE;
}

const char *segment_name(uint32_t number, char out[SEGMENT_NAME_SIZE])
{
	snprintf(out, SEGMENT_NAME_SIZE, "%08x.seg", number);
	return out;
}

bool segment_name_parse(const char *name, uint32_t *number_out)
{
	uint32_t n = 0;
	if (strlen(name) != 12 || strcmp(name + 8, ".seg") != 0)
		return false;
	for (int i = 0; i < 8; i++) {
		char c = name[i];
		if (ascii_is_digit((unsigned char)c))
			n = n << 4 | (uint32_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			n = n << 4 | (uint32_t)(c - 'a' + 10);
		else
			return false;
	}
	*number_out = n;
	return n > 0;
}

static uint32_t header_crc(const uint8_t *raw, log_pos at, uint64_t salt)
{
	uint8_t place[16];
	put_u64(place, salt);
	put_u64(place + 8, at);
	return hash_crc32c(hash_crc32c(0, place, sizeof place), raw, 24);
}

void record_header_encode(
    const struct record_header *h, log_pos at, uint64_t salt, uint8_t out[RECORD_HEADER_BYTES])
{
	memcpy(out, RECORD_MAGIC, 4);
	put_u32(out + 4, h->length);
	put_u32(out + 8, h->type);
	put_u32(out + 12, h->payload_crc);
	put_u64(out + 16, h->durable);
	put_u32(out + 24, header_crc(out, at, salt));
	put_u32(out + RECORD_STATE_AT, h->dead ? RECORD_STATE_DEAD : RECORD_STATE_LIVE);
}

bool record_header_decode(
    const uint8_t raw[RECORD_HEADER_BYTES], log_pos at, uint64_t salt, struct record_header *out)
{
	if (memcmp(raw, RECORD_MAGIC, 4) != 0 || get_u32(raw + 24) != header_crc(raw, at, salt))
		return false;
	out->length = get_u32(raw + 4);
	out->type = get_u32(raw + 8);
	out->payload_crc = get_u32(raw + 12);
	out->durable = get_u64(raw + 16);
	out->dead = get_u32(raw + RECORD_STATE_AT) == RECORD_STATE_DEAD;
	return out->length <= COMMITLOG_PAYLOAD_MAX && out->type != 0;
}

err_t read_full(int fd, void *out, size_t n, uint64_t at)
{
	char *p = out;
	while (n > 0) {
		ssize_t got = pread(fd, p, n, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return ERR_IO;
		if (got == 0)
			return ERR_NOT_FOUND;
		p += got;
		at += (uint64_t)got;
		n -= (size_t)got;
	}
	return ERR_OK;
}

err_t walk_init(struct walk *w, int fd, const struct segment_header *h, uint64_t from)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return ERR_IO;
	*w = (struct walk){
		.fd = fd,
		.number = h->number,
		.salt = h->salt,
		.size = (uint64_t)st.st_size,
		.at = from < SEGMENT_HEADER_BYTES ? SEGMENT_HEADER_BYTES : from,
		.window = mem_alloc(WALK_WINDOW),
	};
	return ERR_OK;
}

void walk_end(struct walk *w)
{
	MEM_FREE(&w->window);
}

/* Makes the window hold the n bytes at `at`, which are below w->size. */
static err_t walk_fill(struct walk *w, uint64_t at, size_t n)
{
	if (at >= w->window_at && at + n <= w->window_at + w->window_n)
		return ERR_OK;
	uint64_t left = w->size - at;
	w->window_n = left < WALK_WINDOW ? (size_t)left : WALK_WINDOW;
	w->window_at = at;
	err_t err = read_full(w->fd, w->window, w->window_n, at);
	if (err)
		w->window_n = 0;
	return err;
}

/* The 32 bytes at w->at, through the window. */
static err_t walk_load(struct walk *w, uint64_t at, const uint8_t **out)
{
	err_t err = walk_fill(w, at, RECORD_HEADER_BYTES);
	w->failed = w->failed || err;
	*out = w->window + (at - w->window_at);
	return err;
}

enum walk_result walk_next(struct walk *w, log_pos *pos_out, struct record_header *out)
{
	const uint8_t *raw;
	if (w->at >= w->size)
		return WALK_END;
	if (w->size - w->at < RECORD_HEADER_BYTES)
		return WALK_BAD;
	if (walk_load(w, w->at, &raw) != ERR_OK)
		return WALK_IO;
	*pos_out = pos_of(w->number, w->at);
	if (!record_header_decode(raw, *pos_out, w->salt, out) ||
	    record_bytes(out->length) > w->size - w->at)
		return WALK_BAD;
	w->at += record_bytes(out->length);
	return WALK_RECORD;
}

err_t walk_payload(struct walk *w, log_pos pos, const struct record_header *h, struct buf *out)
{
	char *room;
	buf_clear(out);
	if (h->length == 0)
		return h->payload_crc == 0 ? ERR_OK : ERR_CORRUPT;
	if (buf_room(out, h->length, &room) < h->length)
		return ERR_TOO_LONG;
	uint64_t at = pos_offset(pos) + RECORD_HEADER_BYTES;
	err_t err = ERR_OK;
	/* Small records are in the window already, or will be with those that follow. */
	if (h->length <= WALK_WINDOW / 4)
		err = walk_fill(w, at, h->length);
	else
		err = read_full(w->fd, room, h->length, at);
	if (err)
		return err;
	if (h->length <= WALK_WINDOW / 4)
		memcpy(room, w->window + (at - w->window_at), h->length);
	buf_added(out, h->length);
	return hash_crc32c(0, room, h->length) == h->payload_crc ? ERR_OK : ERR_CORRUPT;
}

/* The next whole header at *at or behind it, every 8 bytes; false: there is none. */
static bool find_header(struct walk *w, uint64_t *at, struct record_header *out)
{
	const uint8_t *raw;
	for (*at = (*at + 7) & ~(uint64_t)7;
	     *at + RECORD_HEADER_BYTES <= w->size && walk_load(w, *at, &raw) == ERR_OK; *at += 8)
		if (record_header_decode(raw, pos_of(w->number, *at), w->salt, out))
			return true;
	return false;
}

uint64_t walk_skip(struct walk *w)
{
	struct record_header h;
	uint64_t from = w->at, at = from + 1;
	while (find_header(w, &at, &h) && record_bytes(h.length) > w->size - at)
		at += 8;
	w->at = at + RECORD_HEADER_BYTES <= w->size ? at : w->size;
	return w->at - from;
}

bool walk_proves_durable(struct walk *w, uint64_t from, log_pos pos)
{
	struct record_header h;
	for (uint64_t at = from; find_header(w, &at, &h); at += 8)
		if (h.durable > pos)
			return true;
	return false;
}
