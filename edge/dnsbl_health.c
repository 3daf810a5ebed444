/* dnsbl_health.c - how far one DNS list can be believed (part of step 2; used by dnsbl.c).
 *
 * The share of hits is taken over windows of DNSBL_WINDOW different networks, so that one busy spammer
 * does not make a list look broken. A window that lies far above what was usual makes the list suspect;
 * what is usual follows slowly, so a share that stays high for good reason is believed again. */
#include "edge/dnsbl_health.h"

enum {
	HIGH = 900,        /* per mille: a share below it is never a jump */
	JUMP = 400,        /* above what is usual */
	WINDOWS_MIN = 2,   /* before that nothing is usual */
	WINDOWS_MEAN = 32, /* the usual share is a mean of about so many windows */
};

void dnsbl_health_init(struct dnsbl_health *h, bool tested)
{
	*h = (struct dnsbl_health){ .broken = tested ? NULL : "not tested yet" };
}

static bool is_new(struct dnsbl_health *h, uint32_t network)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->seen[i] == network)
			return false;
	h->seen[h->n++] = network;
	return true;
}

static void window_ends(struct dnsbl_health *h)
{
	unsigned share = (unsigned)(h->hits * 1000 / DNSBL_WINDOW);
	h->suspect = h->windows >= WINDOWS_MIN && share >= HIGH && share >= h->usual + JUMP;
	if (h->windows < WINDOWS_MEAN)
		h->windows++;
	h->usual = (h->usual * (h->windows - 1) + share) / h->windows;
	h->n = h->hits = 0;
}

void dnsbl_health_note(struct dnsbl_health *h, uint32_t network, bool hit)
{
	if (!is_new(h, network))
		return;
	h->hits += hit;
	if (h->n == DNSBL_WINDOW)
		window_ends(h);
}

const char *dnsbl_health_fault(const struct dnsbl_health *h)
{
	if (h->broken != NULL)
		return h->broken;
	return h->suspect ? "lists nearly everybody all at once" : NULL;
}
