/* partition_batch.c - step 4 of 6: the group commit. Before: partition_peer.c, which reads operations from the
 * workers; after: index_apply.c, which carries them out, and partition_peer.c again, which answers.
 *
 * All operations that wait are taken together: each is looked up (was it answered before? would anybody take
 * the message?), appended to the log, and applied in one transaction of the index, which stays invisible. When
 * the log is synced the transaction is committed, and then all are answered. Whatever comes during the sync
 * waits for the next round. An answer that needed no record waits as well: it may rest on one that did.
 *
 * After a round of some the next one gathers: it waits a moment for as many, because those who were answered come back
 * sooner than a sync ends. Now and then it hopes for more; a round that had fewer lowers the hope. Few never wait.
 *
 * Owns the operations in `waiting` and `batch` and the open transaction. */
#include <sys/mman.h>
#include <sys/statvfs.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store-backend/partition_internal.h"

enum {
	BATCH_OPERATIONS = 1000,
	BATCH_BYTES = 64 * 1024 * 1024, /* of messages and changes: so long may a round take */
	BATCH_ANSWER_BYTES = 32 * 1024 * 1024,
	INDEX_RESERVE_MIN = 4 * 1024 * 1024,
	GATHER_FROM = 4, /* fewer are not waited for */
	GATHER_MOST = 256,
	GATHER_STREAK = 8,
	GATHER_MS = 1
};

/* ---- answers ------------------------------------------------------------------------------------------------ */

static void put_answer_bytes(struct asked *a, struct span encoded)
{
	size_t mark = frame_begin(&a->answer, FRAME_ANSWER);
	wire_put_u64(&a->answer, a->sequence);
	buf_add_span(&a->answer, encoded);
	frame_end(&a->answer, mark, 0);
}

static void put_answer(struct asked *a, const struct operation_answer *ans)
{
	size_t mark = frame_begin(&a->answer, FRAME_ANSWER);
	wire_put_u64(&a->answer, a->sequence);
	CHECK(answer_encode(ans, &a->answer));
	frame_end(&a->answer, mark, 0);
}

static void refuse(struct asked *a, enum operation_result r)
{
	struct operation_answer ans = { .result = r };
	put_answer(a, &ans);
}

/* ---- into the log --------------------------------------------------------------------------------------------- */

/* A large message goes from its file through a mapping: it is in the page cache anyway. False: it cannot be had. */
static bool open_message(const struct asked *a, struct span *out)
{
	*out = span_of(a->bytes, (size_t)a->size);
	if (a->file >= 0)
		out->p = mmap(NULL, (size_t)a->size, PROT_READ, MAP_SHARED, a->file, 0);
	return out->p != MAP_FAILED;
}

static void close_message(const struct asked *a, struct span message)
{
	if (a->file >= 0)
		CHECK(munmap((void *)(uintptr_t)message.p, message.n) == 0);
}

static err_t append_message(struct partition *p, const struct asked *a, log_pos *pos_out)
{
	struct span message;
	if (!open_message(a, &message))
		return ERR_IO;
	err_t err = commitlog_append(p->log, LOG_BLOB, &message, 1, pos_out);
	close_message(a, message);
	return err;
}

static void forget_messages(struct partition *p, const struct op_message *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		commitlog_forget(p->log, v[i].blob);
}

/* Each is a record of its own; where they are becomes part of the change, which is written anew. */
static err_t append_messages(struct partition *p, struct asked *a)
{
	struct op_message *v = (struct op_message *)(uintptr_t)a->op.messages; /* a's own arena */
	struct span message, one;
	size_t n = 0;
	if (!open_message(a, &message))
		return ERR_IO;
	err_t err = ERR_OK;
	struct span rest = message;
	while (!err && n < a->op.message_n) {
		one = span_first(rest, (size_t)v[n].size);
		err = commitlog_append(p->log, LOG_BLOB, &one, 1, &v[n].blob);
		rest = span_from(rest, one.n);
		n += !err;
	}
	close_message(a, message);
	buf_end(&a->record);
	a->record = BUF_INIT(OPERATION_HEAD_MAX);
	if (!err && !operation_encode(&a->op, &a->record))
		err = ERR_TOO_LONG;
	if (err)
		forget_messages(p, v, n);
	return err;
}

static err_t append(struct partition *p, struct asked *a, struct index_facts *facts)
{
	bool many = a->op.kind == OP_APPEND_MANY;
	err_t err = ERR_OK;
	if (many)
		err = append_messages(p, a);
	else if (operation_has_message(a->op.kind))
		err = append_message(p, a, &facts->blob);
	if (err)
		return err;
	err = record_operation(p, facts, buf_span(many ? &a->record : &a->head));
	if (err && facts->blob != 0)
		commitlog_forget(p->log, facts->blob); /* no change speaks of it */
	if (err && many)
		forget_messages(p, a->op.messages, a->op.message_n);
	return err;
}

