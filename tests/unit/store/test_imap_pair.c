/* test_imap_pair.c - several sessions on one mailbox: news, numbers that stay right, IDLE; a committer that is slow
 * or away; the end of the worker. */
#include "store-backend/mend.h"
#include "tests/unit/store/imap_fixture.h"

#define TEXT "Subject: x\r\n\r\ntext\r\n"

struct pair {
	struct fixture *f;
	struct talk a, b;
};

/* Both have INBOX selected, with n messages. */
static struct pair open_pair(unsigned n)
{
	struct pair p = { .f = fixture_open() };
	for (unsigned i = 0; i < n; i++)
		fixture_put(p.f, "INBOX", "", TEXT);
	p.a = talk_login(p.f);
	p.b = talk_login(p.f);
	talk(&p.a, "s SELECT INBOX\r\n");
	talk(&p.b, "s SELECT INBOX\r\n");
	/* the first news of a watch have come */
	FIXTURE_WAIT(p.f, p.f->committer->watched_n == 1);
	talk_expect(&p.a, "n NOOP\r\n", "n OK NOOP completed\r\n");
	talk_expect(&p.b, "n NOOP\r\n", "n OK NOOP completed\r\n");
	return p;
}

static void close_pair(struct pair *p)
{
	talk_close(&p->a);
	talk_close(&p->b);
	fixture_close(&p->f);
}

/* News come a moment after the answer of whoever made them. */
static void noop_until(struct talk *t, const char *want)
{
	struct buf all = BUF_INIT(TALK_MAX);
	uint64_t until = clock_mono_ms() + TALK_WAIT_MS;
	do {
		buf_add_str(&all, talk(t, "n NOOP\r\n"));
		size_t n = buf_len(&all) - strlen("n OK NOOP completed\r\n");
		all.tail = all.head + n;
		loop_step(t->w->loop, 1);
	} while (!talk_fits(want, buf_cstr(&all)) && clock_mono_ms() < until);
	assert_string_equal(buf_cstr(&all), want);
	buf_end(&all);
}

static void test_flags_and_recent(void **state)
{
	struct pair p = open_pair(2);
	talk(&p.b, "a STORE 2 +FLAGS (\\Flagged new)\r\n");
	assert_non_null(
	    strstr(buf_cstr(&p.b.heard), "* 2 FETCH (UID 2 FLAGS (\\Flagged new))\r\n"));
	noop_until(&p.a, "* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft new)\r\n"
			 "* 2 FETCH (UID 2 FLAGS (\\Flagged \\Recent new))\r\n");
	/* the same change twice is no news */
	talk(&p.b, "a STORE 2 +FLAGS (\\Flagged new)\r\n");
	talk_expect(&p.a, "n NOOP\r\n", "n OK NOOP completed\r\n");
	close_pair(&p);
}

static void test_numbers_stay(void **state)
{
	struct pair p = open_pair(5);
	talk(&p.b, "a STORE 2,4 +FLAGS.SILENT (\\Deleted)\r\n");
	talk_expect(
	    &p.b, "a EXPUNGE\r\n", "* 4 EXPUNGE\r\n* 2 EXPUNGE\r\na OK EXPUNGE completed\r\n");
	/* message 5 is still message 5 for the one that was not told; gone ones are passed over */
	talk_expect(&p.a, "a STORE 5 +FLAGS (\\Seen)\r\n",
	    "* 5 FETCH (UID 5 FLAGS (\\Seen \\Recent))\r\na OK STORE completed\r\n");
	talk_expect(&p.a, "a STORE 4:5 FLAGS (\\Seen)\r\n",
	    "* 5 FETCH (UID 5 FLAGS (\\Seen \\Recent))\r\na OK STORE completed\r\n");
	talk_expect(&p.a, "a STORE 2 FLAGS (\\Seen)\r\n", "a OK STORE completed\r\n");
	/* a command with uids may tell: no number is at stake */
	talk_expect(&p.a, "a UID STORE 3 +FLAGS.SILENT (\\Seen)\r\n",
	    "* 4 EXPUNGE\r\n* 2 EXPUNGE\r\na OK STORE completed\r\n");
	talk_expect(&p.a, "a STORE 4 +FLAGS.SILENT (\\Seen)\r\n", "a BAD No such message\r\n");
	noop_until(
	    &p.b, "* 2 FETCH (UID 3 FLAGS (\\Seen))\r\n* 3 FETCH (UID 5 FLAGS (\\Seen))\r\n");
	close_pair(&p);
}

