/* partition_expire.c - messages that expire: the committer looks at a few mailboxes at a time, between rounds, and puts
 * what is to go into the next round as a change of its own. Before: expire.c says which; after: partition_batch.c.
 *
 * Action archive has a step between: partition_archive.c writes the files, and only then goes the change into the queue, for
 * those messages that are what they were.
 *
 * Owns the cursor of the pass, the reader of the index and the archiver. */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store-backend/expire.h"
#include "store-backend/partition_internal.h"

enum { BETWEEN_STEPS_MS = 10 };

#define expirer_MAGIC 0xe8917e01u

struct expirer {
	uint32_t magic;
	struct partition *p; /* borrowed */
	struct index *index; /* owned: the writer's, for reading */
	struct timer timer;
	struct expire_cursor at;
	struct expire_found found;
	bool waiting; /* a change of ours is in the queue, or files are being written */
	struct archiver *archiver; /* owned; NULL until a rule wants it */
	char *user;                /* owned: whose messages are being archived */
	uint64_t mailbox;
	uint64_t expired; /* in this pass */
};

/* ---- changes ----------------------------------------------------------------------------------------------- */

static void add_change(struct expirer *x, const struct operation *op)
{
	batch_add_own(x->p, op, SPAN_NONE)->expires = true;
	x->waiting = true;
}

/* The mailbox that messages are moved to is made first; the next step finds them again. */
static bool make_target(struct expirer *x, struct index_view *v, uint64_t *id_out)
{
	const struct expire_found *f = &x->found;
	struct span name = span_str(f->rule->target);
	struct index_mailbox m;
	struct operation op;
	if (index_mailbox_find(v, f->mailbox.user, name, &m)) {
		*id_out = m.id;
		return true;
	}
	operation_init(&op, OP_CREATE);
	op.user = f->mailbox.user;
	op.name = name;
	add_change(x, &op);
	return false;
}

static void remove_found(struct expirer *x, struct span user, uint64_t mailbox)
{
	const struct expire_found *f = &x->found;
	struct operation op;
	operation_init(&op, OP_EXPUNGE);
	op.user = user;
	op.mailbox = mailbox;
	op.uses = EXPUNGE_BY_RULE;
	op.uids = (struct uid_set){ f->uids, f->n };
	x->expired += f->n;
	add_change(x, &op);
}

/* Those that somebody has changed meanwhile are left: perhaps to be kept. */
static void leave_changed(struct expirer *x, struct index_view *v)
{
	struct expire_found *f = &x->found;
	size_t n = 0;
	for (size_t i = 0; i < f->n; i++) {
		struct index_entry now;
		if (!index_entry(v, x->mailbox, f->uids[i].first, &now) ||
		    now.modseq != f->entries[i].modseq)
			continue;
		f->uids[n] = f->uids[i];
		f->entries[n++] = f->entries[i];
	}
	f->n = n;
}

static void tell_failure(struct expirer *x, struct span user, uint64_t mailbox, err_t err)
{
	log_write(&store_events[STORE_EV_ARCHIVE_FAILED], NULL,
	    LOG_FIELDS(LOG_STR("partition", x->p->name), LOG_SPAN("user", user),
		LOG_U64("mailbox", mailbox), LOG_ERR("err", err)));
}

/* What is not removed is found again by the next pass, and written over. */
static void on_archived(void *arg, err_t err)
{
	struct expirer *x = OBJ(expirer, arg);
	struct index_view *v = err || x->p->failed ? NULL : index_view_begin(x->index);
	x->waiting = false;
	if (err)
		tell_failure(x, span_str(x->user), x->mailbox, err);
	if (v != NULL)
		leave_changed(x, v);
	if (v != NULL && x->found.n > 0)
		remove_found(x, span_str(x->user), x->mailbox);
	index_view_end(&v);
	MEM_FREE(&x->user);
	if (!x->waiting)
		timer_set(&x->timer, BETWEEN_STEPS_MS);
}

static void archive_found(struct expirer *x)
{
	const struct expire_found *f = &x->found;
	struct archive_job job = { f->rule->archive_dir, &f->mailbox, f->entries, f->n };
	if (x->archiver == NULL)
		x->archiver = archiver_new(x->p, on_archived, x);
	if (x->archiver == NULL || !archiver_run(x->archiver, &job)) {
		tell_failure(x, f->mailbox.user, f->mailbox.id, ERR_NO_DESCRIPTORS);
		timer_set(&x->timer, BETWEEN_STEPS_MS);
		return;
	}
	x->user = mem_span_str(f->mailbox.user);
	x->mailbox = f->mailbox.id;
	x->waiting = true;
}

