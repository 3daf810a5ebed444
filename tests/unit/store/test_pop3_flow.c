/* test_pop3_flow.c - POP3: the flow of long answers, clocks, ends, TLS, and bytes that cannot be read. */
#include "pop3_fixture.h"

#include "net/tls_ctx.h"
#include "proto/smtp_body.h"
static int setup(void **state)
{
	fixture_start(options);
	(void)fixture_append(ALICE, SPAN(MAIL_TWO), 0); /* message 1; test_big makes 2 */
	(void)fixture_told();
	return 0;
}

static int teardown(void **state)
{
	fixture_stop();
	return 0;
}

/* ---- sizes ------------------------------------------------------------------------------------- */

/* A message of `n` bytes and some, in which dots stand at the beginning of lines of every length, so that
 * they meet the borders of every buffer. */
static struct span make_big(struct buf *b, size_t n)
{
	buf_add_str(b, "Subject: big\r\n\r\n");
	for (size_t line = 0; buf_len(b) < n; line++) {
		for (size_t i = 0; i < line % 71; i++)
			buf_add_char(b, i == 0 ? '.' : (char)('a' + (line + i) % 26));
		buf_add_str(b, "\r\n");
	}
	return buf_span(b);
}

/* Takes the message out of "+OK ...\r\n message .\r\n" as a client does. */
static void decode(struct span heard, const char *after, struct buf *out)
{
	struct smtp_body_decoder d;
	size_t at = span_find_span(heard, span_str(after));
	assert_true(at != SIZE_MAX);
	struct span in = span_from(heard, at + strlen(after)), piece;
	enum smtp_body_rx rx;
	smtp_body_decoder_init(&d, SIZE_MAX);
	while ((rx = smtp_body_decode(&d, &in, &piece)) == SMTP_BODY_SPAN)
		buf_add_span(out, piece);
	assert_int_equal(rx, SMTP_BODY_END);
}

static void check_same(struct span a, struct span b)
{
	assert_int_equal(a.n, b.n);
	assert_memory_equal(a.p, b.p, a.n);
}

static void test_chunk_borders(void **state)
{
	/* every line is one dot: each chunk begins and ends at another byte of "." CR LF */
	static const char *const lines[] = { ".\r\n", "..\r\n", "\r\n", "x\r\n", ".x.\r\n" };
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		struct buf b = BUF_INIT(1 << 20), got = BUF_INIT(1 << 20);
		buf_add_str(&b, "A: b\r\n\r\n");
		while (buf_len(&b) < 5 * POP3_CHUNK)
			buf_add_str(&b, lines[i]);
		(void)fixture_append("bob@example.org", buf_span(&b), 0);
		struct talk t = say("pop3", "127.0.0.1",
		    SPAN("USER bob\r\nPASS bob-secret\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n"), 0);
		decode(buf_span(&t.heard), " octets\r\n", &got);
		talk_close(&t);
		buf_clear(&got);
		t = say("pop3", "127.0.0.1", SPAN("USER bob\r\nPASS bob-secret\r\nQUIT\r\n"), 0);
		assert_true(talk_has_heard(&t, "+OK 0 messages"));
		talk_close(&t);
		buf_end(&b);
		buf_end(&got);
	}
}

static void test_big(void **state)
{
	struct buf b = BUF_INIT(8 << 20), got = BUF_INIT(8 << 20);
	struct span big = make_big(&b, 3 << 20);
	uint32_t uid = fixture_append(ALICE, big, 0);
	char script[128], ok[64];
	struct talk t = say("pop3", "127.0.0.1", SPAN(LOGIN "RETR 2\r\nQUIT\r\n"), 0);
	snprintf(ok, sizeof ok, "+OK %zu octets\r\n", big.n);
	decode(buf_span(&t.heard), ok, &got);
	check_same(buf_span(&got), big);
	assert_true(talk_has_heard(&t, "\r\n.\r\n" BYE));
	talk_close(&t);
	/* TOP cuts a long message where it should, at whatever chunk that is */
	for (uint32_t lines = 1; lines < 4000; lines += 487) {
		size_t at = strlen("Subject: big\r\n\r\n");
		for (uint32_t i = 0; i < lines; i++)
			at += span_find(span_from(big, at), '\n') + 1;
		snprintf(script, sizeof script, LOGIN "TOP 2 %u\r\nQUIT\r\n", lines);
		t = say("pop3", "127.0.0.1", span_str(script), 0);
		buf_clear(&got);
		decode(buf_span(&t.heard), ok, &got);
		check_same(buf_span(&got), span_first(big, at));
		talk_close(&t);
	}
	assert_int_equal(fixture_flags(ALICE, uid), STORE_SEEN);
	buf_end(&b);
	buf_end(&got);
}

