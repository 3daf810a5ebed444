/* test_smtp_out.c - the outgoing conversation and its pool against a scripted peer: every place where a
 * reply can be a refusal, garbage, or missing. */
#include "tests/unit/edge/fake_peer.h"

#include "base/check.h"
#include "base/clock.h"
#include "edge/out_pool.h"
#include "edge/outcome.h"

enum { RCPTS = 3 };

struct
try {
	struct loop *loop;
	struct fake_peer peer;
	struct out_pool *pool;
	struct outcome outcomes[RCPTS];
	struct out_recipient rcpt[RCPTS];
	struct out_mail mail;
	struct span body;
	struct ticket *ticket;
	bool answered;
	enum out_end end;
	enum out_tls_fate tls;
	bool untried, dsn;
	char why[200];
};

static struct span read_body(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	struct try *t = arg;
	return span_first(span_from(t->body, (size_t)at), n);
}

static void on_done(void *arg, const struct out_result *r)
{
	struct try *t = arg;
	t->ticket = NULL;
	t->answered = true;
	t->end = r->end;
	t->tls = r->tls;
	t->dsn = r->dsn;
	t->untried = r->untried;
	snprintf(t->why, sizeof(t->why), "%s", r->why != NULL ? r->why : "");
}

static void try_start(struct try *t, const char *const *script)
{
	static const struct out_pool_opts opts = { .helo = "edge.example",
		.per_host_max = 2,
		.connect_ms = 2000,
		.reply_ms = 300,
		.final_ms = 300,
		.idle_ms = 5000,
		.dead_ms = 30000 };
	static const char *const names[RCPTS] = { "a@x.example", "b@x.example", "c@x.example" };
	*t = (struct try){ .loop = loop_new(), .body = SPAN("Subject: x\r\n\r\n.dot\r\nend\r\n") };
	fake_start(&t->peer, t->loop, script);
	t->pool = out_pool_new(t->loop, NULL, &opts);
	for (size_t i = 0; i < RCPTS; i++)
		t->rcpt[i] =
		    (struct out_recipient){ .address = names[i], .outcome = &t->outcomes[i] };
	t->mail = (struct out_mail){ .sender = "s@y.example", .recipients = t->rcpt };
	t->mail.body = (struct mail_source){ read_body, t, t->body.n };
	assert_true(ident_parse(SPAN("abcdefghjkmnpqrstu"), &t->mail.id));
}

static void run_until(struct try *t, const bool *flag)
{
	uint64_t until = clock_mono_ms() + 10000;
	while (!*flag && clock_mono_ms() < until)
		loop_step(t->loop, 100);
	assert_true(*flag);
}

static void send_mail(struct try *t, enum out_kind kind, size_t recipients)
{
	struct out_target to = { .kind = kind, .host = t->peer.path };
	t->answered = false;
	t->mail.recipient_count = recipients;
	t->ticket = out_pool_send(t->pool, &to, &t->mail, on_done, t);
	assert_false(t->answered);
	run_until(t, &t->answered);
}

static void try_end(struct try *t)
{
	out_pool_free(&t->pool);
	fake_end(&t->peer);
	for (int i = 0; i < 3; i++)
		loop_step(t->loop, 0);
	loop_free(&t->loop);
}

#define LHLO                                                                                       \
	"S 220 hi", "C LHLO edge.example",                                                         \
	    "R 250-x\r\n250-PIPELINING\r\n250-XDELIVERYID\r\n250 SIZE 999\r\n"
#define MAIL "C MAIL FROM:<s@y.example> SIZE="
#define RCPT "C RCPT TO:<a@x.example>"
#define RCPT2 "C RCPT TO:<b@x.example>"
#define ENVELOPE MAIL, RCPT, "C DATA"
#define D FATE_DELIVERED
#define R FATE_REFUSED
#define L FATE_LATER
#define STEPS(...)                                                                                 \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

