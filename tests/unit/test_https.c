/* test_https.c - one request over HTTPS: what the server gets, what is made of its answer, every way to fail. */
#include "net/certs.h"
#include "net/end.h"

#include "net/https.h"
#include "net/listen.h"

static int door;
static struct listener *listener;
static struct ip_port at;
static struct end peer;
static struct tls_ctx *server, *client;
static const char *reply; /* what the server says when the request has come */
static bool goes;         /* it closes when the request has come */

static void on_accept(void *arg, const struct accepted *a)
{
	end_end(&peer);
	end_begin(&peer, a->fd, 100000, 100000);
	stream_start_tls_server(peer.s, server);
	if (reply != NULL)
		stream_write(peer.s, reply, strlen(reply));
	if (goes)
		peer.close_at = STREAM_INPUT;
}

static int setup(void **state)
{
	static const struct listener_opts none;
	loop_setup(state);
	door = door_open(&at);
	listener = listener_new(loop, door, &none, on_accept, NULL);
	server = test_server();
	client = test_client(TLS_VERIFY_NAME);
	peer = (struct end){ .s = NULL };
	reply = NULL;
	goes = false;
	return 0;
}

static int teardown(void **state)
{
	end_end(&peer);
	listener_free(&listener);
	close(door);
	tls_ctx_unref(&server);
	tls_ctx_unref(&client);
	return loop_teardown(state);
}

static struct ticket *asking;
static unsigned answered, status;
static err_t err;
static char type[200], body[200], words[300];

static void on_answer(void *arg, const struct https_answer *a)
{
	asking = NULL;
	answered++;
	err = a->err;
	status = a->status;
	snprintf(type, sizeof type, "%.*s", SPAN_ARG(a->type));
	snprintf(body, sizeof body, "%.*s", SPAN_ARG(a->body));
	snprintf(words, sizeof words, "%s", a->text);
}

static struct https_ask question(void)
{
	return (struct https_ask){ .host = SPAN("127.0.0.1"),
		.port = at.port,
		.path = SPAN("/.well-known/x?y"),
		.tls = client,
		.answer_max = 100,
		.deadline_ms = WAIT_MS };
}

static void ask(const struct https_ask *q, err_t want)
{
	answered = 0;
	asking = https_start(loop, NULL, q, on_answer, NULL);
	assert_int_equal(answered, 0); /* never inside the call */
	WAIT_FOR(answered == 1);
	if (err != want)
		fail_msg("wanted %s, got %s: %s", err_name(want), err_name(err), words);
	run_rounds(2);
	assert_int_equal(answered, 1);
}

static void test_get(void **state)
{
	char want[300];
	struct https_ask q = question();
	reply = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; x\r\nContent-Length: 5\r\n\r\nhello";
	ask(&q, ERR_OK);
	assert_int_equal(status, 200);
	assert_string_equal(type, "text/plain");
	assert_string_equal(body, "hello");
	snprintf(want, sizeof want,
	    "GET /.well-known/x?y HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: Postern\r\n"
	    "Connection: close\r\n\r\n",
	    at.port);
	WAIT_FOR(buf_len(&peer.got) == strlen(want));
	assert_memory_equal(buf_span(&peer.got).p, want, strlen(want));
}

static void test_post(void **state)
{
	struct https_ask q = question();
	q.type = SPAN("application/tlsrpt+gzip");
	q.body = SPAN("bytes\0here");
	reply = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
	ask(&q, ERR_OK);
	assert_int_equal(status, 201);
	WAIT_FOR(
	    peer.s != NULL && span_find_span(buf_span(&peer.got), SPAN("bytes\0here")) != SIZE_MAX);
	assert_true(span_starts(buf_span(&peer.got), SPAN("POST /.well-known/x?y HTTP/1.1\r\n")));
	assert_true(
	    span_find_span(buf_span(&peer.got),
		SPAN("Content-Type: application/tlsrpt+gzip\r\nContent-Length: 10\r\n\r\n")) !=
	    SIZE_MAX);
}

/* What is no answer, too long a one, or one that breaks off or does not come. */
static void test_bad_answers(void **state)
{
	static const struct {
		const char *reply;
		bool goes;
		err_t want;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", false, ERR_PROTOCOL },
		{ "HTTP/1.1 200 OK\r\n\r\nhello", true, ERR_PROTOCOL },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", true, ERR_CONN_CLOSED },
		{ "HTTP/1.1 200", true, ERR_CONN_CLOSED },
		{ NULL, true, ERR_CONN_CLOSED },
		{ "220 mail\r\n", false, ERR_PROTOCOL },
	};
	struct https_ask q = question();
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		reply = cases[i].reply;
		goes = cases[i].goes;
		ask(&q, cases[i].want);
	}
	reply = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell";
	goes = false;
	q.deadline_ms = 60;
	ask(&q, ERR_TIMEOUT);
}

static void test_certificates(void **state)
{
	struct https_ask q = question();
	struct cert other;
	cert_make(&other, &test_ca, "other", "DNS:other.example");
	struct tls_pair pair = cert_pair(&other);
	tls_ctx_unref(&server);
	server = tls_server_new(&(struct tls_server_opts){ .pairs = &pair, .pair_count = 1 }, NULL);
	reply = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	ask(&q, ERR_TLS_UNVERIFIED);
	cert_end(&other);
}

static void test_bad_questions(void **state)
{
	static const char *const hosts[] = { "", "a b", "a\r\nX: y", "a/b", "a@b" };
	static const char *const paths[] = { "", "x", "/a b", "/a\r\nX: y", "/\xc3\xa4" };
	for (size_t i = 0; i < COUNT_OF(hosts); i++) {
		struct https_ask q = question();
		q.host = span_str(hosts[i]);
		ask(&q, ERR_SYNTAX);
		q = question();
		q.path = span_str(paths[i]);
		ask(&q, ERR_SYNTAX);
	}
}

static void test_cancel(void **state)
{
	struct https_ask q = question();
	answered = 0;
	for (unsigned rounds = 0; rounds < 12; rounds++) {
		asking = https_start(loop, NULL, &q, on_answer, NULL);
		run_rounds(rounds);
		ticket_cancel(&asking);
	}
	q.path = SPAN("bad");
	asking = https_start(loop, NULL, &q, on_answer, NULL);
	ticket_cancel(&asking);
	run_rounds(5);
	assert_int_equal(answered, 0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_get),
		CASE(test_post),
		CASE(test_bad_answers),
		CASE(test_certificates),
		CASE(test_bad_questions),
		CASE(test_cancel),
	};
	return cmocka_run_group_tests(tests, certs_setup, certs_teardown);
}
