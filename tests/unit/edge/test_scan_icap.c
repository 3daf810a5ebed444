/* test_scan_icap.c - SMTP sessions whose mail is shown to something that answers as an ICAP server does, or does not. */
#define BENCH_EDGE                                                                                 \
	"	listener respmod { address 127.0.0.1:28; role mx; tls none; }\n"                         \
	"	listener reqmod { address 127.0.0.1:29; role mx; tls none; }\n"                          \
	"	listener all { address 127.0.0.1:30; role mx; tls none; }\n"                             \
	"	listener soft { address 127.0.0.1:31; role mx; tls none; }\n"                            \
	"	scanner a { type icap; address $/none.sock, $/icap.sock; listeners respmod;\n"           \
	"		service scan; dead_time 0s; timeout 200ms; }\n"                                         \
	"	scanner b { type icap; address $/icap.sock; listeners reqmod; method reqmod;\n"          \
	"		dead_time 0s; timeout 200ms; }\n"                                                       \
	"	scanner c { type icap; address $/icap.sock; listeners all; preview no;\n"                \
	"		service whole?mode=mail; dead_time 0s; timeout 200ms; }\n"                              \
	"	scanner d { type icap; address $/icap.sock; listeners soft; on_hit tag;\n"               \
	"		on_failure accept; dead_time 0s; timeout 200ms; }\n"
#include "tests/unit/edge/session_bench.h"

/* ---- the server ------------------------------------------------------------------------------------- */

/* What it says when what it has heard since its last answer ends so. */
struct step {
	const char *behind, *say; /* say NULL: it closes */
};

static struct {
	struct listener *listener;
	int fd;
	char path[128];
	struct stream *io;
	struct buf seen, all;
	const struct step *steps;
	size_t at;
	unsigned connections;
} icap;

#define ECHO "\001"  /* the body, as it was sent, in one chunk */
#define OTHER "\002" /* the same with another last octet */

static void say_body(bool other)
{
	struct span all = buf_span(&icap.all);
	struct span chunk = span_from(all, span_find_span(all, SPAN("Content-Length: ")) + 16);
	uint64_t n;
	assert_true(span_u64(span_first(chunk, span_find(chunk, '\r')), 1 << 20, &n));
	chunk = span_from(chunk, span_find_span(chunk, SPAN("\r\n\r\n")) + 4);
	size_t head = span_find(chunk, '\n') + 1;
	stream_write_span(icap.io, span_first(chunk, head + n - 1));
	stream_write_span(icap.io, other ? SPAN("x\r\n") : SPAN("\n\r\n"));
}

static bool advance(void)
{
	const struct step *s = &icap.steps[icap.at];
	if (s->behind == NULL || !span_iends(buf_span(&icap.seen), span_str(s->behind)))
		return false;
	icap.at++;
	buf_clear(&icap.seen);
	if (s->say == NULL) {
		stream_close(&icap.io, 1000);
		return false;
	}
	for (const char *p = s->say; *p != '\0'; p++)
		if (*p == ECHO[0] || *p == OTHER[0])
			say_body(*p == OTHER[0]);
		else
			stream_write(icap.io, p, 1);
	return true;
}

static void on_icap(void *arg, enum stream_event ev)
{
	struct span in = stream_input(icap.io);
	buf_add_span(&icap.seen, in);
	buf_add_span(&icap.all, in);
	stream_eat(icap.io, in.n);
	if (ev == STREAM_EOF || ev == STREAM_FAILED) {
		stream_free(&icap.io);
		return;
	}
	while (icap.io != NULL && advance())
		;
}

static void on_icap_accept(void *arg, const struct accepted *a)
{
	icap.connections++;
	buf_clear(&icap.seen);
	if (icap.io != NULL)
		stream_free(&icap.io);
	icap.io =
	    stream_new(loop, a->fd, (struct stream_limits){ 1 << 20, 1 << 20 }, on_icap, NULL);
}

static int begin(void **state)
{
	memset(&given, 0, sizeof given);
	memset(&icap, 0, sizeof icap);
	given.code = 250;
	icap.seen = BUF_INIT(1 << 20);
	icap.all = BUF_INIT(1 << 20);
	snprintf(icap.path, sizeof icap.path, "%s/icap.sock", dir);
	icap.fd = listen_open_unix(icap.path, 0600);
	assert_true(icap.fd >= 0);
	icap.listener = listener_new(
	    loop, icap.fd, &(struct listener_opts){ .proxy_ms = 1000 }, on_icap_accept, NULL);
	edge_again(); /* it knows no services */
	return 0;
}

