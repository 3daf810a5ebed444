/* test_handover.c - sessions go from one multiplexor to another one: at every step there is one owner, and whatever goes
 * wrong leaves them where they were. */
#include <sys/socket.h>

#include "world.h"

#include "mmp/handover.h"
#include "mmp/orders.h"
#include "mmp/pipe.h"

#define BYE "* BYE Ended by the administrator, connect again\r\n"
#define ONE_EACH                                                                                   \
	"directory { file users.ldif; default_domain example.org; }"                               \
	" metermaid { rule one_each { on session; kind concurrency; key user; limit 1; }"          \
	" rule one_net { on connect; kind concurrency; key client/32,64; limit 1; } }"

enum { MUCH = 6 << 20 };

static const char *const echoing[] = { STORE_GREETING, "C P3 ", IMAP_DONE, "E", NULL };
static const char *const flowing[] = { STORE_GREETING, "C P3 ", IMAP_DONE, "C GO", "F", NULL };

static struct mmp *next;
static int link_fds[2];

static void begin(const char *root)
{
	struct buf why = BUF_INIT(100);
	world_start("", root);
	world.store[0].script = echoing;
	next = mmp_new(world.loop, world.conf, &why);
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, link_fds), 0);
}

static void end(void)
{
	mmp_free(&next);
	world_end();
}

static void log_in(struct client *c, enum port_id at)
{
	client_open(c, at);
	if (at == IMAPS)
		client_secure(c);
	client_send(c, "a LOGIN alice alice-secret\r\n");
	expect(c, IMAP_OPEN_GREETING "a " IMAP_IN);
	buf_clear(&c->heard);
	settle();
}

static void expect_echo(struct client *c)
{
	buf_clear(&c->heard);
	client_send(c, "still here\r\n");
	expect(c, "still here\r\n");
}

static const char *who(const struct mmp *m)
{
	static struct buf out;
	buf_end(&out);
	out = BUF_INIT(10000);
	pipe_who(m, &out);
	return buf_cstr(&out);
}

static void hang_up(struct client *c, const struct mmp *of)
{
	client_close(c);
	WAIT(of->piped_n == 0);
}

/* ---- the whole way ------------------------------------------------------------------------------ */

static bool has_room(struct mmp *m, enum meter_moment moment)
{
	struct ip_addr localhost;
	struct meter_answer answer = { .lease = NULL };
	assert_true(ip_parse(SPAN("127.0.0.1"), &localhost));
	const struct meter_facts facts = { .client = localhost,
		.user = SPAN("alice@example.org"),
		.listener = SPAN("imap"),
		.authenticated = true };
	assert_true(meter_ask_now(m->meter, moment, &facts, &answer));
	meter_release(&answer.lease);
	settle();
	return meter_lets_in(&answer);
}

static void test_the_whole_way(void **state)
{
	static const enum port_id ports[] = { IMAP_OPEN, IMAPS };
	for (size_t i = 0; i < COUNT_OF(ports); i++) {
		struct client c;
		char before[1000];
		begin(ONE_EACH);
		log_in(&c, ports[i]);
		snprintf(before, sizeof before, "%s", who(world.mmp));
		assert_non_null(strstr(before, "\"user\":\"alice@example.org\""));
		assert_non_null(strstr(before, i == 0 ? "\"tls\":false" : "\"tls\":true"));
		take_begin(next, link_fds[1]);
		give_begin(world.mmp, link_fds[0]);
		WAIT(next->piped_n == 1);
		settle();
		assert_int_equal(world.mmp->piped_n, 0);
		assert_string_equal(who(next), before);
		assert_false(has_room(next, METER_SESSION) || has_room(next, METER_CONNECT));
		expect_echo(&c);
		mmp_free(&world.mmp); /* the old one is not needed any more */
		expect_echo(&c);
		hang_up(&c, next);
		settle();
		assert_true(has_room(next, METER_SESSION) && has_room(next, METER_CONNECT));
		assert_int_equal(logged("session.end"), 1);
		assert_int_equal(logged("bytes_in=52 "), 1); /* the login, and twice a line */
		assert_int_equal(logged("sessions.given sessions=1 left=0"), 1);
		end();
	}
}

static void test_in_the_middle_of_much(void **state)
{
	static const enum port_id ports[] = { IMAP_OPEN, IMAPS };
	for (size_t i = 0; i < COUNT_OF(ports); i++) {
		struct client c;
		begin(NULL);
		world.store[0].script = flowing;
		world.store[0].flow_bytes = MUCH + 12345;
		log_in(&c, ports[i]);
		client_send(&c, "GO\r\n");
		c.flows = true;
		c.flow.left = MUCH;
		flow_send(&c.flow, c.io);
		WAIT(c.flow.got > MUCH / 3);
		struct fake_conn *store =
		    &world.store[0].conns[(world.store[0].conn_n - 1) % CONNS_MAX];
		take_begin(next, link_fds[1]);
		give_begin(world.mmp, link_fds[0]);
		WAIT(c.flow.got == MUCH + 12345 && store->flow.got == MUCH);
		assert_false(c.flow.wrong || store->flow.wrong);
		assert_int_equal(world.mmp->piped_n, 0);
		hang_up(&c, next);
		end();
	}
}

