/* test_meter_simulate.c - decisions are recorded, and replayed: under the same rules the same comes out, exactly,
 * on this host and with two workers at one Redis; under others it is told who would be treated otherwise. */
#include <dirent.h>
#include <sys/stat.h>

#include "metermaid/decision.h"
#include "metermaid/record.h"
#include "metermaid/simulate.h"
#include "tests/unit/meter/place.h"

enum { TEXT_MAX = 8192, JSON_MAX = 1 << 20 };

static char dir[64];

/* Each test begins when what the tables of this host knew before has ended. */
static int begin(void **state)
{
	static uint64_t days = 20;
	days += 400;
	clock_fake(days * 86400 * 1000, UINT64_C(1764000000000000) + days * 86400 * 1000000);
	snprintf(dir, sizeof dir, "/tmp/meter-simulate-XXXXXX");
	return mkdtemp(dir) == NULL;
}

/* Calls fn for each file; returns how many there are. */
static size_t each_file(void (*fn)(const char *path, void *arg), void *arg)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	size_t n = 0;
	while ((e = readdir(d)) != NULL) {
		char path[400];
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		n++;
		if (fn != NULL)
			fn(path, arg);
	}
	closedir(d);
	return n;
}

static void remove_file(const char *path, void *arg)
{
	unlink(path);
}

static int end(void **state)
{
	clock_fake_off();
	each_file(remove_file, NULL);
	return rmdir(dir);
}

static struct conf *load_rules(const char *more, const char *rules)
{
	char text[TEXT_MAX];
	snprintf(text, sizeof text, "metermaid {\n%s\n%s\n}\n", more, rules);
	struct conf *c = load(text, NULL);
	assert_non_null(c);
	return c;
}

static const char *recording(const char *more)
{
	static char text[TEXT_MAX];
	snprintf(text, sizeof text, "record %s; %s", dir, more);
	return text;
}

/* What a simulation of all that is recorded says. */
static const char *simulate(const char *rules)
{
	static struct buf out;
	struct buf why = BUF_INIT(1000);
	struct conf *c = load_rules("", rules);
	struct simulation *s = simulation_new(c);
	struct sim_log *log = sim_log_new();
	if (!sim_log_add(log, dir, &why))
		fail_msg("%s", buf_cstr(&why));
	simulation_run(s, log);
	buf_end(&out);
	out = BUF_INIT(JSON_MAX);
	simulation_put_json(s, &out);
	simulation_free(&s);
	sim_log_free(&log);
	conf_unref(&c);
	buf_end(&why);
	print_message("%.300s\n", buf_cstr(&out));
	return buf_cstr(&out);
}

static uint64_t number(const char *json, const char *name)
{
	char key[64];
	snprintf(key, sizeof key, "\"%s\":", name);
	const char *at = strstr(json, key);
	assert_non_null(at);
	return strtoull(at + strlen(key), NULL, 10);
}

static void has(const char *json, const char *part)
{
	if (strstr(json, part) == NULL)
		fail_msg("%s lacks %s", json, part);
}

static void is_same(const char *json, uint64_t decisions)
{
	assert_int_equal(number(json, "decisions"), decisions);
	assert_int_equal(number(json, "changed"), 0);
	assert_int_equal(number(json, "corrected"), 0);
	assert_int_equal(number(json, "unreadable"), 0);
}

/* ---- every kind of rule, at random ---- */

static const char all_kinds[] =
    "rule narrow { on connect; key client/32,128, client/24,48; rate 20/1m, 90/1m; burst 5, 30; }\n"
    "rule windows { on connect; key client/28,64; rate 9/10s+60/10m; action refuse; }\n"
    "rule slow { on mail; key user; rate 10/1m; action delay; }\n"
    "rule marked { on mail; key sender_domain; rate 30/1m; action tag; tag busy; }\n"
    "rule watched { on mail; key client/24,48; rate 5/1m; action shadow; }\n"
    "rule size { on message; key user; rate 100000/1h; cost bytes; action refuse; }\n"
    "rule daily { on message; kind counter; key user, listener; rate 40/10m; cost recipients; }\n"
    "rule guesses { on auth; kind penalty; key client/32,64, user; rate 5/5m; block 10m; }\n"
    "rule office { on auth; kind penalty; key client/24,48; rate 10/5m; grow 4; }\n"
    "rule strict { on auth; kind penalty; key client/32,64; rate 3/5m; spare_known 1m; }\n"
    "rule unknown { on rcpt; kind greylist; key client/24,64, sender, recipient; wait 30s; passes "
    "3; }\n"
    "rule friends { on connect; kind list; networks 10.0.3.0/24; action allow; }\n"
    "rule foes { on connect; kind list; networks 10.0.4.0/24; action disconnect; }\n"
    "rule held { on session; kind concurrency; key user; limit 2; }\n";

