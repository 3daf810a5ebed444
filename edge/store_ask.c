/* store_ask.c - would the store take it? (part of step 3; before: at_store.c, behind it: out_pool.c)
 *
 * Owns one struct store_ask for each question under way. What was answered is kept in the committer's
 * memory (store_memory.c). */
#include "edge/store_ask.h"

#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"

#include "edge/commit_internal.h"
#include "edge/lmtp_address.h"
#include "edge/out_conf.h"
#include "edge/store_memory.h"

#define store_ask_MAGIC 0xc0331703u

enum ask_state { SA_PLACE, SA_STORE };

struct store_ask {
	struct ticket ticket; /* first */
	uint32_t magic;
	enum ask_state state;
	struct committer *owner;
	struct timer deadline;
	struct ticket *ask;             /* owned; of the state */
	char *store, *address, *sender; /* owned */
	bool require_tls;
	struct outcome outcome;
	struct out_recipient to;
	struct out_mail mail;
	store_answer_fn *fn;
	void *arg;
};

/* ---- memory ------------------------------------------------------------------------------------ */

static bool recall(struct committer *c, const struct store_key *key, struct store_answer *out)
{
	const struct store_memory *m = c->memory;
	bool refusals = c->edge->verify_refused_ttl > 0, takes = c->edge->verify_taken_ttl > 0;
	uint64_t now = loop_now_ms(c->loop);
	*out = (struct store_answer){ .remembered = true };
	if (refusals && store_memory_find(m, STORE_FACT_REFUSES, key, now, &out->said)) {
		out->word = STORE_REFUSES;
	} else if (takes && store_memory_find(m, STORE_FACT_TAKES, key, now, NULL)) {
		out->word = STORE_TAKES;
	} else if (refusals && store_memory_find(m, STORE_FACT_SILENT, key, now, NULL)) {
		out->word = STORE_SILENT;
		out->why = "did not answer a moment ago";
	} else {
		return false;
	}
	return true;
}

static void memorize(const struct store_ask *a, const struct store_answer *answer)
{
	const struct edge_conf *conf = a->owner->edge;
	const struct store_key key = { .store = span_str(a->store),
		.address = span_str(a->address),
		.sender = span_str(a->sender),
		.size = a->mail.body.size };
	static const enum store_fact facts[] = {
		[STORE_TAKES] = STORE_FACT_TAKES,
		[STORE_REFUSES] = STORE_FACT_REFUSES,
		[STORE_SILENT] = STORE_FACT_SILENT,
	};
	uint64_t ms =
	    answer->word == STORE_TAKES ? conf->verify_taken_ttl : conf->verify_refused_ttl;
	if (answer->word != STORE_UNSURE && ms > 0)
		store_memory_put(a->owner->memory, facts[answer->word], &key,
		    loop_now_ms(a->owner->loop) + ms,
		    answer->word == STORE_REFUSES ? &answer->said : NULL);
}

/* ---- ends -------------------------------------------------------------------------------------- */

static void ask_free(struct store_ask *a)
{
	ticket_cancel(&a->ask);
	timer_clear(&a->deadline);
	mem_free(a->store);
	mem_free(a->address);
	mem_free(a->sender);
	a->magic = 0;
	mem_free(a);
}

static void cancel(struct ticket *t)
{
	ask_free(OBJ(store_ask, t));
}

/* Last statement of whoever calls it. */
static void answer(struct store_ask *a, const struct store_answer *answer)
{
	store_answer_fn *fn = a->fn;
	void *arg = a->arg;
	memorize(a, answer);
	ask_free(a);
	fn(arg, answer);
}

static void answer_why(struct store_ask *a, enum store_word word, const char *why)
{
	struct store_answer said = { .word = word, .why = why };
	answer(a, &said);
}

/* The directory's silence is not the store's. */
static void on_deadline(void *arg)
{
	struct store_ask *a = OBJ(store_ask, arg);
	if (a->state == SA_STORE)
		answer_why(a, STORE_SILENT, "did not answer in time");
	else
		answer_why(a, STORE_UNSURE, "the directory did not answer in time");
}

/* ---- the way ----------------------------------------------------------------------------------- */

/* See the header. RFC 5321 section 4.2.1: x5z is the state of the mail system, all else is not about mail. */
static bool is_about_recipient(const struct outcome *o)
{
	char subject = o->enhanced[0] != '\0' && o->enhanced[1] == '.' ? o->enhanced[2] : '0';
	bool store_itself = subject >= '3' && subject <= '5' && o->enhanced[3] == '.';
	return o->code / 10 % 10 == 5 && (o->code >= 500 || !store_itself);
}

static void on_sent(void *arg, const struct out_result *r)
{
	struct store_ask *a = OBJ(store_ask, arg);
	const struct outcome *o = &a->outcome;
	struct store_answer said = { .said = *o };
	a->ask = NULL;
	if (r->end != OUT_ANSWERED) {
		answer_why(a, STORE_SILENT, r->why);
	} else if (o->fate == FATE_DELIVERED) {
		said.word = STORE_TAKES;
		answer(a, &said);
	} else if (!r->sender_refused && is_about_recipient(o)) {
		said.word = STORE_REFUSES;
		answer(a, &said);
	} else {
		answer_why(a, STORE_UNSURE, said.said.text);
	}
}

static void on_place(void *arg, enum directory_status status, const struct store_place *place)
{
	struct store_ask *a = OBJ(store_ask, arg);
	a->ask = NULL;
	if (status != DIRECTORY_FOUND) {
		answer_why(a, STORE_UNSURE, "the directory cannot be asked for the store");
	} else if (place->lmtp == 0) {
		answer_why(a, STORE_UNSURE, "the store does not take mail");
	} else {
		struct out_target to = {
			.kind = OUT_LMTP, .host = place->host, .port = place->lmtp
		};
		to.tls = out_conf_tls(a->owner->edge, &to, a->require_tls);
		a->state = SA_STORE;
		a->ask = out_pool_send(a->owner->pool, &to, &a->mail, on_sent, a);
	}
}

/* ---- public ------------------------------------------------------------------------------------ */

bool store_ask_known(struct committer *c, const struct store_question *q, struct store_answer *out)
{
	char *address = lmtp_address_new(q->user, q->detail);
	const struct store_key key = { .store = q->store,
		.address = span_str(address),
		.sender = span_str(q->sender),
		.size = q->size };
	bool known = recall(c, &key, out);
	mem_free(address);
	return known;
}

struct ticket *store_ask(
    struct committer *c, const struct store_question *q, store_answer_fn *fn, void *arg)
{
	struct store_ask *a = MEM_NEW(struct store_ask);
	a->ticket.cancel = cancel;
	a->magic = store_ask_MAGIC;
	a->owner = c;
	a->fn = fn;
	a->arg = arg;
	a->store = mem_span_str(q->store);
	a->address = lmtp_address_new(q->user, q->detail);
	a->sender = mem_str(q->sender);
	a->require_tls = q->require_tls;
	a->to = (struct out_recipient){ .address = a->address, .outcome = &a->outcome };
	a->mail = (struct out_mail){ .ask_only = true,
		.sender = a->sender,
		.body_8bit = q->body_8bit,
		.smtputf8 = q->smtputf8,
		.require_tls = q->require_tls,
		.body = { .size = q->size },
		.recipients = &a->to,
		.recipient_count = 1 };
	timer_init(&a->deadline, c->loop, on_deadline, a);
	timer_set(&a->deadline, c->edge->verify_timeout);
	a->ask = directory_store(c->directory, q->store, on_place, a);
	return &a->ticket;
}