static int end(void **state)
{
	if (icap.io != NULL)
		stream_free(&icap.io);
	listener_free(&icap.listener);
	close(icap.fd);
	unlink(icap.path);
	buf_end(&icap.seen);
	buf_end(&icap.all);
	return 0;
}

/* ---- tests ------------------------------------------------------------------------------------------ */

#define MESSAGE "Subject: x\r\nX-Virus-Status: Clean, forged\r\n\r\nhello\r\n"
#define SEND ALICE "DATA\r\n" MESSAGE ".\r\n" QUIT
#define ASKED "ICAP/1.0\r\nHost: localhost:0\r\n\r\n"
#define OPTIONS(more) "ICAP/1.0 200 OK\r\nMethods: RESPMOD, REQMOD\r\n" more "\r\n"
#define ENOUGH "0\r\n\r\n"
#define WHOLE "0; ieof\r\n\r\n"
#define CLEAN "ICAP/1.0 204 No Content\r\n\r\n"
#define HIT                                                                                        \
	"ICAP/1.0 200 OK\r\nX-Infection-Found: Type=0; Threat=Eicar;\r\nEncapsulated: "            \
	"null-body=0\r\n\r\n"

/* As in check(), but once: the server's script runs once too. */
static void one(const char *listener, const struct step *steps, const char *code)
{
	char want[80];
	icap.steps = steps;
	icap.at = 0;
	icap.connections = 0;
	given.calls = 0;
	buf_clear(&icap.all);
	snprintf(want, sizeof want, "220 250 250 250 354 %s 221", code);
	check_talk(listener, SPAN(SEND), want, SIZE_MAX);
	assert_int_equal(given.calls, code[0] == '2');
}

static void heard(const char *words)
{
	assert_int_not_equal(span_find_span(buf_span(&icap.all), span_str(words)), SIZE_MAX);
}

static void test_preview(void **state)
{
	static const struct step small[] = {
		{ ASKED, OPTIONS("Preview: 10\r\nOptions-TTL: 60\r\n") },
		{ ENOUGH, "ICAP/1.0 100 Continue\r\n\r\n" },
		{ ENOUGH, CLEAN },
		{ NULL, NULL },
	};
	one("respmod", small, "250");
	assert_int_equal(icap.connections, 1);
	heard("OPTIONS icap://localhost:0/scan ICAP/1.0\r\n");
	heard("\r\nRESPMOD icap://localhost:0/scan ICAP/1.0\r\nHost: localhost:0\r\nAllow: 204\r\n"
	      "X-Client-IP: 192.0.2.1\r\nPreview: 10\r\nEncapsulated: req-hdr=0, res-hdr=");
	heard("\r\n\r\na\r\nReceived: \r\n0\r\n\r\n");
	assert_true(span_iends(buf_span(&icap.all), SPAN("\r\n\r\nhello\r\n\r\n0\r\n\r\n")));
	assert_non_null(strstr(given.head, "\r\nX-Virus-Status: Clean\r\n\r\nhello"));
	/* now it is known; the preview is the whole */
	one("respmod", &small[1], "250");
	assert_int_equal(span_find_span(buf_span(&icap.all), SPAN("OPTIONS")), SIZE_MAX);
}

static void test_whole_in_preview(void **state)
{
	static const struct step steps[] = {
		{ ASKED, OPTIONS("Preview: 9999\r\nOptions-TTL: 0\r\nConnection: close\r\n") },
		{ WHOLE, HIT },
		{ NULL, NULL },
	};
	one("respmod", steps, "550");
	assert_int_equal(icap.connections, 2); /* it said that it closes */
	one("respmod", steps, "550");          /* and that it is not to be remembered */
	assert_int_equal(icap.at, 2);
	static const struct step greedy[] = {
		{ ASKED, OPTIONS("Preview: 9999\r\nOptions-TTL: 0\r\n") },
		{ WHOLE, "ICAP/1.0 100 Continue\r\n\r\n" },
		{ NULL, NULL },
	};
	one("respmod", greedy, "451");
}

