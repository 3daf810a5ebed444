/* test_imap_fetch.c - FETCH and SEARCH in IMAP conversations: \Seen, what other sessions do meanwhile, messages
 * of any size, clients that do not read; see imap_fixture.h. Items and keys: test_fetch.c, test_search.c. */
#include "tests/unit/store/imap_fixture.h"

#include "store-backend/imap/session.h"

#define PLAIN "Subject: p\r\nFrom: Joe <joe@x.org>\r\n\r\nbody\r\n"
#define MULTI                                                                                      \
	"Subject: m\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n"        \
	"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntwo\r\n--b--\r\n"
#define DATE "\"14-Nov-2023 22:13:20 +0000\""

enum { BIG = 600000 };

/* Lines of numbers, each different. */
static char *big_message(size_t size, unsigned seed)
{
	struct buf b = BUF_INIT(size + 64);
	buf_printf(&b, "Subject: big %u\r\n\r\n", seed);
	for (unsigned i = 0; buf_len(&b) < size; i++)
		buf_printf(&b, "%u.%u\r\n", seed, i * 7919);
	char *text = mem_span_str(buf_span(&b));
	buf_end(&b);
	return text;
}

static void put_three(struct fixture *f)
{
	fixture_put(f, "INBOX", "\\Seen \\Answered", PLAIN);
	fixture_put(f, "INBOX", "", MULTI);
	fixture_put(f, "INBOX", "\\Flagged", PLAIN);
}

#define RUN(begin, ...) PLAY(put_three, begin, __VA_ARGS__)

/* ---- FETCH --------------------------------------------------------------------------------------- */

static void test_fetch(void **state)
{
	RUN(talk_select,
	    { "a FETCH 1:* (UID FLAGS)\r\n",
		"* 1 FETCH (UID 1 FLAGS (\\Seen \\Answered \\Recent))\r\n"
		"* 2 FETCH (UID 2 FLAGS (\\Recent))\r\n"
		"* 3 FETCH (UID 3 FLAGS (\\Flagged \\Recent))\r\na OK FETCH completed\r\n" },
	    { "b FETCH 3 FAST\r\n", "* 3 FETCH (FLAGS (\\Flagged \\Recent) INTERNALDATE " DATE
				    " RFC822.SIZE 43)\r\nb OK FETCH completed\r\n" },
	    { "c UID FETCH *:2,9 RFC822.SIZE\r\n",
		"* 2 FETCH (UID 2 RFC822.SIZE 133)\r\n* 3 FETCH (UID 3 RFC822.SIZE 43)\r\n"
		"c OK FETCH completed\r\n" },
	    { "d UID FETCH 9 FLAGS\r\n", "d OK FETCH completed\r\n" },
	    { "e FETCH 4 FLAGS\r\n", "e BAD No such message\r\n" },
	    { "f FETCH 0 FLAGS\r\n", "f BAD Number must not be zero\r\n" },
	    { "g FETCH 1 FLAG\r\n", "g BAD Unknown FETCH item\r\n" },
	    { "h FETCH 1\r\n", "h BAD Missing argument\r\n" },
	    { "i FETCH 1 ENVELOPE\r\n",
		"* 1 FETCH (ENVELOPE (NIL \"p\" ((\"Joe\" NIL \"joe\" \"x.org\")) ((\"Joe\" NIL "
		"\"joe\" \"x.org\")) ((\"Joe\" NIL \"joe\" \"x.org\")) NIL NIL NIL NIL NIL))\r\n"
		"i OK FETCH completed\r\n" },
	    { "j FETCH 2 (BODY.PEEK[2.HEADER] BODY.PEEK[1]<1.1>)\r\n",
		"* 2 FETCH (BODY[2.HEADER] {15}\r\nSubject: in\r\n\r\n BODY[1]<1> {1}\r\nn)\r\n"
		"j OK FETCH completed\r\n" },
	    { "k FETCH 2 BODY.PEEK[HEADER.FIELDS ({7+}\r\nSUBJECT to)]\r\n",
		"* 2 FETCH (BODY[HEADER.FIELDS (SUBJECT to)] {14}\r\nSubject: m\r\n\r\n)\r\n"
		"k OK FETCH completed\r\n" });
}

