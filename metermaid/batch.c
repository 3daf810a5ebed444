/* batch.c - the words of one EVALSHA and the numbers that come back. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "metermaid/batch.h"
#include "metermaid/rule.h"
#include "metermaid/script.h"

enum {
	NUMBERS = 6, /* that answer a question which does not just pass */
	RULES_IN_BATCH_MAX = 256,
	SLOTS = 1024, /* of the table of keys */
	TEXT_MAX = 512 * 1024,
	PACKED_MAX = 512 * 1024,
	WORDS_BEFORE = 3,
	WORDS_AFTER = 2
};
_Static_assert(2 + BATCH_QUESTIONS_MAX * NUMBERS <= REDIS_VALUES_MAX, "the answers fit");
_Static_assert(BATCH_OPS_MAX + WORDS_BEFORE + WORDS_AFTER <= REDIS_WORDS_MAX, "the words fit");
_Static_assert(SLOTS >= 2 * BATCH_OPS_MAX, "there is always a free slot");

#define batch_MAGIC 0x4ed1ba7cu

struct place {
	struct key_id id;
	size_t at, len; /* its name in `text` */
	char letter;
};

/* Whose keys are bounded together. */
struct family {
	size_t at, len; /* the index's name in `text` */
	uint64_t most, life_ms;
};

/* Keeps the words, so that they can be sent again with the script's text after NOSCRIPT. */
struct batch {
	uint32_t magic;
	struct redis_link *link;
	batch_fn *fn;
	void *arg;
	size_t count, op_count, key_count, family_count;
	size_t ops[BATCH_QUESTIONS_MAX];
	uint16_t slots[SLOTS]; /* 1 + place of the key, by its digest; 0: free */
	struct place keys[BATCH_OPS_MAX];
	struct family families[RULES_IN_BATCH_MAX];
	struct buf text;   /* names */
	struct buf packed; /* the questions, MessagePack; array_n elements */
	size_t array_n;
	bool sent_text;
};

static void batch_free(struct batch *b)
{
	b->magic = 0;
	buf_end(&b->text);
	buf_end(&b->packed);
	mem_free(b);
}

static void batch_end(struct batch *b, const struct op_answer *answers)
{
	batch_fn *fn = b->fn;
	void *arg = b->arg;
	batch_free(b);
	fn(arg, answers);
}

/* ---- MessagePack ---- */

