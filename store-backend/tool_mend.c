/* tool_mend.c - postern-store check|reconstruct USER [FOLDER]: one user's mailboxes, beside a store that works. Before:
 * tool.c; after: mend_plan.c says what is wrong, tool_link.c has the committer put it right. Owns the shadow and the list of
 * steps.
 *
 * The shadow is brought near while everybody works; then the mailbox is held, the shadow follows to that point, and what
 * differs is asked for, some hundred steps a change. When something goes wrong in between the hold is given back. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "store-backend/mend_plan.h"
#include "store-backend/tool_internal.h"
#include "store-backend/tool_link.h"
#include "store-backend/tool_shadow.h"

enum { BLOB_ROUNDS = 10, FAULTS_SHOWN = 100 };

struct mailboxes {
	uint64_t *v; /* owned: ids */
	size_t n, cap;
	struct span name; /* only this one; empty: all */
};

struct mending {
	const struct store_partition_conf *pc;
	struct span user;
	struct tool_partition here; /* owned */
	struct tool_link link;      /* owned; not of a check */
	struct shadow *shadow;      /* owned; NULL: there is none */
	bool gave_up;               /* there may be one another time */
	uint64_t mailbox;
	char name[STORE_MAILBOX_NAME_MAX + 1]; /* to tell of it */
	struct mend *v;                        /* owned: steps that are not asked for yet */
	size_t n, cap;
	uint64_t told[MEND_KIND_COUNT]; /* steps, by kind */
	uint64_t faults, damaged;
	uint32_t not_done;
};

/* ---- which mailboxes -------------------------------------------------------------------------------------- */

static bool on_mailbox(void *arg, const struct index_mailbox *m)
{
	struct mailboxes *b = arg;
	if (b->name.n > 0 && !span_eq(m->name, b->name))
		return true;
	for (size_t i = 0; i < b->n; i++)
		if (b->v[i] == m->id)
			return true;
	if (b->n == b->cap) {
		b->cap = b->cap == 0 ? 16 : b->cap * 2;
		b->v = mem_grow(b->v, b->cap, sizeof *b->v);
	}
	b->v[b->n++] = m->id;
	return true;
}

static void add_mailboxes(struct index *x, struct span user, struct mailboxes *out)
{
	struct index_view *v = index_view_begin(x);
	if (v != NULL)
		index_mailboxes(v, user, on_mailbox, out);
	index_view_end(&v);
}

