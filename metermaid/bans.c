/* bans.c - a table of lists' entries under a robust lock; see bans.h. */
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fmt.h"
#include "metermaid/bans.h"
#include "metermaid/digest_key.h"
#include "metermaid/shared.h"

struct ban {
	uint64_t list, user; /* digests; user 0: a network */
	struct ip_prefix net;
	uint64_t until_ms; /* 0: free */
	uint8_t text_n;
	char text[BAN_TEXT_MAX];
};

struct bans {
	pthread_mutex_t lock; /* an entry counts once until_ms is set, which is written last */
	size_t n;             /* entries in use are below; read without the lock */
	struct ban v[BANS_MAX];
};

static struct bans *bans_new(bool shared)
{
	struct bans *b = shared_map(sizeof *b, shared);
	shared_lock_init(&b->lock, shared);
	return b;
}

struct bans *bans_new_shared(void)
{
	return bans_new(true);
}

struct bans *bans_new_private(void)
{
	return bans_new(false);
}

void bans_free(struct bans **b)
{
	struct bans *gone = *b;
	*b = NULL;
	if (gone != NULL)
		munmap(gone, sizeof *gone);
}

static bool parse(struct span text, struct ban *out)
{
	struct span rest = text, list = span_cut(&rest, '|');
	struct ip_addr a;
	*out = (struct ban){ .list = digest_key_of(list).h1 };
	if (text.n > BAN_TEXT_MAX || list.n == 0 || rest.n == 0)
		return false;
	if (ip_parse(rest, &a))
		out->net = ip_network(a, ip_is_v4(a) ? 32 : 128);
	else if (!ip_parse_prefix(rest, &out->net))
		out->user = digest_key_of(rest).h1 | 1;
	memcpy(out->text, text.p, text.n);
	out->text_n = (uint8_t)text.n;
	return true;
}

static struct ban *find(struct bans *b, struct span text)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->v[i].until_ms > 0 && span_eq(span_of(b->v[i].text, b->v[i].text_n), text))
			return &b->v[i];
	return NULL;
}

/* A free one, or the one that ends first. */
static struct ban *make_place(struct bans *b)
{
	struct ban *first = &b->v[0];
	for (size_t i = 0; i < b->n; i++)
		if (b->v[i].until_ms < first->until_ms)
			first = &b->v[i];
	if (b->n > 0 && first->until_ms == 0)
		return first;
	return b->n < BANS_MAX ? &b->v[b->n++] : first;
}

bool bans_put(struct bans *b, struct span text, uint64_t until_ms)
{
	struct ban fresh;
	if (!parse(text, &fresh))
		return false;
	shared_lock(&b->lock);
	struct ban *at = find(b, text);
	if (at == NULL) {
		at = make_place(b);
		*at = fresh;
	}
	if (at->until_ms < until_ms)
		at->until_ms = until_ms;
	pthread_mutex_unlock(&b->lock);
	return true;
}

bool bans_remove(struct bans *b, struct span text)
{
	shared_lock(&b->lock);
	struct ban *at = find(b, text);
	if (at != NULL)
		at->until_ms = 0;
	pthread_mutex_unlock(&b->lock);
	return at != NULL;
}

void bans_clear(struct bans *b)
{
	shared_lock(&b->lock);
	b->n = 0;
	pthread_mutex_unlock(&b->lock);
}

static bool is_on(const struct ban *e, struct ip_addr client, uint64_t user)
{
	return e->user != 0 ? e->user == user : !ip_is_none(client) && ip_in_prefix(client, e->net);
}

bool bans_match(
    struct bans *b, const char *list, struct ip_addr client, struct span user, uint64_t now_ms)
{
	bool on = false;
	if (__atomic_load_n(&b->n, __ATOMIC_RELAXED) == 0)
		return false;
	uint64_t which = digest_key_of(span_str(list)).h1;
	uint64_t who = user.n > 0 ? digest_key_of(user).h1 | 1 : 0;
	shared_lock(&b->lock);
	for (size_t i = 0; i < b->n && !on; i++)
		on = b->v[i].until_ms > now_ms && b->v[i].list == which &&
		     is_on(&b->v[i], client, who);
	pthread_mutex_unlock(&b->lock);
	return on;
}

void bans_put_json(struct bans *b, uint64_t now_ms, struct buf *out)
{
	size_t put = 0;
	shared_lock(&b->lock);
	for (size_t i = 0; i < b->n; i++) {
		const struct ban *e = &b->v[i];
		if (e->until_ms <= now_ms)
			continue;
		struct span key = span_of(e->text, e->text_n), rule = span_cut(&key, '|');
		buf_add_str(out, put++ > 0 ? ",{\"rule\":" : "{\"rule\":");
		fmt_json_string(out, rule);
		buf_add_str(out, ",\"key\":");
		fmt_json_string(out, key);
		buf_printf(out, ",\"left_s\":%" PRIu64 "}", (e->until_ms - now_ms + 999) / 1000);
	}
	pthread_mutex_unlock(&b->lock);
}
