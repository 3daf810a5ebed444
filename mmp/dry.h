/* dry.h - how would a login go? A dry run of steps 2 to 4, up to the choice of the store, for `postern explain --login`.
 *
 * The directory is asked as for any login. Nothing is counted, charged or logged, no store is dialled, and no password is
 * asked for: it is taken for the right one. What a worker knows by itself, failures and the state of stores, each
 * worker tells of its own. */
#ifndef MMP_DRY_H
#define MMP_DRY_H

#include "mmp/worker.h"

struct dry_ask {
	const char *user; /* as it would be typed */
	struct ip_addr client;
	const char *listener; /* NULL: the first one of the protocol */
	int protocol;         /* -1: the first listener's */
	unsigned worker;      /* our index: 0 tells what is the same in all of them */
};

/* Words as on the command line: --login USER --ip A [--listener NAME] [--protocol P]. NULL: good; else why not (a
 * constant). out points into the words. */
const char *dry_parse(const char *const *words, size_t n, struct dry_ask *out);

/* json: an array of checks. Comes once, from the loop, within DRY_MS. */
typedef void dry_fn(void *arg, uint32_t id, struct span json);
struct dry_owner {
	dry_fn *fn;
	void *arg;
	uint32_t id;
};
/* False: it cannot be started, *why_out says why. */
bool dry_start(
    struct mmp *m, const struct dry_ask *ask, const struct dry_owner *owner, const char **why_out);
void dry_free_all(struct mmp *m); /* the worker goes: no answer */

#endif
