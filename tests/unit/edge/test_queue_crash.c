/* test_queue_crash.c - the queue process is killed at a list of fault points while messages come in and go out: what was
 * acknowledged arrives, under one id.
 *
 * Each victim is a child that runs the queue as it is, with syncs, and dies at the n-th call of one kind: at its
 * beginning, half done, or at its end. This process asks over the link, as workers do, and is the store, which
 * knows ids as Postern's do. CRASH_HITS says how often each point is hit (5; `make crash` says 100). */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "tests/unit/edge/place.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "edge/queue.h"
#include "edge/spool_link.h"
#include "edge/spool_serve.h"
#include "edge/spool_wire.h"
#include "net/listen.h"
#include "net/stream.h"
#include "proto/smtp_body.h"

enum { CALLS_MAX = 25, BATCH = 8, PUTS_MAX = 100000, WAIT_MS = 30000 };

/* ---- fault points ------------------------------------------------------------------------------- */

enum point {
	AT_APPEND,
	IN_APPEND,
	AFTER_APPEND,
	AT_SYNC,
	AFTER_SYNC,
	AT_MARK,
	AFTER_MARK,
	AT_PUNCH,
	AFTER_PUNCH,
	AT_SEND,
	AFTER_SEND,
	POINTS
};
static const char *const names[POINTS] = { "at append", "in append", "after append", "at sync",
	"after sync", "at mark", "after mark", "at punch", "after punch", "at send", "after send" };

static enum point fault = POINTS; /* none, but in a victim */
static unsigned calls_left;

/* True: this is the call. */
static bool is_hit(enum point p)
{
	return fault == p && calls_left > 0 && --calls_left == 0;
}

static void meet(enum point p)
{
	if (is_hit(p))
		kill(getpid(), SIGKILL);
}

#define REAL(type, name, ...)                                                                      \
	type (*real)(__VA_ARGS__);                                                                 \
	*(void **)&real = dlsym(RTLD_NEXT, name)

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
	meet(AT_APPEND);
	if (is_hit(IN_APPEND)) {
		struct iovec half = { iov[0].iov_base, iov[0].iov_len / 2 };
		(void)!real(fd, n > 1 ? iov : &half, 1, at);
		kill(getpid(), SIGKILL);
	}
	ssize_t did = real(fd, iov, n, at);
	meet(AFTER_APPEND);
	return did;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
	meet(AT_MARK);
	ssize_t did = real(fd, p, n, at);
	meet(AFTER_MARK);
	return did;
}

int fdatasync(int fd)
{
	REAL(int, "fdatasync", int);
	meet(AT_SYNC);
	int rc = real(fd);
	meet(AFTER_SYNC);
	return rc;
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
	REAL(int, "fallocate", int, int, off_t, off_t);
	meet(AT_PUNCH);
	int rc = real(fd, mode, at, n);
	meet(AFTER_PUNCH);
	return rc;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	REAL(ssize_t, "sendmsg", int, const struct msghdr *, int);
	meet(AT_SEND);
	ssize_t did = real(fd, m, flags);
	meet(AFTER_SEND);
	return did;
}

/* ---- the store ---------------------------------------------------------------------------------- */

struct put {
	struct ident id;
	struct ticket *ticket;
	bool answered, durable, arrived;
};
static struct put *sent; /* owned */
static size_t sent_n, arrived_n, again_n;
static struct loop *loop;

struct guest {
	struct stream *io;
	bool in_body;
	char id[IDENT_LEN + 1];
};

static void arrived(const char *id)
{
	for (size_t i = sent_n; i-- > 0;) {
		if (strcmp(sent[i].id.s, id) != 0)
			continue;
		again_n += sent[i].arrived;
		arrived_n += !sent[i].arrived;
		sent[i].arrived = true;
		return;
	}
	fail_msg("a message that nobody sent: %s", id);
}

