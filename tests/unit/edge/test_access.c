/* test_access.c - access rules and owned senders, in conversations. */
#define BENCH_EDGE                                                                                 \
	"	send_as_any bob@example.org;\n"                                                          \
	"	access friends { sender friend.example; action accept; }\n"                              \
	"	access spam { sender bad@far.example, .spam.example, offers@; action refuse;\n"          \
	"		text \"no advertising\"; }\n"                                                           \
	"	access later { client 192.0.2.7/32; listener mx; action defer; }\n"                      \
	"	access listed { sender_file senders; action discard; }\n"                                \
	"	access dialups { helo .dialup.example; action tag; }\n"                                  \
	"	access second { helo a.dialup.example; action tag; }\n"                                  \
	"	access robots { sender <>; recipient bob.alias@example.org; action refuse; }\n"          \
	"	access moved { recipient old@example.org; action redirect; to bob@example.org; "         \
	"}\n"                                                                                      \
	"	access away { recipient gone@example.org; action redirect; to x@far.example; }\n"        \
	"	access relay { recipient elsewhere.example; action accept; }\n"                          \
	"	access watched { sender watched.example; action hold; text \"look at it\"; }\n"          \
	"	access anonymous { authenticated no; sender anon.example; action refuse; }\n"            \
	"	access mine { authenticated yes; recipient nobody@far.example; action refuse; }\n"
#include "tests/unit/edge/session_bench.h"

static void write_table(void)
{
	FILE *f = create("senders");
	fputs("# who is not heard\nmute@far.example\r\n\n  Quiet.Example # a domain\n", f);
	fclose(f);
}

static int setup_table(void **state)
{
	bench_prepare = write_table;
	return setup(state);
}

