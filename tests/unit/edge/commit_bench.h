/* commit_bench.h - step 5 between two scripted stores and a scripted spool. */
#ifndef TESTS_COMMIT_BENCH_H
#define TESTS_COMMIT_BENCH_H

#include "tests/unit/edge/fake_peer.h"
#include "tests/unit/edge/fake_spool.h"
#include "tests/unit/edge/place.h"

#include "base/clock.h"
#include "base/map.h"
#include "edge/commit.h"

enum {
	AMPLE_MS = 20000, /* for what must not happen, and for waiting in the test */
	SHORT_MS = 150,
	SCRIPT_MAX = 24,
};

/* ---- the bench ---------------------------------------------------------------------------------- */

enum { STORE1, STORE2, STORES };

struct bench {
	struct loop *loop;
	struct conf *conf;
	struct edge_conf *edge; /* of conf; written to before the committer is made */
	struct dns *dns;
	struct directory *directory;
	struct fake_peer store[STORES];
	struct fake_spool spool;
	struct committer *committer;
	struct transaction *t;
	struct ticket *ticket;
	unsigned answers;
};

/* Without times the file's grammar would allow, a case would take a second. */
static void bench_open(struct bench *b)
{
	*b = (struct bench){ .loop = loop_new(), .conf = load() };
	b->edge = (struct edge_conf *)(uintptr_t)conf_section(b->conf, &edge_block);
	b->edge->commit_timeout = b->edge->spool_timeout = AMPLE_MS;
	b->edge->connect_timeout = b->edge->reply_timeout = b->edge->final_timeout = AMPLE_MS;
	b->dns = daemon_dns(b->loop, b->conf);
	b->directory = directory_new(b->loop, b->dns, b->conf);
}

static void bench_start(
    struct bench *b, const char *const *one, const char *const *two, enum spool_mode mode)
{
	const char *const *scripts[STORES] = { one, two };
	for (int k = 0; k < STORES; k++) {
		char path[100];
		snprintf(path, sizeof path, "%s/store%d.sock", dir, k + 1);
		fake_start_at(&b->store[k], b->loop, scripts[k], path);
	}
	spool_start(&b->spool, b->loop, mode);
	b->committer = committer_new(b->loop, b->dns, b->directory, b->conf);
}

static void bench_close(struct bench *b)
{
	ticket_cancel(&b->ticket);
	transaction_free(&b->t);
	committer_free(&b->committer);
	for (int k = 0; k < STORES; k++)
		fake_end(&b->store[k]);
	spool_end(&b->spool);
	place_parts_end((struct place_parts){ &b->loop, &b->dns, &b->directory, &b->conf });
}

static void new_mail(struct bench *b, const char *sender, size_t body_size)
{
	static const char line[] =
	    "0123456789012345678901234567890123456789012345678901234567890\r\n";
	struct ident session = ident_new();
	transaction_free(&b->t);
	b->t = transaction_new(session);
	b->t->sender = mem_str(sender);
	b->t->arrived_us = clock_wall_us();
	b->t->body = body_new(16 * 1024, 1 << 24, dir);
	assert_int_equal(body_add(b->t->body, SPAN("Subject: x\r\n\r\n")), ERR_OK);
	for (size_t n = 0; n < body_size; n += sizeof line - 1)
		assert_int_equal(body_add(b->t->body, span_str(line)), ERR_OK);
}

/* "alice@x.example" at store1 ...; a store of NULL: to be relayed. */
__attribute__((unused)) static void add(struct bench *b, const char *name, const char *store)
{
	char address[100];
	bool local = store != NULL;
	snprintf(address, sizeof address, "%s@%s", name, local ? "x.example" : "far.example");
	assert_non_null(transaction_add(b->t, RECIPIENTS_MAX, span_str(address),
	    local ? span_str(address) : SPAN_NONE, SPAN_NONE, span_str(store)));
}

static void on_answer(void *arg)
{
	struct bench *b = arg;
	b->ticket = NULL;
	b->answers++;
}

static void ask(struct bench *b)
{
	b->answers = 0;
	b->ticket = commit_start(b->committer, b->t, on_answer, b);
	assert_int_equal(b->answers, 0); /* never inside the asking call */
}

static void await(struct bench *b)
{
	uint64_t until = clock_mono_ms() + AMPLE_MS / 2;
	while (b->answers == 0 && clock_mono_ms() < until)
		loop_step(b->loop, 50);
	assert_int_equal(b->answers, 1);
}

__attribute__((unused)) static void commit(struct bench *b)
{
	ask(b);
	await(b);
}

__attribute__((unused)) static unsigned reply_code(const struct bench *b)
{
	struct outcome o = { 0 };
	commit_reply(b->t, &o);
	assert_non_null(strstr(o.text, b->t->id.s));
	assert_int_equal(o.enhanced[0] - '0', o.code / 100);
	return o.code;
}

/* Fates of the recipients, a letter each. */
__attribute__((unused)) static const char *fates(const struct bench *b)
{
	static char out[RECIPIENTS_MAX + 1];
	size_t n = b->t->recipient_count;
	for (size_t i = 0; i < n; i++)
		out[i] = "?DRLS"[b->t->recipients[i].outcome.fate];
	out[n] = '\0';
	return out;
}

static const char *spooled(struct bench *b)
{
	return buf_len(&b->spool.who) > 0 ? buf_cstr(&b->spool.who) : "";
}

#define LHLO                                                                                       \
	"S 220 hi", "C LHLO edge.example",                                                         \
	    "R 250-x\r\n250-PIPELINING\r\n250-XDELIVERYID\r\n250 SIZE 9999999\r\n"
#define SCRIPT(...)                                                                                \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}
#define TWO(...)                                                                                   \
	SCRIPT(LHLO, "C MAIL", "C RCPT TO:<alice@", "C RCPT TO:<bob@", "C DATA", "S 250 ok",       \
	    __VA_ARGS__)
#define BOTH(...) TWO("S 250 a", "S 250 b", "S 354 go", "B", __VA_ARGS__)
#define ALICE_FULL(...) TWO("S 552 5.2.2 full", "S 250 b", "S 354 go", "B", __VA_ARGS__)
#define ONE(...)                                                                                   \
	SCRIPT(LHLO, "C MAIL", "C RCPT TO:<carol@", "C DATA", "S 250 ok", "S 250 ok", "S 354 go",  \
	    "B", __VA_ARGS__)
#define DONE "S 250 2.0.0 done"
#define TEMP "S 452 4.2.2 full"
#define PERM "S 552 5.2.2 full"

#endif
