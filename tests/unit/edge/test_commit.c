/* test_commit.c - who owns the message: two scripted stores and a scripted spool, every way in which each
 * of them can answer, refuse, be silent or break off, and a client that goes at every moment. */
#include "tests/unit/edge/commit_bench.h"

/* ---- scripts ------------------------------------------------------------------------------------ */

enum { AT_GREETING, AT_LHLO, AT_MAIL, AT_RCPT, AT_DATA, AT_DOT, STEPS };
enum kind { GOOD, DEFER, REFUSE, HANG, BREAK, KINDS };

static const char *const wants[STEPS] = { NULL, "C LHLO", "C MAIL", "C RCPT", "C DATA", "B" };
static const char *const step_names[STEPS] = { "greeting", "LHLO", "MAIL", "RCPT", "DATA", "dot" };
static const char *const kind_names[KINDS] = { "2xx", "4xx", "5xx", "hang", "break" };

/* A store for one recipient that is good up to a step, and then does what kind says. */
static void script_for(const char *out[SCRIPT_MAX], int at, enum kind kind, bool ids)
{
	static const char *const bad[KINDS] = { NULL, "S 451 4.3.1 later", "S 554 5.7.0 never", "H",
		"X" };
	const char *const good[STEPS] = { "S 220 hi",
		ids ? "R 250-x\r\n250-XDELIVERYID\r\n250 SIZE 9999999\r\n" : "R 250 x\r\n",
		"S 250 ok", "S 250 ok", "S 354 go", "S 250 2.0.0 done" };
	size_t n = 0;
	for (int i = 0; i < STEPS; i++) {
		if (wants[i] != NULL)
			out[n++] = wants[i];
		if (i == at && kind != GOOD) {
			out[n++] = bad[kind];
			break;
		}
		out[n++] = good[i];
	}
	out[n] = NULL;
}

static char expected(int at, enum kind kind)
{
	if (kind == GOOD)
		return 'D';
	return kind == REFUSE && at >= AT_MAIL ? 'R' : 'S';
}

/* ---- tests -------------------------------------------------------------------------------------- */

/* Every step, every kind, with and without delivery ids; the other store is good, the spool takes. */
static void test_matrix(void **state)
{
	for (int i = 0; i < STEPS * KINDS * 2; i++) {
		int at = i / (2 * KINDS);
		enum kind kind = (enum kind)(i / 2 % KINDS);
		bool ids = i % 2 == 1, doubt = kind == HANG && at == AT_DOT && !ids;
		const char *one[SCRIPT_MAX], *two[SCRIPT_MAX];
		char want[3] = { expected(at, kind), 'D' };
		struct bench b;
		print_message("%s at %s%s\n", kind_names[kind], step_names[at], ids ? ", ids" : "");
		script_for(one, at, kind, ids);
		script_for(two, 0, GOOD, ids);
		bench_open(&b);
		if (kind == HANG) {
			b.edge->commit_timeout = 3 * SHORT_MS;
			b.edge->final_timeout = 5 * SHORT_MS;
		}
		bench_start(&b, one, two, SPOOL_TAKES);
		new_mail(&b, "alice@x.example", 100);
		add(&b, "bob", "store1");
		add(&b, "carol", "store2");
		uint64_t begun = clock_mono_ms();
		commit(&b);
		uint64_t took = clock_mono_ms() - begun;
		assert_string_equal(fates(&b), want);
		assert_string_equal(spooled(&b), want[0] == 'D'   ? ""
						 : want[0] == 'S' ? "bob:W"
								  : "bob:R");
		assert_int_equal(reply_code(&b), 250);
		assert_null(b.store[STORE2].wrong);
		assert_int_equal(
		    fake_saw(&b.store[STORE1], b.t->id.s), ids && (kind == GOOD || at >= AT_MAIL));
		if (kind == HANG)
			assert_true(took >= (doubt ? 5 : 3) * SHORT_MS);
		if (kind != HANG)
			assert_true(took < AMPLE_MS / 2);
		bench_close(&b);
	}
}

