/* test_meter_kinds.c - every kind, key and action of a rule, each once with this host's tables and once
 * with a real Redis; leases of workers that are killed; mistakes in rules. */
#include "tests/unit/meter/place.h"

struct place {
	struct loop *l;
	struct conf *c;
	struct metermaid *m;
	pid_t redis; /* 0: none */
};

static void enter(struct place *p, bool with_redis, const char *rules)
{
	struct buf text = BUF_INIT(8192);
	*p = (struct place){ .l = loop_new() };
	buf_add_str(&text, "metermaid {\n");
	if (with_redis) {
		redis_port = pick_port();
		p->redis = start_redis();
		buf_printf(&text, " redis 127.0.0.1:%d; deadline 2s;\n", redis_port);
	}
	buf_add_str(&text, rules);
	buf_add_str(&text, "\n}\n");
	p->c = load(buf_cstr(&text), NULL);
	assert_non_null(p->c);
	p->m = metermaid_new(p->l, NULL, p->c);
	if (with_redis)
		until_healthy(p->l, p->m);
	buf_end(&text);
}

static void leave(struct place *p)
{
	if (p->redis != 0)
		assert_int_equal(keys_without_ttl(), 0);
	metermaid_free(&p->m);
	conf_unref(&p->c);
	loop_free(&p->l);
	if (p->redis != 0)
		stop_redis(p->redis);
}

/* How many of n questions pass. */
static int passes(struct place *p, enum meter_moment at, const struct meter_facts *f, int n)
{
	int passed = 0;
	for (int i = 0; i < n; i++)
		passed += question(p->l, p->m, at, f).action == METER_ALLOW;
	return passed;
}

static void wait_ms(struct place *p, uint64_t ms)
{
	uint64_t until = clock_mono_ms() + ms;
	while (clock_mono_ms() < until)
		loop_step(p->l, 5);
}

static void run_twice(void (*fn)(bool with_redis))
{
	fn(false);
	fn(true);
}

/* ---- keys ---- */

static void several_lengths(bool with_redis)
{
	struct place p;
	enter(&p, with_redis,
	    " rule several_lengths { on connect; key client/32,128, client/-,64, client/24,48;"
	    " rate 2/1h, 3/1h, 4/1h; burst 2, 3, 4; }");
	struct meter_facts a = from("192.0.2.1", ""), b = from("192.0.2.2", ""),
			   c = from("192.0.3.1", "");
	assert_int_equal(passes(&p, METER_CONNECT, &a, 5), 2);
	assert_int_equal(passes(&p, METER_CONNECT, &b, 5), 2);
	assert_int_equal(passes(&p, METER_CONNECT, &c, 5), 2);
	struct meter_facts d = from("2001:db8::1", ""), e = from("2001:db8::2", ""),
			   f = from("2001:db8:0:1::1", "");
	assert_int_equal(passes(&p, METER_CONNECT, &d, 5), 2);
	assert_int_equal(passes(&p, METER_CONNECT, &e, 5), 1); /* the /64 has had three */
	assert_int_equal(passes(&p, METER_CONNECT, &f, 5), 1); /* the /48 has had four */
	leave(&p);
}

static void several_windows(bool with_redis)
{
	struct place p;
	enter(&p, with_redis,
	    " rule several_windows { on connect; key client/32,64; rate 3/600ms, 4/1h; }");
	struct meter_facts a = from("192.0.2.1", "");
	assert_int_equal(passes(&p, METER_CONNECT, &a, 5), 3);
	assert_true(last_copy.retry_ms <= 200);
	wait_ms(&p, 700);
	assert_int_equal(passes(&p, METER_CONNECT, &a, 5), 1);
	assert_true(last_copy.retry_ms > 600000);
	leave(&p);
}

