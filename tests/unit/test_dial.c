/* test_dial.c - outgoing connections: every way to fail, several addresses, cancelling at each moment. */
#include "net/certs.h"
#include "net/end.h"
#include "net/fake_ns.h"

#include "net/dial.h"
#include "net/listen.h"

static struct fake_ns ns;
static struct dns *dns;

static void on_question(struct ns_reply *r)
{
	if (strcmp(r->name, "one.test") == 0)
		put_addr(r, r->name, 0, "127.0.0.1");
	else if (strcmp(r->name, "mail.example") == 0 || strcmp(r->name, "other.example") == 0)
		put_addr(r, r->name, 60, "127.0.0.1");
	else if (strcmp(r->name, "silent.test") == 0)
		r->drop = true;
	else if (strcmp(r->name, "fail.test") == 0)
		r->rcode = 2;
	else if (strcmp(r->name, "three.test") == 0) {
		put_addr(r, r->name, 60, "127.0.0.2"); /* nobody listens there */
		put_addr(r, r->name, 60, "127.0.0.3"); /* does not answer */
		put_addr(r, r->name, 60, "127.0.0.1");
	} else if (strcmp(r->name, "here.test") == 0) {
		put_addr(r, r->name, 60, "127.0.0.1");
		put_addr(r, r->name, 60, "0.0.0.0");
		put_addr(r, r->name, 60, "0.1.2.3");
		put_addr(r, r->name, 60, "224.0.0.1");
		put_addr(r, r->name, 60, "::1");
		put_addr(r, r->name, 60, "::");
		put_addr(r, r->name, 60, "ff02::1");
	} else {
		r->rcode = 3;
	}
}

/* ---- the server: accepts, keeps what comes, may speak TLS ---- */

static int door, full;
static struct listener *listener;
static struct ip_port at;
static struct end peer;
static struct tls_ctx *server, *client;
static bool speak_tls;
static bool greets;          /* dials expect it of the server ... */
static const char *greeting; /* ... that keeps silent where this is NULL */

static void on_accept(void *arg, const struct accepted *a)
{
	end_end(&peer);
	end_begin(&peer, a->fd, 1000, 1000);
	if (speak_tls)
		stream_start_tls_server(peer.s, server);
	if (greeting != NULL)
		stream_write(peer.s, greeting, strlen(greeting));
}

static int setup(void **state)
{
	static const struct listener_opts none;
	loop_setup(state);
	fake_ns_begin(&ns, on_question);
	struct dns_opts o = { .servers = &ns.at, .server_count = 1, .deadline_ms = 3000 };
	dns = dns_new(loop, &o);
	door = door_open_of_three(&at);
	listener = listener_new(loop, door, &none, on_accept, NULL);
	peer = (struct end){ .s = NULL };
	speak_tls = false;
	greeting = NULL;
	return 0;
}

static int teardown(void **state)
{
	end_end(&peer);
	listener_free(&listener);
	close(door);
	dns_free(&dns);
	fake_ns_end(&ns);
	return loop_teardown(state);
}

/* A socket that listens and whose queue is full: connecting to it gets no answer at all. */
static int queue_filler[8];

static void open_full(const char *text)
{
	struct sockaddr_storage sa;
	struct ip_port here = at;
	int on = 1;
	assert_true(ip_parse(span_str(text), &here.addr));
	socklen_t n = ip_to_sockaddr(here, &sa);
	full = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(full, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	assert_int_equal(bind(full, (struct sockaddr *)&sa, n), 0);
	assert_int_equal(listen(full, 0), 0);
	for (size_t i = 0; i < COUNT_OF(queue_filler); i++) {
		queue_filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)!connect(queue_filler[i], (struct sockaddr *)&sa, n);
	}
}

static void close_full(void)
{
	for (size_t i = 0; i < COUNT_OF(queue_filler); i++)
		close(queue_filler[i]);
	close(full);
}

/* ---- dialling ---- */

