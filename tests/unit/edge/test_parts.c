/* test_parts.c - recipients and members sorted into transactions, over a fake for commit: return paths, marks,
 * who gets the mail twice (nobody), sizes, loops, and what the client is told in the end. */
#include "tests/unit/edge/parts_bench.h"

/* ---- tests ------------------------------------------------------------------------------------- */

static void test_without_members(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	plain(t, "anna@a.test");
	plain(t, "x@far.test");
	check(t, "<s@far.test> envid: anna@a.test! x@far.test!\n", "250 250");
}

static void test_local_members_stay_in_one(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	with_members(t, "info@a.test", "anna@a.test bob@a.test");
	plain(t, "carl@a.test");
	check(t, "<s@far.test> envid: carl@a.test! anna@a.test! bob@a.test!\n", "250 250");
}

static void test_nobody_twice(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	with_members(t, "info@a.test", "anna@a.test x@far.test");
	with_members(t, "more@a.test", "Anna@a.test X@far.test bob@a.test");
	plain(t, "bob@a.test");
	check(t,
	    "<s@far.test> company envid: bob@a.test! anna@a.test!\n"
	    "<SRS0> [Delivered-To: info@a.test] company envid: x@far.test!\n",
	    "250 250 250");
}

/* What a filter has refused for a group reaches none of its members. */
static void test_a_refused_group(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	struct recipient *r = with_members(t, "more@a.test", "dora@a.test bob@a.test x@far.test");
	outcome_set(&r->outcome, FATE_REFUSED, 550, "5.7.1", SPAN("a virus"));
	plain(t, "bob@a.test");
	check(t, "<s@far.test> envid: more@a.test!=550 bob@a.test!\n", "550 250");
}

/* Only the copies of those for whom a rule says so, with all that stand behind them. */
static void test_held_for_some(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	plain(t, "anna@a.test");
	plain(t, "bob@a.test")->hold_why = mem_str("look");
	plain(t, "carl@a.test")->hold_why = mem_str("look");
	plain(t, "x@far.test")->hold_why = mem_str("other");
	with_members(t, "more@a.test", "dora@a.test bob@a.test")->hold_why = mem_str("look");
	check(t,
	    "<s@far.test> company envid: anna@a.test!\n"
	    "<s@far.test> company envid hold=look: bob@a.test! carl@a.test! dora@a.test!\n"
	    "<s@far.test> company envid hold=other: x@far.test!\n",
	    "250 250 250 250 250");
	t = mail("s@far.test", TEXT);
	transaction_hold(t, SPAN("all"));
	plain(t, "anna@a.test");
	plain(t, "bob@a.test")->hold_why = mem_str("look");
	check(t, "<s@far.test> envid hold=all: anna@a.test! bob@a.test!\n", "250 250");
}

static void test_forward_of_a_stranger(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	t->hold = t->body_8bit = t->smtputf8 = t->require_tls = true;
	t->hold_why = mem_str("look");
	with_members(t, "fwd@a.test", "x@other.test");
	check(t, "<SRS0> [Delivered-To: fwd@a.test] envid hold=look 8bit utf8 tls: x@other.test!\n",
	    "250");
	t = mail("s@far.test", TEXT);
	t->aligned = t->tls_optional = true; /* reports to this sender do no harm */
	with_members(t, "fwd@a.test", "x@other.test");
	check(t, "<SRS0> [Delivered-To: fwd@a.test] aligned envid notls: x@other.test!\n", "250");
}