/* The first look at a body sets \Seen, which the same answer tells. */
static void test_seen(void **state)
{
	RUN(talk_select,
	    { "a FETCH 1:3 BODY[1]<0.2>\r\n",
		"* 1 FETCH (BODY[1]<0> {2}\r\nbo)\r\n"
		"* 2 FETCH (BODY[1]<0> {2}\r\non FLAGS (\\Seen \\Recent))\r\n"
		"* 3 FETCH (BODY[1]<0> {2}\r\nbo FLAGS (\\Seen \\Flagged \\Recent))\r\n"
		"a OK FETCH completed\r\n" },
	    { "b FETCH 1:3 RFC822.TEXT\r\n",
		"* 1 FETCH (RFC822.TEXT {6}\r\nbody\r\n)\r\n* 2 FETCH (RFC822.TEXT {76}\r\n"
		"--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
		"Subject: in\r\n\r\ntwo\r\n--b--\r\n)\r\n* 3 FETCH (RFC822.TEXT "
		"{6}\r\nbody\r\n)\r\n"
		"b OK FETCH completed\r\n" },
	    { "c NOOP\r\n", "c OK NOOP completed\r\n" },
	    { "d SEARCH UNSEEN\r\n", "* SEARCH\r\nd OK SEARCH completed\r\n" });
	RUN(talk_select,
	    { "a FETCH 2 (FLAGS BODY[1])\r\n", "* 2 FETCH (FLAGS (\\Seen \\Recent) BODY[1] {3}\r\n"
					       "one)\r\na OK FETCH completed\r\n" });
	/* nothing is set by PEEK, by RFC822.HEADER, or where nothing may be changed */
	RUN(talk_select,
	    { "a FETCH 2 (BODY.PEEK[1] RFC822.HEADER FLAGS)\r\n",
		"* 2 FETCH (BODY[1] {3}\r\none RFC822.HEADER {57}\r\nSubject: m\r\n"
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n FLAGS (\\Recent))\r\n"
		"a OK FETCH completed\r\n" });
	RUN(talk_examine,
	    { "a FETCH 2 (BODY[1] FLAGS)\r\n", "* 2 FETCH (BODY[1] {3}\r\none FLAGS (\\Recent))\r\n"
					       "a OK FETCH completed\r\n" });
}

/* A second session is told, and another's keyword is named before it is used. */
static void test_seen_by_others(void **state)
{
	struct fixture *f = fixture_open();
	put_three(f);
	struct talk a = talk_login(f), b = talk_login(f);
	(void)talk(&a, "s SELECT INBOX\r\n");
	(void)talk(&b, "s SELECT INBOX\r\n");
	(void)talk(&b, "x STORE 2 +FLAGS.SILENT (Work)\r\n");
	talk_expect(&a, "a FETCH 2 BODY[1]\r\n",
	    "* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft Work)\r\n"
	    "* 2 FETCH (BODY[1] {3}\r\none FLAGS (\\Seen \\Recent Work))\r\n"
	    "a OK FETCH completed\r\n");
	talk_expect(
	    &b, "b NOOP\r\n", "* 2 FETCH (UID 2 FLAGS (\\Seen Work))\r\nb OK NOOP completed\r\n");
	talk_close(&a);
	talk_close(&b);
	fixture_close(&f);
}

/* Mail can be read while nothing can be changed. */
static void test_seen_without_committer(void **state)
{
	struct fixture *f = fixture_open();
	put_three(f);
	struct talk t = talk_login(f);
	(void)talk(&t, "s SELECT INBOX\r\n");
	f->committer->hold = true;
	talk_expect(&t, "a FETCH 2 BODY[1]\r\n",
	    "* 2 FETCH (BODY[1] {3}\r\none)\r\n"
	    "a OK FETCH completed, but \\Seen could not be set\r\n");
	/* a client that leaves while the question is open */
	talk_send(&t, "b FETCH 2 BODY[1]\r\n");
	talk_close(&t);
	fixture_close(&f);
}

