/* test_meter_grow.c - the limit of a network grows with the users who logged in well from it: exactly so, in
 * Redis, on this host, and while Redis is away. */
#include "tests/unit/meter/place.h"

enum { TEXT_MAX = 1024, LIMIT = 2, GROW = 3, GROW_MAX = 4 };

struct place {
	struct loop *l;
	struct conf *c;
	struct metermaid *m;
};

static void enter(struct place *p, bool redis)
{
	char text[TEXT_MAX], server[64] = "";
	if (redis)
		snprintf(server, sizeof server, "redis 127.0.0.1:%d; deadline 5s;", redis_port);
	snprintf(text, sizeof text,
	    "metermaid { %s\n"
	    " rule in { on connect; key client/24,48; rate 2/1h; grow 3; grow_max 4; }\n"
	    " rule all { on tls; key client/24,48; kind counter; rate 2/1d; grow 3; grow_max 4; }\n"
	    " rule bad { on auth; key client/24,48; kind penalty; rate 2/1h; grow 3; grow_max 4; "
	    "}\n"
	    " rule held { on session; key client/24,48; kind concurrency; limit 2; grow 3; "
	    "grow_max "
	    "4; }\n}\n",
	    server);
	*p = (struct place){ .l = loop_new() };
	p->c = load(text, NULL);
	assert_non_null(p->c);
	p->m = metermaid_new(p->l, NULL, p->c);
	until_healthy(p->l, p->m);
}

static void leave(struct place *p)
{
	metermaid_free(&p->m);
	conf_unref(&p->c);
	loop_free(&p->l);
}

/* A user logs in well from this network's host; no rule looks at it. */
static void log_in(struct place *p, unsigned net, unsigned host, const char *user)
{
	char ip[32];
	snprintf(ip, sizeof ip, "10.1.%u.%u", net, host);
	struct meter_facts f = from(ip, user);
	f.authenticated = true;
	assert_null(meter_ask(p->m, METER_LOGIN, &f, on_answer, NULL));
}

/* How many pass until one does not. */
static unsigned passes(struct place *p, enum meter_moment moment, unsigned net)
{
	char ip[32];
	unsigned n = 0;
	snprintf(ip, sizeof ip, "10.1.%u.200", net);
	struct meter_facts f = from(ip, "");
	for (; n < 50; n++) {
		if (question(p->l, p->m, moment, &f).action != METER_ALLOW)
			break;
		if (moment == METER_AUTH)
			meter_charge(p->m, moment, &f);
		meter_release(&last_copy.lease);
	}
	return n;
}

static unsigned sessions(struct place *p, unsigned net)
{
	struct meter_lease *held[50];
	char ip[32];
	unsigned n = 0;
	snprintf(ip, sizeof ip, "10.1.%u.200", net);
	struct meter_facts f = from(ip, "");
	while (n < 50 && question(p->l, p->m, METER_SESSION, &f).action == METER_ALLOW)
		held[n++] = last_copy.lease;
	for (unsigned i = 0; i < n; i++)
		meter_release(&held[i]);
	return n;
}

static void is_limit(struct place *p, unsigned net, unsigned users)
{
	unsigned limit = LIMIT + GROW * users;
	assert_int_equal(passes(p, METER_CONNECT, net), limit);
	assert_int_equal(passes(p, METER_TLS, net), limit);
	assert_int_equal(passes(p, METER_AUTH, net), limit);
}

/* Networks 0 to 6 have as many users; each logs in twice, from two hosts, in two spellings. */
static void fill(struct place *p)
{
	for (unsigned net = 0; net < 7; net++)
		for (unsigned user = 0; user < net; user++) {
			char name[32];
			snprintf(name, sizeof name, "user%u@example.org", user);
			log_in(p, net, 1 + user, name);
			name[0] = 'U';
			log_in(p, net, 101 + user, name);
		}
}

static void check_all(struct place *p)
{
	struct meter_facts none = from("10.1.1.1", "nobody@example.org");
	fill(p);
	/* not logged in: nothing is learned */
	meter_ask(p->m, METER_LOGIN, &none, on_answer, NULL);
	for (unsigned net = 0; net < 7; net++) {
		is_limit(p, net, net < GROW_MAX ? net : GROW_MAX);
		assert_int_equal(
		    sessions(p, net), LIMIT + GROW * (net < GROW_MAX ? net : GROW_MAX));
	}
}

static uint32_t on_later(void *arg)
{
	return 1;
}

