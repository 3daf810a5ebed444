/* queue_bench.h - link, server, queue and log as they are, in one loop, in front of one scripted store. */
#ifndef TESTS_QUEUE_BENCH_H
#define TESTS_QUEUE_BENCH_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/unit/edge/fake_peer.h"
#include "tests/unit/edge/place.h"

#include "base/clock.h"
#include "edge/queue.h"
#include "edge/spool_link.h"
#include "edge/spool_serve.h"
#include "edge/spool_wire.h"

/* A test of what is not in memory says 1. */
#ifndef NO_SYNC
#define NO_SYNC true
#endif
#ifndef LOADED_MAX
#define LOADED_MAX 0
#endif

enum { WAIT_MS = 20000, SOON_MS = 50, LATE_MS = 3600 * 1000, PUTS = 40 };

struct put {
	struct bench *bench;
	struct ticket *ticket;
	bool answered;
	err_t err;
};

struct bench {
	struct loop *loop;
	struct conf *conf;
	struct edge_conf *edge; /* of conf; written to before the queue is made */
	struct dns *dns;
	struct directory *directory;
	struct queue *queue;
	struct spool_serve *serve;
	int fd;
	char path[SPOOL_PATH_SIZE];
	struct spool_link *link;
	struct fake_peer store;
	struct put puts[PUTS];
	struct buf body;
	bool drained;
	bool trusted, aligned, disowned; /* of what put() sends: with what its sender wishes */
	enum smtp_ret ret;
	const char *envid;
	bool hold;
	int priority;
	uint64_t deadline_ms; /* of put(); 0: WAIT_MS */
};

/* ---- the bench ---------------------------------------------------------------------------------- */

static void queue_up(struct bench *b)
{
	b->queue = queue_new(&(struct queue_opts){ .loop = b->loop,
	    .dns = b->dns,
	    .directory = b->directory,
	    .conf = b->conf,
	    .unsafe_no_sync = NO_SYNC,
	    .loaded_max = LOADED_MAX });
	b->serve = spool_serve_new(b->loop, b->queue);
	spool_serve_listen(b->serve, b->fd);
}

static void queue_gone(struct bench *b)
{
	spool_serve_free(&b->serve);
	queue_free(&b->queue);
}

static void queue_again(struct bench *b)
{
	queue_gone(b);
	queue_up(b);
}

static void store_up(struct bench *b, const char *const *script)
{
	char path[100];
	snprintf(path, sizeof path, "%s/store1.sock", dir);
	fake_start_at(&b->store, b->loop, script, path);
}

/* Retries come within SOON_MS; a test changes b->edge and calls queue_again(). */
static void bench_open(struct bench *b, const char *const *script)
{
	static unsigned serial;
	char spool[100];
	*b = (struct bench){ .loop = loop_new(), .conf = load(), .body = BUF_INIT(1 << 22) };
	snprintf(spool, sizeof spool, "%s/spool%u", dir, serial++);
	b->edge = (struct edge_conf *)(uintptr_t)conf_section(b->conf, &edge_block);
	b->edge->spool = mem_str(spool);
	b->edge->queue_retry_first = b->edge->queue_retry_max = SOON_MS;
	b->edge->dead_backoff = SOON_MS;
	b->edge->queue_concurrency = 1; /* the scripted store speaks to one client */
	b->dns = daemon_dns(b->loop, b->conf);
	b->directory = directory_new(b->loop, b->dns, b->conf);
	b->fd = listen_open_unix(spool_socket_path(dir, b->path), 0600);
	assert_true(b->fd >= 0);
	b->link = spool_link_new(b->loop, b->path);
	queue_up(b);
	store_up(b, script);
}

static void set_body(struct bench *b, size_t size)
{
	buf_clear(&b->body);
	buf_add_str(&b->body, "Subject: x\r\nX-Long: y\r\n\r\n");
	for (size_t i = 0; buf_len(&b->body) < size; i++)
		buf_printf(&b->body, "line %zu\r\n", i);
}

/* What fails once is not tried again by itself. */
__attribute__((unused)) static void open_late(struct bench *b, const char *const *script)
{
	bench_open(b, script);
	b->edge->queue_retry_first = b->edge->queue_retry_max = LATE_MS;
	queue_again(b);
	set_body(b, 100);
}

static void bench_close(struct bench *b)
{
	assert_null(b->store.wrong);
	spool_link_free(&b->link);
	queue_gone(b);
	close(b->fd);
	fake_end(&b->store);
	directory_free(&b->directory);
	dns_free(&b->dns);
	mem_free((char *)(uintptr_t)b->edge->spool);
	conf_unref(&b->conf);
	buf_end(&b->body);
	for (int i = 0; i < 3; i++)
		loop_step(b->loop, 0);
	loop_free(&b->loop);
}

