/* known.c - pairs of users and networks with a good login, in shared memory; see known.h. */
#include "metermaid/known.h"

#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "metermaid/digest_key.h"
#include "metermaid/shared.h"

enum { WAYS = 8, V4_BITS = 32, V6_BITS = 64, USER_MAX = 256 };

struct pair {
	uint64_t digest; /* 0: free */
	uint64_t at_ms;
};

struct known {
	size_t sets;
	struct pair *pairs; /* sets * WAYS */
};

struct known *known_new_shared(size_t pairs_max)
{
	struct known *k = MEM_NEW(struct known);
	k->sets = pairs_max / WAYS > 0 ? pairs_max / WAYS : 1;
	k->pairs = shared_map(k->sets * WAYS * sizeof *k->pairs, true);
	return k;
}

void known_free(struct known **k)
{
	munmap((*k)->pairs, (*k)->sets * WAYS * sizeof *(*k)->pairs);
	MEM_FREE(k);
}

/* The set, and what stands for the pair in it. */
static struct pair *set_of(
    struct known *k, struct ip_addr client, struct span user, uint64_t *digest_out)
{
	char text[sizeof client.b + USER_MAX];
	struct ip_prefix net = ip_network(client, ip_is_v4(client) ? V4_BITS : V6_BITS);
	user = span_first(user, USER_MAX);
	memcpy(text, net.addr.b, sizeof net.addr.b);
	span_lower_to(text + sizeof net.addr.b, user);
	struct key_id id = digest_key_of(span_of(text, sizeof net.addr.b + user.n));
	*digest_out = id.h1 != 0 ? id.h1 : 1;
	return k->pairs + (size_t)(id.h2 % k->sets) * WAYS;
}

static struct pair *find(struct pair *set, uint64_t digest)
{
	for (size_t i = 0; i < WAYS; i++)
		if (__atomic_load_n(&set[i].digest, __ATOMIC_RELAXED) == digest)
			return &set[i];
	return NULL;
}

static struct pair *oldest(struct pair *set)
{
	struct pair *best = set;
	for (size_t i = 1; i < WAYS; i++)
		if (__atomic_load_n(&set[i].at_ms, __ATOMIC_RELAXED) <
		    __atomic_load_n(&best->at_ms, __ATOMIC_RELAXED))
			best = &set[i];
	return best;
}

void known_note(struct known *k, struct ip_addr client, struct span user, uint64_t now_ms)
{
	uint64_t digest;
	if (user.n == 0 || ip_is_none(client))
		return;
	struct pair *set = set_of(k, client, user, &digest), *p = find(set, digest);
	if (p == NULL)
		p = oldest(set);
	/* a reader between the two sees the new pair at the old one's time, which is earlier */
	__atomic_store_n(&p->digest, digest, __ATOMIC_RELAXED);
	__atomic_store_n(&p->at_ms, now_ms, __ATOMIC_RELAXED);
}

uint64_t known_since(struct known *k, struct ip_addr client, struct span user, uint64_t now_ms)
{
	uint64_t digest;
	if (user.n == 0 || ip_is_none(client))
		return 0;
	struct pair *set = set_of(k, client, user, &digest);
	const struct pair *p = find(set, digest);
	uint64_t at = p != NULL ? __atomic_load_n(&p->at_ms, __ATOMIC_RELAXED) : 0;
	return at == 0 ? 0 : now_ms > at ? now_ms - at + 1 : 1;
}

void known_forget(struct known *k, struct ip_addr client, struct span user)
{
	uint64_t digest;
	if (user.n == 0 || ip_is_none(client))
		return;
	struct pair *set = set_of(k, client, user, &digest), *p = find(set, digest);
	if (p != NULL)
		__atomic_store_n(&p->at_ms, 0, __ATOMIC_RELAXED);
}
