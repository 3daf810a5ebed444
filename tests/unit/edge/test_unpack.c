/* test_unpack.c - a mail in parts, from the worker's question to the store, while the disk fills up or fails at every one of its
 * writes: the client comes again when it was told so, and everybody gets the mail once. This program's pwritev() and fdatasync()
 * stand before libc's. */
#define NO_SYNC false
#include "tests/unit/edge/queue_bench.h"

#include "tests/unit/edge/group_mail.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/uio.h>

#include "edge/unit.h"

#define REAL(type, name, ...)                                                                      \
	type (*real)(__VA_ARGS__);                                                                 \
	*(void **)&real = dlsym(RTLD_NEXT, name)

/* ---- the disk ----------------------------------------------------------------------------------- */

static struct {
	int in_sync;    /* else writes fail */
	int error;      /* errno */
	int calls_left; /* until it fails; 0: it does not */
	int stays;      /* until disk_heals() */
	int failed;
} disk;

static int disk_fails(int in_sync)
{
	int failed = __atomic_load_n(&disk.failed, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&disk.in_sync, __ATOMIC_SEQ_CST) != in_sync)
		return 0;
	if (failed && __atomic_load_n(&disk.stays, __ATOMIC_SEQ_CST))
		return 1;
	if (__atomic_load_n(&disk.calls_left, __ATOMIC_SEQ_CST) == 0 ||
	    __atomic_sub_fetch(&disk.calls_left, 1, __ATOMIC_SEQ_CST) > 0)
		return 0;
	__atomic_store_n(&disk.failed, 1, __ATOMIC_SEQ_CST);
	return 1;
}

static void disk_breaks(int in_sync, int error, int after, int stays)
{
	__atomic_store_n(&disk.calls_left, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&disk.failed, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&disk.in_sync, in_sync, __ATOMIC_SEQ_CST);
	__atomic_store_n(&disk.error, error, __ATOMIC_SEQ_CST);
	__atomic_store_n(&disk.stays, stays, __ATOMIC_SEQ_CST);
	__atomic_store_n(&disk.calls_left, after, __ATOMIC_SEQ_CST);
}

static bool disk_has_failed(void)
{
	return __atomic_load_n(&disk.failed, __ATOMIC_SEQ_CST) != 0;
}

static void disk_heals(void)
{
	__atomic_store_n(&disk.calls_left, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&disk.stays, 0, __ATOMIC_SEQ_CST);
}

int fdatasync(int fd)
{
	REAL(int, "fdatasync", int);
	if (!disk_fails(1))
		return real(fd);
	errno = disk.error;
	return -1;
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
	if (!disk_fails(0))
		return real(fd, iov, n, at);
	errno = disk.error;
	return -1;
}

/* ---- the store ---------------------------------------------------------------------------------- */

enum { USERS = 3, SEEN_MAX = 64 };
static const char *const users[USERS] = { "alice", "bob", "carol" };

/* It knows ids, as ours do: what comes again is answered and not taken. */
static struct {
	struct listener *door;
	struct loop *loop;
	char seen[SEEN_MAX][IDENT_LEN + 8]; /* "ID user" */
	size_t seen_n;
	unsigned got[USERS]; /* messages each has */
	unsigned marked;     /* of them with the field of the second part */
} store;

struct guest {
	struct stream *io;
	char id[IDENT_LEN + 1];
	bool to[USERS], in_body, marked;
};

static bool is_new(const struct guest *g, size_t user)
{
	char key[IDENT_LEN + 8];
	snprintf(key, sizeof key, "%s %c", g->id, users[user][0]);
	for (size_t i = 0; i < store.seen_n; i++)
		if (strcmp(store.seen[i], key) == 0)
			return false;
	assert_true(store.seen_n < SEEN_MAX);
	memcpy(store.seen[store.seen_n++], key, sizeof key);
	return true;
}

static void take(struct guest *g)
{
	for (size_t i = 0; i < USERS; i++) {
		if (!g->to[i])
			continue;
		if (is_new(g, i)) {
			store.got[i]++;
			store.marked += g->marked;
		}
		stream_write_span(g->io, SPAN("250 2.0.0 ok\r\n"));
		g->to[i] = false;
	}
}