/* alice and bob at store1, carol at store2, far is relayed, gone at a store that is not there. */
static const struct {
	const char *name;
	const char *sender;
	const char *who; /* first letters of the recipients */
	const char *const *one, *const *two;
	enum spool_mode spool;
	const char *fates, *spooled;
	unsigned code;
} cases[] = {
	{ "all delivered, no spool", "s@far.example", "abc", BOTH(DONE, DONE), ONE(DONE),
	    SPOOL_IS_DOWN, "DDD", "", 250 },
	{ "only relayed", "alice@x.example", "f", SCRIPT("H"), SCRIPT("H"), SPOOL_TAKES, "S",
	    "far:W", 250 },
	{ "only relayed, no spool", "alice@x.example", "f", SCRIPT("H"), SCRIPT("H"), SPOOL_IS_DOWN,
	    "L", "", 451 },
	{ "relayed and delivered", "alice@x.example", "fc", SCRIPT("H"), ONE(DONE), SPOOL_TAKES,
	    "SD", "far:W", 250 },
	{ "relayed and delivered, spool refuses", "alice@x.example", "fc", SCRIPT("H"), ONE(DONE),
	    SPOOL_REFUSES, "LD", "far:W", 451 },
	{ "relayed and a store that is away: one question", "alice@x.example", "fgc", SCRIPT("H"),
	    ONE(TEMP), SPOOL_TAKES, "SSS", "far:W gone:W carol:W", 250 },
	{ "no store there, spool silent", "s@far.example", "g", SCRIPT("H"), SCRIPT("H"),
	    SPOOL_IS_SILENT, "L", "gone:W", 451 },
	{ "spool breaks and comes back", "s@far.example", "g", SCRIPT("H"), SCRIPT("H"),
	    SPOOL_BREAKS, "S", "gone:W", 250 },
	{ "one of two later", "s@far.example", "ab", BOTH(DONE, TEMP), SCRIPT("H"), SPOOL_TAKES,
	    "DS", "bob:W", 250 },
	{ "one of two later, breaks off", "s@far.example", "ab", BOTH(DONE, "X"), SCRIPT("H"),
	    SPOOL_TAKES, "DS", "bob:W", 250 },
	{ "refused by all: the first's words", "alice@x.example", "abc",
	    TWO("S 552 5.2.2 full", "S 554 5.7.0 no", "S 503 5.5.1 nobody"), ONE(PERM), SPOOL_TAKES,
	    "RRR", "", 552 },
	{ "refused by all, none is told", "", "c", SCRIPT("H"), ONE(PERM), SPOOL_IS_DOWN, "R", "",
	    552 },
	{ "one refused, the sender is ours", "carol@x.example", "ab", ALICE_FULL(DONE), SCRIPT("H"),
	    SPOOL_TAKES, "RD", "alice:R", 250 },
	{ "one refused, the sender is ours, no spool", "carol@x.example", "ab", ALICE_FULL(DONE),
	    SCRIPT("H"), SPOOL_IS_DOWN, "LD", "", 451 },
	{ "one refused, the sender may not be told", "s@far.example", "ab", ALICE_FULL(DONE),
	    SCRIPT("H"), SPOOL_IS_DOWN, "RD", "", 250 },
	{ "one refused, nobody to tell", "", "ab", ALICE_FULL(DONE), SCRIPT("H"), SPOOL_IS_DOWN,
	    "RD", "", 250 },
	{ "one refused, one later, the sender is ours", "carol@x.example", "ab", ALICE_FULL(TEMP),
	    SCRIPT("H"), SPOOL_TAKES, "RS", "alice:R bob:W", 250 },
	{ "one refused, one later, the sender is a stranger", "s@far.example", "ab",
	    ALICE_FULL(TEMP), SCRIPT("H"), SPOOL_TAKES, "RS", "bob:W", 250 },
	{ "one refused, one relayed, spool refuses", "carol@x.example", "cf", SCRIPT("H"),
	    ONE(PERM), SPOOL_REFUSES, "LL", "carol:R far:W", 451 },
};

static void add_by_letter(struct bench *b, char letter)
{
	switch (letter) {
	case 'a':
		add(b, "alice", "store1");
		break;
	case 'b':
		add(b, "bob", "store1");
		break;
	case 'c':
		add(b, "carol", "store2");
		break;
	case 'g':
		add(b, "gone", "store3");
		break;
	default:
		add(b, "far", NULL);
	}
}

static void test_cases(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bench b;
		print_message("%s\n", cases[i].name);
		bench_open(&b);
		if (cases[i].spool != SPOOL_TAKES && cases[i].spool != SPOOL_BREAKS)
			b.edge->spool_timeout = SHORT_MS;
		bench_start(&b, cases[i].one, cases[i].two, cases[i].spool);
		new_mail(&b, cases[i].sender, 100);
		for (const char *w = cases[i].who; *w != '\0'; w++)
			add_by_letter(&b, *w);
		commit(&b);
		assert_string_equal(fates(&b), cases[i].fates);
		assert_string_equal(spooled(&b), cases[i].spooled);
		assert_int_equal(reply_code(&b), cases[i].code);
		assert_null(b.store[STORE1].wrong);
		assert_null(b.store[STORE2].wrong);
		bench_close(&b);
	}
}

