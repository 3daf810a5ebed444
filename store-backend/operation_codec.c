/* operation_codec.c - operations and answers to bytes and back; used by the link, the committer and the
 * recovery. Owns nothing: decoded arrays belong to the caller's arena. */
#include "base/check.h"
#include "base/mem.h"
#include "store-backend/acl.h"
#include "store-backend/mend.h"
#include "store-backend/operation_wire.h"

/* Beside the kind; records from before they were invented have none. */
enum { HAS_ACTOR = 0x80, HAS_OBJECT = 0x40 };

/* ---- numbers and strings -------------------------------------------------------------------------------- */

static const uint8_t *take(struct wire_in *w, size_t n)
{
	static const uint8_t nothing[8];
	if (w->bad || w->rest.n < n) {
		w->bad = true;
		return nothing;
	}
	const uint8_t *p = (const uint8_t *)w->rest.p;
	w->rest = span_from(w->rest, n);
	return p;
}

uint8_t wire_get_u8(struct wire_in *w)
{
	return *take(w, 1);
}

uint32_t wire_get_u32(struct wire_in *w)
{
	const uint8_t *p = take(w, 4);
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t wire_get_u64(struct wire_in *w)
{
	uint64_t low = wire_get_u32(w);
	return low | (uint64_t)wire_get_u32(w) << 32;
}

struct span wire_get_string(struct wire_in *w, size_t max)
{
	size_t n = wire_get_u32(w);
	if (w->bad || n > max || n > w->rest.n) {
		w->bad = true;
		return SPAN_NONE;
	}
	struct span s = span_first(w->rest, n);
	w->rest = span_from(w->rest, n);
	return s;
}

bool wire_put_u8(struct buf *b, uint8_t v)
{
	return buf_add(b, &v, 1);
}

bool wire_put_u32(struct buf *b, uint32_t v)
{
	uint8_t raw[4] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) };
	return buf_add(b, raw, sizeof raw);
}

bool wire_put_u64(struct buf *b, uint64_t v)
{
	return wire_put_u32(b, (uint32_t)v) && wire_put_u32(b, (uint32_t)(v >> 32));
}

bool wire_put_string(struct buf *b, struct span s)
{
	return wire_put_u32(b, (uint32_t)s.n) && buf_add_span(b, s);
}

/* ---- frames ------------------------------------------------------------------------------------------------ */

size_t frame_begin(struct buf *b, enum frame_kind kind)
{
	size_t mark = buf_len(b);
	wire_put_u32(b, 0);
	wire_put_u8(b, (uint8_t)kind);
	return mark;
}

void frame_end(struct buf *b, size_t mark, size_t more)
{
	if (!buf_ok(b))
		return;
	uint64_t n = buf_len(b) - mark - 4 + more;
	CHECK(n <= UINT32_MAX);
	for (int i = 0; i < 4; i++)
		b->p[b->head + mark + (size_t)i] = (char)(uint8_t)(n >> 8 * i);
}

enum frame_result frame_take(
    struct span in, size_t max, enum frame_kind *kind_out, struct span *body_out, size_t *used_out)
{
	struct wire_in w = { .rest = in };
	if (in.n < FRAME_HEAD_BYTES)
		return FRAME_MORE;
	size_t n = wire_get_u32(&w);
	uint8_t kind = wire_get_u8(&w);
	if (n < 1 || n > max || kind == 0 || kind >= FRAME_KIND_COUNT)
		return FRAME_BAD;
	if (in.n - 4 < n)
		return FRAME_MORE;
	*kind_out = (enum frame_kind)kind;
	*body_out = span_first(span_from(in, FRAME_HEAD_BYTES), n - 1);
	*used_out = 4 + n;
	return FRAME_OK;
}

/* ---- lists --------------------------------------------------------------------------------------------------- */

static void *arena_array(struct operation_arena *a, size_t n, size_t size)
{
	CHECK(a->n < COUNT_OF(a->v));
	return a->v[a->n++] = mem_array(n, size);
}

void operation_arena_end(struct operation_arena *a)
{
	while (a->n > 0)
		mem_free(a->v[--a->n]);
}

/* How many elements of at least `least` bytes each follow: no count may ask for more than the bytes
 * that are there could hold. */
static size_t get_count(struct wire_in *w, size_t max, size_t least)
{
	size_t n = wire_get_u32(w);
	if (n > max || n > w->rest.n / least)
		w->bad = true;
	return w->bad ? 0 : n;
}