static void test_rules(void **state)
{
	static const struct {
		const char *helo, *sender, *to, *want;
	} cases[] = {
		{ "c", "s@far.example", "alice@example.org", "250" },
		{ "c", "bad@far.example", "alice@example.org", "550" },
		{ "c", "BAD@Far.Example", "alice@example.org", "550" },
		{ "c", "notbad@far.example", "alice@example.org", "250" },
		{ "c", "x@spam.example", "alice@example.org", "250" },
		{ "c", "x@a.b.spam.example", "alice@example.org", "550" },
		{ "c", "offers@anything.example", "alice@example.org", "550" },
		{ "c", "offers@friend.example", "alice@example.org", "250" },
		{ "c", "mute@far.example", "nobody@example.org", "250" },
		{ "c", "x@quiet.example", "alice@example.org", "250" },
		{ "c", "", "bob.alias@example.org", "550" },
		{ "c", "s@far.example", "bob.alias@example.org", "250" },
		{ "c", "s@far.example", "old@example.org", "250" },
		{ "c", "s@far.example", "gone@example.org", "250" },
		{ "c", "s@far.example", "x@elsewhere.example", "550" }, /* accept is not relay */
		{ "c", "s@far.example", "nobody@far.example", "550" },
		{ "c", "s@anon.example", "alice@example.org", "550" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char script[512], want[64];
		snprintf(script, sizeof script,
		    "EHLO %s\r\nMAIL FROM:<%s>\r\nRCPT TO:<%s>\r\n" QUIT, cases[i].helo,
		    cases[i].sender, cases[i].to);
		snprintf(want, sizeof want, "220 250 250 %s 221", cases[i].want);
		check("mx", script, want);
	}
}

static struct talk say(const char *listener, const char *client, const char *script)
{
	memset(&given, 0, sizeof given);
	given.code = 250;
	return talk_whole(listener, client, span_str(script), SIZE_MAX);
}

static void test_what_becomes_of_mail(void **state)
{
	struct talk t = say("mx", "192.0.2.1",
	    HELLO "MAIL FROM:<mute@far.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n" TEXT
		  ".\r\n"
		  "DATA\r\n" QUIT);
	assert_string_equal(codes(&t), "220 250 250 250 354 250 503 221");
	assert_int_equal(given.calls, 0);
	talk_close(&t);
	t = say("mx", "192.0.2.1",
	    HELLO "MAIL FROM:<s@far.example>\r\nRCPT TO:<old@example.org>\r\nDATA\r\n" TEXT
		  ".\r\n" QUIT);
	assert_string_equal(given.user, "bob@example.org");
	assert_null(strstr(given.head, "X-Postern-Tag"));
	talk_close(&t);
	t = say("mx", "192.0.2.1",
	    HELLO "MAIL FROM:<s@far.example>\r\nRCPT TO:<gone@example.org>\r\nDATA\r\n" TEXT
		  ".\r\n" QUIT);
	assert_string_equal(given.first, "x@far.example");
	assert_string_equal(given.user, "-");
	talk_close(&t);
	t = say("mx", "192.0.2.1",
	    "EHLO A.Dialup.Example\r\nMAIL FROM:<s@far.example>\r\nRCPT TO:<alice@example.org>\r\n"
	    "RCPT TO:<bob@example.org>\r\nDATA\r\n" TEXT ".\r\n" QUIT);
	assert_non_null(strstr(given.head, "\r\nX-Postern-Tag: dialups, second\r\n"));
	talk_close(&t);
	/* a recipient that is refused all the same leaves nothing behind */
	t = say("mx", "192.0.2.1",
	    HELLO "MAIL FROM:<s@watched.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n" TEXT
		  ".\r\nMAIL FROM:<s@watched.example>\r\nRCPT TO:<none@example.org>\r\n" QUIT);
	assert_string_equal(codes(&t), "220 250 250 250 354 250 250 550 221");
	assert_true(given.hold);
	assert_non_null(strstr(buf_cstr(&t.heard), "no such mailbox"));
	talk_close(&t);
	t = say("mx", "192.0.2.7", MAIL "RCPT TO:<alice@example.org>\r\n" QUIT);
	assert_string_equal(codes(&t), "220 250 250 450 221");
	talk_close(&t);
	t = say("internal", "192.0.2.7",
	    HELLO "MAIL FROM:<bad@far.example>\r\nRCPT TO:<alice@example.org>\r\n" QUIT);
	assert_string_equal(codes(&t), "220 250 250 550 221");
	assert_non_null(strstr(buf_cstr(&t.heard), "550 5.7.1 no advertising ["));
	talk_close(&t);
}

#define ALICE_IN HELLO "AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA==\r\n"
#define BOB_IN HELLO "AUTH PLAIN AGJvYkBleGFtcGxlLm9yZwBib2Itc2VjcmV0\r\n"

static void test_senders_are_owned(void **state)
{
	static const struct {
		const char *sender, *want;
	} cases[] = {
		{ "alice@example.org", "250" },
		{ "ALICE+tag@example.org", "250" },
		{ "alice.alias@example.org", "250" },
		{ "", "250" },
		{ "bob@example.org", "550" },
		{ "nobody@example.org", "550" },
		{ "alice@far.example", "550" },
	};
	char script[512], want[64];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		snprintf(script, sizeof script, ALICE_IN "MAIL FROM:<%s>\r\nRSET\r\n" QUIT,
		    cases[i].sender);
		snprintf(want, sizeof want, "220 250 235 %s 250 221", cases[i].want);
		check("submission", script, want);
	}
	check("submission", BOB_IN "MAIL FROM:<alice@example.org>\r\n" QUIT, "220 250 235 250 221");
	check("submission",
	    BOB_IN "MAIL FROM:<s@anon.example>\r\nRCPT TO:<alice@example.org>\r\n" QUIT,
	    "220 250 235 250 250 221");
	check("submission",
	    ALICE_IN "MAIL FROM:<alice@example.org>\r\nRCPT TO:<nobody@far.example>\r\n"
		     "RCPT TO:<other@far.example>\r\n" QUIT,
	    "220 250 235 250 550 250 221");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_what_becomes_of_mail),
		cmocka_unit_test(test_senders_are_owned),
	};
	return cmocka_run_group_tests(tests, setup_table, teardown);
}