static void every_part(bool with_redis)
{
	static const struct span other = { "other@else.example", 18 };
	struct place p;
	enter(&p, with_redis,
	    " rule every_part { on rcpt; key user, domain, sender, sender_domain, recipient, helo, "
	    "listener;"
	    " rate 1/1h; }\n rule d { on mail; key sender_domain; rate 1/1h; }");
	struct meter_facts f = from("192.0.2.1", "u@example.org");
	f.recipient = SPAN("r@example.net");
	f.helo = SPAN("client.example");
	f.listener = SPAN("mx");
	assert_int_equal(passes(&p, METER_RCPT, &f, 3), 1);
	struct span *const parts[] = { &f.user, &f.sender, &f.recipient, &f.helo, &f.listener };
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		struct span was = *parts[i];
		*parts[i] = other;
		assert_int_equal(passes(&p, METER_RCPT, &f, 3), 1);
		*parts[i] = was;
	}
	f.recipient = SPAN("R@Example.NET"); /* other letters, the same key */
	assert_int_equal(passes(&p, METER_RCPT, &f, 3), 0);
	f.helo = SPAN_NONE; /* not known: the rule does not apply */
	assert_null(meter_ask(p.m, METER_RCPT, &f, on_answer, NULL));
	f.sender = SPAN("one@x.example");
	assert_int_equal(passes(&p, METER_MAIL, &f, 1), 1);
	f.sender = SPAN("two@x.example");
	assert_int_equal(passes(&p, METER_MAIL, &f, 1), 0);
	f.sender = SPAN_NONE; /* the null sender is a sender */
	assert_int_equal(passes(&p, METER_MAIL, &f, 2), 1);
	leave(&p);
}

static void exemptions(bool with_redis)
{
	struct place p;
	enter(&p, with_redis,
	    " rule exemptions { on mail; key client/32,64; rate 1/1h; exempt 10.0.0.0/8;"
	    " exempt_listeners submission; exempt_authenticated yes; }");
	struct meter_facts f = from("192.0.2.1", ""), ours = from("10.1.2.3", "");
	assert_int_equal(passes(&p, METER_MAIL, &f, 3), 1);
	assert_null(meter_ask(p.m, METER_MAIL, &ours, on_answer, NULL));
	f.listener = SPAN("submission");
	assert_null(meter_ask(p.m, METER_MAIL, &f, on_answer, NULL));
	f.listener = SPAN("mx");
	f.authenticated = true;
	assert_null(meter_ask(p.m, METER_MAIL, &f, on_answer, NULL));
	leave(&p);
}

/* ---- actions ---- */

static void actions(bool with_redis)
{
	struct place p;
	enter(&p, with_redis,
	    " rule shadow { on connect; key client/32,64; rate 1/1h; action shadow; }\n"
	    " rule tag { on connect; key client/32,64; rate 2/1h; action tag; tag busy; }\n"
	    " rule slow { on connect; key client/32,64; rate 3/10s; action delay; }\n"
	    " rule out { on connect; key client/32,64; rate 5/1h; action disconnect; }");
	struct meter_facts f = from("192.0.2.1", "");
	struct meter_answer a = question(p.l, p.m, METER_CONNECT, &f);
	assert_true(a.action == METER_ALLOW && a.tag == NULL);
	a = question(p.l, p.m, METER_CONNECT, &f);
	assert_true(a.action == METER_ALLOW && a.tag == NULL);
	a = question(p.l, p.m, METER_CONNECT, &f);
	assert_true(a.action == METER_ALLOW && strcmp(a.tag, "busy") == 0);
	a = question(p.l, p.m, METER_CONNECT, &f);
	assert_true(a.action == METER_DELAY && strcmp(a.rule, "slow") == 0 && a.retry_ms > 1000);
	question(p.l, p.m, METER_CONNECT, &f);
	a = question(p.l, p.m, METER_CONNECT, &f);
	assert_true(a.action == METER_DEFER && a.disconnect && strcmp(a.rule, "out") == 0);
	leave(&p);
}

/* ---- kinds ---- */