struct asker {
	struct loop *l;
	struct metermaid *m;
	uint64_t decisions;
	struct meter_lease *held[16];
	size_t at;
	size_t away;
};

static void keep(struct asker *a, struct meter_lease *l)
{
	meter_release(&a->held[a->at]);
	a->held[a->at] = l;
	a->at = (a->at + 1) % COUNT_OF(a->held);
}

static void on_answered(void *arg, const struct meter_answer *answer)
{
	struct asker *a = arg;
	a->away--;
	if (answer->lease != NULL)
		keep(a, answer->lease);
}

/* False: no rule looked at it. */
static void ask(struct asker *a, enum meter_moment moment, const struct meter_facts *f)
{
	struct meter_answer answer = { .rule = NULL };
	if (meter_ask_now(a->m, moment, f, &answer)) {
		a->decisions += moment != METER_LOGIN && moment != METER_TLS;
		if (answer.lease != NULL)
			keep(a, answer.lease);
		return;
	}
	a->decisions++;
	a->away++;
	assert_non_null(meter_ask(a->m, moment, f, on_answered, a));
}

static void ask_at_random(struct asker *a)
{
	static const enum meter_moment moments[] = { METER_CONNECT, METER_AUTH, METER_MAIL,
		METER_RCPT, METER_MESSAGE, METER_LOGIN, METER_SESSION };
	enum meter_moment moment = moments[rand_below(COUNT_OF(moments))];
	char ip[32], user[64], sender[64], recipient[64];
	snprintf(ip, sizeof ip, "10.0.%u.%u", (unsigned)rand_below(6), (unsigned)rand_below(6));
	snprintf(user, sizeof user, "User%u@Example.org", (unsigned)rand_below(8));
	snprintf(sender, sizeof sender, "a b%%,/%u@d%u", (unsigned)rand_below(4),
	    (unsigned)rand_below(3));
	snprintf(recipient, sizeof recipient, "r%u@example.org", (unsigned)rand_below(3));
	struct meter_facts f = from(ip, user);
	f.sender = span_str(sender);
	f.recipient = span_str(recipient);
	f.helo = SPAN("mail.example.net");
	f.listener = SPAN("mx");
	f.recipients = 1 + rand_below(5);
	f.bytes = rand_below(20000);
	f.authenticated = moment != METER_AUTH && rand_below(2) == 0;
	if (moment == METER_AUTH) {
		char secret[8];
		snprintf(secret, sizeof secret, "p%u", (unsigned)rand_below(5));
		f.secret_hash = meter_secret_hash(f.user, span_str(secret));
	}
	ask(a, moment, &f);
	if (moment == METER_AUTH && rand_below(3) > 0)
		meter_charge(a->m, moment, &f);
}

static void leave(struct asker *a)
{
	for (size_t i = 0; i < COUNT_OF(a->held); i++)
		meter_release(&a->held[i]);
	metermaid_free(&a->m);
	loop_free(&a->l);
}

static void test_host(void **state)
{
	struct conf *c = load_rules(recording(""), all_kinds);
	struct asker a = { .l = loop_new() };
	a.m = metermaid_new(a.l, NULL, c);
	for (int i = 0; i < 30000; i++) {
		ask_at_random(&a);
		loop_step(a.l, 0); /* ended sessions are told to the table */
		clock_fake_advance(rand_below(200));
	}
	leave(&a);
	is_same(simulate(all_kinds), a.decisions);
	has(simulate(""), "\"stopped\":0");
	assert_true(number(simulate(""), "let_in") > 1000);
	conf_unref(&c);
}