/* Who has authenticated is told, user of ours or not. */
static void test_authenticated(void **state)
{
	struct bench b;
	bench_open(&b);
	bench_start(&b, ALICE_FULL(DONE), SCRIPT("H"), SPOOL_TAKES);
	new_mail(&b, "s@far.example", 100);
	b.t->auth_user = mem_str("alice@x.example");
	b.t->trusted = true;
	add(&b, "alice", "store1");
	add(&b, "bob", "store1");
	commit(&b);
	assert_string_equal(fates(&b), "RD");
	assert_string_equal(spooled(&b), "alice:R");
	bench_close(&b);
}

/* NOTIFY=NEVER: a refusal of which nobody is told needs no spool. SUCCESS: the report must not be lost with
 * this process, so the queue delivers; of a stranger's wish nothing is known here. */
static void test_wishes(void **state)
{
	struct bench b;
	bench_open(&b);
	bench_start(&b, ALICE_FULL(DONE), SCRIPT("H"), SPOOL_TAKES);
	new_mail(&b, "s@far.example", 100);
	b.t->trusted = true;
	add(&b, "alice", "store1");
	add(&b, "bob", "store1");
	b.t->recipients[0].notify = SMTP_NOTIFY_NEVER;
	commit(&b);
	assert_string_equal(fates(&b), "RD");
	assert_string_equal(spooled(&b), "");
	bench_close(&b);
	bench_open(&b);
	bench_start(&b,
	    SCRIPT(LHLO, "C MAIL", "C RCPT TO:<bob@", "C DATA", "S 250 ok", "S 250 b", "S 354 go",
		"B", DONE),
	    SCRIPT("H"), SPOOL_TAKES);
	new_mail(&b, "s@far.example", 100);
	b.t->trusted = true;
	add(&b, "alice", "store1");
	add(&b, "bob", "store1");
	b.t->recipients[0].notify = SMTP_NOTIFY_SUCCESS;
	commit(&b);
	assert_string_equal(fates(&b), "SD");
	assert_string_equal(spooled(&b), "alice:W");
	bench_close(&b);
}

/* Nobody can say where the store is, nor who the sender is: the spool has it, and the queue will ask. */
static void test_directory_away(void **state)
{
	struct bench b;
	char path[100], away[100];
	snprintf(path, sizeof path, "%s/users.ldif", dir);
	snprintf(away, sizeof away, "%s/away.ldif", dir);
	assert_int_equal(rename(path, away), 0);
	bench_open(&b);
	bench_start(&b, SCRIPT("H"), SCRIPT("H"), SPOOL_TAKES);
	new_mail(&b, "carol@x.example", 100);
	add(&b, "alice", "store1");
	add(&b, "carol", "store2");
	commit(&b);
	assert_string_equal(fates(&b), "SS");
	assert_string_equal(spooled(&b), "alice:W carol:W");
	assert_int_equal(b.store[STORE1].connections, 0);
	bench_close(&b);
	assert_int_equal(rename(away, path), 0);
}

/* Connections are kept; sub-addresses travel; a body that is in a file reaches stores and spool whole. */
static void test_big_and_again(void **state)
{
	enum { BIG = 700 * 1000 };
	struct bench b;
	bench_open(&b);
	bench_start(&b,
	    SCRIPT(LHLO, "C MAIL FROM:<alice@x.example> SIZE=700", "C RCPT TO:<bob+box@x.example>",
		"C DATA", "S 250 ok", "S 250 ok", "S 354 go", "B", DONE,
		"C MAIL FROM:<alice@x.example>", "C RCPT TO:<bob@", "C DATA", "S 250 ok",
		"S 250 ok", "S 354 go", "B", DONE),
	    ONE(DONE), SPOOL_TAKES);
	new_mail(&b, "alice@x.example", BIG);
	assert_non_null(transaction_add(b.t, 10, SPAN("bob+box@x.example"), SPAN("bob@x.example"),
	    SPAN("box"), SPAN("store1")));
	add(&b, "carol", "store2");
	add(&b, "far", NULL);
	uint64_t size = body_size(b.t->body);
	commit(&b);
	assert_string_equal(fates(&b), "DDS");
	assert_int_equal(buf_len(&b.spool.body), size);
	for (int k = 0; k < STORES; k++)
		assert_true(buf_len(&b.store[k].seen) > size);
	new_mail(&b, "alice@x.example", 100);
	add(&b, "bob", "store1");
	commit(&b);
	assert_string_equal(fates(&b), "D");
	assert_int_equal(b.store[STORE1].connections, 1);
	assert_null(b.store[STORE1].wrong);
	bench_close(&b);
}