static void test_sender_is_kept(void **state)
{
	static const struct {
		const char *sender;
		bool trusted;
		const char *want;
	} cases[] = {
		{ "", false, "<> [Delivered-To: fwd@a.test] envid: x@other.test!\n" },
		{ "anna@a.test", false,
		    "<anna@a.test> [Delivered-To: fwd@a.test] envid: x@other.test!\n" },
		{ "s@far.test", true,
		    "<s@far.test> [Delivered-To: fwd@a.test] trusted envid: x@other.test!\n" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct transaction *t = mail(cases[i].sender, TEXT);
		t->trusted = cases[i].trusted;
		with_members(t, "fwd@a.test", "x@other.test");
		check(t, cases[i].want, "250");
	}
}

static void test_group_with_an_owner(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	with_members(
	    t, "team@a.test", "anna@a.test<o@a.test> x@far.test<o@a.test> y@far.test<o@a.test>");
	plain(t, "anna@a.test");
	check(t,
	    "<s@far.test> company envid: anna@a.test!\n"
	    "<o@a.test> [Delivered-To: team@a.test] trusted company: x@far.test y@far.test\n",
	    "250 250");
}

static void check_expanded(
    char who, enum behind behind, unsigned notify, const char *members, const char *want)
{
	struct transaction *t = mail(who != 0 ? "s@far.test" : "", TEXT);
	struct recipient *r = with_members(t, "t@a.test", members);
	r->behind = behind;
	r->notify = notify;
	t->trusted = who == 't';
	t->aligned = who == 'a';
	check(t, want, strstr(want, "=550") != NULL ? "550" : "250");
}

/* Who wants to hear of success hears of the address, with the rest of the mail, and the wish ends (RFC 3461 section 5.2.7). */
static void test_expanded(void **state)
{
	enum { success = SMTP_NOTIFY_SUCCESS };
	check_expanded(
	    't', BEHIND_ONE, success, "anna@a.test", "<s@far.test> trusted envid: anna@a.test*\n");
	check_expanded('t', BEHIND_SEVERAL, success | SMTP_NOTIFY_DELAY, "anna@a.test bob@a.test",
	    "<s@far.test> trusted envid: anna@a.test! bob@a.test! t@a.test*(expanded)\n");
	check_expanded('a', BEHIND_SEVERAL, success, "anna@a.test bob@a.test",
	    "<s@far.test> aligned envid: anna@a.test- bob@a.test- t@a.test*(expanded)\n");
	check_expanded('s', BEHIND_SEVERAL, success, "anna@a.test bob@a.test",
	    "<s@far.test> envid: anna@a.test- bob@a.test-\n");
	check_expanded(0, BEHIND_SEVERAL, success, "anna@a.test bob@a.test",
	    "<> envid: anna@a.test- bob@a.test-\n");
	check_expanded('t', BEHIND_SEVERAL, SMTP_NOTIFY_FAILURE, "anna@a.test bob@a.test",
	    "<s@far.test> trusted envid: anna@a.test! bob@a.test!\n");
	check_expanded('t', BEHIND_LIST, success, "anna@a.test<o@a.test> x@far.test<o@a.test>",
	    "<o@a.test> trusted company: anna@a.test\n"
	    "<o@a.test> [Delivered-To: t@a.test] trusted company: x@far.test\n"
	    "<s@far.test> trusted company envid: t@a.test+list*(expanded)\n");
	check_expanded('t', BEHIND_SEVERAL, success, "gone@a.test=550 off@a.test=550",
	    "<s@far.test> trusted envid: gone@a.test-=550 off@a.test-=550\n");
}

/* Fields of a group stand in front, for those at home too. */
static void test_fields_of_a_group(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	struct recipient *r = with_members(t, "team@a.test", "anna@a.test x@far.test bob@a.test");
	for (size_t i = 0; i < 2; i++)
		r->members[i].fields = mem_str("List-Id: <l.a.test>\r\n");
	check(t,
	    "<s@far.test> [List-Id: <l.a.test>] company envid: anna@a.test!\n"
	    "<SRS0> [Delivered-To: team@a.test\r\nList-Id: <l.a.test>] company envid: x@far.test!\n"
	    "<s@far.test> company envid: bob@a.test!\n",
	    "250");
}

static void test_outcomes(void **state)
{
	static const struct {
		const char *members, *lines, *code;
	} cases[] = {
		{ "no1@a.test no2@a.test", "<s@far.test> envid: no1@a.test! no2@a.test!\n", "550" },
		{ "no1@a.test anna@a.test", "<s@far.test> envid: no1@a.test! anna@a.test!\n",
		    "250" },
		{ "wait1@a.test anna@a.test", "<s@far.test> envid: wait1@a.test! anna@a.test!\n",
		    "451" },
		{ "gone@a.test=550 anna@a.test",
		    "<s@far.test> envid: gone@a.test!=550 anna@a.test!\n", "250" },
		{ "full@a.test=450 anna@a.test",
		    "<s@far.test> envid: full@a.test!=450 anna@a.test!\n", "250" },
		{ "gone@a.test=550 x@far.test",
		    "<s@far.test> company envid: gone@a.test!=550\n"
		    "<SRS0> [Delivered-To: info@a.test] company envid: x@far.test!\n",
		    "250" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct transaction *t = mail("s@far.test", TEXT);
		with_members(t, "info@a.test", cases[i].members);
		check(t, cases[i].lines, cases[i].code);
	}
}

static void test_loops(void **state)
{
	static const char marked[] =
	    "Received: x\r\nDelivered-To:\r\n FWD@a.test \r\nSubject: x\r\n\r\n"
	    "Delivered-To: other@a.test\r\n";
	struct transaction *t = mail("s@far.test", marked);
	with_members(t, "fwd@a.test", "fwd@a.test x@far.test");
	check(t, "<s@far.test> envid: fwd@a.test!=554\n", "554");
	t = mail("s@far.test", marked);
	with_members(t, "fwd@a.test", "x@far.test");
	with_members(t, "other@a.test", "x@far.test");
	check(t,
	    "<s@far.test> company envid: fwd@a.test!=554\n"
	    "<SRS0> [Delivered-To: other@a.test] company envid: x@far.test!\n",
	    "554 250");
}

/* Of the group is told, and once: who is in it is nobody's business. */
static void test_size(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	struct recipient *r = with_members(t, "small@a.test", "anna@a.test bob@a.test carl@a.test");
	r->members[0].size_max = strlen(TEXT);
	r->members[1].size_max = r->members[2].size_max = strlen(TEXT) - 1;
	check(t, "<s@far.test> envid: anna@a.test! small@a.test!=552\n", "250");
}

static void test_many(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	struct recipient *r = with_members(t, "all@a.test", "x0@far.test");
	size_t n = 2 * RECIPIENTS_MAX + 1;
	r->members = mem_grow(r->members, n, sizeof *r->members);
	for (size_t i = 1; i < n; i++) {
		char address[40];
		snprintf(address, sizeof address, "x%zu@far.test", i);
		r->members[i] =
		    (struct recipient){ .address = mem_str(address), .size_max = UINT64_MAX };
	}
	r->member_count = n;
	bool done = false;
	uint64_t until = clock_mono_ms() + 20000;
	heard.words.max = 1024 * 1024;
	assert_non_null(start(t, &done));
	while (!done && clock_mono_ms() < until)
		loop_step(loop, 20);
	assert_true(done);
	assert_int_equal(heard.commits, 3);
	assert_int_equal(heard.open_most, 3);
	assert_int_equal(t->recipients[0].outcome.code, 250);
	transaction_free(&t);
}

/* All parts are asked for at once, and one that the spool does not get has the client come back: commit_unit.c sees to it that
 * the others have nothing of it. */
static void test_no_room(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	heard.room = 0;
	with_members(t, "info@a.test", "anna@a.test x@far.test bob@a.test<own@a.test>");
	plain(t, "carl@a.test");
	check(t,
	    "<s@far.test> company envid: carl@a.test! anna@a.test!\n"
	    "<SRS0> [Delivered-To: info@a.test] company envid: x@far.test!\n"
	    "<own@a.test> trusted company: bob@a.test\n",
	    "451 451");
	assert_int_equal(heard.open_most, 3);
	heard.room = SIZE_MAX;
}

/* Each with a return path of its own: as many as a unit has room for, and one more. */
static void test_too_many_parts(void **state)
{
	for (size_t n = UNIT_PARTS_MAX; n <= UNIT_PARTS_MAX + 1; n++) {
		struct transaction *t = mail("s@far.test", TEXT);
		struct recipient *r = with_members(t, "all@a.test", "x0@a.test");
		r->members = mem_grow(r->members, n, sizeof *r->members);
		for (size_t i = 1; i < n; i++) {
			char address[40];
			snprintf(address, sizeof address, "x%zu@a.test", i);
			r->members[i] = (struct recipient){ .address = mem_str(address),
				.sender = mem_str(address),
				.size_max = UINT64_MAX };
		}
		r->member_count = n;
		bool done = false;
		assert_non_null(start(t, &done));
		while (!done)
			loop_step(loop, 20);
		assert_int_equal(heard.commits, n > UNIT_PARTS_MAX ? 0 : n);
		assert_int_equal(t->recipients[0].outcome.code, n > UNIT_PARTS_MAX ? 552 : 250);
		transaction_free(&t);
	}
}

static void test_cancelled(void **state)
{
	for (int rounds = 0; rounds < 6; rounds++) {
		struct transaction *t = mail("s@far.test", TEXT);
		bool done = false;
		with_members(t, "info@a.test", "anna@a.test x@far.test");
		struct ticket *k = start(t, &done);
		for (int i = 0; i < rounds && !done; i++)
			loop_step(loop, 0);
		if (!done)
			ticket_cancel(&k);
		transaction_free(&t);
	}
	assert_true(heard.cancelled > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_members),
		cmocka_unit_test(test_local_members_stay_in_one),
		cmocka_unit_test(test_nobody_twice),
		cmocka_unit_test(test_a_refused_group),
		cmocka_unit_test(test_held_for_some),
		cmocka_unit_test(test_forward_of_a_stranger),
		cmocka_unit_test(test_sender_is_kept),
		cmocka_unit_test(test_group_with_an_owner),
		cmocka_unit_test(test_expanded),
		cmocka_unit_test(test_fields_of_a_group),
		cmocka_unit_test(test_outcomes),
		cmocka_unit_test(test_loops),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_too_many_parts),
		cmocka_unit_test(test_cancelled),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
