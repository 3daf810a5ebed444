/* test_queue_crash.c - the queue process is killed at a list of fault points while messages come in and go out: what was
 * acknowledged arrives. At a store that knows ids it arrives once; at a foreign server it comes again only where the
 * queue cannot have seen the reply: it died before it said another word on that connection.
 *
 * Of four messages two come as parts of one mail, and become messages behind its record.
 *
 * Each victim is a child that runs the queue as it is, with syncs, and dies at the n-th call of one kind: at its
 * beginning, half done, or at its end. This process asks over the link, as workers do, and is both servers: what is for
 * alice goes to the store with ids, what is for bob to the foreign one. CRASH_HITS says how often each point is hit (5),
 * CRASH_MESSAGES how many messages pass at least; `make crash` says 100 and 100,000. Each point has a spool of its own. */
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
#include "edge/commit_internal.h"
#include "edge/commit_unit.h"
#include "edge/queue.h"
#include "edge/spool_link.h"
#include "edge/spool_serve.h"
#include "edge/spool_wire.h"
#include "edge/unit.h"
#include "net/listen.h"
#include "net/stream.h"
#include "proto/smtp_body.h"

enum { BATCH = 24, PUTS_MAX = 400000, WAIT_MS = 60000 };

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
static const struct {
	const char *name;
	unsigned calls_max; /* a victim dies at one of so many calls: about a hundred messages */
} points[POINTS] = {
	[AT_APPEND] = { "at append", 400 },
	[IN_APPEND] = { "in append", 400 },
	[AFTER_APPEND] = { "after append", 400 },
	[AT_SYNC] = { "at sync", 60 },
	[AFTER_SYNC] = { "after sync", 60 },
	[AT_MARK] = { "at mark", 200 },
	[AFTER_MARK] = { "after mark", 200 },
	[AT_PUNCH] = { "at punch", 40 },
	[AFTER_PUNCH] = { "after punch", 40 },
	[AT_SEND] = { "at send", 600 },
	[AFTER_SEND] = { "after send", 600 },
};

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

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	REAL(ssize_t, "send", int, const void *, size_t, int);
	meet(AT_SEND);
	ssize_t did = real(fd, p, n, flags);
	meet(AFTER_SEND);
	return did;
}

/* ---- the store ---------------------------------------------------------------------------------- */

struct put {
	struct ident id;
	struct ticket *ticket;
	bool foreign;
	bool answered, durable, arrived;
	bool told; /* a foreign server's reply was read: the queue went on behind it */
};
static struct put *sent; /* owned */
static size_t sent_n,
    done_n; /* before done_n: all of them have arrived, or nobody was promised that */
static size_t arrived_n, asked_again_n, twice_n, wrong_n;
static struct loop *loop;

/* A connection to one of the servers. */
struct guest {
	struct stream *io;
	bool in_body, foreign;
	size_t number; /* of the message that is coming, or came last; SIZE_MAX: none */
	bool replied;
	char id[IDENT_LEN + 1];
};

/* At the store with ids a message that comes again is answered and not taken. */
static void arrived(struct guest *g)
{
	assert_true(g->number < sent_n);
	struct put *p = &sent[g->number];
	assert_true(p->foreign == g->foreign);
	if (!g->foreign)
		assert_string_equal(p->id.s, g->id);
	arrived_n += !p->arrived;
	if (p->arrived && g->foreign) {
		twice_n++;
		wrong_n += p->told;
	} else if (p->arrived) {
		asked_again_n++;
	}
	p->arrived = true;
	g->replied = true;
}

static void on_body(struct guest *g, struct span line)
{
	static const struct span field = { "X-Number: ", 10 };
	if (span_starts(line, field)) {
		char digits[20];
		snprintf(digits, sizeof digits, "%.*s", SPAN_ARG(span_from(line, field.n)));
		g->number = (size_t)strtoul(digits, NULL, 10);
	}
	if (!span_eq_str(line, "."))
		return;
	g->in_body = false;
	arrived(g);
	stream_write_span(g->io, SPAN("250 2.0.0 ok\r\n"));
}

