/* test_imap.c - IMAP conversations, exact to the byte; see imap_fixture.h. */
#include "tests/unit/store/imap_fixture.h"

static void test_first(void **state)
{
	struct fixture *f = fixture_open();
	fixture_put(f, "INBOX", "\\Seen", "Subject: one\r\n\r\none\r\n");
	struct talk t = talk_login(f);
	print_message("%s", talk(&t, "a SELECT INBOX\r\n"));
	print_message("%s", talk(&t, "a CREATE foo/bar\r\n"));
	print_message("%s", talk(&t, "a LIST \"\" *\r\n"));
	print_message("%s", talk(&t, "a STORE 1 +FLAGS (\\Flagged kw)\r\n"));
	print_message("%s", talk(&t, "a COPY 1 foo\r\n"));
	print_message("%s", talk(&t, "a APPEND foo {5+}\r\na: b\n\r\n"));
	print_message("%s", talk(&t, "a MOVE 1 foo\r\n"));
	print_message("%s", talk(&t, "a LOGOUT\r\n"));
	talk_until(&t, NULL);
	talk_close(&t);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first),
	};
	return cmocka_run_group_tests_name("imap", tests, NULL, NULL);
}
