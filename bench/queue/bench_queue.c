/* bench_queue.c - a long queue: QUICK 100,000, else 1,000,000 messages to 1,000 or 10,000 destinations, of which half are
 * dead: they hang up at once, and a few say nothing. What the queue process holds in memory, and how fast the
 * others get their mail beside a short queue without dead ones. Prints `figure NAME VALUE` lines.
 *
 * A destination is an address of 127/8. The sink, a child, knows by the address what it is to play. The log syncs as in
 * service; it stands in the directory BENCH_DIR, else /var/tmp. */
#include "bench/bench.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/unit/edge/queue_bench.h"

enum { SINK_EVENTS = 256, LINE_BYTES = 1000, SILENT = 40, BODY = 2000, SHARE = 10 };

static struct {
	unsigned messages, destinations;
	uint16_t port;
	bool quick;
} job;

/* ---- the sink ----------------------------------------------------------------------------------- */

struct book {
	uint32_t taken, twice;
	uint8_t seen[]; /* by number */
};
static struct book *book; /* shared with the child */

struct conn {
	int fd;
	bool in_body;
	size_t n;
	unsigned long number;
	char line[LINE_BYTES];
};

/* 127.1.x.x takes mail, 127.2.x.x hangs up, 127.3.x.x says nothing. */
static unsigned role_of(int fd)
{
	struct sockaddr_in a;
	socklen_t n = sizeof a;
	MUST(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	return ntohl(a.sin_addr.s_addr) >> 16 & 255;
}

static void say(struct conn *c, const char *text)
{
	if (send(c->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		errno = 0; /* the next read shows it */
}

static void take(struct conn *c)
{
	MUST(c->number < job.messages);
	book->twice += book->seen[c->number];
	book->taken += !book->seen[c->number];
	book->seen[c->number] = 1;
	say(c, "250 2.0.0 taken\r\n");
	c->in_body = false;
}

static void on_line(struct conn *c)
{
	static const char field[] = "X-Number: ";
	if (c->in_body) {
		if (strncmp(c->line, field, sizeof field - 1) == 0)
			c->number = strtoul(c->line + sizeof field - 1, NULL, 10);
		if (strcmp(c->line, ".\r") == 0)
			take(c);
	} else if (strncmp(c->line, "EHLO", 4) == 0) {
		say(c, "250-sink\r\n250 PIPELINING\r\n");
	} else if (strncmp(c->line, "DATA", 4) == 0) {
		say(c, "354 go on\r\n");
		c->in_body = true;
		c->number = job.messages;
	} else {
		say(c, "250 2.0.0 ok\r\n");
	}
}

static void on_input(struct conn *c)
{
	char in[16384];
	ssize_t n = recv(c->fd, in, sizeof in, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		close(c->fd);
		free(c);
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (in[i] != '\n') {
			c->line[c->n++] = in[i];
			MUST(c->n < LINE_BYTES);
			continue;
		}
		c->line[c->n] = '\0';
		c->n = 0;
		on_line(c);
	}
}

static void on_connection(int epoll, int fd)
{
	unsigned role = role_of(fd);
	if (role == 2) {
		close(fd);
		return;
	}
	struct conn *c = calloc(1, sizeof *c);
	MUST(c != NULL);
	c->fd = fd;
	bench_no_delay(fd);
	bench_watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
	if (role == 1)
		say(c, "220 sink\r\n");
}

static void sink_run(int listener)
{
	struct epoll_event ready[SINK_EVENTS];
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	bench_begin();
	bench_watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
	for (;;) {
		int n = epoll_wait(epoll, ready, SINK_EVENTS, -1);
		for (int i = 0; i < n; i++) {
			if (ready[i].data.ptr != NULL) {
				on_input(ready[i].data.ptr);
				continue;
			}
			int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (fd >= 0)
				on_connection(epoll, fd);
		}
	}
}

static pid_t sink_up(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	MUST(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 4096) == 0);
	MUST(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	job.port = ntohs(a.sin_port);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0)
		sink_run(fd);
	close(fd);
	return pid;
}

/* ---- the queue ---------------------------------------------------------------------------------- */

/* Private memory of this process that is in use, bytes. */
static size_t memory(void)
{
	char line[200];
	size_t kib = 0;
	FILE *f = fopen("/proc/self/status", "r");
	MUST(f != NULL);
	while (fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, "RssAnon:", 8) == 0)
			kib = strtoul(line + 8, NULL, 10);
	fclose(f);
	return kib * 1024;
}

static void add(struct bench *b, unsigned number, bool with_dead)
{
	unsigned live = job.destinations / 2, d = number % live;
	bool is_dead = with_dead && number / live % 2 == 1;
	unsigned role = !is_dead ? 1 : d < SILENT ? 3 : 2;
	char address[60], field[40];
	struct spool_recipient to = { 0 };
	struct spool_message m = { .id = ident_new(),
		.session = ident_new(),
		.arrived_us = clock_wall_us(),
		.sender = SPAN("sender@far.example"),
		.recipients = &to,
		.recipient_count = 1 };
	struct buf body = BUF_INIT(BODY + 200);
	log_pos pos;
	snprintf(address, sizeof address, "user@[127.%u.%u.%u]", role, d / 250, 1 + d % 250);
	snprintf(field, sizeof field, "X-Number: %u\r\n\r\n", number);
	buf_add_str(&body, field);
	while (buf_len(&body) < BODY)
		buf_add_str(&body, BENCH_LINE);
	m.body_bytes = buf_len(&body);
	to.address = span_str(address);
	MUST(spool_append_message(queue_spool(b->queue), &m, buf_span(&body), &pos) == ERR_OK);
	queue_add(b->queue, pos, &m);
	buf_end(&body);
}

struct seen {
	double seconds, cpu_s;
	size_t most; /* bytes */
};

static void watch_memory(struct seen *s)
{
	size_t now = memory();
	s->most = now > s->most ? now : s->most;
}

static void bench_up(struct bench *b)
{
	bench_open(b, SCRIPT("X"));
	b->edge->queue_retry_first = 20000;
	b->edge->queue_retry_max = 3600 * 1000;
	b->edge->queue_concurrency = 20;
	b->edge->queue_recipients_max = 10000000;
	b->edge->relay_port = job.port;
	b->edge->connect_timeout = b->edge->reply_timeout = 5000;
	b->edge->out_idle = 1000;
}

/* user + system seconds of this process, the flusher's too */
static double cpu_s(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* From the first delivery until every live message has arrived. */
static struct seen drain(struct bench *b, unsigned live)
{
	struct seen s = { 0 };
	uint64_t begun = clock_mono_ms(), told = begun;
	double cpu = cpu_s();
	while (book->taken < live) {
		for (int i = 0; i < 100 && book->taken < live; i++)
			loop_step(b->loop, 10);
		watch_memory(&s);
		if (clock_mono_ms() < told + 10000)
			continue;
		told = clock_mono_ms();
		printf("  %.0f s: %u of %u arrived, %.1f MiB\n", (double)(told - begun) / 1000,
		    book->taken, live, (double)memory() / 1048576);
		fflush(stdout);
	}
	s.seconds = (double)(clock_mono_ms() - begun) / 1000;
	s.cpu_s = cpu_s() - cpu;
	return s;
}

/* n messages are in the log of a process that was ended; then it begins. */
static struct seen run(unsigned n, unsigned live, bool with_dead, double *replay_s_out)
{
	struct bench b;
	struct seen filling = { 0 };
	bench_up(&b);
	b.edge->queue_deliveries = 1;
	queue_again(&b);
	queue_drain(b.queue, NULL, NULL);
	memset(book, 0, sizeof *book + job.messages);
	for (unsigned i = 0; i < n; i++) {
		add(&b, i, with_dead);
		if (i % 200 == 0)
			loop_step(b.loop, 1);
		if (i % 10000 == 0)
			watch_memory(&filling);
	}
	WAIT_FOR(&b, queue_recipients(b.queue) == n);
	queue_gone(&b);
	b.edge->queue_deliveries = 200;
	uint64_t begun = clock_mono_ms();
	queue_up(&b);
	*replay_s_out = (double)(clock_mono_ms() - begun) / 1000;
	printf("  %u messages: %.1f MiB while they came, %.1f MiB after %.1f s of replay\n", n,
	    (double)filling.most / 1048576, (double)memory() / 1048576, *replay_s_out);
	struct seen s = drain(&b, live);
	s.most = filling.most > s.most ? filling.most : s.most;
	bench_close(&b);
	return s;
}

int main(void)
{
	const char *at = getenv("BENCH_DIR");
	job.quick = getenv("QUICK") != NULL && getenv("QUICK")[0] == '1';
	job.messages = job.quick ? 100000 : 1000000;
	job.destinations = job.quick ? 1000 : 10000;
	MUST(chdir(at != NULL ? at : "/var/tmp") == 0);
	int zero = open("/dev/zero", O_RDWR | O_CLOEXEC); /* mapped it is shared memory */
	book = mmap(NULL, sizeof *book + job.messages, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0);
	MUST(book != MAP_FAILED);
	close(zero);
	bench_begin();
	pid_t sink = sink_up();
	snprintf(dir, sizeof dir, "postern-queue-XXXXXX");
	setup(NULL);
	double replay_s;
	unsigned few = job.messages / SHARE, half = job.messages / 2;
	struct seen is_short = run(few, few, false, &replay_s);
	double rate = few / is_short.seconds;
	struct seen is_long = run(job.messages, half, true, &replay_s);
	kill(sink, SIGTERM);
	waitpid(sink, NULL, 0);
	teardown(NULL);
	printf("figure queue_long_messages %u\nfigure queue_long_mib %.1f\n", job.messages,
	    (double)is_long.most / 1048576);
	printf("figure queue_long_replay_s %.1f\n", replay_s);
	printf("figure queue_short_per_s %.0f\nfigure queue_long_per_s %.0f\n", rate,
	    half / is_long.seconds);
	printf("figure queue_long_rate_vs_short %.2f\n", half / is_long.seconds / rate);
	printf("figure queue_short_cpu_us %.1f\nfigure queue_long_cpu_us %.1f\n",
	    1e6 * is_short.cpu_s / few, 1e6 * is_long.cpu_s / half);
	printf("figure queue_long_twice %u\n", book->twice);
	return 0;
}
