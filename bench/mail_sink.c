/* mail_sink.c - what stands behind the relays of bench/edge-out: an LMTP server that takes every message, keeps
 * none, and counts by the field X-Number which ones it has seen, and which twice. Usage: mail_sink PORT
 *
 * XSTAT answers "250 unique N twice N unique N twice N strange N", for numbers below SIDE and from there on (so that
 * two senders can be told apart); XRESET forgets. One process, blocking nowhere but in epoll. */
#include "bench/bench.h"

enum {
	NUMBERS_MAX = 4000000,
	SIDE = NUMBERS_MAX / 2,
	LINE_MAX_BYTES = 2000,
	HEAD_MAX = 4000,
	OUT_MAX = 65536,
	IN_MAX = 65536
};

struct conn {
	int fd;
	int in_body;
	unsigned recipients;
	unsigned tail; /* of CR LF . CR LF, how much has been seen */
	size_t line_n, head_n, out_n;
	char line[LINE_MAX_BYTES], head[HEAD_MAX], out[OUT_MAX];
};

static unsigned char seen[NUMBERS_MAX];
static unsigned unique[2], twice[2], strange;

static void say(struct conn *c, const char *text)
{
	size_t n = strlen(text);
	if (c->out_n + n > sizeof c->out)
		return;
	memcpy(c->out + c->out_n, text, n);
	c->out_n += n;
}

static void count_message(struct conn *c)
{
	static const char field[] = "X-Number: ";
	c->head[c->head_n < HEAD_MAX ? c->head_n : HEAD_MAX - 1] = '\0';
	const char *at = strstr(c->head, field);
	unsigned long number = at != NULL ? strtoul(at + sizeof field - 1, NULL, 10) : NUMBERS_MAX;
	if (number >= NUMBERS_MAX)
		strange++;
	else if (seen[number] > 0)
		twice[number >= SIDE]++;
	else
		unique[number >= SIDE]++;
	if (number < NUMBERS_MAX)
		seen[number] = 1;
}

static void answer_message(struct conn *c)
{
	count_message(c);
	for (; c->recipients > 0; c->recipients--)
		say(c, "250 2.0.0 taken\r\n");
	c->in_body = 0;
	c->line_n = 0;
}

static void answer_stat(struct conn *c)
{
	char text[200];
	snprintf(text, sizeof text, "250 unique %u twice %u unique %u twice %u strange %u\r\n",
	    unique[0], twice[0], unique[1], twice[1], strange);
	say(c, text);
}

static void reset(struct conn *c)
{
	memset(seen, 0, sizeof seen);
	memset(unique, 0, sizeof unique);
	memset(twice, 0, sizeof twice);
	strange = 0;
	say(c, "250 2.0.0 ok\r\n");
}

static void on_line(struct conn *c)
{
	if (strncasecmp(c->line, "LHLO", 4) == 0) {
		say(c, "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n");
	} else if (strncasecmp(c->line, "RCPT", 4) == 0) {
		c->recipients++;
		say(c, "250 2.1.5 ok\r\n");
	} else if (strncasecmp(c->line, "DATA", 4) == 0) {
		say(c, "354 go on\r\n");
		c->in_body = 1;
		c->tail = 2; /* the line end of DATA counts */
		c->head_n = 0;
	} else if (strncasecmp(c->line, "XSTAT", 5) == 0) {
		answer_stat(c);
	} else if (strncasecmp(c->line, "XRESET", 6) == 0) {
		reset(c);
	} else {
		if (strncasecmp(c->line, "MAIL", 4) == 0)
			c->recipients = 0;
		say(c, "250 2.0.0 ok\r\n");
	}
}

/* One byte of a message; true: it was the last. */
static int take_body_byte(struct conn *c, char byte)
{
	static const char end[] = "\r\n.\r\n";
	if (c->head_n < HEAD_MAX)
		c->head[c->head_n++] = byte;
	if (byte == end[c->tail])
		c->tail++;
	else
		c->tail = byte == '\r' ? 1 : 0;
	return c->tail == 5;
}

/* Everything of a message that cannot be its end is passed over at once. */
static size_t take_body(struct conn *c, const char *p, size_t n)
{
	for (size_t i = 0; i < n;) {
		if (c->head_n == HEAD_MAX && c->tail == 0) {
			const char *next = memchr(p + i, '\r', n - i);
			if (next == NULL)
				return n;
			i = (size_t)(next - p);
		}
		if (take_body_byte(c, p[i++])) {
			answer_message(c);
			return i;
		}
	}
	return n;
}

static size_t take_line(struct conn *c, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (c->line_n < LINE_MAX_BYTES - 1)
			c->line[c->line_n++] = p[i];
		if (p[i] != '\n')
			continue;
		c->line[c->line_n] = '\0';
		c->line_n = 0;
		on_line(c);
		return i + 1;
	}
	return n;
}

/* Replies are small and the other side reads: a write that does not fit ends the connection. */
static int flush(struct conn *c)
{
	size_t n = c->out_n;
	c->out_n = 0;
	return n == 0 || send(c->fd, c->out, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n;
}

static void on_readable(struct conn *c)
{
	static char in[IN_MAX];
	ssize_t got = recv(c->fd, in, sizeof in, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	for (size_t at = 0; got > 0 && at < (size_t)got;) {
		size_t left = (size_t)got - at;
		at += c->in_body ? take_body(c, in + at, left) : take_line(c, in + at, left);
	}
	if (got <= 0 || !flush(c)) {
		close(c->fd);
		free(c);
	}
}

static void on_client(int poll_fd, int door)
{
	int fd = accept(door, NULL, NULL);
	if (fd < 0)
		return;
	struct conn *c = calloc(1, sizeof *c);
	MUST(c != NULL);
	bench_no_delay(fd);
	c->fd = fd;
	bench_watch(poll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, c);
	say(c, "220 sink LMTP\r\n");
	flush(c);
}

int main(int argc, char **argv)
{
	MUST(argc == 2);
	int poll_fd = epoll_create1(0), door = bench_listen(bench_number(argv[1]));
	bench_watch(poll_fd, EPOLL_CTL_ADD, door, EPOLLIN, NULL);
	for (;;) {
		struct epoll_event ev[64];
		int n = epoll_wait(poll_fd, ev, 64, -1);
		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr == NULL)
				on_client(poll_fd, door);
			else
				on_readable(ev[i].data.ptr);
		}
	}
}
