/* test_imap_input.c - what the client's bytes may do: APPEND in all its forms, literals that are refused, lines
 * that are no lines, every split point, TLS, the word of a multiplexor, patience. */
#include "tests/unit/store/imap_fixture.h"

#define TEXT "Subject: x\r\n\r\ntext\r\n"

struct opened {
	struct fixture *f;
	struct talk t;
};

static struct opened open_all(void)
{
	struct opened o = { .f = fixture_open() };
	o.t = talk_login(o.f);
	return o;
}

static void close_all(struct opened *o)
{
	talk_close(&o->t);
	fixture_close(&o->f);
}

static bool entry_of(struct fixture *f, const char *mailbox, uint32_t uid, struct index_entry *out)
{
	struct index_view *v = index_view_begin(f->worker.partition.index);
	bool there = index_entry(v, fixture_mailbox(f, "alice@example.org", mailbox), uid, out);
	index_view_end(&v);
	return there;
}

/* The bytes of a message as they are in the log. */
static void expect_stored(struct fixture *f, const char *mailbox, uint32_t uid, struct span want)
{
	struct index_entry e;
	char *got = mem_alloc(want.n + 1);
	assert_true(entry_of(f, mailbox, uid, &e));
	assert_int_equal(e.size, want.n);
	assert_int_equal(
	    commitlog_reader_read(f->worker.partition.reader, e.blob, 0, got, want.n), ERR_OK);
	assert_memory_equal(got, want.p, want.n);
	mem_free(got);
}

/* ---- APPEND ---------------------------------------------------------------------------------------------- */

static void test_append_small(void **state)
{
	static const struct step steps[] = {
		{ "a APPEND INBOX {20}\r\n", "+ go on\r\n" },
		{ TEXT "\r\n", "a OK [APPENDUID @ 1] APPEND completed\r\n" },
		{ "a APPEND inbox (\\Seen $Kw) \"17-Jul-1996 02:44:25 -0700\" {20+}\r\n" TEXT
		  "\r\n",
		    "a OK [APPENDUID @ 2] APPEND completed\r\n" },
		{ "a APPEND INBOX () {6+}\r\na: b\nc\r\n",
		    "a OK [APPENDUID @ 3] APPEND completed\r\n" },
		{ "a APPEND none {3+}\r\na:b\r\n", "a NO [TRYCREATE] No such mailbox\r\n" },
		{ "a APPEND INBOX {0+}\r\n\r\n", "a NO [CANNOT] An empty message\r\n" },
		{ "a APPEND INBOX {3+}\r\na:b x\r\n", "a BAD Unexpected character\r\n" },
		{ "a APPEND INBOX {3+}\r\na:bx\r\n", "a BAD Space expected\r\n" },
		{ "a APPEND INBOX \"no date\" {3+}\r\na:b\r\n", "a BAD Bad date\r\n" },
		{ "a APPEND INBOX (\\Recent) {3+}\r\na:b\r\n", "a BAD \\Recent cannot be set\r\n" },
		{ "a APPEND INBOX text\r\n", "a BAD Unexpected character\r\n" },
		{ "a APPEND INBOX\r\n", "a BAD Missing argument\r\n" },
		{ "a NOOP\r\n", "a OK NOOP completed\r\n" },
	};
	static const size_t cuts[] = { SIZE_MAX, 1, 3, 0 };
	for (size_t i = 0; i < COUNT_OF(cuts); i++) {
		struct opened o = open_all();
		struct index_entry e;
		talk_script(&o.t, steps, COUNT_OF(steps), cuts[i]);
		expect_stored(o.f, "INBOX", 1, SPAN(TEXT));
		expect_stored(o.f, "INBOX", 3, SPAN("a: b\r\nc"));
		assert_true(entry_of(o.f, "INBOX", 2, &e));
		assert_int_equal(e.flags, STORE_SEEN);
		assert_int_equal(e.keywords, 1);
		assert_int_equal(e.date_s, 837596665);
		close_all(&o);
	}
}

