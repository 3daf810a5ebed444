/* test_listen.c - accepting, the PROXY header at every split, crowds, and running out of descriptors. */
#include "net/net_test.h"

#include <arpa/inet.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "net/listen.h"
#include "net/net_facts.h"
#include "net/stream.h"
#include "proto/proxy_hdr.h"

enum { CROWD = 2000 };

static int door;
static struct ip_port at;
static struct listener *listener;
static struct accepted got[CROWD];
static size_t got_n;
static bool free_in_callback;

static struct ip_prefix loopback_net;
static struct ip_prefixes proxies = { &loopback_net, 1 };
static struct ip_prefixes nobody = { NULL, 0 };

static void on_accept(void *arg, const struct accepted *a)
{
	assert_true(got_n < CROWD);
	assert_true(fcntl(a->fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(a->fd, F_GETFD) & FD_CLOEXEC);
	got[got_n++] = *a;
	if (free_in_callback)
		listener_free(&listener);
}

static void listen_with(const struct ip_prefixes *from, size_t waiting_max)
{
	struct listener_opts o = {
		.proxy_from = from, .proxy_ms = 5000, .proxy_waiting_max = waiting_max
	};
	listener = listener_new(loop, door, &o, on_accept, NULL);
}

static int group_setup(void **state)
{
	struct rlimit r;
	log_catch();
	assert_true(ip_parse_prefix(SPAN("127.0.0.0/8"), &loopback_net));
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	return 0;
}

static int setup(void **state)
{
	loop_setup(state);
	door = door_open(&at);
	got_n = 0;
	free_in_callback = false;
	log_drain("");
	return 0;
}

static void close_got(void)
{
	while (got_n > 0)
		close(got[--got_n].fd);
}

static int teardown(void **state)
{
	listener_free(&listener);
	close_got();
	close(door);
	return loop_teardown(state);
}

static bool is_closed(int fd)
{
	struct buf b = BUF_INIT(100);
	enum raw_end end = raw_take(fd, &b);
	buf_end(&b);
	return end != RAW_OPEN;
}

static uint64_t metric(enum net_metric id)
{
	return metric_get(&net_metrics[id]);
}

/* ---- without a header ---- */

static void test_plain(void **state)
{
	uint64_t before = metric(NET_ACCEPTED);
	listen_with(NULL, 0);
	int fd = door_join(at);
	raw_send(
	    fd, SPAN("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")); /* not a balancer: not looked at */
	WAIT_FOR(got_n == 1);
	assert_false(got[0].proxied || got[0].probe);
	assert_int_equal(got[0].local.port, at.port);
	assert_true(ip_eq(got[0].local.addr, at.addr));
	assert_true(ip_eq(got[0].client.addr, got[0].peer.addr));
	assert_int_equal(got[0].client.port, got[0].peer.port);
	struct buf b = BUF_INIT(100);
	WAIT_FOR(raw_take(got[0].fd, &b) == RAW_OPEN && buf_len(&b) == 36);
	buf_end(&b);
	assert_int_equal(metric(NET_ACCEPTED), before + 1);
	close(fd);
}

static void test_many_at_once(void **state)
{
	int fd[300];
	for (size_t i = 0; i < COUNT_OF(fd); i++)
		fd[i] = door_join(at);
	listen_with(&nobody, 0);
	WAIT_FOR(got_n == COUNT_OF(fd));
	for (size_t i = 0; i < COUNT_OF(fd); i++)
		close(fd[i]);
}

static void test_pause(void **state)
{
	listen_with(NULL, 0);
	listener_pause(listener, true);
	int fd = door_join(at);
	run_rounds(5);
	assert_int_equal(got_n, 0);
	assert_false(loop_step(loop, 0)); /* at rest */
	listener_pause(listener, false);
	WAIT_FOR(got_n == 1);
	close(fd);
}

/* The daemon has shut the socket down, in whichever process: nothing comes, nothing is logged, nobody turns in circles. */
static void test_shut_down(void **state)
{
	listen_with(NULL, 0);
	assert_int_equal(shutdown(door, SHUT_RD), 0);
	run_rounds(5);
	assert_false(loop_step(loop, 0));
	listener_pause(listener, false); /* as when a full worker has room again */
	run_rounds(5);
	assert_false(loop_step(loop, 0));
	assert_int_equal(got_n, 0);
	assert_int_equal(log_drain("net.accept_failed"), 0);
}

static void test_free_in_callback(void **state)
{
	int a = door_join(at), b = door_join(at);
	free_in_callback = true;
	listen_with(NULL, 0);
	WAIT_FOR(got_n == 1);
	run_rounds(3);
	assert_int_equal(got_n, 1); /* the second one stays in the queue for another worker */
	free_in_callback = false;
	listen_with(NULL, 0);
	WAIT_FOR(got_n == 2);
	listener_free(&listener);
	/* The same from a header's bytes. */
	free_in_callback = true;
	listen_with(&proxies, 10);
	int c = door_join(at);
	raw_send(c, SPAN("PROXY UNKNOWN\r\n"));
	WAIT_FOR(got_n == 3);
	close(a);
	close(b);
	close(c);
}

/* accept() fails: told once, tried again later, nothing spins, nothing is lost. */
static void test_out_of_descriptors(void **state)
{
	struct rlimit before, none;
	uint64_t failures = metric(NET_ACCEPT_FAILURES);
	listen_with(NULL, 0);
	int fd = door_join(at), lowest = dup(0);
	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)lowest;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	WAIT_FOR(metric(NET_ACCEPT_FAILURES) == failures + 1);
	assert_false(loop_step(loop, 0)); /* at rest though the connection waits */
	WAIT_FOR(metric(NET_ACCEPT_FAILURES) == failures + 2);
	assert_int_equal(got_n, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	WAIT_FOR(got_n == 1);
	assert_int_equal(log_drain("net.accept_failed"), 1);
	close(fd);
}

/* ---- with a header ---- */

static const char v1[] = "PROXY TCP4 192.0.2.7 198.51.100.9 40000 993\r\n";
static const char v1_six[] = "PROXY TCP6 2001:db8::7 2001:db8::9 40000 993\r\n";
static const char v1_unknown[] = "PROXY UNKNOWN\r\n";

/* The header in two parts, the session's first bytes with the second: all are told apart. */
static void check_split(struct span header, size_t k, const struct accepted *want)
{
	struct buf b = BUF_INIT(100), rest = BUF_INIT(8192);
	listen_with(&proxies, 10);
	int fd = door_join(at);
	raw_send(fd, span_first(header, k));
	run_rounds(4);
	assert_int_equal(got_n, k == header.n);
	buf_add_span(&rest, span_from(header, k));
	buf_add_str(&rest, "EHLO me\r\n");
	raw_send(fd, buf_span(&rest));
	WAIT_FOR(got_n == 1);
	assert_int_equal(got[0].proxied, want->proxied);
	assert_int_equal(got[0].probe, want->probe);
	if (want->proxied) {
		assert_true(ip_eq(got[0].client.addr, want->client.addr));
		assert_true(ip_eq(got[0].local.addr, want->local.addr));
		assert_int_equal(got[0].client.port, want->client.port);
		assert_int_equal(got[0].local.port, want->local.port);
	} else {
		assert_int_equal(got[0].client.port, got[0].peer.port);
		assert_int_equal(got[0].local.port, at.port);
	}
	assert_true(ip_is_loopback(got[0].peer.addr));
	WAIT_FOR(raw_take(got[0].fd, &b) == RAW_OPEN && buf_len(&b) == 9);
	assert_memory_equal(buf_span(&b).p, "EHLO me\r\n", 9);
	buf_end(&b);
	buf_end(&rest);
	close(fd);
	close_got();
	listener_free(&listener);
}

static void test_header_at_every_split(void **state)
{
	struct accepted four = { .proxied = true }, six = { .proxied = true },
			probe = { .probe = true };
	struct buf v2 = BUF_INIT(4096), v2_six = BUF_INIT(4096), v2_local = BUF_INIT(4096);
	assert_true(ip_parse_port(SPAN("192.0.2.7:40000"), &four.client));
	assert_true(ip_parse_port(SPAN("198.51.100.9:993"), &four.local));
	assert_true(ip_parse_port(SPAN("[2001:db8::7]:40000"), &six.client));
	assert_true(ip_parse_port(SPAN("[2001:db8::9]:993"), &six.local));
	assert_true(proxy_hdr_put(&v2, four.client, four.local));
	assert_true(proxy_hdr_put(&v2_six, six.client, six.local));
	assert_true(proxy_hdr_put_local(&v2_local));
	const struct {
		struct span header;
		const struct accepted *want;
	} cases[] = {
		{ span_str(v1), &four },
		{ span_str(v1_six), &six },
		{ span_str(v1_unknown), &probe },
		{ buf_span(&v2), &four },
		{ buf_span(&v2_six), &six },
		{ buf_span(&v2_local), &probe },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		for (size_t k = 0; k <= cases[i].header.n; k++)
			check_split(cases[i].header, k, cases[i].want);
	assert_int_equal(log_drain("net.proxy_bad"), 0);
	buf_end(&v2);
	buf_end(&v2_six);
	buf_end(&v2_local);
}

/* A header of the greatest length with TLVs, one byte at a time, is fine; one byte more is not. */
static void test_longest_header(void **state)
{
	struct accepted four = { .proxied = true };
	struct buf h = BUF_INIT(8192);
	assert_true(ip_parse_port(SPAN("192.0.2.7:40000"), &four.client));
	assert_true(ip_parse_port(SPAN("198.51.100.9:993"), &four.local));
	assert_true(proxy_hdr_put(&h, four.client, four.local));
	size_t tlv = PROXY_V2_MAX - buf_len(&h) - 3;
	buf_add_char(&h, '\x04'); /* PP2_TYPE_NOOP */
	buf_add_char(&h, (char)(tlv >> 8));
	buf_add_char(&h, (char)(tlv & 0xff));
	while (buf_len(&h) < PROXY_V2_MAX)
		buf_add_char(&h, '.');
	h.p[h.head + 14] = (char)((PROXY_V2_MAX - 16) >> 8);
	h.p[h.head + 15] = (char)((PROXY_V2_MAX - 16) & 0xff);
	check_split(buf_span(&h), 0, &four);
	check_split(buf_span(&h), 2000, &four);
	check_split(buf_span(&h), PROXY_V2_MAX - 1, &four);
	buf_end(&h);
}

static void test_bad_headers(void **state)
{
	static const char longer[] =
	    "PROXY TCP4 1111111111111111111111111111111111111111111111111111"
	    "11111111111111111111111111111111111111111111111111111111111";
	static const char v2_long[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff";
	const struct span cases[] = { SPAN("EHLO me\r\n"), SPAN("P\r\n"), SPAN("\x16\x03\x01\x02"),
		SPAN("PROXY TCP4 300.0.2.1 192.0.2.2 1 2\r\n"), SPAN("PROXY TCP4\r\n"),
		span_of(longer, sizeof longer - 1), span_of(v2_long, 16) };
	uint64_t before = metric(NET_PROXY_BAD);
	listen_with(&proxies, 10);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int fd = door_join(at);
		raw_send(fd, cases[i]);
		WAIT_FOR(is_closed(fd));
		assert_int_equal(metric(NET_PROXY_BAD), before + i + 1);
		close(fd);
	}
	assert_int_equal(got_n, 0);
	assert_int_equal(log_drain("net.proxy_bad"), COUNT_OF(cases));
}

/* A balancer that only looks whether the port answers is a health check as any; one that begins a header must end it. */
static void test_closed_without_header(void **state)
{
	uint64_t bad = metric(NET_PROXY_BAD), probes = metric(NET_PROXY_PROBES);
	listen_with(&proxies, 10);
	close(door_join(at));
	WAIT_FOR(metric(NET_PROXY_PROBES) == probes + 1);
	int fd = door_join(at); /* it is accepted first */
	run_rounds(4);
	close_with_reset(fd);
	WAIT_FOR(metric(NET_PROXY_PROBES) == probes + 2);
	assert_int_equal(metric(NET_PROXY_BAD), bad);
	assert_int_equal(log_drain("net.proxy_bad"), 0);
	fd = door_join(at);
	raw_send(fd, SPAN("PROXY TCP4"));
	run_rounds(4);
	close_with_reset(fd);
	WAIT_FOR(metric(NET_PROXY_BAD) == bad + 1);
	assert_int_equal(log_drain("net.proxy_bad"), 1);
	assert_int_equal(got_n, 0);
}

/* The clock runs for the whole header, not for each byte of it. */
static void test_header_too_late(void **state)
{
	uint64_t before = metric(NET_ACCEPTED);
	clock_fake(1000, 0);
	listen_with(&proxies, 10);
	int silent = door_join(at), slow = door_join(at);
	WAIT_FOR(metric(NET_ACCEPTED) == before + 2);
	for (int i = 0; i < 4; i++) {
		clock_fake_advance(1200);
		raw_send(slow, span_of(v1 + i, 1));
		run_rounds(3);
		assert_false(is_closed(slow) || is_closed(silent));
	}
	clock_fake_advance(200);
	run_rounds(3);
	assert_true(is_closed(silent));
	assert_true(is_closed(slow));
	assert_int_equal(got_n, 0);
	assert_int_equal(log_drain("in time"), 2);
	close(silent);
	close(slow);
}

/* ---- handing over after a wait: the loop watches the descriptor all the time, and no longer than it is open ---- */

static struct stream *taken;
static int reused_fd;
static struct watch *reused;
static unsigned reused_events, stream_inputs;

static void on_taken(void *arg, enum stream_event ev)
{
	stream_inputs += ev == STREAM_INPUT;
}

static void take_as_stream(void *arg, const struct accepted *a)
{
	struct stream_limits limits = { 1000, 1000 };
	taken = stream_accepted(loop, a->fd, limits, on_taken, NULL);
}

static void on_reused(void *arg, unsigned events)
{
	char byte;
	reused_events++;
	assert_int_equal(read(reused_fd, &byte, 1), 1);
}

/* Its number is somebody else's before the callback is over. */
static void turn_away(void *arg, const struct accepted *a)
{
	accepted_close(a);
	reused_fd = dup(((const int *)arg)[0]);
	assert_int_equal(reused_fd, a->fd);
	reused = watch_new(loop, reused_fd, on_reused, NULL);
	watch_set(reused, WATCH_READ);
}

static int wait_for_header(accept_fn *fn, void *arg)
{
	struct listener_opts o = {
		.proxy_from = &proxies, .proxy_ms = 5000, .proxy_waiting_max = 10
	};
	listener = listener_new(loop, door, &o, fn, arg);
	int fd = door_join(at);
	WAIT_FOR(listener_waiting(listener) == 1);
	return fd;
}

static void test_taken_after_wait(void **state)
{
	int fd = wait_for_header(take_as_stream, NULL);
	raw_send(fd, span_str(v1));
	WAIT_FOR(taken != NULL);
	run_rounds(3);
	stream_inputs = 0;
	raw_send(fd, SPAN("HELO"));
	WAIT_FOR(stream_inputs > 0);
	assert_true(span_eq_str(stream_input(taken), "HELO"));
	stream_free(&taken);
	close(fd);
}

static void test_turned_away_after_wait(void **state)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	int fd = wait_for_header(turn_away, ends);
	raw_send(fd, span_str(v1));
	WAIT_FOR(is_closed(fd));
	assert_int_equal(write(ends[1], "x", 1), 1);
	WAIT_FOR(reused_events == 1);
	watch_free(&reused);
	close(reused_fd);
	close(ends[0]);
	close(ends[1]);
	close(fd);
}

/* 2000 peers that say nothing hold no more than was allowed; one log line; then there is room. */
static void test_silent_crowd(void **state)
{
	static int fd[CROWD];
	unsigned closed = 0;
	uint64_t before = metric(NET_ACCEPTED);
	listen_with(&proxies, 50);
	for (size_t i = 0; i < CROWD; i++) {
		fd[i] = door_join(at);
		loop_step(loop, 0);
	}
	WAIT_FOR(metric(NET_ACCEPTED) == before + CROWD);
	for (size_t i = 0; i < CROWD; i++)
		closed += is_closed(fd[i]);
	assert_int_equal(closed, CROWD - 50);
	assert_int_equal(log_drain("net.proxy_crowd"), 1);
	raw_send(fd[0], span_str(v1)); /* those that wait are served */
	WAIT_FOR(got_n == 1);
	raw_send(fd[1], SPAN("QUIT\r\n"));
	WAIT_FOR(is_closed(fd[1]));
	int late = door_join(at);
	raw_send(late, span_str(v1));
	WAIT_FOR(got_n == 2);
	listener_free(&listener); /* with 48 that wait */
	for (size_t i = 0; i < CROWD; i++) {
		assert_true(i == 0 || is_closed(fd[i]));
		close(fd[i]);
	}
	close(late);
}

/* ---- opening ---- */

static void test_open_tcp(void **state)
{
	assert_int_equal(listen_open_tcp(at), -1); /* in use */
	assert_int_equal(errno, EADDRINUSE);
	struct ip_port six;
	int only = 0;
	socklen_t n = sizeof only;
	assert_true(ip_parse_port(SPAN("[::1]:0"), &six));
	int fd = listen_open_tcp(six);
	if (fd < 0) /* a host without IPv6 */
		return;
	assert_int_equal(getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &n), 0);
	assert_int_equal(only, 1);
	close(fd);
}

