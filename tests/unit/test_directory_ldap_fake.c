/* test_directory_ldap_fake.c - the ldap back end against servers that misbehave: half answers, broken BER,
 * silence, closing at each point, answers without end. Whatever they do, nobody becomes unknown by it, no
 * question outlasts its deadline, and good answers follow once the server is good again. */
#include "net/tls_ctx.h"
#include "tests/unit/directory/command.h"
#include "tests/unit/directory/fake_scripts.h"

enum { DEADLINE_MS = 500, SLACK_MS = 1500 };

/* ---- fixture ---- */

static struct fixture open_fakes(
    struct fake_ldap *first, struct fake_ldap *second, const char *more)
{
	char section[512], other[64] = "";
	if (second != NULL)
		snprintf(other, sizeof other, ", ldap://127.0.0.1:%u", second->port);
	snprintf(section, sizeof section,
	    "backend ldap; base \"dc=x\"; uri ldap://127.0.0.1:%u%s; deadline %dms; "
	    "connect_deadline 200ms; cache_ttl 0s; negative_ttl 0s; verify_ttl 0s; "
	    "verify_negative_ttl 0s; %s",
	    first->port, other, DEADLINE_MS, more);
	struct fixture f = fixture_open(section);
	fake_run(first, f.loop);
	if (second != NULL)
		fake_run(second, f.loop);
	return f;
}

static enum directory_status find_in_time(struct fixture *f, const char *name)
{
	uint64_t began = clock_mono_ms();
	enum directory_status s = find_status(f, name);
	assert_true(clock_mono_ms() - began < DEADLINE_MS + SLACK_MS);
	return s;
}

/* ---- tests ---- */

static const struct search_case {
	const char *name;
	void (*script)(struct fake_ask *a);
	bool early;
	int code;
	enum directory_status status;
} search_cases[] = {
	{ "good", good, false, 0, DIRECTORY_FOUND },
	{ "distracting", distracting, false, 0, DIRECTORY_FOUND },
	{ "only a reference", only_reference, false, 0, DIRECTORY_ABSENT },
	{ "silent", silent, false, 0, DIRECTORY_UNKNOWN },
	{ "silent from the start", silent, true, 0, DIRECTORY_UNKNOWN },
	{ "dead later", dead_later, true, 0, DIRECTORY_UNKNOWN },
	{ "close at a search", close_it, false, 0, DIRECTORY_UNKNOWN },
	{ "close at the base", close_it, true, 0, DIRECTORY_UNKNOWN },
	{ "close when ready", close_when_ready, true, 0, DIRECTORY_UNKNOWN },
	{ "empty replica", empty_replica, true, 0, DIRECTORY_UNKNOWN },
	{ "half an answer", half, false, 0, DIRECTORY_UNKNOWN },
	{ "half an answer and close", half_and_close, false, 0, DIRECTORY_UNKNOWN },
	{ "an entry and close", entry_and_close, false, 0, DIRECTORY_UNKNOWN },
	{ "slow", slow, false, 0, DIRECTORY_UNKNOWN },
	{ "garbage", garbage, false, 0, DIRECTORY_UNKNOWN },
	{ "garbage at the base", garbage, true, 0, DIRECTORY_UNKNOWN },
	{ "lying length", lying_length, false, 0, DIRECTORY_UNKNOWN },
	{ "empty sequence", empty_sequence, false, 0, DIRECTORY_UNKNOWN },
	{ "announced too long", announced_too_long, false, 0, DIRECTORY_UNKNOWN },
	{ "too long", really_too_long, false, 0, DIRECTORY_UNKNOWN },
	{ "too many values", too_many_values, false, 0, DIRECTORY_UNKNOWN },
	{ "wrong kind", wrong_kind, false, 0, DIRECTORY_UNKNOWN },
	{ "notice of disconnection", notice, false, 0, DIRECTORY_UNKNOWN },
	{ "two entries", two_entries, false, 0, DIRECTORY_UNKNOWN },
	{ "size limit", size_limit, false, 0, DIRECTORY_UNKNOWN },
	{ "no attributes", no_attributes, false, 0, DIRECTORY_UNKNOWN },
	{ "operations error", coded, false, 1, DIRECTORY_UNKNOWN },
	{ "time limit", coded, false, 3, DIRECTORY_UNKNOWN },
	{ "referral", coded, false, 10, DIRECTORY_UNKNOWN },
	{ "admin limit", coded, false, 11, DIRECTORY_UNKNOWN },
	{ "no such object", coded, false, 32, DIRECTORY_UNKNOWN },
	{ "no access", coded, false, 50, DIRECTORY_UNKNOWN },
	{ "busy", coded, false, 51, DIRECTORY_UNKNOWN },
	{ "unavailable", coded, false, 52, DIRECTORY_UNKNOWN },
	{ "unwilling", coded, false, 53, DIRECTORY_UNKNOWN },
	{ "other", coded, false, 80, DIRECTORY_UNKNOWN },
	{ "base unwilling", coded, true, 53, DIRECTORY_UNKNOWN },
};

