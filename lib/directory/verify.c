/* verify.c - remembered verdicts, fast comparison in place, slow hashes by crypt_pool, binds by the back end.
 *
 * Owns the table of verdicts (fixed size: sets of a few slots, the one that ends first is replaced), the
 * process's key for it, and the pool of hash threads. */
#include "directory/verify.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"

#include "directory/crypt_pool.h"
#include "directory/password.h"
#include "directory/tables.h"

#define check_MAGIC 0xd12ec4ecu

enum { SETS = 1024, SLOTS_PER_SET = 4 };

/* Of an account and a secret: 128 bits that nobody can find another secret for who does not know this process's keys. */
struct tag {
	uint64_t v[2];
};

struct slot {
	struct tag tag;
	uint64_t id_hash;
	uint64_t until_ms; /* 0: empty */
	bool right;
};

struct verifier {
	struct loop *loop;
	struct hash_key keys[2];            /* of this process */
	struct slot (*sets)[SLOTS_PER_SET]; /* owned */
	struct crypt_pool *crypt;           /* owned */
};

/* A question that waits for a thread or a server. */
struct check {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct verifier *v;
	struct ticket *wait; /* owned: crypt job or bind */
	struct timer deadline;
	struct record *user; /* owned reference */
	const struct directory_conf *conf;
	struct tag tag;
	answer_fn *fn;
	void *arg;
};

/* ---- remembered verdicts ---- */

static bool make_tag(const struct verifier *v, const struct verify_ask *ask, struct tag *out)
{
	char room[256];
	struct buf in = BUF_IN(room, RECORD_TEXT_MAX + SECRET_BYTES_MAX + 64);
	buf_add_str(&in, ask->user->account.id);
	buf_add_char(&in, '\0');
	buf_add(&in, &ask->user->revision, sizeof ask->user->revision);
	buf_add_span(&in, ask->secret);
	bool ok = buf_ok(&in);
	for (size_t i = 0; i < COUNT_OF(out->v); i++)
		out->v[i] = hash_sip(&v->keys[i], buf_span(&in));
	buf_wipe_end(&in);
	return ok;
}

static struct slot *set_of(struct verifier *v, const struct tag *tag)
{
	return v->sets[tag->v[0] % SETS];
}

static const struct slot *recall(struct verifier *v, const struct tag *tag)
{
	const struct slot *set = set_of(v, tag);
	uint64_t now = clock_mono_ms();
	for (size_t i = 0; i < SLOTS_PER_SET; i++)
		if (set[i].until_ms > now && memcmp(&set[i].tag, tag, sizeof *tag) == 0)
			return &set[i];
	return NULL;
}

static void remember(struct check *c, enum answer answer)
{
	struct slot *set = set_of(c->v, &c->tag), *oldest = set;
	uint64_t ttl = answer == ANSWER_FOUND ? c->conf->verify_ttl : c->conf->verify_negative_ttl;
	if ((answer != ANSWER_FOUND && answer != ANSWER_ABSENT) || ttl == 0)
		return;
	for (size_t i = 1; i < SLOTS_PER_SET; i++)
		if (set[i].until_ms < oldest->until_ms)
			oldest = &set[i];
	oldest->tag = c->tag;
	oldest->id_hash = hash_keyed(span_str(c->user->account.id));
	oldest->until_ms = clock_mono_ms() + ttl;
	oldest->right = answer == ANSWER_FOUND;
}

void verifier_forget(struct verifier *v, const char *id)
{
	uint64_t hash = hash_keyed(span_str(id));
	for (size_t i = 0; i < SETS; i++)
		for (size_t k = 0; k < SLOTS_PER_SET; k++)
			if (v->sets[i][k].id_hash == hash)
				v->sets[i][k].until_ms = 0;
}

/* ---- questions that wait ---- */

static void check_free(struct check *c)
{
	ticket_cancel(&c->wait);
	timer_clear(&c->deadline);
	record_unref(&c->user);
	c->magic = 0;
	mem_free(c);
}

static void on_cancel(struct ticket *t)
{
	check_free(OBJ(check, t));
}

static void check_answer(struct check *c, enum answer answer)
{
	answer_fn *fn = c->fn;
	void *arg = c->arg;
	remember(c, answer);
	check_free(c);
	fn(arg, answer, NULL);
}

static void on_bind(void *arg, enum answer answer, struct record *record)
{
	struct check *c = OBJ(check, arg);
	c->wait = NULL;
	check_answer(c, answer);
}

static void on_crypt(void *arg, bool right)
{
	struct check *c = OBJ(check, arg);
	c->wait = NULL;
	check_answer(c, right ? ANSWER_FOUND : ANSWER_ABSENT);
}