static void on_line(struct guest *g, struct span line)
{
	static const struct span word = { " XDELIVERYID=", 13 };
	if (g->in_body) {
		if (!span_eq_str(line, "."))
			return;
		g->in_body = false;
		arrived(g->id);
	} else if (span_starts(line, SPAN("LHLO"))) {
		stream_write_span(g->io, SPAN("250-x\r\n250-PIPELINING\r\n250 XDELIVERYID\r\n"));
		return;
	} else if (span_starts(line, SPAN("MAIL"))) {
		struct span at = line;
		while (at.n > word.n && !span_starts(at, word))
			at = span_from(at, 1);
		snprintf(g->id, sizeof g->id, "%.*s", SPAN_ARG(span_from(at, word.n)));
	} else if (span_starts(line, SPAN("DATA"))) {
		g->in_body = true;
		stream_write_span(g->io, SPAN("354 go\r\n"));
		return;
	}
	stream_write_span(g->io, SPAN("250 2.0.0 ok\r\n"));
}

static void on_guest(void *arg, enum stream_event ev)
{
	struct guest *g = arg;
	if (ev == STREAM_EOF || ev == STREAM_FAILED) {
		stream_free(&g->io);
		mem_free(g);
		return;
	}
	for (;;) {
		struct span in = stream_input(g->io);
		size_t end = span_find(in, '\n');
		if (ev != STREAM_INPUT || end == SIZE_MAX)
			return;
		struct span line = span_first(in, end);
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		on_line(g, line);
		stream_eat(g->io, end + 1);
	}
}

static void on_accept(void *arg, const struct accepted *a)
{
	struct guest *g = MEM_NEW(struct guest);
	g->io = stream_new(loop, a->fd, (struct stream_limits){ 1 << 20, 1 << 20 }, on_guest, g);
	stream_write_span(g->io, SPAN("220 store\r\n"));
}

/* ---- victims ------------------------------------------------------------------------------------ */

static struct conf *conf;
static int spool_fd;
static pid_t victim;
static unsigned hits[POINTS];

static void run_victim(enum point p, unsigned calls)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	loop_after_fork(&loop);
	struct loop *own = loop_new();
	struct dns *dns = daemon_dns(own, conf);
	struct directory *directory = directory_new(own, dns, conf);
	fault = p;
	calls_left = calls;
	struct queue *q = queue_new(&(struct queue_opts){
	    .loop = own, .dns = dns, .directory = directory, .conf = conf, .loaded_max = 1 });
	struct spool_serve *serve = spool_serve_new(own, q);
	spool_serve_listen(serve, spool_fd);
	for (;;)
		loop_step(own, 1000);
}

static void victim_up(enum point p)
{
	unsigned calls = 1 + (unsigned)rand_below(CALLS_MAX);
	victim = fork();
	assert_true(victim >= 0);
	if (victim > 0)
		return;
	run_victim(p, calls);
	_exit(1);
}

/* True: it has died of its fault. */
static bool victim_died(enum point p)
{
	int status;
	if (waitpid(victim, &status, WNOHANG) != victim)
		return false;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	hits[p]++;
	return true;
}

/* ---- messages ----------------------------------------------------------------------------------- */

enum { TEXT = 60000, SHORT = 500 };
static char text[TEXT];

static void make_text(void)
{
	static const char head[] = "Subject: x\r\n\r\n",
			  line[] = "A line, and one more of the same kind.\r\n";
	memcpy(text, head, sizeof head - 1);
	for (size_t at = sizeof head - 1; at < TEXT; at++)
		text[at] = line[(at - (sizeof head - 1)) % (sizeof line - 1)];
	for (size_t end = SHORT; end <= TEXT; end += TEXT - SHORT)
		memcpy(text + end - 2, "\r\n", 2);
}

static struct span read_text(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	return span_of(text + at, n);
}

static void on_put(void *arg, err_t err)
{
	struct put *p = &sent[(uintptr_t)arg];
	p->ticket = NULL;
	p->answered = true;
	p->durable = err == ERR_OK;
}