/* A message that is no part of its command: it streams into a file. */
static struct buf large_message(size_t n)
{
	struct buf b = BUF_INIT(n + 64);
	buf_add_str(&b, "Subject: large\r\n\r\n");
	while (buf_len(&b) < n)
		buf_printf(&b, "line at %zu\r\n", buf_len(&b));
	return b;
}

/* The command up to the size (a "+" at its end: not waiting for leave), the bytes in pieces, the end; then the exact answer. */
static void append(
    struct opened *o, const char *form, const struct buf *bytes, size_t cut, const char *want)
{
	bool waits = form[strlen(form) - 1] != '+';
	char head[128];
	snprintf(head, sizeof head, "%.*s{%zu%s}\r\n", (int)strlen(form) - !waits, form,
	    buf_len(bytes), waits ? "" : "+");
	talk_send(&o->t, head);
	if (waits)
		talk_hear(&o->t, "+ go on\r\n");
	buf_clear(&o->t.heard);
	talk_send_cut(&o->t, buf_span(bytes), cut);
	talk_send_cut(&o->t, SPAN("\r\n"), SIZE_MAX);
	talk_hear(&o->t, want);
}

#define SYNC "a APPEND INBOX "
#define PLUS "a APPEND INBOX +"

static void test_append_large(void **state)
{
	struct buf b = large_message(200000);
	struct opened o = open_all();
	append(&o, SYNC, &b, SIZE_MAX, "a OK [APPENDUID @ 1] APPEND completed\r\n");
	append(&o, PLUS, &b, 1013, "a OK [APPENDUID @ 2] APPEND completed\r\n");
	append(&o, PLUS, &b, 40000, "a OK [APPENDUID @ 3] APPEND completed\r\n");
	for (uint32_t uid = 1; uid <= 3; uid++)
		expect_stored(o.f, "INBOX", uid, buf_span(&b));
	talk_expect(&o.t, "a NOOP\r\n", "a OK NOOP completed\r\n");
	close_all(&o);
	buf_end(&b);
}

/* Refused before and after the bytes, waited for or not: the next command is understood. */
static void test_append_refused(void **state)
{
	struct buf big = large_message(1200000), odd = large_message(50000);
	struct opened o = open_all();
	talk_expect(&o.t, "a APPEND INBOX {1200000}\r\n", "a NO [TOOBIG] Message too large\r\n");
	talk_expect(&o.t, "b NOOP\r\n", "b OK NOOP completed\r\n");
	append(&o, PLUS, &big, SIZE_MAX, "a NO [TOOBIG] Message too large\r\n");
	append(&o, "a APPEND none +", &odd, 999, "a NO [TRYCREATE] No such mailbox\r\n");
	append(&o, "a NOOP +", &odd, 999, "a BAD Literal too long\r\n");
	append(&o, "a APPEND INBOX \"x\" +", &odd, 999, "a BAD Bad date\r\n");
	odd.p[odd.head + 40000] = '\0';
	append(&o, PLUS, &odd, 999, "a NO [CANNOT] A message must not hold NUL\r\n");
	o.f->committer->refuse = OPR_OVER_QUOTA;
	odd.p[odd.head + 40000] = 'x';
	append(&o, SYNC, &odd, SIZE_MAX, "a NO [OVERQUOTA] Quota exceeded\r\n");
	o.f->committer->refuse = OPR_NO_SPACE;
	append(&o, SYNC, &odd, SIZE_MAX,
	    "a NO [UNAVAILABLE] The store is away, try again later (~)\r\n");
	o.f->committer->refuse = OPR_OK;
	append(&o, SYNC, &odd, SIZE_MAX, "a OK [APPENDUID @ 1] APPEND completed\r\n");
	talk_expect(&o.t, "b NOOP\r\n", "b OK NOOP completed\r\n");
	close_all(&o);
	buf_end(&big);
	buf_end(&odd);
}

