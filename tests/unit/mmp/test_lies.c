/* test_lies.c - a store that lies in every way we can think of, at each of its answers, in each protocol: the client is
 * told something in its own terms, the password stays here until a proper server asks for it, and the next one gets in. */
#include "world.h"

enum { STEPS_MAX = 16, ANSWER_MS = 300000, STEP_MS = 500 };

struct tongue {
	const char *name;
	enum port_id at;
	const char *login, *opening; /* what the client says; what it has heard before the answer */
	const char *in, *out;        /* how an answer begins: logged in, not */
	const char *const *good;
	size_t secret_step; /* the answer from which on the secret is out */
};

static const struct tongue tongues[] = {
	{ "imap", IMAP_OPEN, "a LOGIN alice alice-secret\r\n", IMAP_OPEN_GREETING, "a OK ", "a NO ",
	    imap_good, 2 },
	{ "pop3", POP3_OPEN, "USER alice\r\nPASS alice-secret\r\n",
	    POP3_GREETING "+OK Now the password\r\n", "+OK ", "-ERR ", pop3_good, 4 },
	{ "sieve", SIEVE_OPEN, "AUTHENTICATE \"PLAIN\" \"" ALICE_PLAIN "\"\r\n",
	    SIEVE_OPEN_GREETING, "OK ", "NO ", sieve_good, 7 },
	{ "submission", SUBMIT_OPEN, "EHLO pc\r\nAUTH PLAIN " ALICE_PLAIN "\r\n",
	    SUBMIT_GREETING SUBMIT_OPEN_EHLO, "235 ", "4", relay_good, 6 },
};

/* Up to the answer that begins TLS, which no store here ever does. */
static const char *const imap_tls[] = { "S * OK hi", "C P1 STARTTLS", "S P1 OK", "H", NULL };
static const char *const pop3_tls[] = { "S +OK hi", "C STLS", "S +OK", "H", NULL };
static const char *const sieve_tls[] = { "S \"SASL\" \"\"", "S \"STARTTLS\"", "S OK", "C STARTTLS",
	"S OK", "H", NULL };
static const char *const smtp_tls[] = { "S 220 hi", "C EHLO", "R 250-relay\r\n250 STARTTLS\r\n",
	"C STARTTLS", "S 220 go", "H", NULL };
static const char *const *const before_tls[] = { imap_tls, pop3_tls, sieve_tls, smtp_tls };
static const char *const injected[] = { "R P1 OK\r\n* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] x\r\n",
	"R +OK\r\n+OK\r\n", "R OK\r\n\"SASL\" \"PLAIN\"\r\nOK\r\n",
	"R 220 go\r\n250 AUTH PLAIN\r\n" };

static void begin_tls(void)
{
	world_start(
	    "sieve_extensions fileinto, reject, vacation; submission_capability PIPELINING, "
	    "8BITMIME, \"SIZE 1000\"; store_retry_min 100ms; store_retry_max 100ms; store_return "
	    "0s; "
	    "store_tls starttls;",
	    NULL);
}

static void begin(void)
{
	world_start(
	    "sieve_extensions fileinto, reject, vacation; submission_capability PIPELINING, "
	    "8BITMIME, \"SIZE 1000\"; store_retry_min 100ms; store_retry_max 100ms; store_return "
	    "0s;",
	    NULL);
}

/* A store's own word after the login may be "no" in the protocol's permanent terms, too. */
static bool is_refusal(const struct tongue *t, struct span answer)
{
	return span_starts(answer, span_str(t->out)) ||
	       (t->at == SUBMIT_OPEN && span_starts(answer, SPAN("535 ")));
}

/* Behind what stands between: the store's notices, which are whole lines. */
static struct span answer_of(const struct tongue *t, struct client *c)
{
	struct span rest = span_str(heard(c));
	assert_true(span_starts(rest, span_str(t->opening)));
	rest = span_from(rest, span_str(t->opening).n);
	while (t->at == IMAP_OPEN && span_starts(rest, SPAN("* ")))
		span_cut(&rest, '\n');
	return span_find(rest, '\n') != SIZE_MAX ? rest : SPAN_NONE;
}