/* Silence is about one's own change only. */
static void test_silent_store_and_others(void **state)
{
	struct pair p = open_pair(1);
	p.f->committer->hold = true;
	talk_send(&p.a, "a STORE 1 +FLAGS.SILENT (\\Seen)\r\n");
	FIXTURE_WAIT(p.f, stream_input(p.f->committer->peer).n > 0);
	struct operation op;
	struct uid_range one = { 1, 1 };
	operation_init(&op, OP_FLAGS);
	op.user = SPAN("alice@example.org");
	op.mailbox = fixture_mailbox(p.f, "alice@example.org", "INBOX");
	op.uids = (struct uid_set){ &one, 1 };
	op.set.flags = STORE_FLAGGED;
	op.how = FLAGS_ADD;
	(void)fake_apply(p.f->committer, &op, NULL);
	fake_release(p.f->committer);
	talk_hear(&p.a,
	    "* 1 FETCH (UID 1 FLAGS (\\Seen \\Flagged \\Recent))\r\na OK STORE completed\r\n");
	close_pair(&p);
}

static void test_new_and_gone_before_told(void **state)
{
	struct pair p = open_pair(1);
	fixture_put(p.f, "INBOX", "", TEXT);
	fixture_put(p.f, "INBOX", "", TEXT);
	fixture_expunge(p.f, "INBOX", 2, 2);
	noop_until(&p.a, "* 2 EXISTS\r\n* 2 RECENT\r\n");
	fixture_expunge(p.f, "INBOX", 1, 3);
	noop_until(&p.a, "* 2 EXPUNGE\r\n* 1 EXPUNGE\r\n");
	close_pair(&p);
}

static void test_idle(void **state)
{
	struct pair p = open_pair(2);
	talk_send(&p.a, "i IDLE\r\n");
	talk_hear(&p.a, "+ idling\r\n");
	buf_clear(&p.a.heard);
	fixture_put(p.f, "INBOX", "", TEXT);
	talk_hear(&p.a, "* 3 EXISTS\r\n* 3 RECENT\r\n");
	buf_clear(&p.a.heard);
	talk(&p.b, "a STORE 1 +FLAGS (\\Deleted)\r\n");
	talk_hear(&p.a, "* 1 FETCH (UID 1 FLAGS (\\Deleted \\Recent))\r\n");
	buf_clear(&p.a.heard);
	talk(&p.b, "a EXPUNGE\r\n");
	talk_hear(&p.a, "* 1 EXPUNGE\r\n");
	talk_expect(&p.a, "done\r\n", "i OK IDLE completed\r\n");
	talk_send(&p.a, "j IDLE\r\nDONE\r\nk NOOP\r\n");
	talk_hear(&p.a, "+ idling\r\nj OK IDLE completed\r\nk OK NOOP completed\r\n");
	talk_send(&p.a, "j IDLE\r\nNOOP\r\n");
	talk_hear(&p.a, "+ idling\r\nj BAD DONE expected\r\n");
	close_pair(&p);
}

static void test_idle_without_mailbox(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = talk_login(f);
	talk_send(&t, "i IDLE\r\n");
	talk_hear(&t, "+ idling\r\n");
	talk_expect(&t, "DONE\r\n", "i OK IDLE completed\r\n");
	talk_close(&t);
	fixture_close(&f);
}

static void test_mailbox_deleted(void **state)
{
	struct pair p = open_pair(0);
	talk(&p.a, "c CREATE x\r\n");
	talk(&p.a, "s SELECT x\r\n");
	talk(&p.b, "s SELECT x\r\n");
	talk_send(&p.b, "i IDLE\r\n");
	talk_hear(&p.b, "+ idling\r\n");
	talk_expect(&p.a, "d DELETE x\r\n", "d OK DELETE completed\r\n");
	talk_until(&p.b, NULL);
	assert_true(talk_fits(
	    "+ idling\r\n* BYE The selected mailbox was deleted (~)\r\n", buf_cstr(&p.b.heard)));
	talk_expect(&p.a, "n NOOP\r\n", "n OK NOOP completed\r\n");
	close_pair(&p);
}

