/* ask.c - a question's way over look-ups (before: directory.c, which makes it; after: its asker).
 *
 * find: the whole name, then without its detail, then the domain of the user that was found (its status may
 * overrule the user's). Look-ups go to the back end itself when it answers at once, else through the cache.
 * Answers are given from a deferred call of their own, so that an asker may do anything in its callback, or at once to
 * who can take them so. Owns the ask. */
#include "directory/ask.h"

#include "base/check.h"
#include "base/mem.h"

#include "directory/cache.h"
#include "directory/name.h"
#include "directory/tables.h"

/* ---- life ---- */

void ask_free(struct ask *a)
{
	ticket_cancel(&a->wait);
	soon_clear(&a->soon);
	list_remove(&a->link);
	record_unref(&a->record);
	buf_end(&a->key);
	generation_unref(&a->gen);
	a->magic = 0;
	mem_free(a);
}

static void on_cancel(struct ticket *t)
{
	ask_free(OBJ(ask, t));
}

static void count_status(enum directory_status status)
{
	if (status == DIRECTORY_FOUND)
		directory_count(FOUND);
	else if (status == DIRECTORY_ABSENT)
		directory_count(ABSENT);
	else
		directory_count(UNKNOWN);
}

static void count_verdict(enum directory_status status)
{
	if (status == DIRECTORY_FOUND)
		directory_count(VERIFY_RIGHT);
	else if (status == DIRECTORY_ABSENT)
		directory_count(VERIFY_WRONG);
	else
		directory_count(VERIFY_UNKNOWN);
}

/* Each answer passes here once. */
static void count_answer(const struct ask *a)
{
	if (a->of_secret)
		count_verdict(a->status);
	else
		count_status(a->status);
}

static void on_soon(void *arg)
{
	struct ask *a = OBJ(ask, arg);
	struct ask done = *a;
	a->record = NULL;
	count_answer(a);
	ask_free(a);
	done.give(done.fn, done.arg, done.status, done.record);
	record_unref(&done.record);
}

struct ask *ask_new(struct directory *d, void *arg)
{
	struct ask *a = MEM_NEW(struct ask);
	a->ticket.cancel = on_cancel;
	a->magic = ask_MAGIC;
	a->d = d;
	a->gen = generation_ref(d->now);
	a->key = BUF_IN(a->key_room, CACHE_KEY_MAX);
	a->arg = arg;
	a->at_once = true;
	soon_init(&a->soon, on_soon, a);
	list_add_tail(&d->asks, &a->link);
	return a;
}

void ask_finish(struct ask *a, enum directory_status status)
{
	a->state = ASK_READY;
	a->status = status;
	if (status != DIRECTORY_FOUND)
		record_unref(&a->record);
	if (!a->at_once)
		soon_set(a->d->loop, &a->soon);
}

static void keep_record(struct ask *a, const struct record *r)
{
	record_unref(&a->record);
	a->record = record_ref(r);
}

static void set_key(struct ask *a, struct span key)
{
	buf_clear(&a->key);
	buf_add_span(&a->key, key);
}

/* ---- answers of look-ups ---- */

static void on_user(struct ask *a, struct record *r)
{
	keep_record(a, r);
	set_key(a, span_str(r->account.domain));
	if (buf_len(&a->key) == 0)
		ask_finish(a, DIRECTORY_FOUND);
	else
		a->state = ASK_USER_DOMAIN;
}

static void on_whole(struct ask *a, enum answer answer, struct record *r)
{
	struct buf stripped = BUF_INIT(NAME_BYTES_MAX);
	if (answer == ANSWER_FOUND) {
		on_user(a, r);
	} else if (answer != ANSWER_ABSENT) {
		ask_finish(a, DIRECTORY_UNKNOWN);
	} else if (name_strip_detail(&stripped, buf_span(&a->key))) {
		set_key(a, buf_span(&stripped));
		a->state = ASK_STRIPPED;
	} else {
		ask_finish(a, DIRECTORY_ABSENT);
	}
	buf_end(&stripped);
}

static void on_stripped(struct ask *a, enum answer answer, struct record *r)
{
	if (answer == ANSWER_FOUND)
		on_user(a, r);
	else
		ask_finish(a, answer == ANSWER_ABSENT ? DIRECTORY_ABSENT : DIRECTORY_UNKNOWN);
}