/* Lines may end with LF in what becomes too large only with CRLF. */
static void test_append_grows(void **state)
{
	struct buf b = BUF_INIT(1 << 21);
	struct opened o = open_all();
	while (buf_len(&b) < 1000000)
		buf_add_str(&b, "x\n");
	append(&o, PLUS, &b, SIZE_MAX, "a NO [TOOBIG] Message too large\r\n");
	talk_expect(&o.t, "b NOOP\r\n", "b OK NOOP completed\r\n");
	close_all(&o);
	buf_end(&b);
}

static void test_append_quota(void **state)
{
	struct opened o = open_all();
	struct operation op;
	operation_init(&op, OP_ENSURE_USER);
	op.user = SPAN("alice@example.org");
	op.quota_bytes = 50000;
	(void)fake_apply(o.f->committer, &op, NULL);
	unsigned asked = o.f->committer->operations;
	talk_expect(&o.t, "a APPEND INBOX {60000}\r\n", "a NO [OVERQUOTA] Quota exceeded\r\n");
	assert_int_equal(o.f->committer->operations, asked); /* seen before a byte was sent */
	close_all(&o);
}

static void test_append_to_selected(void **state)
{
	struct opened o = open_all();
	talk(&o.t, "s SELECT INBOX\r\n");
	talk_expect(&o.t, "a APPEND INBOX {20+}\r\n" TEXT "\r\n",
	    "* 1 EXISTS\r\n* 1 RECENT\r\na OK [APPENDUID @ 1] APPEND completed\r\n");
	close_all(&o);
}

/* The rest of an APPEND: nothing, or another message. */
static void test_append_tail(void **state)
{
	struct buf b = large_message(40000);
	struct opened o = open_all();
	talk_send(&o.t, "a APPEND INBOX {40000}\r\n");
	talk_hear(&o.t, "+ go on\r\n");
	buf_clear(&o.t.heard);
	talk_send_cut(&o.t, span_first(buf_span(&b), 40000), SIZE_MAX);
	talk_send_cut(&o.t, SPAN(" more\r\nb NOOP\r\n"), SIZE_MAX);
	talk_hear(&o.t, "a BAD Unexpected character\r\nb OK NOOP completed\r\n");
	talk_send(&o.t, "a APPEND INBOX {40000+}\r\n");
	talk_send_cut(&o.t, span_first(buf_span(&b), 40000), SIZE_MAX);
	talk_send_cut(&o.t, SPAN(" {10+}\r\nb LOGOUT\r\n\r\n"), SIZE_MAX);
	talk_hear(&o.t, "a OK [APPENDUID @ 1:2] APPEND completed\r\n");
	expect_stored(o.f, "INBOX", 2, SPAN("b LOGOUT\r\n"));
	close_all(&o);
	buf_end(&b);
}

/* ---- framing ----------------------------------------------------------------------------------------------- */

static void expect_bye(struct fixture *f, struct span bytes, const char *bye)
{
	struct talk t = talk_open(f);
	buf_clear(&t.heard);
	talk_send_cut(&t, bytes, SIZE_MAX);
	talk_until(&t, NULL);
	if (!talk_fits(bye, buf_cstr(&t.heard)))
		print_error("want: %s\nheard: %s\n", bye, buf_cstr(&t.heard));
	assert_true(talk_fits(bye, buf_cstr(&t.heard)));
	talk_close(&t);
}