/* One login against this script. True: the client is told that it is in. */
static bool meet(const struct tongue *t, const char *const *script, bool secret_may_be_out)
{
	struct client c;
	uint64_t passed = 0;
	struct span answer = SPAN_NONE;
	size_t before = world.store[0].conn_n;
	buf_clear(&world.store[0].seen);
	assert_int_equal(ftruncate(fileno(world.log), 0), 0);
	world.store[0].script = script;
	client_open(&c, t->at);
	client_send(&c, t->login);
	for (; answer.n == 0 && !c.ended && passed < ANSWER_MS; passed += STEP_MS) {
		settle();
		answer = span_starts(span_str(heard(&c)), span_str(t->opening)) ? answer_of(t, &c)
										: SPAN_NONE;
		if (answer.n == 0 && !c.ended)
			world_pass(STEP_MS);
	}
	bool in = span_starts(answer, span_str(t->in));
	assert_true(world.store[0].conn_n > before);
	if (!in && !is_refusal(t, answer))
		fail_msg("%s, \"%s\": told \"%s\"", t->name, *script, heard(&c));
	if (!secret_may_be_out &&
	    (store_saw("alice-secret") || store_saw("LXNlY3JldA") || store_saw("FsaWNlLXNlY3")))
		fail_msg("%s, \"%s\": the secret is out", t->name, *script);
	assert_null(strstr(log_text(), "-secret"));
	client_leave(&c);
	world_pass(60000);
	return in;
}

/* The good script up to this step; what comes instead of it; then the end, or silence. */
static const char *const *lie_at(
    const struct tongue *t, size_t step, const char *instead, const char *then)
{
	static const char *script[STEPS_MAX];
	for (size_t i = 0; i < step; i++)
		script[i] = t->good[i];
	script[step] = instead;
	script[step + 1] = then;
	script[step + 2] = NULL;
	return script;
}

static bool is_answer(const char *step)
{
	return step[0] == 'S' || step[0] == 'R';
}

/* ---- it stops in the middle --------------------------------------------------------------------- */

/* Each answer is cut after each of its bytes, and the store closes. */
static void test_half_answers(void **state)
{
	for (size_t k = 0; k < COUNT_OF(tongues); k++) {
		const struct tongue *t = &tongues[k];
		begin();
		for (size_t step = 0; t->good[step] != NULL; step++) {
			char part[1000];
			size_t n = is_answer(t->good[step]) ? strlen(t->good[step] + 2) : 0;
			for (size_t at = 0; at < n; at++) {
				snprintf(part, sizeof part, "R %.*s", (int)at, t->good[step] + 2);
				if (meet(t, lie_at(t, step, part, "X"), step >= t->secret_step))
					fail_msg("%s: in with \"%s\"", t->name, part);
			}
		}
		assert_true(meet(t, t->good, true));
		world_end();
	}
}

/* ---- it says something else --------------------------------------------------------------------- */

static char endless_line[20000], endless_untagged[30000], endless_reply[30000], empty_lines[5000];

