/* lmdb.c - reads of an LMDB file: meta pages, branch and leaf pages, values on overflow pages.
 *
 * Layout (mdb.c of liblmdb): every page begins with its number (8), 2 bytes of padding, flags (2) and two bounds (2 + 2):
 * behind the bounds an array of 2-byte offsets of nodes grows up to `lower`, the nodes lie from `upper` on. A node
 * has 8 bytes in front of its key: two halves of a size (in a branch: of a page number), flags (there: its top),
 * length of the key. The two meta pages are pages 0 and 1. Owns a page of memory during a look-up. */
#include "proto/lmdb.h"

#include "base/bytes.h"
#include "base/mem.h"

#define MAGIC 0xbeefc0deu

enum {
	HEAD = 16,  /* of a page */
	NODE = 8,   /* in front of a key */
	META = 136, /* of a meta page, behind its head */
	DB = 48,    /* one of the two databases in it */
	VERSION = 1,
	TRIES_MAX = 8,
};
enum { P_BRANCH = 0x01, P_LEAF = 0x02, P_OVERFLOW = 0x04, P_META = 0x08, P_KINDS = 0x6f };
enum { F_BIG = 0x01 };
enum { DB_ORDERS = 0x7e }; /* reverse keys, duplicates, integers: orders that we do not know */

struct page {
	unsigned char *bytes; /* of page_size */
	uint32_t size;
	uint16_t flags, lower, upper;
};

struct node {
	struct span key;
	uint64_t child;  /* in a branch */
	size_t size, at; /* in a leaf: bytes of the value; where it begins in the page */
	uint16_t flags;
};

struct look {
	const struct lmdb_source *src;
	struct lmdb_state state;
	struct page page;
	struct span key;
	struct buf *out;
	const char *why;
};

/* ---- meta pages ------------------------------------------------------------------------------- */

static const char *take_meta(struct span bytes, struct lmdb_state *out)
{
	struct bytes_reader r = bytes_reader_of(bytes);
	bytes_raw(&r, 10);
	unsigned flags = bytes_u16(&r);
	bytes_raw(&r, 4);
	uint32_t magic = bytes_u32(&r), version = bytes_u32(&r);
	bytes_raw(&r, 16);
	out->page_size = bytes_u32(&r);
	bytes_raw(&r, DB - 4);
	bytes_raw(&r, 4);
	out->flags = bytes_u16(&r);
	out->depth = bytes_u16(&r);
	bytes_raw(&r, 24);
	out->entries = bytes_u64(&r);
	out->root = bytes_u64(&r);
	bytes_raw(&r, 8);
	out->txnid = bytes_u64(&r);
	if (!bytes_ok(&r) || (flags & P_META) == 0 || magic != MAGIC)
		return "this is no LMDB file";
	if (version != VERSION)
		return "a version of LMDB that is not known";
	bool power = (out->page_size & (out->page_size - 1)) == 0;
	if (!power || out->page_size < LMDB_PAGE_MIN || out->page_size > LMDB_PAGE_MAX)
		return "a size of pages that cannot be";
	return NULL;
}

static const char *read_meta(const struct lmdb_source *src, uint64_t at, struct lmdb_state *out)
{
	char bytes[HEAD + META];
	if (!src->read(src->arg, at, bytes, sizeof bytes))
		return "the file is too short";
	return take_meta(span_of(bytes, sizeof bytes), out);
}

bool lmdb_read_state(const struct lmdb_source *src, struct lmdb_state *out, const char **why_out)
{
	struct lmdb_state second = { 0 };
	*why_out = read_meta(src, 0, out);
	if (*why_out == NULL)
		*why_out = read_meta(src, out->page_size, &second);
	if (*why_out == NULL && second.page_size != out->page_size)
		*why_out = "the meta pages contradict each other";
	if (*why_out == NULL && second.txnid > out->txnid)
		*out = second;
	if (*why_out == NULL && (out->flags & DB_ORDERS) != 0)
		*why_out = "keys in an order that is not known (flags of the database)";
	return *why_out == NULL;
}

/* ---- pages ------------------------------------------------------------------------------------ */

static bool broken(struct look *l, const char *why)
{
	l->why = why;
	return false;
}

static bool read_page(struct look *l, uint64_t number)
{
	struct page *p = &l->page;
	if (number < 2 || number > (uint64_t)INT64_MAX / p->size)
		return broken(l, "a page with an impossible number");
	if (!l->src->read(l->src->arg, number * p->size, p->bytes, p->size))
		return broken(l, "a page is not in the file");
	struct bytes_reader r = bytes_reader_of(span_of(p->bytes, HEAD));
	bool own = bytes_u64(&r) == number;
	bytes_u16(&r);
	p->flags = (uint16_t)(bytes_u16(&r) & P_KINDS);
	p->lower = bytes_u16(&r);
	p->upper = bytes_u16(&r);
	return own || broken(l, "a page has another one's number");
}

static bool read_nodes(struct look *l, uint64_t number)
{
	const struct page *p = &l->page;
	if (!read_page(l, number))
		return false;
	if (p->flags != P_BRANCH && p->flags != P_LEAF)
		return broken(l, "a page of another kind stands in the tree");
	bool even = (p->lower - HEAD) % 2 == 0;
	if (p->lower < HEAD || !even || p->lower > p->upper || p->upper > p->size)
		return broken(l, "a page's bounds cannot be");
	return true;
}

static size_t node_count(const struct page *p)
{
	return (size_t)(p->lower - HEAD) / 2;
}

