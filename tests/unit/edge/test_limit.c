/* test_limit.c - what rules of MeterMaid do to a session besides refusing it: marks on mail at every moment, and the
 * moments login and session of AUTH. */
#define BENCH_METER                                                                                \
	"	rule at-connect { on connect; kind list; networks 192.0.2.100/30; action tag; }\n"       \
	"	rule at-auth { on auth; kind list; networks 192.0.2.101/32; action tag; }\n"             \
	"	rule at-login { on login; kind list; networks 192.0.2.101/32; action tag; }\n"           \
	"	rule at-session { on session; kind list; networks 192.0.2.101/32; action tag; }\n"       \
	"	rule at-mail { on mail; kind list; networks 192.0.2.100/30; action tag; tag a; "         \
	"}\n"                                                                                      \
	"	rule at-rcpt { on rcpt; kind list; networks 192.0.2.100/30; action tag; tag \"b, "       \
	"c\"; "                                                                                    \
	"}\n"                                                                                      \
	"	rule at-message { on message; kind list; networks 192.0.2.100/30; action tag; }\n"       \
	"	rule logins { on login; key user; rate 2/1h; exempt 192.0.2.0/24, "                      \
	"198.51.100.16/28; }\n"                                                                    \
	"	rule together-users { on session; kind concurrency; key user; limit 1; exempt "          \
	"192.0.2.0/24, 198.51.100.0/28; }\n"
#include "tests/unit/edge/session_bench.h"

#define ALICE_AUTH "AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA==\r\n"
#define BOB_AUTH "AUTH PLAIN AGJvYkBleGFtcGxlLm9yZwBib2Itc2VjcmV0\r\n"

static struct talk say(const char *listener, const char *client, const char *script)
{
	memset(&given, 0, sizeof given);
	given.code = 250;
	return talk_whole(listener, client, span_str(script), SIZE_MAX);
}

static void test_marks(void **state)
{
	struct talk t = say("mx", "192.0.2.100",
	    ALICE "RCPT TO:<bob@example.org>\r\nDATA\r\n" TEXT
		  ".\r\nMAIL FROM:<t@far.example>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n" TEXT
		  ".\r\n" QUIT);
	assert_string_equal(codes(&t), "220 250 250 250 250 354 250 250 250 354 250 221");
	assert_non_null(
	    strstr(given.head, "\r\nX-Postern-Tag: at-connect, a, b??c, at-message\r\n"));
	assert_non_null(strstr(given.head, "Received: "));
	talk_close(&t);
	t = say("mx", "192.0.2.1", ALICE "DATA\r\n" TEXT ".\r\n" QUIT);
	assert_null(strstr(given.head, "X-Postern-Tag"));
	talk_close(&t);
}

static void test_marks_of_a_login(void **state)
{
	struct talk t = say("submission", "192.0.2.101",
	    HELLO ALICE_AUTH
	    "MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n" TEXT
	    ".\r\n" QUIT);
	assert_string_equal(codes(&t), "220 250 235 250 250 354 250 221");
	assert_non_null(strstr(given.head, "\r\nX-Postern-Tag: at-connect, at-auth, at-login, "
					   "at-session, a, b??c, at-message\r\n"));
	talk_close(&t);
}

/* Good logins are charged, failed ones are not; a refusal is no matter of the password. */
static void test_logins_are_limited(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct talk t = say("submission", "198.51.100.1", HELLO ALICE_AUTH QUIT);
		assert_string_equal(codes(&t), "220 250 235 221");
		talk_close(&t);
	}
	struct talk t = say("submission", "198.51.100.1", HELLO ALICE_AUTH QUIT);
	assert_string_equal(codes(&t), "220 250 454 221");
	assert_non_null(
	    strstr(buf_cstr(&t.heard), "454 4.7.0 limit logins is reached, try again later ["));
	talk_close(&t);
	t = say("submission", "198.51.100.4", HELLO BOB_AUTH QUIT);
	assert_string_equal(codes(&t), "220 250 235 221");
	talk_close(&t);
}

/* A session of a user holds its place until it ends, and XCLIENT ends what went before. */
static void test_sessions_of_a_user(void **state)
{
	struct talk first = talk_open("submission", "198.51.100.16");
	talk_until(&first, "220");
	talk_send(&first, SPAN(HELLO BOB_AUTH), SIZE_MAX);
	talk_until(&first, "235");
	struct talk t = talk_open("submission", "198.51.100.17");
	talk_until(&t, "220");
	talk_send(&t, SPAN(HELLO BOB_AUTH QUIT), SIZE_MAX);
	talk_until(&t, NULL);
	assert_string_equal(codes(&t), "220 250 454 221");
	close(t.fd);
	buf_end(&t.heard);
	talk_send(&first, SPAN(QUIT), SIZE_MAX);
	talk_until(&first, NULL);
	talk_close(&first);
	bool in = false;
	for (int i = 18; i < 32 && !in; i++) { /* each address may come thrice */
		char client[32];
		snprintf(client, sizeof client, "198.51.100.%d", i);
		t = say("submission", client, HELLO BOB_AUTH QUIT);
		in = strcmp(codes(&t), "220 250 235 221") == 0;
		talk_close(&t);
	}
	assert_true(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_marks_of_a_login),
		cmocka_unit_test(test_logins_are_limited),
		cmocka_unit_test(test_sessions_of_a_user),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
