/* bench.h - what the C programs of the benchmarks share: they run on loopback, against programs that they trust, so
 * whatever does not go as it must ends them with a sentence. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

/* What bodies of messages are made of. */
#define BENCH_LINE "abcdefghij klmnopqrst uvwxyz abcdefghij klmnopqrst uvwxyz abcde\r\n"

#define MUST(x) ((x) ? (void)0 : bench_die(__FILE__, __LINE__, #x))

static inline void bench_die(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s (%s)\n", file, line, what, strerror(errno));
	exit(1);
}

static inline uint64_t bench_number(const char *text)
{
	char *end;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	MUST(errno == 0 && end != text && *end == '\0');
	return n;
}

/* Ends with the program that started it, and may have as many descriptors as the system allows. */
static inline void bench_begin(void)
{
	struct rlimit r;
	MUST(prctl(PR_SET_PDEATHSIG, SIGTERM) == 0);
	MUST(getrlimit(RLIMIT_NOFILE, &r) == 0);
	r.rlim_cur = r.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &r) == 0);
	sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
}

static inline struct sockaddr_in bench_loopback(unsigned host, uint64_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK + host),
		.sin_port = htons((uint16_t)port) };
}

static inline int bench_listen(uint64_t port)
{
	struct sockaddr_in at = bench_loopback(0, port);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	MUST(fd >= 0);
	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
	MUST(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
	MUST(listen(fd, 4096) == 0);
	return fd;
}

static inline void bench_no_delay(int fd)
{
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* A blocking connection. */
static inline int bench_connect(uint64_t port)
{
	struct sockaddr_in to = bench_loopback(0, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(fd >= 0);
	MUST(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
	bench_no_delay(fd);
	return fd;
}

static inline void bench_watch(int epoll, int op, int fd, uint32_t events, void *with)
{
	struct epoll_event e = { .events = events, .data.ptr = with };
	MUST(epoll_ctl(epoll, op, fd, &e) == 0);
}

#endif