static void put_uids(struct buf *b, const struct uid_set *set)
{
	wire_put_u32(b, (uint32_t)set->n);
	for (size_t i = 0; i < set->n; i++) {
		wire_put_u32(b, set->v[i].first);
		wire_put_u32(b, set->v[i].last);
	}
}

static struct uid_set get_uids(struct wire_in *w, struct operation_arena *a, size_t max)
{
	size_t n = get_count(w, max, 8);
	uint64_t least = 1;
	if (n == 0)
		return (struct uid_set){ NULL, 0 };
	struct uid_range *v = arena_array(a, n, sizeof *v);
	for (size_t i = 0; i < n; i++) {
		v[i].first = wire_get_u32(w);
		v[i].last = wire_get_u32(w);
		if (v[i].first < least || v[i].last < v[i].first)
			w->bad = true;
		least = (uint64_t)v[i].last + 1;
	}
	return (struct uid_set){ v, n };
}

static void put_flags(struct buf *b, const struct flag_set *f)
{
	wire_put_u32(b, f->flags);
	wire_put_u32(b, (uint32_t)f->keyword_n);
	for (size_t i = 0; i < f->keyword_n; i++)
		wire_put_string(b, f->keywords[i]);
}

static struct flag_set get_flags(struct wire_in *w, struct operation_arena *a)
{
	struct flag_set f = { .flags = wire_get_u32(w) };
	f.keyword_n = get_count(w, STORE_KEYWORDS_MAX, 4);
	if ((f.flags & ~(uint32_t)STORE_FLAGS_ALL) != 0)
		w->bad = true;
	if (f.keyword_n == 0)
		return f;
	struct span *v = arena_array(a, f.keyword_n, sizeof *v);
	for (size_t i = 0; i < f.keyword_n; i++) {
		v[i] = wire_get_string(w, STORE_KEYWORD_LEN_MAX);
		if (!operation_keyword_ok(v[i]))
			w->bad = true;
	}
	f.keywords = v;
	return f;
}

static void put_recipients(struct buf *b, const struct operation *op)
{
	wire_put_u32(b, (uint32_t)op->recipient_n);
	for (size_t i = 0; i < op->recipient_n; i++) {
		wire_put_string(b, op->recipients[i].user);
		wire_put_string(b, op->recipients[i].folder);
	}
}

static void get_recipients(struct wire_in *w, struct operation *op, struct operation_arena *a)
{
	op->recipient_n = get_count(w, STORE_RECIPIENTS_MAX, 8);
	if (op->recipient_n == 0)
		return;
	struct op_recipient *v = arena_array(a, op->recipient_n, sizeof *v);
	for (size_t i = 0; i < op->recipient_n; i++) {
		v[i].user = wire_get_string(w, STORE_USER_MAX);
		v[i].folder = wire_get_string(w, STORE_MAILBOX_NAME_MAX);
		if (!operation_user_ok(v[i].user) ||
		    (v[i].folder.n > 0 && !operation_name_ok(v[i].folder)))
			w->bad = true;
	}
	op->recipients = v;
}

/* ---- operations ------------------------------------------------------------------------------------------------ */

/* Of the kinds that came later: records of the others are as they always were. */
static bool has_adopted(enum operation_kind kind)
{
	return kind >= OP_STAY;
}

static void put_adopted(struct buf *b, const struct op_adopted *a)
{
	wire_put_u8(b, (uint8_t)a->stay);
	wire_put_u32(b, a->uidvalidity);
	wire_put_u32(b, a->uidnext);
	wire_put_u32(b, a->recent_from);
	wire_put_u64(b, a->vanished_from);
	wire_put_u32(b, a->uid);
	wire_put_u64(b, a->modseq);
	wire_put_u64(b, a->keywords);
	wire_put_u64(b, (uint64_t)a->saved_s);
	wire_put_u64(b, a->folder_hash);
}

static void get_adopted(struct wire_in *w, struct op_adopted *a)
{
	a->stay = (enum store_stay)wire_get_u8(w);
	a->uidvalidity = wire_get_u32(w);
	a->uidnext = wire_get_u32(w);
	a->recent_from = wire_get_u32(w);
	a->vanished_from = wire_get_u64(w);
	a->uid = wire_get_u32(w);
	a->modseq = wire_get_u64(w);
	a->keywords = wire_get_u64(w);
	a->saved_s = (int64_t)wire_get_u64(w);
	a->folder_hash = wire_get_u64(w);
}

