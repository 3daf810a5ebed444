/* test_rehost.c - a user's store is changed in an LDIF file: that line and no other byte, or nothing at all. */
#include "tests/unit/directory/fixture.h"

#include <string.h>

#include "directory/rehost.h"

#define HEAD "version: 1\n# people\n"
#define BOB "dn: uid=bob\nobjectClass: inetMailUser\nuid: bob\nmail: bob@x.org\nmailHost: store1\n"
#define ALICE(hosts)                                                                               \
	"dn: uid=alice\r\nobjectClass: inetMailUser\nuid: alice\nmail:: YWxpY2VAeC5vcmc=\n" hosts  \
	"description: mailHost: store1\n mailHost: store1\n"

static enum rehost_result change(const char *text, const char *user, const char *wanted)
{
	struct directory_conf c = { .user_class = "inetMailUser",
		.attr_mail = "mail",
		.attr_host = "mailHost",
		.file_size_max = 4096 };
	struct rehost r = { user, "store1", "store2", false };
	struct buf out = BUF_INIT(4096), why = BUF_INIT(512);
	enum rehost_result got = rehost_ldif(&c, &r, span_str(text), &out, &why);
	if (got == REHOST_FAILED)
		assert_true(buf_len(&why) > 0);
	else
		assert_string_equal(buf_cstr(&out), wanted);
	buf_end(&out);
	buf_end(&why);
	return got;
}

static void test_text(void **state)
{
	static const struct {
		const char *text, *user;
		enum rehost_result result;
		const char *wanted;
	} cases[] = {
		{ HEAD BOB "\n" ALICE("mailHost: store1\n"), "alice@x.org", REHOST_DONE,
		    HEAD BOB "\n" ALICE("mailHost: store2\n") },
		{ HEAD BOB "\n\n\n" ALICE("MAILHOST:store1\nmailHost: store9\n") "\n",
		    "Alice@X.org", REHOST_DONE,
		    HEAD BOB "\n\n\n" ALICE("mailHost: store2\nmailHost: store9\n") "\n" },
		{ ALICE("mailHost: store2\n"), "alice@x.org", REHOST_ALREADY,
		    ALICE("mailHost: store2\n") },
		{ ALICE("mailHost: store2\nmailHost: store1\n"), "alice@x.org", REHOST_FAILED,
		    NULL },
		{ ALICE("mailHost: store3\n"), "alice@x.org", REHOST_FAILED, NULL },
		{ ALICE(""), "alice@x.org", REHOST_FAILED, NULL },
		{ BOB, "alice@x.org", REHOST_FAILED, NULL },
		{ BOB "\n" BOB, "bob@x.org", REHOST_FAILED, NULL },
		/* understood, but not in a form that can be changed without writing the entry anew */
		{ ALICE("mailHost:: c3RvcmUx\n"), "alice@x.org", REHOST_FAILED, NULL },
		{ ALICE("mailHost: stor\n e1\n"), "alice@x.org", REHOST_FAILED, NULL },
		{ "", "alice@x.org", REHOST_FAILED, NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		if (change(cases[i].text, cases[i].user, cases[i].wanted) != cases[i].result)
			fail_msg("case %zu", i);
}

static void test_file(void **state)
{
	struct directory_conf c = { .backend = BACKEND_FILE,
		.user_class = "inetMailUser",
		.attr_mail = "mail",
		.attr_host = "mailHost",
		.file_size_max = 4096,
		.file = fixture_path("d.ldif") };
	struct rehost r = { "bob@x.org", "store1", "store2", true };
	struct buf why = BUF_INIT(512);
	char got[512] = "";
	assert_int_equal(directory_rehost(&c, &r, &why), REHOST_FAILED); /* no such file */
	fixture_write("d.ldif", BOB);
	assert_int_equal(directory_rehost(&c, &r, &why), REHOST_DONE);
	assert_int_equal(directory_rehost(&c, &r, &why), REHOST_DONE); /* it only looked */
	r.only_look = false;
	assert_int_equal(directory_rehost(&c, &r, &why), REHOST_DONE);
	assert_int_equal(directory_rehost(&c, &r, &why), REHOST_ALREADY);
	FILE *f = fopen(c.file, "r");
	assert_non_null(f);
	assert_true(fread(got, 1, sizeof got - 1, f) > 0);
	fclose(f);
	assert_non_null(strstr(got, "\nmailHost: store2\n"));
	assert_int_not_equal(access(fixture_path("d.ldif.moving"), F_OK), 0);
	c.backend = BACKEND_STATIC;
	assert_int_equal(directory_rehost(&c, &r, &why), REHOST_FAILED);
	buf_end(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_file),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