static void put_be(struct buf *out, uint8_t mark, uint64_t v, size_t bytes)
{
	uint8_t raw[9] = { mark };
	for (size_t i = 0; i < bytes; i++)
		raw[1 + i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
	CHECK(buf_add(out, raw, 1 + bytes));
}

static void put_number(struct buf *out, uint64_t v)
{
	if (v < 0x80)
		put_be(out, (uint8_t)v, 0, 0);
	else if (v <= UINT16_MAX)
		put_be(out, 0xcd, v, 2);
	else if (v <= UINT32_MAX)
		put_be(out, 0xce, v, 4);
	else
		put_be(out, 0xcf, v, 8);
}

static void put_text(struct buf *out, struct span s)
{
	put_be(out, 0xda, s.n, 2);
	CHECK(buf_add_span(out, s));
}

static void put_array(struct buf *out, size_t n)
{
	put_be(out, 0xdd, n, 4);
}

static void add_number(struct batch *b, uint64_t v)
{
	put_number(&b->packed, v);
	b->array_n++;
}

/* 0, or the digits: numbers of Lua are not exact beyond 2^53. */
static void add_hex(struct batch *b, uint64_t v)
{
	char digits[20];
	snprintf(digits, sizeof digits, "%" PRIx64, v);
	if (v == 0)
		put_number(&b->packed, 0);
	else
		put_text(&b->packed, span_str(digits));
	b->array_n++;
}

/* ---- keys ---- */

static char letter_of(enum op_kind kind)
{
	static const char letters[OP_KINDS] = { 'r', 'p', 'c', 'n', 'g', 'l', 'l', 'u' };
	return letters[kind];
}

/* All keys share a hash tag: one slot, so that the step stays atomic on a cluster too. Each kind has
 * names of its own: what one wrote means nothing to another. */
void batch_key(enum op_kind kind, struct span key, struct buf *out)
{
	buf_printf(out, "{postern}:%c:", letter_of(kind));
	buf_add_span(out, key);
}

/* Its place among the keys of the batch, from 1. */
static size_t key_place(struct batch *b, const struct op *op, struct span key)
{
	char letter = letter_of(op->kind);
	size_t slot = (op->id.h1 ^ (uint64_t)letter) % SLOTS;
	for (; b->slots[slot] != 0; slot = (slot + 1) % SLOTS) {
		const struct place *p = &b->keys[b->slots[slot] - 1];
		if (p->id.h1 == op->id.h1 && p->id.h2 == op->id.h2 && p->letter == letter)
			return b->slots[slot];
	}
	struct place *p = &b->keys[b->key_count++];
	*p = (struct place){ .id = op->id, .at = buf_len(&b->text), .letter = letter };
	batch_key(op->kind, key, &b->text);
	p->len = buf_len(&b->text) - p->at;
	b->slots[slot] = (uint16_t)b->key_count;
	return b->key_count;
}

static bool is_family(
    const struct batch *b, const struct family *f, const struct op *op, struct span rule)
{
	static const size_t before = sizeof "{postern}:i:r:" - 1;
	struct span name = span_of(buf_span(&b->text).p + f->at, f->len);
	return f->most == op->keys_max && name.n == before + rule.n &&
	       name.p[before - 2] == letter_of(op->kind) &&
	       memcmp(name.p + before, rule.p, rule.n) == 0;
}

/* The keys of a rule and kind have the rule's name in front of the first bar. Its number, from 0; when
 * there are too many, keys are counted with those of another rule. */
static size_t family_of(struct batch *b, const struct op *op, struct span key)
{
	struct span rule = span_cut(&key, '|');
	for (size_t i = b->family_count; i-- > 0;)
		if (is_family(b, &b->families[i], op, rule)) {
			struct family *f = &b->families[i];
			uint64_t life = op_life_us(op) / 1000 + 1;
			f->life_ms = f->life_ms > life ? f->life_ms : life;
			return i;
		}
	if (b->family_count == RULES_IN_BATCH_MAX)
		return 0;
	struct family *f = &b->families[b->family_count];
	*f = (struct family){ .at = buf_len(&b->text), .most = op->keys_max };
	buf_printf(&b->text, "{postern}:i:%c:", letter_of(op->kind));
	buf_add_span(&b->text, rule);
	f->len = buf_len(&b->text) - f->at;
	f->life_ms = op_life_us(op) / 1000 + 1;
	return b->family_count++;
}

struct batch *batch_begin(struct redis_link *link)
{
	struct batch *b = MEM_NEW(struct batch);
	b->magic = batch_MAGIC;
	b->link = link;
	b->text = BUF_INIT(TEXT_MAX);
	b->packed = BUF_INIT(PACKED_MAX);
	return b;
}

bool batch_has_room(const struct batch *b, size_t ops)
{
	return b->count < BATCH_QUESTIONS_MAX && b->op_count + ops <= BATCH_OPS_MAX;
}

void batch_question(struct batch *b, enum op_mode mode, size_t ops)
{
	CHECK(batch_has_room(b, ops));
	b->ops[b->count++] = ops;
	b->op_count += ops;
	add_number(b, (uint64_t)mode);
	add_number(b, ops);
}

static void add_limits(struct batch *b, const struct op *op)
{
	add_number(b, op->rate.interval_us);
	add_number(b, op->rate.tolerance_us);
}

void batch_op(struct batch *b, const struct op *op, struct span key)
{
	add_number(b, key_place(b, op, key));
	add_number(b, (uint64_t)op->kind * 3 + (uint64_t)op->over);
	add_number(b, family_of(b, op, key));
	add_number(b, op->cost);
	switch (op->kind) {
	case OP_RATE:
		add_limits(b, op);
		add_number(b, op->extra);
		break;
	case OP_PENALTY:
		add_limits(b, op);
		add_number(b, op->span_us);
		add_number(b, op->remember_us);
		add_hex(b, op->who);
		break;
	case OP_COUNTER:
		add_number(b, op->count);
		add_number(b, op->span_us);
		break;
	case OP_GREY:
		add_number(b, op->count);
		add_number(b, op->span_us);
		add_number(b, op->window_us);
		add_number(b, op->remember_us);
		break;
	case OP_LEASE:
	case OP_LEASE_SET:
		add_number(b, op->kind == OP_LEASE ? op->count : op->keep);
		add_number(b, op->span_us);
		add_hex(b, op->who);
		break;
	case OP_USERS:
		add_number(b, op->remember_us);
		add_number(b, op->grow);
		add_number(b, op->grow_max);
		add_number(b, op->span_us); /* 0: what grows behind it is a count */
		add_number(b, op->count);
		add_hex(b, op->who);
		break;
	case OP_GREY_NET:
	case OP_KINDS:
		break;
	}
}

static void on_reply(void *arg, const struct redis_reply *r);

static void pack_families(const struct batch *b, struct buf *out)
{
	const char *all = buf_span(&b->text).p;
	put_array(out, b->family_count * 3);
	for (size_t i = 0; i < b->family_count; i++) {
		const struct family *f = &b->families[i];
		put_text(out, span_of(all + f->at, f->len));
		put_number(out, f->most);
		put_number(out, f->life_ms);
	}
}

static bool send_words(struct batch *b, bool with_text)
{
	static struct span words[WORDS_BEFORE + BATCH_OPS_MAX + WORDS_AFTER];
	char keys[24];
	size_t n = 0;
	const char *all = buf_span(&b->text).p;
	struct buf questions = BUF_INIT(PACKED_MAX + 16), families = BUF_INIT(PACKED_MAX);
	put_array(&questions, 1 + b->array_n);
	put_number(&questions, b->count);
	buf_add_span(&questions, buf_span(&b->packed));
	pack_families(b, &families);
	words[n++] = with_text ? SPAN("EVAL") : SPAN("EVALSHA");
	words[n++] = with_text ? meter_script() : span_str(meter_script_sha1());
	snprintf(keys, sizeof keys, "%zu", b->key_count);
	words[n++] = span_str(keys);
	for (size_t i = 0; i < b->key_count; i++)
		words[n++] = span_of(all + b->keys[i].at, b->keys[i].len);
	words[n++] = buf_span(&questions);
	words[n++] = buf_span(&families);
	bool sent = redis_link_call(b->link, words, n, on_reply, b);
	buf_end(&questions);
	buf_end(&families);
	return sent;
}

/* Six numbers; false: they cannot be the answer to a question of n keys. */
static bool take_answer(const struct redis_value *v, size_t n, struct op_answer *out)
{
	uint64_t all = (UINT64_C(1) << n) - 1;
	if (v[1].n < 0 || (uint64_t)v[1].n > n || v[2].n < 0 || v[3].n < 0 || v[3].n > 1 ||
	    v[4].n < 0 || (uint64_t)v[4].n > all || v[5].n < 0 || (uint64_t)v[5].n > all)
		return false;
	*out = (struct op_answer){
		.index = v[1].n == 0 ? n : (size_t)v[1].n - 1,
		.wait_us = (uint64_t)v[2].n,
		.hard = v[3].n == 1,
		.over = (uint32_t)v[4].n,
		.extra = (uint32_t)v[5].n,
	};
	return true;
}

/* Each number is checked. */
static bool take_answers(
    const struct batch *b, const struct redis_reply *r, struct op_answer out[BATCH_QUESTIONS_MAX])
{
	int64_t last = 0;
	if (r->got != REDIS_VALUES || r->texts > 0 || r->n % NUMBERS != 2 ||
	    r->v[0].n != (int64_t)b->count || r->v[1].n <= 0)
		return false;
	for (size_t i = 0; i < b->count; i++)
		out[i] = (struct op_answer){ .index = b->ops[i] };
	for (size_t at = 2; at < r->n; at += NUMBERS) {
		int64_t q = r->v[at].n;
		if (q <= last || q > (int64_t)b->count ||
		    !take_answer(&r->v[at], b->ops[q - 1], &out[q - 1]))
			return false;
		last = q;
	}
	for (size_t i = 0; i < b->count; i++) {
		out[i].us = (uint64_t)r->v[1].n;
		out[i].seq = (uint32_t)i;
	}
	return true;
}

static void on_reply(void *arg, const struct redis_reply *r)
{
	struct batch *b = OBJ(batch, arg);
	struct op_answer answers[BATCH_QUESTIONS_MAX];
	if (r->got == REDIS_NOSCRIPT && !b->sent_text) {
		b->sent_text = true;
		if (send_words(b, true))
			return;
	}
	bool good = take_answers(b, r, answers);
	if (!good && r->got == REDIS_VALUES)
		redis_link_doubt(b->link, "it answers what was not asked");
	batch_end(b, good ? answers : NULL);
}

bool batch_send(struct batch **b, batch_fn *fn, void *arg)
{
	struct batch *sent = *b;
	*b = NULL;
	sent->fn = fn;
	sent->arg = arg;
	if (send_words(sent, false))
		return true;
	batch_free(sent);
	return false;
}