static void on_said(void *arg, uint32_t id, struct span json)
{
	buf_add_span(arg, json);
}

static void has(struct place *p, const char *verb, const char *part)
{
	struct buf said = BUF_INIT(100000);
	const struct meter_late late = { on_later, on_said, &said };
	uint64_t until = clock_mono_ms() + 5000;
	assert_true(metermaid_control(
	    p->m, (const char *const[]){ "meter", verb, "10.1.3.7", "all" }, 4, &late, &said));
	while (buf_len(&said) == 0 && clock_mono_ms() < until)
		loop_step(p->l, 10);
	if (strstr(buf_cstr(&said), part) == NULL)
		fail_msg("%s lacks %s", buf_cstr(&said), part);
	buf_end(&said);
}

static void is_shown(struct place *p)
{
	has(p, "show", "\"kind\":\"users\",\"used\":3,\"limit\":\"+3 each\"");
	has(p, "show", "\"kind\":\"counter\",\"used\":11,\"limit\":\"11/1d\"");
	has(p, "reset", "\"kind\":\"counter\"");
	has(p, "show", "\"used\":3,\"limit\":\"+3 each\""); /* still known */
	struct meter_facts f = from("10.1.3.7", "");
	until_allowed(p->l, p->m, METER_TLS, &f);
}

static void test_host(void **state)
{
	struct place p;
	enter(&p, false);
	check_all(&p);
	is_shown(&p);
	leave(&p);
}

static void test_redis_and_without(void **state)
{
	struct place p;
	redis_port = pick_port();
	pid_t redis = start_redis();
	enter(&p, true);
	check_all(&p);
	is_shown(&p);
	assert_int_equal(keys_without_ttl(), 0);
	leave(&p);
	/* empty again: users are learned again, and known when it goes away */
	flush_redis();
	enter(&p, true);
	fill(&p);
	stop_redis(redis);
	while (metermaid_healthy(p.m))
		loop_step(p.l, 10);
	is_limit(&p, 0, 0);
	is_limit(&p, 2, 2);
	assert_true(last_copy.degraded);
	leave(&p);
}

/* Beyond the rule's keys the networks that were quiet longest go, and none is kept for ever. */
static void test_bounds(void **state)
{
	struct place p;
	redis_port = pick_port();
	pid_t redis = start_redis();
	char text[TEXT_MAX];
	snprintf(text, sizeof text,
	    "metermaid { redis 127.0.0.1:%d; deadline 5s; rule r { on connect; key client/32,64; "
	    "rate 2/1h; grow 3; grow_max 5; keys_max 16; }\n}\n",
	    redis_port);
	p = (struct place){ .l = loop_new(), .c = load(text, NULL) };
	p.m = metermaid_new(p.l, NULL, p.c);
	until_healthy(p.l, p.m);
	for (unsigned net = 0; net < 100; net++)
		log_in(&p, net, 1, "user@example.org");
	for (unsigned n = 0; n < 20; n++) {
		char name[32];
		snprintf(name, sizeof name, "%u@example.org", n);
		log_in(&p, 99, 200, name);
	}
	assert_int_equal(passes(&p, METER_CONNECT, 99), 2 + 3 * 5);
	redisContext *c = client();
	redisReply *r = redisCommand(c, "KEYS {postern}:u:*");
	assert_int_equal(r->elements, 16);
	freeReplyObject(r);
	r = redisCommand(c, "ZCARD {postern}:u:r|10.1.99.200/32");
	assert_int_equal(r->integer, 5);
	freeReplyObject(r);
	redisFree(c);
	assert_int_equal(keys_without_ttl(), 0);
	leave(&p);
	stop_redis(redis);
}

static void test_mistakes(void **state)
{
	assert_non_null(strstr(load_error("metermaid { rule a { on auth; key client/32,64, user; "
					  "rate 1/1m; grow 2; } }"),
	    "without user"));
	assert_non_null(
	    strstr(load_error("metermaid { rule a { on mail; key sender; rate 1/1m; grow 2; } }"),
		"grow"));
	assert_non_null(strstr(
	    load_error("metermaid { rule a { on mail; kind greylist; key client; grow 2; } }"),
	    "kinds with a limit"));
}

static int begin(void **state)
{
	log_set_fd(open("/dev/null", O_WRONLY));
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_redis_and_without),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_mistakes),
	};
	return cmocka_run_group_tests_name("meter_grow", tests, begin, NULL);
}
