/* test_store_ask.c - a store is asked about a recipient: a scripted store that takes, refuses, lies, is silent or
 * breaks off; what is remembered of it; that commit uses the same connection; askers that go at every moment. */
#include "tests/unit/edge/fake_peer.h"
#include "tests/unit/edge/place.h"

#include "base/clock.h"
#include "edge/store_ask.h"
#include "edge/store_memory.h"

enum { AMPLE_MS = 20000, SHORT_MS = 100 };

struct bench {
	struct loop *loop;
	struct conf *conf;
	struct edge_conf *edge; /* of conf */
	struct dns *dns;
	struct directory *directory;
	struct fake_peer store;
	struct committer *committer;
	struct ticket *ticket;
	struct store_answer got;
	char why[400];
	unsigned answers;
};

static void bench_start(struct bench *b, const char *const *script)
{
	char path[100];
	*b = (struct bench){ .loop = loop_new(), .conf = load() };
	b->edge = (struct edge_conf *)(uintptr_t)conf_section(b->conf, &edge_block);
	b->edge->commit_timeout = b->edge->connect_timeout = b->edge->reply_timeout = AMPLE_MS;
	b->edge->verify_timeout = AMPLE_MS;
	b->edge->verify_taken_ttl = b->edge->verify_refused_ttl = AMPLE_MS;
	b->dns = daemon_dns(b->loop, b->conf);
	b->directory = directory_new(b->loop, b->dns, b->conf);
	snprintf(path, sizeof path, "%s/store1.sock", dir);
	fake_start_at(&b->store, b->loop, script, path);
	b->committer = committer_new(b->loop, b->dns, b->directory, b->conf);
}

static void bench_end(struct bench *b)
{
	ticket_cancel(&b->ticket);
	committer_free(&b->committer);
	fake_end(&b->store);
	place_parts_end((struct place_parts){ &b->loop, &b->dns, &b->directory, &b->conf });
}

static void on_answer(void *arg, const struct store_answer *a)
{
	struct bench *b = arg;
	b->ticket = NULL;
	b->answers++;
	b->got = *a;
	snprintf(b->why, sizeof b->why, "%s", a->why != NULL ? a->why : "");
}

static struct store_question about(const char *store, uint64_t size, const char *sender)
{
	return (struct store_question){ .store = span_str(store),
		.user = "alice@x.example",
		.detail = "box",
		.sender = sender,
		.size = size };
}

static void begin(struct bench *b, const struct store_question *q)
{
	b->answers = 0;
	b->ticket = store_ask(b->committer, q, on_answer, b);
	assert_int_equal(b->answers, 0); /* never inside the asking call */
}

static enum store_word ask(struct bench *b, const struct store_question *q)
{
	uint64_t until = clock_mono_ms() + AMPLE_MS;
	begin(b, q);
	while (b->answers == 0 && clock_mono_ms() < until)
		loop_step(b->loop, 20);
	assert_int_equal(b->answers, 1);
	assert_false(b->got.remembered);
	return b->got.word;
}

/* 'T', 'R', 'S' from memory, or '-'. */
static char known(struct bench *b, uint64_t size, const char *sender)
{
	struct store_question q = about("store1", size, sender);
	struct store_answer a;
	if (!store_ask_known(b->committer, &q, &a))
		return '-';
	assert_true(a.remembered);
	return "TRUS"[a.word];
}

#define STEPS(...)                                                                                 \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}
#define LHLO                                                                                       \
	"S 220 hi", "C LHLO edge.example",                                                         \
	    "R 250-x\r\n250-PIPELINING\r\n250-XDELIVERYID\r\n250 "                                 \
	    "SIZE 9999\r\n"
#define ASKED "C MAIL FROM:<s@far.example> SIZE=500", "C RCPT TO:<alice+box@x.example>", "C RSET"
#define SAYS(...) STEPS(LHLO, ASKED, "S 250 ok", __VA_ARGS__)
#define RESET "S 250 reset"

