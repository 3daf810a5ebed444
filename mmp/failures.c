/* failures.c - a table of fixed size (beside authenticate.c): sets of a few slots, the one that is oldest gives way.
 *
 * Owns: the table. */
#include "mmp/failures.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"

enum { SETS = 2048, SLOTS_PER_SET = 4, FORGET_ONE_MS = 60000, COUNT_MAX = 1000, KEY_MAX = 2048 };

struct slot {
	uint64_t key; /* 0: empty */
	uint64_t at_ms;
	union {
		unsigned count;      /* of a network, of an account */
		uint32_t secrets[2]; /* of both: of the last failures, the newest first; 0: none */
	};
};

struct failures {
	struct slot (*sets)[SLOTS_PER_SET]; /* owned */
};

struct failures *failures_new(void)
{
	struct failures *f = MEM_NEW(struct failures);
	f->sets = mem_array(SETS, sizeof f->sets[0]);
	return f;
}

void failures_free(struct failures **f)
{
	if (*f == NULL)
		return;
	mem_free((*f)->sets);
	MEM_FREE(f);
}

/* kind, network and name, as far as they are part of the key; never 0. */
static uint64_t key_of(char kind, const struct ip_prefix *net, struct span user)
{
	struct buf b = BUF_INIT(KEY_MAX);
	buf_add_char(&b, kind);
	if (net != NULL)
		buf_add(&b, net->addr.b, sizeof net->addr.b);
	buf_add_span(&b, user);
	uint64_t h = hash_keyed(buf_span(&b));
	buf_end(&b);
	return h != 0 ? h : 1;
}

/* The key's slot, or the one that has been quiet longest, emptied for it. */
static struct slot *slot_of(struct failures *f, uint64_t key, uint64_t now_ms)
{
	struct slot *set = f->sets[key % SETS], *oldest = set;
	for (size_t i = 0; i < SLOTS_PER_SET; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].at_ms < oldest->at_ms)
			oldest = &set[i];
	}
	*oldest = (struct slot){ .key = key, .at_ms = now_ms };
	return oldest;
}

/* For each minute without one, one is forgotten; then this one is added. */
static unsigned add_to(struct failures *f, uint64_t key, unsigned one, uint64_t now_ms)
{
	struct slot *s = slot_of(f, key, now_ms);
	uint64_t gone = (now_ms - s->at_ms) / FORGET_ONE_MS;
	s->count = gone < s->count ? s->count - (unsigned)gone : 0;
	if (one > 0 || gone > 0)
		s->at_ms = now_ms;
	s->count += s->count < COUNT_MAX ? one : 0;
	return s->count;
}

/* Is it one of the two passwords that this network tried last for the account? Two programs of one person may both have an
 * old one, and take turns. */
static bool is_again(
    struct failures *f, const struct failure *what, const struct ip_prefix *net, uint64_t now_ms)
{
	if (what->secret_hash == 0)
		return false;
	struct slot *pair = slot_of(f, key_of('b', net, what->user), now_ms);
	bool newest = pair->secrets[0] == what->secret_hash;
	bool again = newest || pair->secrets[1] == what->secret_hash;
	if (!newest) {
		pair->secrets[1] = pair->secrets[0];
		pair->secrets[0] = what->secret_hash;
	}
	pair->at_ms = now_ms;
	return again;
}

static unsigned count_of(const struct failures *f, uint64_t key, uint64_t now_ms)
{
	const struct slot *set = f->sets[key % SETS];
	for (size_t i = 0; i < SLOTS_PER_SET; i++) {
		uint64_t gone = (now_ms - set[i].at_ms) / FORGET_ONE_MS;
		if (set[i].key == key)
			return gone < set[i].count ? set[i].count - (unsigned)gone : 0;
	}
	return 0;
}

static struct ip_prefix network_of(struct ip_addr client)
{
	return ip_network(client, ip_is_v4(client) ? 32 : 64);
}

unsigned failures_look(const struct failures *f, const struct failure *what, uint64_t now_ms)
{
	struct ip_prefix net = network_of(what->client);
	unsigned of_net = count_of(f, key_of('n', &net, SPAN_NONE), now_ms);
	unsigned of_user = count_of(f, key_of('u', NULL, what->user), now_ms);
	return of_net > of_user ? of_net : of_user;
}

unsigned failures_note(
    struct failures *f, const struct failure *what, uint64_t now_ms, bool *again_out)
{
	struct ip_prefix net = network_of(what->client);
	*again_out = is_again(f, what, &net, now_ms);
	unsigned one = *again_out ? 0 : 1;
	unsigned of_net = add_to(f, key_of('n', &net, SPAN_NONE), one, now_ms);
	unsigned of_user = add_to(f, key_of('u', NULL, what->user), one, now_ms);
	return of_net > of_user ? of_net : of_user;
}
