/* test_http.c - the admin HTTP server: whole and split requests, refusals, slow and many clients. */
#include "net/net_test.h"

#include <sys/resource.h>

#include "net/http.h"

enum { CROWD = 300 };

static int door;
static struct ip_port at;
static struct http_admin *admin;
static char asked[256];
static unsigned asked_n;

static int on_get(void *arg, struct span path, struct buf *out, const char **type)
{
	asked_n++;
	snprintf(asked, sizeof asked, "%.*s", SPAN_ARG(path));
	if (span_eq_str(path, "/metrics")) {
		buf_add_str(out, "up 1\n");
		return 200;
	}
	if (span_eq_str(path, "/json")) {
		*type = "application/json";
		buf_add_str(out, "{}");
		return 503;
	}
	while (span_eq_str(path, "/huge") && buf_ok(out))
		buf_add(out, asked, sizeof asked);
	return span_eq_str(path, "/huge") ? 200 : 404;
}

static int setup(void **state)
{
	loop_setup(state);
	if (log_file < 0)
		log_catch();
	door = door_open(&at);
	admin = http_admin_new(loop, door, on_get, NULL);
	assert_non_null(admin);
	asked_n = 0;
	asked[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	http_admin_free(&admin);
	assert_int_equal(fcntl(door, F_GETFD), FD_CLOEXEC); /* borrowed: still open */
	close(door);
	return loop_teardown(state);
}

/* The whole answer to what was sent on a new connection; valid until the next call. */
static const char *answer_to(struct span request, size_t piece)
{
	static char text[65536];
	struct buf b = BUF_INIT(20 << 20);
	int fd = door_join(at);
	for (size_t i = 0; i < request.n; i += piece) {
		raw_send(fd, span_first(span_from(request, i), piece));
		run_rounds(2);
	}
	WAIT_FOR(raw_take(fd, &b) != RAW_OPEN);
	snprintf(text, sizeof text, "%.*s", (int)(buf_len(&b) < 60000 ? buf_len(&b) : 60000),
	    buf_cstr(&b));
	buf_end(&b);
	close(fd);
	return text;
}

#define ASK(lit) answer_to(SPAN(lit), sizeof(lit))

static void assert_status(const char *answer, const char *status)
{
	if (strncmp(answer, "HTTP/1.", 7) != 0 || strncmp(answer + 9, status, 3) != 0)
		fail_msg("wanted %s, got: %.60s", status, answer);
}

static void test_answers(void **state)
{
	const char *a = ASK("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_status(a, "200");
	assert_non_null(strstr(a, "\r\n\r\nup 1\n"));
	assert_non_null(strstr(a, "Content-Type: text/plain; charset=utf-8\r\n"));
	assert_non_null(strstr(a, "Connection: close\r\n"));
	a = ASK("GET /json?verbose=1 HTTP/1.0\r\n\r\n");
	assert_status(a, "503");
	assert_string_equal(asked, "/json");
	assert_non_null(strstr(a, "Content-Type: application/json\r\n"));
	assert_status(ASK("GET /nothing HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"), "404");
	assert_status(ASK("GET /huge HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), "500");
}

static void test_split_requests(void **state)
{
	static const char request[] =
	    "GET /metrics HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: probe\r\n\r\n";
	for (size_t piece = 1; piece < sizeof request; piece = piece * 2 + 1)
		assert_status(answer_to(span_of(request, sizeof request - 1), piece), "200");
	assert_int_equal(asked_n, 6);
}

/* One request a connection: what follows is not looked at. */
static void test_one_request(void **state)
{
	const char *a = ASK("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
			    "GET /json HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_status(a, "200");
	assert_null(strstr(a + 9, "HTTP/1."));
	assert_int_equal(asked_n, 1);
}

static void test_foreign_hosts(void **state)
{
	static const char *const allowed[] = { "localhost", "LOCALHOST:1", "127.0.0.1", "[::1]",
		"192.0.2.1:9" };
	static const char *const refused[] = { "evil.example", "localhost.evil.example",
		"localhost:x", "127.0.0.1.evil.example", "[::1", "", "localhost:99999" };
	char request[200];
	for (size_t i = 0; i < COUNT_OF(allowed) + COUNT_OF(refused); i++) {
		bool ok = i < COUNT_OF(allowed);
		int n =
		    snprintf(request, sizeof request, "GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n",
			ok ? allowed[i] : refused[i - COUNT_OF(allowed)]);
		assert_status(
		    answer_to(span_of(request, (size_t)n), sizeof request), ok ? "200" : "421");
	}
	assert_int_equal(asked_n, COUNT_OF(allowed));
}

static void test_bad_requests(void **state)
{
	assert_status(
	    ASK("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"), "501");
	assert_status(ASK("BREW /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"), "501");
	assert_status(ASK("GET metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"), "400");
	ASK("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n");
	ASK("GET\r\n\r\n");
	ASK("\r\n\r\n\r\n");
	ASK("GET /metrics HTTP/9.9\r\nHost: localhost\r\n\r\n");
	assert_int_equal(asked_n, 0);
	assert_status(ASK("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"), "200");
}

static void test_too_long(void **state)
{
	struct buf b = BUF_INIT(1 << 20);
	buf_add_str(&b, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ");
	while (buf_len(&b) < 17000)
		buf_add_char(&b, 'x');
	buf_add_str(&b, "\r\n\r\n");
	answer_to(buf_span(&b), 5000);
	buf_clear(&b);
	buf_add_str(&b, "GET /");
	while (buf_len(&b) < 17000)
		buf_add_char(&b, 'x'); /* and no end of the line */
	answer_to(buf_span(&b), 20000);
	answer_to(
	    SPAN("GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n"), 200);
	assert_int_equal(asked_n, 0);
	buf_end(&b);
}

/* A byte now and then does not keep a connection for ever; nor does a long rest before it count. */
static void test_slow_client(void **state)
{
	struct buf b = BUF_INIT(1000);
	clock_fake(1000, 0);
	run_rounds(1);
	clock_fake_advance(60000);
	int fd = door_join(at);
	raw_send(fd, SPAN("GET /metrics HTTP/1.1\r\nX: "));
	run_rounds(5);
	for (int i = 0; i < 9; i++) {
		clock_fake_advance(1000);
		raw_send(fd, SPAN("x"));
		run_rounds(5);
		assert_int_equal(raw_take(fd, &b), RAW_OPEN);
	}
	clock_fake_advance(2000);
	run_rounds(5);
	assert_int_not_equal(raw_take(fd, &b), RAW_OPEN);
	close(fd);
	run_rounds(3);
	assert_int_equal(asked_n, 0);
	buf_end(&b);
}

/* Many at once, in one batch: never more than 64, the newest are those that are served. */
static void test_crowd(void **state)
{
	struct buf b = BUF_INIT(10000);
	int fd[CROWD];
	size_t open_n = 0;
	for (size_t i = 0; i < CROWD; i++)
		fd[i] = door_join(at);
	run_rounds(20);
	for (size_t i = 0; i < CROWD; i++)
		open_n += raw_take(fd[i], &b) == RAW_OPEN;
	assert_int_equal(open_n, 64);
	raw_send(fd[CROWD - 1], SPAN("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	WAIT_FOR(raw_take(fd[CROWD - 1], &b) != RAW_OPEN);
	assert_int_equal(asked_n, 1);
	for (size_t i = 0; i < CROWD; i++)
		close(fd[i]);
	run_rounds(5);
	buf_end(&b);
	assert_status(ASK("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"), "200");
}

/* accept() fails: the loop comes to rest, and goes on when there are descriptors again. */
static void test_out_of_descriptors(void **state)
{
	struct rlimit before, none;
	struct buf b = BUF_INIT(1000);
	int fd = door_join(at), lowest = dup(0);
	close(lowest);
	raw_send(fd, SPAN("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)lowest;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	run_rounds(3);
	struct pollfd p = { .fd = door, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 0), 1); /* it waits */
	uint64_t from = clock_mono_ms();
	loop_step(loop, 30);
	assert_true(clock_mono_ms() - from >= 29); /* and nothing spins */
	assert_int_equal(log_drain("net.accept_failed"), 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	WAIT_FOR(raw_take(fd, &b) != RAW_OPEN);
	assert_int_equal(asked_n, 1);
	buf_end(&b);
	close(fd);
}

static void test_private_only(void **state)
{
	struct ip_port any;
	assert_true(ip_parse_port(SPAN("0.0.0.0:0"), &any));
	int fd = listen_open_tcp(any);
	assert_true(fd >= 0);
	assert_null(http_admin_new(loop, fd, on_get, NULL));
	close(fd);
	assert_null(http_admin_new(loop, -1, on_get, NULL));
	char path[] = "/tmp/postern-http-XXXXXX";
	close(mkstemp(path));
	unlink(path);
	fd = listen_open_unix(path, 0600);
	struct http_admin *other = http_admin_new(loop, fd, on_get, NULL);
	assert_non_null(other);
	http_admin_free(&other);
	assert_null(other);
	http_admin_free(&other);
	close(fd);
	unlink(path);
}

/* Freed with connections in every state. */
static void test_free_with_connections(void **state)
{
	struct buf b = BUF_INIT(1000);
	int silent = door_join(at), half = door_join(at);
	raw_send(half, SPAN("GET /metr"));
	run_rounds(5);
	http_admin_free(&admin);
	run_rounds(2);
	assert_int_not_equal(raw_take(silent, &b), RAW_OPEN);
	assert_int_not_equal(raw_take(half, &b), RAW_OPEN);
	buf_end(&b);
	close(silent);
	close(half);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_answers),
		CASE(test_split_requests),
		CASE(test_one_request),
		CASE(test_foreign_hosts),
		CASE(test_bad_requests),
		CASE(test_too_long),
		CASE(test_slow_client),
		CASE(test_crowd),
		CASE(test_out_of_descriptors),
		CASE(test_private_only),
		CASE(test_free_with_connections),
	};
	return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