static const struct {
	const char *name;
	const char *const *script;
	enum store_word word;
	unsigned code;
	char known; /* afterwards, of the same question */
} cases[] = {
	{ "takes", SAYS("S 250 2.1.5 ok", RESET), STORE_TAKES, 0, 'T' },
	{ "full for now", SAYS("S 452 4.2.2 full", RESET), STORE_REFUSES, 452, 'R' },
	{ "full", SAYS("S 552 5.2.2 full", RESET), STORE_REFUSES, 552, 'R' },
	{ "no codes", SAYS("S 550 gone", RESET), STORE_REFUSES, 550, 'R' },
	{ "closed", SAYS("S 450 4.2.1 closed", RESET), STORE_REFUSES, 450, 'R' },
	{ "nobody", SAYS("S 550 5.1.1 who", RESET), STORE_REFUSES, 550, 'R' },
	{ "the store's own trouble", SAYS("S 451 4.3.0 away", RESET), STORE_UNSURE, 0, '-' },
	{ "its disk", SAYS("S 452 4.3.1 full", RESET), STORE_UNSURE, 0, '-' },
	{ "protocol", SAYS("S 503 5.5.1 what", RESET), STORE_UNSURE, 0, '-' },
	{ "three", SAYS("S 354 go", RESET), STORE_UNSURE, 0, '-' },
	{ "sender refused", STEPS(LHLO, ASKED, "S 550 5.7.1 no", "S 550 5.5.1 no", RESET),
	    STORE_UNSURE, 0, '-' },
	{ "sender later", STEPS(LHLO, ASKED, "S 450 4.7.1 no", "S 450 4.5.1 no", RESET),
	    STORE_UNSURE, 0, '-' },
	{ "reset refused", SAYS("S 552 5.2.2 full", "S 500 what"), STORE_REFUSES, 552, 'R' },
	{ "goes", SAYS("S 421 4.3.2 bye", "X"), STORE_SILENT, 0, 'S' },
	{ "breaks", SAYS("X"), STORE_SILENT, 0, 'S' },
	{ "breaks behind the answer", SAYS("S 552 5.2.2 full", "X"), STORE_SILENT, 0, 'S' },
	{ "garbage", SAYS("S 99 what"), STORE_SILENT, 0, 'S' },
	{ "too much", SAYS("S 250 ok", RESET, "S 250 more"), STORE_TAKES, 0, 'T' },
	{ "bad greeting", STEPS("S 554 no"), STORE_SILENT, 0, 'S' },
	{ "no pipelining",
	    STEPS("S 220 hi", "C LHLO", "S 250 x", "C MAIL FROM:<s@far.example>", "S 250 ok",
		"C RCPT", "S 552 5.2.2 full"),
	    STORE_REFUSES, 552, 'R' },
	{ "too big for it",
	    STEPS("S 220 hi", "C LHLO", "R 250-PIPELINING\r\n250 SIZE 499\r\n", "H"), STORE_REFUSES,
	    552, 'R' },
};

static void test_answers(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bench b;
		struct store_question q = about("store1", 500, "s@far.example");
		print_message("%s\n", cases[i].name);
		bench_start(&b, cases[i].script);
		assert_int_equal(known(&b, 500, "s@far.example"), '-');
		assert_int_equal(ask(&b, &q), cases[i].word);
		assert_int_equal(b.got.word == STORE_REFUSES ? b.got.said.code : 0, cases[i].code);
		assert_int_equal(known(&b, 500, "s@far.example"), cases[i].known);
		assert_null(b.store.wrong);
		assert_int_equal(fake_saw(&b.store, "DATA"), 0);
		assert_int_equal(fake_saw(&b.store, "XDELIVERYID"), 0);
		bench_end(&b);
	}
}

/* It does not answer: the asker waits no longer than it wants to, and the next one not at all. */
static void test_slow(void **state)
{
	const char *const *const scripts[] = { STEPS("H"), STEPS("S 220 hi", "H"), STEPS(LHLO, "H"),
		SAYS("H"), SAYS("S 552 5.2.2 full", "H") };
	for (size_t i = 0; i < COUNT_OF(scripts); i++) {
		struct bench b;
		struct store_question q = about("store1", 500, "s@far.example");
		bench_start(&b, scripts[i]);
		b.edge->verify_timeout = SHORT_MS;
		assert_int_equal(ask(&b, &q), STORE_SILENT);
		assert_string_equal(b.why, "did not answer in time");
		assert_int_equal(known(&b, 1, "other@far.example"), 'S');
		bench_end(&b);
	}
}

