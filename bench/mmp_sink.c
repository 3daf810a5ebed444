/* mmp_sink.c - the store behind every multiplexor of a benchmark: IMAP that says yes to everything.
 *
 * usage: mmp_sink PORT    "BULK n" is answered with n bytes and then OK. */
#include "bench/bench.h"

enum { LINE_MAX_ = 1000, EVENTS = 256, PIECE = 262144 };

enum next { NEXT_COMMAND, NEXT_REST, NEXT_SECRET }; /* what the next line is */

struct conn {
	int fd;
	enum next next;
	uint64_t skip; /* bytes of a literal still to come */
	uint64_t bulk; /* bytes still to be sent */
	size_t n;
	char tag[40];
	char line[LINE_MAX_];
};

static char piece[PIECE];
static int epoll;

static void say(const struct conn *c, const char *text)
{
	size_t n = strlen(text);
	MUST(send(c->fd, text, n, MSG_NOSIGNAL) == (ssize_t)n || errno == EPIPE ||
	     errno == ECONNRESET);
}

static void say_done(const struct conn *c)
{
	char text[80];
	snprintf(text, sizeof text, "%s OK done\r\n", c->tag);
	say(c, text);
}

/* Stores tell what they can do once somebody has logged in; who wants to know need not ask. */
static void say_logged_in(const struct conn *c)
{
	char text[120];
	snprintf(text, sizeof text, "%s OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR] in\r\n", c->tag);
	say(c, text);
}

/* False: the connection is to be closed. */
static bool send_bulk(struct conn *c)
{
	while (c->bulk > 0) {
		ssize_t n =
		    send(c->fd, piece, c->bulk < PIECE ? (size_t)c->bulk : PIECE, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			bench_watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT, c);
			return true;
		}
		if (n <= 0)
			return false;
		c->bulk -= (uint64_t)n;
	}
	bench_watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
	say_done(c);
	return true;
}

/* A line that ends in {n} or {n+}: true, and so many bytes are passed over. */
static bool literal(struct conn *c, const char *line)
{
	const char *open = strrchr(line, '{');
	char *end;
	if (open == NULL)
		return false;
	uint64_t n = strtoull(open + 1, &end, 10);
	bool wait = *end != '+';
	if (strcmp(wait ? end : end + 1, "}") != 0)
		return false;
	c->skip = n;
	c->next = NEXT_REST;
	if (wait)
		say(c, "+ go on\r\n");
	return true;
}

/* The next word; what is behind it is left in *rest. */
static const char *word(char **rest)
{
	char *w = *rest, *end = w + strcspn(w, " ");
	*rest = *end == '\0' ? end : end + 1;
	*end = '\0';
	return w;
}

static bool command(struct conn *c, char *rest)
{
	snprintf(c->tag, sizeof c->tag, "%.39s", word(&rest));
	const char *verb = word(&rest);
	if (strcasecmp(verb, "AUTHENTICATE") == 0 && *rest != '\0' && strchr(rest, ' ') == NULL) {
		say(c, "+ \r\n");
		c->next = NEXT_SECRET;
		return true;
	}
	if (strcasecmp(verb, "LOGIN") == 0 && literal(c, rest))
		return true;
	if (strcasecmp(verb, "LOGIN") == 0 || strcasecmp(verb, "AUTHENTICATE") == 0) {
		say_logged_in(c);
		return true;
	}
	if (strcasecmp(verb, "BULK") == 0) {
		c->bulk = bench_number(rest);
		return send_bulk(c);
	}
	if (strcasecmp(verb, "CAPABILITY") == 0)
		say(c, "* CAPABILITY IMAP4rev1 LITERAL+ SASL-IR\r\n");
	if (strcasecmp(verb, "LOGOUT") == 0)
		say(c, "* BYE bye\r\n");
	say_done(c);
	return strcasecmp(verb, "LOGOUT") != 0;
}

static bool take_line(struct conn *c, char *line)
{
	enum next was = c->next;
	c->next = NEXT_COMMAND;
	if (was == NEXT_COMMAND)
		return command(c, line);
	if (was == NEXT_SECRET || !literal(c, line))
		say_logged_in(c);
	return true;
}

/* What has come: literals are passed over, lines taken. */
static bool take(struct conn *c)
{
	for (;;) {
		char *end;
		size_t skip = c->skip < c->n ? (size_t)c->skip : c->n;
		c->n -= skip;
		c->skip -= skip;
		memmove(c->line, c->line + skip, c->n);
		if (c->skip > 0 || (end = memchr(c->line, '\n', c->n)) == NULL)
			return c->n < LINE_MAX_;
		size_t whole = (size_t)(end - c->line) + 1;
		char line[LINE_MAX_ + 1];
		memcpy(line, c->line, whole);
		line[whole - (whole > 1 && line[whole - 2] == '\r' ? 2 : 1)] = '\0';
		c->n -= whole;
		memmove(c->line, end + 1, c->n);
		if (!take_line(c, line))
			return false;
	}
}

static bool on_conn(struct conn *c, uint32_t events)
{
	if (c->bulk > 0 && (events & EPOLLOUT) && !send_bulk(c))
		return false;
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return true;
	ssize_t n = recv(c->fd, c->line + c->n, LINE_MAX_ - c->n, 0);
	if (n < 0 && errno == EAGAIN)
		return true;
	if (n <= 0)
		return false;
	c->n += (size_t)n;
	return take(c);
}

static void on_door(int door)
{
	int fd;
	while ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *c = calloc(1, sizeof *c);
		MUST(c != NULL);
		c->fd = fd;
		bench_no_delay(fd);
		bench_watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
		say(c, "* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR] sink\r\n");
	}
}

static void serve(uint64_t port)
{
	struct epoll_event events[EVENTS];
	int door = bench_listen(port);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	MUST(epoll >= 0);
	bench_watch(epoll, EPOLL_CTL_ADD, door, EPOLLIN, NULL);
	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (c == NULL) {
				on_door(door);
			} else if (!on_conn(c, events[i].events)) {
				close(c->fd);
				free(c);
			}
		}
	}
}

int main(int argc, char **argv)
{
	MUST(argc == 2);
	bench_begin();
	memset(piece, 'x', sizeof piece);
	serve(bench_number(argv[1]));
}