static void test_lines(void **state)
{
	static const char broken[] = "* BYE Lines must end with CRLF and hold no NUL (~)\r\n";
	struct fixture *f = fixture_open();
	struct buf b = BUF_INIT(1 << 20);
	expect_bye(f, SPAN("a NOOP\n"), broken);
	expect_bye(f, SPAN("a NOOP\rb NOOP\r\n"), broken);
	expect_bye(f, SPAN("a NO\0OP\r\n"), broken);
	buf_add_str(&b, "a NOOP ");
	while (buf_len(&b) < 70000)
		buf_add_char(&b, 'x');
	expect_bye(f, buf_span(&b), "* BYE Command line too long (~)\r\n");
	buf_clear(&b);
	for (int i = 0; i < 20; i++)
		buf_add_str(&b, "a BOGUS\r\n");
	struct talk t = talk_open(f);
	buf_clear(&t.heard);
	talk_send_cut(&t, buf_span(&b), SIZE_MAX);
	talk_until(&t, "* BYE Too many bad commands (");
	talk_close(&t);
	buf_clear(&b);
	t = talk_open(f);
	for (int i = 0; i < 5; i++)
		talk(&t, "a LOGIN alice wrong\r\n");
	talk_until(&t, "* BYE Too many failed logins (");
	talk_close(&t);
	expect_bye(f, SPAN("a LOGIN {99999999999+}\r\n"), "* BYE Literal too long (~)\r\n");
	buf_end(&b);
	fixture_close(&f);
}

/* Every command in two pieces, cut at every place. */
static void test_split_points(void **state)
{
	static const struct step steps[] = {
		{ "a SELECT {5+}\r\nINBOX\r\n", NULL },
		{ "a STORE 1 +FLAGS (\\Flagged kw)\r\n", NULL },
		{ "a LIST \"\" {1+}\r\n%\r\n", NULL },
		{ "a STATUS \"INBOX\" (MESSAGES UIDNEXT)\r\n", NULL },
		{ "a UID COPY 1:* INBOX/Sub\r\n", NULL },
		{ "a IDLE\r\nDONE\r\n", NULL },
	};
	struct opened o = open_all();
	fixture_put(o.f, "INBOX", "", TEXT);
	fixture_put(o.f, "INBOX/Sub", "", TEXT);
	talk(&o.t, "a SELECT INBOX\r\n");
	talk(&o.t, "a STORE 1 +FLAGS (\\Flagged kw)\r\n");
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		struct span whole = span_str(steps[i].send);
		for (size_t cut = 1; cut < whole.n; cut++) {
			buf_clear(&o.t.heard);
			talk_send_cut(&o.t, span_first(whole, cut), SIZE_MAX);
			loop_step(o.f->loop, 0);
			loop_step(o.f->loop, 0);
			talk_send_cut(&o.t, span_from(whole, cut), SIZE_MAX);
			talk_until(&o.t, "completed\r\n");
			assert_null(strstr(buf_cstr(&o.t.heard), "BAD"));
		}
	}
	close_all(&o);
}

/* ---- TLS, facts, patience ------------------------------------------------------------------------------------ */

static void test_privacy(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = talk_open_from(f, "tls", "192.0.2.1");
	talk_hear(&t, "* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID LOGINDISABLED STARTTLS] "
		      "store.test ready\r\n");
	talk_expect(&t, "a LOGIN alice alice-secret\r\n",
	    "a NO [PRIVACYREQUIRED] No passwords here without TLS\r\n");
	talk_expect(&t, "a AUTHENTICATE PLAIN\r\n",
	    "a NO [PRIVACYREQUIRED] No passwords here without TLS\r\n");
	talk_close(&t);
	t = talk_open_from(f, "tls", "127.0.0.1");
	talk_hear(&t,
	    "* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID SASL-IR AUTH=PLAIN AUTH=LOGIN "
	    "STARTTLS] store.test "
	    "ready\r\n");
	/* what is sent in the clear behind STARTTLS is an injection */
	talk_send(&t, "a STARTTLS\r\nb NOOP\r\n");
	talk_until(&t, NULL);
	assert_string_equal(buf_cstr(&t.heard), "a OK Begin TLS now\r\n");
	talk_close(&t);
	fixture_close(&f);
}

/* A client with TLS: a stream of our own over the other end of the pair. */
struct secure {
	struct stream *io;
	struct buf heard;
	bool secured;
};

