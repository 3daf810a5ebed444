/* store_ask.h - would the store of a recipient take a mail for it? Asked at RCPT (step 3: at_store.c), over the
 * connections that commit keeps to the stores: MAIL, RCPT and RSET leave in one write.
 *
 * Only a word about the recipient counts as a refusal: 45x or 55x as the answer to RCPT. A 4xx about the store
 * itself (RFC 3463: X.3 system, X.4 network, X.5 protocol) does not, nor do refused senders, other codes,
 * conversations that break off and stores that are away: then commit decides. */
#ifndef EDGE_STORE_ASK_H
#define EDGE_STORE_ASK_H

#include "edge/commit.h"

struct store_question {
	struct span store;         /* mailHost */
	const char *user, *detail; /* detail may be NULL */
	const char *sender;        /* "" = null sender */
	uint64_t size;             /* of the message, as the client says; 0: it does not */
	bool body_8bit, smtputf8, require_tls;
};

enum store_word {
	STORE_TAKES,
	STORE_REFUSES,
	STORE_UNSURE, /* it says something else, or cannot be asked */
	STORE_SILENT  /* it does not answer; for verify_refused_ttl nobody asks it again */
};

struct store_answer {
	enum store_word word;
	bool remembered;     /* it was not asked now */
	struct outcome said; /* STORE_REFUSES */
	const char *why;     /* STORE_UNSURE, STORE_SILENT: in words; lives during the callback */
};
typedef void store_answer_fn(void *arg, const struct store_answer *a);

/* Is the answer known? False: ask. */
bool store_ask_known(struct committer *c, const struct store_question *q, struct store_answer *out);
/* Answers within verify_timeout. q is copied. The ticket must be gone before the committer is. */
struct ticket *store_ask(
    struct committer *c, const struct store_question *q, store_answer_fn *fn, void *arg);

#endif