/* More messages are expunged than the index remembers one by one: the session compares all it knows. */
static void test_forgotten_expunges(void **state)
{
	struct pair p = open_pair(3);
	struct operation op;
	struct uid_range every = { 1, UINT32_MAX }, rest[2] = { { 1, 1 }, { 3, UINT32_MAX } };
	operation_init(&op, OP_COPY);
	op.user = SPAN("alice@example.org");
	op.mailbox = op.target = fixture_mailbox(p.f, "alice@example.org", "INBOX");
	op.uids = (struct uid_set){ &every, 1 };
	for (unsigned n = 3; n <= 100000; n *= 2)
		assert_int_equal(fake_apply(p.f->committer, &op, NULL), OPR_OK);
	op.kind = OP_EXPUNGE;
	op.target = 0;
	op.uids = (struct uid_set){ rest, 2 };
	assert_int_equal(fake_apply(p.f->committer, &op, NULL), OPR_OK);
	noop_until(&p.a, "* 3 EXPUNGE\r\n* 1 EXPUNGE\r\n");
	talk_expect(&p.a, "a STORE 1 +FLAGS (\\Seen)\r\n",
	    "* 1 FETCH (UID 2 FLAGS (\\Seen \\Recent))\r\na OK STORE completed\r\n");
	close_pair(&p);
}

/* More news than go out at once, to a client that does not read for a while. */
static void test_many(void **state)
{
	enum { N = 4000 };
	struct pair p = open_pair(N);
	struct buf want = BUF_INIT(1 << 20);
	talk(&p.a,
	    "a STORE 1:* +FLAGS.SILENT (\\Deleted a-rather-long-keyword-for-all-of-them)\r\n");
	talk_send(&p.b, "n NOOP\r\nn2 NOOP\r\n");
	for (int i = 0; i < 20; i++)
		loop_step(p.f->loop, 5);
	talk_until(&p.b, "n2 OK NOOP completed\r\n");
	assert_non_null(strstr(buf_cstr(&p.b.heard), "* 4000 FETCH (UID 4000 FLAGS (\\Deleted "));
	talk_send(&p.a, "e EXPUNGE\r\n");
	for (unsigned i = N; i > 0; i--)
		buf_printf(&want, "* %u EXPUNGE\r\n", i);
	buf_add_str(&want, "e OK EXPUNGE completed\r\n");
	talk_hear(&p.a, buf_cstr(&want));
	buf_end(&want);
	close_pair(&p);
}

/* ---- the committer and the index are slow or away -------------------------------------------------------------- */

static void test_committer_slow(void **state)
{
	static const char later[] = "a NO [UNAVAILABLE] The store is away, try again later (~)\r\n"
				    "b OK NOOP completed\r\n";
	struct pair p = open_pair(1);
	p.f->committer->hold = true;
	/* what comes behind waits its turn */
	talk_send(&p.a, "a STORE 1 +FLAGS (\\Seen)\r\nb NOOP\r\n");
	talk_expect(&p.b, "n NOOP\r\n", "n OK NOOP completed\r\n");
	assert_int_equal(buf_len(&p.a.heard), 0);
	talk_hear(&p.a, later); /* commit_timeout */
	fake_release(p.f->committer);
	noop_until(&p.a, "* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent))\r\n");
	/* a client that goes away while it waits */
	p.f->committer->hold = true;
	talk_send(&p.b, "a CREATE x\r\n");
	FIXTURE_WAIT(p.f, stream_input(p.f->committer->peer).n > 0);
	shutdown(p.b.fd, SHUT_WR);
	fake_release(p.f->committer);
	talk_until(&p.b, NULL);
	assert_true(talk_fits("* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n"
			      "a OK [MAILBOXID (F@)] CREATE completed\r\n",
	    buf_cstr(&p.b.heard)));
	close_pair(&p);
}