static struct ticket *dial;
static unsigned answered;
static err_t err;
static char words[256];
static struct ip_port tried;
static size_t tried_n;
static bool more;
static struct end mine;

static void on_dialled(void *arg, const struct dial_result *r)
{
	dial = NULL;
	answered++;
	err = r->err;
	tried = r->addr;
	tried_n = r->tried;
	more = r->more;
	snprintf(words, sizeof words, "%s", r->text);
	assert_true((r->err == ERR_OK) == (r->stream != NULL));
	mine =
	    (struct end){ .s = r->stream, .got = BUF_INIT(10000), .free_at = -1, .close_at = -1 };
	if (r->stream != NULL)
		stream_set_owner(
		    r->stream, (struct stream_limits){ 1000, 1000 }, on_end_event, &mine);
}

static struct dial_target target(const char *host)
{
	return (struct dial_target){ .host = span_str(host),
		.port = at.port,
		.greets = greets,
		.deadline_ms = WAIT_MS,
		.limits = { 1000, 1000 } };
}

static void start(const struct dial_target *t)
{
	answered = 0;
	dial = dial_start(loop, dns, t, on_dialled, NULL);
	assert_non_null(dial);
	assert_int_equal(answered, 0); /* never inside the call */
}

static void finish(const struct dial_target *t, err_t want)
{
	start(t);
	WAIT_FOR(answered == 1);
	if (err != want)
		fail_msg("wanted %s, got %s: %s", err_name(want), err_name(err), words);
	run_rounds(2);
	assert_int_equal(answered, 1);
}

static void test_connects(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "one.test", "three.test", "localhost" };
	for (size_t i = 0; i < COUNT_OF(hosts); i++) {
		struct dial_target t = target(hosts[i]);
		t.first = SPAN("first,");
		finish(&t, ERR_OK);
		assert_true(ip_eq(tried.addr, at.addr));
		assert_int_equal(tried.port, at.port);
		stream_write(mine.s, "then", 4);
		WAIT_FOR(peer.s != NULL && buf_len(&peer.got) == 10);
		assert_memory_equal(buf_span(&peer.got).p, "first,then", 10);
		end_end(&mine);
	}
}

/* What the server says before anybody listens is kept for the owner. */
static void test_early_bytes(void **state)
{
	struct dial_target t = target("127.0.0.1");
	finish(&t, ERR_OK);
	WAIT_FOR(peer.s != NULL);
	stream_write(peer.s, "220 hello\r\n", 11);
	WAIT_FOR(buf_len(&mine.got) == 11);
	end_end(&mine);
}

/* The first words and the connection come together, once; an end comes as one. */
static void test_greeting(void **state)
{
	struct dial_target t = target("three.test");
	greeting = "220 here\r\n";
	finish(&t, ERR_OK);
	WAIT_FOR(buf_len(&mine.got) == 10);
	run_rounds(3);
	assert_int_equal(buf_len(&mine.got), 10);
	stream_write(mine.s, "QUIT\r\n", 6);
	WAIT_FOR(buf_len(&peer.got) == 6);
	end_end(&peer);
	WAIT_FOR(mine.n[STREAM_EOF] == 1);
	end_end(&mine);
}

static void test_fails(void **state)
{
	static const struct {
		const char *host;
		err_t want;
	} cases[] = {
		{ "127.0.0.2", ERR_CONN_REFUSED },
		{ "gone.test", ERR_DNS_ABSENT },
		{ "fail.test", ERR_DNS_FAILED },
		{ "bad name", ERR_DNS_ABSENT },
		{ "", ERR_SYNTAX },
		{ "/nowhere/at/all", ERR_NOT_FOUND },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct dial_target t = target(cases[i].host);
		finish(&t, cases[i].want);
		assert_true(words[0] != '\0');
	}
	struct dial_target t = target("x");
	t.host = SPAN("one.test\0.evil");
	finish(&t, ERR_SYNTAX);
	char longest[2000];
	memset(longest, 'a', sizeof longest);
	t.host = span_of(longest, sizeof longest);
	finish(&t, ERR_SYNTAX);
	longest[0] = '/';
	t.host = span_of(longest, 200);
	finish(&t, ERR_TOO_LONG);
	t = target("127.0.0.1");
	t.first = span_of(longest, sizeof longest); /* more than the output may hold */
	finish(&t, ERR_TOO_LONG);
	dns_free(&dns);
	t = target("one.test");
	finish(&t, ERR_CONFIG);
}

