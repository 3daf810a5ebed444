/* mail_load.c - load for bench/edge-out: CLIENTS connections that send COUNT messages by SMTP, each as soon as its
 * last was answered, with pipelining (RFC 2920) where it is offered.
 * Usage: mail_load PORT CLIENTS COUNT SIZE FIRST FRESH RECIPIENT
 *
 * Message m carries X-Number: FIRST + m. FRESH 1: a connection for each message. Prints "seconds S taken N refused N
 * p50_ms P p99_ms P": seconds from the first connection to the last answer, and how long one message takes from
 * MAIL (FRESH: from the connection) to its answer. */
#include "base/clock.h"
#include "bench/bench.h"

enum { CLIENTS_MAX = 1024, SIZE_BYTES_MAX = 64 * 1024 * 1024, COUNT_MAX = 4000000, IN_MAX = 8192 };
enum step { GREETING, HELLO, MAIL, RCPT, DATA, BODY, TAKEN, IDLE };

struct client {
	int fd;
	enum step step;
	size_t in_n, head_n, head_at, body_at;
	uint64_t begun_us;
	char in[IN_MAX], head[1000];
};

static struct {
	unsigned port, clients, count, size, first, fresh;
	const char *recipient;
} job;
static struct client clients[CLIENTS_MAX];
static unsigned started, taken, refused, running;
static uint32_t *took_us;
static char *body;
static size_t body_n;
static int poll_fd;

static int pipelining; /* the server offers it */