/* What the server's answers mean for a user, a domain and a store, asked at once. */
static void check_search(struct fixture *f, const struct search_case *c)
{
	struct got user = { 0 }, domain = { 0 }, place = { 0 };
	uint64_t began = clock_mono_ms();
	directory_find(f->d, SPAN(ALICE), on_find, &user);
	directory_domain(f->d, SPAN("example.org"), on_status, &domain);
	directory_store(f->d, SPAN("store1"), on_store, &place);
	WAIT_FOR(f, user.done && domain.done && place.done);
	assert_true(clock_mono_ms() - began < DEADLINE_MS + SLACK_MS);
	if (user.status != c->status)
		print_error("%s: %d\n", c->name, user.status);
	assert_int_equal(user.status, c->status);
	got_end(&user);
	/* Two entries, or one of many, show at least that the domain has users. */
	if (c->status != DIRECTORY_UNKNOWN || c->script == two_entries || c->script == size_limit)
		return;
	assert_int_equal(domain.status, DIRECTORY_UNKNOWN);
	assert_int_equal(place.status, DIRECTORY_UNKNOWN);
}

static void test_searches(void **state)
{
	for (size_t i = 0; i < COUNT_OF(search_cases); i++) {
		const struct search_case *c = &search_cases[i];
		struct fake_ldap fake;
		fake_open(&fake, c->script);
		fake.early = c->early;
		fake.code = c->code;
		struct fixture f = open_fakes(&fake, NULL, "");
		check_search(&f, c);
		/* Tries are spaced: no storm of connections whatever the server does. */
		assert_true(fake.connections <= 8);
		fake.script = good;
		fake.early = false;
		WAIT_FOR(&f, find_status(&f, ALICE) == DIRECTORY_FOUND);
		assert_int_equal(find_status(&f, "nobody@example.org"), DIRECTORY_ABSENT);
		fake_close(&fake);
		fixture_close(&f);
	}
}

/* With a second, good server everything that is the first one's fault is answered in time. */
static void test_second_server_helps(void **state)
{
	static const char *const own[] = { "two entries", "size limit", "no attributes",
		"operations error", "time limit", "referral", "admin limit", "no access",
		"unwilling", "other", "announced too long", "too long", "too many values",
		"only a reference", "good", "distracting", "silent" };
	for (size_t i = 0; i < COUNT_OF(search_cases); i++) {
		const struct search_case *c = &search_cases[i];
		struct fake_ldap bad, fine;
		bool answers_itself = false;
		for (size_t k = 0; k < COUNT_OF(own); k++)
			answers_itself = answers_itself || strcmp(own[k], c->name) == 0;
		if (answers_itself)
			continue;
		fake_open(&bad, c->script);
		fake_open(&fine, good);
		bad.early = c->early;
		bad.code = c->code;
		struct fixture f = open_fakes(&bad, &fine, "");
		enum directory_status got = find_in_time(&f, ALICE);
		if (got != DIRECTORY_FOUND)
			print_error("%s: %d\n", c->name, got);
		assert_int_equal(got, DIRECTORY_FOUND);
		assert_int_equal(find_status(&f, "nobody@example.org"), DIRECTORY_ABSENT);
		fake_close(&bad);
		fake_close(&fine);
		fixture_close(&f);
	}
}