/* Not there, or not found: commit decides. */
static void test_nobody_there(void **state)
{
	struct bench b;
	struct store_question away = about("store2", 1, ""), unknown = about("nowhere", 1, "");
	bench_start(&b, STEPS("H"));
	assert_int_equal(ask(&b, &away), STORE_SILENT);
	assert_int_equal(ask(&b, &unknown), STORE_SILENT); /* taken for a host name */
	bench_end(&b);
}

/* One answer holds for the sizes that it must hold for, and for its sender; not for long. */
static void test_remembered(void **state)
{
	struct bench b;
	struct store_question big = about("store1", 500, "s@far.example");
	struct store_question small = about("store1", 100, "s@far.example");
	bench_start(&b, STEPS(LHLO, ASKED, "S 250 ok", "S 552 5.2.2 full", RESET,
			    "C MAIL FROM:<s@far.example> SIZE=100", "C RCPT", "C RSET", "S 250 ok",
			    "S 250 ok", RESET, "C MAIL FROM:<s@far.example> SIZE=100", "H"));
	assert_int_equal(ask(&b, &big), STORE_REFUSES);
	assert_int_equal(known(&b, 500, "s@far.example"), 'R');
	assert_int_equal(known(&b, 501, "s@far.example"), 'R');
	assert_int_equal(known(&b, 499, "s@far.example"), '-');
	assert_int_equal(known(&b, 500, "boss@x.example"), '-');
	b.edge->verify_refused_ttl = 0; /* a reload that switches it off counts at once */
	assert_int_equal(known(&b, 500, "s@far.example"), '-');
	b.edge->verify_refused_ttl = AMPLE_MS;
	b.edge->verify_taken_ttl = AMPLE_MS / 2;
	assert_int_equal(ask(&b, &small), STORE_TAKES);
	assert_int_equal(known(&b, 100, "s@far.example"), 'T');
	b.edge->verify_taken_ttl = 0;
	assert_int_equal(known(&b, 100, "s@far.example"), '-');
	b.edge->verify_taken_ttl = AMPLE_MS / 2;
	assert_int_equal(known(&b, 100, "boss@x.example"), '-');
	assert_int_equal(known(&b, 0, "s@far.example"), 'T');
	assert_int_equal(known(&b, 101, "s@far.example"), '-');
	assert_int_equal(known(&b, 500, "s@far.example"), 'R');
	assert_int_equal(b.store.connections, 1);
	assert_null(b.store.wrong);
	clock_fake(clock_mono_ms() + AMPLE_MS / 2, clock_wall_us());
	loop_step(b.loop, 0);
	assert_int_equal(known(&b, 100, "s@far.example"), '-');
	clock_fake_advance(AMPLE_MS);
	loop_step(b.loop, 0);
	assert_int_equal(known(&b, 500, "s@far.example"), '-');
	clock_fake_off();
	bench_end(&b);
}

static void test_nothing_remembered(void **state)
{
	struct bench b;
	struct store_question q = about("store1", 500, "s@far.example");
	bench_start(&b, STEPS(LHLO, ASKED, "S 250 ok", "S 552 5.2.2 full", RESET, ASKED, "S 250 ok",
			    "S 250 ok", RESET));
	b.edge->verify_taken_ttl = b.edge->verify_refused_ttl = 0;
	assert_int_equal(ask(&b, &q), STORE_REFUSES);
	assert_int_equal(known(&b, 500, "s@far.example"), '-');
	assert_int_equal(ask(&b, &q), STORE_TAKES);
	assert_int_equal(known(&b, 500, "s@far.example"), '-');
	bench_end(&b);
}

static void on_committed(void *arg)
{
	struct bench *b = arg;
	b->ticket = NULL;
	b->answers = 1;
}

