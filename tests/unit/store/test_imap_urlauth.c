/* test_imap_urlauth.c - URLs that let others read a message (RFC 4467). */
#include "tests/unit/store/imap_fixture.h"

struct pair {
	struct fixture *f;
	struct talk alice, bob;
};

static struct pair open_pair(void)
{
	struct pair p = { .f = fixture_open() };
	fixture_put(p.f, "INBOX", "", "Subject: one\r\n\r\nfirst\r\n");
	fixture_put(p.f, "Sent items", "", "Subject: two\r\n\r\nsecond\r\n");
	p.alice = talk_login(p.f);
	p.bob = talk_open(p.f);
	talk(&p.bob, "l LOGIN bob bob-secret\r\n");
	return p;
}

static void close_pair(struct pair *p)
{
	talk_close(&p->alice);
	talk_close(&p->bob);
	fixture_close(&p->f);
}

/* What GENURLAUTH makes of it. */
static char *authorized(struct pair *p, const char *rump)
{
	char command[1024], *url = mem_alloc(1024);
	snprintf(command, sizeof command, "a GENURLAUTH \"%s\" INTERNAL\r\n", rump);
	assert_int_equal(sscanf(talk(&p->alice, command), "* GENURLAUTH \"%1000[^\"]\"", url), 1);
	assert_non_null(strstr(buf_cstr(&p->alice.heard), "a OK GENURLAUTH completed\r\n"));
	assert_memory_equal(url, rump, strlen(rump));
	assert_memory_equal(url + strlen(rump), ":internal:01", 12);
	return url;
}

/* want NULL: NIL. */
static void expect_fetched(struct talk *t, const char *url, const char *want)
{
	char command[1200], hear[2048];
	snprintf(command, sizeof command, "a URLFETCH \"%s\"\r\n", url);
	talk_send(t, command);
	talk_until(t, "a OK URLFETCH completed\r\n");
	if (want == NULL)
		snprintf(
		    hear, sizeof hear, "* URLFETCH \"%s\" NIL\r\na OK URLFETCH completed\r\n", url);
	else
		snprintf(hear, sizeof hear,
		    "* URLFETCH \"%s\" {%zu}\r\n%s\r\na OK URLFETCH completed\r\n", url,
		    strlen(want), want);
	assert_string_equal(buf_cstr(&t->heard), hear);
}

#define HOST "imap://alice@mail.example.org"

static void test_access(void **state)
{
	static const struct {
		const char *rump, *alice, *bob;
	} cases[] = {
		{ HOST "/INBOX/;uid=1;urlauth=anonymous", "Subject: one\r\n\r\nfirst\r\n",
		    "Subject: one\r\n\r\nfirst\r\n" },
		{ HOST "/inbox/;uid=1/;section=TEXT;urlauth=authuser", "first\r\n", "first\r\n" },
		{ HOST "/Sent%20items/;UID=1/;SECTION=HEADER.FIELDS%20(SUBJECT);urlauth=user+bob",
		    NULL, "Subject: two\r\n\r\n" },
		{ HOST "/INBOX/;uid=1/;partial=9.3;urlauth=user+alice@example.org", "one", NULL },
		{ HOST "/INBOX/;uid=1;urlauth=submit+alice", NULL, NULL },
		{ HOST "/INBOX/;uid=9;urlauth=anonymous", NULL, NULL },
		{ HOST "/INBOX/;uid=1;expire=2020-01-01T00:00:00Z;urlauth=anonymous", NULL, NULL },
		{ HOST "/INBOX/;uid=1;expire=2420-01-01T00:00:00Z;urlauth=anonymous",
		    "Subject: one\r\n\r\nfirst\r\n", "Subject: one\r\n\r\nfirst\r\n" },
	};
	struct pair p = open_pair();
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *url = authorized(&p, cases[i].rump);
		expect_fetched(&p.alice, url, cases[i].alice);
		expect_fetched(&p.bob, url, cases[i].bob);
		/* each of its bytes counts */
		url[strlen(url) - 1] = url[strlen(url) - 1] == '0' ? '1' : '0';
		expect_fetched(&p.bob, url, NULL);
		expect_fetched(&p.bob, cases[i].rump, NULL);
		mem_free(url);
	}
	close_pair(&p);
}