/* A login that goes on when the others leave follows them. */
static void test_who_comes_later(void **state)
{
	struct client early, late;
	begin(NULL);
	log_in(&early, IMAP_OPEN);
	client_open(&late, IMAP_OPEN);
	expect(&late, IMAP_OPEN_GREETING);
	take_begin(next, link_fds[1]);
	give_begin(world.mmp, link_fds[0]);
	WAIT(next->piped_n == 1);
	client_send(&late, "a LOGIN alice alice-secret\r\n");
	expect(&late, IMAP_OPEN_GREETING "a " IMAP_IN);
	world_pass(2000);
	WAIT(next->piped_n == 2);
	expect_echo(&late);
	expect_echo(&early);
	client_close(&late);
	hang_up(&early, next);
	end();
}

/* Many: more than may be under way at once. */
static void test_many(void **state)
{
	enum { MANY = 60 };
	static struct client c[MANY];
	begin(NULL);
	for (size_t i = 0; i < MANY; i++)
		log_in(&c[i], i % 2 == 0 ? IMAP_OPEN : IMAPS);
	take_begin(next, link_fds[1]);
	give_begin(world.mmp, link_fds[0]);
	WAIT(next->piped_n == MANY);
	for (size_t i = 0; i < MANY; i++)
		expect_echo(&c[i]);
	for (size_t i = 0; i < MANY; i++)
		client_close(&c[i]);
	WAIT(next->piped_n == 0);
	end();
}

/* ---- the old one, in front of a new one that does not play ---------------------------------------- */

static struct handover_msg hear(int fd, enum handover_type want)
{
	struct handover_msg msg = { .seq = 0 };
	WAIT(handover_recv(fd, &msg) == HANDOVER_DONE);
	assert_int_equal(msg.type, want);
	return msg;
}

static void say(int fd, enum handover_type type, uint32_t seq)
{
	assert_int_equal(
	    handover_send(fd, &(struct handover_msg){ .type = type, .seq = seq }), HANDOVER_DONE);
}

static void close_both(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static void test_an_order_in_between(void **state)
{
	struct client c;
	struct buf out = BUF_INIT(1000);
	static const char *const kick[] = { "kick", "user", "alice@example.org" };
	begin(NULL);
	log_in(&c, IMAP_OPEN);
	give_begin(world.mmp, link_fds[0]);
	struct handover_msg offer = hear(link_fds[1], HANDOVER_OFFER);
	close_both(offer.fds);
	world_pass(600);
	assert_true(orders_control(world.mmp->orders, &(struct control_ask){ kick, 3 }, &out));
	expect_end(&c, BYE);
	say(link_fds[1], HANDOVER_ACCEPT, offer.seq);
	assert_int_equal(hear(link_fds[1], HANDOVER_ABORT).seq, offer.seq);
	client_leave(&c);
	assert_int_equal(logged("why=kicked"), 1);
	close(link_fds[1]);
	buf_end(&out);
	end();
}

/* It refuses; closes at once, or after it has heard; says nothing; something else; the wrong thing. */
static void test_a_new_one_that_does_not_take(void **state)
{
	for (int how = 0; how < 6; how++) {
		struct client c;
		begin(NULL);
		log_in(&c, IMAPS);
		if (how == 1)
			close(link_fds[1]);
		give_begin(world.mmp, link_fds[0]);
		struct handover_msg offer = { .seq = 0 };
		if (how != 1) {
			offer = hear(link_fds[1], HANDOVER_OFFER);
			close_both(offer.fds);
		}
		client_send(&c, "in between\r\n"); /* waits: nothing of it moves */
		settle();
		if (how != 1)
			assert_int_equal(buf_len(&c.heard), 0);
		if (how == 0)
			say(link_fds[1], HANDOVER_REFUSE, offer.seq);
		else if (how == 2)
			close(link_fds[1]);
		else if (how == 3)
			world_pass(5000);
		else if (how == 4)
			assert_int_equal(send(link_fds[1], "PH\2\2....", 8, 0), 8);
		else if (how == 5)
			say(link_fds[1], HANDOVER_ACCEPT, offer.seq + 1);
		expect(&c, "in between\r\n");
		expect_echo(&c);
		assert_int_equal(world.mmp->piped_n, 1);
		assert_int_equal(logged("sessions.kept"), how == 0 ? 0 : 1);
		assert_int_equal(logged("why=late"), how == 3);
		if (how != 1 && how != 2)
			close(link_fds[1]);
		client_leave(&c);
		end();
	}
}

/* ---- the new one, behind an old one that does not play -------------------------------------------- */

/* An offer of a session whose ends are ours: its record is what an old one has said. */
static struct handover_msg overhear(struct client *c, struct buf *record)
{
	log_in(c, IMAPS);
	give_begin(world.mmp, link_fds[0]);
	struct handover_msg offer = hear(link_fds[1], HANDOVER_OFFER);
	buf_add_span(record, offer.record);
	offer.record = buf_span(record);
	close(link_fds[1]);
	settle();
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, link_fds), 0);
	take_begin(next, link_fds[1]);
	return offer;
}

