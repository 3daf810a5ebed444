/* tickets.c - see tickets.h. Owns the ring that all contexts of this process refer to. */
#include "daemon/tickets.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rand.h"
#include "daemon/daemon_conf.h"

enum { OWN_KEPT = 4 }; /* a ticket is good for as many rotations less one */

static struct tls_tickets *ring;
static struct {
	size_t n; /* bytes */
	char keys[OWN_KEPT * TLS_TICKET_KEY_LEN];
} own;

struct tls_tickets *daemon_tickets(void)
{
	return ring;
}

struct span tickets_own(void)
{
	return span_of(own.keys, own.n);
}

void tickets_use(const struct conf *c)
{
	const struct tls_conf *t = conf_section(c, &tls_block);
	CHECK(
	    tls_tickets_set(ring, t->ticket_key.bytes.n > 0 ? t->ticket_key.bytes : tickets_own()));
}

struct span tickets_rotate(const struct conf *c)
{
	size_t kept = own.n < sizeof own.keys ? own.n : sizeof own.keys - TLS_TICKET_KEY_LEN;
	memmove(own.keys + TLS_TICKET_KEY_LEN, own.keys, kept);
	rand_bytes(own.keys, TLS_TICKET_KEY_LEN);
	own.n = kept + TLS_TICKET_KEY_LEN;
	tickets_use(c);
	return tickets_own();
}

void tickets_take(struct span keys, const struct conf *c)
{
	if (keys.n == 0 || keys.n > sizeof own.keys || keys.n % TLS_TICKET_KEY_LEN != 0)
		return;
	memcpy(own.keys, keys.p, keys.n);
	own.n = keys.n;
	tickets_use(c);
}

void tickets_start(const struct conf *c)
{
	ring = tls_tickets_new();
	tickets_rotate(c);
}

void tickets_end(void)
{
	tls_tickets_unref(&ring);
	mem_wipe(&own, sizeof own);
}
