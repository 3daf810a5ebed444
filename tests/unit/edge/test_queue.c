/* test_queue.c - from a worker's question to the store, in one process: link, server, queue and log are the
 * real ones, the store is scripted. What is durable survives closing; nothing is delivered twice. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/edge/fake_peer.h"
#include "tests/unit/edge/place.h"

#include "base/clock.h"
#include "edge/queue.h"
#include "edge/spool_link.h"
#include "edge/spool_serve.h"
#include "edge/spool_wire.h"

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
};

/* ---- the bench ---------------------------------------------------------------------------------- */

static void queue_up(struct bench *b)
{
	b->queue = queue_new(&(struct queue_opts){ .loop = b->loop,
	    .dns = b->dns,
	    .directory = b->directory,
	    .conf = b->conf,
	    .unsafe_no_sync = true });
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

static void store_again(struct bench *b, const char *const *script)
{
	fake_end(&b->store);
	store_up(b, script);
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

static size_t occurs(struct buf *in, const char *word)
{
	size_t n = 0;
	for (const char *at = buf_cstr(in); (at = strstr(at, word)) != NULL; at++)
		n++;
	return n;
}

static size_t seen(struct bench *b, const char *word)
{
	return occurs(&b->store.seen, word);
}

static bool listed(struct bench *b, const char *word)
{
	struct buf out = BUF_INIT(1 << 20);
	queue_list(b->queue, 100, &out);
	bool found = strstr(buf_cstr(&out), word) != NULL;
	buf_end(&out);
	return found;
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

static void set_body(struct bench *b, size_t size)
{
	buf_clear(&b->body);
	buf_add_str(&b->body, "Subject: x\r\nX-Long: y\r\n\r\n");
	for (size_t i = 0; buf_len(&b->body) < size; i++)
		buf_printf(&b->body, "line %zu\r\n", i);
}

static struct spool_recipient to(const char *address)
{
	struct spool_recipient r = { .address = span_str(address) };
	if (strstr(address, "@x.example") != NULL)
		r.user = r.address;
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
		.recipients = recipients,
		.body_bytes = buf_len(&b->body) };
	struct spool_put_opts opts = {
		.message = &m, .body = { read_body, b, buf_len(&b->body) }, .deadline_ms = WAIT_MS
	};
	while (recipients[m.recipient_count].address.n > 0)
		m.recipient_count++;
	b->puts[i] = (struct put){ .bench = b };
	b->puts[i].ticket = spool_put(b->link, &opts, on_put, &b->puts[i]);
	return &b->puts[i];
}

static struct ident put_and_wait(
    struct bench *b, const char *sender, struct spool_recipient *recipients)
{
	struct ident id = ident_new();
	struct put *p = put(b, id, sender, recipients);
	assert_false(p->answered);
	WAIT_FOR(b, p->answered);
	assert_int_equal(p->err, ERR_OK);
	return id;
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

/* ---- tests --------------------------------------------------------------------------------------- */

/* Durable, delivered with its id, forgotten; asked again it is known, and not delivered again. */
static void test_delivered(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("s@far.example", "alice"), GO, DONE));
	set_body(&b, 1000);
	struct ident id = put_and_wait(&b, "s@far.example", TO(to("alice@x.example")));
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(seen(&b, id.s), 1);
	assert_int_equal(seen(&b, buf_cstr(&b.body)), 1);
	for (int i = 0; i < 2; i++) {
		struct put *again = put(&b, id, "s@far.example", TO(to("alice@x.example")));
		WAIT_FOR(&b, again->answered);
		assert_int_equal(again->err, ERR_OK);
		assert_true(EMPTY(&b));
		queue_again(&b); /* the log remembers as well */
	}
	assert_int_equal(b.store.connections, 1);
	bench_close(&b);
}

/* Bodies in memory, at the edges of one record and of chunks. */
static void test_sizes(void **state)
{
	static const size_t sizes[] = { 30, SPOOL_INLINE_MAX, SPOOL_INLINE_MAX + 1, SPOOL_CHUNK,
		SPOOL_CHUNK + 1, 3 * SPOOL_CHUNK + 17 };
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct bench b;
		bench_open(&b, SCRIPT("S 421 no", "X"));
		b.edge->queue_retry_first = b.edge->queue_retry_max = LATE_MS;
		queue_again(&b);
		set_body(&b, sizes[i] - 20);
		while (buf_len(&b.body) < sizes[i] - 2)
			buf_add_char(&b.body, 'z');
		buf_add_str(&b.body, "\r\n");
		assert_int_equal(buf_len(&b.body), sizes[i]);
		put_and_wait(&b, "", TO(to("alice@x.example")));
		queue_gone(&b);
		store_again(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
		queue_up(&b);
		WAIT_FOR(&b, (queue_retry(b.queue), EMPTY(&b)));
		char *want = mem_alloc(sizes[i] + 3);
		snprintf(want, sizes[i] + 3, "{%s}", buf_cstr(&b.body));
		assert_int_equal(seen(&b, want), 1);
		mem_free(want);
		bench_close(&b);
	}
}

/* A mailbox that is full is tried again by itself; the queue can say why. */
static void test_deferred(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("s@far.example", "alice"), GO, "S 452 4.2.2 full",
			   MAIL("s@far.example", "alice"), GO, "S 452 4.2.2 full",
			   MAIL("s@far.example", "alice"), GO, DONE));
	set_body(&b, 100);
	put_and_wait(&b, "s@far.example", TO(to("alice@x.example")));
	WAIT_FOR(&b, listed(&b, "\"attempts\":1,") || EMPTY(&b));
	assert_true(listed(&b, "\"reason\":\"full\""));
	assert_true(listed(&b, "\"destination\":\"store1\""));
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(seen(&b, "C MAIL") + seen(&b, "MAIL FROM"), 3);
	assert_int_equal(b.store.connections, 1);
	bench_close(&b);
}

