/* milter_health.c - which filter addresses did not answer lately, for all sessions of a worker.
 *
 * Owns a small table. An address is in it only while it is left alone, or until it has answered. */
#include "edge/milter.h"

#include "base/map.h"
#include "base/mem.h"

enum { ADDRESSES_MAX = 1024, KEY_MAX = 512 };

struct milter_health {
	struct map *dead; /* address -> until when, as a number in the pointer */
};

struct milter_health *milter_health_new(void)
{
	struct milter_health *h = MEM_NEW(struct milter_health);
	h->dead = map_new(ADDRESSES_MAX);
	return h;
}

void milter_health_free(struct milter_health **h)
{
	if (*h == NULL)
		return;
	map_free(&(*h)->dead);
	MEM_FREE(h);
}

static struct span key_of(const struct conf_hostport *at, struct buf *key)
{
	buf_printf(key, "%u %s", at->port, at->host);
	return buf_span(key);
}

static bool is_ok(const struct milter_health *h, const struct conf_hostport *at, uint64_t now_ms)
{
	struct buf key = BUF_INIT(KEY_MAX);
	bool ok = (uintptr_t)map_get(h->dead, key_of(at, &key)) <= now_ms;
	buf_end(&key);
	return ok;
}

size_t milter_health_next(
    const struct milter_health *h, const struct conf_hostports *at, size_t from, uint64_t now_ms)
{
	while (from < at->n && !is_ok(h, &at->v[from], now_ms))
		from++;
	return from;
}

void milter_health_bad(struct milter_health *h, const struct conf_hostport *at, uint64_t until_ms)
{
	struct buf key = BUF_INIT(KEY_MAX);
	if (until_ms > 0)
		map_set(h->dead, key_of(at, &key), (void *)(uintptr_t)until_ms, NULL);
	buf_end(&key);
}

void milter_health_good(struct milter_health *h, const struct conf_hostport *at)
{
	struct buf key = BUF_INIT(KEY_MAX);
	map_remove(h->dead, key_of(at, &key));
	buf_end(&key);
}