/* Two workers, keys that are hot: tokens in advance, refusals that are remembered. */
static void test_redis(void **state)
{
	char server[64];
	clock_fake_off();
	redis_port = pick_port();
	pid_t redis = start_redis();
	snprintf(server, sizeof server, "redis 127.0.0.1:%d; deadline 5s;", redis_port);
	static const char rules[] =
	    "rule hot { on tls; key client/32,64; rate 3000/1s; burst 600; }\n"
	    "rule few { on rcpt; key client/24,48; rate 2000/1s; burst 400; }\n"
	    "rule fewer { on rcpt; kind counter; key client/32,64; rate 4000/1s; }\n"
	    "rule guesses { on auth; kind penalty; key client/32,64, user; rate 5/5m; block 10m; "
	    "}\n"
	    "rule office { on auth; kind penalty; key client/24,48; rate 10/5m; grow 4; }\n";
	struct conf *c = load_rules(recording(server), rules);
	struct loop *l = loop_new();
	struct asker a[2] = { { .l = l }, { .l = l } };
	for (int i = 0; i < 2; i++) {
		a[i].m = metermaid_new(l, NULL, c);
		until_healthy(l, a[i].m);
	}
	uint64_t until = clock_mono_ms() + 6000, decisions = 0;
	while (clock_mono_ms() < until) {
		for (int i = 0; i < 40; i++) {
			struct asker *one = &a[rand_below(2)];
			struct meter_facts f = from(rand_below(4) ? "10.1.1.1" : "10.1.1.2",
			    rand_below(2) ? "a@example.org" : "b@example.org");
			f.authenticated = true;
			static const enum meter_moment moments[] = { METER_TLS, METER_RCPT,
				METER_AUTH, METER_TLS };
			enum meter_moment moment = moments[rand_below(COUNT_OF(moments))];
			struct meter_answer at_once;
			decisions++;
			if (moment == METER_AUTH && rand_below(50) == 0) {
				f.secret_hash = 1 + (uint32_t)rand_below(9);
				meter_charge(one->m, moment, &f);
			}
			if (meter_ask_now(one->m, moment, &f, &at_once))
				continue;
			one->away++;
			meter_ask(one->m, moment, &f, on_answered, one);
		}
		loop_step(l, 1);
		if (rand_below(100) == 0) {
			struct meter_facts f = from("10.1.1.3", rand_below(2) ? "c@d" : "e@d");
			f.authenticated = true;
			meter_ask(a[0].m, METER_LOGIN, &f, on_answered, &a[0]);
		}
	}
	until = clock_mono_ms() + 5000;
	while (a[0].away + a[1].away > 0 && clock_mono_ms() < until)
		loop_step(l, 10);
	for (int i = 0; i < 2; i++)
		metermaid_free(&a[i].m);
	loop_free(&l);
	conf_unref(&c);
	stop_redis(redis);
	is_same(simulate(rules), decisions);
}

/* ---- other rules ---- */

static void ask_from(struct asker *a, const char *ip, const char *user, int times)
{
	struct meter_facts f = from(ip, user);
	for (int i = 0; i < times; i++)
		ask(a, METER_MAIL, &f);
}

static const char ten[] = "rule sent { on mail; key user; rate 10/1h; }\n"
			  "rule net { on mail; key client/24,48; rate 100/1h; }";
static const char five[] = "rule sent { on mail; key user; rate 5/1h; }\n"
			   "rule net { on mail; key client/24,48; rate 100/1h; }";

static struct asker recorded(struct conf **c)
{
	*c = load_rules(recording(""), ten);
	struct asker a = { .l = loop_new() };
	a.m = metermaid_new(a.l, NULL, *c);
	ask_from(&a, "192.0.2.1", "alice@example.org", 8);
	ask_from(&a, "192.0.2.9", "bob@example.net", 20);
	ask_from(&a, "198.51.100.1", "carol@example.org", 5);
	return a;
}