static const struct {
	const char *name;
	enum out_kind kind;
	size_t recipients;
	const char *const *script;
	enum out_end end;
	enum fate fates[RCPTS];
	unsigned code; /* of the first recipient */
} cases[] = {
	{ "accepted", OUT_LMTP, 1,
	    STEPS(LHLO, ENVELOPE, "S 250 ok", "S 250 ok", "S 354 go", "B", "S 250 2.0.0 done"),
	    OUT_ANSWERED, { D }, 250 },
	{ "one of two by LMTP", OUT_LMTP, 2,
	    STEPS(LHLO, MAIL, RCPT, RCPT2, "C DATA", "S 250 ok", "S 250 ok", "S 250 ok", "S 354 go",
		"B", "S 452 4.2.2 full", "S 250 done"),
	    OUT_ANSWERED, { L, D }, 452 },
	{ "refused recipient between", OUT_LMTP, 3,
	    STEPS(LHLO, MAIL, RCPT, RCPT2, "C RCPT TO:<c@", "C DATA", "S 250 ok", "S 250 ok",
		"S 550 5.1.1 no", "S 250 ok", "S 354 go", "B", "S 250 one", "S 554 5.6.0 bad"),
	    OUT_ANSWERED, { D, R, R }, 250 },
	{ "one reply for all by SMTP", OUT_SMTP, 2,
	    STEPS("S 220 hi", "C EHLO", "S 250 x", "C MAIL FROM:<s@y.example>", "S 250 ok", RCPT,
		"S 250 ok", RCPT2, "S 250 ok", "C DATA", "S 354 go", "B", "S 250 done"),
	    OUT_ANSWERED, { D, D }, 250 },
	{ "HELO", OUT_SMTP, 1,
	    STEPS("S 220 hi", "C EHLO", "S 502 what", "C HELO edge.example", "S 250 x", "C MAIL",
		"S 250 ok", RCPT, "S 250 ok", "C DATA", "S 354 go", "B", "S 250 done"),
	    OUT_ANSWERED, { D }, 250 },
	{ "MAIL refused", OUT_LMTP, 2,
	    STEPS(LHLO, MAIL, RCPT, RCPT2, "C DATA", "S 550 5.7.1 no", "S 503 x", "S 503 x",
		"S 503 x"),
	    OUT_ANSWERED, { R, R }, 550 },
	{ "MAIL deferred without pipelining", OUT_SMTP, 1,
	    STEPS("S 220 hi", "C EHLO", "S 250 x", "C MAIL", "S 451 4.3.0 later"), OUT_ANSWERED,
	    { L }, 451 },
	{ "every recipient refused", OUT_LMTP, 2,
	    STEPS(LHLO, MAIL, RCPT, RCPT2, "C DATA", "S 250 ok", "S 550 5.1.1 no",
		"S 450 4.2.0 later", "S 554 none"),
	    OUT_ANSWERED, { R, L }, 550 },
	{ "354 for nobody", OUT_LMTP, 1,
	    STEPS(LHLO, ENVELOPE, "S 250 ok", "S 550 5.1.1 no", "S 354 go", "H"), OUT_ANSWERED,
	    { R }, 550 },
	{ "DATA refused", OUT_LMTP, 1,
	    STEPS(LHLO, ENVELOPE, "S 250 ok", "S 250 ok", "S 452 4.3.1 disk"), OUT_ANSWERED, { L },
	    452 },
	{ "250 to DATA", OUT_LMTP, 1, STEPS(LHLO, ENVELOPE, "S 250 ok", "S 250 ok", "S 250 yes"),
	    OUT_BROKEN, { L }, 451 },
	{ "354 to RCPT", OUT_LMTP, 1, STEPS(LHLO, ENVELOPE, "S 250 ok", "S 354 ok", "S 503 no"),
	    OUT_ANSWERED, { L }, 451 },
	{ "354 to the message", OUT_LMTP, 1,
	    STEPS(LHLO, ENVELOPE, "S 250 ok", "S 250 ok", "S 354 go", "B", "S 354 again"),
	    OUT_ANSWERED, { L }, 451 },
	{ "greeting says no", OUT_SMTP, 1, STEPS("S 554 go away", "H"), OUT_UNREACHED, { L }, 451 },
	{ "greeting is garbage", OUT_LMTP, 1, STEPS("S hello", "H"), OUT_UNREACHED, { L }, 451 },
	{ "no greeting", OUT_LMTP, 1, STEPS("H"), OUT_UNREACHED, { L }, 451 },
	{ "closed at once", OUT_LMTP, 1, STEPS("X"), OUT_UNREACHED, { L }, 451 },
	{ "LHLO refused", OUT_LMTP, 1, STEPS("S 220 hi", "C LHLO", "S 500 what", "H"),
	    OUT_UNREACHED, { L }, 451 },
	{ "closed in the envelope", OUT_LMTP, 2,
	    STEPS(LHLO, MAIL, RCPT, RCPT2, "C DATA", "S 250 ok", "S 550 5.1.1 no", "X"), OUT_BROKEN,
	    { R, L }, 550 },
	{ "421 in the envelope", OUT_LMTP, 1, STEPS(LHLO, ENVELOPE, "S 250 ok", "S 421 4.3.2 bye"),
	    OUT_BROKEN, { L }, 421 },
	{ "closed after the dot", OUT_LMTP, 2,
	    STEPS(LHLO, MAIL, RCPT, RCPT2, "C DATA", "S 250 ok", "S 250 ok", "S 250 ok", "S 354 go",
		"B", "S 250 one", "X"),
	    OUT_BROKEN, { D, L }, 250 },
	{ "silence after the dot", OUT_LMTP, 1,
	    STEPS(LHLO, ENVELOPE, "S 250 ok", "S 250 ok", "S 354 go", "B", "H"), OUT_BROKEN, { L },
	    451 },
	{ "garbage after the dot", OUT_LMTP, 1,
	    STEPS(LHLO, ENVELOPE, "S 250 ok", "S 250 ok", "S 354 go", "B", "S 2x0 no"), OUT_BROKEN,
	    { L }, 451 },
	{ "more replies than questions", OUT_LMTP, 1,
	    STEPS(LHLO, MAIL, "R 250 a\r\n250 b\r\n250 c\r\n250 d\r\n", "H"), OUT_BROKEN, { L },
	    451 },
};

