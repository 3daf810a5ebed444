/* batch.c - the words of one EVALSHA and the numbers that come back. */
#include <inttypes.h>

#include "base/check.h"
#include "base/mem.h"
#include "metermaid/batch.h"
#include "metermaid/script.h"

enum {
	WORDS_MAX = 4 + BATCH_QUESTIONS_MAX * (2 + KEYS_PER_QUESTION_MAX * 5),
	TEXT_MAX = 256 * 1024
};

#define batch_MAGIC 0x4ed1ba7cu

/* Keeps the words, so that they can be sent again with the script's text after NOSCRIPT. */
struct batch {
	uint32_t magic;
	struct redis_link *link;
	batch_fn *fn;
	void *arg;
	size_t count;
	size_t key_counts[BATCH_QUESTIONS_MAX];
	struct buf text;
	size_t n;
	struct {
		size_t at, len;
	} words[WORDS_MAX];
	bool sent_text;
};

static void batch_end(struct batch *b, const struct table_answer *answers)
{
	batch_fn *fn = b->fn;
	void *arg = b->arg;
	b->magic = 0;
	buf_end(&b->text);
	mem_free(b);
	fn(arg, answers);
}

static void add_word(struct batch *b, struct span w)
{
	CHECK(b->n < WORDS_MAX);
	b->words[b->n].at = buf_len(&b->text);
	b->words[b->n++].len = w.n;
	CHECK(buf_add_span(&b->text, w));
}

static void add_number(struct batch *b, uint64_t v)
{
	char tmp[24];
	struct buf num = BUF_INIT(sizeof tmp);
	buf_printf(&num, "%" PRIu64, v);
	add_word(b, buf_span(&num));
	buf_end(&num);
}

/* All keys share a hash tag: one slot, so that the step stays atomic on a cluster too. */
static void add_key(struct batch *b, struct span key)
{
	struct buf full = BUF_INIT(KEY_TEXT_MAX + 16);
	buf_add_str(&full, "{postern}:r:");
	buf_add_span(&full, key);
	add_word(b, buf_span(&full));
	buf_end(&full);
}

static void build(struct batch *b, const struct batch_question *q, size_t count)
{
	size_t keys = 0;
	for (size_t i = 0; i < count; i++)
		keys += q[i].n;
	add_number(b, keys);
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < q[i].n; k++)
			add_key(b, q[i].keys[k].ask.key);
	add_number(b, count);
	for (size_t i = 0; i < count; i++) {
		b->key_counts[i] = q[i].n;
		add_number(b, (uint64_t)q[i].mode);
		add_number(b, q[i].n);
		for (size_t k = 0; k < q[i].n; k++) {
			const struct table_ask *a = &q[i].keys[k].ask;
			add_number(b, a->limit.interval_us);
			add_number(b, a->limit.tolerance_us);
			add_number(b, a->cost);
			add_number(b, a->soft);
		}
	}
}

static void on_reply(void *arg, const struct redis_reply *r);

static bool send_words(struct batch *b, bool with_text)
{
	struct span all = buf_span(&b->text);
	struct span *words = mem_array(b->n + 2, sizeof *words);
	words[0] = with_text ? SPAN("EVAL") : SPAN("EVALSHA");
	words[1] = with_text ? meter_script() : span_str(meter_script_sha1());
	for (size_t i = 0; i < b->n; i++)
		words[i + 2] = span_of(all.p + b->words[i].at, b->words[i].len);
	bool ok = redis_link_call(b->link, words, b->n + 2, on_reply, b);
	mem_free(words);
	return ok;
}

/* Three numbers a question, each checked: a server that lies is a server that is lost. */
static bool take_answers(const struct batch *b, const struct redis_reply *r,
    struct table_answer out[BATCH_QUESTIONS_MAX])
{
	if (r->got != REDIS_NUMBERS || r->n != b->count * 3)
		return false;
	for (size_t i = 0; i < b->count; i++) {
		int64_t index = r->v[i * 3], wait = r->v[i * 3 + 1], hard = r->v[i * 3 + 2];
		if (index < 0 || (uint64_t)index > b->key_counts[i] || wait < 0 || hard < 0 ||
		    hard > 1)
			return false;
		out[i] = (struct table_answer){
			.index = index == 0 ? b->key_counts[i] : (size_t)index - 1,
			.wait_us = (uint64_t)wait,
			.hard = hard == 1,
		};
	}
	return true;
}

static void on_reply(void *arg, const struct redis_reply *r)
{
	struct batch *b = OBJ(batch, arg);
	struct table_answer answers[BATCH_QUESTIONS_MAX];
	if (r->got == REDIS_NOSCRIPT && !b->sent_text) {
		b->sent_text = true;
		if (send_words(b, true))
			return;
	}
	batch_end(b, take_answers(b, r, answers) ? answers : NULL);
}

bool batch_send(struct redis_link *link, const struct batch_question *questions, size_t count,
    batch_fn *fn, void *arg)
{
	struct batch *b = MEM_NEW(struct batch);
	CHECK(count <= BATCH_QUESTIONS_MAX);
	b->magic = batch_MAGIC;
	b->link = link;
	b->fn = fn;
	b->arg = arg;
	b->count = count;
	b->text = BUF_INIT(TEXT_MAX);
	build(b, questions, count);
	if (send_words(b, false))
		return true;
	buf_end(&b->text);
	mem_free(b);
	return false;
}