static void test_committer_away(void **state)
{
	struct fixture *f = fixture_open();
	fixture_put(f, "INBOX", "", TEXT);
	struct talk t = talk_login(f);
	struct index *index = f->worker.partition.index;
	listener_pause(f->committer->listener, true);
	stream_free(&f->committer->peer);
	FIXTURE_WAIT(f, !operation_link_up(f->worker.partition.link));
	/* reading goes on */
	assert_non_null(strstr(talk(&t, "a SELECT INBOX\r\n"), "a OK [READ-WRITE]"));
	talk_expect(&t, "b STORE 1 FLAGS ()\r\n",
	    "b NO [UNAVAILABLE] The store is away, try again later (~)\r\n");
	talk_expect(&t, "b UNSELECT\r\n", "b OK UNSELECT completed\r\n");
	f->worker.partition.index = NULL;
	static const char *const commands[] = { "SELECT INBOX", "EXAMINE INBOX", "LIST \"\" *",
		"STATUS INBOX (MESSAGES)", "SUBSCRIBE x", "APPEND INBOX {3+}\r\na:b" };
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		char line[128];
		snprintf(line, sizeof line, "c %s\r\n", commands[i]);
		talk_expect(
		    &t, line, "c NO [UNAVAILABLE] The store is away, try again later (~)\r\n");
	}
	struct talk u = talk_open(f);
	talk_expect(&u, "l LOGIN bob bob-secret\r\n",
	    "l NO [UNAVAILABLE] Logins are not possible now, try again later (~)\r\n");
	talk_close(&u);
	f->worker.partition.index = index;
	listener_pause(f->committer->listener, false);
	FIXTURE_WAIT(f, operation_link_up(f->worker.partition.link));
	assert_non_null(strstr(talk(&t, "a SELECT INBOX\r\n"), "a OK [READ-WRITE]"));
	talk_close(&t);
	fixture_close(&f);
}

/* ---- turns and ends --------------------------------------------------------------------------------------------- */

/* Thousands of commands of one client do not keep another one waiting. */
static void test_turns(void **state)
{
	struct pair p = open_pair(1);
	struct buf flood = BUF_INIT(1 << 20);
	for (int i = 0; i < 5000; i++)
		buf_printf(&flood, "a%d NOOP\r\n", i);
	buf_clear(&p.a.heard);
	assert_true(write(p.a.fd, buf_span(&flood).p, buf_len(&flood)) > 0);
	for (int i = 0; i < 20; i++)
		loop_step(p.f->loop, 0);
	talk_expect(&p.b, "n NOOP\r\n", "n OK NOOP completed\r\n");
	talk_listen(&p.a);
	assert_null(strstr(buf_cstr(&p.a.heard), "a4999 OK"));
	talk_until(&p.a, "a4000 OK");
	buf_end(&flood);
	close_pair(&p);
}

static void test_drain(void **state)
{
	static const char bye[] = "* BYE [UNAVAILABLE] Server is shutting down, come back (~)\r\n";
	struct pair p = open_pair(1);
	struct talk working = talk_login(p.f);
	talk(&working, "s SELECT INBOX\r\n");
	talk_send(&p.a, "i IDLE\r\n");
	talk_hear(&p.a, "+ idling\r\n");
	buf_clear(&p.a.heard);
	buf_clear(&p.b.heard);
	p.f->committer->hold = true;
	talk_send(&working, "a STORE 1 +FLAGS.SILENT (\\Seen)\r\n");
	FIXTURE_WAIT(p.f, stream_input(p.f->committer->peer).n > 0);
	fixture_drain(p.f);
	talk_until(&p.a, NULL);
	talk_until(&p.b, NULL);
	assert_true(talk_fits(bye, buf_cstr(&p.a.heard)));
	assert_true(talk_fits(bye, buf_cstr(&p.b.heard)));
	fake_release(p.f->committer); /* what was begun is finished */
	talk_until(&working, NULL);
	assert_non_null(strstr(buf_cstr(&working.heard), "a OK STORE completed\r\n* BYE "));
	assert_int_equal(p.f->worker.session_n, 0);
	talk_close(&working);
	p.f->worker.draining = true;
	struct talk late = talk_begin(&p.f->worker, imap_session_start, "imap", "127.0.0.1");
	talk_until(&late, NULL);
	assert_true(talk_fits(bye, buf_cstr(&late.heard)));
	talk_close(&late);
	close_pair(&p);
}

