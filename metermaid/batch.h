/* batch.h - questions of one moment, asked of Redis in one EVALSHA. */
#ifndef METERMAID_BATCH_H
#define METERMAID_BATCH_H

#include "metermaid/op.h"
#include "metermaid/redis_link.h"

enum { BATCH_QUESTIONS_MAX = 64, BATCH_OPS_MAX = 512 };

/* Words are gathered, then sent: batch_begin(), for each question batch_question() and its keys by
 * batch_op(), batch_send(). */
struct batch;
struct batch *batch_begin(struct redis_link *link);
bool batch_has_room(const struct batch *b, size_t ops); /* for one more question of so many */
void batch_question(struct batch *b, enum op_mode mode, size_t ops);
void batch_op(struct batch *b, const struct op *op, struct span key);

/* Answers by fn with one answer a question, in order, or NULL when Redis was lost. False: nothing was
 * sent, fn will not come. Whoever is answered may be gone: the owner cares. The batch is gone. */
typedef void batch_fn(void *arg, const struct op_answer *answers);
bool batch_send(struct batch **b, batch_fn *fn, void *arg);

/* "{postern}:r:KEY": the name in Redis of what an op of this kind keeps. */
void batch_key(enum op_kind kind, struct span key, struct buf *out);

#endif