/* Nothing is due for an hour, then the operator asks. */
static void test_retry(void **state)
{
	struct bench b;
	bench_open(&b,
	    SCRIPT(LHLO, MAIL("", "alice"), GO, "S 452 4.2.2 full", MAIL("", "alice"), GO, DONE));
	b.edge->queue_retry_first = b.edge->queue_retry_max = LATE_MS;
	queue_again(&b);
	set_body(&b, 100);
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, listed(&b, "\"attempts\":1,"));
	for (int i = 0; i < 10; i++)
		loop_step(b.loop, 10);
	assert_int_equal(seen(&b, "MAIL FROM"), 1);
	assert_int_equal(queue_retry(b.queue), 1);
	WAIT_FOR(&b, EMPTY(&b));
	bench_close(&b);
}

/* A store that is away holds up its mail; when it is back everything goes, after a reopen too. */
static void test_store_away(void **state)
{
	struct bench b;
	bench_open(
	    &b, SCRIPT("S 421 4.3.2 down", "X", "S 421 4.3.2 down", "X", "S 421 4.3.2 down", "X"));
	set_body(&b, 100);
	for (int i = 0; i < 3; i++)
		put_and_wait(&b, "s@far.example", TO(to("alice@x.example")));
	WAIT_FOR(&b, listed(&b, "421 4.3.2") || listed(&b, "421 down"));
	queue_again(&b);
	assert_int_equal(queue_recipients(b.queue), 3);
	store_again(&b,
	    SCRIPT(LHLO, MAIL("s@far.example", "alice"), GO, DONE, MAIL("s@far.example", "alice"),
		GO, DONE, MAIL("s@far.example", "alice"), GO, DONE));
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(seen(&b, "MAIL FROM"), 3);
	bench_close(&b);
}

/* What one of two recipients has is not given to it again after a reopen. */
static void test_progress_is_kept(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, "C MAIL", "C RCPT TO:<alice@", "C RCPT TO:<bob@", "C DATA",
			   "S 250 ok", "S 250 ok", "S 250 ok", "S 354 go", "B", DONE,
			   "S 452 4.2.2 full", "X", LHLO, MAIL("", "bob"), GO, DONE));
	b.edge->queue_retry_first = b.edge->queue_retry_max = LATE_MS;
	queue_again(&b);
	set_body(&b, 100);
	put_and_wait(&b, "", TO(to("alice@x.example"), to("bob@x.example")));
	WAIT_FOR(&b, queue_recipients(b.queue) == 1);
	queue_again(&b);
	assert_int_equal(queue_recipients(b.queue), 1);
	WAIT_FOR(&b, (queue_retry(b.queue), EMPTY(&b)));
	assert_int_equal(seen(&b, "RCPT TO:<alice"), 1);
	bench_close(&b);
}