static void keep_name(struct mending *g, struct index_view *v)
{
	struct index_mailbox m;
	if (v != NULL && index_mailbox_get(v, g->mailbox, &m))
		(void)snprintf(g->name, sizeof g->name, "%.*s", SPAN_ARG(m.name));
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

static bool keep_step(void *arg, const struct mend *m)
{
	struct mending *g = arg;
	if (g->n == g->cap) {
		g->cap = g->cap == 0 ? MENDS_MAX : g->cap * 2;
		g->v = mem_grow(g->v, g->cap, sizeof *g->v);
	}
	g->v[g->n++] = *m;
	g->told[m->kind]++;
	return true;
}

/* The hold is renewed with each change. */
static bool ask_some(
    struct mending *g, const struct mend *v, size_t n, const struct operation *like)
{
	struct operation op = *like;
	struct buf steps = BUF_INIT((size_t)MENDS_MAX * MEND_BYTES);
	bool last = n == 1 && v[0].kind == MEND_RELEASE;
	if (!last)
		mend_put(&(struct mend){ .kind = MEND_HOLD, .size = MEND_HOLD_S }, &steps);
	for (size_t i = 0; i < n; i++)
		mend_put(&v[i], &steps);
	op.user = g->user;
	op.mailbox = g->mailbox;
	op.mends = buf_span(&steps);
	enum operation_result r = tool_link_ask(&g->link, &op);
	buf_end(&steps);
	g->not_done += r == OPR_OK ? g->link.last.uid : 0;
	if (r != OPR_OK)
		fprintf(stderr, "postern-store: %.*s %s: not put right: %s\n", SPAN_ARG(g->user),
		    g->name, operation_result_name(r));
	return r == OPR_OK;
}

static bool ask_all(struct mending *g)
{
	struct operation op;
	bool ok = true;
	operation_init(&op, OP_MEND);
	for (size_t at = 0; ok && at < g->n; at += MENDS_MAX - 1) {
		size_t n = g->n - at < MENDS_MAX - 1 ? g->n - at : MENDS_MAX - 1;
		ok = ask_some(g, g->v + at, n, &op);
	}
	g->n = 0;
	return ok;
}

static bool ask_one(struct mending *g, enum mend_kind kind)
{
	struct operation op;
	struct mend m = { .kind = kind, .size = kind == MEND_HOLD ? MEND_HOLD_S : 0 };
	operation_init(&op, OP_MEND);
	return ask_some(g, &m, 1, &op);
}

/* ---- one mailbox ---------------------------------------------------------------------------------------------- */

struct views {
	struct index_view *live, *shadow; /* owned */
};

static bool views_begin(struct mending *g, struct views *out)
{
	out->live = index_view_begin(g->here.index);
	out->shadow = g->shadow != NULL ? index_view_begin(shadow_index(g->shadow)) : NULL;
	if (out->live == NULL)
		fprintf(stderr, "postern-store: the index cannot be read\n");
	return out->live != NULL;
}

static void views_end(struct views *v)
{
	index_view_end(&v->live);
	index_view_end(&v->shadow);
}

static struct mend_plan plan_of(struct mending *g, const struct views *v)
{
	return (struct mend_plan){ .live = v->live,
		.shadow = v->shadow,
		.reader = g->here.reader,
		.mailbox = g->mailbox,
		.emit = keep_step,
		.arg = g };
}

/* Without a shadow only what the index itself shows can be put right, and what it does not show is lost; so one that may be had
 * another time is waited for. False: it may. */
static bool follow(struct mending *g, log_pos covered)
{
	err_t err = g->shadow != NULL ? shadow_follow(g->shadow, covered) : ERR_OK;
	if (err)
		shadow_free(&g->shadow);
	g->gave_up = err && err != ERR_CORRUPT;
	return !g->gave_up;
}

/* Nothing changes there any more, and the shadow is to know everything that was before. */
static bool catch_up(struct mending *g)
{
	struct index_view *v = index_view_begin(g->here.index);
	log_pos covered = v != NULL ? index_covered(v) : 0;
	index_view_end(&v);
	return covered != 0 && follow(g, covered);
}

static bool send_row(struct mending *g, const struct index_mailbox *m)
{
	struct mend step = { .kind = MEND_ROW };
	struct operation op;
	operation_init(&op, OP_MEND);
	op.name = m->name;
	op.uses = m->uses;
	op.set.keywords = m->keywords;
	op.set.keyword_n = m->keyword_n;
	op.adopted.uidvalidity = m->uidvalidity;
	op.adopted.uidnext = m->uidnext;
	op.adopted.recent_from = m->recent_from;
	op.adopted.vanished_from = m->vanished_from;
	op.adopted.modseq = m->modseq;
	g->told[MEND_ROW]++;
	return ask_some(g, &step, 1, &op);
}

static bool mend_row(struct mending *g)
{
	struct index_mailbox m = { 0 };
	struct views v;
	bool ok = views_begin(g, &v);
	struct mend_plan plan = plan_of(g, &v);
	keep_name(g, v.shadow);
	if (ok && !mend_row_is_right(&plan, &m)) {
		ok = m.id != 0 && send_row(g, &m);
		if (m.id == 0)
			fprintf(stderr,
			    "postern-store: mailbox %" PRIu64 ": nothing says what it was\n",
			    g->mailbox);
	}
	views_end(&v);
	return ok;
}

static bool mend_part(struct mending *g, bool (*look)(const struct mend_plan *p))
{
	struct views v;
	if (!views_begin(g, &v))
		return false;
	struct mend_plan plan = plan_of(g, &v);
	(void)look(&plan);
	views_end(&v);
	return ask_all(g);
}

/* What others have changed meanwhile is looked at once more. */
static bool mend_blobs(struct mending *g)
{
	bool ok = true;
	g->not_done = 1;
	for (int i = 0; ok && g->not_done > 0 && i < BLOB_ROUNDS; i++) {
		g->not_done = 0;
		ok = mend_part(g, mend_plan_blobs);
	}
	return ok;
}

static bool mend_counts(struct mending *g)
{
	struct views v;
	bool right = false;
	if (!views_begin(g, &v))
		return false;
	struct mend_plan plan = plan_of(g, &v);
	(void)mend_plan_counts(&plan, &right);
	views_end(&v);
	if (right)
		g->told[MEND_COUNTS] = 0;
	return ask_all(g);
}

static bool mend_held(struct mending *g)
{
	return mend_row(g) && mend_part(g, mend_plan_entries) && mend_blobs(g) && mend_counts(g);
}

static int mend_mailbox(struct mending *g, uint64_t id)
{
	g->mailbox = id;
	memset(g->told, 0, sizeof g->told);
	if (!ask_one(g, MEND_HOLD))
		return TOOL_FAILED;
	bool ok = catch_up(g) && mend_held(g);
	ok = ask_one(g, MEND_RELEASE) && ok;
	if (!ok)
		return TOOL_FAILED;
	printf("%.*s %s: %" PRIu64 " messages put right, %" PRIu64 " lost, %" PRIu64
	       " of the list of changes, %" PRIu64 " references%s%s%s\n",
	    SPAN_ARG(g->user), g->name, g->told[MEND_PUT], g->told[MEND_LOST],
	    g->told[MEND_MARK] + g->told[MEND_UNMARK], g->told[MEND_BLOB],
	    g->told[MEND_ROW] > 0 ? ", the mailbox's row" : "",
	    g->told[MEND_VANISHED] > 0 ? ", the list of what has vanished" : "",
	    g->told[MEND_COUNTS] > 0 ? ", counts" : "");
	return g->told[MEND_LOST] > 0 ? TOOL_FAILED : 0;
}

/* ---- check ------------------------------------------------------------------------------------------------------ */

static void tell_fault(struct mending *g, const char *what, uint64_t number)
{
	if (g->faults++ < FAULTS_SHOWN)
		printf("%.*s %s: %s %" PRIu64 "\n", SPAN_ARG(g->user), g->name, what, number);
}

static bool on_body(void *arg, const struct index_entry *e)
{
	struct mending *g = arg;
	if (commitlog_reader_verify(g->here.reader, e->blob) == ERR_CORRUPT)
		tell_fault(g, "damaged in the log is the message", e->uid);
	return true;
}

static void tell_steps(struct mending *g)
{
	static const char *const words[MEND_KIND_COUNT] = {
		[MEND_PUT] = "not as it should be is the message",
		[MEND_LOST] = "cannot be read or has no bytes in the log: message",
		[MEND_MARK] = "not in the list of changes is the message",
		[MEND_UNMARK] = "wrong in the list of changes is the message",
		[MEND_VANISHED] = "not whole is the list of what has vanished",
		[MEND_BLOB] = "wrong references of the bytes at",
	};
	for (size_t i = 0; i < g->n; i++)
		if (words[g->v[i].kind] != NULL)
			tell_fault(g, words[g->v[i].kind],
			    g->v[i].kind == MEND_BLOB ? g->v[i].blob : g->v[i].uid);
	g->n = 0;
}

static int check_mailbox(struct mending *g, uint64_t id)
{
	struct views v;
	bool right;
	g->mailbox = id;
	g->faults = 0;
	if (!views_begin(g, &v))
		return TOOL_FAILED;
	struct mend_plan plan = plan_of(g, &v);
	keep_name(g, v.live);
	(void)mend_plan_entries(&plan);
	(void)mend_plan_blobs(&plan);
	tell_steps(g);
	(void)mend_plan_counts(&plan, &right);
	uint64_t messages = g->v[g->n - 1].refs;
	g->n = 0;
	if (!right)
		tell_fault(g, "wrong counts; messages:", messages);
	index_entries(v.live, id, (struct uid_range){ 1, UINT32_MAX }, on_body, g);
	views_end(&v);
	printf("%.*s %s: %" PRIu64 " messages, %" PRIu64 " faults\n", SPAN_ARG(g->user), g->name,
	    messages, g->faults);
	return g->faults > 0 ? TOOL_FAILED : 0;
}

/* ---- public ------------------------------------------------------------------------------------------------------ */

static int each_mailbox(
    struct mending *g, struct mailboxes *b, int (*one)(struct mending *g, uint64_t id))
{
	int status = 0;
	add_mailboxes(g->here.index, g->user, b);
	if (g->shadow != NULL)
		add_mailboxes(shadow_index(g->shadow), g->user, b);
	for (size_t i = 0; i < b->n && !g->gave_up; i++) {
		int r = one(g, b->v[i]);
		status = status != 0 ? status : r;
	}
	if (b->n == 0)
		fprintf(stderr, "postern-store: %.*s has no such mailbox\n", SPAN_ARG(g->user));
	return b->n == 0 ? TOOL_FAILED : status;
}

static int mend_user(const struct conf *c, struct mending *g, struct mailboxes *b)
{
	err_t err;
	struct index_view *v = index_view_begin(g->here.index);
	log_pos covered = v != NULL ? index_covered(v) : 0;
	index_view_end(&v);
	g->shadow = shadow_new(g->pc, &g->here, &err);
	if ((err && err != ERR_NOT_FOUND) || !follow(g, covered) ||
	    !tool_link_open(c, g->pc, &g->link))
		return TOOL_FAILED;
	int status = each_mailbox(g, b, mend_mailbox);
	tool_link_close(&g->link);
	return status;
}

static int run(const struct conf *c, const char *const *words, bool mend)
{
	struct mailboxes b = { .name = words[1] != NULL ? span_str(words[1]) : SPAN_NONE };
	struct mending g = { 0 };
	struct buf user;
	int status = TOOL_FAILED;
	if (!tool_user(words[0], &user)) {
		buf_end(&user);
		return TOOL_USAGE;
	}
	g.user = buf_span(&user);
	g.pc = tool_partition_of(store_options(c), g.user);
	if (g.pc != NULL && tool_open(g.pc, &g.here)) {
		status = mend ? mend_user(c, &g, &b) : each_mailbox(&g, &b, check_mailbox);
		shadow_free(&g.shadow);
		tool_close(&g.here);
	}
	mem_free(b.v);
	mem_free(g.v);
	buf_end(&user);
	return status;
}

bool tool_names_user(const char *word)
{
	return word != NULL && (strchr(word, '@') != NULL || strncmp(word, "hex:", 4) == 0);
}

int tool_check_user(const struct conf *c, const char *const *words)
{
	return run(c, words, false);
}

int tool_mend_user(const struct conf *c, const char *const *words)
{
	return run(c, words, true);
}