static void test_expunged_meanwhile(void **state)
{
	struct fixture *f = fixture_open();
	put_three(f);
	struct talk t = talk_login(f);
	(void)talk(&t, "s SELECT INBOX\r\n");
	fixture_expunge(f, "INBOX", 2, 2);
	talk_expect(&t, "a FETCH 1:3 RFC822.SIZE\r\n",
	    "* 1 FETCH (RFC822.SIZE 43)\r\n* 3 FETCH (RFC822.SIZE 43)\r\n"
	    "a OK [EXPUNGEISSUED] Some messages have been expunged meanwhile\r\n");
	talk_expect(&t, "b SEARCH LARGER 1\r\n",
	    "* SEARCH 1 3\r\nb OK [EXPUNGEISSUED] Some messages have been expunged meanwhile\r\n");
	talk_expect(&t, "c FETCH 3 UID\r\n", "* 3 FETCH (UID 3)\r\nc OK FETCH completed\r\n");
	talk_expect(&t, "d UID FETCH 2:3 UID\r\n",
	    "* 3 FETCH (UID 3)\r\n* 2 EXPUNGE\r\nd OK FETCH completed\r\n");
	talk_expect(&t, "e FETCH 2 UID\r\n", "* 2 FETCH (UID 3)\r\ne OK FETCH completed\r\n");
	talk_expect(&t, "f FETCH 3 UID\r\n", "f BAD No such message\r\n");
	talk_close(&t);
	fixture_close(&f);
}

static void test_empty_mailbox(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = talk_login(f);
	(void)talk(&t, "s SELECT INBOX\r\n");
	talk_expect(&t, "a FETCH 1:* FLAGS\r\n", "a OK FETCH completed\r\n");
	talk_expect(&t, "a FETCH 1 FLAGS\r\n", "a BAD No such message\r\n");
	talk_expect(&t, "b UID FETCH 1:* BODY[]\r\n", "b OK FETCH completed\r\n");
	talk_expect(&t, "c SEARCH 1:* BODY x\r\n", "* SEARCH\r\nc OK SEARCH completed\r\n");
	talk_close(&t);
	fixture_close(&f);
}

/* ---- size ---------------------------------------------------------------------------------------- */

/* Bytes that wait for the client of the session that began last. */
static size_t waiting(const struct fixture *f)
{
	struct store_session *base = LIST_OF(struct store_session, link, f->worker.sessions.prev);
	return stream_pending(LIST_OF(struct imap_session, base, base)->io);
}

/* From the log's file; the client reads when all has been made that will be: not the whole answer. */
static void test_large_messages(void **state)
{
	enum { N = 6 };
	struct fixture *f = fixture_open();
	struct buf want = BUF_INIT(64 << 20);
	for (unsigned i = 1; i <= N; i++) {
		char *text = big_message(BIG, i);
		size_t n = strlen(text);
		fixture_put(f, "INBOX", "\\Seen", text);
		buf_printf(&want,
		    "* %u FETCH (BODY[] {%zu}\r\n%s UID %u BODY[TEXT] {%zu}\r\n%s)\r\n", i, n, text,
		    i, n - 18, text + 18);
		mem_free(text);
	}
	buf_add_str(&want, "a OK FETCH completed\r\n");
	struct talk t = talk_login(f);
	(void)talk(&t, "s SELECT INBOX\r\n");
	buf_clear(&t.heard);
	assert_int_equal(write(t.fd, "a FETCH 1:* (BODY[] UID BODY[TEXT])\r\n", 37), 37);
	for (int i = 0; i < 50; i++)
		loop_step(f->loop, 1);
	assert_in_range(waiting(f), 1, 2 * 1024 * 1024);
	uint64_t until = clock_mono_ms() + TALK_WAIT_MS;
	while (buf_len(&t.heard) < buf_len(&want) && clock_mono_ms() < until) {
		talk_listen(&t);
		loop_step(f->loop, 1);
	}
	assert_true(span_eq(buf_span(&t.heard), buf_span(&want)));
	talk_close(&t);
	buf_end(&want);
	fixture_close(&f);
}