/* Refused: the sender, who is ours, is told once, although the queue is reopened on the way. */
static void test_bounced(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("alice@x.example", "bob"), GO,
			   "S 552 5.2.2 no room for ever", "X", "S 421 no", "X"));
	b.edge->queue_retry_first = b.edge->queue_retry_max = LATE_MS;
	b.edge->dead_backoff = LATE_MS;
	queue_again(&b);
	set_body(&b, 100);
	struct ident id = put_and_wait(&b, "alice@x.example", TO(to("bob@x.example")));
	WAIT_FOR(&b, listed(&b, "\"sender\":\"\",\"recipient\":\"alice@x.example\""));
	queue_again(&b);
	assert_int_equal(queue_recipients(b.queue), 1);
	store_again(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	WAIT_FOR(&b, (queue_retry(b.queue), EMPTY(&b)));
	assert_int_equal(seen(&b, "To: <alice@x.example>"), 1);
	assert_int_equal(seen(&b, "Final-Recipient: rfc822; bob@x.example"), 1);
	assert_int_equal(seen(&b, "Status: 5.2.2"), 1);
	assert_int_equal(seen(&b, "no room for ever"), 2);
	assert_int_equal(seen(&b, "X-Long: y"), 1);
	assert_int_equal(seen(&b, "line 0"), 0); /* headers only */
	assert_true(seen(&b, id.s) > 0);
	queue_again(&b);
	assert_true(EMPTY(&b));
	bench_close(&b);
}

/* Commit found one refused while the client waited: its sender is told all the same. */
static void test_bounce_of_commit(void **state)
{
	struct bench b;
	struct spool_recipient refused = to("bob@x.example");
	refused.fate = SPOOL_REFUSED;
	refused.code = 550;
	refused.enhanced = SPAN("5.7.9");
	refused.text = SPAN("not for bob");
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(refused));
	WAIT_FOR(&b, seen(&b, "}") == 1 && EMPTY(&b));
	assert_int_equal(seen(&b, "Status: 5.7.9"), 1);
	assert_int_equal(seen(&b, "550 5.7.9 not for bob"), 2);
	bench_close(&b);
}

/* Nobody is told of a null sender's mail, nor a stranger; a notification that is refused ends there. */
static void test_not_bounced(void **state)
{
	static const char *const senders[] = { "", "s@far.example" };
	for (size_t i = 0; i < COUNT_OF(senders); i++) {
		struct bench b;
		bench_open(&b, SCRIPT(LHLO, "C MAIL", "C RCPT", "C DATA", GO, "S 554 5.0.0 never"));
		set_body(&b, 100);
		put_and_wait(&b, senders[i], TO(to("bob@x.example")));
		WAIT_FOR(&b, EMPTY(&b));
		queue_again(&b);
		assert_true(EMPTY(&b));
		assert_int_equal(seen(&b, "MAIL FROM"), 1);
		bench_close(&b);
	}
	struct bench b;
	bench_open(
	    &b, SCRIPT(LHLO, "C MAIL FROM:<alice@", "C RCPT", "C DATA", GO, "S 554 5.0.0 never",
		    "C MAIL FROM:<>", "C RCPT TO:<alice@", "C DATA", GO, "S 554 5.0.0 never"));
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(to("bob@x.example")));
	WAIT_FOR(&b, seen(&b, "MAIL FROM:<>") == 1 && EMPTY(&b));
	queue_again(&b);
	assert_true(EMPTY(&b));
	bench_close(&b);
}

static void test_given_up(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("alice@x.example", "bob"), GO, "S 452 4.2.2 full",
			   MAIL("", "alice"), GO, DONE));
	b.edge->queue_lifetime = 1;
	queue_again(&b);
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(to("bob@x.example")));
	WAIT_FOR(&b, seen(&b, "}") == 2 && EMPTY(&b));
	assert_int_equal(seen(&b, "Status: 5.4.7"), 1);
	assert_int_equal(seen(&b, "last attempt: full"), 2);
	bench_close(&b);
}

/* A user the directory does not know any more is a bounce; no store is asked. */
static void test_user_gone(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(to("nobody@x.example")));
	WAIT_FOR(&b, seen(&b, "}") == 1 && EMPTY(&b));
	assert_int_equal(seen(&b, "Status: 5.1.1"), 1);
	bench_close(&b);
}

/* Many questions, small and large; the queue goes and comes while they are asked. All are answered, each
 * message is there once. */
static void test_link_breaks(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT("S 421 no", "X"));
	b.edge->queue_retry_first = b.edge->queue_retry_max = LATE_MS;
	b.edge->dead_backoff = LATE_MS;
	queue_again(&b);
	set_body(&b, 700 * 1000);
	for (int i = 0; i < PUTS; i++)
		put(&b, ident_new(), "s@far.example", TO(to("alice@x.example")));
	for (int round = 0; round < 12; round++) {
		for (int i = 0; i < 3 + 2 * round; i++)
			loop_step(b.loop, 5);
		queue_again(&b);
	}
	for (int i = 0; i < PUTS; i++)
		WAIT_FOR(&b, b.puts[i].answered);
	for (int i = 0; i < PUTS; i++)
		assert_int_equal(b.puts[i].err, ERR_OK);
	assert_int_equal(queue_recipients(b.queue), PUTS);
	queue_again(&b);
	assert_int_equal(queue_recipients(b.queue), PUTS);
	bench_close(&b);
}

