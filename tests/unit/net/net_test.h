/* net_test.h - what the tests of lib/net share: one loop, waiting for a condition, raw sockets. */
#ifndef TESTS_NET_TEST_H
#define TESTS_NET_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/ip.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/listen.h"
#include "net/loop.h"

enum { WAIT_MS = 20000 };

static struct loop *loop;

/* Runs the loop until the condition holds; a test fails when it never does. */
#define WAIT_FOR(condition)                                                                        \
	do {                                                                                       \
		uint64_t ends_ = clock_mono_ms() + WAIT_MS;                                        \
		while (!(condition)) {                                                             \
			if (clock_mono_ms() > ends_)                                               \
				fail_msg("never came true: %s", #condition);                       \
			loop_step(loop, 5);                                                        \
		}                                                                                  \
	} while (0)

/* For what must not happen: everything that is ready gets its turn, several times. */
__attribute__((unused)) static void run_rounds(unsigned n)
{
	while (n-- > 0)
		loop_step(loop, 0);
}

__attribute__((unused)) static int loop_setup(void **state)
{
	loop = loop_new();
	return 0;
}

__attribute__((unused)) static int loop_teardown(void **state)
{
	clock_fake_off();
	loop_free(&loop);
	return 0;
}

/* ---- raw sockets: the side that is not under test ---- */

__attribute__((unused)) static void set_nonblocking(int fd)
{
	assert_true(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) >= 0);
}

/* Two connected ends over TCP on loopback, both non-blocking; v[0] was accepted. */
__attribute__((unused)) static void tcp_pair(int v[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;
	int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(door >= 0);
	assert_int_equal(bind(door, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(door, 1), 0);
	assert_int_equal(getsockname(door, (struct sockaddr *)&at, &n), 0);
	v[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(v[1], (struct sockaddr *)&at, sizeof at), 0);
	v[0] = accept(door, NULL, NULL);
	assert_true(v[0] >= 0);
	close(door);
	set_nonblocking(v[0]);
	set_nonblocking(v[1]);
}

/* Where a socket is bound. */
__attribute__((unused)) static struct ip_port bound_to(int fd)
{
	struct sockaddr_storage sa;
	socklen_t n = sizeof sa;
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
	return ip_from_sockaddr((struct sockaddr *)&sa);
}

/* A listening socket at any port of loopback. */
__attribute__((unused)) static int door_open(struct ip_port *at_out)
{
	assert_true(ip_parse_port(SPAN("127.0.0.1:0"), at_out));
	int fd = listen_open_tcp(*at_out);
	assert_true(fd >= 0);
	*at_out = bound_to(fd);
	return fd;
}

__attribute__((unused)) static bool is_free_at(struct ip_port at, const char *text)
{
	assert_true(ip_parse(span_str(text), &at.addr));
	int fd = listen_open_tcp(at);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* The same, with a port that is free at 127.0.0.2 and 127.0.0.3 too, for a test that needs it there: others have some. */
__attribute__((unused)) static int door_open_of_three(struct ip_port *at_out)
{
	for (unsigned tries = 0; tries < 100; tries++) {
		int fd = door_open(at_out);
		if (is_free_at(*at_out, "127.0.0.2") && is_free_at(*at_out, "127.0.0.3"))
			return fd;
		close(fd);
	}
	fail_msg("no port is free at three addresses");
	return -1;
}

/* A new connection there, non-blocking. */
__attribute__((unused)) static int door_join(struct ip_port at)
{
	struct sockaddr_storage sa;
	socklen_t n = ip_to_sockaddr(at, &sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, n), 0);
	set_nonblocking(fd);
	return fd;
}

__attribute__((unused)) static void unix_pair(int v[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, v), 0);
}

/* The next close() resets the connection. */
__attribute__((unused)) static void close_with_reset(int fd)
{
	struct linger l = { .l_onoff = 1, .l_linger = 0 };
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
	close(fd);
}

/* All of it, running the loop when the kernel takes no more. */
__attribute__((unused)) static void raw_send(int fd, struct span v)
{
	while (v.n > 0) {
		ssize_t put = send(fd, v.p, v.n, MSG_NOSIGNAL);
		if (put < 0 && errno == EAGAIN) {
			loop_step(loop, 1);
			continue;
		}
		assert_true(put > 0);
		v = span_from(v, (size_t)put);
	}
}

enum raw_end { RAW_OPEN, RAW_EOF, RAW_RESET };

/* What is there now, appended to got. */
__attribute__((unused)) static enum raw_end raw_take(int fd, struct buf *got)
{
	char piece[65536];
	for (;;) {
		ssize_t n = recv(fd, piece, sizeof piece, 0);
		if (n == 0)
			return RAW_EOF;
		if (n < 0)
			return errno == EAGAIN ? RAW_OPEN : RAW_RESET;
		assert_true(buf_add(got, piece, (size_t)n));
	}
}

/* Bytes that tell their place: a loss, a repetition or a swap shows. */
__attribute__((unused)) static void fill_pattern(char *p, size_t n, unsigned seed)
{
	uint32_t x = seed * 2654435761u + 1;
	for (size_t i = 0; i < n; i++) {
		x = x * 1664525u + 1013904223u;
		p[i] = (char)(x >> 24);
	}
}

/* ---- the log goes to a file that a test can look at ---- */

static int log_file = -1;

__attribute__((unused)) static void log_catch(void)
{
	char path[] = "/tmp/postern-net-log-XXXXXX";
	log_file = mkstemp(path);
	assert_true(log_file >= 0);
	unlink(path);
	log_set_fd(log_file);
}

/* How many lines hold the words; the log is empty afterwards. */
__attribute__((unused)) static unsigned log_drain(const char *words)
{
	static char text[1 << 20];
	ssize_t n = pread(log_file, text, sizeof text - 1, 0);
	unsigned found = 0;
	text[n > 0 ? n : 0] = '\0';
	for (const char *at = text; *at != '\0' && (at = strstr(at, words)) != NULL; at++)
		found++;
	assert_int_equal(ftruncate(log_file, 0), 0);
	assert_int_equal(lseek(log_file, 0, SEEK_SET), 0);
	return found;
}

#endif
