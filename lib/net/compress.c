/* compress.c - raw DEFLATE both ways; see compress.h.
 *
 * Beside stream.c (reading) and stream_out.c (writing). Owns zlib's two states while they are in use, raw input that
 * waits, and the peer's history while its state is not there. */
#include "net/compress.h"

#include <zlib.h>

#include "base/check.h"
#include "base/mem.h"

enum {
	RAW_MIN = 64 * 1024,
	HISTORY_MAX = 32 * 1024,
	OUT_WINDOW_BITS = 13, /* and this level of memory: 64 KiB while a burst lasts */
	OUT_MEMORY = 6,
	IN_WINDOW_BITS = 15,
	BETWEEN_BLOCKS = 128,
	BITS_LEFT = 7 /* of data_type */
};

struct compress {
	z_stream *out, *in; /* owned; NULL at rest */
	struct buf raw;     /* owned: not unpacked yet */
	struct buf history; /* owned: while in is NULL */
	bool more;          /* the last unpacking filled its room: there may be more inside */
};

static void *on_alloc(void *arg, unsigned count, unsigned size)
{
	return mem_array(count, size);
}

static void on_free(void *arg, void *p)
{
	mem_free(p);
}

static z_stream *new_state(void)
{
	z_stream *z = MEM_NEW(z_stream);
	z->zalloc = on_alloc;
	z->zfree = on_free;
	return z;
}

struct compress *compress_new(size_t input_max)
{
	struct compress *c = MEM_NEW(struct compress);
	c->raw = BUF_INIT(input_max > RAW_MIN ? input_max : RAW_MIN);
	c->history = BUF_INIT(HISTORY_MAX);
	return c;
}

static void end_out(struct compress *c)
{
	if (c->out == NULL)
		return;
	(void)deflateEnd(c->out);
	MEM_FREE(&c->out);
}

static void end_in(struct compress *c)
{
	if (c->in == NULL)
		return;
	(void)inflateEnd(c->in);
	MEM_FREE(&c->in);
}

void compress_free(struct compress **cp)
{
	struct compress *c = *cp;
	if (c == NULL)
		return;
	end_out(c);
	end_in(c);
	buf_end(&c->raw);
	buf_end(&c->history);
	MEM_FREE(cp);
}

/* ---- output ---- */

static void begin_out(struct compress *c)
{
	if (c->out != NULL)
		return;
	c->out = new_state();
	CHECK(deflateInit2(c->out, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -OUT_WINDOW_BITS, OUT_MEMORY,
		  Z_DEFAULT_STRATEGY) == Z_OK);
}

/* The next burst begins with no history, so it is right for whatever the peer remembers. */
void compress_pack(struct compress *c, struct span in, bool flush, struct buf *out)
{
	begin_out(c);
	c->out->next_in = (Bytef *)(uintptr_t)in.p;
	c->out->avail_in = (uInt)in.n;
	do {
		char *room;
		size_t n = buf_room(out, in.n / 2 + 256, &room);
		CHECK(n > 0);
		c->out->next_out = (Bytef *)room;
		c->out->avail_out = (uInt)n;
		int r = deflate(c->out, flush ? Z_SYNC_FLUSH : Z_NO_FLUSH);
		CHECK(r == Z_OK || r == Z_BUF_ERROR);
		buf_added(out, n - c->out->avail_out);
	} while (c->out->avail_out == 0);
	if (flush)
		end_out(c);
}

/* ---- input ---- */

void compress_take(struct compress *c, struct span raw)
{
	CHECK(buf_add_span(&c->raw, raw));
}

bool compress_has_pending(const struct compress *c)
{
	return buf_len(&c->raw) > 0 || c->more;
}

static void begin_in(struct compress *c)
{
	if (c->in != NULL)
		return;
	struct span history = buf_span(&c->history);
	c->in = new_state();
	CHECK(inflateInit2(c->in, -IN_WINDOW_BITS) == Z_OK);
	if (history.n > 0)
		CHECK(
		    inflateSetDictionary(c->in, (const Bytef *)history.p, (uInt)history.n) == Z_OK);
	buf_end(&c->history);
}

/* Between two blocks, at a whole byte, all that counts of the state is what was unpacked last. */
static void rest_in(struct compress *c)
{
	char *room;
	uInt n = HISTORY_MAX;
	if (c->more || c->in->avail_in > 0 || (c->in->data_type & BETWEEN_BLOCKS) == 0 ||
	    (c->in->data_type & BITS_LEFT) != 0)
		return;
	CHECK(inflateGetDictionary(c->in, NULL, &n) == Z_OK);
	if (n > 0) {
		CHECK(buf_room(&c->history, n, &room) == n);
		CHECK(inflateGetDictionary(c->in, (Bytef *)room, &n) == Z_OK);
		buf_added(&c->history, n);
	}
	end_in(c);
}

bool compress_unpack(struct compress *c, char *out, size_t n, size_t *got_out)
{
	struct span raw = buf_span(&c->raw);
	begin_in(c);
	c->in->next_in = (Bytef *)(uintptr_t)raw.p;
	c->in->avail_in = (uInt)raw.n;
	c->in->next_out = (Bytef *)out;
	c->in->avail_out = (uInt)n;
	int r = inflate(c->in, Z_SYNC_FLUSH);
	*got_out = n - c->in->avail_out;
	c->more = c->in->avail_out == 0;
	if (r != Z_OK && r != Z_BUF_ERROR)
		return false;
	buf_eat(&c->raw, raw.n - c->in->avail_in);
	buf_shrink(&c->raw);
	rest_in(c);
	return true;
}