static void test_open_unix(void **state)
{
	char dir[] = "/tmp/postern-listen-XXXXXX", path[200], longer[200];
	struct stat st;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/sock", dir);
	int first = listen_open_unix(path, 0640);
	assert_true(first >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0640);
	int second = listen_open_unix(path, 0600); /* an old one is replaced */
	assert_true(second >= 0);
	/* A unix socket has no address that could be in proxy_from. */
	struct listener_opts o = {
		.proxy_from = &proxies, .proxy_ms = 1000, .proxy_waiting_max = 1
	};
	struct listener *unix_one = listener_new(loop, second, &o, on_accept, NULL);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	snprintf(sa.sun_path, sizeof sa.sun_path, "%.100s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
	WAIT_FOR(got_n == 1);
	assert_true(ip_is_none(got[0].client.addr));
	assert_false(got[0].proxied);
	listener_free(&unix_one);
	close(fd);
	close(first);
	close(second);
	unlink(path);
	int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); /* a file is not */
	assert_int_equal(listen_open_unix(path, 0600), -1);
	assert_int_equal(errno, EEXIST);
	close(file);
	unlink(path);
	memset(longer, 'x', sizeof longer);
	longer[0] = '/';
	longer[sizeof longer - 1] = '\0';
	assert_int_equal(listen_open_unix(longer, 0600), -1);
	assert_int_equal(errno, ENAMETOOLONG);
	rmdir(dir);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_plain),
		CASE(test_many_at_once),
		CASE(test_pause),
		CASE(test_shut_down),
		CASE(test_free_in_callback),
		CASE(test_out_of_descriptors),
		CASE(test_header_at_every_split),
		CASE(test_longest_header),
		CASE(test_bad_headers),
		CASE(test_closed_without_header),
		CASE(test_header_too_late),
		CASE(test_taken_after_wait),
		CASE(test_turned_away_after_wait),
		CASE(test_silent_crowd),
		CASE(test_open_tcp),
		CASE(test_open_unix),
	};
	return cmocka_run_group_tests_name("listen", tests, group_setup, NULL);
}