static void test_replies(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct try t;
		try_start(&t, cases[i].script);
		send_mail(&t, cases[i].kind, cases[i].recipients);
		if (t.peer.wrong != NULL || t.end != cases[i].end ||
		    t.outcomes[0].code != cases[i].code)
			fail_msg("%s: end %d code %u wrong '%s' why '%s' text '%s' seen '%s'",
			    cases[i].name, (int)t.end, t.outcomes[0].code,
			    t.peer.wrong != NULL ? t.peer.wrong : "", t.why, t.outcomes[0].text,
			    buf_cstr(&t.peer.seen));
		for (size_t k = 0; k < cases[i].recipients; k++)
			if (t.outcomes[k].fate != cases[i].fates[k])
				fail_msg("%s: recipient %zu has fate %d", cases[i].name, k,
				    (int)t.outcomes[k].fate);
		try_end(&t);
	}
}

static void test_transcript(void **state)
{
	struct try t;
	try_start(&t,
	    STEPS(LHLO, ENVELOPE, "S 250 ok", "S 250 ok", "S 354 go", "B", "S 250 2.6.0 kept as 7",
		"C MAIL", "C RCPT", "C DATA", "S 250 ok", "S 250 ok", "S 354 go", "B", "S 250 ok"));
	t.mail.body_8bit = true;
	send_mail(&t, OUT_LMTP, 1);
	assert_string_equal(buf_cstr(&t.peer.seen),
	    "LHLO edge.example\nMAIL FROM:<s@y.example> SIZE=25 XDELIVERYID=abcdefghjkmnpqrstu\n"
	    "RCPT TO:<a@x.example>\nDATA\n{Subject: x\r\n\r\n.dot\r\nend\r\n}\n");
	assert_string_equal(t.outcomes[0].text, "kept as 7");
	assert_string_equal(t.outcomes[0].enhanced, "2.6.0");
	send_mail(&t, OUT_LMTP, 1);
	assert_int_equal(t.end, OUT_ANSWERED);
	assert_int_equal(t.peer.connections, 1);
	assert_int_equal(out_pool_connections(t.pool), 1);
	try_end(&t);
}

static void test_rset_after_refusal(void **state)
{
	struct try t;
	try_start(&t,
	    STEPS(LHLO, ENVELOPE, "S 250 ok", "S 550 no", "S 554 no", "C RSET", "C MAIL", "C RCPT",
		"C DATA", "S 250 ok", "S 250 ok", "S 250 ok", "S 354 go", "B", "S 250 ok"));
	send_mail(&t, OUT_LMTP, 1);
	assert_int_equal(t.outcomes[0].fate, R);
	send_mail(&t, OUT_LMTP, 1);
	assert_int_equal(t.outcomes[0].fate, D);
	assert_null(t.peer.wrong);
	assert_int_equal(t.peer.connections, 1);
	try_end(&t);
}

