/* tool_pull.c - postern-store pull: a user who arrives is made what the user is at the other store, which `serve`
 * speaks for on our standard input and output. What came of it is told on standard error, as one JSON object.
 *
 * A pass compares all mailboxes by a digest and brings over what differs (tool_pull_box.c); whatever is
 * there already is not asked for, so a pull that was interrupted goes on where it was. Live, passes are made
 * until one is short ("live"); "final" is for a user whom the other store does not let change any more, and is done only
 * when a pass has found nothing to do. */
#include "store-backend/tool_pull.h"

#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"

enum { PASSES_MAX = 8, SHORT_PASS_MS = 1000, NAMES_MAX = 100000, DELIVERIES_MAX = 2000000 };

/* ---- the other store ------------------------------------------------------------------------------------------ */

bool pull_fail(struct pull *x, const char *why)
{
	if (x->why == NULL)
		x->why = why;
	return false;
}

bool pull_ask(struct pull *x, enum move_frame kind)
{
	if (!move_put(x->out, kind, buf_span(&x->ask)) || fflush(x->out) != 0)
		return pull_fail(x, "the other store is gone");
	return true;
}

bool pull_next(struct pull *x, enum move_frame *kind_out, struct wire_in *w_out)
{
	if (!move_get(x->in, kind_out, &x->frame))
		return pull_fail(x, "the other store is gone");
	*w_out = (struct wire_in){ .rest = buf_span(&x->frame) };
	return true;
}