static void test_records_cut_short(void **state)
{
	struct client c;
	struct buf record = BUF_INIT(HANDOVER_RECORD_MAX);
	begin(NULL);
	struct handover_msg offer = overhear(&c, &record);
	struct span whole = offer.record;
	for (size_t n = 0; n < whole.n; n++) {
		offer.record = span_first(whole, n);
		offer.seq = (uint32_t)n;
		assert_int_equal(handover_send(link_fds[0], &offer), HANDOVER_DONE);
		assert_int_equal(hear(link_fds[0], HANDOVER_REFUSE).seq, n);
	}
	offer.record = whole;
	assert_int_equal(handover_send(link_fds[0], &offer), HANDOVER_DONE);
	hear(link_fds[0], HANDOVER_ACCEPT);
	assert_int_equal(next->piped_n, 0); /* not before the old one says so */
	close_both(offer.fds);
	close(link_fds[0]);
	settle();
	assert_int_equal(next->piped_n, 0);
	expect_echo(&c);
	client_leave(&c);
	buf_end(&record);
	end();
}

static void test_an_old_one_that_does_not_play(void **state)
{
	for (int how = 0; how < 6; how++) {
		struct client c;
		struct buf record = BUF_INIT(HANDOVER_RECORD_MAX);
		begin(NULL);
		struct handover_msg offer = overhear(&c, &record);
		assert_int_equal(handover_send(link_fds[0], &offer), HANDOVER_DONE);
		hear(link_fds[0], HANDOVER_ACCEPT);
		if (how == 0)
			say(link_fds[0], HANDOVER_ABORT, offer.seq);
		else if (how == 1)
			say(link_fds[0], HANDOVER_COMMIT, offer.seq + 1);
		else if (how == 2)
			say(link_fds[0], HANDOVER_ACCEPT, offer.seq);
		else if (how == 3)
			assert_int_equal(send(link_fds[0], "", 1, 0), 1);
		else if (how == 4)
			mmp_free(&next);
		if (how > 0 && how < 5) {
			struct handover_msg none;
			WAIT(handover_recv(link_fds[0], &none) == HANDOVER_GONE);
		}
		settle();
		close_both(offer.fds);
		expect_echo(&c); /* where it was */
		close(link_fds[0]);
		settle();
		assert_int_equal(next != NULL ? next->piped_n : 0, 0);
		client_leave(&c);
		buf_end(&record);
		end();
	}
}

/* It dies behind a COMMIT, before the new one has read that: with an offer in front that cannot be answered any more, and with
 * an answer that it has not read. What it gave is the new one's nevertheless. */
static void test_an_old_one_that_dies_behind_its_commit(void **state)
{
	for (int how = 0; how < 3; how++) {
		struct client c;
		struct buf record = BUF_INIT(HANDOVER_RECORD_MAX);
		begin(NULL);
		struct handover_msg offer = overhear(&c, &record), more = offer;
		assert_int_equal(handover_send(link_fds[0], &offer), HANDOVER_DONE);
		hear(link_fds[0], HANDOVER_ACCEPT);
		more.seq++;
		if (how > 0)
			assert_int_equal(handover_send(link_fds[0], &more), HANDOVER_DONE);
		if (how == 2)
			settle(); /* its answer waits */
		say(link_fds[0], HANDOVER_COMMIT, offer.seq);
		close(link_fds[0]);
		WAIT(next->piped_n == 1);
		settle();
		assert_int_equal(next->piped_n, 1);
		close_both(offer.fds);
		client_leave(&c);
		buf_end(&record);
		end();
	}
}

/* One that is about to leave, too, takes nothing. */
static void on_drained(void *arg)
{
}

static void test_a_new_one_that_leaves(void **state)
{
	struct client c;
	begin(NULL);
	log_in(&c, IMAP_OPEN);
	mmp_retire(next, on_drained, NULL);
	settle();
	take_begin(next, link_fds[1]);
	give_begin(world.mmp, link_fds[0]);
	settle();
	assert_int_equal(world.mmp->piped_n, 1);
	expect_echo(&c);
	client_leave(&c);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_whole_way),
		cmocka_unit_test(test_in_the_middle_of_much),
		cmocka_unit_test(test_who_comes_later),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_an_order_in_between),
		cmocka_unit_test(test_a_new_one_that_does_not_take),
		cmocka_unit_test(test_records_cut_short),
		cmocka_unit_test(test_an_old_one_that_does_not_play),
		cmocka_unit_test(test_an_old_one_that_dies_behind_its_commit),
		cmocka_unit_test(test_a_new_one_that_leaves),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
