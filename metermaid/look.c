/* look.c - what an operator sees and resets: the keys that a text means, where their state is.
 *
 * The text is what `postern meter top` prints, or an address, which means all its networks. Owns the
 * looks under way: Redis is asked, so their answers come later. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "metermaid/batch.h"
#include "metermaid/meter_internal.h"

enum { LOOK_KEYS_MAX = 256, LOOK_OUT_MAX = 256 * 1024 };

#define look_MAGIC 0x3e7e100cu

struct looked {
	struct meter_key key;
	uint64_t users; /* that its limit has grown by */
	struct buf text;
};

struct look {
	uint32_t magic;
	struct metermaid *m;
	enum look_act act;
	struct rules *rules; /* one reference */
	struct meter_late late;
	uint32_t id;
	size_t n;
	struct looked v[LOOK_KEYS_MAX];
};

static void look_free(struct look *k)
{
	for (size_t i = 0; i < k->n; i++)
		buf_end(&k->v[i].text);
	rules_unref(&k->rules);
	k->magic = 0;
	mem_free(k);
}

/* ---- which keys ---- */

static bool has_length(const struct meter_key *k, const struct meter_facts *f, int bits)
{
	return bits < 0 || rule_tier_bits(&k->rule->tiers[k->tier], f) == bits;
}

/* A reset forgets what was used up, not who is known. */
static bool is_shown(const struct look *k, const struct op *op)
{
	return !op_is_helper(op->kind) || (op->kind == OP_USERS && k->act == LOOK_SHOW);
}

static void add_keys(struct look *k, struct rule *r, struct span text)
{
	struct meter_key keys[KEYS_PER_QUESTION_MAX];
	struct meter_facts f;
	int bits;
	if (r->kind == RULE_LIST || !rule_key_facts(r, text, &f, &bits))
		return;
	size_t n = rule_add_keys(r, &f, keys, 0);
	for (size_t i = 0; i < n && k->n < LOOK_KEYS_MAX; i++) {
		if (!has_length(&keys[i], &f, bits) || !is_shown(k, &keys[i].op))
			continue;
		struct looked *one = &k->v[k->n++];
		one->key = keys[i];
		one->text = BUF_INIT(KEY_TEXT_MAX);
		rule_key_text(&keys[i], &f, &one->text);
	}
}

/* ---- rows ---- */