static void on_secure(void *arg, enum stream_event ev)
{
	struct secure *c = arg;
	if (ev == STREAM_SECURED)
		c->secured = true;
	if (ev != STREAM_INPUT)
		return;
	buf_add_span(&c->heard, stream_input(c->io));
	stream_eat(c->io, stream_input(c->io).n);
}

static void secure_say(struct fixture *f, struct secure *c, const char *words, const char *want)
{
	stream_write_span(c->io, span_str(words));
	FIXTURE_WAIT(f, strstr(buf_cstr(&c->heard), want) != NULL);
}

static void converse_securely(const char *listener, bool starttls)
{
	struct fixture *f = fixture_open();
	struct buf why = BUF_INIT(512);
	struct secure c = { .heard = BUF_INIT(1 << 20) };
	struct tls_ctx *ctx = daemon_tls_client(f->worker.conf, TLS_VERIFY_NONE, &why);
	struct talk t = talk_open_from(f, listener, "192.0.2.1");
	struct stream_limits limits = { 65536, 65536 };
	if (starttls) {
		talk_until(&t, "ready\r\n");
		talk_expect(&t, "a STARTTLS\r\n", "a OK Begin TLS now\r\n");
	}
	c.io = stream_new(f->loop, dup(t.fd), limits, on_secure, &c);
	stream_start_tls_client(c.io, ctx, "localhost", NULL);
	FIXTURE_WAIT(f, c.secured);
	if (!starttls)
		FIXTURE_WAIT(f, strstr(buf_cstr(&c.heard), "store.test ready\r\n") != NULL);
	secure_say(f, &c, "b CAPABILITY\r\n",
	    "* CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID SASL-IR AUTH=PLAIN AUTH=LOGIN\r\nb OK ");
	secure_say(f, &c, "c LOGIN alice alice-secret\r\nd SELECT INBOX\r\n", "d OK [READ-WRITE]");
	secure_say(f, &c, "e LOGOUT\r\n", "e OK LOGOUT completed\r\n");
	FIXTURE_WAIT(f, f->worker.session_n == 0);
	t.ended = true;
	stream_free(&c.io);
	talk_close(&t);
	tls_ctx_unref(&ctx);
	buf_end(&c.heard);
	buf_end(&why);
	fixture_close(&f);
}

static void test_tls(void **state)
{
	converse_securely("tls", true);
	converse_securely("imaps", false);
}

static const char *described(struct fixture *f, struct buf *out)
{
	struct store_session *s = LIST_OF(struct store_session, link, f->worker.sessions.next);
	buf_clear(out);
	s->class->describe(s, out);
	return buf_cstr(out);
}

/* The client as a multiplexor tells it: believed from loopback, not from elsewhere. */
static void test_facts(void **state)
{
	char id[256], said[64];
	struct ident session = ident_new();
	snprintf(id, sizeof id,
	    "a ID (\"x-originating-ip\" \"198.51.100.7\" \"X-Originating-Port\" \"999\" "
	    "\"x-session-id\" \"%s\")\r\n",
	    session.s);
	snprintf(said, sizeof said, "\"id\":\"%s\"", session.s);
	struct fixture *f = fixture_open();
	struct buf out = BUF_INIT(4096);
	struct talk t = talk_open(f);
	talk(&t, id);
	assert_non_null(strstr(described(f, &out), "\"client\":\"198.51.100.7:999\""));
	assert_non_null(strstr(buf_cstr(&out), said));
	talk_close(&t);
	t = talk_open_from(f, "imap", "192.0.2.1");
	talk(&t, id);
	assert_non_null(strstr(described(f, &out), "\"client\":\"192.0.2.1:4000\""));
	talk_close(&t);
	t = talk_login(f);
	talk(&t, id); /* too late */
	talk(&t, "s EXAMINE INBOX\r\n");
	assert_non_null(strstr(described(f, &out), "\"client\":\"127.0.0.1:4000\""));
	assert_non_null(
	    strstr(buf_cstr(&out), "\"user\":\"alice@example.org\",\"mailbox\":\"INBOX\""));
	talk_close(&t);
	buf_end(&out);
	fixture_close(&f);
}

