/* batch.h - questions of one loop round, asked of Redis in one EVALSHA. */
#ifndef METERMAID_BATCH_H
#define METERMAID_BATCH_H

#include "metermaid/redis_link.h"
#include "metermaid/rule.h"
#include "metermaid/table.h"

enum { BATCH_QUESTIONS_MAX = 32 };

/* One key of a question, ready to be asked anywhere. */
struct meter_key {
	struct rule *rule;
	struct table_ask ask; /* ask.key points into the question's text */
};

struct batch_question {
	enum bucket_mode mode;
	const struct meter_key *keys;
	size_t n;
};

/* Builds the words and sends them; answers by fn with `answers` of count entries, or NULL when Redis
 * was lost. False: nothing sent, fn will not come. Whoever is answered may be gone: the owner cares. */
typedef void batch_fn(void *arg, const struct table_answer *answers);
bool batch_send(struct redis_link *link, const struct batch_question *questions, size_t count,
    batch_fn *fn, void *arg);

#endif