/* ---- a round ---------------------------------------------------------------------------------------------------- */

enum taken { TAKEN, NOT_NOW };

/* What makes more of the store; the rest changes and removes, and MOVE is how people remove. */
static bool grows(const struct operation *op)
{
	return operation_has_message(op->kind) || op->kind == OP_COPY || op->kind == OP_CREATE ||
	       op->kind == OP_SUBSCRIBE;
}

/* New messages leave room for what removes them: on the disk, and in the index. */
static bool is_full(struct partition *p, const struct asked *a, uint64_t cost)
{
	uint64_t reserve = p->index_bytes / 16;
	if (reserve < INDEX_RESERVE_MIN)
		reserve = INDEX_RESERVE_MIN;
	return (operation_has_message(a->op.kind) && p->low_space) ||
	       (grows(&a->op) && p->index_room < reserve + cost);
}

static void refuse_full(struct partition *p, struct asked *a, const struct store_quota_conf *rule)
{
	static const struct operation_answer full = { .result = OPR_OVER_QUOTA };
	put_answer(a, &full);
	mark_refused(p, &a->op, &full, rule);
}

/* The operation gets its answer, or stays where it is because the log is busy or has failed. */
static enum taken take(struct partition *p, struct asked *a)
{
	struct index_facts facts = {
		.client = a->client, .sequence = a->sequence, .wall_s = p->wall_s
	};
	const struct operation_answer *ans;
	struct span again = SPAN_NONE;
	if (a->client != 0)
		again = index_txn_answered(p->txn, a->client, a->sequence, a->answered_below);
	if (again.n > 0) {
		put_answer_bytes(a, again);
		metric_add(&store_metrics[STORE_M_OPERATIONS_AGAIN], 1);
		return TAKEN;
	}
	if (operation_has_message(a->op.kind) &&
	    !index_would_take(p->txn, &a->op, facts.wall_s, &ans)) {
		put_answer(a, ans);
		mark_refused(p, &a->op, ans, NULL);
		return TAKEN;
	}
	const struct store_quota_conf *rule = warn_in_the_way(p, &a->op);
	if (rule != NULL) {
		refuse_full(p, a, rule);
		return TAKEN;
	}
	if (a->op.kind == OP_QUOTA_MARK && !mark_is_news(p, &a->op)) {
		refuse(a, OPR_OK);
		return TAKEN;
	}
	uint64_t cost = index_cost(p->txn, &a->op, buf_len(&a->head));
	err_t err = a->no_space || is_full(p, a, cost) ? ERR_NO_SPACE : append(p, a, &facts);
	if (err == ERR_NO_SPACE) {
		refuse(a, OPR_NO_SPACE);
		return TAKEN;
	}
	if (err) {
		if (err != ERR_BUSY)
			partition_fail(p, "log", err);
		return NOT_NOW;
	}
	const struct operation_answer *done = index_apply(p->txn, &a->op, &facts);
	enum operation_result result = done->result;
	put_answer(a, done);
	p->index_room -= cost < p->index_room ? cost : p->index_room;
	p->batch_logged++;
	if (result == OPR_OK)
		warn_after(p, &a->op, done);
	mark_refused(p, &a->op, done, NULL);
	if (result == OPR_OK)
		mark_after(p, &a->op);
	return TAKEN;
}

static void take_all(struct partition *p)
{
	size_t n = 0, bytes = 0, answers = 0;
	while (n < BATCH_OPERATIONS && bytes < BATCH_BYTES && answers < BATCH_ANSWER_BYTES &&
	       !list_empty(&p->waiting) && !index_txn_err(p->txn)) {
		struct asked *a = LIST_OF(struct asked, place, p->waiting.next);
		if (take(p, a) == NOT_NOW)
			return;
		n++;
		bytes += buf_len(&a->head) + a->size;
		answers += buf_len(&a->answer);
		asked_drop_message(p, a);
		list_remove(&a->place);
		list_add_tail(&p->batch, &a->place);
	}
}

static void on_touched(void *arg, uint64_t mailbox, uint64_t modseq, bool gone)
{
	struct partition *p = arg;
	if (p->news_n == p->news_cap) {
		p->news_cap = p->news_cap == 0 ? 64 : p->news_cap * 2;
		p->news = mem_grow(p->news, p->news_cap, sizeof *p->news);
	}
	p->news[p->news_n++] = (struct news){ mailbox, modseq, gone };
}

static void answer_all(struct partition *p)
{
	struct list_node *n;
	while ((n = list_pop(&p->batch)) != NULL) {
		struct asked *a = LIST_OF(struct asked, place, n);
		bool expires = a->expires;
		peer_answer(a);
		asked_free(p, a);
		if (expires)
			expirer_answered(p);
	}
	for (size_t i = 0; i < p->news_n; i++)
		peers_tell(p, &p->news[i]);
}