/* The client goes after so many rounds of the loop; the transaction goes with it. Nothing may be touched
 * afterwards, and the next message finds everything in order. True: the answer came first. */
static bool cancel_after(unsigned rounds, const char *const *two)
{
	const char *good[SCRIPT_MAX];
	struct bench b;
	bench_open(&b);
	bench_start(&b, ALICE_FULL(TEMP), two, SPOOL_TAKES);
	new_mail(&b, "carol@x.example", 300 * 1000);
	add(&b, "alice", "store1");
	add(&b, "bob", "store1");
	add(&b, "carol", "store2");
	add(&b, "far", NULL);
	ask(&b);
	for (unsigned i = 0; i < rounds && b.answers == 0; i++)
		loop_step(b.loop, 5);
	bool answered = b.answers > 0;
	ticket_cancel(&b.ticket);
	transaction_free(&b.t);
	for (int i = 0; i < 20; i++)
		loop_step(b.loop, 1);
	assert_int_equal(b.answers, answered);
	script_for(good, 0, GOOD, false);
	b.store[STORE2].script = good;
	b.store[STORE2].at = 0;
	committer_free(&b.committer); /* drops a kept connection, so that the script begins anew */
	b.committer = committer_new(b.loop, b.dns, b.directory, b.conf);
	new_mail(&b, "carol@x.example", 100);
	add(&b, "carol", "store2");
	commit(&b);
	assert_string_equal(fates(&b), "D");
	bench_close(&b);
	return answered;
}

static void test_cancel(void **state)
{
	unsigned rounds = 0;
	while (!cancel_after(rounds, ONE(DONE)))
		assert_true(++rounds < 2000);
	print_message("answered in %u rounds\n", rounds);
	assert_true(rounds > 10);
	for (rounds = 0; rounds < 30; rounds += 5)
		cancel_after(rounds, SCRIPT("S 220 hi", "H"));
}

/* The worker goes while messages wait in each state: their answers do not come. */
static void test_worker_goes(void **state)
{
	struct bench b;
	bench_open(&b);
	bench_start(&b, SCRIPT("S 220 hi", "H"), ONE("H"), SPOOL_IS_SILENT);
	new_mail(&b, "alice@x.example", 100);
	add(&b, "alice", "store1");
	add(&b, "carol", "store2");
	ask(&b);
	while (fake_saw(&b.store[STORE2], "}") == 0)
		loop_step(b.loop, 20);
	committer_free(&b.committer);
	b.ticket = NULL;
	for (int i = 0; i < 20; i++)
		loop_step(b.loop, 1);
	assert_int_equal(b.answers, 0);
	bench_close(&b);
}

/* A reload holds for the next message; the running one keeps its clock. */
static void test_reload(void **state)
{
	struct bench b;
	bench_open(&b);
	bench_start(&b, SCRIPT("S 220 hi", "H"), SCRIPT("H"), SPOOL_TAKES);
	struct conf *fresh = load();
	struct edge_conf *c = (struct edge_conf *)(uintptr_t)conf_section(fresh, &edge_block);
	c->commit_timeout = SHORT_MS;
	committer_reload(b.committer, fresh);
	conf_unref(&fresh);
	new_mail(&b, "alice@x.example", 100);
	add(&b, "alice", "store1");
	commit(&b);
	assert_string_equal(fates(&b), "S");
	bench_close(&b);
}

/* Each of many recipients has a store of its own; half of them the same. */
static void test_many(void **state)
{
	struct bench b;
	char name[32], store[32];
	bench_open(&b);
	bench_start(&b, SCRIPT("H"), SCRIPT("H"), SPOOL_TAKES);
	new_mail(&b, "alice@x.example", 100);
	for (int i = 0; i < RECIPIENTS_MAX; i++) {
		snprintf(name, sizeof name, "user%d", i);
		snprintf(store, sizeof store, i % 2 == 0 ? "/nowhere/%d" : "/nowhere/one", i);
		add(&b, name, store);
	}
	commit(&b);
	for (int i = 0; i < RECIPIENTS_MAX; i++)
		assert_int_equal(b.t->recipients[i].outcome.fate, FATE_SPOOLED);
	assert_int_equal(b.spool.puts, 1);
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matrix),
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_authenticated),
		cmocka_unit_test(test_wishes),
		cmocka_unit_test(test_directory_away),
		cmocka_unit_test(test_big_and_again),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_worker_goes),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