static void on_deadline(void *arg)
{
	check_answer(OBJ(check, arg), ANSWER_UNKNOWN);
}

static struct check *check_new(
    struct verifier *v, const struct verify_ask *ask, const struct tag *tag)
{
	struct check *c = MEM_NEW(struct check);
	c->ticket.cancel = on_cancel;
	c->magic = check_MAGIC;
	c->v = v;
	c->user = record_ref(ask->user);
	c->conf = ask->conf;
	c->tag = *tag;
	timer_init(&c->deadline, v->loop, on_deadline, c);
	return c;
}

/* ---- comparison ---- */

struct comparison {
	enum answer answer; /* FOUND, or what it is if no slow hash matches */
	struct span slow[CRYPT_SETTINGS_MAX];
	size_t slow_n;
};

static bool binds(const struct verify_ask *ask)
{
	return ask->backend->ops->bind != NULL && ask->conf->verify == VERIFY_BIND;
}

/* Plain text is taken from a file only: a server that shows it to us is set up wrongly. */
static struct comparison compare(const struct verify_ask *ask)
{
	struct comparison c = { .answer = ANSWER_ABSENT };
	const struct record *u = ask->user;
	bool plain = ask->conf->backend == BACKEND_FILE;
	size_t unusable = 0;
	for (size_t i = 0; i < u->password_n; i++) {
		struct span setting = SPAN_NONE;
		enum password_match m =
		    password_compare(span_str(u->passwords[i]), ask->secret, plain, &setting);
		if (m == PASSWORD_RIGHT)
			c.answer = ANSWER_FOUND;
		else if (m == PASSWORD_SLOW)
			c.slow[c.slow_n++] = setting;
		else if (m == PASSWORD_UNUSABLE)
			unusable++;
	}
	bool unreadable = u->password_n == 0 && !plain;
	if (unusable > 0 || unreadable)
		directory_log(PASSWORD_UNUSABLE, LOG_STR("dn", u->account.id),
		    LOG_STR("why", unreadable ? "not readable" : "scheme unknown or too costly"));
	if (unreadable || (unusable > 0 && unusable == u->password_n))
		c.answer = ANSWER_UNKNOWN;
	return c;
}

static bool ask_slowly(struct check *c, const struct comparison *how, struct span secret)
{
	c->wait = crypt_pool_ask(c->v->crypt, how->slow, how->slow_n, secret, on_crypt, c);
	timer_set(&c->deadline, c->conf->deadline);
	return c->wait != NULL;
}

/* Does the entry itself tell, or what it told before? */
static bool is_known_now(
    struct verifier *v, const struct verify_ask *ask, const struct tag *tag, struct comparison *how)
{
	const struct slot *known = recall(v, tag);
	if (known != NULL) {
		directory_count(VERIFY_HITS);
		*how = (struct comparison){ .answer = known->right ? ANSWER_FOUND : ANSWER_ABSENT };
		return true;
	}
	if (binds(ask))
		return false;
	*how = compare(ask);
	return how->answer == ANSWER_FOUND || how->slow_n == 0;
}

struct ticket *verifier_ask(struct verifier *v, const struct verify_ask *ask, answer_fn *fn,
    void *arg, enum answer *now_out)
{
	struct tag tag;
	struct comparison how = { .answer = ANSWER_UNKNOWN };
	*now_out = ANSWER_ABSENT;
	if (!password_is_secret(ask->secret))
		return NULL;
	*now_out = ANSWER_UNKNOWN;
	if (!make_tag(v, ask, &tag))
		return NULL;
	if (is_known_now(v, ask, &tag, &how)) {
		*now_out = how.answer;
		return NULL;
	}
	struct check *c = check_new(v, ask, &tag);
	c->fn = fn;
	c->arg = arg;
	if (binds(ask)) {
		c->wait = ask->backend->ops->bind(ask->backend, ask->user, ask->secret, on_bind, c);
		return &c->ticket;
	}
	if (ask_slowly(c, &how, ask->secret))
		return &c->ticket;
	check_free(c);
	return NULL;
}

struct verifier *verifier_new(struct loop *l, const struct directory_conf *conf)
{
	struct verifier *v = MEM_NEW(struct verifier);
	v->loop = l;
	rand_bytes(v->keys, sizeof v->keys);
	v->sets = mem_array(SETS, sizeof v->sets[0]);
	v->crypt = crypt_pool_new(l, (size_t)conf->crypt_threads, (size_t)conf->crypt_queue);
	return v;
}

void verifier_free(struct verifier **v)
{
	if (*v == NULL)
		return;
	crypt_pool_free(&(*v)->crypt);
	mem_free((*v)->sets);
	mem_wipe((*v)->keys, sizeof(*v)->keys);
	MEM_FREE(v);
}
