/* test_meter_outage.c - 5,000 questions a second while Redis is frozen, killed, replaced by a server that
 * answers garbage, and started again empty; and a worker killed with ten thousand leases. */
#include "tests/unit/meter/flood.h"

/* Answers every command with something that is no answer to it. */
static pid_t start_garbage(void)
{
	static const char *const words[] = { "+OK\r\n", ":-7\r\n", "$3\r\nabc\r\n",
		"*2\r\n:1\r\n+x\r\n", "-ERR no\r\n", "*1\r\n*1\r\n:1\r\n", "?\r\n" };
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)redis_port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 16), 0);
	pid_t pid = fork();
	if (pid != 0) {
		close(fd);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t n = 0;; n++) {
		char in[65536];
		int c = accept(fd, NULL, NULL);
		for (size_t k = 0; read(c, in, sizeof in) > 0; k++) {
			const char *w = words[(n + k) % COUNT_OF(words)];
			if (write(c, w, strlen(w)) < 0)
				break;
		}
		close(c);
	}
}

static void test_every_answer_in_time(void **state)
{
	char text[512];
	redis_port = pick_port();
	pid_t redis = start_redis();
	snprintf(text, sizeof text,
	    "metermaid { redis 127.0.0.1:%d; deadline %dms;\n"
	    " rule open { on connect; key client/32,64; rate 100000/1s; on_loss open; }\n}\n",
	    redis_port, DEADLINE_MS);
	struct conf *c = load(text, NULL);
	struct flood f = { .l = loop_new() };
	f.m = metermaid_new(f.l, NULL, c);
	log_set_fd(open("/dev/null", O_WRONLY));
	until_healthy(f.l, f.m);
	flood(&f, 500);
	assert_true(f.degraded * 10 < f.asked && f.refused == 0);
	kill(redis, SIGSTOP); /* frozen: late, then given up */
	flood(&f, 1500);
	assert_true(f.degraded == f.asked && f.refused == 0);
	kill(redis, SIGCONT);
	until_healthy(f.l, f.m);
	stop_redis(redis); /* gone */
	flood(&f, 500);
	assert_true(f.degraded == f.asked && f.refused == 0);
	pid_t garbage = start_garbage();
	flood(&f, 1500);
	assert_true(f.degraded == f.asked && f.refused == 0);
	stop_redis(garbage);
	redis = start_redis(); /* again, empty: without a restart of ours */
	until_healthy(f.l, f.m);
	flood(&f, 500);
	assert_true(f.degraded * 10 < f.asked && f.refused == 0);
	metermaid_free(&f.m);
	conf_unref(&c);
	loop_free(&f.l);
	stop_redis(redis);
}

/* ---- leases ---- */

enum { WORKERS = 8, LEASES = 10000, LEASE_MS = 2000 };

static struct conf *lease_conf(void)
{
	char text[512];
	snprintf(text, sizeof text,
	    "metermaid { redis 127.0.0.1:%d; deadline 5s;\n"
	    " rule held { on session; kind concurrency; key listener; limit 100000; lease %dms; }\n"
	    " rule each { on session; kind concurrency; key client/32,64; limit 5; lease %dms; "
	    "}\n}\n",
	    redis_port, LEASE_MS, LEASE_MS);
	struct conf *c = load(text, NULL);
	assert_non_null(c);
	return c;
}

static void on_lease(void *arg, const struct meter_answer *a)
{
	uint64_t *n = arg;
	*n += a->lease != NULL;
}

/* Takes its part of the leases, says so, and goes on renewing them. */
static void hold_many(int ready, unsigned worker)
{
	struct loop *l = loop_new();
	struct conf *c = lease_conf();
	struct metermaid *m = metermaid_new(l, NULL, c);
	uint64_t got = 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	until_healthy(l, m);
	for (unsigned i = 0; i < LEASES / WORKERS; i++) {
		char ip[32];
		snprintf(ip, sizeof ip, "10.%u.%u.%u", worker, i / 256, i % 256);
		struct meter_facts f = from(ip, "");
		f.listener = SPAN("all");
		meter_ask(m, METER_SESSION, &f, on_lease, &got);
		if (i % 64 == 0)
			loop_step(l, 0);
	}
	while (got < LEASES / WORKERS)
		loop_step(l, 10);
	if (write(ready, "x", 1) != 1)
		_exit(1);
	for (;;)
		loop_step(l, 100);
}

static uint32_t on_later(void *arg)
{
	return 1;
}

static void on_said(void *arg, uint32_t id, struct span json)
{
	buf_add_span(arg, json);
}

/* What is held of the listener, all workers together. */
static uint64_t held(struct loop *l, struct metermaid *m, struct buf *said)
{
	const struct meter_late late = { on_later, on_said, said };
	uint64_t until = clock_mono_ms() + 5000;
	buf_clear(said);
	assert_true(metermaid_control(
	    m, (const char *const[]){ "meter", "show", "all", "held" }, 4, &late, said));
	while (buf_len(said) == 0 && clock_mono_ms() < until)
		loop_step(l, 10);
	const char *at = strstr(buf_cstr(said), "\"used\":");
	return at != NULL ? strtoull(at + 7, NULL, 10) : 0;
}

static void test_a_killed_worker_gives_its_leases_back(void **state)
{
	int ready[2];
	pid_t workers[WORKERS];
	char ok[WORKERS];
	redis_port = pick_port();
	pid_t redis = start_redis();
	struct buf said = BUF_INIT(100000);
	metermaid_prepare();
	assert_int_equal(pipe(ready), 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = fork();
		if (workers[i] == 0)
			hold_many(ready[1], i);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(read(ready[0], &ok[i], 1), 1);
	struct loop *l = loop_new();
	struct conf *c = lease_conf();
	struct metermaid *m = metermaid_new(l, NULL, c);
	until_healthy(l, m);
	assert_int_equal(held(l, m, &said), LEASES);
	uint64_t until = clock_mono_ms() + LEASE_MS + LEASE_MS / 2; /* all are renewed */
	while (clock_mono_ms() < until)
		loop_step(l, 50);
	assert_int_equal(held(l, m, &said), LEASES);
	kill(workers[3], SIGKILL);
	waitpid(workers[3], NULL, 0);
	uint64_t killed = clock_mono_ms();
	while (held(l, m, &said) != LEASES - LEASES / WORKERS &&
	       clock_mono_ms() < killed + 3 * LEASE_MS)
		loop_step(l, 20);
	print_message("exact again after %lu ms\n", clock_mono_ms() - killed);
	assert_true(clock_mono_ms() - killed <= LEASE_MS + 200);
	assert_int_equal(held(l, m, &said), LEASES - LEASES / WORKERS);
	assert_int_equal(keys_without_ttl(), 0);
	for (unsigned i = 0; i < WORKERS; i++)
		if (i != 3)
			stop_redis(workers[i]);
	until = clock_mono_ms() + LEASE_MS + 500;
	while (clock_mono_ms() < until)
		loop_step(l, 50);
	assert_int_equal(held(l, m, &said), 0);
	metermaid_free(&m);
	conf_unref(&c);
	loop_free(&l);
	buf_end(&said);
	close(ready[0]);
	close(ready[1]);
	stop_redis(redis);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_answer_in_time),
		cmocka_unit_test(test_a_killed_worker_gives_its_leases_back),
	};
	return cmocka_run_group_tests_name("meter_outage", tests, NULL, NULL);
}
