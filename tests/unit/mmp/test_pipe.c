/* test_pipe.c - sessions after their login: large transfers, back-pressure, ends, idleness, memory. */
#include <malloc.h>
#include <netinet/tcp.h>

#include "world.h"

enum { MUCH = 6 << 20 };

static const char *const flowing[] = { STORE_GREETING, "C P3 ", IMAP_DONE, "C GO", "F", NULL };

static void log_in(struct client *c, enum port_id at, const char *const *script)
{
	world.store[0].script = script;
	client_open(c, at);
	if (at == IMAPS)
		client_secure(c);
	client_send(c, "a LOGIN alice alice-secret\r\n");
	expect(c, IMAP_OPEN_GREETING "a " IMAP_IN);
}

/* From here on the client sends `n` bytes of the pattern, and takes the store's. */
static void flow_on(struct client *c, uint64_t n)
{
	client_send(c, "GO\r\n");
	c->flows = true;
	c->flow.left = n;
	flow_send(&c->flow, c->io);
}

static struct fake_conn *store_end(void)
{
	return &world.store[0].conns[(world.store[0].conn_n - 1) % CONNS_MAX];
}

static void test_much_both_ways(void **state)
{
	static const enum port_id ports[] = { IMAP_OPEN, IMAPS };
	for (size_t i = 0; i < COUNT_OF(ports); i++) {
		struct client c;
		world_start("", NULL);
		world.store[0].flow_bytes = MUCH + 12345;
		log_in(&c, ports[i], flowing);
		flow_on(&c, MUCH);
		WAIT(c.flow.got == MUCH + 12345 && store_end()->flow.got == MUCH);
		assert_false(c.flow.wrong || store_end()->flow.wrong);
		client_leave(&c);
		assert_int_equal(logged("why=client_closed"), 1);
		world_end();
	}
}

/* Who does not read stops who sends, through the kernel: nothing piles up here. */
static void test_a_client_that_does_not_read(void **state)
{
	static const enum port_id ports[] = { IMAP_OPEN, IMAPS };
	for (size_t i = 0; i < COUNT_OF(ports); i++) {
		struct client c, other;
		world_start("", NULL);
		world.store[0].flow_bytes = 64 << 20;
		log_in(&c, ports[i], flowing);
		stream_pause(c.io, true);
		flow_on(&c, 1000);
		settle();
		uint64_t stuck = store_end()->flow.sent;
		settle();
		assert_int_equal(store_end()->flow.sent, stuck);
		assert_true(stuck < 20 << 20);
		log_in(&other, IMAP_OPEN, imap_good); /* others do not notice */
		client_close(&other);
		stream_pause(c.io, false);
		WAIT(c.flow.got == 64 << 20);
		assert_false(c.flow.wrong);
		client_leave(&c);
		world_end();
	}
}

static void test_a_store_that_does_not_read(void **state)
{
	static const char *const deaf[] = { STORE_GREETING, "C P3 ", IMAP_DONE, "H", NULL };
	struct client c;
	world_start("", NULL);
	log_in(&c, IMAP_OPEN, deaf);
	stream_pause(world.store[0].conns[0].io, true);
	flow_on(&c, 64 << 20);
	settle();
	uint64_t stuck = c.flow.sent;
	settle();
	assert_int_equal(c.flow.sent, stuck);
	assert_true(stuck < 20 << 20);
	client_close(&c);
	world_pass(35 * 60000); /* its end is behind what the store does not take */
	client_leave(&c);
	assert_int_equal(logged("why=idle"), 1);
	world_end();
}

/* The client has said everything; what the store still has to say reaches it. */
static void test_half_close(void **state)
{
	struct client c;
	world_start("", NULL);
	world.store[0].flow_bytes = MUCH;
	log_in(&c, IMAP_OPEN, flowing);
	stream_pause(c.io, true);
	flow_on(&c, 1000);
	settle();
	assert_int_equal(shutdown(stream_fd(c.io), SHUT_WR), 0);
	settle();
	stream_pause(c.io, false);
	WAIT(c.ended);
	assert_int_equal(c.flow.got, MUCH);
	assert_false(c.flow.wrong);
	assert_int_equal(logged("why=client_closed"), 1);
	client_leave(&c);
	world_end();
}

/* Everything at once and then the end, before the login has even begun. */
static void test_a_client_in_a_hurry(void **state)
{
	struct client c;
	world_start("", NULL);
	world.store[0].script = imap_good;
	client_open(&c, IMAP_OPEN);
	client_send(&c, "a LOGIN alice alice-secret\r\nb SELECT INBOX\r\nc LOGOUT\r\n");
	while (stream_pending(c.io) > 0)
		loop_step(world.loop, 0);
	assert_int_equal(shutdown(stream_fd(c.io), SHUT_WR), 0);
	expect_end(&c, IMAP_OPEN_GREETING "a " IMAP_IN "b SELECT INBOX\r\nc LOGOUT\r\n");
	client_leave(&c);
	world_end();
}

static void test_the_store_says_goodbye(void **state)
{
	static const char *const leaves[] = { STORE_GREETING, "C P3 ", IMAP_DONE, "C b LOGOUT",
		"R * BYE bye\r\nb OK out\r\n", "X", NULL };
	struct client c;
	world_start("", NULL);
	log_in(&c, IMAP_OPEN, leaves);
	client_send(&c, "b LOGOUT\r\n");
	expect_end(&c, IMAP_OPEN_GREETING "a " IMAP_IN "* BYE bye\r\nb OK out\r\n");
	client_leave(&c);
	assert_int_equal(logged("why=store_closed"), 1);
	world_end();
}