/* Node number i, i < node_count(). */
static bool get_node(struct look *l, size_t i, struct node *out)
{
	const struct page *p = &l->page;
	struct span all = span_of(p->bytes, p->size);
	struct bytes_reader r = bytes_reader_of(span_from(all, HEAD + 2 * i));
	size_t at = bytes_u16(&r);
	r = bytes_reader_of(span_from(all, at));
	uint64_t low = bytes_u16(&r), high = bytes_u16(&r);
	out->flags = bytes_u16(&r);
	size_t key_n = bytes_u16(&r);
	out->key = bytes_raw(&r, key_n);
	out->at = at + NODE + key_n;
	out->child = low | high << 16 | (uint64_t)out->flags << 32;
	out->size = (size_t)(low | high << 16);
	return (bytes_ok(&r) && at >= p->upper) || broken(l, "an entry lies outside of its page");
}

/* How many keys from number `from` on are not greater than the key. */
static bool count_upto(struct look *l, size_t from, size_t *out)
{
	size_t low = from, high = node_count(&l->page);
	struct node n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (!get_node(l, middle, &n))
			return false;
		if (span_cmp(n.key, l->key) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	*out = low - from;
	return true;
}

/* ---- values ----------------------------------------------------------------------------------- */

/* The page of the leaf is no longer there afterwards. */
static bool take_big(struct look *l, const struct node *n)
{
	struct bytes_reader r =
	    bytes_reader_of(span_from(span_of(l->page.bytes, l->page.size), n->at));
	uint64_t number = bytes_u64(&r);
	if (!bytes_ok(&r))
		return broken(l, "a value lies outside of its page");
	if (!read_page(l, number))
		return false;
	uint64_t pages = (uint64_t)l->page.lower | (uint64_t)l->page.upper << 16;
	if (l->page.flags != P_OVERFLOW || pages * l->page.size < (uint64_t)n->size + HEAD)
		return broken(l, "a large value's pages are not there");
	char *value = mem_alloc(n->size); /* not more than out takes */
	bool ok = l->src->read(l->src->arg, number * l->page.size + HEAD, value, n->size);
	if (ok)
		buf_add_span(l->out, span_of(value, n->size));
	mem_free(value);
	return ok || broken(l, "a large value's pages are not in the file");
}

static bool take_value(struct look *l, const struct node *n)
{
	if ((n->flags & ~F_BIG) != 0)
		return broken(l, "the key stands for a database, or for several values");
	if (buf_len(l->out) + n->size > l->out->max)
		return broken(l, "the value is too long");
	if ((n->flags & F_BIG) != 0)
		return take_big(l, n);
	struct span value =
	    span_first(span_from(span_of(l->page.bytes, l->page.size), n->at), n->size);
	if (value.n != n->size)
		return broken(l, "a value lies outside of its page");
	return buf_add_span(l->out, value) || broken(l, "the value is too long");
}

/* ---- the walk --------------------------------------------------------------------------------- */

/* The first key of a branch page is not looked at: its child has all that is less than the second. */
static bool choose_child(struct look *l, uint64_t *page_out)
{
	size_t i = 0;
	struct node n;
	if (node_count(&l->page) == 0)
		return broken(l, "an empty page stands in the tree");
	if (!count_upto(l, 1, &i) || !get_node(l, i, &n))
		return false;
	*page_out = n.child;
	return true;
}

static enum lmdb_answer look_in_leaf(struct look *l)
{
	size_t i = 0;
	struct node n;
	if (!count_upto(l, 0, &i))
		return LMDB_BROKEN;
	if (i == 0)
		return LMDB_ABSENT;
	if (!get_node(l, i - 1, &n))
		return LMDB_BROKEN;
	if (!span_eq(n.key, l->key))
		return LMDB_ABSENT;
	return take_value(l, &n) ? LMDB_FOUND : LMDB_BROKEN;
}

static enum lmdb_answer walk(struct look *l)
{
	uint64_t page = l->state.root;
	for (size_t depth = 1; depth <= l->state.depth && depth <= LMDB_DEPTH_MAX; depth++) {
		if (!read_nodes(l, page))
			return LMDB_BROKEN;
		if (l->page.flags == P_LEAF)
			return look_in_leaf(l);
		if (!choose_child(l, &page))
			return LMDB_BROKEN;
	}
	broken(l, "the tree is deeper than it says");
	return LMDB_BROKEN;
}

/* One try, on the state that is the newest now. */
static enum lmdb_answer look_once(struct look *l)
{
	l->why = NULL;
	if (!lmdb_read_state(l->src, &l->state, &l->why))
		return LMDB_BROKEN;
	if (l->state.root == UINT64_MAX)
		return LMDB_ABSENT;
	l->page =
	    (struct page){ .bytes = mem_alloc(l->state.page_size), .size = l->state.page_size };
	enum lmdb_answer a = walk(l);
	mem_free(l->page.bytes);
	return a;
}

enum lmdb_answer lmdb_find(
    const struct lmdb_source *src, struct span key, struct buf *out, const char **why_out)
{
	size_t before = buf_len(out);
	struct look l = { .src = src, .key = key, .out = out };
	*why_out = NULL;
	if (key.n == 0 || key.n > LMDB_KEY_MAX)
		return LMDB_ABSENT;
	for (size_t i = 0; i < TRIES_MAX; i++) {
		struct lmdb_state now;
		const char *why;
		enum lmdb_answer a = look_once(&l);
		bool same = lmdb_read_state(src, &now, &why) && now.txnid == l.state.txnid &&
			    now.root == l.state.root;
		*why_out = l.why;
		if (same || (a == LMDB_BROKEN && why != NULL))
			return a;
		buf_cut(out, before);
	}
	*why_out = "the file changes faster than it can be read";
	return LMDB_BROKEN;
}