static void say(struct client *c, const char *text)
{
	MUST(send(c->fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

static void want(struct client *c, unsigned events)
{
	bench_watch(poll_fd, EPOLL_CTL_MOD, c->fd, events, c);
}

static void dial(struct client *c)
{
	c->begun_us = clock_wall_us();
	c->fd = bench_connect(job.port);
	c->step = GREETING;
	c->in_n = 0;
	bench_watch(poll_fd, EPOLL_CTL_ADD, c->fd, EPOLLIN, c);
}

/* The next message, or the end of this client. */
static void begin(struct client *c)
{
	char text[500];
	if (started == job.count) {
		say(c, "QUIT\r\n");
		close(c->fd);
		c->step = IDLE;
		running--;
		return;
	}
	if (!job.fresh)
		c->begun_us = clock_wall_us();
	c->head_n = (size_t)snprintf(c->head, sizeof c->head,
	    "From: <visitor@elsewhere.example>\r\nTo: <%s>\r\nSubject: bench\r\n"
	    "Message-ID: <%u@bench.example>\r\nDate: Tue, 24 Nov 2026 00:00:00 +0000\r\n"
	    "X-Number: %u\r\n\r\n",
	    job.recipient, job.first + started, job.first + started);
	started++;
	c->head_at = c->body_at = 0;
	snprintf(text, sizeof text,
	    "MAIL FROM:<visitor@elsewhere.example>\r\nRCPT TO:<%s>\r\nDATA\r\n", job.recipient);
	say(c, pipelining ? text : "MAIL FROM:<visitor@elsewhere.example>\r\n");
	c->step = MAIL;
}

/* Without pipelining: the next command behind a reply. */
static void go_on(struct client *c)
{
	char text[500];
	if (c->step != MAIL && c->step != RCPT)
		return;
	snprintf(text, sizeof text, "RCPT TO:<%s>\r\n", job.recipient);
	say(c, c->step == MAIL ? text : "DATA\r\n");
}

static size_t push(struct client *c, const char *p, size_t n)
{
	ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
	MUST(sent >= 0 || errno == EAGAIN);
	return sent < 0 ? 0 : (size_t)sent;
}

static void send_body(struct client *c)
{
	if (c->head_at < c->head_n)
		c->head_at += push(c, c->head + c->head_at, c->head_n - c->head_at);
	if (c->head_at == c->head_n && c->body_at < body_n)
		c->body_at += push(c, body + c->body_at, body_n - c->body_at);
	if (c->body_at < body_n) {
		want(c, EPOLLIN | EPOLLOUT);
		return;
	}
	say(c, ".\r\n");
	c->step = TAKEN;
	want(c, EPOLLIN);
}

static void answered(struct client *c, int good)
{
	took_us[taken + refused] = (uint32_t)(clock_wall_us() - c->begun_us);
	taken += good != 0;
	refused += good == 0;
	if (!job.fresh) {
		begin(c);
		return;
	}
	say(c, "QUIT\r\n");
	close(c->fd);
	if (started < job.count) {
		dial(c);
	} else {
		c->step = IDLE;
		running--;
	}
}

static void on_reply(struct client *c, const char *line)
{
	static const char *const want_code[] = {
		[GREETING] = "220", [HELLO] = "250", [MAIL] = "250", [RCPT] = "250", [DATA] = "354"
	};
	if (c->step == TAKEN) {
		answered(c, line[0] == '2');
		return;
	}
	if (c->step > DATA || strncmp(line, want_code[c->step], 3) != 0) {
		fprintf(stderr, "mail_load: unexpected: %.200s\n", line);
		exit(1);
	}
	if (c->step == GREETING)
		say(c, "EHLO load.example\r\n");
	if (c->step == HELLO) {
		begin(c);
		return;
	}
	if (!pipelining)
		go_on(c);
	c->step++;
	if (c->step == BODY)
		send_body(c);
}

static void on_readable(struct client *c)
{
	ssize_t got = recv(c->fd, c->in + c->in_n, IN_MAX - 1 - c->in_n, MSG_DONTWAIT);
	if (got < 0 && errno == EAGAIN)
		return;
	MUST(got > 0);
	c->in_n += (size_t)got;
	c->in[c->in_n] = '\0';
	char *end, *at = c->in;
	while (c->in_n > 0 && (end = strchr(at, '\n')) != NULL) {
		char line[IN_MAX];
		size_t n = (size_t)(end + 1 - at);
		memcpy(line, at, n);
		line[n] = '\0';
		at = end + 1;
		c->in_n -= n;
		if (c->step == HELLO && strstr(line, "PIPELINING") != NULL)
			pipelining = 1;
		if (n > 3 && line[3] != '-')
			on_reply(c, line);
		if (c->step == GREETING || c->step == IDLE)
			return; /* another connection now, or none */
	}
	memmove(c->in, at, c->in_n);
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static void make_body(void)
{
	static const char line[] = BENCH_LINE;
	body = malloc(job.size + sizeof line);
	MUST(body != NULL);
	while (body_n < job.size) {
		memcpy(body + body_n, line, sizeof line - 1);
		body_n += sizeof line - 1;
	}
}

static unsigned number(const char *text, unsigned most)
{
	uint64_t v = bench_number(text);
	return v > most ? most : (unsigned)v;
}

int main(int argc, char **argv)
{
	MUST(argc == 8);
	job.port = number(argv[1], 65535);
	job.clients = number(argv[2], CLIENTS_MAX);
	job.count = number(argv[3], COUNT_MAX);
	job.size = number(argv[4], SIZE_BYTES_MAX);
	job.first = number(argv[5], COUNT_MAX);
	job.fresh = number(argv[6], 1);
	job.recipient = argv[7];
	make_body();
	took_us = calloc(job.count, sizeof *took_us);
	poll_fd = epoll_create1(0);
	MUST(took_us != NULL && job.count > 0);
	uint64_t begun = clock_wall_us();
	for (unsigned i = 0; i < job.clients && i < job.count; i++, running++)
		dial(&clients[i]);
	while (running > 0) {
		struct epoll_event ev[64];
		int n = epoll_wait(poll_fd, ev, 64, 60000);
		MUST(n > 0); /* an answer within a minute */
		for (int i = 0; i < n; i++) {
			struct client *c = ev[i].data.ptr;
			if (c->step == BODY && (ev[i].events & EPOLLOUT) != 0)
				send_body(c);
			if ((ev[i].events & ~(unsigned)EPOLLOUT) != 0)
				on_readable(c);
		}
	}
	qsort(took_us, job.count, sizeof *took_us, by_size);
	printf("seconds %.3f taken %u refused %u p50_ms %.2f p99_ms %.2f\n",
	    (double)(clock_wall_us() - begun) / 1e6, taken, refused, took_us[job.count / 2] / 1e3,
	    took_us[job.count * 99 / 100] / 1e3);
	return 0;
}