/* A token is of one URL, one mailbox, one user. */
static void test_changed_urls(void **state)
{
	struct pair p = open_pair();
	char *url = authorized(&p, HOST "/INBOX/;uid=1/;section=TEXT;urlauth=user+bob"),
	     other[1024];
	const char *token = strstr(url, ":internal:");
	static const char *const rumps[] = { HOST "/INBOX/;uid=1;urlauth=user+bob",
		HOST "/INBOX/;uid=1/;section=TEXT;urlauth=anonymous",
		HOST "/Sent%20items/;uid=1/;section=TEXT;urlauth=user+bob",
		"imap://bob@mail.example.org/INBOX/;uid=1/;section=TEXT;urlauth=user+bob" };
	for (size_t i = 0; i < COUNT_OF(rumps); i++) {
		snprintf(other, sizeof other, "%s%s", rumps[i], token);
		expect_fetched(&p.bob, other, NULL);
	}
	expect_fetched(&p.bob, url, "first\r\n");
	mem_free(url);
	close_pair(&p);
}

static void test_reset(void **state)
{
	struct pair p = open_pair();
	char *one = authorized(&p, HOST "/INBOX/;uid=1/;section=TEXT;urlauth=anonymous");
	char *two = authorized(&p, HOST "/Sent%20items/;uid=1/;section=TEXT;urlauth=anonymous");
	char *again = authorized(&p, HOST "/INBOX/;uid=1/;section=TEXT;urlauth=anonymous");
	assert_string_equal(one, again);
	mem_free(again);
	talk_expect(&p.alice, "a RESETKEY INBOX INTERNAL\r\n",
	    "a OK [URLMECH INTERNAL] RESETKEY completed\r\n");
	expect_fetched(&p.bob, one, NULL);
	expect_fetched(&p.bob, two, "second\r\n");
	again = authorized(&p, HOST "/INBOX/;uid=1/;section=TEXT;urlauth=anonymous");
	expect_fetched(&p.bob, again, "first\r\n");
	talk_expect(&p.alice, "a RESETKEY\r\n", "a OK [URLMECH INTERNAL] RESETKEY completed\r\n");
	expect_fetched(&p.bob, two, NULL);
	expect_fetched(&p.bob, again, NULL);
	/* the keys are seen by nobody */
	talk_expect(&p.alice, "a GETMETADATA (DEPTH infinity) INBOX (/private /shared)\r\n",
	    "a OK GETMETADATA completed\r\n");
	mem_free(one);
	mem_free(two);
	mem_free(again);
	close_pair(&p);
}

static void test_refused(void **state)
{
	PLAY(NULL, talk_login,
	    { "a GENURLAUTH \"imap://alice@h/none/;uid=1;urlauth=anonymous\" INTERNAL\r\n",
		"a NO [NONEXISTENT] No such mailbox of your own\r\n" },
	    { "a GENURLAUTH \"imap://bob@h/INBOX/;uid=1;urlauth=anonymous\" INTERNAL\r\n",
		"a BAD No URL that can be authorized\r\n" },
	    { "a GENURLAUTH \"imap://alice@h/INBOX/;uid=1;urlauth=everybody\" INTERNAL\r\n",
		"a BAD No URL that can be authorized\r\n" },
	    { "a GENURLAUTH \"imap://alice@h/INBOX/;uid=1\" INTERNAL\r\n",
		"a BAD No URL that can be authorized\r\n" },
	    { "a GENURLAUTH /INBOX/;uid=1;urlauth=anonymous INTERNAL\r\n",
		"a BAD No URL that can be authorized\r\n" },
	    { "a GENURLAUTH x OTHER\r\n", "a BAD The mechanism is INTERNAL\r\n" },
	    { "a GENURLAUTH x\r\n", "a BAD Missing argument\r\n" },
	    { "a URLFETCH (x BODY BINARY)\r\n",
		"a BAD Each once, and not both BODY and BINARY\r\n" },
	    { "a URLFETCH (x BODY BODY)\r\n", "a BAD Each once, and not both BODY and BINARY\r\n" },
	    { "a URLFETCH (x ENVELOPE)\r\n",
		"a BAD BODY, BINARY or BODYPARTSTRUCTURE expected\r\n" },
	    { "a URLFETCH (x BODY\r\n", "a BAD Closing parenthesis expected\r\n" },
	    { "a URLFETCH ()\r\n", "a BAD String expected\r\n" },
	    { "a URLFETCH (x BODY) y (z)\r\n", "* URLFETCH \"x\" NIL\r\n* URLFETCH \"y\" NIL\r\n* "
					       "URLFETCH \"z\" NIL\r\na OK URLFETCH "
					       "completed\r\n" },
	    { "a RESETKEY none\r\n", "a NO [NONEXISTENT] No such mailbox of your own\r\n" },
	    { "a RESETKEY INBOX OTHER\r\n", "a BAD The mechanism is INTERNAL\r\n" },
	    { "a URLFETCH\r\n", "a BAD Missing argument\r\n" },
	    { "a URLFETCH x {1}\r\n", "+ go on\r\n" },
	    { "y\r\n",
		"* URLFETCH \"x\" NIL\r\n* URLFETCH \"y\" NIL\r\na OK URLFETCH completed\r\n" });
}