static void on_line(struct guest *g, struct span line)
{
	static const struct span word = { " XDELIVERYID=", 13 };
	if (g->in_body) {
		on_body(g, line);
		return;
	}
	if (g->replied)
		sent[g->number].told = true;
	g->replied = false;
	if (span_starts(line, SPAN("LHLO"))) {
		stream_write_span(g->io, g->foreign ? SPAN("250-x\r\n250 PIPELINING\r\n")
						    : SPAN("250-x\r\n250-PIPELINING\r\n"
							   "250 XDELIVERYID\r\n"));
		return;
	}
	if (span_starts(line, SPAN("MAIL"))) {
		struct span at = line;
		while (at.n > word.n && !span_starts(at, word))
			at = span_from(at, 1);
		snprintf(g->id, sizeof g->id, "%.*s", SPAN_ARG(span_from(at, word.n)));
	} else if (span_starts(line, SPAN("DATA"))) {
		g->in_body = true;
		g->number = SIZE_MAX;
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
	g->foreign = arg != NULL;
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
	unsigned calls = p < POINTS ? 1 + (unsigned)rand_below(points[p].calls_max) : 0;
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

enum { TEXT = 60000, SHORT = 500, NUMBER = 22 };
static char text[TEXT];

static void make_text(void)
{
	static const char head[] = "Subject: x\r\n\r\n",
			  line[] = "A line, and one more of the same kind.\r\n";
	memset(text, ' ', NUMBER);
	memcpy(text + NUMBER, head, sizeof head - 1);
	for (size_t at = NUMBER + sizeof head - 1; at < TEXT; at++)
		text[at] = line[(at - NUMBER) % (sizeof line - 1)];
	for (size_t end = SHORT; end <= TEXT; end += TEXT - SHORT)
		memcpy(text + end - 2, "\r\n", 2);
}

/* The first field is the message's number. */
static struct span read_text(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	char number[NUMBER + 1];
	snprintf(number, sizeof number, "X-Number: %010zu\r\n", (size_t)(uintptr_t)arg);
	memcpy(text, number, NUMBER);
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
	p->foreign = sent_n % 2 == 1;
	struct span address = p->foreign ? SPAN("frank@x.example") : SPAN("alice@x.example");
	struct spool_recipient to = { .address = address, .user = address };
	p->id = ident_new();
	struct spool_message m = { .id = p->id,
		.session = ident_new(),
		.arrived_us = clock_wall_us(),
		.recipients = &to,
		.recipient_count = 1,
		.body_bytes = sent_n % 8 < 2 ? TEXT : SHORT };
	p->ticket = spool_put(link,
	    &(struct spool_put_opts){ .message = &m,
		.body = { read_text, (void *)(uintptr_t)sent_n, m.body_bytes },
		.deadline_ms = WAIT_MS },
	    on_put, (void *)(uintptr_t)sent_n);
	sent_n++;
}

/* ---- mail in two parts -------------------------------------------------------------------------- */

enum { PARTS = 2 };

/* The first field, which is the message's number, is the part's own; the rest is the same. */
struct pair {
	struct list_node link;
	struct commit_unit *unit;
	struct transaction *mail, *part[PARTS];
	size_t first; /* in sent */
};
static struct list_node pairs;
static struct committer committer;

static void pair_free(struct pair *p)
{
	list_remove(&p->link);
	commit_unit_free(&p->unit);
	for (size_t i = 0; i < PARTS; i++) {
		p->part[i]->body = NULL;
		transaction_free(&p->part[i]);
	}
	transaction_free(&p->mail);
	mem_free(p);
}

static void pairs_tidy(void)
{
	struct list_node *n = pairs.next;
	while (n != &pairs) {
		struct pair *p = LIST_OF(struct pair, link, n);
		n = n->next;
		if (sent[p->first].answered && sent[p->first + 1].answered)
			pair_free(p);
	}
}

static void join(struct pair *p, size_t i)
{
	struct put *put = &sent[sent_n];
	char number[NUMBER + 1];
	put->foreign = i == 1;
	put->id = unit_part_id(p->mail->id, i);
	struct span address = put->foreign ? SPAN("frank@x.example") : SPAN("alice@x.example");
	struct spool_recipient to = { .address = address, .user = address };
	struct transaction *t = transaction_new(p->mail->session);
	snprintf(number, sizeof number, "X-Number: %010zu\r\n", sent_n);
	t->id = put->id;
	t->body = p->mail->body;
	t->prefix = mem_str(number);
	p->part[i] = t;
	struct spool_message m = commit_envelope(t);
	m.recipients = &to;
	m.recipient_count = 1;
	m.body_bytes = NUMBER + body_size(t->body);
	put->ticket = commit_unit_join(p->unit, t, &m, on_put, (void *)(uintptr_t)sent_n);
	sent_n++;
}

static void put_pair(struct spool_link *link)
{
	struct pair *p = MEM_NEW(struct pair);
	size_t size = sent_n % 8 < 2 ? TEXT : SHORT;
	p->first = sent_n;
	p->mail = transaction_new(ident_new());
	p->mail->arrived_us = clock_wall_us();
	p->mail->body = body_new(1 << 20, 1 << 20, dir);
	assert_int_equal(body_add(p->mail->body, span_of(text + NUMBER, size - NUMBER)), ERR_OK);
	committer = (struct committer){
		.loop = loop, .edge = conf_section(conf, &edge_block), .spool = link
	};
	p->unit = commit_unit_new(&committer, p->mail, PARTS);
	list_add_tail(&pairs, &p->link);
	for (size_t i = 0; i < PARTS; i++)
		join(p, i);
}

static bool all_answered(void)
{
	for (size_t i = sent_n > 2 * BATCH ? sent_n - 2 * BATCH : 0; i < sent_n; i++)
		if (!sent[i].answered)
			return false;
	return true;
}

/* Since the last point. */
static size_t count_lost(void)
{
	size_t lost = 0;
	for (size_t i = done_n; i < sent_n; i++)
		lost += sent[i].durable && !sent[i].arrived;
	return lost;
}

static void victim_end(void)
{
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
}

static void put_batch(struct spool_link *link)
{
	pairs_tidy();
	for (size_t end = sent_n + BATCH; sent_n < end;)
		if (sent_n % 4 == 0)
			put_pair(link);
		else
			put_one(link);
}

/* Victims of one kind, one after the other, with a batch after the other. */
static void torment(struct spool_link *link, enum point p, unsigned wanted, size_t messages)
{
	uint64_t until = clock_mono_ms() + 1000ull * (10 * wanted + 60);
	size_t enough = sent_n + messages;
	victim_up(p);
	while ((hits[p] < wanted || sent_n < enough) && clock_mono_ms() < until &&
	       sent_n + BATCH < PUTS_MAX) {
		if (all_answered())
			put_batch(link);
		loop_step(loop, 5);
		if (victim_died(p))
			victim_up(p);
	}
	victim_end();
}

/* A queue that nothing happens to delivers what is left. How many it does not. */
static size_t settle(void)
{
	uint64_t until = clock_mono_ms() + WAIT_MS;
	victim_up(POINTS);
	while (clock_mono_ms() < until && !(all_answered() && count_lost() == 0))
		loop_step(loop, 10);
	victim_end();
	size_t lost = count_lost();
	done_n = sent_n;
	return lost;
}

static struct listener *door(const char *name, void *foreign)
{
	char path[100];
	snprintf(path, sizeof path, "%s/%s.sock", dir, name);
	return listener_new(loop, listen_open_unix(path, 0600),
	    &(struct listener_opts){ .proxy_ms = 1000 }, on_accept, foreign);
}

static void add_frank(void)
{
	char path[100];
	snprintf(path, sizeof path, "%s/users.ldif", dir);
	FILE *f = fopen(path, "a");
	assert_non_null(f);
	fputs("\ndn: uid=frank,dc=x,dc=postern\nobjectClass: inetMailUser\nuid: frank\n"
	      "mail: frank@x.example\nmailHost: store2\nuserPassword: x\n",
	    f);
	fclose(f);
}

static struct edge_conf *prepare(void)
{
	add_frank();
	conf = load();
	struct edge_conf *edge = (struct edge_conf *)(uintptr_t)conf_section(conf, &edge_block);
	edge->spool_segment = 64 * 1024;
	edge->queue_retry_first = edge->queue_retry_max = edge->dead_backoff = 50;
	edge->spool_timeout = WAIT_MS;
	list_init(&pairs);
	make_text();
	sent = mem_array(PUTS_MAX, sizeof(*sent));
	loop = loop_new();
	return edge;
}

static unsigned number_of(const char *variable, unsigned otherwise)
{
	const char *said = getenv(variable);
	return said != NULL ? (unsigned)strtoul(said, NULL, 10) : otherwise;
}

static void test_fault_points(void **state)
{
	char path[SPOOL_PATH_SIZE], spool[100];
	unsigned wanted = number_of("CRASH_HITS", 5);
	size_t each = number_of("CRASH_MESSAGES", 0) / POINTS + 1, lost = 0;
	struct edge_conf *edge = prepare();
	spool_fd = listen_open_unix(spool_socket_path(dir, path), 0600);
	struct listener *doors[2] = { door("store1", NULL), door("store2", &edge) };
	struct spool_link *link = spool_link_new(loop, path);
	for (enum point p = 0; p < POINTS; p++) {
		snprintf(spool, sizeof spool, "%s/spool%d", dir, (int)p);
		edge->spool = spool;
		torment(link, p, wanted, each);
		size_t lost_here = settle();
		lost += lost_here;
		printf("%s: %u hits, %zu messages so far, lost %zu\n", points[p].name, hits[p],
		    sent_n, lost_here);
		fflush(stdout);
	}
	size_t durable = 0;
	for (size_t i = 0; i < sent_n; i++)
		durable += sent[i].durable;
	printf("messages %zu promised %zu arrived %zu lost %zu; with ids: asked again %zu; "
	       "foreign: twice %zu, of these with a reply that was read %zu\n",
	    sent_n, durable, arrived_n, lost, asked_again_n, twice_n, wrong_n);
	assert_int_equal(lost, 0);
	assert_int_equal(wrong_n, 0);
	for (enum point p = 0; p < POINTS; p++)
		assert_true(hits[p] > 0);
	pairs_tidy();
	assert_true(list_empty(&pairs));
	spool_link_free(&link);
	for (size_t i = 0; i < COUNT_OF(doors); i++)
		listener_free(&doors[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_fault_points) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