/* Questions that are taken back at any moment do not hurt the others. */
static void test_put_cancelled(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT("S 421 no", "X"));
	b.edge->queue_retry_first = b.edge->queue_retry_max = LATE_MS;
	b.edge->dead_backoff = LATE_MS;
	queue_again(&b);
	set_body(&b, 700 * 1000);
	for (int i = 0; i < PUTS; i++)
		put(&b, ident_new(), "s@far.example", TO(to("alice@x.example")));
	for (int i = 0; i < PUTS; i += 3) {
		loop_step(b.loop, 5);
		ticket_cancel(&b.puts[i].ticket);
	}
	for (int i = 0; i < PUTS; i++) {
		WAIT_FOR(&b, b.puts[i].answered || i % 3 == 0);
		assert_true(i % 3 == 0 || b.puts[i].err == ERR_OK);
	}
	size_t there = queue_recipients(b.queue);
	assert_true(there >= PUTS - (PUTS + 2) / 3 && there <= PUTS);
	bench_close(&b);
}

static void test_full(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT("S 421 no", "X"));
	b.edge->queue_recipients_max = 2;
	b.edge->dead_backoff = LATE_MS;
	set_body(&b, 100);
	put_and_wait(&b, "", TO(to("alice@x.example"), to("bob@x.example")));
	struct put *p = put(&b, ident_new(), "", TO(to("alice@x.example")));
	WAIT_FOR(&b, p->answered);
	assert_int_equal(p->err, ERR_NO_SPACE);
	assert_int_equal(queue_recipients(b.queue), 2);
	bench_close(&b);
}

/* A question that the queue could not read is refused here and harms no other. */
static void test_unreadable(void **state)
{
	struct bench b;
	char *name = mem_alloc(SPOOL_STRING_MAX + 2);
	memset(name, 'a', SPOOL_STRING_MAX + 1);
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	set_body(&b, 100);
	struct put *p = put(&b, ident_new(), "", TO(to(name)));
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, p->answered && EMPTY(&b));
	assert_int_equal(p->err, ERR_TOO_MANY);
	mem_free(name);
	bench_close(&b);
}

static void on_drained(void *arg)
{
	struct bench *b = arg;
	assert_false(b->drained);
	b->drained = true;
}

/* The running delivery ends, nothing new begins, new mail is still made durable. */
static void test_drain(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	set_body(&b, 100);
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, seen(&b, "MAIL FROM") == 1);
	queue_drain(b.queue, on_drained, &b);
	put_and_wait(&b, "", TO(to("bob@x.example")));
	WAIT_FOR(&b, b.drained);
	assert_int_equal(queue_recipients(b.queue), 1);
	assert_int_equal(seen(&b, "}"), 1);
	bench_close(&b);
}

/* Whoever speaks nonsense on the socket is cut off; the others go on. */
static void test_nonsense(void **state)
{
	static const struct span nonsense[] = { SPAN("GET / HTTP/1.0\r\n\r\n"),
		SPAN("\0\0\0\2\1ab"), SPAN("\0\0\0\1\2x"), SPAN("\377\377\377\377\1"),
		SPAN("\0\0\0\0\3"), SPAN("\0\0\0\1\1\1") };
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	set_body(&b, 100);
	for (size_t i = 0; i < COUNT_OF(nonsense); i++) {
		struct sockaddr_un at = { .sun_family = AF_UNIX };
		char byte;
		snprintf(at.sun_path, sizeof at.sun_path, "%s", b.path);
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
		assert_true(write(fd, nonsense[i].p, nonsense[i].n) == (ssize_t)nonsense[i].n);
		WAIT_FOR(&b, read(fd, &byte, 1) == 0 || errno != EAGAIN);
		close(fd);
	}
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, EMPTY(&b));
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delivered),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_deferred),
		cmocka_unit_test(test_retry),
		cmocka_unit_test(test_store_away),
		cmocka_unit_test(test_progress_is_kept),
		cmocka_unit_test(test_bounced),
		cmocka_unit_test(test_bounce_of_commit),
		cmocka_unit_test(test_not_bounced),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_user_gone),
		cmocka_unit_test(test_link_breaks),
		cmocka_unit_test(test_put_cancelled),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_nonsense),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