static void test_who_would_change(void **state)
{
	struct conf *c;
	struct asker a = recorded(&c);
	leave(&a);
	const char *said = simulate(five);
	assert_int_equal(number(said, "decisions"), 33);
	assert_int_equal(number(said, "stopped"), 8);
	assert_int_equal(number(said, "let_in"), 0);
	has(said, "{\"rule\":\"sent\",\"was\":10,\"now\":18}");
	has(said, "\"users\":[{\"name\":\"bob@example.net\",\"stopped\":5,\"let_in\":0,");
	has(said, "{\"name\":\"alice@example.org\",\"stopped\":3,");
	has(said, "\"domains\":[{\"name\":\"example.net\",\"stopped\":5,");
	has(said, "\"prefixes\":[{\"name\":\"192.0.2.0/24\",\"stopped\":8,");
	said = simulate("rule sent { on mail; key user; rate 15/1h; }");
	assert_int_equal(number(said, "let_in"), 5);
	assert_int_equal(number(said, "stopped"), 0);
	said = simulate("rule sent { on mail; key user; rate 10/1h; action refuse; }");
	assert_int_equal(number(said, "otherwise"), 10);
	said = simulate("rule none { on mail; kind list; networks 192.0.2.9; action refuse; }");
	assert_int_equal(number(said, "stopped"), 10);
	assert_int_equal(number(said, "otherwise"), 10);
	conf_unref(&c);
}

/* Without what was recorded first, a refusal shows what the state must have been. */
static void test_records_that_begin_later(void **state)
{
	struct conf *c;
	struct asker a = recorded(&c);
	metermaid_free(&a.m);
	each_file(remove_file, NULL);
	a.m = metermaid_new(a.l, NULL, c);
	ask_from(&a, "192.0.2.9", "bob@example.net", 5);
	leave(&a);
	const char *said = simulate(ten);
	assert_int_equal(number(said, "decisions"), 5);
	assert_int_equal(number(said, "changed"), 0);
	assert_in_range(number(said, "corrected"), 1, 5);
	conf_unref(&c);
}

static uint32_t on_later(void *arg)
{
	return 1;
}

static void on_said(void *arg, uint32_t id, struct span json)
{
}

static void control(struct metermaid *m, const char *verb, const char *key)
{
	struct buf out = BUF_INIT(100000);
	const struct meter_late late = { on_later, on_said, NULL };
	assert_true(
	    metermaid_control(m, (const char *const[]){ "meter", verb, key }, 3, &late, &out));
	buf_end(&out);
}

static void test_bans_and_resets(void **state)
{
	struct conf *c;
	struct asker a = recorded(&c);
	control(a.m, "reset", "bob@example.net");
	ask_from(&a, "192.0.2.9", "bob@example.net", 12);
	control(a.m, "ban", "192.0.2.9");
	ask_from(&a, "192.0.2.9", "bob@example.net", 3);
	control(a.m, "unban", "192.0.2.9");
	ask_from(&a, "192.0.2.9", "bob@example.net", 2);
	leave(&a);
	is_same(simulate(ten), a.decisions);
	conf_unref(&c);
}

/* ---- files ---- */

static void add_size(const char *path, void *arg)
{
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_true(record_is_name(strrchr(path, '/') + 1));
	assert_true(st.st_size <= 64 * 1024);
	*(uint64_t *)arg += (uint64_t)st.st_size;
}

static void test_files_are_bounded(void **state)
{
	struct conf *c = load_rules(recording("record_file 64k; record_max 256k;"), ten);
	struct asker a = { .l = loop_new() };
	uint64_t sum = 0;
	clock_fake_off();
	a.m = metermaid_new(a.l, NULL, c);
	for (int i = 0; i < 20000; i++)
		ask_from(&a, "192.0.2.9", "bob@example.net", 1);
	leave(&a);
	assert_in_range(each_file(add_size, &sum), 3, 5);
	assert_in_range(sum, 128 * 1024, 256 * 1024);
	assert_true(number(simulate(ten), "decisions") > 1000);
	conf_unref(&c);
}

static void test_a_folder_that_refuses(void **state)
{
	struct conf *c = load_rules("record /nonexistent/postern;", ten);
	struct asker a = { .l = loop_new() };
	a.m = metermaid_new(a.l, NULL, c);
	ask_from(&a, "192.0.2.9", "bob@example.net", 3);
	/* it is switched off, then on at a place that is good */
	struct conf *off = load_rules("", ten), *on = load_rules(recording(""), ten);
	metermaid_reload(a.m, off);
	ask_from(&a, "192.0.2.9", "bob@example.net", 3);
	metermaid_reload(a.m, on);
	ask_from(&a, "192.0.2.9", "bob@example.net", 3);
	leave(&a);
	assert_int_equal(number(simulate(ten), "decisions"), 3);
	conf_unref(&c);
	conf_unref(&off);
	conf_unref(&on);
}