static void test_binds(void **state)
{
	static const struct {
		const char *name;
		void (*script)(struct fake_ask *a);
		int code;
		enum directory_status status;
	} cases[] = {
		{ "success", coded, 0, DIRECTORY_FOUND },
		{ "invalid credentials", coded, 49, DIRECTORY_ABSENT },
		{ "no such object", coded, 32, DIRECTORY_UNKNOWN },
		{ "inappropriate", coded, 48, DIRECTORY_UNKNOWN },
		{ "busy", coded, 51, DIRECTORY_UNKNOWN },
		{ "unwilling", coded, 53, DIRECTORY_UNKNOWN },
		{ "in progress", coded, 14, DIRECTORY_UNKNOWN },
		{ "silent", silent, 0, DIRECTORY_UNKNOWN },
		{ "close", close_it, 0, DIRECTORY_UNKNOWN },
		{ "half", half, 0, DIRECTORY_UNKNOWN },
		{ "garbage", garbage, 0, DIRECTORY_UNKNOWN },
		{ "slow", slow, 0, DIRECTORY_UNKNOWN },
		{ "wrong kind", wrong_kind, 0, DIRECTORY_UNKNOWN },
		{ "notice", notice, 0, DIRECTORY_UNKNOWN },
		{ "too long", really_too_long, 0, DIRECTORY_UNKNOWN },
		{ "announced", announced_too_long, 0, DIRECTORY_UNKNOWN },
		{ "entry", two_entries, 0, DIRECTORY_UNKNOWN },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fake_ldap fake;
		fake_open(&fake, good);
		struct fixture f = open_fakes(&fake, NULL, "");
		struct got alice = find(&f, ALICE);
		assert_int_equal(alice.status, DIRECTORY_FOUND);
		fake.script = cases[i].script;
		fake.code = cases[i].code;
		enum directory_status got = verify_account(&f, alice.account, SPAN("right"));
		if (got != cases[i].status)
			print_error("%s: %d\n", cases[i].name, got);
		assert_int_equal(got, cases[i].status);
		assert_true(fake.connections <= 16);
		fake.script = good;
		WAIT_FOR(&f, verify_account(&f, alice.account, SPAN("right")) == DIRECTORY_FOUND);
		assert_int_equal(
		    verify_account(&f, alice.account, SPAN("wrong")), DIRECTORY_ABSENT);
		got_end(&alice);
		fake_close(&fake);
		fixture_close(&f);
	}
}

static void test_bind_goes_to_the_second(void **state)
{
	struct fake_ldap bad, fine;
	fake_open(&bad, good);
	fake_open(&fine, good);
	struct fixture f = open_fakes(&bad, &fine, "");
	struct got alice = find(&f, ALICE);
	bad.script = silent;
	assert_int_equal(verify_account(&f, alice.account, SPAN("right")), DIRECTORY_FOUND);
	assert_int_equal(bad.binds, 1);
	assert_int_equal(fine.binds, 1);
	got_end(&alice);
	fake_close(&bad);
	fake_close(&fine);
	fixture_close(&f);
}

static struct tls_ctx *make_tls(void)
{
	struct buf pem[2] = { BUF_INIT(65536), BUF_INIT(65536) }, why = BUF_INIT(256);
	const char *const names[2] = { "tls.pem", "tls.key" };
	char *p;
	make_certificate();
	for (size_t i = 0; i < 2; i++) {
		FILE *f = fopen(fixture_path(names[i]), "r");
		assert_non_null(f);
		size_t room = buf_room(&pem[i], 65536, &p);
		buf_added(&pem[i], fread(p, 1, room, f));
		fclose(f);
	}
	struct tls_pair pair = { buf_span(&pem[0]), buf_span(&pem[1]) };
	struct tls_server_opts opts = { .pairs = &pair, .pair_count = 1 };
	struct tls_ctx *c = tls_server_new(&opts, &why);
	assert_non_null(c);
	buf_end(&pem[0]);
	buf_end(&pem[1]);
	buf_end(&why);
	return c;
}