static void on_synced(void *arg, err_t err)
{
	struct partition *p = OBJ(partition, arg);
	p->sync = NULL;
	if (err || p->failed) {
		partition_fail(p, "log", err);
		return;
	}
	p->news_n = 0;
	index_txn_touched(p->txn, on_touched, p);
	err = index_txn_commit(&p->txn, p->covered);
	if (err) {
		partition_fail(p, "index", err);
		return;
	}
	p->changes += p->batch_logged;
	metric_add(&store_metrics[STORE_M_OPERATIONS], p->batch_logged);
	metric_add(&store_metrics[STORE_M_COMMITS], 1);
	answer_all(p);
	keep_after_batch(p);
	feeder_kick(p);
	peers_resume(p);
	if (p->goal >= GATHER_FROM)
		timer_set(&p->gather, GATHER_MS);
	/* The next round comes from the loop, so that what the workers have sent meanwhile comes along. */
	soon_set(p->loop, &p->turn);
}

static bool space_is_low(const struct partition *p)
{
	struct statvfs st;
	return statvfs(p->path, &st) == 0 &&
	       (uint64_t)st.f_bavail * st.f_frsize < p->settings.space_reserve;
}

/* What the next round hopes for. What was left behind need not be waited for. */
static void learn_goal(struct partition *p)
{
	size_t n = 0;
	for (const struct list_node *a = p->batch.next; a != &p->batch; a = a->next)
		n++;
	p->streak = n == p->goal ? p->streak + 1 : 0;
	p->goal = list_empty(&p->waiting) ? n : 0;
	if (p->streak == GATHER_STREAK) {
		p->streak = 0;
		p->goal += p->goal / 2;
	}
	if (p->goal > GATHER_MOST)
		p->goal = GATHER_MOST;
	p->came = 0;
}

static bool gathers(struct partition *p)
{
	if (timer_armed(&p->gather) && p->came < p->goal)
		return true;
	timer_clear(&p->gather);
	return false;
}

static void on_turn(void *arg)
{
	struct partition *p = OBJ(partition, arg);
	err_t err;
	if (p->failed || p->txn != NULL || gathers(p))
		return;
	if (list_empty(&p->waiting) && !p->keep_due) {
		peers_resume(p);
		return;
	}
	p->txn = index_txn_begin(p->writer, &err);
	if (p->txn == NULL) {
		partition_fail(p, "index", err);
		return;
	}
	p->wall_s = clock_wall_us() / 1000000;
	p->batch_logged = 0;
	p->low_space = space_is_low(p);
	p->index_room = index_writer_room(p->writer);
	bool kept = p->keep_due && keep_in_batch(p);
	if (!kept && list_empty(&p->waiting)) {
		index_txn_abort(&p->txn);
		return;
	}
	take_all(p);
	learn_goal(p);
	/* What is in the log now cannot be taken back: an index that failed is made anew from it. */
	if (index_txn_err(p->txn))
		partition_fail(p, "index", index_txn_err(p->txn));
	if (p->failed)
		return;
	p->covered = commitlog_end(p->log);
	p->sync = commitlog_sync(p->log, on_synced, p);
}

/* ---- for partition.c and partition_peer.c ------------------------------------------------------------------------ */

void batch_init(struct partition *p)
{
	list_init(&p->waiting);
	list_init(&p->batch);
	soon_init(&p->turn, on_turn, p);
	timer_init(&p->gather, p->loop, on_turn, p);
}

void batch_add(struct partition *p, struct asked *a)
{
	list_add_tail(&p->waiting, &a->place);
	p->came++;
	soon_set(p->loop, &p->turn);
}

struct asked *batch_add_own(struct partition *p, const struct operation *op, struct span message)
{
	struct asked *a = MEM_NEW(struct asked);
	*a = (struct asked){ .head = BUF_INIT(OPERATION_HEAD_MAX),
		.size = message.n,
		.got = message.n,
		.bytes = message.n > 0 ? mem_copy(message.p, message.n) : NULL,
		.file = -1,
		.answer = BUF_INIT(ANSWER_MAX + 64) };
	/* As if a worker had sent it. */
	CHECK(operation_encode(op, &a->head));
	CHECK(operation_decode(buf_span(&a->head), &a->op, &a->arena));
	batch_add(p, a);
	return a;
}

void batch_end(struct partition *p)
{
	struct list_node *n;
	soon_clear(&p->turn);
	timer_clear(&p->gather);
	ticket_cancel(&p->sync);
	index_txn_abort(&p->txn);
	while ((n = list_pop(&p->batch)) != NULL)
		asked_free(p, LIST_OF(struct asked, place, n));
	while ((n = list_pop(&p->waiting)) != NULL)
		asked_free(p, LIST_OF(struct asked, place, n));
	MEM_FREE(&p->news);
}