static void test_reqmod(void **state)
{
	static const struct step steps[] = {
		{ ASKED, OPTIONS("") },
		{ ENOUGH, CLEAN },
		{ NULL, NULL },
	};
	one("reqmod", steps, "250");
	heard("\r\nREQMOD icap://localhost:0/avscan ICAP/1.0\r\n");
	heard("\r\nEncapsulated: req-hdr=0, req-body=");
	heard("\r\n\r\nPOST http://message.invalid/");
	/* an answer in the place of the request is a refusal */
	static const struct step blocked[] = {
		{ ENOUGH, "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, null-body=19\r\n\r\n"
			  "HTTP/1.1 200 OK\r\n\r\n" },
		{ NULL, NULL },
	};
	one("reqmod", blocked, "550");
}

#define BACK                                                                                       \
	"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"

/* Without 204 the message itself is the answer: the same one, or another. */
static void test_what_comes_back(void **state)
{
	static const struct {
		const char *say, *code;
	} cases[] = {
		{ BACK ECHO "0\r\n\r\n", "250" },
		{ BACK OTHER "0\r\n\r\n", "550" },
		{ BACK "5\r\nother\r\n0\r\n\r\n", "550" },
		{ BACK ECHO "1\r\nx\r\n0\r\n\r\n", "550" },
		{ BACK "0\r\n\r\n", "550" },
		{ BACK ECHO, "451" }, /* its end does not come */
		{ "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=26\r\n\r\n"
		  "HTTP/1.1 403 Forbidden\r\n\r\n" ECHO "0\r\n\r\n",
		    "550" },
		{ "ICAP/1.0 200 OK\r\nEncapsulated: null-body=0\r\n\r\n", "550" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct step steps[] = {
			{ ASKED, OPTIONS("Preview: 4\r\nOptions-TTL: 0\r\n") },
			{ ENOUGH, cases[i].say },
			{ NULL, NULL },
		};
		one("all", steps, cases[i].code);
		heard("RESPMOD icap://localhost:0/whole?mode=mail ICAP/1.0\r\n");
		assert_int_equal(span_find_span(buf_span(&icap.all), SPAN("Preview")), SIZE_MAX);
	}
}

static void test_failures(void **state)
{
	static const char *const bad[] = {
		NULL,
		"",
		"HTTP/1.1 400 Bad Request\r\n\r\n",
		"ICAP/1.0 404 Service not found\r\n\r\n",
		"ICAP/1.0 500 Trouble\r\nX-Infection-Found: Threat=x\r\n\r\n",
		"ICAP/1.0 206 Partial Content\r\n\r\n",
		"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=7\r\n\r\n",
		BACK "zz\r\n",
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		const struct step steps[] = {
			{ ASKED, OPTIONS("Options-TTL: 60\r\n") },
			{ ENOUGH, bad[i] },
			{ NULL, NULL },
		};
		one("all", steps, "451");
		one("soft", steps, "250");
		assert_non_null(strstr(given.head, "\r\n" MESSAGE));
	}
	static const char *const no_options[] = { NULL, "ICAP/1.0 404 Not found\r\n\r\n",
		"ICAP/1.0 200 OK\r\nMethods: REQMOD\r\n\r\n", "ICAP/1.0 100 Continue\r\n\r\n",
		"ICAP/1.0 200 OK\r\nEncapsulated: opt-body=0\r\n\r\n" };
	for (size_t i = 0; i < COUNT_OF(no_options); i++) {
		const struct step steps[] = { { ASKED, no_options[i] }, { NULL, NULL } };
		one("all", steps, "451");
	}
}

static void test_tag(void **state)
{
	static const struct step steps[] = {
		{ ASKED, OPTIONS("Preview: 0\r\n") },
		{ ENOUGH, HIT }, /* before it has seen a byte */
		{ NULL, NULL },
	};
	one("soft", steps, "250");
	assert_non_null(strstr(given.head, "\r\nX-Virus-Status: Infected (Eicar)\r\n\r\nhello"));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_preview),
		TEST(test_whole_in_preview),
		TEST(test_reqmod),
		TEST(test_what_comes_back),
		TEST(test_failures),
		TEST(test_tag),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
