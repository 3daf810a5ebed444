/* verify.h - is this the user's secret? Remembered answers first, then comparison or bind.
 *
 * What was right or wrong is remembered for a time under a keyed hash of entry, its revision and the
 * secret, never the secret itself: a changed entry makes what was remembered unreachable. */
#ifndef DIRECTORY_VERIFY_H
#define DIRECTORY_VERIFY_H

#include "directory/backend.h"

struct verifier;

struct verifier *verifier_new(struct loop *l, const struct directory_conf *conf);
void verifier_free(struct verifier **v); /* every ticket must be gone */

struct verify_ask {
	const struct directory_conf *conf; /* conf and backend live longer than the ticket */
	struct backend *backend;
	const struct record *user; /* referenced by the ticket */
	struct span secret;        /* copied where needed, and wiped */
};

/* NULL: the answer is known now, in *now_out. Else fn comes with it from the loop (record NULL):
 * FOUND right, ABSENT wrong, UNKNOWN or AWAY. */
struct ticket *verifier_ask(struct verifier *v, const struct verify_ask *ask, answer_fn *fn,
    void *arg, enum answer *now_out);

/* Forgets what is remembered of an entry (account.id). */
void verifier_forget(struct verifier *v, const char *id);

#endif