static const char *const lies[] = {
	"R \r\n",
	"R \n",
	"R \r",
	"R x\ry\r\n",
	"R x\ny\r\n",
	"0 @",
	"0 * OK @\r\n",
	"0 +OK @\r\n",
	"0 OK \"@\"\r\n",
	"0 220 @\r\n",
	"R \x16\x03\x01\x02\x01\x01\xfc\x03\x03",
	"R HTTP/1.1 400 Bad Request\r\n\r\n",
	"R * BYE going\r\n",
	"R BYE \"going\"\r\n",
	"R -ERR [SYS/TEMP] going\r\n",
	"R 421 4.3.2 going\r\n",
	"R * PREAUTH [CAPABILITY IMAP4rev1] in\r\n",
	"R * OK {3}\r\nabc\r\n",
	"R * OK {-1}\r\n",
	"R * OK {99999999999999999999}\r\n",
	"R * {4294967295}\r\n",
	"R \"SASL\" {5}\r\nabcde\r\n",
	"R \"SASL\" {-5}\r\n",
	"R \"SASL\" {99999999999999999999+}\r\n",
	"R {4294967295}\r\n",
	"R NO {1000000}\r\n",
	"R P9 OK [CAPABILITY IMAP4rev1] in\r\n",
	"R P4 OK [CAPABILITY IMAP4rev1] in\r\n",
	"R P OK [CAPABILITY IMAP4rev1] in\r\n",
	"R * OK [CAPABILITY IMAP4rev1] in\r\n",
	"R P0 OK in\r\n",
	"R a OK [CAPABILITY IMAP4rev1] in\r\n",
	"R P3 NO\r\n",
	"R P3 BAD\r\n",
	"R P3\r\n",
	"R + \r\n+ \r\n+ \r\n+ \r\n",
	"R * OK [CAPABILITY\r\n",
	"R * OK [CAPABILITY ]]]]] x\r\n",
	"R * CAPABILITY AUTH=PLAIN\x01\r\n",
	"R * OK [\r\n",
	"R * 1 EXISTS\r\n* 2 RECENT\r\n",
	"R +\r\n",
	"R +OKAY\r\n",
	"R OKAY\r\n",
	"R NOT\r\n",
	"R 2\r\n",
	"R 99 x\r\n",
	"R 600 x\r\n",
	"R 250-x\r\n251 y\r\n",
	"R 250-x\r\nrubbish\r\n",
	"R 354 go\r\n",
	"R 334 x\r\n334 y\r\n334 z\r\n",
	"R 235\r\n",
	"R \xff\xfe\xfd\xfc\r\n",
	endless_line,
	endless_untagged,
	endless_reply,
	empty_lines,
};

static void fill(char *room, size_t size, const char *line)
{
	size_t n = (size_t)snprintf(room, size, "R ");
	while (n + strlen(line) < size)
		n += (size_t)snprintf(room + n, size - n, "%s", line);
}

/* Which of them are true where they stand, and may let somebody in. */
static bool may_be_in(const struct tongue *t, const char *lie)
{
	if (t->at == POP3_OPEN) /* +OK, whatever follows it */
		return strncmp(lie + 2, "+OK", 3) == 0;
	return t->at == SUBMIT_OPEN && strncmp(lie + 2, "235", 3) == 0;
}

static void lie_everywhere(const struct tongue *t, const char *lie)
{
	for (size_t step = 0; t->good[step] != NULL; step++) {
		bool last = t->good[step + 1] != NULL && t->good[step + 1][0] != 'C' &&
			    step >= t->secret_step;
		for (int silent = 0; is_answer(t->good[step]) && silent < 2; silent++) {
			bool in = meet(
			    t, lie_at(t, step, lie, silent ? "H" : "X"), step >= t->secret_step);
			if (in && !(last && may_be_in(t, lie)))
				fail_msg("%s: in with \"%.40s\" at %zu", t->name, lie, step);
		}
	}
}

static void test_lies(void **state)
{
	fill(endless_line, sizeof endless_line, "x");
	fill(endless_untagged, sizeof endless_untagged, "* 1 FETCH\r\n");
	fill(endless_reply, sizeof endless_reply, "250-x\r\n");
	fill(empty_lines, sizeof empty_lines, "\r\n");
	for (size_t k = 0; k < COUNT_OF(tongues); k++) {
		begin();
		for (size_t i = 0; i < COUNT_OF(lies); i++)
			lie_everywhere(&tongues[k], lies[i]);
		assert_true(meet(&tongues[k], tongues[k].good, true));
		world_end();
	}
}

/* ---- before TLS --------------------------------------------------------------------------------- */

