/* test_filter_some.c - filters that only some recipients want: the others notice nothing of them. */
#define BENCH_EDGE                                                                                 \
	"	listener opted { address 127.0.0.1:31; role mx; tls none; relay_from "                   \
	"192.0.2.9/32; }\n"                                                                        \
	"	milter some { address $/one.sock; listeners opted; dead_time 0s;\n"                      \
	"		recipient_domains Example.ORG; on_failure accept; }\n"                                  \
	"	milter none { address $/two.sock; listeners opted; dead_time 0s;\n"                      \
	"		recipient_domains other.example; }\n"                                                   \
	"	listener worded { address 127.0.0.1:32; role mx; tls none; }\n"                          \
	"	milter words { address $/one.sock; listeners worded; dead_time 0s; wanted_by "           \
	"spam; }\n"
#include "tests/unit/edge/two_milters.h"

static void opted(const char *script, const char *want)
{
	struct talk t = talk_whole("opted", "192.0.2.9", span_str(script), SIZE_MAX);
	assert_string_equal(codes(&t), want);
	talk_close(&t);
}

/* Who has not opted in notices nothing of the filter: neither its refusals nor its failures. */
static void test_domains_opt_in(void **state)
{
	static const char both[] =
	    MAIL "RCPT TO:<alice@example.org>\r\nRCPT TO:<x@other.example>\r\n"
		 "DATA\r\n" MESSAGE ".\r\n" QUIT;
	struct talk t;
	fake_says(&two, 'E', 'r', SPAN_NONE);
	check_once("opted", SEND QUIT, TAKEN);
	wait_seen(&one, "\nE\n", 1);
	assert_int_equal(count(&one, "\nR<"), 1);
	assert_int_equal(two.connections, 0);
	for (int how = 0; how < 3; how++) {
		fake_does(&two, how == 0 ? 'M' : 'R', how < 2 ? FAKE_CLOSE : FAKE_ANSWER);
		if (how == 2)
			fake_says(&two, 'M', 'r', SPAN_NONE);
		t = talk_whole("opted", "192.0.2.9", span_str(both), 7);
		assert_string_equal(codes(&t), how < 2 ? "220 250 250 250 451 354 250 221"
						       : "220 250 250 250 550 354 250 221");
		fake_does(&two, 'M', FAKE_ANSWER);
		talk_close(&t);
	}
	assert_int_equal(given.recipients, 1);
	buf_clear(&two.replies['M']);
	buf_clear(&two.seen);
	opted(both, "220 250 250 250 250 354 250 221");
	assert_true(saw(&two, "M<s@far.example>|\nDR{rcpt_addr}|x@other.example|"));
	assert_int_equal(count(&two, "\nR<"), 1);
	assert_int_equal(given.recipients, 2);
	assert_int_equal(given.fate, FATE_OPEN);
}

/* Words over the whole message, too, are about those who want the filter. */
static void test_words_for_some(void **state)
{
#define OTHER "RCPT TO:<x@other.example>\r\n"
#define TO_ALICE "RCPT TO:<alice@example.org>\r\n"
#define SEND_IT "DATA\r\n" MESSAGE ".\r\n" QUIT
	static const struct {
		char at, code;
		struct span data;
		const char *codes;
		size_t recipients; /* that commit gets; 0: it gets nothing */
		enum fate first;
	} cases[] = {
		{ 'E', 'r', SPAN(""), "220 250 250 250 250 354 250 221", 2, FATE_REFUSED },
		{ 'B', 'y', SPAN("552 5.3.4 too big\0"), "220 250 250 250 250 354 250 221", 2,
		    FATE_REFUSED },
		{ 'T', 'r', SPAN(""), "220 250 250 250 250 354 250 221", 2, FATE_REFUSED },
		{ 'E', 't', SPAN(""), "220 250 250 250 250 354 451 221", 0, FATE_OPEN },
		{ 'E', 'd', SPAN(""), "220 250 250 250 250 354 250 221", 1, FATE_OPEN },
		{ 'R', 'd', SPAN(""), "220 250 250 250 250 354 250 221", 1, FATE_OPEN },
		{ 'M', 'd', SPAN(""), "220 250 250 250 250 354 250 221", 1, FATE_OPEN },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		fake_says(&two, cases[i].at, cases[i].code, cases[i].data);
		given.calls = 0;
		opted(MAIL OTHER TO_ALICE SEND_IT, cases[i].codes);
		assert_int_equal(given.calls, cases[i].recipients > 0);
		if (cases[i].recipients > 0) {
			assert_int_equal(given.recipients, cases[i].recipients);
			assert_int_equal(given.fate, cases[i].first);
			assert_string_equal(given.first,
			    cases[i].recipients == 1 ? "alice@example.org" : "x@other.example");
		}
		buf_clear(&two.replies[(unsigned char)cases[i].at]);
	}
	given.calls = 0; /* nobody else: as by any filter */
	fake_says(&two, 'E', 'r', SPAN_NONE);
	opted(MAIL OTHER SEND_IT, "220 250 250 250 354 550 221");
	fake_says(&one, 'E', 'd', SPAN_NONE); /* and each is spoken for by one */
	opted(MAIL OTHER TO_ALICE SEND_IT, "220 250 250 250 250 354 550 221");
	buf_clear(&two.replies['E']);
	fake_says(&two, 'E', 'd', SPAN_NONE);
	opted(MAIL OTHER TO_ALICE SEND_IT, "220 250 250 250 250 354 250 221");
	assert_int_equal(given.calls, 0);
}

/* By the entries of users: bob's has the word. */
static void test_wanted_by_entry(void **state)
{
	fake_says(&one, 'E', 'r', SPAN_NONE);
	given.calls = 0;
	check_once("worded", MAIL TO_ALICE SEND_IT, TAKEN);
	assert_int_equal(one.connections, 0);
	check_once("worded", MAIL "RCPT TO:<bob@example.org>\r\n" TO_ALICE SEND_IT,
	    "220 250 250 250 250 354 250 221");
	assert_true(saw(&one, "R<bob@example.org>|"));
	assert_int_equal(count(&one, "\nR<"), 1);
	assert_string_equal(given.first, "bob@example.org");
	assert_int_equal(given.fate, FATE_REFUSED);
	check_once(
	    "worded", MAIL "RCPT TO:<bob@example.org>\r\n" SEND_IT, "220 250 250 250 354 550 221");
	assert_int_equal(given.calls, 2);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_domains_opt_in),
		TEST(test_words_for_some),
		TEST(test_wanted_by_entry),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
