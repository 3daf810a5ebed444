/* gzip.c - one call of zlib. Owns its state during the call. */
#include "net/gzip.h"

#include <limits.h>
#include <zlib.h>

#include "base/check.h"
#include "base/mem.h"

enum { WINDOW_GZIP = 15 + 16, MEMORY_LEVEL = 8 };

bool gzip_pack(struct span in, struct buf *out)
{
	z_stream z = { 0 };
	if (in.n > UINT_MAX / 2)
		return false;
	CHECK(deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_GZIP, MEMORY_LEVEL,
		  Z_DEFAULT_STRATEGY) == Z_OK);
	uLong most = deflateBound(&z, (uLong)in.n);
	unsigned char *packed = mem_alloc(most);
	z.next_in = (unsigned char *)(uintptr_t)in.p;
	z.avail_in = (uInt)in.n;
	z.next_out = packed;
	z.avail_out = (uInt)most;
	CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
	bool fits = buf_add(out, packed, z.total_out);
	deflateEnd(&z);
	mem_free(packed);
	return fits;
}
