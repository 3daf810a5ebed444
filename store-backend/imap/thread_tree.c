/* thread_tree.c - messages become threads; see thread_tree.h.
 *
 * Before: thread.c adds message after message, and each is linked at once to those it refers to, which may be
 * nodes without a message (dummies). Closing: dummies fall out, roots of one subject are joined, all siblings are
 * ordered by one sort of all nodes. Owns the nodes, the ids and the subjects. */
#include "store-backend/imap/thread_tree.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

enum { NONE = 0, NODES_FIRST = 256, DEPTH_MAX = 1000, SUBJECTS_MAX_BYTES = 64 * 1024 * 1024 };

/* Node 0 is none. */
struct node {
	uint32_t parent;
	uint32_t name; /* 0: a dummy */
	int64_t sent;
	uint32_t order;                 /* among equal dates */
	uint32_t subject_at, subject_n; /* in subjects */
	bool refwd, told, open;
	uint32_t first, last, next; /* after closing */
	uint32_t children;
};

struct thread_tree {
	enum thread_how how;
	struct node *v; /* owned */
	size_t n, cap;
	struct map *ids;     /* owned: id -> number of its node */
	struct buf subjects; /* owned */
	uint32_t at;         /* telling: the node that comes next */
	bool closed;
};

struct thread_tree *thread_tree_new(enum thread_how how)
{
	struct thread_tree *t = MEM_NEW(struct thread_tree);
	t->how = how;
	t->cap = NODES_FIRST;
	t->v = mem_array(t->cap, sizeof t->v[0]);
	t->n = 1;
	t->ids = map_new(THREAD_NODES_MAX);
	t->subjects = BUF_INIT(SUBJECTS_MAX_BYTES);
	return t;
}

void thread_tree_free(struct thread_tree **tp)
{
	struct thread_tree *t = *tp;
	if (t == NULL)
		return;
	mem_free(t->v);
	map_free(&t->ids);
	buf_end(&t->subjects);
	MEM_FREE(tp);
}

static void *to_value(uint32_t node)
{
	return (void *)(uintptr_t)node;
}

static uint32_t of_value(void *value)
{
	return (uint32_t)(uintptr_t)value;
}

static struct span subject_of(const struct thread_tree *t, const struct node *n)
{
	return span_first(span_from(buf_span(&t->subjects), n->subject_at), n->subject_n);
}

/* NONE: too many. */
static uint32_t add_node(struct thread_tree *t)
{
	if (t->n == THREAD_NODES_MAX)
		return NONE;
	if (t->n == t->cap) {
		t->cap *= 2;
		t->v = mem_grow(t->v, t->cap, sizeof t->v[0]);
	}
	t->v[t->n] = (struct node){ .sent = INT64_MAX };
	return (uint32_t)t->n++;
}

/* ---- references ----------------------------------------------------------------------------------- */

/* What stands between "<" and ">"; false: no more. */
static bool next_id(struct span *rest, struct span *id_out)
{
	while (rest->n > 0) {
		struct span before = span_cut(rest, '<'), id = span_cut(rest, '>');
		(void)before;
		if (id.n > 0 && id.n <= THREAD_ID_MAX) {
			*id_out = id;
			return true;
		}
	}
	return false;
}

/* The node of an id, made when missing. */
static uint32_t node_of(struct thread_tree *t, struct span id)
{
	uint32_t n = of_value(map_get(t->ids, id));
	if (n == NONE)
		n = add_node(t);
	if (n != NONE && map_get(t->ids, id) == NULL)
		(void)map_set(t->ids, id, to_value(n), NULL);
	return n;
}

/* Is `node` a superior of `below`, or too far from its root to be sure? */
static bool may_be_above(const struct thread_tree *t, uint32_t node, uint32_t below)
{
	unsigned depth = 0;
	for (; below != NONE && depth < DEPTH_MAX; depth++) {
		if (below == node)
			return true;
		below = t->v[below].parent;
	}
	return depth == DEPTH_MAX;
}

static void link_under(struct thread_tree *t, uint32_t parent, uint32_t child)
{
	if (!may_be_above(t, child, parent))
		t->v[child].parent = parent;
}

/* The ids of References, the newest ones last, or the first of In-Reply-To. */
static size_t read_references(const struct thread_message *m, struct span *ids)
{
	struct span rest = m->references, id;
	size_t n = 0;
	while (next_id(&rest, &id)) {
		if (n == THREAD_REFERENCES_MAX)
			memmove(ids, ids + 1, --n * sizeof *ids);
		ids[n++] = id;
	}
	rest = m->in_reply_to;
	if (n == 0 && next_id(&rest, &ids[0]))
		n = 1;
	return n;
}