#define WAIT_FOR(b, condition)                                                                     \
	do {                                                                                       \
		uint64_t wait_until = clock_mono_ms() + WAIT_MS;                                   \
		while (!(condition)) {                                                             \
			assert_true(clock_mono_ms() < wait_until);                                 \
			loop_step((b)->loop, 10);                                                  \
		}                                                                                  \
	} while (0)

/* A port that nobody listens at: bound, and no more. */
__attribute__((unused)) static uint16_t dead_port(int *fd_out)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof a;
	*fd_out = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(*fd_out, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(getsockname(*fd_out, (struct sockaddr *)&a, &n), 0);
	return ntohs(a.sin_port);
}

/* ---- questions ----------------------------------------------------------------------------------- */

static struct span read_body(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	struct bench *b = arg;
	return span_first(span_from(buf_span(&b->body), (size_t)at), n);
}

static void on_put(void *arg, err_t err)
{
	struct put *p = arg;
	p->ticket = NULL;
	p->answered = true;
	p->err = err;
}

__attribute__((unused)) static struct spool_recipient to(const char *address)
{
	struct spool_recipient r = { .address = span_str(address) };
	if (strstr(address, "@x.example") != NULL)
		r.user = r.address;
	return r;
}

/* Whom commit has refused while the client waited. */
__attribute__((unused)) static struct spool_recipient refused_to(const char *address)
{
	struct spool_recipient r = to(address);
	r.fate = SPOOL_REFUSED;
	r.code = 550;
	r.enhanced = SPAN("5.7.9");
	r.text = SPAN("not for bob");
	return r;
}

/* recipients end with one whose address is empty. */
static struct put *put(
    struct bench *b, struct ident id, const char *sender, struct spool_recipient *recipients)
{
	size_t i = 0;
	while (b->puts[i].bench != NULL)
		i++;
	struct spool_message m = { .id = id,
		.session = ident_new(),
		.arrived_us = clock_wall_us(),
		.sender = span_str(sender),
		.trusted = b->trusted,
		.aligned = b->aligned,
		.disowned = b->disowned,
		.ret = b->ret,
		.hold = b->hold,
		.priority = b->priority,
		.envid = span_str(b->envid),
		.recipients = recipients,
		.body_bytes = buf_len(&b->body) };
	struct spool_put_opts opts = { .message = &m,
		.body = { read_body, b, buf_len(&b->body) },
		.deadline_ms = b->deadline_ms != 0 ? b->deadline_ms : WAIT_MS };
	while (recipients[m.recipient_count].address.n > 0)
		m.recipient_count++;
	b->puts[i] = (struct put){ .bench = b };
	b->puts[i].ticket = spool_put(b->link, &opts, on_put, &b->puts[i]);
	return &b->puts[i];
}

__attribute__((unused)) static struct ident put_and_wait(
    struct bench *b, const char *sender, struct spool_recipient *recipients)
{
	struct ident id = ident_new();
	struct put *p = put(b, id, sender, recipients);
	assert_false(p->answered);
	WAIT_FOR(b, p->answered);
	assert_int_equal(p->err, ERR_OK);
	return id;
}

/* How often the store has heard a word. */
__attribute__((unused)) static size_t seen(struct bench *b, const char *word)
{
	return fake_saw(&b->store, word);
}

/* Everything that waits is due now; how many recipients that were. */
__attribute__((unused)) static size_t retry(struct bench *b)
{
	static const char *const order[] = { "retry" };
	static const char member[] = "\"recipients\":";
	struct buf out = BUF_INIT(1000);
	assert_true(queue_control(b->queue, order, 1, NULL, &out));
	const char *at = strstr(buf_cstr(&out), member);
	assert_non_null(at);
	size_t n = strtoul(at + sizeof member - 1, NULL, 10);
	buf_end(&out);
	return n;
}

#define TO(...)                                                                                    \
	(struct spool_recipient[])                                                                 \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			.address = { 0 }                                                           \
		}                                                                                  \
	}
#define SCRIPT(...)                                                                                \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}
#define LHLO                                                                                       \
	"S 220 hi", "C LHLO edge.example",                                                         \
	    "R 250-x\r\n250-PIPELINING\r\n250-XDELIVERYID\r\n250 SIZE 9999999\r\n"
#define MAIL(from, rcpt) "C MAIL FROM:<" from ">", "C RCPT TO:<" rcpt "@x.example>", "C DATA"
#define GO "S 250 ok", "S 250 ok", "S 354 go", "B"
#define DONE "S 250 2.0.0 done"
#define EMPTY(b) (queue_recipients((b)->queue) == 0)

#endif