/* All keywords have one array in the arena, so it is said first how many there are. */
static void put_messages(struct buf *b, const struct operation *op)
{
	uint32_t words = 0;
	for (size_t i = 0; i < op->message_n; i++)
		words += (uint32_t)op->messages[i].set.keyword_n;
	wire_put_u32(b, (uint32_t)op->message_n);
	wire_put_u32(b, words);
	for (size_t i = 0; i < op->message_n; i++) {
		const struct op_message *m = &op->messages[i];
		wire_put_u64(b, m->size);
		wire_put_u64(b, (uint64_t)m->date_s);
		wire_put_u64(b, m->blob);
		wire_put_string(b, m->cache);
		put_flags(b, &m->set);
	}
}

struct word_room {
	struct span *v; /* of the arena */
	size_t n, cap;
};

static void get_message_flags(struct wire_in *w, struct word_room *room, struct flag_set *out)
{
	*out = (struct flag_set){ .flags = wire_get_u32(w) };
	size_t n = get_count(w, STORE_KEYWORDS_MAX, 4);
	if ((out->flags & ~(uint32_t)STORE_FLAGS_ALL) != 0 || n > room->cap - room->n)
		w->bad = true;
	if (w->bad || n == 0)
		return;
	out->keywords = room->v + room->n;
	out->keyword_n = n;
	for (size_t i = 0; i < n; i++) {
		struct span word = wire_get_string(w, STORE_KEYWORD_LEN_MAX);
		w->bad = w->bad || !operation_keyword_ok(word);
		room->v[room->n++] = word;
	}
}

static void get_messages(struct wire_in *w, struct operation *op, struct operation_arena *a)
{
	struct word_room room = { 0 };
	size_t n = get_count(w, STORE_AT_ONCE_MAX, 28);
	room.cap = get_count(w, STORE_AT_ONCE_MAX * STORE_KEYWORDS_MAX, 4);
	if (w->bad || n == 0)
		return;
	struct op_message *v = arena_array(a, n, sizeof *v);
	if (room.cap > 0)
		room.v = arena_array(a, room.cap, sizeof *room.v);
	for (size_t i = 0; i < n; i++) {
		v[i].size = wire_get_u64(w);
		v[i].date_s = (int64_t)wire_get_u64(w);
		v[i].blob = wire_get_u64(w);
		v[i].cache = wire_get_string(w, STORE_CACHE_MAX);
		get_message_flags(w, &room, &v[i].set);
	}
	w->bad = w->bad || room.n != room.cap;
	op->messages = v;
	op->message_n = n;
}

static bool has_entries(enum operation_kind kind)
{
	return kind == OP_SET_METADATA || kind == OP_ADOPT_METADATA;
}

static void put_entries(struct buf *b, const struct operation *op)
{
	wire_put_u32(b, (uint32_t)op->entry_n);
	for (size_t i = 0; i < op->entry_n; i++) {
		wire_put_string(b, op->entries[i].name);
		wire_put_u8(b, op->entries[i].nil);
		wire_put_string(b, op->entries[i].value);
	}
}

static void get_entries(struct wire_in *w, struct operation *op, struct operation_arena *a)
{
	size_t n = get_count(w, STORE_ENTRIES_MAX, 9);
	w->bad = w->bad || n == 0;
	if (w->bad)
		return;
	struct op_entry *v = arena_array(a, n, sizeof *v);
	for (size_t i = 0; i < n; i++) {
		v[i].name = wire_get_string(w, STORE_ENTRY_NAME_MAX);
		uint8_t nil = wire_get_u8(w);
		v[i].nil = nil != 0;
		v[i].value = wire_get_string(w, STORE_ENTRY_VALUE_MAX);
		w->bad = w->bad || nil > 1 || !operation_entry_ok(v[i].name);
	}
	op->entries = v;
	op->entry_n = n;
}