/* What the sender wishes goes to servers that offer DSN, and only there. */
static void test_dsn(void **state)
{
	static const char *const offers[] = { "R 250-x\r\n250 PIPELINING\r\n",
		"R 250-x\r\n250-PIPELINING\r\n250 DSN\r\n" };
	static const char *const mails[] = { "MAIL FROM:<s@y.example>\n",
		"MAIL FROM:<s@y.example> RET=HDRS ENVID=q+2B1\n" };
	static const char *const rcpts[] = { "RCPT TO:<a@x.example>\nRCPT TO:<b@x.example>\n",
		"RCPT TO:<a@x.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bz@w.example\n"
		"RCPT TO:<b@x.example>\n" };
	for (size_t i = 0; i < COUNT_OF(offers); i++) {
		struct try t;
		try_start(&t,
		    STEPS("S 220 hi", "C EHLO", offers[i], "C MAIL", "C RCPT", "C RCPT", "C DATA",
			"S 250 ok", "S 250 ok", "S 250 ok", "S 354 go", "B", "S 250 ok"));
		t.mail.ret = SMTP_RET_HDRS;
		t.mail.envid = "q+2B1";
		t.rcpt[0].notify = SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY;
		t.rcpt[0].orcpt = "rfc822;a+2Bz@w.example";
		send_mail(&t, OUT_SMTP, 2);
		assert_int_equal(t.outcomes[0].fate, D);
		assert_int_equal(t.dsn, i == 1);
		assert_non_null(strstr(buf_cstr(&t.peer.seen), mails[i]));
		assert_non_null(strstr(buf_cstr(&t.peer.seen), rcpts[i]));
		try_end(&t);
	}
}

/* ORCPT in UTF-8 goes to servers with SMTPUTF8 as it is, and as ASCII to the others (RFC 6533 section 3). */
static void test_orcpt_utf8(void **state)
{
	static const char *const offers[] = { "R 250-x\r\n250-PIPELINING\r\n250 DSN\r\n",
		"R 250-x\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 DSN\r\n" };
	static const char *const rcpts[] = { " ORCPT=utf-8;\\x{E4}@w.example\n",
		" ORCPT=utf-8;\xc3\xa4@w.example\n" };
	for (size_t i = 0; i < 2 * COUNT_OF(offers); i++) {
		struct try t;
		bool said = i < 2; /* without it nothing may be UTF-8, whatever the server offers */
		try_start(&t, STEPS("S 220 hi", "C EHLO", offers[i % 2], "C MAIL", RCPT, "C DATA",
				  "S 250 ok", "S 250 ok", "S 354 go", "B", "S 250 ok"));
		t.mail.smtputf8 = said;
		t.rcpt[0].orcpt = "utf-8;\xc3\xa4@w.example";
		send_mail(&t, OUT_SMTP, 1);
		assert_int_equal(t.outcomes[0].fate, D);
		assert_non_null(strstr(buf_cstr(&t.peer.seen), rcpts[said ? i % 2 : 0]));
		try_end(&t);
	}
}

/* SMTPUTF8 was said of it: servers without get it only when nothing in it needs them to know. */
static void test_smtputf8(void **state)
{
	static const struct span bodies[] = { SPAN("Subject: x\r\n\r\n\xc3\xa4\r\n"),
		SPAN("Subject: \xc3\xa4\r\n\r\nx\r\n") };
	for (int i = 0; i < 4; i++) {
		struct try t;
		bool knows = i >= 2, is_plain = i % 2 == 0;
		try_start(&t, STEPS("S 220 hi", "C EHLO",
				  knows ? "R 250-x\r\n250-PIPELINING\r\n250 SMTPUTF8\r\n"
					: "R 250-x\r\n250 PIPELINING\r\n",
				  "C MAIL", RCPT, "C DATA", "S 250 ok", "S 250 ok", "S 354 go", "B",
				  "S 250 ok"));
		t.body = bodies[i % 2];
		t.mail.body.size = t.body.n;
		t.mail.smtputf8 = true;
		send_mail(&t, OUT_SMTP, 1);
		assert_int_equal(t.outcomes[0].fate, knows || is_plain ? D : R);
		assert_int_equal(fake_saw(&t.peer, " SMTPUTF8"), knows);
		if (t.outcomes[0].fate == R)
			assert_string_equal(t.outcomes[0].enhanced, "5.6.7");
		try_end(&t);
	}
}