/* Each id is the parent of the next, the last one the message's, whatever it was before. */
static bool link_references(struct thread_tree *t, uint32_t node, const struct thread_message *m)
{
	struct span ids[THREAD_REFERENCES_MAX];
	size_t n = read_references(m, ids);
	uint32_t before = NONE;
	for (size_t i = 0; i < n; i++) {
		uint32_t now = node_of(t, ids[i]);
		if (now == NONE)
			return false;
		if (before != NONE && t->v[now].parent == NONE)
			link_under(t, before, now);
		before = now;
	}
	t->v[node].parent = NONE;
	if (before != NONE)
		link_under(t, before, node);
	return true;
}

/* Its own node: that of its id, unless another message has the same. */
static uint32_t message_node(struct thread_tree *t, const struct thread_message *m)
{
	struct span rest = m->id, id;
	if (t->how == THREAD_REFERENCES && next_id(&rest, &id)) {
		uint32_t n = node_of(t, id);
		if (n == NONE || t->v[n].name == 0)
			return n;
	}
	return add_node(t);
}

bool thread_tree_add(struct thread_tree *t, const struct thread_message *m)
{
	uint32_t at = message_node(t, m);
	if (at == NONE)
		return false;
	struct node *n = &t->v[at];
	n->name = m->name;
	n->order = m->name;
	n->sent = m->sent;
	n->refwd = m->refwd;
	n->subject_at = (uint32_t)buf_len(&t->subjects);
	n->subject_n = (uint32_t)m->subject.n;
	return buf_add_span(&t->subjects, m->subject) &&
	       (t->how == THREAD_ORDEREDSUBJECT || link_references(t, at, m));
}

/* ---- order ------------------------------------------------------------------------------------------- */

/* A dummy is as old as its oldest child. */
static void date_dummies(struct thread_tree *t)
{
	for (size_t i = 1; i < t->n; i++) {
		struct node *p = &t->v[t->v[i].parent];
		if (t->v[i].name == 0 || t->v[i].parent == NONE || p->name != 0)
			continue;
		if (t->v[i].sent < p->sent ||
		    (t->v[i].sent == p->sent && t->v[i].order < p->order)) {
			p->sent = t->v[i].sent;
			p->order = t->v[i].order;
		}
	}
}