static void penalty(bool with_redis)
{
	struct place p;
	enter(&p, with_redis,
	    " rule penalty { on auth; kind penalty; key client/32,64; rate 3/600ms; block 1s; }");
	struct meter_facts f = from("192.0.2.1", "u");
	f.secret_hash = 77;
	for (int i = 0; i < 20; i++) /* one stale password: one charge */
		meter_charge(p.m, METER_AUTH, &f);
	assert_int_equal(passes(&p, METER_AUTH, &f, 3), 3);
	for (uint32_t i = 1; i < 4; i++) {
		f.secret_hash = i;
		meter_charge(p.m, METER_AUTH, &f);
	}
	/* blocked, and each further try with another password keeps it so, beyond what the rate says */
	uint64_t until = clock_mono_ms() + 1200;
	while (clock_mono_ms() < until) {
		f.secret_hash++;
		assert_int_equal(passes(&p, METER_AUTH, &f, 1), 0);
		wait_ms(&p, 20);
	}
	/* it stops: the debt decays, in no more than `block` and a step of the rate */
	wait_ms(&p, 1300);
	assert_int_equal(passes(&p, METER_AUTH, &f, 1), 1);
	leave(&p);
}

static void counter(bool with_redis)
{
	struct place p;
	enter(&p, with_redis,
	    " rule counter { on message; kind counter; key user; rate 10/700ms; cost recipients; "
	    "}");
	struct meter_facts f = from("192.0.2.1", "u");
	f.recipients = 4;
	assert_int_equal(passes(&p, METER_MESSAGE, &f, 3), 2);
	f.recipients = 2;
	assert_int_equal(passes(&p, METER_MESSAGE, &f, 3), 1);
	wait_ms(&p, 800); /* the whole count is back at once */
	f.recipients = 10;
	assert_int_equal(passes(&p, METER_MESSAGE, &f, 3), 1);
	leave(&p);
}

static void greylist(bool with_redis)
{
	struct place p;
	enter(&p, with_redis,
	    " rule greylist { on rcpt; kind greylist; key client/24,64, sender, recipient; wait "
	    "1s; "
	    "passes 2; }");
	struct meter_facts f = from("192.0.2.1", ""), pool = from("192.0.2.99", ""),
			   far = from("198.51.100.1", "");
	f.recipient = pool.recipient = far.recipient = SPAN("r@example.net");
	assert_int_equal(passes(&p, METER_RCPT, &f, 3), 0);
	assert_true(last_copy.action == METER_DEFER && last_copy.retry_ms <= 1000);
	wait_ms(&p, 1050);
	assert_int_equal(passes(&p, METER_RCPT, &pool, 3), 3); /* another host of the pool */
	f.sender = SPAN("second@example.org");
	assert_int_equal(passes(&p, METER_RCPT, &f, 1), 0);
	wait_ms(&p, 1050);
	assert_int_equal(passes(&p, METER_RCPT, &f, 1), 1);
	f.sender = SPAN("third@example.org"); /* the network has passed twice */
	assert_int_equal(passes(&p, METER_RCPT, &f, 1), 1);
	assert_int_equal(passes(&p, METER_RCPT, &far, 1), 0);
	leave(&p);
}

