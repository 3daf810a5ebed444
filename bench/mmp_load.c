/* mmp_load.c - clients of a multiplexor, many in one process.
 *
 * usage: mmp_load login PORT COUNT TLS USER PASSWORD     COUNT times: connect, LOGIN, NOOP, LOGOUT
 *        mmp_load bulk  PORT BYTES TLS USER PASSWORD     4 clients read BYTES together
 *        mmp_load hold  PORT COUNT TLS USER PASSWORD     COUNT clients log in and stay; each line on standard input
 *                                                        makes every one send NOOP; its end ends the program
 *        mmp_load rate  PORT COUNT TLS USER PASSWORD N   N times a second: connect, LOGIN, LOGOUT, whatever became of
 *                                                        those before; "latency P50 P99" in ms, from when it was due
 *        mmp_load crowd PORT COUNT TLS USER PASSWORD     COUNT clients connect and stay: a third silent, a third after a
 *                                                        command, a third in the middle of one; to the end of standard input
 * TLS: plain, tls (1.3, full handshakes), resumed. When a job is done: "done GOOD BAD SECONDS" on standard output. */
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/clock.h"
#include "bench/bench.h"

enum { AT_ONCE = 64, BULK_CLIENTS = 4, EVENTS = 256, PIECE = 65536, LINE_SIZE = 600 };
enum {
	SOURCES = 32,
	SOURCE_LEAST = 10000
}; /* addresses of clients, when one has not ports enough */

enum job { JOB_LOGIN, JOB_BULK, JOB_HOLD, JOB_RATE, JOB_CROWD };
enum state { HANDSHAKE, GREETING, LOGIN, NOOP, BULK, BULK_END, LOGOUT, HELD, LOITER };

struct client {
	int fd;
	SSL *ssl;
	enum state state;
	bool wants_write, resumes;
	uint64_t bulk;   /* bytes still to come */
	uint64_t due_us; /* JOB_RATE */
	size_t n;
	char line[LINE_SIZE];
};

static struct {
	enum job job;
	uint64_t port, count; /* of clients to come */
	uint64_t left;        /* not begun yet */
	unsigned busy;
	uint64_t good, bad;
	uint64_t bulk; /* bytes for each */
	const char *user, *password;
	SSL_CTX *ctx;
	SSL_SESSION *session; /* what the next handshake resumes */
	bool resume;
	int epoll;
	uint64_t begun_ms;
	struct client **held;
	uint64_t held_n, asked;      /* of them have been sent NOOP */
	uint64_t every_us, first_us; /* JOB_RATE */
	uint64_t *took_us, took_n;   /* its logins */
} the;

static char piece[PIECE];

static void begin_some(void);

/* ---- the end of a client, of a job ---- */

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static void tell_latency(void)
{
	uint64_t n = the.took_n;
	qsort(the.took_us, n, sizeof *the.took_us, by_size);
	MUST(n > 0);
	printf("latency %.3f %.3f\n", (double)the.took_us[n / 2] / 1000,
	    (double)the.took_us[n * 99 / 100] / 1000);
}

static void job_done(void)
{
	printf("done %llu %llu %.3f\n", (unsigned long long)the.good, (unsigned long long)the.bad,
	    (double)(clock_mono_ms() - the.begun_ms) / 1000);
	if (the.job == JOB_RATE)
		tell_latency();
	fflush(stdout);
	if (the.job != JOB_HOLD && the.job != JOB_CROWD)
		exit(the.bad == 0 ? 0 : 1);
	the.good = the.bad = 0;
}

static void one_less(void)
{
	the.busy--;
	begin_some();
	if (the.busy == 0 && the.left == 0)
		job_done();
}

static void client_free(struct client *c)
{
	for (uint64_t i = 0; i < the.held_n; i++)
		if (the.held[i] == c)
			the.held[i] = NULL;
	if (c->ssl != NULL) /* or its session may not be resumed */
		SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(c->ssl);
	close(c->fd);
	free(c);
}