static enum operation_result mend(struct fixture *f, const char *name, enum mend_kind kind)
{
	struct mend m = { .kind = kind, .size = kind == MEND_HOLD ? 600 : 0 };
	struct buf steps = BUF_INIT(MEND_BYTES);
	struct operation op;
	operation_init(&op, OP_MEND);
	op.user = SPAN("alice@example.org");
	op.mailbox = fixture_mailbox(f, "alice@example.org", name);
	mend_put(&m, &steps);
	op.mends = buf_span(&steps);
	enum operation_result r = fake_apply(f->committer, &op, NULL);
	buf_end(&steps);
	return r;
}

#define MENDING "NO [UNAVAILABLE] The mailbox is being repaired, try again soon\r\n"

/* Whoever has the mailbox open is to come back, also when it is put right before they hear of it; nobody opens it or adds to
 * it meanwhile; another mailbox is open all the time. */
static void test_mailbox_mended(void **state)
{
	static const char bye[] = "* BYE [UNAVAILABLE] The selected mailbox is being repaired, "
				  "log in again soon (~)\r\n";
	struct pair p = open_pair(3);
	fixture_put(p.f, "Other", "", TEXT);
	struct talk other = talk_login(p.f);
	talk(&other, "s SELECT Other\r\n");
	talk_send(&p.a, "i IDLE\r\n");
	talk_hear(&p.a, "+ idling\r\n");
	buf_clear(&p.a.heard);
	assert_int_equal(mend(p.f, "INBOX", MEND_HOLD), OPR_OK);
	talk_until(&p.a, NULL);
	assert_true(talk_fits(bye, buf_cstr(&p.a.heard)));
	talk_expect(&other, "a STATUS INBOX (MESSAGES)\r\n", "a " MENDING);
	talk_expect(&other, "a APPEND INBOX {1+}\r\nx\r\n", "a " MENDING);
	talk_expect(&other, "a COPY 1 INBOX\r\n", "a " MENDING);
	talk_expect(&other, "a MOVE 1 INBOX\r\n", "a " MENDING);
	talk_expect(&other, "a FETCH 1 FLAGS\r\n",
	    "* 1 FETCH (FLAGS (\\Recent))\r\na OK FETCH completed\r\n");
	assert_int_equal(mend(p.f, "INBOX", MEND_RELEASE), OPR_OK);
	buf_clear(&p.b.heard);
	talk_send(&p.b, "n NOOP\r\n");
	talk_until(&p.b, NULL);
	assert_non_null(strstr(buf_cstr(&p.b.heard), "* BYE [UNAVAILABLE] The selected mailbox"));
	talk(&other, "a SELECT INBOX\r\n");
	assert_non_null(strstr(buf_cstr(&other.heard), "* 3 EXISTS\r\n"));
	talk_close(&other);
	close_pair(&p);
}

/* The worker stops at once, whatever is under way. */
static void test_stop(void **state)
{
	struct pair p = open_pair(1);
	p.f->committer->hold = true;
	talk_send(&p.a, "a STORE 1 FLAGS ()\r\n");
	FIXTURE_WAIT(p.f, stream_input(p.f->committer->peer).n > 0);
	talk_send(&p.b, "a APPEND INBOX {50000}\r\n");
	talk_hear(&p.b, "+ go on\r\n");
	p.a.ended = p.b.ended = true; /* fixture_close() ends them */
	close_pair(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flags_and_recent),
		cmocka_unit_test(test_numbers_stay),
		cmocka_unit_test(test_silent_store_and_others),
		cmocka_unit_test(test_new_and_gone_before_told),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_idle_without_mailbox),
		cmocka_unit_test(test_mailbox_deleted),
		cmocka_unit_test(test_forgotten_expunges),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_committer_slow),
		cmocka_unit_test(test_committer_away),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_mailbox_mended),
		cmocka_unit_test(test_stop),
	};
	return cmocka_run_group_tests_name("imap_pair", tests, NULL, NULL);
}