#define MIXED                                                                                      \
	"Subject: m\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"     \
	"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJjDQpkZWY=\r\n"                         \
	"--b\r\nContent-Transfer-Encoding: x-none\r\n\r\nzz\r\n"                                   \
	"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nYQBi\r\n"      \
	"--b\r\nContent-Type: message/rfc822\r\n\r\n"                                              \
	"Subject: in\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3Db\r\n"              \
	"--b\r\n\r\n--b--\r\n"
#define PLAIN "\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL "

/* RFC 5524: what is asked of each URL, in one command with those of which nothing is. */
static void test_extended(void **state)
{
	static const struct {
		const char *section, *words, *told;
	} cases[] = {
		{ "/;section=1", "", " {12}\r\nYWJjDQpkZWY=" },
		{ "/;section=1", " BODY", " (BODY {12}\r\nYWJjDQpkZWY=)" },
		{ "/;section=1", " binary", " (BINARY {8}\r\nabc\r\ndef)" },
		{ "/;section=1/;partial=2.4", " BINARY", " (BINARY {4}\r\nc\r\nd)" },
		{ "/;section=1/;partial=9.4", " BINARY", " (BINARY {0}\r\n)" },
		{ "/;section=1", " BODYPARTSTRUCTURE",
		    " (BODYPARTSTRUCTURE (" PLAIN "\"base64\" 12 0 NIL NIL NIL NIL))" },
		{ "/;section=1", " BINARY BODYPARTSTRUCTURE",
		    " (BODYPARTSTRUCTURE (" PLAIN "\"binary\" 8 1 NIL NIL NIL NIL)) (BINARY "
		    "{8}\r\nabc\r\ndef)" },
		{ "/;section=1", " BODYPARTSTRUCTURE BODY",
		    " (BODYPARTSTRUCTURE (" PLAIN "\"base64\" 12 0 NIL NIL NIL NIL)) (BODY "
		    "{12}\r\nYWJjDQpkZWY=)" },
		{ "/;section=2", " BODYPARTSTRUCTURE BINARY",
		    " (BODYPARTSTRUCTURE (" PLAIN "\"x-none\" 2 0 NIL NIL NIL NIL)) (BINARY NIL)" },
		{ "/;section=2", " BODY", " (BODY {2}\r\nzz)" },
		{ "/;section=4.TEXT", " BINARY BODYPARTSTRUCTURE",
		    " (BODYPARTSTRUCTURE (" PLAIN "\"binary\" 3 0 NIL NIL NIL NIL)) (BINARY "
		    "{3}\r\na=b)" },
		{ "/;section=4.HEADER.FIELDS%20(SUBJECT)", " BINARY",
		    " (BINARY {15}\r\nSubject: in\r\n\r\n)" },
		{ "/;section=5", " BINARY", " (BINARY {0}\r\n)" },
		{ "/;section=6", " BINARY", " NIL" },
		{ "/;section=6", " BODYPARTSTRUCTURE", " NIL" },
		{ "/;section=TEXT/;partial=0.3", " BINARY", " (BINARY {3}\r\n--b)" },
		{ "/;partial=0.10", " BINARY", " (BINARY {10}\r\nSubject: m)" },
	};
	struct pair p = open_pair();
	struct buf send = BUF_INIT(32768), want = BUF_INIT(32768);
	char rump[256];
	fixture_put(p.f, "INBOX", "", MIXED);
	buf_add_str(&send, "a URLFETCH");
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		snprintf(
		    rump, sizeof rump, HOST "/INBOX/;uid=2%s;urlauth=anonymous", cases[i].section);
		char *url = authorized(&p, rump);
		buf_printf(&send, " (\"%s\"%s)", url, cases[i].words);
		buf_printf(&want, "* URLFETCH \"%s\"%s\r\n", url, cases[i].told);
		mem_free(url);
	}
	buf_add_str(&send, " x\r\n");
	buf_add_str(&want, "* URLFETCH \"x\" NIL\r\na OK URLFETCH completed\r\n");
	talk_send(&p.bob, buf_cstr(&send));
	talk_until(&p.bob, "a OK URLFETCH completed\r\n");
	assert_string_equal(buf_cstr(&p.bob.heard), buf_cstr(&want));
	buf_end(&send);
	buf_end(&want);
	close_pair(&p);
}