static void on_command(struct guest *g, const char *line)
{
	const char *id = strstr(line, "XDELIVERYID=");
	if (strncmp(line, "LHLO", 4) == 0) {
		stream_write_span(g->io, SPAN("250-x\r\n250-PIPELINING\r\n250 XDELIVERYID\r\n"));
		return;
	}
	if (id != NULL)
		snprintf(g->id, sizeof g->id, "%.*s", IDENT_LEN, id + 12);
	for (size_t i = 0; i < USERS; i++)
		if (strncmp(line, "RCPT", 4) == 0 && strstr(line, users[i]) != NULL)
			g->to[i] = true;
	g->in_body = strncmp(line, "DATA", 4) == 0;
	g->marked = false;
	stream_write_span(g->io, g->in_body ? SPAN("354 go\r\n") : SPAN("250 2.0.0 ok\r\n"));
}

static void on_line(struct guest *g, const char *line)
{
	if (!g->in_body) {
		on_command(g, line);
		return;
	}
	g->marked = g->marked || strcmp(line, "X-Group: yes") == 0;
	if (strcmp(line, ".") == 0) {
		g->in_body = false;
		take(g);
	}
}

static void on_guest(void *arg, enum stream_event ev)
{
	struct guest *g = arg;
	char line[1000];
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
		snprintf(line, sizeof line, "%.*s", (int)end - 1, in.p);
		stream_eat(g->io, end + 1);
		on_line(g, line);
	}
}

static void on_accept(void *arg, const struct accepted *a)
{
	struct guest *g = MEM_NEW(struct guest);
	g->io =
	    stream_new(store.loop, a->fd, (struct stream_limits){ 1 << 20, 1 << 20 }, on_guest, g);
	stream_write_span(g->io, SPAN("220 store\r\n"));
}

/* ---- a client ----------------------------------------------------------------------------------- */

/* A client with a new transaction each time, until it is told that the mail is safe. */
static unsigned send_until_taken(struct bench *b)
{
	for (unsigned tries = 1;; tries++) {
		struct group_mail g;
		mail_ask(&g, b);
		WAIT_FOR(b, g.open == 0);
		assert_int_equal(g.err[0], g.err[1]);
		bool taken = g.err[0] == ERR_OK;
		mail_end(&g);
		disk_heals();
		if (taken)
			return tries;
		assert_true(tries < 50);
		WAIT_FOR(b, queue_spool(b->queue) != NULL);
	}
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void open_all(struct bench *b, size_t size)
{
	static const char *const nothing[] = { "X", NULL };
	char path[100];
	bench_open(b, nothing);
	fake_end(&b->store);
	snprintf(path, sizeof path, "%s/nowhere.sock", dir);
	fake_start_at(&b->store, b->loop, nothing, path);
	b->edge->out_idle = LATE_MS;
	queue_again(b);
	set_body(b, size);
	snprintf(path, sizeof path, "%s/store1.sock", dir);
	memset(&store, 0, sizeof store);
	store.loop = b->loop;
	store.door = listener_new(b->loop, listen_open_unix(path, 0600),
	    &(struct listener_opts){ .proxy_ms = 1000 }, on_accept, NULL);
}

static void close_all(struct bench *b)
{
	disk_heals();
	listener_free(&store.door);
	bench_close(b);
}

static bool all_there(void)
{
	return store.got[0] > 0 && store.got[1] > 0 && store.got[2] > 0;
}

/* Everybody has it once, carol with her part's field, and a queue that reads its log again has no more of it. */
static void check_once(struct bench *b)
{
	WAIT_FOR(b, all_there() && EMPTY(b));
	queue_again(b);
	WAIT_FOR(b, EMPTY(b));
	for (size_t i = 0; i < USERS; i++)
		assert_int_equal(store.got[i], 1);
	assert_int_equal(store.marked, 1);
}

static const size_t sizes[] = { 300, SPOOL_INLINE_MAX - 100, SPOOL_INLINE_MAX + 1, 700000 };

static void test_good_disk(void **state)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct bench b;
		open_all(&b, sizes[i]);
		assert_int_equal(send_until_taken(&b), 1);
		check_once(&b);
		close_all(&b);
	}
}