static void test_top_cut(void **state)
{
	static const struct {
		const char *text;
		uint32_t lines;
		size_t want;
	} cases[] = {
		{ "A: b\r\n\r\nx\r\ny\r\n", 0, 8 },
		{ "A: b\r\n\r\nx\r\ny\r\n", 1, 11 },
		{ "A: b\r\n\r\nx\r\ny\r\n", 2, 14 },
		{ "A: b\r\n\r\nx\r\ny\r\n", 3, 14 },
		{ "\r\nx\r\ny\r\n", 0, 2 },
		{ "\r\n\r\n\r\n\r\n", 2, 6 },
		{ "A: b", 0, 4 },
		{ "A: b\r\n", 0, 6 },
		{ "", 5, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct span text = span_str(cases[i].text);
		for (size_t cut = 0; cut <= text.n; cut++) {
			struct pop3_top top = { .lines_left = cases[i].lines };
			size_t n = pop3_top_cut(&top, span_first(text, cut)).n;
			if (!top.done)
				n += pop3_top_cut(&top, span_from(text, cut)).n;
			assert_int_equal(n, cases[i].want);
		}
	}
}

/* A client that does not read holds no more than the bound, is let go when it stays so, and one that reads
 * late gets everything. */
static void test_back_pressure(void **state)
{
	struct talk t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	talk_send_cut(&t, SPAN(LOGIN), SIZE_MAX);
	talk_until(&t, "+OK 2 messages");
	buf_clear(&t.heard);
	static const char script[] = "RETR 2\r\nRETR 2\r\nNOOP\r\n";
	assert_int_equal(write(t.fd, script, sizeof script - 1), sizeof script - 1);
	for (int i = 0; i < 50; i++)
		loop_step(store.loop, 1);
	struct pop3_session *s = only_session();
	assert_int_equal(s->state, POP3_ST_SEND);
	assert_true(stream_pending(s->io) <= POP3_OUT_MAX);
	assert_true(stream_pending(s->io) > 0);
	talk_until(&t, "+OK Done\r\n");
	assert_true(buf_len(&t.heard) > 6 << 20);
	/* again, and now never */
	buf_clear(&t.heard);
	clock_fake(clock_mono_ms(), clock_wall_us());
	assert_int_equal(write(t.fd, script, sizeof script - 1), sizeof script - 1);
	for (int i = 0; i < 50; i++)
		loop_step(store.loop, 1);
	assert_int_equal(store.session_n, 1);
	clock_fake_advance(9000);
	loop_step(store.loop, 1);
	assert_int_equal(store.session_n, 1);
	clock_fake_advance(2000);
	FIXTURE_WAIT(store.session_n == 0);
	clock_fake_off();
	talk_close(&t);
}

/* Small answers are held back as large ones are: commands wait until there is room. */
static void test_pipelining_without_reading(void **state)
{
	enum { COMMANDS = 100000 };
	struct buf script = BUF_INIT(COMMANDS * 8), want = BUF_INIT(COMMANDS * 16);
	buf_add_str(&script, LOGIN);
	for (int i = 0; i < COMMANDS; i++) {
		buf_add_str(&script, "NOOP\r\n");
		buf_add_str(&want, "+OK Done\r\n");
	}
	struct talk t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	for (int i = 0; i < 300; i++) {
		struct span rest = buf_span(&script);
		ssize_t n = write(t.fd, rest.p, rest.n);
		if (n > 0)
			buf_eat(&script, (size_t)n);
		loop_step(store.loop, 0);
	}
	assert_true(buf_len(&script) > 0);
	assert_true(stream_pending(only_session()->io) <= POP3_OUT_MAX);
	talk_send_cut(&t, buf_span(&script), SIZE_MAX);
	shutdown(t.fd, SHUT_WR);
	talk_until(&t, NULL);
	struct span heard = buf_span(&t.heard);
	check_same(span_from(heard, heard.n - buf_len(&want)), buf_span(&want));
	talk_close(&t);
	buf_end(&script);
	buf_end(&want);
}

/* Reads late after QUIT: everything leaves all the same, though a closed connection lingers for 5 s only. */
static void test_goodbye_is_waited_for(void **state)
{
	int small = 4096;
	struct talk t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	talk_send_cut(&t, SPAN(LOGIN), SIZE_MAX);
	talk_until(&t, "+OK 2 messages");
	int fd = stream_fd(only_session()->io);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
	clock_fake(clock_mono_ms(), clock_wall_us());
	static const char script[] = "TOP 2 2000\r\nQUIT\r\n";
	assert_int_equal(write(t.fd, script, sizeof script - 1), sizeof script - 1);
	for (int i = 0; i < 20; i++)
		loop_step(store.loop, 0);
	assert_int_equal(only_session()->state, POP3_ST_BYE);
	clock_fake_advance(6000);
	loop_step(store.loop, 0);
	talk_until(&t, NULL);
	clock_fake_off();
	assert_true(talk_has_heard(&t, "\r\n.\r\n" BYE));
	talk_close(&t);
}

/* Delivers n short messages to bob, 500 in one operation. */
static uint64_t deliver_many(size_t n)
{
	struct operation op;
	struct op_recipient to[500];
	uint64_t inbox = fixture_inbox("bob@example.org");
	for (size_t i = 0; i < COUNT_OF(to); i++)
		to[i] = (struct op_recipient){ SPAN("bob@example.org"), SPAN_NONE };
	operation_init(&op, OP_DELIVER);
	op.message.bytes = SPAN(MAIL_TWO);
	op.recipients = to;
	op.recipient_n = COUNT_OF(to);
	for (size_t i = 0; i < n / COUNT_OF(to); i++)
		(void)operation_ask(&committer, &op, NULL, NULL);
	FIXTURE_WAIT(list_empty(&committer.waiting));
	(void)fixture_told();
	return inbox;
}

static struct index_mailbox mailbox(uint64_t id)
{
	struct index_mailbox m;
	struct index_view *v = index_view_begin(store.partition.index);
	assert_true(index_mailbox_get(v, id, &m));
	index_view_end(&v);
	return m; /* its spans are gone */
}

#define BOB "USER bob\r\nPASS bob-secret\r\n"

/* More messages than one piece of the list: it is loaded over several rounds of the loop. */
static void test_many(void **state)
{
	char want[64];
	static const struct maildrop_how alone = { true, 0 };
	struct maildrop *d;
	uint64_t inbox = deliver_many(45000);
	assert_int_equal(
	    maildrop_open(&store.partition, SPAN("bob@example.org"), &alone, &d), MAILDROP_OK);
	assert_int_equal(maildrop_load(d), MAILDROP_MORE);
	assert_int_equal(maildrop_load(d), MAILDROP_MORE);
	assert_int_equal(maildrop_load(d), MAILDROP_OK);
	assert_int_equal(d->n, 45000);
	maildrop_free(&d);
	uint32_t first = mailbox(inbox).uidnext - 45000;
	struct talk t = say("pop3", "127.0.0.1",
	    SPAN(BOB "LIST\r\nUIDL\r\nDELE 1\r\nDELE 2\r\nDELE 45000\r\nDELE 7\r\nQUIT\r\n"), 0);
	assert_true(talk_has_heard(&t, "+OK 45000 messages, 1035000 octets\r\n"));
	assert_true(talk_has_heard(&t, "\r\n44999 23\r\n45000 23\r\n.\r\n+OK Unique"));
	assert_true(talk_has_heard(&t, BYE));
	talk_close(&t);
	snprintf(
	    want, sizeof want, "expunge %u:%u %u %u\n", first, first + 1, first + 6, first + 44999);
	assert_string_equal(fixture_told(), want);
	assert_int_equal(mailbox(inbox).messages, 44996);
}

/* Every second one of more than 2 x STORE_RANGES_MAX messages is more than one operation can say. */
static void test_scattered(void **state)
{
	struct buf script = BUF_INIT(1 << 20);
	uint64_t inbox = deliver_many(87000);
	assert_int_equal(mailbox(inbox).messages, 131996);
	buf_add_str(&script, BOB);
	for (unsigned i = 1; i <= 131996; i += 2)
		buf_printf(&script, "DELE %u\r\n", i);
	buf_add_str(&script, "QUIT\r\n");
	assert_true(buf_ok(&script));
	struct talk t = say("pop3", "127.0.0.1", buf_span(&script), 0);
	assert_true(talk_has_heard(&t, BYE));
	talk_close(&t);
	struct span told = buf_span(&committer.told);
	size_t lines = 0;
	while (told.n > 0)
		lines += span_starts(span_cut(&told, '\n'), SPAN("expunge"));
	assert_int_equal(lines, 2);
	assert_int_equal(mailbox(inbox).messages, 131996 / 2);
	(void)fixture_told();
	buf_end(&script);
}

static void test_ranges(void **state)
{
	struct maildrop_message all[6] = { { .uid = 1, .deleted = true },
		{ .uid = 2, .deleted = true }, { .uid = 4, .deleted = true }, { .uid = 5 },
		{ .uid = 7, .deleted = true }, { .uid = 8, .deleted = true } };
	struct maildrop d = { .all = all, .n = 6, .left = 1 };
	struct uid_range r[2];
	size_t at = 0;
	assert_int_equal(maildrop_ranges(&d, MAILDROP_DELETED, &at, r, 2), 2);
	assert_int_equal(r[0].first, 1);
	assert_int_equal(r[0].last, 2);
	assert_int_equal(r[1].first, 4); /* not joined over the gap: 3 is somebody's \Deleted */
	assert_int_equal(r[1].last, 4);
	assert_int_equal(maildrop_ranges(&d, MAILDROP_DELETED, &at, r, 2), 1);
	assert_int_equal(r[0].first, 7);
	assert_int_equal(r[0].last, 8);
	assert_int_equal(maildrop_ranges(&d, MAILDROP_DELETED, &at, r, 2), 0);
	at = 0;
	assert_int_equal(maildrop_ranges(&d, MAILDROP_SEEN, &at, r, 2), 0);
	assert_int_equal(maildrop_marked(&d, MAILDROP_DELETED, 0), 5);
	assert_int_equal(maildrop_marked(&d, MAILDROP_DELETED, 2), 3);
}

/* ---- clocks and drain -------------------------------------------------------------------------- */

static void test_timeouts(void **state)
{
	clock_fake(clock_mono_ms(), clock_wall_us());
	struct talk t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	talk_until(&t, "ready");
	for (int i = 0; i < 4; i++) { /* talking does not make the time to log in longer */
		talk_send_cut(&t, SPAN("CAPA\r\n"), SIZE_MAX);
		clock_fake_advance(1200);
		loop_step(store.loop, 1);
	}
	clock_fake_advance(1000);
	talk_until(&t, NULL);
	assert_true(talk_has_heard(&t, "-ERR [SYS/TEMP] Too slow to log in ("));
	talk_close(&t);
	t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	talk_send_cut(&t, SPAN(LOGIN), SIZE_MAX);
	talk_until(&t, "+OK 2 messages");
	talk_send_cut(&t, SPAN("DELE 1\r\n"), SIZE_MAX);
	for (int i = 0; i < 5; i++) {
		clock_fake_advance(9000);
		talk_send_cut(&t, SPAN("NOOP\r\n"), SIZE_MAX);
		loop_step(store.loop, 1);
	}
	assert_int_equal(store.session_n, 1);
	talk_send_cut(&t, SPAN("NOO"), SIZE_MAX); /* half a line is silence */
	clock_fake_advance(10001);
	talk_until(&t, NULL);
	assert_true(talk_has_heard(&t, "-ERR [SYS/TEMP] Idle for too long ("));
	talk_close(&t);
	clock_fake_off();
	FIXTURE_WAIT(list_empty(&committer.waiting));
	assert_string_equal(fixture_told(), "");
}

static void drain(void)
{
	store_session_drain(&only_session()->base);
}

static void test_drain(void **state)
{
	struct talk t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	talk_until(&t, "ready");
	drain();
	talk_until(&t, NULL);
	assert_true(talk_has_heard(&t, "-ERR [SYS/TEMP] Server is shutting down, come back ("));
	talk_close(&t);
	/* in the middle of a message: it is finished first */
	t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	talk_send_cut(&t, SPAN(LOGIN), SIZE_MAX);
	talk_until(&t, "+OK 2 messages");
	assert_int_equal(write(t.fd, "RETR 2\r\n", 8), 8);
	FIXTURE_WAIT(only_session()->state == POP3_ST_SEND);
	drain();
	talk_until(&t, NULL);
	assert_true(talk_has_heard(&t, "\r\n.\r\n-ERR [SYS/TEMP] Server is shutting down"));
	talk_close(&t);
	/* what is marked deleted waits for its QUIT */
	uint32_t uid = fixture_append(ALICE, SPAN(MAIL_TWO), 0);
	t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	talk_send_cut(&t, SPAN(LOGIN "DELE 3\r\n"), SIZE_MAX);
	talk_until(&t, "+OK Marked");
	drain();
	for (int i = 0; i < 5; i++)
		loop_step(store.loop, 1);
	assert_int_equal(store.session_n, 1);
	talk_send_cut(&t, SPAN("QUIT\r\n"), SIZE_MAX);
	talk_until(&t, BYE);
	talk_close(&t);
	assert_int_equal(fixture_flags(ALICE, uid), UINT32_MAX);
	(void)fixture_told();
	/* who comes now */
	store.draining = true;
	t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	store.draining = false;
	talk_until(&t, NULL);
	assert_int_equal(strncmp(buf_cstr(&t.heard), "-ERR [SYS/TEMP] Server is shut", 30), 0);
	talk_close(&t);
}

static void wait_for_update(void)
{
	FIXTURE_WAIT(only_session()->state == POP3_ST_UPDATE);
}

/* The client goes while the committer works; the worker stops; both leave nothing behind. */
static void test_ends_in_every_state(void **state)
{
	static const char *const scripts[] = { "", "USER alice\r\n", "AUTH PLAIN\r\n", LOGIN,
		LOGIN "RETR 2\r\n", LOGIN "RETR 2\r\nDELE 1\r\n", "STLS\r\n" };
	for (size_t i = 0; i < COUNT_OF(scripts) * 2; i++) {
		struct talk t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
		const char *script = scripts[i / 2];
		assert_int_equal(write(t.fd, script, strlen(script)), strlen(script));
		for (int k = 0; k < 10; k++)
			loop_step(store.loop, 0);
		if (i % 2 == 0 && store.session_n > 0)
			only_session()->base.class->end(&only_session()->base);
		talk_close(&t);
		FIXTURE_WAIT(store.session_n == 0);
	}
	for (int i = 0; i < 2; i++) {
		uint32_t uid = fixture_append(ALICE, SPAN(MAIL_TWO), 0);
		struct talk t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
		talk_send_cut(&t, SPAN(LOGIN "DELE 3\r\n"), SIZE_MAX);
		talk_until(&t, "+OK Marked");
		committer.hold = true;
		talk_send_cut(&t, SPAN("QUIT\r\n"), SIZE_MAX);
		wait_for_update();
		if (i == 0)
			only_session()->base.class->end(&only_session()->base);
		shutdown(t.fd, SHUT_RDWR); /* gone, yet what it has said is done */
		for (int k = 0; k < 5; k++)
			loop_step(store.loop, 1);
		assert_int_equal(store.session_n, i);
		fixture_release();
		talk_close(&t);
		FIXTURE_WAIT(store.session_n == 0);
		FIXTURE_WAIT(fixture_flags(ALICE, uid) == UINT32_MAX);
	}
}

/* ---- TLS --------------------------------------------------------------------------------------- */

struct tls_client {
	struct stream *io;
	struct buf heard;
	bool secured, ended;
};

static void on_tls(void *arg, enum stream_event ev)
{
	struct tls_client *c = arg;
	if (ev == STREAM_SECURED)
		c->secured = true;
	struct span in = stream_input(c->io);
	buf_add_span(&c->heard, in);
	stream_eat(c->io, in.n);
	c->ended = c->ended || ev == STREAM_EOF || ev == STREAM_FAILED;
}

static void tls_until(struct tls_client *c, const char *text)
{
	FIXTURE_WAIT(span_find_span(buf_span(&c->heard), span_str(text)) != SIZE_MAX);
}

static void tls_open(struct tls_client *c, const char *listener)
{
	struct talk t = talk_begin(&store, pop3_session_start, listener, "192.0.2.7");
	struct stream_limits limits = { 1 << 20, 1 << 20 };
	*c = (struct tls_client){ .heard = BUF_INIT(16 << 20) };
	c->io = stream_new(store.loop, t.fd, limits, on_tls, c);
}

static void tls_start(struct tls_client *c)
{
	struct tls_ctx *ctx = daemon_tls_client(store.conf, TLS_VERIFY_NONE, NULL);
	assert_non_null(ctx);
	(void)stream_start_tls_client(c->io, ctx, "localhost", "pop3");
	tls_ctx_unref(&ctx);
	FIXTURE_WAIT(c->secured || c->ended);
}

static void tls_close(struct tls_client *c)
{
	stream_free(&c->io);
	buf_end(&c->heard);
	FIXTURE_WAIT(store.session_n == 0);
}

static void test_stls(void **state)
{
	struct tls_client c;
	tls_open(&c, "pop3");
	tls_until(&c, "ready");
	stream_printf(c.io, "STLS\r\n");
	tls_until(&c, "+OK Begin TLS\r\n");
	tls_start(&c);
	assert_true(c.secured);
	stream_printf(c.io, "STLS\r\nCAPA\r\n");
	tls_until(&c, "IMPLEMENTATION");
	tls_until(&c, "-ERR TLS cannot be started here\r\n");
	struct span all = buf_span(&c.heard);
	assert_true(span_find_span(all, SPAN("SASL PLAIN\r\n")) != SIZE_MAX);
	assert_true(span_find_span(all, SPAN("\r\nSTLS\r\n")) == SIZE_MAX);
	stream_printf(c.io, LOGIN "RETR 2\r\nQUIT\r\n"); /* through TLS and back-pressure */
	tls_until(&c, BYE);
	tls_close(&c);
	tls_open(&c, "pop3s");
	tls_start(&c);
	assert_true(c.secured);
	tls_until(&c, "+OK store1.example.org ready");
	tls_close(&c);
}

/* What came in the clear behind STLS is never read as if it had come through TLS. */
static void test_stls_injection(void **state)
{
	struct talk t = talk_begin(&store, pop3_session_start, "pop3", "192.0.2.7");
	talk_until(&t, "ready");
	talk_send_cut(&t, SPAN("STLS\r\nUSER alice\r\n"), SIZE_MAX);
	for (int i = 0; i < 20; i++)
		loop_step(store.loop, 1);
	assert_int_equal(store.session_n, 0); /* at once: no handshake is waited for */
	talk_until(&t, NULL);
	assert_string_equal(words(&t), PLAIN_GREETING "+OK Begin TLS\r\n");
	talk_close(&t);
	assert_int_equal(store.session_n, 0);
	t = talk_begin(&store, pop3_session_start, "pop3", "192.0.2.7");
	talk_send_cut(&t, SPAN("STLS\r\n"), SIZE_MAX);
	talk_until(&t, "Begin TLS");
	talk_send_cut(&t, SPAN("USER alice\r\nPASS alice-secret\r\n"), SIZE_MAX);
	talk_until(&t, NULL);
	assert_false(talk_has_heard(&t, "password"));
	talk_close(&t);
	FIXTURE_WAIT(store.session_n == 0);
}

/* ---- damage ------------------------------------------------------------------------------------ */

static void test_unreadable(void **state)
{
	struct commitlog_reader *kept = store.partition.reader;
	store.partition.reader = commitlog_reader_open("/nonexistent");
	struct talk t = say("pop3", "127.0.0.1", SPAN(LOGIN "RETR 2\r\nTOP 2 1\r\nNOOP\r\n"), 0);
	assert_true(
	    talk_has_heard(&t, "-ERR [SYS/TEMP] The message cannot be read now\r\n-ERR "
			       "[SYS/TEMP] The message cannot be read now\r\n+OK Done\r\n"));
	talk_close(&t);
	commitlog_reader_close(&store.partition.reader);
	store.partition.reader = kept;
	/* it breaks after +OK: the answer has no last line, and the connection ends */
	t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	talk_send_cut(&t, SPAN(LOGIN), SIZE_MAX);
	talk_until(&t, "+OK 2 messages");
	assert_int_equal(write(t.fd, "RETR 2\r\nNOOP\r\n", 14), 14);
	FIXTURE_WAIT(only_session()->state == POP3_ST_SEND);
	store.partition.reader = commitlog_reader_open("/nonexistent");
	talk_until(&t, NULL);
	assert_false(talk_has_heard(&t, "\r\n.\r\n"));
	assert_false(talk_has_heard(&t, "+OK Done"));
	talk_close(&t);
	commitlog_reader_close(&store.partition.reader);
	store.partition.reader = kept;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunk_borders),
		cmocka_unit_test(test_big),
		cmocka_unit_test(test_top_cut),
		cmocka_unit_test(test_back_pressure),
		cmocka_unit_test(test_pipelining_without_reading),
		cmocka_unit_test(test_goodbye_is_waited_for),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_scattered),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_ends_in_every_state),
		cmocka_unit_test(test_stls),
		cmocka_unit_test(test_stls_injection),
		cmocka_unit_test(test_unreadable),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