/* Some bytes of it are others now. */
static void spoil(const char *path, void *arg)
{
	struct stat st;
	int fd = open(path, O_RDWR);
	assert_int_equal(fstat(fd, &st), 0);
	for (off_t at = 0; at < st.st_size; at += 1 + (off_t)rand_below(400)) {
		static const char often[] = "0123456789=% \n,/DCERUZX";
		char c =
		    rand_below(3) ? often[rand_below(sizeof often - 1)] : (char)rand_below(256);
		assert_int_equal(pwrite(fd, &c, 1, at), 1);
	}
	close(fd);
}

/* Records are files like any others: whatever is in them, the report comes. */
static void test_spoiled_records(void **state)
{
	struct conf *c = load_rules(recording(""), all_kinds);
	struct asker a = { .l = loop_new() };
	a.m = metermaid_new(a.l, NULL, c);
	for (int i = 0; i < 2000; i++) {
		ask_at_random(&a);
		clock_fake_advance(rand_below(200));
	}
	leave(&a);
	for (int i = 0; i < 20; i++) {
		each_file(spoil, NULL);
		assert_true(number(simulate(all_kinds), "unreadable") > 0);
	}
	conf_unref(&c);
}

/* ---- lines ---- */

static void test_lines(void **state)
{
	static const char *const bad[] = { "", "D", "D 1", "D 1 x", "Q 1 1", "D 1 1 m",
		"D 1 1 m=", "D 1 1 m=nothing", "D 1 1 c=1.2.3", "D 1 1 u=%4", "D 1 1 u=%zz",
		"D -1 1", "D 1 4294967296", "D 1 1 x=123456789", "D 1 1 a=2", "D 1 1 tier=256",
		"D 99999999999999999999 1" };
	struct buf scratch = BUF_INIT(DECISION_LINE_MAX), line = BUF_INIT(DECISION_LINE_MAX);
	struct decision d, e;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(decision_parse(span_str(bad[i]), &scratch, &d));
	d = (struct decision){ .letter = 'D',
		.us = 5,
		.seq = 6,
		.moment = METER_RCPT,
		.f = from("2001:db8::1", "a b\n%,/\xff"),
		.action = METER_REFUSE,
		.rule = SPAN("a rule"),
		.tier = 2,
		.wait_us = 77,
		.lease = UINT64_MAX };
	assert_true(decision_put(&d, &line));
	struct span text = span_first(buf_span(&line), buf_len(&line) - 1);
	assert_true(decision_parse(text, &scratch, &e));
	assert_true(span_eq(e.f.user, d.f.user) && span_eq(e.rule, d.rule));
	assert_true(ip_eq(e.f.client, d.f.client) && e.lease == d.lease && e.wait_us == 77);
	/* cut anywhere it is another line or none, and never more than it is */
	for (size_t n = 0; n < text.n; n++)
		if (decision_parse(span_first(text, n), &scratch, &e))
			assert_true(e.f.user.n <= d.f.user.n && e.wait_us <= 77);
	assert_true(decision_parse(SPAN("D 1 1 later=x"), &scratch, &e));
	buf_end(&scratch);
	buf_end(&line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lines, begin, end),
		cmocka_unit_test_setup_teardown(test_host, begin, end),
		cmocka_unit_test_setup_teardown(test_redis, begin, end),
		cmocka_unit_test_setup_teardown(test_who_would_change, begin, end),
		cmocka_unit_test_setup_teardown(test_records_that_begin_later, begin, end),
		cmocka_unit_test_setup_teardown(test_bans_and_resets, begin, end),
		cmocka_unit_test_setup_teardown(test_files_are_bounded, begin, end),
		cmocka_unit_test_setup_teardown(test_spoiled_records, begin, end),
		cmocka_unit_test_setup_teardown(test_a_folder_that_refuses, begin, end),
	};
	log_set_fd(open("/dev/null", O_WRONLY));
	return cmocka_run_group_tests_name("meter_simulate", tests, NULL, NULL);
}