bool operation_encode(const struct operation *op, struct buf *out)
{
	bool object = has_adopted(op->kind) && op->adopted.object != 0;
	wire_put_u8(out, (uint8_t)((unsigned)op->kind | (op->actor.n > 0 ? HAS_ACTOR : 0) |
				   (object ? HAS_OBJECT : 0)));
	wire_put_u8(out, (uint8_t)op->how);
	wire_put_u8(out, op->only_deleted);
	wire_put_string(out, op->user);
	wire_put_u64(out, op->mailbox);
	wire_put_u64(out, op->target);
	wire_put_string(out, op->name);
	wire_put_string(out, op->new_name);
	wire_put_u32(out, op->uses);
	wire_put_u64(out, op->unchanged_since);
	wire_put_u64(out, (uint64_t)op->date_s);
	wire_put_u32(out, (uint32_t)(int32_t)op->date_zone);
	wire_put_u64(out, op->quota_bytes);
	wire_put_u64(out, op->quota_messages);
	wire_put_string(out, op->delivery_id);
	put_uids(out, &op->uids);
	put_flags(out, &op->set);
	put_recipients(out, op);
	wire_put_u64(out, op->message.size);
	wire_put_string(out, op->message.cache);
	if (has_adopted(op->kind))
		put_adopted(out, &op->adopted);
	if (op->kind == OP_APPEND_MANY)
		put_messages(out, op);
	if (has_entries(op->kind))
		put_entries(out, op);
	if (op->kind == OP_MEND)
		wire_put_string(out, op->mends);
	if (object)
		wire_put_u64(out, op->adopted.object);
	if (op->actor.n > 0)
		wire_put_string(out, op->actor);
	return buf_ok(out);
}

static bool has_name(enum operation_kind kind)
{
	return kind == OP_CREATE || kind == OP_DELETE || kind == OP_RENAME ||
	       kind == OP_SUBSCRIBE || kind == OP_UNSUBSCRIBE || kind == OP_ADOPT_MAILBOX;
}

static uint64_t uid_set_count(const struct uid_set *set)
{
	uint64_t n = 0;
	for (size_t i = 0; i < set->n; i++)
		n += (uint64_t)set->v[i].last - set->v[i].first + 1;
	return n;
}

/* Every message has bytes, and all bytes are of one. */
static bool messages_sound(const struct operation *op)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < op->message_n; i++) {
		if (op->messages[i].size == 0 || op->messages[i].size > op->message.size - sum)
			return false;
		sum += op->messages[i].size;
	}
	return op->message_n > 0 && sum == op->message.size && op->message.cache.n == 0;
}

/* Numbers of another store that no store can have. */
static bool adopted_sound(const struct operation *op)
{
	const struct op_adopted *a = &op->adopted;
	if (op->kind == OP_SET_ACL)
		return acl_who_ok(op->name) && op->uses <= ACL_ALL;
	if (op->kind == OP_APPEND_MANY)
		return messages_sound(op);
	if (has_entries(op->kind))
		return op->name.n == 0 || operation_user_ok(op->name);
	if (op->kind == OP_MEND)
		return mends_sound(op->mends) && (op->name.n == 0 || operation_name_ok(op->name));
	if (op->kind == OP_STAY)
		return a->stay < STAY_COUNT;
	if (op->kind == OP_DOMAIN_LIMITS)
		return true;
	if (op->kind == OP_QUOTA_MARK)
		return op->how != FLAGS_SET;
	if (op->kind == OP_ADOPT_MAILBOX)
		return a->uidvalidity > 0 && a->uidnext > 0 && a->recent_from > 0 &&
		       a->recent_from <= a->uidnext && a->modseq > 0 && a->modseq < INT64_MAX;
	if (op->kind == OP_ADOPT_DELIVERY)
		return op->delivery_id.n > 0;
	if (op->kind == OP_ADOPT_VANISHED && uid_set_count(&op->uids) > OPERATION_VANISHED_MAX)
		return false;
	return a->modseq > 0 && a->modseq < INT64_MAX &&
	       (op->kind != OP_ADOPT_MESSAGE || (a->uid > 0 && a->uid < UINT32_MAX));
}

/* What the fields mean together. */
static bool operation_sound(const struct operation *op)
{
	if (op->kind < OP_ENSURE_USER || op->kind >= OP_KIND_COUNT || op->how > FLAGS_REMOVE)
		return false;
	if (op->kind == OP_DELIVER ? op->recipient_n == 0 : !operation_user_ok(op->user))
		return false;
	if (has_name(op->kind) && !operation_name_ok(op->name))
		return false;
	if (op->kind == OP_RENAME && !operation_name_ok(op->new_name))
		return false;
	if (has_adopted(op->kind) && !adopted_sound(op))
		return false;
	if (operation_has_message(op->kind) ? op->message.size > OPERATION_MESSAGE_MAX
					    : op->message.size > 0 || op->message.cache.n > 0)
		return false;
	return op->date_zone > -24 * 60 && op->date_zone < 24 * 60;
}