/* The n-th call fails, for one n after the other, until a whole mail needs no more calls. */
static unsigned torment(int in_sync, int error, int stays, size_t size)
{
	unsigned refused = 0;
	for (int n = 1;; n++) {
		struct bench b;
		open_all(&b, size);
		disk_breaks(in_sync, error, n, stays);
		refused += send_until_taken(&b) > 1;
		check_once(&b);
		bool over = !disk_has_failed();
		close_all(&b);
		if (over)
			return refused;
		assert_true(n < 200);
	}
}

static void test_full(void **state)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		for (int stays = 0; stays < 2; stays++)
			assert_true(torment(0, ENOSPC, stays, sizes[i]) > 0);
}

static void test_write_error(void **state)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		torment(0, EIO, 0, sizes[i]);
}

static void test_sync_error(void **state)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i += 3)
		torment(1, EIO, 0, sizes[i]);
}

/* The disk is full when the mail is safe and its parts are not messages yet: they wait for room, whatever happens. */
static void test_full_behind(void **state)
{
	for (int again = 0; again < 2; again++) {
		struct bench b;
		open_all(&b, 1000);
		queue_hold_all(b.queue, true);
		assert_int_equal(send_until_taken(&b), 1);
		assert_int_equal(queue_recipients(b.queue), PARTS);
		disk_breaks(0, ENOSPC, 1, 1);
		queue_hold_all(b.queue, false);
		WAIT_FOR(&b, disk_has_failed());
		if (again)
			queue_again(&b);
		for (int i = 0; i < 20; i++)
			loop_step(b.loop, 10);
		assert_int_equal(queue_recipients(b.queue), PARTS);
		assert_false(all_there());
		disk_heals();
		check_once(&b);
		close_all(&b);
	}
}

/* The queue process ends and begins anew after so many rounds of its loop. */
static void test_restarts(void **state)
{
	for (int rounds = 0; rounds < 60; rounds++) {
		struct bench b;
		open_all(&b, rounds % 2 == 0 ? 1000 : 300000);
		assert_int_equal(send_until_taken(&b), 1);
		for (int i = 0; i < rounds; i++)
			loop_step(b.loop, 0);
		queue_again(&b);
		check_once(&b);
		close_all(&b);
	}
}

/* What the disk has made of the parts is held for an operator, who is told why, and costs nothing else. */
static void test_damaged(void **state)
{
	struct bench b;
	struct spool_recipient r[2] = { [1] = { .address = { 0 } } };
	struct unit_label label;
	struct buf out = BUF_INIT(1 << 20);
	static const char *const list[] = { "list" };
	open_all(&b, 1000);
	unit_recipient(0, 700, &label, &r[0]);
	put_and_wait(&b, "", r);
	WAIT_FOR(&b, store.seen_n == 0 &&
			 (buf_clear(&out), queue_control(b.queue, list, 1, NULL, &out)) &&
			 strstr(buf_cstr(&out), "held") != NULL);
	assert_non_null(strstr(buf_cstr(&out), "part-1@unpack.invalid"));
	assert_non_null(strstr(buf_cstr(&out), "cannot be read from the spool"));
	assert_int_equal(send_until_taken(&b), 1);
	WAIT_FOR(&b, all_there() && queue_recipients(b.queue) == 1);
	buf_end(&out);
	close_all(&b);
}

/* There must be room for everybody behind the parts, and not for the parts alone. */
static void test_room(void **state)
{
	struct bench b;
	open_all(&b, 1000);
	b.edge->queue_recipients_max = 2;
	struct group_mail g;
	mail_ask(&g, &b);
	WAIT_FOR(&b, g.open == 0);
	assert_int_equal(g.err[0], ERR_NO_SPACE);
	mail_end(&g);
	b.edge->queue_recipients_max = 3;
	assert_int_equal(send_until_taken(&b), 1);
	check_once(&b);
	close_all(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_disk),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_write_error),
		cmocka_unit_test(test_sync_error),
		cmocka_unit_test(test_full_behind),
		cmocka_unit_test(test_restarts),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_room),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