static struct transaction *new_mail(void)
{
	struct transaction *t = transaction_new(ident_new());
	t->sender = mem_str("s@far.example");
	t->body = body_new(16 * 1024, 1 << 24, dir);
	assert_int_equal(body_add(t->body, SPAN("Subject: x\r\n\r\n")), ERR_OK);
	assert_non_null(transaction_add(
	    t, 1, SPAN("alice@x.example"), SPAN("alice@x.example"), SPAN_NONE, SPAN("store1")));
	return t;
}

/* The message goes over the connection that has been asked on; a store without pipelining hears RSET first. */
static void test_commit_goes_on(void **state)
{
	const char *const *const scripts[] = {
		SAYS("S 250 ok", RESET, "C MAIL", "C RCPT", "C DATA", "S 250 ok", "S 250 ok",
		    "S 354 go", "B", "S 250 done"),
		STEPS("S 220 hi", "C LHLO", "S 250 x", "C MAIL", "S 250 ok", "C RCPT", "S 250 ok",
		    "C RSET", RESET, "C MAIL", "S 250 ok", "C RCPT", "S 250 ok", "C DATA",
		    "S 354 go", "B", "S 250 done"),
	};
	for (size_t i = 0; i < COUNT_OF(scripts); i++) {
		struct bench b;
		struct store_question q = about("store1", 500, "s@far.example");
		struct transaction *t = new_mail();
		bench_start(&b, scripts[i]);
		assert_int_equal(ask(&b, &q), STORE_TAKES);
		b.answers = 0;
		b.ticket = commit_start(b.committer, t, on_committed, &b);
		for (uint64_t until = clock_mono_ms() + AMPLE_MS;
		     b.answers == 0 && clock_mono_ms() < until;)
			loop_step(b.loop, 20);
		assert_int_equal(t->recipients[0].outcome.fate, FATE_DELIVERED);
		assert_int_equal(b.store.connections, 1);
		assert_null(b.store.wrong);
		bench_end(&b);
		transaction_free(&t);
	}
}

/* The client goes after each number of rounds: nothing is left, and nobody is told. */
static void test_asker_goes(void **state)
{
	for (int rounds = 0; rounds < 12; rounds++) {
		struct bench b;
		struct store_question q = about("store1", 500, "s@far.example");
		bench_start(&b, SAYS("S 250 ok", "H"));
		begin(&b, &q);
		for (int i = 0; i < rounds; i++)
			loop_step(b.loop, 0);
		ticket_cancel(&b.ticket);
		for (int i = 0; i < 3; i++)
			loop_step(b.loop, 0);
		assert_int_equal(b.answers, 0);
		bench_end(&b);
	}
}

/* It holds so many, the newest; a key that is too long is not kept. */
static void test_memory_is_bounded(void **state)
{
	static char names[20][32], long_name[2000];
	struct store_memory *m = store_memory_new(8);
	struct store_key key = { .store = SPAN("s") };
	for (size_t i = 0; i < 20; i++) {
		snprintf(names[i], sizeof names[i], "u%zu@x.example", i);
		key.address = span_str(names[i]);
		store_memory_put(m, STORE_FACT_TAKES, &key, 100, NULL);
		store_memory_put(m, STORE_FACT_TAKES, &key, 100, NULL);
		assert_int_equal(store_memory_count(m), i < 8 ? i + 1 : 8);
	}
	for (size_t i = 0; i < 20; i++) {
		key.address = span_str(names[i]);
		assert_int_equal(store_memory_find(m, STORE_FACT_TAKES, &key, 99, NULL), i >= 12);
		assert_false(store_memory_find(m, STORE_FACT_TAKES, &key, 100, NULL));
		assert_false(store_memory_find(m, STORE_FACT_REFUSES, &key, 99, NULL));
	}
	memset(long_name, 'x', sizeof long_name - 1);
	key.address = span_str(long_name);
	store_memory_put(m, STORE_FACT_TAKES, &key, 100, NULL);
	assert_false(store_memory_find(m, STORE_FACT_TAKES, &key, 99, NULL));
	store_memory_free(&m);
	assert_null(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_slow),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_remembered),
		cmocka_unit_test(test_nothing_remembered),
		cmocka_unit_test(test_commit_goes_on),
		cmocka_unit_test(test_asker_goes),
		cmocka_unit_test(test_memory_is_bounded),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