static void lists(bool with_redis)
{
	struct place p;
	enter(&p, with_redis,
	    " rule good { on connect; kind list; networks 10.0.0.0/8; action allow; }\n"
	    " rule bad { on auth; kind list; networks 192.0.2.0/24; users Eve@example.org;"
	    " action refuse; }\n"
	    " rule note { on auth; kind list; networks 198.51.100.0/24; action tag; tag odd; }\n"
	    " rule few { on connect; key client/32,64; rate 1/1h; ban_for 1h; }");
	struct meter_facts ours = from("10.1.1.1", ""), bad = from("192.0.2.77", "u"),
			   eve = from("203.0.113.1", "eve@example.org"),
			   odd = from("198.51.100.9", "u");
	assert_int_equal(passes(&p, METER_CONNECT, &ours, 5), 5);
	assert_int_equal(question(p.l, p.m, METER_AUTH, &bad).action, METER_REFUSE);
	assert_int_equal(question(p.l, p.m, METER_AUTH, &eve).action, METER_REFUSE);
	struct meter_answer a = question(p.l, p.m, METER_AUTH, &odd);
	assert_true(a.action == METER_ALLOW && strcmp(a.tag, "odd") == 0);
	/* beyond its limit once, then on the list `ban`, which also refuses logins */
	struct meter_facts much = from("203.0.113.50", "u");
	assert_int_equal(passes(&p, METER_CONNECT, &much, 2), 1);
	a = question(p.l, p.m, METER_CONNECT, &much);
	assert_true(a.action == METER_REFUSE && strcmp(a.rule, "ban") == 0);
	assert_int_equal(question(p.l, p.m, METER_AUTH, &much).action, METER_REFUSE);
	leave(&p);
}

static void never(bool with_redis)
{
	struct place p;
	enter(&p, with_redis,
	    " rule never { on connect; key client/32,64; rate 0/1m; force yes; action refuse;"
	    " exempt 10.0.0.0/8; }");
	struct meter_facts f = from("192.0.2.1", ""), ours = from("10.0.0.1", "");
	assert_int_equal(question(p.l, p.m, METER_CONNECT, &f).action, METER_REFUSE);
	assert_null(meter_ask(p.m, METER_CONNECT, &ours, on_answer, NULL));
	leave(&p);
}

/* ---- concurrency ---- */

static struct meter_lease *hold(struct place *p, const struct meter_facts *f)
{
	struct meter_answer a = question(p->l, p->m, METER_SESSION, f);
	assert_true((a.action == METER_ALLOW) == (a.lease != NULL));
	return a.lease;
}

static void concurrency(bool with_redis)
{
	struct place p;
	enter(&p, with_redis,
	    " rule concurrency { on session; kind concurrency; key client/32,64, client/24,48; "
	    "limit 2, 3;"
	    " lease 1s; action refuse; }");
	struct meter_facts f = from("192.0.2.1", ""), near = from("192.0.2.2", "");
	struct meter_lease *one = hold(&p, &f), *two = hold(&p, &f), *three = hold(&p, &near);
	assert_true(one != NULL && two != NULL && three != NULL);
	assert_null(hold(&p, &f));
	assert_null(hold(&p, &near)); /* the /24 has three */
	wait_ms(&p, 1500);            /* renewed beyond the lease */
	assert_null(hold(&p, &f));
	meter_release(&one);
	wait_ms(&p, 50);
	one = hold(&p, &near);
	assert_non_null(one);
	assert_null(hold(&p, &near));
	/* cancelled before the answer: nothing stays held */
	meter_release(&one);
	wait_ms(&p, 50);
	struct ticket *t = meter_ask(p.m, METER_SESSION, &near, on_answer, NULL);
	last = NULL;
	if (with_redis)
		loop_step(p.l, 0);
	if (last == NULL)
		ticket_cancel(&t);
	else
		meter_release(&last_copy.lease);
	wait_ms(&p, 100);
	one = hold(&p, &near);
	assert_non_null(one);
	meter_release(&one);
	meter_release(&two);
	/* the meter may go first */
	wait_ms(&p, 50);
	leave(&p);
	meter_release(&three);
}

