/* bench_meter.c - what a question costs: hot keys in process, cold keys at Redis, a Zipf load against
 * EVALSHA one at a time, floods of distinct keys, Redis away; and whether limits were exact meanwhile. */
#include <dirent.h>
#include <sys/resource.h>

#include "metermaid/simulate.h"
#include "tests/unit/meter/oracle.h"

static bool quick;
static pid_t redis;
static volatile uint64_t sink; /* so that nothing is optimized away */

static void figure(const char *name, double value)
{
	printf("figure %s %.6g\n", name, value);
	fflush(stdout);
}

static double cpu_s(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* user + system seconds of the server */
static double redis_cpu_s(redisContext *c)
{
	double sum = 0;
	redisReply *r = redisCommand(c, "INFO cpu");
	const char *user = strstr(r->str, "used_cpu_user:"), *sys = strstr(r->str, "used_cpu_sys:");
	sum = strtod(strchr(user, ':') + 1, NULL) + strtod(strchr(sys, ':') + 1, NULL);
	freeReplyObject(r);
	return sum;
}

/* ---- a worker ---- */

struct bench {
	struct loop *l;
	struct conf *c;
	struct metermaid *m;
};

static void enter(struct bench *b, const char *rule)
{
	char text[1024];
	snprintf(text, sizeof text, "metermaid { redis 127.0.0.1:%d; deadline 5s;\n %s\n}\n",
	    redis_port, rule);
	b->l = loop_new();
	b->c = load(text, NULL);
	b->m = metermaid_new(b->l, NULL, b->c);
	until_healthy(b->l, b->m);
	uint64_t ready = clock_mono_ms() + 2600; /* tokens from the second roll call on */
	while (clock_mono_ms() < ready)
		loop_step(b->l, 10);
}

static void leave(struct bench *b)
{
	metermaid_free(&b->m);
	conf_unref(&b->c);
	loop_free(&b->l);
}

/* The whole way: at once if it can be, else as a ticket. */
static bool passes(struct bench *b, const struct meter_facts *f)
{
	struct meter_answer a;
	if (!meter_ask_now(b->m, METER_CONNECT, f, &a))
		a = question(b->l, b->m, METER_CONNECT, f);
	return a.action == METER_ALLOW;
}

/* ---- hot keys ---- */

static void bench_hot(redisContext *c)
{
	static const struct {
		const char *figure, *rule;
	} cases[] = {
		{ "hot_decisions_per_s", "rule hot { on connect; key client/32,64; rate "
					 "900000000/1s; burst 900000000; }" },
		{ "hot_refusals_per_s", "rule shut { on connect; key client/32,64; rate 1/1h; }" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bench b;
		struct meter_facts f[4];
		uint64_t n = 0, until;
		enter(&b, cases[i].rule);
		for (uint32_t k = 0; k < 4; k++)
			f[k] = oracle_facts(k);
		double before = cpu_s();
		until = clock_mono_ms() + (quick ? 2000 : 8000);
		while (clock_mono_ms() < until) {
			for (int k = 0; k < 1000; k++)
				sink += passes(&b, &f[k & 3]);
			n += 1000;
			loop_step(b.l, 0);
		}
		figure(cases[i].figure, (double)n / (cpu_s() - before));
		leave(&b);
	}
}

/* ---- cold keys ---- */

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static double p99(double *v, size_t n)
{
	qsort(v, n, sizeof *v, by_size);
	return v[n * 99 / 100];
}

static const char plain[] =
    "local t = redis.call('TIME') local now = t[1] * 1000000 + t[2] "
    "local T, tau = tonumber(ARGV[1]), tonumber(ARGV[2]) "
    "local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + T "
    "if tat - now > tau then return math.ceil(tat - now - tau) end "
    "redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000)) "
    "return 0";

enum { COLD_EACH = 5000 };
enum { COLD_PING, COLD_BARE, COLD_ASKED, COLD_WAYS };

/* A cold question against what Redis alone takes: a PING, and GCRA by EVALSHA over a plain connection.
 * One of each in turn, so that what else the machine does meets all. */
static void bench_cold(redisContext *c)
{
	static double took[COLD_WAYS][COLD_EACH];
	struct bench b;
	redisReply *sha = redisCommand(c, "SCRIPT LOAD %s", plain);
	enter(&b, "rule cold { on connect; key client/32,64; rate 5/1m; }");
	for (uint32_t i = 0; i < COLD_EACH; i++) {
		struct meter_facts f = oracle_facts(100000 + i);
		uint64_t at[COLD_WAYS + 1] = { clock_wall_us() };
		freeReplyObject(redisCommand(c, "PING"));
		at[1] = clock_wall_us();
		freeReplyObject(redisCommand(c, "EVALSHA %s 1 bare:%u 1000 1000000", sha->str, i));
		at[2] = clock_wall_us();
		question(b.l, b.m, METER_CONNECT, &f);
		at[3] = clock_wall_us();
		for (size_t w = 0; w < COLD_WAYS; w++)
			took[w][i] = (double)(at[w + 1] - at[w]);
	}
	freeReplyObject(sha);
	double ping = p99(took[COLD_PING], COLD_EACH), bare = p99(took[COLD_BARE], COLD_EACH),
	       asked = p99(took[COLD_ASKED], COLD_EACH);
	printf(
	    "cold, microseconds: median %.0f, p99 %.0f; bare EVALSHA %.0f, %.0f; PING %.0f, %.0f\n",
	    took[COLD_ASKED][COLD_EACH / 2], asked, took[COLD_BARE][COLD_EACH / 2], bare,
	    took[COLD_PING][COLD_EACH / 2], ping);
	figure("cold_p99_us", asked);
	figure("cold_p99_vs_rtt", asked / bare);
	leave(&b);
}

static void bench_flood(redisContext *c)
{
	struct bench b;
	uint32_t key = 1u << 20;
	unsigned n = quick ? 20000 : 200000, out = 0;
	static struct meter_answer last_of;
	enter(&b, "rule flood { on connect; key client/32,64; rate 5/1m; }");
	double before = cpu_s();
	uint64_t began = clock_mono_ms();
	for (unsigned i = 0; i < n; i++) {
		struct meter_facts f = oracle_facts(key++ & 0xffffff);
		last = NULL;
		meter_ask(b.m, METER_CONNECT, &f, on_answer, &last_of);
		if (++out == 64) {
			uint64_t until = clock_mono_ms() + 1000;
			while (last == NULL && clock_mono_ms() < until)
				loop_step(b.l, 1);
			out = 0;
		}
	}
	double took = (double)(clock_mono_ms() - began + 1) / 1000;
	figure("flood_questions_per_s", n / took);
	figure("flood_cpu_us_each", (cpu_s() - before) * 1e6 / n);
	leave(&b);
}

/* ---- Redis CPU on a Zipf load ---- */

enum { ZIPF_KEYS = 1000 };

/* GCRA by EVALSHA, one question at a time: decisions for a second of Redis's CPU. */
static double zipf_one_at_a_time(redisContext *c)
{
	struct oracle_plan plan = { .load = LOAD_ZIPF, .keys = ZIPF_KEYS };
	struct oracle_worker w = { .plan = &plan, .cdf = oracle_zipf(ZIPF_KEYS) };
	redisReply *sha = redisCommand(c, "SCRIPT LOAD %s", plain);
	unsigned n = quick ? 30000 : 200000;
	double before = redis_cpu_s(c);
	for (unsigned i = 0; i < n; i++) {
		redisReply *r = redisCommand(
		    c, "EVALSHA %s 1 plain:%u 1000 1000000", sha->str, oracle_pick(&w));
		sink += (uint64_t)r->integer;
		freeReplyObject(r);
	}
	freeReplyObject(sha);
	return n / (redis_cpu_s(c) - before);
}

static void bench_zipf(redisContext *c)
{
	struct oracle_plan plan = { .procs = 2,
		.depth = 64,
		.load = LOAD_ZIPF,
		.keys = ZIPF_KEYS,
		.ms = quick ? 3000 : 10000,
		.rule = "rule zipf { on connect; key client/32,64; rate 1000/1s; }",
		.limit = bucket_limit_make(1000, 1000, 0),
		.bound = 1000 / 16 };
	double base = zipf_one_at_a_time(c), before = redis_cpu_s(c);
	struct oracle_result r = oracle_run(&plan);
	double ours = (double)r.asked / (redis_cpu_s(c) - before);
	figure("zipf_plain_decisions_per_redis_cpu_s", base);
	figure("zipf_decisions_per_redis_cpu_s", ours);
	figure("redis_cpu_gain", ours / base);
}

/* ---- exactness ---- */

static void bench_exact(redisContext *c)
{
	static const unsigned procs[] = { 1, 4, 16 };
	double over = 0, under = 0;
	for (size_t i = 0; i < COUNT_OF(procs); i++)
		for (int load_kind = LOAD_UNIFORM; load_kind <= LOAD_SINGLE; load_kind++) {
			bool cold = load_kind == LOAD_UNIFORM;
			struct oracle_plan plan = { .procs = procs[i],
				.load = (enum oracle_load)load_kind,
				.keys = cold                     ? 20000
					: load_kind == LOAD_ZIPF ? 1000
								 : 1,
				.ms = quick ? 2000 : 5000,
				.rule =
				    cold ? "rule cold { on connect; key client/32,64; rate 2/10s; }"
					 : "rule hot { on connect; key client/32,64; rate 1000/1s; "
					   "burst 800; }",
				.limit = cold ? bucket_limit_make(2, 10000, 0)
					      : bucket_limit_make(1000, 1000, 800),
				.bound = cold ? 0 : 800 / 16 };
			freeReplyObject(redisCommand(c, "FLUSHALL"));
			struct oracle_result r = oracle_run(&plan);
			double lost = 100.0 * ((double)r.due - (double)r.passed) / (double)r.due;
			printf("%2u processes, %-7s: %8lu asked, %7lu passed, %7lu due, %.2f "
			       "beyond the "
			       "bound\n",
			    procs[i],
			    cold                     ? "uniform"
			    : load_kind == LOAD_ZIPF ? "zipf"
						     : "single",
			    r.asked, r.passed, r.due, r.over_bound);
			over = r.over_bound > over ? r.over_bound : over;
			under = cold && lost > under ? lost : under;
		}
	figure("overshoot_over_bound", over);
	figure("undershoot_pct", under);
}

/* ---- Redis away ---- */

static void bench_away(redisContext *c)
{
	struct bench b;
	unsigned n = quick ? 20000 : 100000;
	double longest = 0;
	enter(&b, "rule away { on connect; key client/32,64; rate 5/1m; }");
	stop_redis(redis);
	while (metermaid_healthy(b.m))
		loop_step(b.l, 1);
	double before = cpu_s();
	for (unsigned i = 0; i < n; i++) {
		struct meter_facts f = oracle_facts(i);
		uint64_t at = clock_wall_us();
		question(b.l, b.m, METER_CONNECT, &f);
		double took = (double)(clock_wall_us() - at);
		longest = took > longest ? took : longest;
	}
	figure("away_cpu_us_each", (cpu_s() - before) * 1e6 / n);
	figure("away_longest_ms", longest / 1000);
	leave(&b);
}

/* ---- records and their replay ---- */

enum { RECORDS = 1000000, RECORD_KEYS = 50000 };

static const char replayed[] =
    "rule in { on connect; key client/32,64, client/24,48; rate 20/1m, 200/1m; }\n"
    "rule all { on connect; kind counter; key client/16,32; rate 90000/1d; }";

/* Decisions of this host are recorded in a folder; how long each took, beyond one that is not. */
static void make_records(const char *folder)
{
	double took[2];
	for (int on = 0; on < 2; on++) {
		char text[1024];
		snprintf(text, sizeof text, "metermaid { %s %s;\n%s\n}\n", on ? "record" : "",
		    on ? folder : "", replayed);
		if (!on)
			snprintf(text, sizeof text, "metermaid {\n%s\n}\n", replayed);
		struct bench b = { .l = loop_new(), .c = load(text, NULL) };
		b.m = metermaid_new(b.l, NULL, b.c);
		double before = cpu_s();
		for (uint32_t i = 0; i < RECORDS; i++) {
			struct meter_facts f = oracle_facts((uint32_t)rand_below(RECORD_KEYS));
			struct meter_answer a;
			sink += meter_ask_now(b.m, METER_CONNECT, &f, &a);
		}
		took[on] = cpu_s() - before;
		leave(&b);
	}
	figure("record_cpu_us_each", (took[1] - took[0]) * 1e6 / RECORDS);
}

static void remove_records(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	while ((e = readdir(d)) != NULL)
		unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	rmdir(folder);
}

static void bench_simulate(redisContext *c)
{
	char folder[] = "/tmp/bench-records-XXXXXX", text[1024];
	struct buf report = BUF_INIT(1 << 20), why = BUF_INIT(1000);
	assert_non_null(mkdtemp(folder));
	make_records(folder);
	snprintf(text, sizeof text, "metermaid {\n%s\n}\n", replayed);
	struct conf *rules = load(text, NULL);
	double before = cpu_s();
	uint64_t began = clock_mono_ms();
	struct simulation *s = simulation_new(rules);
	struct sim_log *log = sim_log_new();
	assert_true(sim_log_add(log, folder, &why));
	simulation_run(s, log);
	simulation_put_json(s, &report);
	figure("simulate_1m_s", (double)(clock_mono_ms() - began) / 1000);
	figure("simulate_1m_cpu_s", cpu_s() - before);
	printf("%.150s\n", buf_cstr(&report));
	simulation_free(&s);
	sim_log_free(&log);
	conf_unref(&rules);
	buf_end(&report);
	buf_end(&why);
	remove_records(folder);
}

static void bench_keys(redisContext *c)
{
	figure("keys_without_ttl", (double)keys_without_ttl());
}

static const struct {
	const char *name;
	void (*fn)(redisContext *c);
} parts[] = {
	{ "hot", bench_hot }, { "cold", bench_cold }, { "flood", bench_flood },
	{ "zipf", bench_zipf }, { "simulate", bench_simulate }, { "exact", bench_exact },
	{ "ttl", bench_keys }, { "away", bench_away }, /* the server is gone then */
};

static bool is_wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return argc == 1;
}

/* bench_meter [PART...]: all of them, or these. */
int main(int argc, char **argv)
{
	const char *q = getenv("QUICK");
	quick = q != NULL && q[0] == '1';
	log_set_fd(open("/dev/null", O_WRONLY));
	redis_port = pick_port();
	redis = start_redis();
	redisContext *c = client();
	for (size_t i = 0; i < COUNT_OF(parts); i++)
		if (is_wanted(parts[i].name, argc, argv))
			parts[i].fn(c);
	redisFree(c);
	return 0;
}