static void test_starttls(void **state)
{
	static const struct {
		void (*script)(struct fake_ask *a);
		enum directory_status status;
	} cases[] = {
		{ start_tls, DIRECTORY_FOUND },
		{ refuse_starttls, DIRECTORY_UNKNOWN },
		{ inject_behind_starttls, DIRECTORY_UNKNOWN },
		{ silent, DIRECTORY_UNKNOWN },
		{ garbage, DIRECTORY_UNKNOWN },
	};
	struct tls_ctx *tls = make_tls();
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fake_ldap fake;
		fake_open(&fake, cases[i].script);
		fake.early = true;
		fake.tls = tls;
		struct fixture f = open_fakes(
		    &fake, NULL, "starttls yes; tls_verify none; bind_dn cn=s; bind_password p;");
		assert_int_equal(find_in_time(&f, ALICE), cases[i].status);
		/* No password, and no question, in the clear. */
		assert_true((fake.binds > 0) == (cases[i].status == DIRECTORY_FOUND));
		assert_true((fake.searches > 0) == (cases[i].status == DIRECTORY_FOUND));
		fake_close(&fake);
		fixture_close(&f);
	}
	tls_ctx_unref(&tls);
}

/* The best server is returned to when it answers again, and the other one is let go. */
static void test_return(void **state)
{
	struct fake_ldap bad, fine;
	fake_open(&bad, close_it);
	fake_open(&fine, good);
	bad.early = true;
	struct fixture f = open_fakes(&bad, &fine, "");
	assert_int_equal(verify(&f, ALICE, "right"), DIRECTORY_FOUND);
	assert_int_equal(bad.searches + bad.binds, 0);
	bad.script = good;
	bad.early = false;
	WAIT_FOR(&f, fine.conns[0].io == NULL); /* the one for searches */
	size_t searches = fine.searches, binds = fine.binds;
	WAIT_FOR(&f, find_status(&f, ALICE) == DIRECTORY_FOUND && bad.searches > 0);
	WAIT_FOR(&f, verify(&f, ALICE, "right") == DIRECTORY_FOUND && bad.binds > 0);
	assert_int_equal(fine.searches, searches);
	assert_true(fine.binds <= binds + 1);
	fake_close(&bad);
	fake_close(&fine);
	fixture_close(&f);
}

/* Last known good serves when no server answers, not when one answers with an error. */
static void test_stale(void **state)
{
	struct fake_ldap fake;
	fake_open(&fake, good);
	struct fixture f = open_fakes(&fake, NULL, "stale_max 1h;");
	assert_int_equal(find_status(&f, ALICE), DIRECTORY_FOUND);
	fake.script = coded;
	fake.code = 53;
	assert_int_equal(find_status(&f, ALICE), DIRECTORY_UNKNOWN);
	fake.code = 52;
	assert_int_equal(find_status(&f, ALICE), DIRECTORY_FOUND);
	fake.script = silent;
	assert_int_equal(find_in_time(&f, ALICE), DIRECTORY_FOUND);
	assert_int_equal(find_in_time(&f, "bob@example.org"), DIRECTORY_UNKNOWN);
	fake_close(&fake);
	fixture_close(&f);
}

static void on_never(void *arg, enum directory_status status)
{
	fail();
}

static void on_never_find(void *arg, enum directory_status status, const struct account *a)
{
	fail();
}

/* A search that nobody waits for is abandoned; a bind takes its connection with it, for its late answer must
 * not be taken for the next one's. */
