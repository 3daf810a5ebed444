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
	NUMBERS = 5, /* that answer a question */
	WORDS_MAX = BATCH_QUESTIONS_MAX * 2 + BATCH_OPS_MAX * 7,
	TEXT_MAX = 512 * 1024
};
_Static_assert(BATCH_QUESTIONS_MAX *NUMBERS <= REDIS_VALUES_MAX, "the answers fit");
_Static_assert(WORDS_MAX + BATCH_OPS_MAX + 4 <= REDIS_WORDS_MAX, "the words fit");

#define batch_MAGIC 0x4ed1ba7cu

struct word {
	size_t at, len;
};

/* Keeps the words, so that they can be sent again with the script's text after NOSCRIPT. */
struct batch {
	uint32_t magic;
	struct redis_link *link;
	batch_fn *fn;
	void *arg;
	size_t count, op_count;
	size_t ops[BATCH_QUESTIONS_MAX];
	struct buf text;        /* the bytes of all words */
	struct buf keys, words; /* of struct word: where they are */
	bool sent_text;
};

static void batch_free(struct batch *b)
{
	b->magic = 0;
	buf_end(&b->text);
	buf_end(&b->keys);
	buf_end(&b->words);
	mem_free(b);
}

static void add_word(struct buf *words, size_t at, size_t len)
{
	struct word w = { at, len };
	CHECK(buf_add(words, &w, sizeof w));
}

static void batch_end(struct batch *b, const struct op_answer *answers)
{
	batch_fn *fn = b->fn;
	void *arg = b->arg;
	batch_free(b);
	fn(arg, answers);
}

static void add_number(struct batch *b, uint64_t v)
{
	char digits[24];
	size_t n = 0;
	do
		digits[sizeof digits - ++n] = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	add_word(&b->words, buf_len(&b->text), n);
	CHECK(buf_add(&b->text, digits + sizeof digits - n, n));
}

static void add_hex(struct batch *b, uint64_t v)
{
	size_t at = buf_len(&b->text);
	CHECK(buf_printf(&b->text, "%" PRIx64, v));
	add_word(&b->words, at, buf_len(&b->text) - at);
}

/* All keys share a hash tag: one slot, so that the step stays atomic on a cluster too. Each kind has
 * names of its own: what one wrote means nothing to another. */
void batch_key(enum op_kind kind, struct span key, struct buf *out)
{
	static const char kinds[OP_KINDS] = { 'r', 'p', 'c', 'n', 'g', 'l', 'l' };
	buf_add_str(out, "{postern}:");
	buf_add_char(out, kinds[kind]);
	buf_add_char(out, ':');
	buf_add_span(out, key);
}

struct batch *batch_begin(struct redis_link *link)
{
	struct batch *b = MEM_NEW(struct batch);
	b->magic = batch_MAGIC;
	b->link = link;
	b->text = BUF_INIT(TEXT_MAX);
	b->keys = BUF_INIT(BATCH_OPS_MAX * sizeof(struct word));
	b->words = BUF_INIT(WORDS_MAX * sizeof(struct word));
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
	size_t at = buf_len(&b->text);
	batch_key(op->kind, key, &b->text);
	add_word(&b->keys, at, buf_len(&b->text) - at);
	add_number(b, (uint64_t)op->kind * 3 + (uint64_t)op->over);
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
	case OP_GREY_NET:
	case OP_KINDS:
		break;
	}
}

static void on_reply(void *arg, const struct redis_reply *r);

/* Adds the places' bytes to the n words that are there. */
static size_t put_words(
    const struct batch *b, const struct buf *places, struct span *words, size_t n)
{
	const char *all = buf_span(&b->text).p;
	struct span from = buf_span(places);
	struct word w;
	for (size_t at = 0; at < from.n; at += sizeof w) {
		memcpy(&w, from.p + at, sizeof w);
		words[n++] = span_of(all + w.at, w.len);
	}
	return n;
}

static bool send_words(struct batch *b, bool with_text)
{
	static struct span words[REDIS_WORDS_MAX];
	char keys[24], count[24];
	size_t n = 0;
	words[n++] = with_text ? SPAN("EVAL") : SPAN("EVALSHA");
	words[n++] = with_text ? meter_script() : span_str(meter_script_sha1());
	snprintf(keys, sizeof keys, "%zu", b->op_count);
	words[n++] = span_str(keys);
	n = put_words(b, &b->keys, words, n);
	snprintf(count, sizeof count, "%zu", b->count);
	words[n++] = span_str(count);
	n = put_words(b, &b->words, words, n);
	return redis_link_call(b->link, words, n, on_reply, b);
}

/* Each number is checked. */
static bool take_answers(
    const struct batch *b, const struct redis_reply *r, struct op_answer out[BATCH_QUESTIONS_MAX])
{
	if (r->got != REDIS_VALUES || r->texts > 0 || r->n != b->count * NUMBERS)
		return false;
	for (size_t i = 0; i < b->count; i++) {
		int64_t v[NUMBERS];
		uint64_t n = b->ops[i], all = (UINT64_C(1) << n) - 1;
		for (size_t k = 0; k < NUMBERS; k++)
			v[k] = r->v[i * NUMBERS + k].n;
		if (v[0] < 0 || (uint64_t)v[0] > n || v[1] < 0 || v[2] < 0 || v[2] > 1 ||
		    v[3] < 0 || (uint64_t)v[3] > all || v[4] < 0 || (uint64_t)v[4] > all)
			return false;
		out[i] = (struct op_answer){
			.index = v[0] == 0 ? n : (size_t)v[0] - 1,
			.wait_us = (uint64_t)v[1],
			.hard = v[2] == 1,
			.over = (uint32_t)v[3],
			.extra = (uint32_t)v[4],
		};
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