static bool broken(struct client *c, const char *what)
{
	if (the.bad++ < 5 && c->state != LOITER)
		fprintf(
		    stderr, "mmp_load: client in state %d: %s: %.60s\n", c->state, what, c->line);
	return false;
}

/* ---- the conversation ---- */

static bool say(struct client *c, const char *text)
{
	size_t n = strlen(text), put = 0;
	if (c->ssl != NULL)
		return SSL_write_ex(c->ssl, text, n, &put) == 1 || broken(c, "cannot write");
	return send(c->fd, text, n, MSG_NOSIGNAL) == (ssize_t)n || broken(c, "cannot write");
}

static bool say_as(struct client *c, enum state next, const char *text)
{
	c->state = next;
	return say(c, text);
}

/* One of the crowd has its greeting: it stays as it is. */
static bool loiter(struct client *c)
{
	static const char *const words[] = { "", "a NOOP\r\n", "a LOG" };
	const char *text = words[the.good % COUNT_OF(words)];
	c->state = LOITER;
	the.good++;
	the.busy--;
	bool ok = text[0] == '\0' || say(c, text);
	begin_some();
	if (the.busy == 0 && the.left == 0)
		job_done();
	return ok;
}

static bool log_in(struct client *c)
{
	char text[300];
	if (the.job == JOB_CROWD)
		return loiter(c);
	snprintf(text, sizeof text, "a LOGIN %s %s\r\n", the.user, the.password);
	return say_as(c, LOGIN, text);
}

static bool logged_in(struct client *c)
{
	char text[60];
	if (the.job == JOB_LOGIN)
		return say_as(c, NOOP, "a NOOP\r\n");
	if (the.job == JOB_RATE) {
		the.took_us[the.took_n++] = clock_wall_us() - c->due_us;
		return say_as(c, LOGOUT, "a LOGOUT\r\n");
	}
	if (the.job == JOB_BULK) {
		c->bulk = the.bulk;
		snprintf(text, sizeof text, "a BULK %llu\r\n", (unsigned long long)the.bulk);
		return say_as(c, BULK, text);
	}
	c->state = HELD;
	the.held[the.held_n++] = c;
	the.good++;
	the.busy--;
	begin_some();
	if (the.busy == 0)
		job_done();
	return true;
}

/* The answer that the state waits for has come. False: the client has ended, well or not. */
static bool answered(struct client *c)
{
	switch (c->state) {
	case GREETING:
		return log_in(c);
	case LOGIN:
		return logged_in(c);
	case NOOP:
		if (the.job == JOB_LOGIN)
			return say_as(c, LOGOUT, "a LOGOUT\r\n");
		c->state = HELD;
		the.good++;
		one_less();
		return true;
	case LOITER:
		return true;
	case BULK_END:
	case LOGOUT:
		the.good++;
		return false;
	default:
		return broken(c, "words that were not asked for");
	}
}

static bool on_line(struct client *c)
{
	bool greeting = c->state == GREETING;
	if (!greeting && strncmp(c->line, "* ", 2) == 0)
		return true;
	if (strncmp(c->line, greeting ? "* OK" : "a OK", 4) != 0)
		return broken(c, "not OK");
	return answered(c);
}

static bool on_bytes(struct client *c, const char *p, size_t n)
{
	while (n > 0) {
		size_t some = c->state == BULK && c->bulk < n ? (size_t)c->bulk : n;
		if (c->state == BULK) {
			c->bulk -= some;
			c->state = c->bulk == 0 ? BULK_END : BULK;
		} else {
			const char *end = memchr(p, '\n', n);
			some = end != NULL ? (size_t)(end - p) + 1 : n;
			if (some >= LINE_SIZE - c->n)
				return broken(c, "a line too long");
			memcpy(c->line + c->n, p, some);
			c->n += some;
			c->line[c->n] = '\0';
			c->n = end != NULL ? 0 : c->n;
			if (end != NULL && !on_line(c))
				return false;
		}
		p += some;
		n -= some;
	}
	return true;
}