/* A target that is missing is made first: the cursor stays. */
static void move_found(struct expirer *x, struct index_view *v, struct expire_cursor before)
{
	const struct expire_found *f = &x->found;
	struct operation op;
	operation_init(&op, OP_MOVE);
	op.user = f->mailbox.user;
	op.mailbox = f->mailbox.id;
	op.uids = (struct uid_set){ f->uids, f->n };
	if (!make_target(x, v, &op.target)) {
		x->at = before;
		return;
	}
	x->expired += f->n;
	add_change(x, &op);
}

static void expire_found(struct expirer *x, struct index_view *v, struct expire_cursor before)
{
	const struct index_mailbox *m = &x->found.mailbox;
	switch (x->found.rule->action) {
	case EXPIRE_MOVE:
		move_found(x, v, before);
		break;
	case EXPIRE_ARCHIVE:
		archive_found(x);
		break;
	default:
		remove_found(x, m->user, m->id);
		break;
	}
}

void expirer_answered(struct partition *p)
{
	p->expirer->waiting = false;
	timer_set(&p->expirer->timer, BETWEEN_STEPS_MS);
}

/* ---- the pass ------------------------------------------------------------------------------------------------- */

static err_t read_log(void *arg, log_pos blob, uint64_t at, void *out, size_t n)
{
	return commitlog_read(((struct partition *)arg)->log, blob, at, out, n);
}

static bool has_rules(const struct partition *p)
{
	return p->settings.rules != NULL && p->settings.rules->expire_n > 0;
}

/* The rules may be others than before: a pass begins anew. */
void expirer_set(struct partition *p)
{
	struct expirer *x = p->expirer;
	x->at = (struct expire_cursor){ 0 };
	if (has_rules(p))
		timer_set(&x->timer, p->settings.expire_every_ms);
	else
		timer_clear(&x->timer);
}

static void end_pass(struct expirer *x)
{
	if (x->expired > 0)
		log_write(&store_events[STORE_EV_EXPIRED], NULL,
		    LOG_FIELDS(LOG_STR("partition", x->p->name), LOG_U64("n", x->expired)));
	metric_add(&store_metrics[STORE_M_EXPIRED], x->expired);
	x->expired = 0;
	expirer_set(x->p);
}

static void step(struct expirer *x, struct index_view *v)
{
	struct expire_cursor before = x->at;
	struct expire e = { .conf = x->p->settings.rules,
		.now_s = clock_wall_us() / 1000000,
		.read = read_log,
		.arg = x->p };
	switch (expire_step(&e, v, &x->at, &x->found)) {
	case EXPIRE_FOUND:
		expire_found(x, v, before);
		break;
	case EXPIRE_MORE:
		timer_set(&x->timer, BETWEEN_STEPS_MS);
		break;
	case EXPIRE_END:
		end_pass(x);
		break;
	}
}

static void on_timer(void *arg)
{
	struct expirer *x = OBJ(expirer, arg);
	if (x->p->failed || x->waiting || !has_rules(x->p))
		return;
	struct index_view *v = index_view_begin(x->index);
	if (v != NULL)
		step(x, v);
	else
		timer_set(&x->timer, BETWEEN_STEPS_MS);
	index_view_end(&v);
}

void expirer_begin_pass(struct partition *p)
{
	struct expirer *x = p->expirer;
	x->at = (struct expire_cursor){ 0 };
	if (!x->waiting)
		timer_set(&x->timer, 0);
}

struct expirer *expirer_new(struct partition *p)
{
	struct expirer *x = MEM_NEW(struct expirer);
	*x = (struct expirer){ .magic = expirer_MAGIC, .p = p };
	x->index = index_writer_reader(p->writer);
	timer_init(&x->timer, p->loop, on_timer, x);
	p->expirer = x;
	expirer_set(p);
	return x;
}

void expirer_free(struct expirer **xp)
{
	struct expirer *x = *xp;
	if (x == NULL)
		return;
	timer_clear(&x->timer);
	archiver_free(&x->archiver);
	mem_free(x->user);
	index_close(&x->index);
	x->magic = 0;
	MEM_FREE(xp);
}