static void test_cancel(void **state)
{
	struct fake_ldap fake;
	fake_open(&fake, good);
	struct fixture f = open_fakes(&fake, NULL, "");
	struct got alice = find(&f, ALICE);
	fake.script = silent;
	size_t searches = fake.searches, connections = fake.connections;
	struct ticket *t = directory_find(f.d, SPAN(ALICE), on_never_find, NULL);
	WAIT_FOR(&f, fake.searches > searches);
	ticket_cancel(&t);
	WAIT_FOR(&f, fake.abandons == 1);
	assert_int_equal(fake.connections, connections);

	t = directory_verify(f.d, alice.account, SPAN("wrong"), on_never, NULL);
	WAIT_FOR(&f, fake.binds == 1);
	ticket_cancel(&t);
	fake.script = good;
	assert_int_equal(verify_account(&f, alice.account, SPAN("right")), DIRECTORY_FOUND);
	assert_int_equal(fake.connections, connections + 2);
	got_end(&alice);
	fake_close(&fake);
	fixture_close(&f);
}

/* One bind at a time on a connection; searches share one. */
static void test_pipelining(void **state)
{
	enum { N = 6 };
	struct got got[N] = { 0 };
	char name[64];
	struct fake_ldap fake;
	fake_open(&fake, good);
	struct fixture f = open_fakes(&fake, NULL, "bind_connections 4;");
	struct got alice = find(&f, ALICE);
	fake.script = silent;
	size_t before = fake.searches;
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "u%d@example.org", i);
		directory_find(f.d, span_str(name), on_find, &got[i]);
	}
	WAIT_FOR(&f, fake.searches == before + N);
	assert_int_equal(fake.connections, 1);
	struct got verdicts[N] = { 0 };
	for (int i = 0; i < N; i++)
		directory_verify(f.d, alice.account, SPAN("right"), on_status, &verdicts[i]);
	WAIT_FOR(&f, fake.binds == 4);
	assert_int_equal(fake.connections, 1 + 4);
	for (int i = 0; i < N; i++) {
		WAIT_FOR(&f, got[i].done && verdicts[i].done);
		assert_int_equal(got[i].status, DIRECTORY_UNKNOWN);
		assert_int_equal(verdicts[i].status, DIRECTORY_UNKNOWN);
	}
	got_end(&alice);
	fake_close(&fake);
	fixture_close(&f);
}

static void advance(struct fixture *f, uint64_t ms)
{
	clock_fake_advance(ms);
	for (int i = 0; i < 50; i++)
		loop_step(f->loop, 1);
}

/* An idle connection for searches is asked for a sign of life; one for binds is closed. */
static void test_idle(void **state)
{
	struct fake_ldap fake;
	fake_open(&fake, good);
	struct fixture f = open_fakes(&fake, NULL, "");
	assert_int_equal(verify(&f, ALICE, "right"), DIRECTORY_FOUND);
	assert_int_equal(fake.connections, 2);
	assert_int_equal(fake.bases, 1);
	clock_fake(clock_mono_ms(), clock_wall_us());
	advance(&f, 31 * 1000);
	assert_int_equal(fake.bases, 2);
	advance(&f, 31 * 1000);
	assert_int_equal(fake.bases, 3);
	assert_null(fake.conns[1].io); /* the one for binds */
	assert_non_null(fake.conns[0].io);
	/* A server that has died meanwhile without a word is found out, and another connection is made. */
	fake.script = silent;
	fake.early = true;
	advance(&f, 31 * 1000);
	advance(&f, DEADLINE_MS);
	assert_null(fake.conns[0].io);
	assert_false(directory_healthy(f.d));
	fake.script = good;
	fake.early = false;
	for (int i = 0; i < 50 && !directory_healthy(f.d); i++)
		advance(&f, 100);
	assert_true(directory_healthy(f.d));
	clock_fake_off();
	fake_close(&fake);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_searches),
		cmocka_unit_test(test_second_server_helps),
		cmocka_unit_test(test_binds),
		cmocka_unit_test(test_bind_goes_to_the_second),
		cmocka_unit_test(test_starttls),
		cmocka_unit_test(test_return),
		cmocka_unit_test(test_stale),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_pipelining),
		cmocka_unit_test(test_idle),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