/* ---- sockets ---- */

static void wish(struct client *c, bool write)
{
	if (c->wants_write == write)
		return;
	c->wants_write = write;
	bench_watch(the.epoll, EPOLL_CTL_MOD, c->fd, write ? EPOLLOUT : EPOLLIN, c);
}

static bool handshake(struct client *c)
{
	ERR_clear_error();
	int r = SSL_do_handshake(c->ssl);
	if (r == 1) {
		c->state = GREETING;
		wish(c, false);
		return !c->resumes || SSL_session_reused(c->ssl) || broken(c, "not resumed");
	}
	int e = SSL_get_error(c->ssl, r);
	wish(c, e == SSL_ERROR_WANT_WRITE);
	return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE || broken(c, "handshake");
}

static bool read_tls(struct client *c)
{
	for (;;) {
		size_t got = 0;
		ERR_clear_error();
		int r = SSL_read_ex(c->ssl, piece, PIECE, &got);
		if (r != 1)
			return SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_READ ||
			       broken(c, "closed or broken");
		if (!on_bytes(c, piece, got))
			return false;
	}
}

static bool on_ready(struct client *c)
{
	if (c->ssl != NULL && c->state == HANDSHAKE && !handshake(c))
		return false;
	if (c->state == HANDSHAKE)
		return true;
	if (c->ssl != NULL)
		return read_tls(c);
	ssize_t got = recv(c->fd, piece, PIECE, 0);
	if (got < 0 && errno == EAGAIN)
		return true;
	return got > 0 ? on_bytes(c, piece, (size_t)got) : broken(c, "closed");
}

static int on_session(SSL *ssl, SSL_SESSION *s)
{
	if (the.resume && the.session == NULL)
		the.session = SSL_SESSION_dup(s); /* the next ticket makes s useless */
	return 0;
}

