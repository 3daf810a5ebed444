/* standing.c - orders that outlast a process; see standing.h. Owns them. */
#include "daemon/standing.h"

#include <inttypes.h>

#include "base/check.h"
#include "base/mem.h"

struct kept {
	char *word, *kind, *value; /* owned; word NULL: a free place */
	uint64_t until_ms;
};

struct standing {
	struct kept kept[STANDING_MAX];
};

static void kept_end(struct kept *k)
{
	MEM_FREE(&k->word);
	MEM_FREE(&k->kind);
	MEM_FREE(&k->value);
}

static bool is_of(const struct kept *k, const struct standing_order *order)
{
	return k->word != NULL && span_eq_str(span_str(order->word), k->word) &&
	       span_eq_str(span_str(order->kind), k->kind) &&
	       span_ieq_str(span_str(order->value), k->value);
}

/* The one of this order, else a place that is free or whose time is over; NULL: there is none. */
static struct kept *place_for(
    struct standing *s, const struct standing_order *order, uint64_t now_ms)
{
	struct kept *place = NULL;
	for (size_t i = 0; i < STANDING_MAX; i++) {
		struct kept *k = &s->kept[i];
		if (is_of(k, order))
			return k;
		if (place == NULL && (k->word == NULL || k->until_ms <= now_ms))
			place = k;
	}
	return place;
}

void standing_note(struct standing *s, const struct standing_order *order, uint64_t now_ms)
{
	struct kept *k = place_for(s, order, now_ms);
	if (k == NULL || (order->seconds == 0 && !is_of(k, order)))
		return;
	kept_end(k);
	if (order->seconds == 0)
		return;
	k->word = mem_str(order->word);
	k->kind = mem_str(order->kind);
	k->value = mem_str(order->value);
	k->until_ms = now_ms + order->seconds * 1000;
}

bool standing_pack(const struct standing *s, uint64_t now_ms, struct buf *out)
{
	for (size_t i = 0; i < STANDING_MAX; i++) {
		const struct kept *k = &s->kept[i];
		if (k->word == NULL || k->until_ms <= now_ms)
			continue;
		buf_printf(out, "%s%c%s%c%s%c%" PRIu64 "%c", k->word, 0, k->kind, 0, k->value, 0,
		    (k->until_ms - now_ms + 999) / 1000, 0);
	}
	return buf_ok(out) && buf_len(out) > 0;
}

bool standing_next(struct span *packed, const char *words_out[STANDING_WORDS])
{
	for (size_t i = 0; i < STANDING_WORDS; i++) {
		if (packed->n == 0)
			return false;
		words_out[i] = span_cut(packed, '\0').p;
	}
	return true;
}

void standing_take(struct standing *s, struct span packed, uint64_t now_ms)
{
	const char *words[STANDING_WORDS];
	while (standing_next(&packed, words)) {
		struct standing_order order = { words[0], words[1], words[2], 0 };
		if (span_u64(span_str(words[3]), UINT32_MAX, &order.seconds))
			standing_note(s, &order, now_ms);
	}
}

struct standing *standing_new(void)
{
	return MEM_NEW(struct standing);
}

void standing_free(struct standing **s)
{
	for (size_t i = 0; *s != NULL && i < STANDING_MAX; i++)
		kept_end(&(*s)->kept[i]);
	MEM_FREE(s);
}