/* NULs go in a literal8 and in nothing else. */
static void test_nul(void **state)
{
	struct pair p = open_pair();
	char command[1200], want[1200];
	fixture_put(p.f, "INBOX", "", MIXED);
	char *url = authorized(&p, HOST "/INBOX/;uid=2/;section=3;urlauth=anonymous");
	snprintf(command, sizeof command, "a URLFETCH (\"%s\" BODYPARTSTRUCTURE BINARY)\r\n", url);
	int n = snprintf(want, sizeof want,
	    "* URLFETCH \"%s\" (BODYPARTSTRUCTURE (\"image\" \"png\" NIL NIL NIL \"binary\" 3 NIL "
	    "NIL "
	    "NIL NIL)) (BINARY ~{3}\r\na%cb)\r\na OK URLFETCH completed\r\n",
	    url, '\0');
	talk_send(&p.bob, command);
	talk_until(&p.bob, "a OK URLFETCH completed\r\n");
	assert_int_equal(buf_len(&p.bob.heard), n);
	assert_memory_equal(buf_span(&p.bob.heard).p, want, (size_t)n);
	mem_free(url);
	close_pair(&p);
}

/* Decoded in pieces, of which none is a whole number of anything. */
static void test_large_decoded(void **state)
{
	enum { LINES = 20000, LINE = 76, DECODED = LINES * LINE / 4 * 3 };
	struct pair p = open_pair();
	struct buf big = BUF_INIT(LINES * (LINE + 2) + 64), want = BUF_INIT(2 * DECODED);
	char command[1200];
	buf_add_str(&big, "Content-Transfer-Encoding: base64\r\n\r\n");
	for (int i = 0; i < LINES; i++) {
		for (int k = 0; k < LINE / 4; k++)
			buf_add_str(&big, "QUJD");
		buf_add_str(&big, "\r\n");
	}
	fixture_put(p.f, "INBOX", "", buf_cstr(&big));
	char *url = authorized(&p, HOST "/INBOX/;uid=2/;section=1;urlauth=authuser");
	snprintf(command, sizeof command, "a URLFETCH (\"%s\" BINARY)\r\n", url);
	talk_send(&p.bob, command);
	talk_until(&p.bob, "a OK URLFETCH completed\r\n");
	buf_printf(&want, "* URLFETCH \"%s\" (BINARY {%d}\r\n", url, DECODED);
	for (int i = 0; i < DECODED / 3; i++)
		buf_add_str(&want, "ABC");
	buf_add_str(&want, ")\r\na OK URLFETCH completed\r\n");
	assert_string_equal(buf_cstr(&p.bob.heard), buf_cstr(&want));
	mem_free(url);
	buf_end(&big);
	buf_end(&want);
	close_pair(&p);
}

/* Larger than what one answer may hold in memory. */
static void test_large(void **state)
{
	enum { N = 900000 };
	struct pair p = open_pair();
	struct buf big = BUF_INIT(N + 64), want = BUF_INIT(2 * N);
	char command[1200];
	while (buf_len(&big) < N)
		buf_printf(&big, "line at %zu\r\n", buf_len(&big));
	buf_printf(&want, "a APPEND INBOX {%zu+}\r\n", buf_len(&big));
	buf_clear(&p.alice.heard);
	talk_send_cut(&p.alice, buf_span(&want), SIZE_MAX);
	talk_send_cut(&p.alice, buf_span(&big), 50000);
	talk_send_cut(&p.alice, SPAN("\r\n"), SIZE_MAX);
	talk_hear(&p.alice, "a OK [APPENDUID @ 2] APPEND completed\r\n");
	char *url = authorized(&p, HOST "/INBOX/;uid=2;urlauth=authuser");
	snprintf(command, sizeof command, "a URLFETCH \"%s\" nothing\r\n", url);
	talk_send(&p.bob, command);
	talk_until(&p.bob, "a OK URLFETCH completed\r\n");
	buf_clear(&want);
	buf_printf(&want,
	    "* URLFETCH \"%s\" {%zu}\r\n%s\r\n* URLFETCH \"nothing\" NIL\r\na OK URLFETCH "
	    "completed\r\n",
	    url, buf_len(&big), buf_cstr(&big));
	assert_string_equal(buf_cstr(&p.bob.heard), buf_cstr(&want));
	mem_free(url);
	buf_end(&big);
	buf_end(&want);
	close_pair(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_changed_urls),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_extended),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_large_decoded),
		cmocka_unit_test(test_large),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