static int by_date(const void *a, const void *b, void *arg)
{
	const struct thread_tree *t = arg;
	const struct node *x = &t->v[*(const uint32_t *)a], *y = &t->v[*(const uint32_t *)b];
	if (x->sent != y->sent)
		return x->sent < y->sent ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

/* The nodes from 1 on, by date; the caller frees it. */
static uint32_t *all_by_date(struct thread_tree *t)
{
	uint32_t *order = mem_array(t->n, sizeof *order);
	for (size_t i = 1; i < t->n; i++)
		order[i - 1] = (uint32_t)i;
	qsort_r(order, t->n - 1, sizeof *order, by_date, t);
	return order;
}

/* Children lists in order of date; node 0 is the parent of the roots. Dummies without children stay out. */
static void make_lists(struct thread_tree *t)
{
	uint32_t *order = all_by_date(t);
	for (size_t i = 0; i < t->n; i++)
		t->v[i].first = t->v[i].last = t->v[i].next = t->v[i].children = 0;
	for (size_t i = 1; i < t->n; i++)
		t->v[t->v[i].parent].children += t->v[i].name != 0;
	for (size_t i = 0; i + 1 < t->n; i++) {
		struct node *n = &t->v[order[i]], *p = &t->v[n->parent];
		if (n->name == 0 && n->children == 0)
			continue;
		if (p->last == NONE)
			p->first = order[i];
		else
			t->v[p->last].next = order[i];
		p->last = order[i];
	}
	mem_free(order);
	for (size_t i = 0; i < t->n; i++)
		t->v[i].children = 0;
	for (size_t i = 0; i < t->n; i++) {
		for (uint32_t c = t->v[i].first; c != NONE; c = t->v[c].next)
			t->v[i].children++;
	}
}

/* ---- dummies fall out -------------------------------------------------------------------------------- */

/* The nearest superior that is a message, or the topmost dummy; remembered in every dummy that was passed. */
static uint32_t real_parent(struct thread_tree *t, uint32_t node)
{
	uint32_t at = t->v[node].parent, next;
	while (at != NONE && t->v[at].name == 0 && t->v[at].parent != NONE)
		at = t->v[at].parent;
	for (uint32_t d = t->v[node].parent; d != NONE && d != at; d = next) {
		next = t->v[d].parent;
		t->v[d].parent = at;
	}
	return at;
}

static void drop_dummies(struct thread_tree *t)
{
	uint32_t *only = mem_array(t->n, sizeof *only);
	for (size_t i = 1; i < t->n; i++) {
		if (t->v[i].name != 0)
			t->v[i].parent = real_parent(t, (uint32_t)i);
	}
	for (size_t i = 1; i < t->n; i++) {
		uint32_t p = t->v[i].parent;
		if (t->v[i].name != 0 && p != NONE && t->v[p].name == 0)
			only[p]++;
	}
	for (size_t i = 1; i < t->n; i++) {
		uint32_t p = t->v[i].parent;
		if (t->v[i].name != 0 && p != NONE && t->v[p].name == 0 && only[p] == 1)
			t->v[i].parent = NONE;
	}
	mem_free(only);
}

/* ---- roots of one subject ------------------------------------------------------------------------------ */

/* The message whose subject is that of the root. */
static uint32_t speaker(const struct thread_tree *t, uint32_t root)
{
	return t->v[root].name != 0 ? root : t->v[root].first;
}

/* Which root is to stand for the subject (RFC 5256 section 3, step 5B). */
static void choose_root(struct thread_tree *t, struct map *subjects, uint32_t root)
{
	const struct node *n = &t->v[speaker(t, root)];
	struct span subject = subject_of(t, n);
	if (subject.n == 0)
		return;
	uint32_t old = of_value(map_get(subjects, subject));
	bool better = old == NONE || (t->v[old].name != 0 && t->v[root].name == 0) ||
		      (t->v[old].name != 0 && t->v[speaker(t, old)].refwd && !n->refwd);
	if (better)
		(void)map_set(subjects, subject, to_value(root), NULL);
}

static void move_children(struct thread_tree *t, uint32_t from, uint32_t to)
{
	for (uint32_t c = t->v[from].first; c != NONE; c = t->v[c].next)
		t->v[c].parent = to;
}

/* Step 5C. False: too many. */
static bool join_root(struct thread_tree *t, struct map *subjects, uint32_t root)
{
	struct span subject = subject_of(t, &t->v[speaker(t, root)]);
	uint32_t kept = subject.n == 0 ? NONE : of_value(map_get(subjects, subject));
	if (kept == NONE || kept == root)
		return true;
	bool kept_dummy = t->v[kept].name == 0, dummy = t->v[root].name == 0;
	if (kept_dummy && dummy) {
		move_children(t, root, kept);
		return true;
	}
	if (kept_dummy || (t->v[root].refwd && !t->v[kept].refwd)) {
		t->v[root].parent = kept;
		return true;
	}
	uint32_t both = add_node(t);
	if (both == NONE)
		return false;
	t->v[root].parent = t->v[kept].parent = both;
	(void)map_set(subjects, subject, to_value(both), NULL);
	return true;
}

static void join_subjects(struct thread_tree *t)
{
	struct map *subjects = map_new(THREAD_NODES_MAX);
	for (uint32_t r = t->v[0].first; r != NONE; r = t->v[r].next)
		choose_root(t, subjects, r);
	for (uint32_t r = t->v[0].first, next; r != NONE; r = next) {
		next = t->v[r].next;
		if (!join_root(t, subjects, r))
			break;
	}
	map_free(&subjects);
}

/* ORDEREDSUBJECT: the oldest of a subject is the root, the others are its children. */
static void join_same(struct thread_tree *t)
{
	struct map *subjects = map_new(THREAD_NODES_MAX);
	for (uint32_t r = t->v[0].first; r != NONE; r = t->v[r].next) {
		struct span subject = subject_of(t, &t->v[r]);
		uint32_t root = of_value(map_get(subjects, subject));
		if (root != NONE)
			t->v[r].parent = root;
		else
			(void)map_set(subjects, subject, to_value(r), NULL);
	}
	map_free(&subjects);
}

void thread_tree_close(struct thread_tree *t)
{
	if (t->closed)
		return;
	t->closed = true;
	if (t->how == THREAD_REFERENCES)
		drop_dummies(t);
	date_dummies(t);
	make_lists(t);
	if (t->how == THREAD_REFERENCES)
		join_subjects(t);
	else
		join_same(t);
	date_dummies(t);
	make_lists(t);
	t->at = t->v[0].first;
}

/* ---- telling -------------------------------------------------------------------------------------------- */

/* The node itself; then comes its first child. An only child stands behind its parent, others in parentheses. */
static void put_node(struct thread_tree *t, struct node *n, struct buf *out)
{
	n->open = n->parent == NONE || t->v[n->parent].children > 1;
	if (n->open)
		buf_add_char(out, '(');
	if (n->name != 0)
		buf_printf(out, "%u", n->name);
	if (n->name != 0 && n->first != NONE)
		buf_add_char(out, ' ');
}

/* Behind a node that has been told with all below it. */
static uint32_t after(struct thread_tree *t, uint32_t at, struct buf *out)
{
	while (at != NONE) {
		if (t->v[at].open)
			buf_add_char(out, ')');
		if (t->v[at].next != NONE)
			return t->v[at].next;
		at = t->v[at].parent;
	}
	return NONE;
}

bool thread_tree_put(struct thread_tree *t, struct buf *out, size_t most)
{
	while (t->at != NONE && buf_len(out) < most) {
		struct node *n = &t->v[t->at];
		put_node(t, n, out);
		t->at = n->first != NONE ? n->first : after(t, t->at, out);
	}
	return t->at == NONE;
}