/* A wish that nobody else is going to honour is not passed on, and neither is the mail. */
static void test_requiretls(void **state)
{
	struct try t;
	try_start(&t, STEPS("S 220 hi", "C EHLO", "R 250-x\r\n250 REQUIRETLS\r\n"));
	t.mail.require_tls = true;
	send_mail(&t, OUT_SMTP, 1);
	assert_int_equal(t.outcomes[0].fate, FATE_REFUSED);
	assert_string_equal(t.outcomes[0].enhanced, "5.7.30");
	assert_null(strstr(buf_cstr(&t.peer.seen), "MAIL"));
	try_end(&t);
	const char *const without_tls[] = { "S 250 x", "S 502 what?" };
	for (size_t i = 0; i < COUNT_OF(without_tls); i++) {
		try_start(&t, STEPS("S 220 hi", "C EHLO", without_tls[i]));
		t.mail.require_tls = true;
		t.mail.recipient_count = 1;
		struct out_target to = {
			.kind = OUT_SMTP, .host = t.peer.path, .tls = OUT_TLS_MUST
		};
		t.ticket = out_pool_send(t.pool, &to, &t.mail, on_done, &t);
		run_until(&t, &t.answered);
		assert_int_equal(t.outcomes[0].fate, FATE_LATER);
		assert_int_equal(t.tls, OUT_TLS_NOT_OFFERED);
		assert_null(strstr(buf_cstr(&t.peer.seen), "MAIL"));
		try_end(&t);
	}
}

/* A kept connection that says goodbye, or dies, at the next mail: the mail goes over a new one. */
static void test_stale_connection(void **state)
{
	static const char *const byes[] = { "X", "R 421 4.3.2 idle too long\r\n" };
	for (size_t i = 0; i < COUNT_OF(byes); i++) {
		struct try t;
		try_start(
		    &t, STEPS(LHLO, ENVELOPE, "S 250 ok", "S 250 ok", "S 354 go", "B", "S 250 ok",
			    MAIL, byes[i], i == 0 ? "S 220 hi" : "X",
			    i == 0 ? "C LHLO" : "S 220 hi", i == 0 ? "S 250 x" : "C LHLO",
			    i == 0 ? "C MAIL" : "S 250 x", i == 0 ? "S 250 ok" : "C MAIL",
			    i == 0 ? RCPT : "S 250 ok", i == 0 ? "S 250 ok" : RCPT,
			    i == 0 ? "C DATA" : "S 250 ok", i == 0 ? "S 354 go" : "C DATA",
			    i == 0 ? "B" : "S 354 go", i == 0 ? "S 250 ok" : "B", "S 250 ok"));
		send_mail(&t, OUT_LMTP, 1);
		send_mail(&t, OUT_LMTP, 1);
		assert_int_equal(t.end, OUT_ANSWERED);
		assert_int_equal(t.outcomes[0].fate, D);
		assert_int_equal(t.peer.connections, 2);
		try_end(&t);
	}
}

/* The time of a kept connection is over in the moment in which a mail has been given to it. */
static void test_idle_ends_with_a_mail(void **state)
{
	struct try t;
	try_start(&t, STEPS(LHLO, ENVELOPE, "S 250 ok", "S 250 ok", "S 354 go", "B", "S 250 ok",
			  ENVELOPE, "S 250 ok", "S 250 ok", "S 354 go", "B", "S 250 ok"));
	struct out_target to = { .kind = OUT_LMTP, .host = t.peer.path };
	send_mail(&t, OUT_LMTP, 1);
	t.answered = false;
	clock_fake(clock_mono_ms(), clock_wall_us());
	t.ticket = out_pool_send(t.pool, &to, &t.mail, on_done, &t);
	loop_step(t.loop, 0);
	clock_fake_advance(5000);
	loop_step(t.loop, 0);
	clock_fake_off();
	run_until(&t, &t.answered);
	assert_int_equal(t.end, OUT_ANSWERED);
	assert_int_equal(t.peer.connections, 1);
	try_end(&t);
}