/* Others are served while one client has much work done, and one that leaves in the middle leaves nothing. */
static void test_fair(void **state)
{
	static const char *const commands[] = { "a SEARCH BODY nowhere\r\n",
		"a FETCH 1:* BODY[]\r\n", "a FETCH 1:* BODY.PEEK[]<5.16000>\r\n" };
	struct fixture *f = fixture_open();
	for (unsigned i = 0; i < 30; i++) {
		char *text = big_message(100000, i);
		fixture_put(f, "INBOX", "\\Seen", text);
		mem_free(text);
	}
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		struct talk busy = talk_login(f), other = talk_login(f);
		(void)talk(&busy, "s SELECT INBOX\r\n");
		talk_send(&busy, commands[i]);
		talk_expect(&other, "b NOOP\r\n", "b OK NOOP completed\r\n");
		talk_listen(&busy);
		assert_null(strstr(buf_cstr(&busy.heard), "a OK"));
		talk_close(&busy);
		talk_close(&other);
	}
	fixture_close(&f);
}

/* ---- SEARCH -------------------------------------------------------------------------------------- */

static void test_search(void **state)
{
	RUN(talk_select, { "a SEARCH ALL\r\n", "* SEARCH 1 2 3\r\na OK SEARCH completed\r\n" },
	    { "b UID SEARCH 2:* NOT FLAGGED\r\n", "* SEARCH 2\r\nb OK SEARCH completed\r\n" },
	    { "c SEARCH FROM joe BODY BODY\r\n", "* SEARCH 1 3\r\nc OK SEARCH completed\r\n" },
	    { "d SEARCH CHARSET UTF-8 TEXT {3+}\r\nTWO\r\n",
		"* SEARCH 2\r\nd OK SEARCH completed\r\n" },
	    { "e SEARCH CHARSET X ALL\r\n",
		"e NO [BADCHARSET (US-ASCII UTF-8)] Charset is not supported\r\n" },
	    { "f SEARCH ON 14-Nov-2023 SMALLER 100\r\n",
		"* SEARCH 1 3\r\nf OK SEARCH completed\r\n" },
	    { "g SEARCH\r\n", "g BAD Missing argument\r\n" },
	    { "h SEARCH FOO\r\n", "h BAD Unknown search key\r\n" },
	    { "i UID SEARCH UID 3:99 OR SUBJECT m SUBJECT p\r\n",
		"* SEARCH 3\r\ni OK SEARCH completed\r\n" });
}

static void test_search_many(void **state)
{
	enum { N = 3000 };
	struct fixture *f = fixture_open();
	struct buf want = BUF_INIT(1 << 20);
	buf_add_str(&want, "* SEARCH");
	for (unsigned i = 1; i <= N; i++) {
		char text[64];
		snprintf(text, sizeof text, "Subject: n%u\r\n\r\nbody %u\r\n", i % 3, i % 2);
		fixture_put(f, "INBOX", "", text);
		if (i % 3 == 1 && i % 2 == 1)
			buf_printf(&want, " %u", i);
	}
	buf_add_str(&want, "\r\na OK SEARCH completed\r\n");
	struct talk t = talk_login(f);
	(void)talk(&t, "s SELECT INBOX\r\n");
	talk_expect(&t, "a SEARCH BODY \"body 1\" SUBJECT n1\r\n", buf_cstr(&want));
	talk_close(&t);
	buf_end(&want);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fetch),
		cmocka_unit_test(test_seen),
		cmocka_unit_test(test_seen_by_others),
		cmocka_unit_test(test_seen_without_committer),
		cmocka_unit_test(test_expunged_meanwhile),
		cmocka_unit_test(test_empty_mailbox),
		cmocka_unit_test(test_large_messages),
		cmocka_unit_test(test_fair),
		cmocka_unit_test(test_search),
		cmocka_unit_test(test_search_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