static void put_one(struct spool_link *link)
{
	struct put *p = &sent[sent_n];
	struct spool_recipient to = { .address = SPAN("alice@x.example"),
		.user = SPAN("alice@x.example") };
	p->id = ident_new();
	struct spool_message m = { .id = p->id,
		.session = ident_new(),
		.arrived_us = clock_wall_us(),
		.recipients = &to,
		.recipient_count = 1,
		.body_bytes = sent_n % 4 == 0 ? TEXT : SHORT };
	p->ticket = spool_put(link,
	    &(struct spool_put_opts){
		.message = &m, .body = { read_text, NULL, m.body_bytes }, .deadline_ms = WAIT_MS },
	    on_put, (void *)(uintptr_t)sent_n);
	sent_n++;
}

static bool all_answered(void)
{
	for (size_t i = sent_n > 2 * BATCH ? sent_n - 2 * BATCH : 0; i < sent_n; i++)
		if (!sent[i].answered)
			return false;
	return true;
}

static bool durable_arrived(void)
{
	for (size_t i = 0; i < sent_n; i++)
		if (sent[i].durable && !sent[i].arrived)
			return false;
	return true;
}

/* One victim after the other, each with a batch after the other, until each point was hit often enough. */
static void torment(struct spool_link *link, unsigned wanted)
{
	for (enum point p = 0; p < POINTS; p++) {
		uint64_t until = clock_mono_ms() + 1000ull * (5 * wanted + 30);
		victim_up(p);
		while (hits[p] < wanted && clock_mono_ms() < until && sent_n + BATCH < PUTS_MAX) {
			if (all_answered())
				for (int i = 0; i < BATCH; i++)
					put_one(link);
			loop_step(loop, 5);
			if (victim_died(p))
				victim_up(p);
		}
		kill(victim, SIGKILL);
		waitpid(victim, NULL, 0);
	}
}

static void test_fault_points(void **state)
{
	char path[SPOOL_PATH_SIZE], store[100], spool[100];
	unsigned wanted =
	    getenv("CRASH_HITS") != NULL ? (unsigned)strtoul(getenv("CRASH_HITS"), NULL, 10) : 5;
	conf = load();
	struct edge_conf *edge = (struct edge_conf *)(uintptr_t)conf_section(conf, &edge_block);
	snprintf(spool, sizeof spool, "%s/spool", dir);
	snprintf(store, sizeof store, "%s/store1.sock", dir);
	edge->spool = spool;
	edge->spool_segment = 64 * 1024;
	edge->queue_retry_first = edge->queue_retry_max = edge->dead_backoff = 50;
	make_text();
	sent = mem_array(PUTS_MAX, sizeof(*sent));
	loop = loop_new();
	spool_fd = listen_open_unix(spool_socket_path(dir, path), 0600);
	int store_fd = listen_open_unix(store, 0600);
	struct listener *door = listener_new(
	    loop, store_fd, &(struct listener_opts){ .proxy_ms = 1000 }, on_accept, NULL);
	struct spool_link *link = spool_link_new(loop, path);
	torment(link, wanted);
	victim_up(POINTS);
	uint64_t until = clock_mono_ms() + WAIT_MS;
	while (clock_mono_ms() < until && !(all_answered() && durable_arrived()))
		loop_step(loop, 10);
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
	size_t lost = 0;
	for (size_t i = 0; i < sent_n; i++)
		lost += sent[i].durable && !sent[i].arrived;
	for (enum point p = 0; p < POINTS; p++)
		printf("%s: %u\n", names[p], hits[p]);
	printf("messages %zu arrived %zu asked again %zu lost %zu\n", sent_n, arrived_n, again_n,
	    lost);
	assert_int_equal(lost, 0);
	for (enum point p = 0; p < POINTS; p++)
		assert_true(hits[p] > 0);
	spool_link_free(&link);
	listener_free(&door);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_fault_points) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