static void test_too_big_and_bad_addresses(void **state)
{
	struct try t;
	try_start(&t, STEPS(LHLO, "H"));
	t.mail.body.size = 1000;
	send_mail(&t, OUT_LMTP, 1);
	assert_int_equal(t.outcomes[0].fate, R);
	assert_string_equal(t.outcomes[0].enhanced, "5.3.4");
	t.mail.body.size = t.body.n;
	t.rcpt[0].address = "a@x>\r\nDATA";
	t.rcpt[1].address = "\xc3\xa4@x.example";
	send_mail(&t, OUT_LMTP, 2);
	assert_string_equal(t.outcomes[0].enhanced, "5.1.3");
	assert_string_equal(t.outcomes[1].enhanced, "5.6.7");
	assert_string_equal(buf_cstr(&t.peer.seen), "LHLO edge.example\n");
	try_end(&t);
}

static void test_dead_host_is_remembered(void **state)
{
	struct try t;
	try_start(&t, STEPS("H"));
	unlink(t.peer.path);
	send_mail(&t, OUT_LMTP, 1);
	assert_int_equal(t.end, OUT_UNREACHED);
	assert_false(t.untried);
	send_mail(&t, OUT_LMTP, 1);
	assert_int_equal(t.end, OUT_UNREACHED);
	assert_true(t.untried);
	assert_string_equal(t.why, "did not answer a moment ago");
	assert_int_equal(t.outcomes[0].fate, L);
	try_end(&t);
}

/* The end of data is out: the mail is in doubt only where the server does not know delivery ids. */
static void test_doubt_and_cancel(void **state)
{
	static const char *const hellos[] = { "R 250-x\r\n250-PIPELINING\r\n250 XDELIVERYID\r\n",
		"R 250-x\r\n250 PIPELINING\r\n" };
	for (size_t i = 0; i < COUNT_OF(hellos); i++) {
		struct try t;
		try_start(&t, STEPS("S 220 hi", "C LHLO", hellos[i], "C MAIL", RCPT, "C DATA",
				  "S 250 ok", "S 250 ok", "S 354 go", "B", "H"));
		struct out_target to = { .kind = OUT_LMTP, .host = t.peer.path };
		t.mail.recipient_count = 1;
		t.ticket = out_pool_send(t.pool, &to, &t.mail, on_done, &t);
		assert_false(out_pool_in_doubt(t.ticket));
		uint64_t until = clock_mono_ms() + 5000;
		while (t.peer.at < 10 && clock_mono_ms() < until)
			loop_step(t.loop, 50);
		assert_int_equal(out_pool_in_doubt(t.ticket), i == 1);
		ticket_cancel(&t.ticket);
		assert_int_equal(out_pool_connections(t.pool), 0);
		assert_false(t.answered);
		try_end(&t);
	}
}

static void test_large_body(void **state)
{
	struct try t;
	struct buf big = BUF_INIT(4000000);
	while (buf_len(&big) < 3000000)
		buf_add_str(
		    &big, ".line of a message that is longer than every buffer on the way\r\n");
	try_start(&t, STEPS("S 220 hi", "C LHLO", "S 250 x", "C MAIL", "S 250 ok", RCPT, "S 250 ok",
			  "C DATA", "S 354 go", "B", "S 250 ok"));
	t.body = buf_span(&big);
	t.mail.body.size = t.body.n;
	send_mail(&t, OUT_LMTP, 1);
	assert_int_equal(t.outcomes[0].fate, D);
	assert_true(span_find_span(buf_span(&t.peer.seen), buf_span(&big)) != SIZE_MAX);
	buf_end(&big);
	try_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_transcript),
		cmocka_unit_test(test_rset_after_refusal),
		cmocka_unit_test(test_dsn),
		cmocka_unit_test(test_requiretls),
		cmocka_unit_test(test_orcpt_utf8),
		cmocka_unit_test(test_smtputf8),
		cmocka_unit_test(test_stale_connection),
		cmocka_unit_test(test_idle_ends_with_a_mail),
		cmocka_unit_test(test_too_big_and_bad_addresses),
		cmocka_unit_test(test_dead_host_is_remembered),
		cmocka_unit_test(test_doubt_and_cancel),
		cmocka_unit_test(test_large_body),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