static void test_deadline(void **state)
{
	open_full("127.0.0.3");
	struct dial_target t = target("127.0.0.3");
	t.deadline_ms = 60;
	uint64_t from = clock_mono_ms();
	finish(&t, ERR_TIMEOUT);
	assert_true(clock_mono_ms() - from >= 60);
	assert_non_null(strstr(words, "while connecting"));
	t = target("silent.test");
	t.deadline_ms = 60;
	finish(&t, ERR_TIMEOUT);
	assert_non_null(strstr(words, "while looking up"));
	t = target("127.0.0.1"); /* accepts, and says nothing of TLS */
	client = test_client(TLS_VERIFY_NONE);
	t.tls = client;
	t.deadline_ms = 60;
	finish(&t, ERR_TIMEOUT);
	assert_non_null(strstr(words, "during the TLS handshake"));
	tls_ctx_unref(&client);
	close_full();
}

/* One refuses, one is silent: the third gets its turn within the deadline of all. */
static void test_next_address(void **state)
{
	open_full("127.0.0.3");
	struct dial_target t = target("three.test");
	t.deadline_ms = 3000;
	uint64_t from = clock_mono_ms();
	finish(&t, ERR_OK);
	assert_true(clock_mono_ms() - from < 2500);
	assert_true(ip_eq(tried.addr, at.addr));
	end_end(&mine);
	close_full();
}

/* Whoever has been at the first goes on behind them; a name with fewer by then begins anew. */
static void test_skipped_addresses(void **state)
{
	struct dial_target t = target("three.test");
	struct ip_port before = at;
	assert_true(ip_parse(SPAN("127.0.0.2"), &before.addr));
	int other = listen_open_tcp(before); /* would take it */
	assert_true(other >= 0);
	t.skip = 2;
	finish(&t, ERR_OK);
	close(other);
	assert_true(ip_eq(tried.addr, at.addr));
	assert_int_equal(tried_n, 3);
	assert_false(more);
	end_end(&mine);
	t = target("one.test");
	t.skip = 1;
	finish(&t, ERR_OK);
	assert_int_equal(tried_n, 1);
	end_end(&mine);
}