/* The client is gone without a word: the store's side ends too. */
static void test_a_reset(void **state)
{
	struct client c;
	struct linger now = { .l_onoff = 1 };
	world_start("", NULL);
	log_in(&c, IMAP_OPEN, imap_good);
	assert_int_equal(setsockopt(stream_fd(c.io), SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
	client_close(&c);
	WAIT(world.mmp->piped_n == 0 && store_end()->io == NULL);
	assert_int_equal(logged("why=client_failed"), 1);
	world_end();
}

static void test_idleness(void **state)
{
	struct client c;
	world_start("idle_timeout 1m;", NULL);
	log_in(&c, IMAP_OPEN, imap_good);
	for (int i = 0; i < 3; i++) {
		world_pass(59000);
		client_send(&c, "b NOOP\r\n");
		settle();
		assert_false(c.ended);
	}
	world_pass(59900);
	settle();
	assert_false(c.ended);
	world_pass(200);
	WAIT(c.ended && store_end()->io == NULL);
	assert_int_equal(logged("why=idle"), 1);
	client_leave(&c);
	world_end();
}

static void test_who(void **state)
{
	struct client c;
	struct buf out = BUF_INIT(4096);
	world_start("", NULL);
	mmp_who(world.mmp, &out);
	assert_string_equal(buf_cstr(&out), "[]");
	log_in(&c, IMAPS, imap_good);
	buf_clear(&out);
	mmp_who(world.mmp, &out);
	const char *json = buf_cstr(&out);
	assert_non_null(strstr(json, "\"user\":\"alice@example.org\""));
	assert_non_null(strstr(json, "\"client\":\"127.0.0.1:"));
	assert_non_null(strstr(json, "\"protocol\":\"imap\",\"store\":\"store1\""));
	assert_non_null(strstr(json, "\"tls\":true"));
	buf_end(&out);
	client_leave(&c);
	world_end();
}

/* After the login a session holds no buffer, only its record. */
static void test_memory_of_a_piped_session(void **state)
{
#ifndef __SANITIZE_ADDRESS__
	enum { MANY = 40, BYTES_MAX = 1000 };
	static struct client clients[MANY];
	static const char *const quiet[] = { STORE_GREETING, "C P3 ", IMAP_DONE, "H", NULL };
	world_start("", NULL);
	log_in(&clients[0], IMAP_OPEN, quiet);
	/* An end in the test costs as much as the ends here, and more: it is taken off by counting
	 * the same number of connections that are not the multiplexor's. */
	size_t before = mallinfo2().uordblks;
	struct stream *mine[2 * MANY];
	for (int i = 0; i < 2 * MANY; i++)
		mine[i] = stream_new(world.loop, dup(world.fd[0]),
		    (struct stream_limits){ STREAM_MAX, STREAM_MAX }, client_event, NULL);
	size_t ends = mallinfo2().uordblks - before;
	for (int i = 0; i < 2 * MANY; i++)
		stream_free(&mine[i]);
	before = mallinfo2().uordblks;
	for (int i = 1; i < MANY; i++)
		log_in(&clients[i], IMAP_OPEN, quiet);
	for (int i = 0; i < MANY; i++)
		buf_end(&clients[i].heard);
	settle();
	size_t each = (mallinfo2().uordblks - before - ends) / MANY;
	print_message("%zu bytes\n", each);
	assert_true(each < BYTES_MAX);
	for (int i = 0; i < MANY - 1; i++)
		client_close(&clients[i]);
	client_leave(&clients[MANY - 1]);
	world_end();
#endif
}

/* Sockets of this process that TCP probes after so many seconds of silence. */
static size_t probed_after(int seconds)
{
	size_t n = 0;
	for (int fd = 3; fd < 1024; fd++) {
		int on = 0, idle = 0;
		socklen_t len = sizeof on;
		if (getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len) == 0 && on &&
		    getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &len) == 0)
			n += idle == seconds;
	}
	return n;
}

/* Both ends of a session that has logged in and stays for a moment; nobody before. */
static void test_keepalive(void **state)
{
	static const struct {
		const char *more;
		int seconds;
		size_t sockets;
	} rows[] = { { "", 300, 2 }, { "tcp_keepalive 77s;", 77, 2 },

		{ "tcp_keepalive 1s; idle_timeout 1m;", 1, 2 }, { "tcp_keepalive 0s;", 0, 0 } };
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		world_start(rows[i].more, NULL);
		world.store[0].script = imap_good;
		client_open(&c, IMAP_OPEN);
		expect(&c, IMAP_OPEN_GREETING);
		assert_int_equal(probed_after(rows[i].seconds), 0);
		client_send(&c, "a LOGIN alice alice-secret\r\n");
		WAIT(world.mmp->piped_n == 1);
		assert_int_equal(probed_after(rows[i].seconds), 0);
		world_pass(rows[i].seconds < 10 ? 1000 : 10000);
		WAIT(probed_after(rows[i].seconds) == rows[i].sockets);
		client_leave(&c);
		world_end();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_much_both_ways),
		cmocka_unit_test(test_a_client_that_does_not_read),
		cmocka_unit_test(test_a_store_that_does_not_read),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_a_client_in_a_hurry),
		cmocka_unit_test(test_the_store_says_goodbye),
		cmocka_unit_test(test_a_reset),
		cmocka_unit_test(test_idleness),
		cmocka_unit_test(test_who),
		cmocka_unit_test(test_memory_of_a_piped_session),
		cmocka_unit_test(test_keepalive),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