/* Cut short, lied, injected: nobody gets in, and no password is said. */
static void test_before_tls(void **state)
{
	for (size_t k = 0; k < COUNT_OF(tongues); k++) {
		struct tongue t = tongues[k];
		size_t last = 0;
		t.good = before_tls[k];
		begin_tls();
		for (size_t step = 0; t.good[step][0] != 'H'; step++) {
			char part[1000];
			size_t n = is_answer(t.good[step]) ? strlen(t.good[step] + 2) : 0;
			for (size_t at = 0; at < n; at++) {
				snprintf(part, sizeof part, "R %.*s", (int)at, t.good[step] + 2);
				assert_false(meet(&t, lie_at(&t, step, part, "X"), false));
			}
			for (size_t i = 0; n > 0 && i < COUNT_OF(lies); i++)
				assert_false(meet(&t, lie_at(&t, step, lies[i], "X"), false));
			last = step;
		}
		assert_false(meet(&t, lie_at(&t, last, injected[k], "H"), false));
		assert_int_equal(buf_len(&world.store[0].seen) > 0, 1);
		world_end();
	}
}

/* ---- IMAP: what it can do, told once so and once so ------------------------------------------------- */

/* The last word counts, none of it is passed on but the answer's, and what is masked is not told. */
static void test_capabilities_that_change(void **state)
{
	static const struct {
		const char *script[6], *want;
	} rows[] = {
		{ { STORE_GREETING, "C P3 ",
		      "R * OK [CAPABILITY IMAP4rev1 X-ONE UNAUTHENTICATE] one\r\n* CAPABILITY "
		      "X-TWO\r\n"
		      "P3 OK [CAPABILITY IMAP4rev1 X-THREE] in\r\n",
		      "E", NULL },
		    "a OK [CAPABILITY IMAP4rev1 X-THREE] Logged in\r\n" },
		{ { STORE_GREETING, "C P3 ",
		      "R * CAPABILITY IMAP4rev1 UNAUTHENTICATE X-TWO mailbox-referrals\r\nP3 OK "
		      "in\r\n",
		      "E", NULL },
		    "a OK [CAPABILITY IMAP4rev1 X-TWO] Logged in\r\n" },
		{ { STORE_GREETING, "C P3 ", "S P3 OK [CAPABILITY UNAUTHENTICATE] in", "E", NULL },
		    "a OK Logged in\r\n" },
		{ { STORE_GREETING, "C P3 ",
		      "S P3 OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE  X-A] in", "E", NULL },
		    "a OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE X-A] Logged in\r\n" },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		char want[1000];
		begin();
		world.store[0].script = rows[i].script;
		client_open(&c, IMAP_OPEN);
		client_send(&c, "a LOGIN alice alice-secret\r\n");
		snprintf(want, sizeof want, "%s%s", IMAP_OPEN_GREETING, rows[i].want);
		expect(&c, want);
		client_leave(&c);
		world_end();
	}
}

static void test_masks(void **state)
{
	static const char *const able[] = { STORE_GREETING, "C P3 ",
		"S P3 OK [CAPABILITY IMAP4rev1 LITERAL+ ID COMPRESS=DEFLATE IDLE UNAUTHENTICATE] "
		"in",
		"E", NULL };
	static const struct {
		const char *mmp, *want;
		unsigned told;
	} rows[] = {
		{ "", "COMPRESS=DEFLATE IDLE", 1 },
		{ "imap_mask \"\";", "COMPRESS=DEFLATE IDLE UNAUTHENTICATE", 0 },
		{ "imap_mask compress=deflate, UNAUTHENTICATE;", "IDLE", 2 },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char want[200];
		world_start(rows[i].mmp, NULL);
		snprintf(want, sizeof want,
		    "OK [CAPABILITY IMAP4rev1 LITERAL+ ID %s] Logged in\r\n", rows[i].want);
		login_alice(IMAP_OPEN, able, want);
		assert_int_equal(logged("store.masked"), rows[i].told);
		login_alice(IMAP_OPEN, able, want); /* told once */
		assert_int_equal(logged("store.masked"), rows[i].told);
		world_end();
	}
	struct conf_diag *d = conf_diag_new();
	write_config("imap_mask \"two words\";", NULL);
	assert_null(load_config(d));
	assert_non_null(
	    strstr(conf_error_text(d, 0), "imap_mask: \"two words\" is not a capability"));
	conf_diag_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_half_answers),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_before_tls),
		cmocka_unit_test(test_capabilities_that_change),
		cmocka_unit_test(test_masks),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