struct operation pull_operation(const struct pull *x, enum operation_kind kind)
{
	struct operation op;
	operation_init(&op, kind);
	op.user = x->user;
	op.unchanged_since = x->move;
	return op;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static bool note_name(void *arg, struct span name)
{
	(void)map_set(arg, name, arg, NULL);
	return true;
}

static bool note_mailbox(void *arg, const struct index_mailbox *m)
{
	return note_name(arg, m->name);
}

/* What stands in `names` is here and not there. */
struct change_names {
	struct pull *x;
	enum operation_kind kind;
};

static bool change_name(void *arg, struct span name, void *value)
{
	struct change_names *n = arg;
	struct operation op = pull_operation(n->x, n->kind);
	op.name = name;
	tool_link_send(&n->x->link, &op);
	n->x->differs = true;
	return true;
}

/* ---- mailboxes ------------------------------------------------------------------------------------------------------ */

static void free_boxes(struct pull *x)
{
	for (size_t i = 0; i < x->box_n; i++) {
		mem_free(x->boxes[i].name);
		for (size_t k = 0; k < x->boxes[i].word_n; k++)
			mem_free(x->boxes[i].words[k]);
		for (size_t k = 0; k < x->boxes[i].acl_n; k++)
			mem_free(x->boxes[i].acl[k].who);
	}
	x->box_n = 0;
}

static bool take_keywords(struct pull_box *b, struct wire_in *w)
{
	size_t n = wire_get_u32(w);
	if (n > STORE_KEYWORDS_MAX)
		return false;
	for (size_t i = 0; i < n && !w->bad; i++) {
		struct span word = wire_get_string(w, STORE_KEYWORD_LEN_MAX);
		if (!operation_keyword_ok(word))
			return false;
		b->words[b->word_n++] = mem_span_str(word);
	}
	return true;
}

static bool take_mailbox(struct pull *x, struct wire_in w)
{
	if (x->box_n == STORE_MAILBOXES_MAX)
		return false;
	if (x->box_n == x->box_cap) {
		x->box_cap = x->box_cap == 0 ? 64 : x->box_cap * 2;
		x->boxes = mem_grow(x->boxes, x->box_cap, sizeof x->boxes[0]);
	}
	struct pull_box *b = &x->boxes[x->box_n];
	*b = (struct pull_box){ .there = wire_get_u64(&w) };
	struct span name = wire_get_string(&w, STORE_MAILBOX_NAME_MAX);
	b->uses = wire_get_u32(&w);
	b->numbers.uidvalidity = wire_get_u32(&w);
	b->numbers.uidnext = wire_get_u32(&w);
	b->numbers.recent_from = wire_get_u32(&w);
	b->numbers.modseq = wire_get_u64(&w);
	b->numbers.vanished_from = wire_get_u64(&w);
	b->digest = wire_get_u64(&w);
	b->numbers.object = wire_get_u64(&w);
	if (w.bad || !operation_name_ok(name))
		return false;
	b->name = mem_span_str(name);
	x->box_n++;
	return take_keywords(b, &w) && !w.bad && w.rest.n == 0;
}

static bool take_acl(struct pull *x, struct wire_in w)
{
	struct pull_box *b = x->box_n > 0 ? &x->boxes[x->box_n - 1] : NULL;
	struct span who = wire_get_string(&w, ACL_WHO_MAX);
	uint32_t rights = wire_get_u32(&w);
	if (b == NULL || w.bad || b->acl_n == ACL_ROWS_MAX || !acl_who_ok(who) || rights > ACL_ALL)
		return false;
	b->acl[b->acl_n++] = (struct pull_acl){ mem_span_str(who), rights };
	return true;
}

/* Mailboxes into x->boxes, subscriptions into subs. */
static bool read_mailboxes(struct pull *x, struct map *subs)
{
	enum move_frame kind = MOVE_MAILBOX;
	struct wire_in w;
	free_boxes(x);
	buf_clear(&x->ask);
	if (!pull_ask(x, MOVE_ASK_MAILBOXES))
		return false;
	while (kind != MOVE_END) {
		if (!pull_next(x, &kind, &w))
			return false;
		bool ok = kind == MOVE_END || (kind == MOVE_MAILBOX && take_mailbox(x, w)) ||
			  (kind == MOVE_ACL && take_acl(x, w));
		if (kind == MOVE_SUBSCRIPTION) {
			struct span name = wire_get_string(&w, STORE_MAILBOX_NAME_MAX);
			ok = operation_name_ok(name) && note_name(subs, name);
		}
		if (!ok)
			return pull_fail(x, "the other store sent nonsense");
	}
	return true;
}

static bool drop_others(struct pull *x)
{
	struct change_names del = { x, OP_DELETE };
	struct map *names = map_new(NAMES_MAX);
	struct index_view *v = index_view_begin(x->p.index);
	if (v != NULL)
		index_mailboxes(v, x->user, note_mailbox, names);
	bool ok = v != NULL || pull_fail(x, "the index here cannot be read");
	index_view_end(&v);
	for (size_t i = 0; i < x->box_n; i++)
		(void)map_remove(names, span_str(x->boxes[i].name));
	map_each(names, change_name, &del);
	tool_link_drain(&x->link);
	map_free(&names);
	return ok;
}

static bool is_same(struct pull *x, const struct pull_box *b)
{
	struct index_view *v = index_view_begin(x->p.index);
	struct index_mailbox m;
	bool same = v != NULL && index_mailbox_find(v, x->user, span_str(b->name), &m) &&
		    index_mailbox_digest(v, m.id) == b->digest;
	index_view_end(&v);
	return same;
}

/* ---- subscriptions and deliveries ------------------------------------------------------------------------------------- */

struct missing_names {
	struct map *own;
	struct change_names change;
};

static bool subscribe_missing(void *arg, struct span name, void *value)
{
	struct missing_names *m = arg;
	return map_remove(m->own, name) != NULL || change_name(&m->change, name, value);
}

static bool pull_subscriptions(struct pull *x, struct map *there)
{
	struct missing_names m = { map_new(NAMES_MAX), { x, OP_SUBSCRIBE } };
	struct change_names rest = { x, OP_UNSUBSCRIBE };
	struct index_view *v = index_view_begin(x->p.index);
	if (v != NULL)
		index_subscriptions(v, x->user, note_name, m.own);
	bool ok = v != NULL || pull_fail(x, "the index here cannot be read");
	index_view_end(&v);
	if (ok) {
		map_each(there, subscribe_missing, &m);
		map_each(m.own, change_name, &rest);
		tool_link_drain(&x->link);
	}
	map_free(&m.own);
	return ok;
}

static struct span delivery_name(struct span id, uint64_t hash, char out[STORE_DELIVERY_ID_MAX + 8])
{
	size_t n = id.n < STORE_DELIVERY_ID_MAX ? id.n : STORE_DELIVERY_ID_MAX;
	memcpy(out, &hash, sizeof hash);
	memcpy(out + sizeof hash, id.p, n);
	return span_of(out, sizeof hash + n);
}

static bool note_delivery(void *arg, struct span id, uint64_t hash)
{
	char name[STORE_DELIVERY_ID_MAX + 8];
	return note_name(arg, delivery_name(id, hash, name));
}

static bool take_delivery(struct pull *x, struct map *own, struct wire_in w)
{
	char name[STORE_DELIVERY_ID_MAX + 8];
	struct operation op = pull_operation(x, OP_ADOPT_DELIVERY);
	op.delivery_id = wire_get_string(&w, STORE_DELIVERY_ID_MAX);
	op.adopted.folder_hash = wire_get_u64(&w);
	if (w.bad || op.delivery_id.n == 0)
		return false;
	if (map_get(own, delivery_name(op.delivery_id, op.adopted.folder_hash, name)) == NULL) {
		tool_link_send(&x->link, &op);
		x->differs = true;
	}
	return true;
}

/* So that a delivery whose answer was lost there is not made a second time here. */
static bool pull_deliveries(struct pull *x)
{
	struct map *own = map_new(DELIVERIES_MAX);
	enum move_frame kind = MOVE_DELIVERY;
	struct wire_in w;
	struct index_view *v = index_view_begin(x->p.index);
	if (v != NULL)
		index_deliveries(v, x->user, note_delivery, own);
	bool ok = v != NULL || pull_fail(x, "the index here cannot be read");
	index_view_end(&v);
	buf_clear(&x->ask);
	ok = ok && pull_ask(x, MOVE_ASK_DELIVERIES);
	while (ok && kind != MOVE_END) {
		ok = pull_next(x, &kind, &w);
		if (ok && kind != MOVE_END && (kind != MOVE_DELIVERY || !take_delivery(x, own, w)))
			ok = pull_fail(x, "the other store sent nonsense");
	}
	tool_link_drain(&x->link);
	map_free(&own);
	return ok;
}

/* ---- passes ------------------------------------------------------------------------------------------------------------ */

/* What the answer says behind u8 there. */
static const char *why_not_there(struct wire_in *w)
{
	(void)wire_get_u8(w); /* stay */
	(void)wire_get_u64(w);
	(void)wire_get_u64(w);
	if (w->bad)
		return "the other store sent nonsense";
	if (w->rest.n == 0)
		return "the other store does not have the user, or is of an older version: then "
		       "upgrade it first";
	uint32_t version = wire_get_u32(w);
	if (version < MOVE_VERSION)
		return "the other store is of an older version: upgrade it first";
	if (version > MOVE_VERSION)
		return "the other store is of a newer version: upgrade this one first";
	return "the other store does not have the user";
}

static bool check_user(struct pull *x)
{
	enum move_frame kind;
	struct wire_in w;
	buf_clear(&x->ask);
	wire_put_u32(&x->ask, MOVE_VERSION);
	wire_put_string(&x->ask, x->user);
	if (!pull_ask(x, MOVE_ASK_USER) || !pull_next(x, &kind, &w))
		return false;
	bool there = wire_get_u8(&w) != 0;
	if (kind != MOVE_USER || w.bad)
		return pull_fail(x, "the other store sent nonsense");
	if (!there)
		return pull_fail(x, why_not_there(&w));
	struct index_view *v = index_view_begin(x->p.index);
	bool arriving = v != NULL && index_stay(v, x->user) == STAY_ARRIVING;
	index_view_end(&v);
	return arriving || pull_fail(x, "the user is not arriving here");
}

const char *pull_why_refused(enum operation_result r)
{
	return r == OPR_AWAY ? "the user is not arriving here by this move (any more)"
			     : operation_result_name(r);
}

static bool pull_pass(struct pull *x)
{
	struct map *subs = map_new(NAMES_MAX);
	x->differs = false;
	bool ok = read_mailboxes(x, subs) && drop_others(x);
	for (size_t i = 0; ok && i < x->box_n; i++)
		ok = is_same(x, &x->boxes[i]) || pull_box(x, &x->boxes[i]);
	ok = ok && pull_subscriptions(x, subs) && pull_deliveries(x) && pull_metadata(x, 0, 0);
	map_free(&subs);
	if (ok && x->link.refused > 0 && x->link.first_refused != OPR_EXISTS)
		ok = pull_fail(x, pull_why_refused(x->link.first_refused));
	return ok;
}

static bool pull_all(struct pull *x, bool final)
{
	bool ok = check_user(x);
	x->differs = true;
	for (int i = 0; ok && x->differs && i < PASSES_MAX; i++) {
		uint64_t began = clock_mono_ms();
		ok = pull_pass(x);
		if (!final && clock_mono_ms() - began < SHORT_PASS_MS)
			break;
	}
	if (ok && final && x->differs)
		ok = pull_fail(x, "it does not come to an end: does the user still change there?");
	return ok;
}

static void tell(const struct pull *x, bool ok, uint64_t ms)
{
	fprintf(stderr,
	    "{\"mailboxes\":%" PRIu64 ",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64
	    ",\"marks\":%" PRIu64 ",\"vanished\":%" PRIu64 ",\"same\":%s,\"ms\":%" PRIu64
	    ",\"error\":\"%s\"}\n",
	    x->mailboxes, x->messages, x->bytes, x->marks, x->vanished,
	    ok && !x->differs ? "true" : "false", ms, x->why != NULL ? x->why : "");
}

static int pull_user(const struct conf *c, struct pull *x, bool final)
{
	uint64_t began = clock_mono_ms();
	const struct store_partition_conf *pc = tool_partition_of(x->conf, x->user);
	if (pc == NULL || !tool_open(pc, &x->p))
		return TOOL_FAILED;
	x->frame = BUF_INIT(MOVE_FRAME_MAX);
	x->ask = BUF_INIT(MOVE_FRAME_MAX);
	bool ok = tool_link_open(c, pc, &x->link) && pull_all(x, final);
	tell(x, ok, clock_mono_ms() - began);
	tool_link_close(&x->link);
	tool_close(&x->p);
	free_boxes(x);
	mem_free(x->boxes);
	buf_end(&x->frame);
	buf_end(&x->ask);
	return ok ? 0 : TOOL_FAILED;
}

int tool_pull(const struct conf *c, const char *const *words)
{
	struct pull x = {
		.conf = store_options(c), .in = stdin, .out = stdout, .move = UINT64_MAX
	};
	const char *how = words[1] != NULL ? words[1] : "live";
	bool final = strcmp(how, "final") == 0;
	struct buf user;
	int status = TOOL_USAGE;
	if (tool_user(words[0], &user) && (final || strcmp(how, "live") == 0) &&
	    (words[2] == NULL || tool_move(words[2], &x.move))) {
		x.user = buf_span(&user);
		status = pull_user(c, &x, final);
	}
	buf_end(&user);
	return status;
}