/* No stranger's name leads back to this host. */
static void test_foreign_names(void **state)
{
	static const char *const hosts[] = { "here.test", "localhost", "127.0.0.1", "::1",
		"0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "::", "ff02::1" };
	for (size_t i = 0; i < COUNT_OF(hosts); i++) {
		struct dial_target t = target(hosts[i]);
		t.foreign = true;
		finish(&t, ERR_DNS_ABSENT);
		assert_non_null(strstr(words, "no address"));
	}
	assert_null(peer.s);
	struct dial_target t = target("gone.test");
	t.foreign = true;
	finish(&t, ERR_DNS_ABSENT);
	t = target("fail.test");
	t.foreign = true;
	finish(&t, ERR_DNS_FAILED);
}

static void test_unix_socket(void **state)
{
	static const struct listener_opts none;
	char path[] = "/tmp/postern-dial-XXXXXX";
	close(mkstemp(path));
	unlink(path);
	int fd = listen_open_unix(path, 0600);
	struct listener *l = listener_new(loop, fd, &none, on_accept, NULL);
	struct dial_target t = target(path);
	t.first = SPAN("hello");
	finish(&t, ERR_OK);
	WAIT_FOR(peer.s != NULL && buf_len(&peer.got) == 5);
	end_end(&mine);
	listener_free(&l);
	close(fd);
	finish(&t, ERR_CONN_REFUSED);
	unlink(path);
	finish(&t, ERR_NOT_FOUND);
}

/* ---- TLS ---- */

static void test_tls(void **state)
{
	static const struct {
		const char *host, *name;
		enum tls_verify verify;
		err_t want;
	} cases[] = {
		{ "mail.example", NULL, TLS_VERIFY_NAME, ERR_OK },
		{ "127.0.0.1", NULL, TLS_VERIFY_NAME, ERR_OK }, /* by its address */
		{ "127.0.0.1", "mail.example", TLS_VERIFY_NAME, ERR_OK },
		{ "other.example", NULL, TLS_VERIFY_NAME, ERR_TLS_UNVERIFIED },
		{ "other.example", NULL, TLS_VERIFY_CHAIN, ERR_OK },
		{ "other.example", NULL, TLS_VERIFY_NONE, ERR_OK },
	};
	server = test_server();
	speak_tls = true;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct dial_target t = target(cases[i].host);
		client = test_client(cases[i].verify);
		t.tls = client;
		t.tls_name = cases[i].name;
		finish(&t, cases[i].want);
		if (err == ERR_OK) {
			assert_true(stream_is_tls(mine.s));
			stream_write(mine.s, "secret", 6);
			WAIT_FOR(buf_len(&peer.got) == 6);
		} else {
			assert_non_null(strstr(words, "certificate: "));
		}
		end_end(&mine);
		tls_ctx_unref(&client);
	}
	tls_ctx_unref(&server);
}

/* The bytes that go first go in plaintext, before TLS. */
static void test_first_bytes_before_tls(void **state)
{
	client = test_client(TLS_VERIFY_NONE);
	struct dial_target t = target("127.0.0.1");
	t.tls = client;
	t.first = SPAN("PROXY UNKNOWN\r\n");
	start(&t);
	WAIT_FOR(peer.s != NULL && buf_len(&peer.got) > 16);
	assert_memory_equal(buf_span(&peer.got).p, "PROXY UNKNOWN\r\n\x16\x03", 17);
	stream_write(peer.s, "* OK not TLS\r\n", 14);
	WAIT_FOR(answered == 1);
	assert_int_equal(err, ERR_TLS_HANDSHAKE);
	tls_ctx_unref(&client);
}

/* ---- cancelling ---- */

static void test_cancel(void **state)
{
	server = test_server();
	client = test_client(TLS_VERIFY_NAME);
	speak_tls = true;
	static const char *const hosts[] = { "mail.example", "silent.test", "three.test",
		"127.0.0.1" };
	for (size_t i = 0; i < COUNT_OF(hosts); i++)
		for (unsigned rounds = 0; rounds < 14; rounds++) {
			struct dial_target t = target(hosts[i]);
			t.tls = client;
			t.tls_name = "mail.example";
			start(&t);
			run_rounds(rounds);
			unsigned before = answered;
			if (dial != NULL)
				ticket_cancel(&dial);
			run_rounds(5);
			assert_int_equal(answered, before);
			if (answered > 0)
				end_end(&mine);
		}
	tls_ctx_unref(&client);
	tls_ctx_unref(&server);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_connects),
		CASE(test_early_bytes),
		CASE(test_greeting),
		CASE(test_fails),
		CASE(test_deadline),
		CASE(test_next_address),
		CASE(test_skipped_addresses),
		CASE(test_foreign_names),
		CASE(test_unix_socket),
		CASE(test_tls),
		CASE(test_first_bytes_before_tls),
		CASE(test_cancel),
	};
	int failed = cmocka_run_group_tests_name("dial", tests, certs_setup, certs_teardown);
	greets = true;
	return failed +
	       cmocka_run_group_tests_name("dial, greets", tests, certs_setup, certs_teardown);
}