/* Nobody waits for ever for a login, or for a handshake; the least that can be set is five seconds. */
static void test_login_timeout(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = talk_open(f);
	struct talk silent = talk_open_from(f, "imaps", "192.0.2.1");
	talk_send(&t, "a LOGIN al");
	talk_until(&t, NULL);
	assert_true(talk_fits("* BYE Too slow to log in (~)\r\n", buf_cstr(&t.heard)));
	talk_until(&silent, NULL);
	talk_close(&silent);
	talk_close(&t);
	fixture_close(&f);
}

static void pass(struct opened *o, uint64_t ms)
{
	clock_fake_advance(ms);
	for (int i = 0; i < 20; i++)
		loop_step(o->f->loop, 1);
	talk_listen(&o->t);
}

/* A user may be silent for idle_timeout (one minute here), also in IDLE and inside a command. */
static void test_silence(void **state)
{
	static const struct {
		const char *said, *answer;
	} cases[] = {
		{ "a NOOP\r\n", "a OK NOOP completed\r\n" },
		{ "a IDLE\r\n", "+ idling\r\n" },
		{ "a APPEND INBOX {50000}\r\n", "+ go on\r\n" },
		{ "a AUTHENT", "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct opened o = open_all();
		char want[128];
		snprintf(want, sizeof want, "%s* BYE Idle for too long (~)\r\n", cases[i].answer);
		clock_fake(clock_mono_ms(), clock_wall_us());
		pass(&o, 59000);
		buf_clear(&o.t.heard);
		talk_send_cut(&o.t, span_str(cases[i].said), SIZE_MAX);
		pass(&o, 0);
		assert_string_equal(buf_cstr(&o.t.heard), cases[i].answer);
		pass(&o, i == 3 ? 500 : 59000); /* half a command is silence */
		assert_false(o.t.ended);
		pass(&o, 2000);
		clock_fake_off();
		assert_true(o.t.ended);
		assert_true(talk_fits(want, buf_cstr(&o.t.heard)));
		close_all(&o);
	}
}

/* Many mailboxes with long names, to a client that reads late: nothing is lost. */
static void test_long_list(void **state)
{
	enum { N = 3000 };
	struct opened o = open_all();
	struct operation op;
	struct buf want = BUF_INIT(1 << 22);
	char name[STORE_MAILBOX_NAME_MAX + 1];
	memset(name, 'n', sizeof name);
	name[200] = '\0';
	operation_init(&op, OP_CREATE);
	op.user = SPAN("alice@example.org");
	buf_add_str(&want, "* LIST (\\HasNoChildren) \"/\" INBOX\r\n");
	for (int i = 0; i < N; i++) {
		snprintf(name + 189, 12, "%011d", i);
		op.name = span_str(name);
		assert_int_equal(fake_apply(o.f->committer, &op, NULL), OPR_OK);
		buf_printf(&want, "* LIST (\\HasNoChildren) \"/\" %s\r\n", name);
	}
	buf_add_str(&want, "a OK LIST completed\r\n");
	buf_clear(&o.t.heard);
	assert_int_equal(write(o.t.fd, "a LIST \"\" *\r\n", 13), 13);
	for (int i = 0; i < 200; i++)
		loop_step(o.f->loop, 0);
	talk_hear(&o.t, buf_cstr(&want));
	close_all(&o);
	buf_end(&want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append_small),
		cmocka_unit_test(test_append_large),
		cmocka_unit_test(test_append_refused),
		cmocka_unit_test(test_append_grows),
		cmocka_unit_test(test_append_quota),
		cmocka_unit_test(test_append_to_selected),
		cmocka_unit_test(test_append_tail),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_split_points),
		cmocka_unit_test(test_privacy),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_login_timeout),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_long_list),
	};
	return cmocka_run_group_tests_name("imap_input", tests, NULL, NULL);
}