/* A worker is killed with its leases: they count until the lease is over, and then not one more. */
static void killed_worker(bool with_redis)
{
	struct place p;
	int ready[2];
	char c;
	enter(&p, with_redis,
	    " rule killed { on session; kind concurrency; key client/32,64; limit 10; lease 1s; }");
	struct meter_facts f = from("192.0.2.1", "");
	assert_int_equal(pipe(ready), 0);
	pid_t worker = fork();
	if (worker == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		loop_after_fork(&p.l);
		p.l = loop_new();
		p.m = metermaid_new(p.l, NULL, p.c);
		if (with_redis)
			until_healthy(p.l, p.m);
		for (int i = 0; i < 7; i++)
			hold(&p, &f);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			loop_step(p.l, 50);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	struct meter_lease *mine[10];
	for (int i = 0; i < 3; i++)
		assert_non_null(mine[i] = hold(&p, &f));
	assert_null(hold(&p, &f));
	wait_ms(&p, 1500);
	assert_null(hold(&p, &f));
	kill(worker, SIGKILL);
	waitpid(worker, NULL, 0);
	uint64_t killed = clock_mono_ms();
	while ((mine[3] = hold(&p, &f)) == NULL && clock_mono_ms() < killed + 5000)
		wait_ms(&p, 5);
	assert_non_null(mine[3]);
	assert_true(clock_mono_ms() - killed <= 1100);
	for (int i = 4; i < 10; i++)
		assert_non_null(mine[i] = hold(&p, &f));
	assert_null(hold(&p, &f));
	for (int i = 0; i < 10; i++)
		meter_release(&mine[i]);
	close(ready[0]);
	close(ready[1]);
	leave(&p);
}

/* Redis comes back empty: what is held counts again without anybody asking. */
static void test_leases_are_declared_again(void **state)
{
	struct place p;
	enter(&p, true,
	    " rule r { on session; kind concurrency; key client/32,64; limit 2; lease 30s; }");
	struct meter_facts f = from("192.0.2.1", "");
	struct meter_lease *one = hold(&p, &f), *two = hold(&p, &f);
	assert_true(one != NULL && two != NULL);
	stop_redis(p.redis);
	assert_null(hold(&p, &f)); /* away: known here all the same */
	meter_release(&two);
	two = hold(&p, &f);
	assert_non_null(two);
	p.redis = start_redis();
	until_healthy(p.l, p.m);
	struct metermaid *other = metermaid_new(p.l, NULL, p.c);
	until_healthy(p.l, other);
	wait_ms(&p, 100);
	assert_int_equal(question(p.l, other, METER_SESSION, &f).action, METER_DEFER);
	metermaid_free(&other);
	meter_release(&one);
	meter_release(&two);
	leave(&p);
}

/* The loop has nothing to run until a lease is to be renewed. */
static void test_nobody_is_woken(void **state)
{
	struct place p;
	enter(&p, false,
	    " rule r { on session; kind concurrency; key client/32,64; limit 2; lease 30s; }");
	struct meter_facts f = from("192.0.2.1", "");
	while (loop_step(p.l, 0))
		;
	assert_false(loop_step(p.l, 300));
	struct meter_lease *one = hold(&p, &f);
	while (loop_step(p.l, 0))
		;
	assert_false(loop_step(p.l, 300));
	meter_release(&one);
	leave(&p);
}

/* ---- mistakes ---- */

static const struct {
	const char *rule, *said;
} mistakes[] = {
	{ "on connect; key clint/32; rate 1/1m;", "key \"clint/32\" is none of" },
	{ "on connect; key client/33; rate 1/1m;", "key \"client/33\" is none of" },
	{ "on connect; key client/32,129; rate 1/1m;", "key \"129\" is none of" },
	{ "on connect; rate 1/1m;", "key is missing" },
	{ "on connect; key client; ", "rate is missing" },
	{ "on connect; key user; rate 1/1m;", "the user is not known on connect" },
	{ "on auth; key sender; rate 1/1m;", "the sender is not known on auth" },
	{ "on message; key recipient; rate 1/1m;", "the recipient is not known on message" },
	{ "on mail; key user, user; rate 1/1m;", "key \"user\" is none of" },
	{ "on connect; key client/32,64, client/24,48; rate 1/1m;",
	    "1 rates for 2 lengths of the key" },
	{ "on connect; key client/32,64, client/24,48; rate 5/1m, 4/1m;",
	    "the limit of a wide network is below that of a narrow one" },
	{ "on connect; key client/24,64, client/32,48; rate 5/1m, 6/1m;",
	    "the lengths of the client's network must get shorter" },
	{ "on connect; key client/32,64, client/24,48; rate 5/1m, 9/1m; burst 5;",
	    "1 bursts for 2 lengths" },
	{ "on connect; key client; rate 1/1s+1/1m+1/1h, 1/1d, 1/7d;", "more than 4 windows" },
	{ "on connect; key client; rate 0/1m;", "it can block everyone" },
	{ "on connect; key client; rate 1/1m; limit 5;", "limit is for kind concurrency" },
	{ "on connect; key client; rate 1/1m; cost bytes;", "known only on message" },
	{ "on connect; key client; rate 1/1m; action allow;", "action allow is for kind list" },
	{ "on connect; key client; rate 1/1m; networks 10.0.0.0/8;", "are for kind list" },
	{ "on mail; kind concurrency; key client; limit 1;", "is asked on connect or session" },
	{ "on session; kind concurrency; key client; rate 1/1m;", "has no rate and no burst" },
	{ "on session; kind concurrency; key client;", "0 limits for 1 lengths" },
	{ "on connect; kind greylist; key client;", "is asked on mail, rcpt or message" },
	{ "on rcpt; kind greylist; key sender;", "must have client" },
	{ "on rcpt; kind greylist; key client; rate 1/1m;", "this kind has no rate" },
	{ "on login; key user; rate 1/1m; action delay;", "there is nothing to delay" },
	{ "on connect; kind list; key client;", "a list takes no key" },
	{ "on connect; kind list; networks 0.0.0.0/0; action refuse;", "it can block everyone" },
	{ "on connect; kind list; users u; action refuse;", "users are not known" },
	{ "on connect; key client; rate 1/1m; ban_for 1h; ban_list nobody;",
	    "ban_list names no rule of kind list" },
};

static void test_mistakes(void **state)
{
	for (size_t i = 0; i < COUNT_OF(mistakes); i++) {
		char text[512], where[64];
		snprintf(text, sizeof text, "metermaid {\n rule x { %s }\n}\n", mistakes[i].rule);
		snprintf(where, sizeof where, ":2:2: rule x: ");
		const char *said = load_error(text);
		if (strstr(said, mistakes[i].said) == NULL || strstr(said, where) == NULL)
			fail_msg("%s: %s", mistakes[i].rule, said);
	}
	assert_non_null(
	    strstr(load_error("metermaid { rule ban { on connect; key client; rate 1/1m; } }"),
		"the name ban is that of a list"));
}

#define BOTH(fn)                                                                                   \
	static void test_##fn(void **state)                                                        \
	{                                                                                          \
		run_twice(fn);                                                                     \
	}
BOTH(several_lengths)
BOTH(several_windows)
BOTH(every_part)
BOTH(exemptions)
BOTH(actions)
BOTH(penalty)
BOTH(counter)
BOTH(greylist)
BOTH(lists)
BOTH(never)
BOTH(concurrency)
BOTH(killed_worker)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_several_lengths),
		cmocka_unit_test(test_several_windows),
		cmocka_unit_test(test_every_part),
		cmocka_unit_test(test_exemptions),
		cmocka_unit_test(test_actions),
		cmocka_unit_test(test_penalty),
		cmocka_unit_test(test_counter),
		cmocka_unit_test(test_greylist),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_never),
		cmocka_unit_test(test_concurrency),
		cmocka_unit_test(test_killed_worker),
		cmocka_unit_test(test_leases_are_declared_again),
		cmocka_unit_test(test_nobody_is_woken),
		cmocka_unit_test(test_mistakes),
	};
	return cmocka_run_group_tests_name("meter_kinds", tests, NULL, NULL);
}
