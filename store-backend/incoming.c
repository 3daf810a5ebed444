/* incoming.c - a message while it arrives; see incoming.h.
 *
 * Before: lmtp/ and imap/ hand over bytes. After: operation_ask() takes the source. Owns the memory, the
 * unnamed temporary file and its mapping. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/fd.h"
#include "base/mem.h"
#include "store-backend/incoming.h"
#include "store-backend/parse.h"

enum { CACHES_MAX = 3 * 1024 * 1024 };

struct incoming {
	size_t memory_max;
	uint64_t size_max, size;
	char *temp_dir;        /* owned */
	struct buf memory;     /* until the message is larger */
	struct file_ref *file; /* then this, owned; else NULL */
	void *map;             /* of the file while it is a source; NULL: none */
	struct buf cache;
	bool cr, has_nul; /* of incoming_add_text(): a CR waits for its LF */
	err_t err;        /* the first one */
};

struct incoming *incoming_new(size_t memory_max, uint64_t size_max, const char *temp_dir)
{
	struct incoming *in = MEM_NEW(struct incoming);
	in->memory_max = memory_max;
	in->size_max = size_max < UINT32_MAX ? size_max : UINT32_MAX;
	in->temp_dir = mem_str(temp_dir);
	in->memory = BUF_INIT(memory_max);
	in->cache = BUF_INIT(STORE_CACHE_MAX);
	return in;
}

static void unmap(struct incoming *in)
{
	if (in->map != NULL)
		CHECK(munmap(in->map, (size_t)in->size) == 0);
	in->map = NULL;
}

static void drop_bytes(struct incoming *in)
{
	unmap(in);
	buf_end(&in->memory);
	file_ref_put(&in->file);
}

void incoming_free(struct incoming **inp)
{
	struct incoming *in = *inp;
	if (in == NULL)
		return;
	drop_bytes(in);
	buf_end(&in->cache);
	mem_free(in->temp_dir);
	MEM_FREE(inp);
}

static err_t fail(struct incoming *in, err_t err)
{
	in->err = err;
	drop_bytes(in);
	return err;
}

/* The message has outgrown the memory: what is there goes first. */
static err_t move_to_file(struct incoming *in)
{
	int fd = open(in->temp_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	in->file = file_ref_new(fd);
	err_t err = fd_write_all(fd, buf_span(&in->memory));
	buf_end(&in->memory);
	return err;
}

err_t incoming_add(struct incoming *in, struct span bytes)
{
	if (in->err)
		return in->err;
	if (bytes.n > in->size_max - in->size)
		return fail(in, ERR_TOO_LONG);
	in->size += bytes.n;
	if (in->file == NULL && in->size > in->memory_max) {
		err_t err = move_to_file(in);
		if (err)
			return fail(in, err);
	}
	if (in->file == NULL) {
		CHECK(buf_add_span(&in->memory, bytes));
		return ERR_OK;
	}
	err_t err = fd_write_all(file_ref_fd(in->file), bytes);
	return err ? fail(in, err) : ERR_OK;
}

/* ---- line ends ----------------------------------------------------------------------------------- */

static bool is_plain(char c)
{
	return c != '\r' && c != '\n' && c != '\0';
}

/* One byte that is not as a store has it: a line end in pieces, or NUL, which is left out. Answers
 * how many bytes are done with. */
static size_t add_odd(struct incoming *in, struct span bytes)
{
	bool was_cr = in->cr;
	in->cr = !was_cr && bytes.p[0] == '\r';
	if (was_cr || bytes.p[0] == '\n')
		incoming_add(in, SPAN("\r\n"));
	if (was_cr)
		return bytes.p[0] == '\n' ? 1 : 0;
	in->has_nul = in->has_nul || bytes.p[0] == '\0';
	return 1;
}

/* The longest front of bytes that holds only CRLF line ends and is as it should be already. */
static size_t clean_length(struct span bytes)
{
	size_t n = 0;
	while (n < bytes.n) {
		if (is_plain(bytes.p[n]))
			n++;
		else if (bytes.p[n] == '\r' && n + 1 < bytes.n && bytes.p[n + 1] == '\n')
			n += 2;
		else
			break;
	}
	return n;
}

err_t incoming_add_text(struct incoming *in, struct span bytes)
{
	while (bytes.n > 0 && !in->err) {
		size_t n = in->cr ? 0 : clean_length(bytes);
		if (n > 0)
			incoming_add(in, span_first(bytes, n));
		else
			n = add_odd(in, bytes);
		bytes = span_from(bytes, n);
	}
	return in->err;
}

err_t incoming_add_end(struct incoming *in)
{
	if (in->cr)
		incoming_add(in, SPAN("\r\n"));
	in->cr = false;
	return in->err;
}

uint64_t incoming_size(const struct incoming *in)
{
	return in->size;
}

bool incoming_has_nul(const struct incoming *in)
{
	return in->has_nul;
}

err_t incoming_err(const struct incoming *in)
{
	return in->err;
}

/* The bytes, in memory until unmap(). */
static err_t map_message(struct incoming *in, struct span *out)
{
	*out = buf_span(&in->memory);
	if (in->err || in->file == NULL)
		return in->err;
	if (in->map == NULL) {
		/* the file has no name and one user, so it cannot shrink below the mapping */
		void *map =
		    mmap(NULL, (size_t)in->size, PROT_READ, MAP_PRIVATE, file_ref_fd(in->file), 0);
		if (map == MAP_FAILED)
			return fail(in, err_from_errno(errno));
		in->map = map;
	}
	*out = span_of(in->map, (size_t)in->size);
	return ERR_OK;
}

static void fill_source(struct incoming *in, struct message_source *out)
{
	unmap(in);
	out->bytes = in->file == NULL ? buf_span(&in->memory) : SPAN_NONE;
	out->file = in->file;
}

err_t incoming_source(struct incoming *in, struct message_source *out)
{
	struct span message;
	*out = (struct message_source){ .size = in->size };
	err_t err = map_message(in, &message);
	if (err)
		return err;
	buf_clear(&in->cache);
	parse_message(message, &in->cache);
	fill_source(in, out);
	out->cache = buf_span(&in->cache);
	return ERR_OK;
}

/* What has no room goes without: it is parsed when it is read. */
static size_t parse_one(struct incoming *in, struct span message)
{
	size_t before = buf_len(&in->cache);
	if (before + STORE_CACHE_MAX > CACHES_MAX)
		return 0;
	parse_message(message, &in->cache);
	return buf_len(&in->cache) - before;
}

err_t incoming_sources(struct incoming *in, const uint64_t *sizes, size_t n,
    struct message_source *out, struct span *caches_out)
{
	struct span rest, caches;
	*out = (struct message_source){ .size = in->size };
	err_t err = map_message(in, &rest);
	if (err)
		return err;
	buf_end(&in->cache);
	in->cache = BUF_INIT(CACHES_MAX);
	for (size_t i = 0; i < n; i++) {
		caches_out[i].n = parse_one(in, span_first(rest, (size_t)sizes[i]));
		rest = span_from(rest, (size_t)sizes[i]);
	}
	caches = buf_span(&in->cache);
	for (size_t i = 0; i < n; i++) {
		size_t length = caches_out[i].n;
		caches_out[i] = span_first(caches, length);
		caches = span_from(caches, length);
	}
	fill_source(in, out);
	return ERR_OK;
}