static void client_begin(void)
{
	static unsigned source;
	struct sockaddr_in to = bench_loopback(0, the.port), from;
	int one = 1;
	struct client *c = calloc(1, sizeof *c);
	MUST(c != NULL);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(c->fd >= 0);
	if (the.job == JOB_HOLD || the.job == JOB_CROWD) {
		from = bench_loopback(1 + ((unsigned)getpid() + source++) % SOURCES, 0);
		setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
		MUST(bind(c->fd, (struct sockaddr *)&from, sizeof from) == 0);
	}
	MUST(connect(c->fd, (struct sockaddr *)&to, sizeof to) == 0);
	MUST(fcntl(c->fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0);
	bench_no_delay(c->fd);
	c->state = the.ctx != NULL ? HANDSHAKE : GREETING;
	c->due_us = the.first_us + (the.count - the.left - 1) * the.every_us;
	bench_watch(the.epoll, EPOLL_CTL_ADD, c->fd, EPOLLIN, c);
	if (the.ctx == NULL)
		return;
	c->ssl = SSL_new(the.ctx);
	MUST(c->ssl != NULL && SSL_set_fd(c->ssl, c->fd) == 1);
	SSL_set_connect_state(c->ssl);
	c->resumes = the.session != NULL;
	if (c->resumes) {
		SSL_SESSION *s = SSL_SESSION_dup(the.session); /* it is good for one use */
		MUST(s != NULL && SSL_set_session(c->ssl, s) == 1);
		SSL_SESSION_free(s);
	}
	MUST(handshake(c)); /* sends the hello */
}

/* When the next client of JOB_RATE is to begin. */
static uint64_t next_due_us(void)
{
	return the.first_us + (the.count - the.left) * the.every_us;
}

static int wait_ms(void)
{
	if (the.every_us == 0 || the.left == 0)
		return -1;
	uint64_t now = clock_wall_us(), due = next_due_us();
	return due > now ? (int)((due - now + 999) / 1000) : 0;
}

static void begin_some(void)
{
	unsigned at_once = the.job == JOB_BULK ? BULK_CLIENTS : AT_ONCE;
	while (the.left > 0 &&
	       (the.every_us > 0 ? next_due_us() <= clock_wall_us() : the.busy < at_once)) {
		the.left--;
		the.busy++;
		client_begin();
	}
	while (the.left == 0 && the.asked < the.held_n && the.busy < at_once) {
		struct client *c = the.held[the.asked++];
		if (c == NULL || !say_as(c, NOOP, "a NOOP\r\n"))
			the.bad++;
		else
			the.busy++;
	}
}

/* ---- the program ---- */

static void on_order(void)
{
	char order[100];
	if (read(STDIN_FILENO, order, sizeof order) <= 0)
		exit(0);
	the.begun_ms = clock_mono_ms();
	the.asked = 0;
	begin_some();
	if (the.busy == 0)
		job_done();
}

static void on_client(struct client *c)
{
	if (on_ready(c))
		return;
	bool held = c->state == HELD || c->state == LOITER;
	client_free(c);
	if (!held)
		one_less();
}

static void run(void)
{
	struct epoll_event events[EVENTS];
	for (;;) {
		int n = epoll_wait(the.epoll, events, EVENTS, wait_ms());
		if (the.every_us > 0)
			begin_some();
		for (int i = 0; i < n; i++)
			if (events[i].data.ptr == NULL)
				on_order();
			else
				on_client(events[i].data.ptr);
	}
}

static void set_tls(const char *kind)
{
	if (strcmp(kind, "plain") == 0)
		return;
	the.resume = strcmp(kind, "resumed") == 0;
	MUST(the.resume || strcmp(kind, "tls") == 0);
	the.ctx = SSL_CTX_new(TLS_client_method());
	MUST(the.ctx != NULL && SSL_CTX_set_min_proto_version(the.ctx, TLS1_3_VERSION) == 1);
	MUST(SSL_CTX_set_ciphersuites(the.ctx, "TLS_AES_128_GCM_SHA256") == 1);
	MUST(SSL_CTX_set1_groups_list(the.ctx, "X25519") == 1);
	SSL_CTX_set_mode(the.ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(
	    the.ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
	SSL_CTX_sess_set_new_cb(the.ctx, on_session);
}

int main(int argc, char **argv)
{
	static const char *const jobs[] = { "login", "bulk", "hold", "rate", "crowd" };
	MUST(argc == 7 || argc == 8);
	bench_begin();
	while (strcmp(jobs[the.job], argv[1]) != 0)
		MUST(++the.job < COUNT_OF(jobs));
	the.port = bench_number(argv[2]);
	the.count = bench_number(argv[3]);
	if (the.job == JOB_BULK) {
		the.bulk = the.count / BULK_CLIENTS;
		the.count = BULK_CLIENTS;
	}
	the.left = the.count;
	if (the.job == JOB_RATE) {
		MUST(argc == 8);
		the.every_us = 1000000 / bench_number(argv[7]);
		the.took_us = calloc(the.count, sizeof *the.took_us);
		MUST(the.took_us != NULL);
	}
	set_tls(argv[4]);
	the.user = argv[5];
	the.password = argv[6];
	the.epoll = epoll_create1(EPOLL_CLOEXEC);
	the.held = calloc(the.job == JOB_HOLD ? the.count : 1, sizeof(void *));
	MUST(the.held != NULL);
	if (the.job == JOB_HOLD || the.job == JOB_CROWD)
		bench_watch(the.epoll, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, NULL);
	the.begun_ms = clock_mono_ms();
	the.first_us = clock_wall_us(); /* what came before is nobody's latency */
	begin_some();
	run();
}
