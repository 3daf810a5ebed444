/* trace_peers.c - how two others answer logins, from what they document.
 *
 * Dovecot, "Authentication Penalty" (doc.dovecot.org, core/config/auth/penalty) and the constants it names: an address
 * (IPv6: /48) has a penalty of 0 to 4; with one, 4, 8 or 15 seconds pass before the password is looked at; it
 * falls by one for each such time without a failure; a success ends it; a failure adds one, unless the same user
 * and password were among the last 10; every failure is answered after 2 seconds; login_trusted_networks have none.
 *
 * fail2ban, jail.conf as shipped: maxretry 5 failures of an address in findtime 10m shut it out for bantime 10m;
 * ignoreip is never shut out. That it reads logs, and so comes late, is not held against it. */
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"

#include "bench/meter/traces.h"

enum {
	RETRIES = 5,
	FIND_MS = 600000,
	BAN_MS = 600000,
	SEEN = 10,
	PENALTY_MAX = 4,
	PEERS_MAX = 1000000
};

struct peer {
	uint64_t last_ms;
	unsigned penalty;
	uint64_t seen[SEEN]; /* user and password; newest first */
	uint64_t failed_ms[RETRIES];
	unsigned failures;
	uint64_t banned_until_ms;
};

static struct map *peers;

static bool drop(void *arg, struct span key, void *value)
{
	mem_free(value);
	return true;
}

static void end(void)
{
	if (peers == NULL)
		return;
	map_each(peers, drop, NULL);
	map_free(&peers);
}

static void begin(void)
{
	end();
	peers = map_new(PEERS_MAX);
}

static struct peer *peer_of(struct ip_addr a, unsigned v6_bits)
{
	struct ip_prefix p = ip_network(a, ip_is_v4(a) ? 32 : v6_bits);
	struct span key = span_of(p.addr.b, sizeof p.addr.b);
	struct peer *found = map_get(peers, key);
	if (found == NULL) {
		found = MEM_NEW(struct peer);
		map_set(peers, key, found, NULL);
	}
	return found;
}

/* ---- Dovecot ---- */

static uint64_t penalty_ms(unsigned penalty)
{
	static const uint64_t ms[] = { 2000, 4000, 8000, 15000, 15000 };
	return ms[penalty < PENALTY_MAX ? penalty : PENALTY_MAX];
}

static void wear_off(struct peer *p)
{
	uint64_t now = clock_mono_ms(), quiet = now > p->last_ms ? now - p->last_ms : 0;
	for (unsigned step = PENALTY_MAX; p->penalty > 0 && quiet >= penalty_ms(step); step--)
		p->penalty--;
}

static bool is_seen(struct peer *p, uint64_t both)
{
	for (size_t i = 0; i < SEEN; i++)
		if (p->seen[i] == both)
			return true;
	memmove(p->seen + 1, p->seen, sizeof p->seen - sizeof p->seen[0]);
	p->seen[0] = both;
	return false;
}

static struct verdict dovecot(const struct login *a)
{
	struct verdict v = { .tested = true, .after_ms = a->right ? 0 : FAILURE_MS };
	if (a->trusted)
		return v;
	struct peer *p = peer_of(a->client, 48);
	wear_off(p);
	v.before_ms = p->penalty > 0 ? penalty_ms(p->penalty) : 0;
	if (a->right) {
		p->penalty = 0;
	} else if (!is_seen(p, (uint64_t)a->user << 32 | a->secret)) {
		p->penalty += p->penalty < PENALTY_MAX;
		p->last_ms = clock_mono_ms() + v.before_ms;
	}
	return v;
}

/* ---- fail2ban ---- */

static struct verdict fail2ban(const struct login *a)
{
	struct verdict v = { .tested = true, .after_ms = a->right ? 0 : FAILURE_MS };
	uint64_t now = clock_mono_ms();
	if (a->trusted)
		return v;
	struct peer *p = peer_of(a->client, 128);
	if (now < p->banned_until_ms)
		return (struct verdict){ .tested = false };
	if (a->right)
		return v;
	p->failed_ms[p->failures++ % RETRIES] = now;
	uint64_t oldest = p->failed_ms[p->failures % RETRIES];
	if (p->failures >= RETRIES && now - oldest < FIND_MS) {
		p->banned_until_ms = now + BAN_MS;
		p->failures = 0;
	}
	return v;
}

const struct guard guard_dovecot = { "dovecot", begin, dovecot, end };
const struct guard guard_fail2ban = { "fail2ban", begin, fail2ban, end };