static uint64_t whole_part(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

/* What is used up, and how long until one more passes. */
static uint64_t used_of(
    const struct op *op, const struct op_state *s, uint64_t now_us, uint64_t *wait_us_out)
{
	uint64_t tat;
	*wait_us_out = 0;
	switch (op->kind) {
	case OP_RATE:
	case OP_PENALTY:
		*wait_us_out = bucket_wait_us(op->rate, s->t, now_us, 1, &tat);
		return s->t > now_us ? whole_part(s->t - now_us, op->rate.interval_us) : 0;
	case OP_COUNTER:
		*wait_us_out = s->n >= op->count && s->until > now_us ? s->until - now_us : 0;
		return s->n;
	case OP_GREY:
		*wait_us_out = s->n == 0 && s->t > now_us ? s->t - now_us : 0;
		return s->n;
	case OP_LEASE:
	case OP_LEASE_SET:
	case OP_GREY_NET:
	case OP_USERS:
	case OP_KINDS:
		break;
	}
	return s->n;
}

/* The users of a network stand in front of the key that grows with them. */
static void learn_users(struct look *k, size_t i, const struct op_state *s)
{
	const struct meter_key *of = &k->v[i].key;
	for (size_t at = i + 1; of->op.kind == OP_USERS && at < k->n; at++)
		if (k->v[at].key.rule == of->rule && k->v[at].key.tier == of->tier)
			k->v[at].users = s->n;
}

static void put_limit(const struct looked *one, struct buf *out)
{
	const struct meter_key *k = &one->key;
	const struct rule_limit which = { k->window, one->users * k->op.grow };
	if (k->op.kind == OP_USERS)
		buf_printf(out, "+%" PRIu64 " each", k->op.grow);
	else
		rule_put_limit(k->rule, &k->rule->tiers[k->tier], which, out);
}

static void put_row(const struct looked *one, const struct op_state *s, uint64_t now_us,
    const char *said, struct buf *out)
{
	const struct meter_key *k = &one->key;
	const struct op op = k->op.kind == OP_USERS ? k->op : op_grown(&k->op, one->users);
	uint64_t wait_us, used = used_of(&op, s, now_us, &wait_us);
	struct span key = buf_span(&one->text);
	span_cut(&key, '|');
	buf_add_str(out, buf_len(out) > 1 ? ",{\"rule\":" : "{\"rule\":");
	fmt_json_string(out, span_str(k->rule->name));
	buf_add_str(out, ",\"key\":");
	fmt_json_string(out, key);
	buf_printf(out, ",\"kind\":\"%s\",\"used\":%" PRIu64 ",\"limit\":\"",
	    k->op.kind == OP_USERS ? "users" : rule_kinds[k->rule->kind], used);
	put_limit(one, out);
	buf_printf(out, "\",\"retry_s\":%" PRIu64 ",\"left_s\":%" PRIu64,
	    whole_part(wait_us, 1000000),
	    s->until > now_us ? whole_part(s->until - now_us, 1000000) : 0);
	buf_printf(out, ",\"state\":\"%s\"}", said);
}

/* ---- of this host ---- */

static void look_in_table(struct look *k, struct table *t, struct buf *out)
{
	struct op_state s;
	uint64_t now_us = t == meter_host_table() ? meter_host_now_us() : clock_mono_ms() * 1000;
	for (size_t i = 0; i < k->n; i++) {
		bool known = table_show(t, &k->v[i].key.op, now_us, &s);
		if (known && k->v[i].key.op.kind == OP_USERS)
			s.n = op_users(&k->v[i].key.op, &s, now_us);
		if (known)
			learn_users(k, i, &s);
		if (known)
			put_row(&k->v[i], &s, now_us, k->act == LOOK_RESET ? "reset" : "here", out);
		if (known && k->act == LOOK_RESET)
			table_reset(t, &k->v[i].key.op);
	}
}

/* ---- in Redis ---- */

static const char script[] =
    "local t = redis.call('TIME') local out = {t[1] * 1000000 + t[2]} "
    "for _, k in ipairs(KEYS) do "
    "local users = string.sub(k, 1, 12) == '{postern}:u:' "
    "local n = users and redis.call('ZCARD', k) or 0 "
    "out[#out + 1] = users and (n > 0 and tostring(n) or '') or redis.call('GET', k) or '' "
    "out[#out + 1] = redis.call('PTTL', k) "
    "if ARGV[1] == 'reset' then redis.call('DEL', k) end end return out";

static uint64_t take_digits(struct span *s)
{
	uint64_t v = 0;
	size_t n = 0;
	while (n < s->n && n < 18 && ascii_is_digit((unsigned char)s->p[n]))
		v = v * 10 + (uint64_t)(s->p[n++] - '0');
	*s = span_from(*s, n);
	return v;
}

/* The sum of "holder=count@expiry;", those that are over left out. */
static uint64_t sum_of_holders(struct span text, uint64_t now_us)
{
	uint64_t sum = 0;
	while (text.n > 0) {
		struct span one = span_cut(&text, ';');
		span_cut(&one, '=');
		uint64_t n = take_digits(&one);
		one = span_from(one, 1);
		sum += take_digits(&one) > now_us ? n : 0;
	}
	return sum;
}

/* The values that meter.lua writes. */
static struct op_state read_state(
    const struct op *op, struct span text, int64_t ttl_ms, uint64_t now_us)
{
	struct op_state s = { .until = now_us + (ttl_ms > 0 ? (uint64_t)ttl_ms * 1000 : 0) };
	struct span rest = text;
	if (op->kind == OP_LEASE)
		s.n = sum_of_holders(text, now_us);
	else if (op->kind == OP_GREY && span_eq(text, SPAN("ok")))
		s.n = 1;
	else if (op->kind == OP_COUNTER || op->kind == OP_USERS)
		s.n = take_digits(&rest);
	else
		s.t = take_digits(&rest);
	return s;
}

static void on_reply(void *arg, const struct redis_reply *r)
{
	struct look *k = OBJ(look, arg);
	struct buf out = BUF_INIT(LOOK_OUT_MAX);
	buf_add_char(&out, '[');
	bool good = r->got == REDIS_VALUES && r->n == 1 + 2 * k->n && r->v[0].n > 0;
	for (size_t i = 0; good && i < k->n; i++) {
		struct span text = r->v[1 + 2 * i].text;
		uint64_t now_us = (uint64_t)r->v[0].n;
		if (text.n == 0)
			continue;
		struct op_state s = read_state(&k->v[i].key.op, text, r->v[2 + 2 * i].n, now_us);
		learn_users(k, i, &s);
		put_row(&k->v[i], &s, now_us, k->act == LOOK_RESET ? "reset" : "tier", &out);
	}
	buf_add_char(&out, ']');
	if (k->act == LOOK_RESET)
		hot_forget(k->m->hot);
	k->late.end(k->late.arg, k->id, good ? buf_span(&out) : SPAN("[]"));
	buf_end(&out);
	look_free(k);
}

static bool ask_redis(struct look *k)
{
	static const size_t before = 3;
	struct span *words = mem_array(before + k->n + 1, sizeof *words);
	struct buf names = BUF_INIT(LOOK_KEYS_MAX * (KEY_TEXT_MAX + 16)), count = BUF_INIT(24);
	size_t *ends = mem_array(k->n + 1, sizeof *ends);
	for (size_t i = 0; i < k->n; i++) {
		batch_key(k->v[i].key.op.kind, buf_span(&k->v[i].text), &names);
		ends[i + 1] = buf_len(&names);
	}
	buf_printf(&count, "%zu", k->n);
	words[0] = SPAN("EVAL");
	words[1] = span_str(script);
	words[2] = buf_span(&count);
	for (size_t i = 0; i < k->n; i++)
		words[before + i] = span_of(buf_span(&names).p + ends[i], ends[i + 1] - ends[i]);
	words[before + k->n] = k->act == LOOK_RESET ? SPAN("reset") : SPAN("show");
	bool sent = redis_link_call(k->m->redis, words, before + k->n + 1, on_reply, k);
	mem_free(words);
	mem_free(ends);
	buf_end(&names);
	buf_end(&count);
	return sent;
}

void look_start(struct metermaid *m, enum look_act act, const char *const *key_and_rule, size_t n,
    struct look_to to)
{
	struct look *k = MEM_NEW(struct look);
	*k = (struct look){ .magic = look_MAGIC, .m = m, .act = act, .late = *to.late };
	k->rules = rules_ref(m->rules);
	for (size_t i = 0; i < m->rules->n; i++)
		if (n < 2 || strcmp(m->rules->v[i].name, key_and_rule[1]) == 0)
			add_keys(k, &m->rules->v[i], span_str(key_and_rule[0]));
	if (act == LOOK_RESET)
		witness_reset(m->witness, key_and_rule[0], n < 2 ? NULL : key_and_rule[1]);
	if (k->n > 0 && m->redis != NULL && ask_redis(k)) {
		k->id = k->late.begin(k->late.arg);
		return;
	}
	if (act == LOOK_RESET)
		hot_forget(m->hot);
	buf_add_char(to.out, '[');
	look_in_table(k, m->redis != NULL ? m->share : meter_host_table(), to.out);
	buf_add_char(to.out, ']');
	look_free(k);
}
