/* test_imap_sort.c - SORT and THREAD (RFC 5256, RFC 5957) as conversations; exact to the byte, also in pieces of one
 * byte and with all commands at once. */
#include "tests/unit/store/imap_fixture.h"

#define RUN(...) PLAY(put_four, talk_select, __VA_ARGS__)

static const char *const mails[] = {
	"Date: Mon, 1 Jan 2024 10:00:00 +0000\r\nFrom: \"Zoe\" <b@x>\r\nTo: ann@x\r\nSubject: "
	"Beta\r\n"
	"Message-ID: <1@x>\r\n\r\nlong text of the first one\r\n",
	"Date: Mon, 1 Jan 2024 11:30:00 +0300\r\nFrom: a@y\r\nTo: \"Bob\" <zed@x>\r\n"
	"Subject: Re: alpha\r\nMessage-ID: <2@x>\r\nReferences: <3@x>\r\n\r\nx\r\n",
	"Date: Sun, 31 Dec 2023 10:00:00 +0000\r\nFrom: C <c@x>\r\nCc: d@x\r\nSubject: Alpha\r\n"
	"Message-ID: <3@x>\r\n\r\nmiddle\r\n",
	"From: (none)\r\n\r\nno date\r\n",
};

static void put_four(struct fixture *f)
{
	fixture_put(f, "INBOX", "", "gone: x\r\n\r\n");
	for (size_t k = 0; k < COUNT_OF(mails); k++)
		fixture_put(f, "INBOX", k == 0 ? "\\Seen" : "", mails[k]);
	fixture_expunge(f, "INBOX", 1, 1);
}

#define SORT(args, numbers)                                                                        \
	{                                                                                          \
		"a SORT " args "\r\n", "* SORT" numbers "\r\na OK SORT completed\r\n"              \
	}
#define THREAD(args, threads)                                                                      \
	{                                                                                          \
		"a THREAD " args "\r\n", "* THREAD" threads "\r\na OK THREAD completed\r\n"        \
	}

/* All came at the same second of 2023-11, which is the date of the one without a date. */
static void test_sort(void **state)
{
	RUN(SORT("(DATE) US-ASCII ALL", " 4 3 2 1"), SORT("(REVERSE DATE) UTF-8 ALL", " 1 2 3 4"),
	    SORT("(ARRIVAL) utf-8 ALL", " 1 2 3 4"),
	    SORT("(REVERSE ARRIVAL) UTF-8 ALL", " 1 2 3 4"),
	    SORT("(SUBJECT) UTF-8 ALL", " 4 2 3 1"), SORT("(SUBJECT DATE) UTF-8 ALL", " 4 3 2 1"),
	    SORT("(subject reverse date) UTF-8 ALL", " 4 2 3 1"),
	    SORT("(REVERSE SUBJECT) UTF-8 ALL", " 1 2 3 4"), SORT("(FROM) UTF-8 1:3", " 2 1 3"),
	    SORT("(DISPLAYFROM) UTF-8 1:3", " 2 3 1"), SORT("(TO) UTF-8 1:2", " 1 2"),
	    SORT("(DISPLAYTO) UTF-8 1:2", " 1 2"), SORT("(REVERSE CC) UTF-8 ALL", " 3 1 2 4"),
	    SORT("(REVERSE SIZE) UTF-8 ALL", " 1 2 3 4"), SORT("(DATE) UTF-8 UNSEEN", " 4 3 2"),
	    SORT("(DATE) UTF-8 FLAGGED", ""), SORT("(DATE) UTF-8 SUBJECT beta", " 1"),
	    { "a UID SORT (SUBJECT) UTF-8 ALL\r\n", "* SORT 5 3 4 2\r\na OK SORT completed\r\n" },
	    { "a SORT (DATE) UTF-8 MODSEQ 3\r\n",
		"* OK [HIGHESTMODSEQ 7] Highest\r\n* SORT 4 3 2 1 (MODSEQ 6)\r\n"
		"a OK SORT completed\r\n" });
}

static void test_sort_refused(void **state)
{
	RUN({ "a SORT () UTF-8 ALL\r\n", "a BAD Atom expected\r\n" },
	    { "a SORT DATE UTF-8 ALL\r\n", "a BAD Opening parenthesis expected\r\n" },
	    { "a SORT (X) UTF-8 ALL\r\n", "a BAD Unknown sort key\r\n" },
	    { "a SORT (REVERSE) UTF-8 ALL\r\n", "a BAD Space expected\r\n" },
	    { "a SORT (DATE) UTF-8\r\n", "a BAD Missing argument\r\n" },
	    { "a SORT (DATE) KOI8-R ALL\r\n",
		"a NO [BADCHARSET (US-ASCII UTF-8)] Charset is not supported\r\n" },
	    { "a SORT (DATE DATE DATE DATE DATE DATE DATE DATE DATE DATE DATE DATE DATE DATE DATE "
	      "DATE DATE) UTF-8 ALL\r\n",
		"a BAD Too many sort keys\r\n" });
}

static void test_thread(void **state)
{
	RUN(THREAD("REFERENCES UTF-8 ALL", " (4)(3 2)(1)"),
	    THREAD("ORDEREDSUBJECT UTF-8 ALL", " (4)(3 2)(1)"),
	    THREAD("references UTF-8 2", " (2)"), THREAD("REFERENCES UTF-8 FLAGGED", ""),
	    { "a UID THREAD REFERENCES UTF-8 ALL\r\n",
		"* THREAD (5)(4 3)(2)\r\na OK THREAD completed\r\n" },
	    { "a THREAD REFERENCES UTF-8 MODSEQ 1 1\r\n",
		"* OK [HIGHESTMODSEQ 7] Highest\r\n* THREAD (1)\r\na OK THREAD completed\r\n" },
	    { "a THREAD REFS UTF-8 ALL\r\n", "a BAD Unknown algorithm\r\n" },
	    { "a THREAD REFERENCES X ALL\r\n",
		"a NO [BADCHARSET (US-ASCII UTF-8)] Charset is not supported\r\n" },
	    { "a THREAD REFERENCES UTF-8 X\r\n", "a BAD Unknown search key\r\n" });
}

/* More than one step of merging and telling. */
static void test_many(void **state)
{
	enum { N = 9000 };
	struct fixture *f = fixture_open();
	for (unsigned i = 0; i < N; i++) {
		char text[128];
		snprintf(text, sizeof text, "Subject: %05u\r\n\r\n", (i * 7919u) % N);
		fixture_put(f, "INBOX", "", text);
	}
	struct talk t = talk_login(f);
	talk(&t, "s SELECT INBOX\r\n");
	const char *p = strstr(talk(&t, "a SORT (SUBJECT) UTF-8 ALL\r\n"), "* SORT") + 6;
	for (unsigned i = 0; i < N; i++) {
		unsigned number = (unsigned)strtoul(p, (char **)&p, 10);
		assert_int_equal(((number - 1) * 7919u) % N, i);
	}
	assert_int_equal(strncmp(p, "\r\na OK", 6), 0);
	talk(&t, "a THREAD ORDEREDSUBJECT UTF-8 ALL\r\n");
	assert_non_null(strstr(buf_cstr(&t.heard), "* THREAD (1)(2)(3)"));
	assert_non_null(strstr(buf_cstr(&t.heard), "(9000)\r\na OK THREAD completed\r\n"));
	talk_close(&t);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sort),
		cmocka_unit_test(test_sort_refused),
		cmocka_unit_test(test_thread),
		cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