/* A domain without an entry is active; one that could not be looked up decides nothing. */
static void on_user_domain(struct ask *a, enum answer answer, struct record *r)
{
	if (answer == ANSWER_FOUND) {
		struct record *user = a->record;
		a->record = record_in_domain(user, r);
		record_unref(&user);
	}
	bool known = answer != ANSWER_UNKNOWN && answer != ANSWER_AWAY;
	ask_finish(a, known ? DIRECTORY_FOUND : DIRECTORY_UNKNOWN);
}

static void on_domain(struct ask *a, enum answer answer, struct record *r)
{
	if (answer == ANSWER_FOUND)
		ask_finish(a, DIRECTORY_FOUND);
	else
		ask_finish(a, answer == ANSWER_ABSENT ? DIRECTORY_ABSENT : DIRECTORY_UNKNOWN);
}

static void on_store(struct ask *a, enum answer answer, struct record *r)
{
	if (answer == ANSWER_FOUND)
		keep_record(a, r);
	else if (answer == ANSWER_ABSENT || answer == ANSWER_WAS_ABSENT)
		a->record = record_default_store(a->gen->settings, buf_span(&a->key));
	ask_finish(a, a->record != NULL ? DIRECTORY_FOUND : DIRECTORY_UNKNOWN);
}

static void on_raw(struct ask *a, enum answer answer, struct record *r)
{
	if (answer == ANSWER_FOUND)
		keep_record(a, r);
	if (answer == ANSWER_FOUND)
		ask_finish(a, DIRECTORY_FOUND);
	else
		ask_finish(a, answer == ANSWER_ABSENT || answer == ANSWER_WAS_ABSENT
				  ? DIRECTORY_ABSENT
				  : DIRECTORY_UNKNOWN);
}

static const struct {
	enum record_kind kind;
	void (*on_answer)(struct ask *a, enum answer answer, struct record *r);
} states[ASK_STATES] = {
	[ASK_WHOLE] = { RECORD_USER, on_whole },
	[ASK_STRIPPED] = { RECORD_USER, on_stripped },
	[ASK_USER_DOMAIN] = { RECORD_DOMAIN, on_user_domain },
	[ASK_DOMAIN] = { RECORD_DOMAIN, on_domain },
	[ASK_STORE] = { RECORD_STORE, on_store },
	[ASK_RAW_USER] = { RECORD_USER, on_raw },
	[ASK_RAW_DOMAIN] = { RECORD_DOMAIN, on_raw },
	[ASK_RAW_STORE] = { RECORD_STORE, on_raw },
	[ASK_RAW_GROUP] = { RECORD_GROUP, on_raw },
	[ASK_RAW_DN] = { RECORD_DN, on_raw },
	[ASK_RAW_LIST] = { RECORD_LIST, on_raw },
	[ASK_SECRET] = { 0, NULL },
	[ASK_READY] = { 0, NULL },
};

/* ---- driver ---- */

static bool look_now(struct ask *a, enum answer *answer_out, struct record **record_out)
{
	struct generation *g = a->gen;
	enum record_kind kind = states[a->state].kind;
	*record_out = NULL;
	if (g->cache != NULL)
		return cache_get(g->cache, kind, buf_span(&a->key), answer_out, record_out);
	*answer_out = g->back->ops->look(g->back, kind, buf_span(&a->key), record_out);
	return true;
}

static void on_look(void *arg, enum answer answer, struct record *r);

static void ask_step(struct ask *a)
{
	enum answer answer;
	struct record *r;
	while (states[a->state].on_answer != NULL) {
		if (!look_now(a, &answer, &r)) {
			a->wait = cache_fetch(
			    a->gen->cache, states[a->state].kind, buf_span(&a->key), on_look, a);
			return;
		}
		states[a->state].on_answer(a, answer, r);
		record_unref(&r);
	}
}

static void on_look(void *arg, enum answer answer, struct record *r)
{
	struct ask *a = OBJ(ask, arg);
	a->wait = NULL;
	states[a->state].on_answer(a, answer, r);
	ask_step(a);
}

/* The asker's: an answer that is not known by now is told later, one that is, too, unless it is taken here. */
struct ticket *ask_ticket(struct ask *a, struct directory_answer *now_out)
{
	a->at_once = false;
	if (a->state != ASK_READY)
		return &a->ticket;
	if (now_out == NULL) {
		soon_set(a->d->loop, &a->soon);
		return &a->ticket;
	}
	*now_out = (struct directory_answer){ .status = a->status, .record = a->record };
	a->record = NULL;
	count_answer(a);
	ask_free(a);
	return NULL;
}

void ask_start(struct ask *a, enum ask_state first)
{
	a->state = first;
	ask_step(a);
}
