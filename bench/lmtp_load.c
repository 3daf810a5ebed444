/* lmtp_load.c - load for bench/store: CLIENTS connections that deliver COUNT messages by LMTP as fast as the answers
 * come, with pipelining (RFC 2920). Prints the seconds from the first MAIL to the last answer.
 *
 * Message m of a run goes to RECIPIENTS users u<k>@example.org, k from m * RECIPIENTS on, modulo USERS. Connections
 * are open and greeted before the clock runs. Any answer but the expected one ends the program with 1. */
#include "base/clock.h"
#include "bench/bench.h"

enum {
	CLIENTS_MAX = 1024,
	RECIPIENTS_MAX = 100,
	SIZE_MAX_KIB = 1024,
	IN_MAX = 16384,
	ENVELOPE_MAX = 8192
};
enum step { STEP_GREETING, STEP_HELLO, STEP_ENVELOPE, STEP_GO_AHEAD, STEP_DELIVERED, STEP_IDLE };

struct client {
	int fd;
	enum step step;
	unsigned left; /* answers until the next step */
	size_t in_n;
	char in[IN_MAX];
};

static struct {
	unsigned port, clients, count, size_kib, recipients, users;
} job;
static struct client clients[CLIENTS_MAX];
static unsigned started, done, greeted;
static char body[SIZE_MAX_KIB * 1024 + 1024];

static void die(const char *what, const char *detail)
{
	fprintf(stderr, "lmtp_load: %s: %s\n", what, detail);
	exit(1);
}

static void send_all(struct client *c, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL);
		if (sent <= 0)
			die("send", "connection lost");
		p += sent;
		n -= (size_t)sent;
	}
}

static void send_envelope(struct client *c)
{
	char out[ENVELOPE_MAX];
	int n = snprintf(out, sizeof out, "MAIL FROM:<visitor@elsewhere.example>\r\n");
	for (unsigned i = 0; i < job.recipients; i++)
		n += snprintf(out + n, sizeof out - (size_t)n, "RCPT TO:<u%u@example.org>\r\n",
		    (started * job.recipients + i) % job.users);
	n += snprintf(out + n, sizeof out - (size_t)n, "DATA\r\n");
	send_all(c, out, (size_t)n);
	c->left = 1 + job.recipients;
	c->step = STEP_ENVELOPE;
}

static void send_message(struct client *c, unsigned number)
{
	static const char line[] = BENCH_LINE;
	int head = snprintf(body, 1024,
	    "From: Visitor %u <visitor%u@elsewhere.example>\r\nTo: Reader <reader@example.org>\r\n"
	    "Subject: report number %u\r\nMessage-ID: <%u.bench@elsewhere.example>\r\n"
	    "Date: Tue, 24 Nov 2026 00:00:00 +0000\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: text/plain; charset=utf-8\r\n\r\n",
	    number, number % 1000, number, number);
	size_t n = (size_t)head;
	while (n + sizeof line < job.size_kib * 1024) {
		memcpy(body + n, line, sizeof line - 1);
		n += sizeof line - 1;
	}
	memcpy(body + n, ".\r\n", 3);
	send_all(c, body, n + 3);
	c->left = job.recipients;
	c->step = STEP_DELIVERED;
}

static void next_message(struct client *c)
{
	if (started == job.count) {
		c->step = STEP_IDLE;
		return;
	}
	send_envelope(c);
	started++;
}

static void on_answer(struct client *c, const char *line)
{
	static const char *const wanted[] = { "220", "250", "250", "354", "250", "" };
	if (strncmp(line, wanted[c->step], 3) != 0 || c->step == STEP_IDLE)
		die("unexpected answer", line);
	if (line[3] == '-' || --c->left > 0)
		return;
	c->left = 1;
	switch (c->step) {
	case STEP_GREETING:
		send_all(c, "LHLO client.example\r\n", 21);
		c->step = STEP_HELLO;
		break;
	case STEP_HELLO:
		greeted++;
		c->step = STEP_IDLE;
		break;
	case STEP_ENVELOPE:
		c->step = STEP_GO_AHEAD;
		break;
	case STEP_GO_AHEAD:
		send_message(c, started);
		break;
	default:
		done++;
		next_message(c);
	}
}

static void on_readable(struct client *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_n, sizeof c->in - c->in_n - 1, 0);
	if (n <= 0)
		die("recv", "connection lost");
	c->in_n += (size_t)n;
	size_t at = 0;
	char *end;
	while ((end = memchr(c->in + at, '\n', c->in_n - at)) != NULL) {
		*end = '\0';
		on_answer(c, c->in + at);
		at = (size_t)(end + 1 - c->in);
	}
	memmove(c->in, c->in + at, c->in_n - at);
	c->in_n -= at;
	if (c->in_n == sizeof c->in - 1)
		die("recv", "line too long");
}

static void turn(int epoll)
{
	struct epoll_event ev[64];
	int n = epoll_wait(epoll, ev, 64, 60000);
	if (n <= 0)
		die("epoll_wait", "no answer for a minute");
	for (int i = 0; i < n; i++)
		on_readable(ev[i].data.ptr);
}

static void open_client(int epoll, struct client *c)
{
	c->fd = bench_connect(job.port);
	c->left = 1;
	bench_watch(epoll, EPOLL_CTL_ADD, c->fd, EPOLLIN, c);
}

int main(int argc, char **argv)
{
	unsigned *fields[] = { &job.port, &job.clients, &job.count, &job.size_kib, &job.recipients,
		&job.users };
	if (argc != 7)
		die("usage", "lmtp_load PORT CLIENTS COUNT SIZE_KIB RECIPIENTS USERS");
	for (int i = 0; i < 6; i++)
		*fields[i] = (unsigned)bench_number(argv[i + 1]);
	if (job.clients < 1 || job.clients > CLIENTS_MAX || job.recipients < 1 ||
	    job.recipients > RECIPIENTS_MAX || job.size_kib < 1 || job.size_kib > SIZE_MAX_KIB ||
	    job.users < job.recipients)
		die("usage", "out of range");
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned i = 0; i < job.clients; i++)
		open_client(epoll, &clients[i]);
	while (greeted < job.clients)
		turn(epoll);
	uint64_t began = clock_mono_ms();
	for (unsigned i = 0; i < job.clients; i++)
		next_message(&clients[i]);
	while (done < job.count)
		turn(epoll);
	printf("%.3f\n", (double)(clock_mono_ms() - began) / 1000);
	return 0;
}