bool operation_decode(struct span in, struct operation *out, struct operation_arena *a)
{
	struct wire_in w = { .rest = in };
	*out = (struct operation){ 0 };
	unsigned kind = wire_get_u8(&w);
	out->kind = (enum operation_kind)(kind & ~(unsigned)(HAS_ACTOR | HAS_OBJECT));
	out->how = (enum flag_how)wire_get_u8(&w);
	out->only_deleted = wire_get_u8(&w) != 0;
	out->user = wire_get_string(&w, STORE_USER_MAX);
	out->mailbox = wire_get_u64(&w);
	out->target = wire_get_u64(&w);
	out->name = wire_get_string(&w, STORE_MAILBOX_NAME_MAX);
	out->new_name = wire_get_string(&w, STORE_MAILBOX_NAME_MAX);
	out->uses = wire_get_u32(&w);
	out->unchanged_since = wire_get_u64(&w);
	out->date_s = (int64_t)wire_get_u64(&w);
	int32_t zone = (int32_t)wire_get_u32(&w);
	out->date_zone = zone > -1440 && zone < 1440 ? (int16_t)zone : INT16_MAX;
	out->quota_bytes = wire_get_u64(&w);
	out->quota_messages = wire_get_u64(&w);
	out->delivery_id = wire_get_string(&w, STORE_DELIVERY_ID_MAX);
	out->uids = get_uids(&w, a, STORE_RANGES_MAX);
	out->set = get_flags(&w, a);
	get_recipients(&w, out, a);
	out->message.size = wire_get_u64(&w);
	out->message.cache = wire_get_string(&w, STORE_CACHE_MAX);
	if (has_adopted(out->kind))
		get_adopted(&w, &out->adopted);
	if (out->kind == OP_APPEND_MANY)
		get_messages(&w, out, a);
	if (has_entries(out->kind))
		get_entries(&w, out, a);
	if (out->kind == OP_MEND)
		out->mends = wire_get_string(&w, MENDS_MAX * MEND_BYTES);
	if ((kind & HAS_OBJECT) != 0) {
		out->adopted.object = wire_get_u64(&w);
		w.bad = w.bad || out->adopted.object == 0 || !has_adopted(out->kind);
	}
	if ((kind & HAS_ACTOR) != 0) {
		out->actor = wire_get_string(&w, STORE_USER_MAX);
		w.bad = w.bad || !operation_user_ok(out->actor);
	}
	return !w.bad && w.rest.n == 0 && operation_sound(out);
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

bool answer_encode(const struct operation_answer *ans, struct buf *out)
{
	wire_put_u8(out, (uint8_t)ans->result);
	wire_put_u64(out, ans->mailbox);
	wire_put_u32(out, ans->uidvalidity);
	wire_put_u32(out, ans->uid);
	wire_put_u64(out, ans->modseq);
	wire_put_u32(out, ans->recent_from);
	put_uids(out, &ans->uids);
	put_uids(out, &ans->target_uids);
	wire_put_u32(out, (uint32_t)ans->outcome_n);
	for (size_t i = 0; i < ans->outcome_n; i++) {
		wire_put_u8(out, (uint8_t)ans->outcomes[i].result);
		wire_put_u64(out, ans->outcomes[i].mailbox);
		wire_put_u32(out, ans->outcomes[i].uid);
	}
	return buf_ok(out);
}

static enum operation_result get_result(struct wire_in *w)
{
	uint8_t r = wire_get_u8(w);
	if (r >= OPR_COUNT)
		w->bad = true;
	return w->bad ? OPR_LATER : (enum operation_result)r;
}

bool answer_decode(struct span in, struct operation_answer *out, struct operation_arena *a)
{
	struct wire_in w = { .rest = in };
	*out = (struct operation_answer){ .result = get_result(&w) };
	out->mailbox = wire_get_u64(&w);
	out->uidvalidity = wire_get_u32(&w);
	out->uid = wire_get_u32(&w);
	out->modseq = wire_get_u64(&w);
	out->recent_from = wire_get_u32(&w);
	out->uids = get_uids(&w, a, ANSWER_RANGES_MAX);
	out->target_uids = get_uids(&w, a, ANSWER_RANGES_MAX);
	out->outcome_n = get_count(&w, STORE_RECIPIENTS_MAX, 13);
	if (out->outcome_n > 0) {
		struct op_outcome *v = arena_array(a, out->outcome_n, sizeof *v);
		for (size_t i = 0; i < out->outcome_n; i++) {
			v[i].result = get_result(&w);
			v[i].mailbox = wire_get_u64(&w);
			v[i].uid = wire_get_u32(&w);
		}
		out->outcomes = v;
	}
	return !w.bad && w.rest.n == 0;
}
