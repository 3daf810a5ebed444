/* test_meter_failover.c - a master, its replica and three Sentinels, each a real process: 5,000 questions a
 * second while the master is killed and while it is frozen; Sentinels that die; a wrong name. */
#include <poll.h>

#include "tests/unit/meter/flood.h"

enum { SENTINELS = 3, MORE_MAX = 512 };

static char dir[] = "/tmp/meter-failover-XXXXXX";
static int ports[2], sentinel_ports[SENTINELS];
static pid_t servers[2], sentinels[SENTINELS];

/* A replica writes what it was sent into a file, which the next start would load. */
static void start_server(int i, int replica_of)
{
	char port[16], file[24];
	const char *const more[] = { "--dir", dir, "--dbfilename", file,
		"--repl-diskless-sync-delay", "0", replica_of > 0 ? "--replicaof" : NULL,
		"127.0.0.1", port, NULL };
	snprintf(port, sizeof port, "%d", replica_of);
	snprintf(file, sizeof file, "%d.rdb", i);
	servers[i] = start_redis_at(ports[i], more);
}

static void start_sentinel(int i)
{
	char path[64];
	snprintf(path, sizeof path, "%s/sentinel%d.conf", dir, i);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f,
	    "port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor limits 127.0.0.1 %d 2\n"
	    "sentinel down-after-milliseconds limits 500\nsentinel failover-timeout limits 4000\n",
	    sentinel_ports[i], dir, ports[0]);
	fclose(f);
	sentinels[i] = fork();
	if (sentinels[i] == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (freopen("/dev/null", "w", stdout) == NULL)
			_exit(1);
		execlp("redis-server", "redis-server", path, "--sentinel", (char *)NULL);
		_exit(127);
	}
	redisFree(client_at(sentinel_ports[i]));
}

/* Asks until the answer has the text; for 30 seconds. A server that is demoted hangs up. */
static void until_said(int port, const char *command, const char *text)
{
	uint64_t until = clock_mono_ms() + 30000;
	bool said = false;
	while (!said) {
		redisContext *c = client_at(port);
		redisReply *r = redisCommand(c, command);
		said = r != NULL && r->str != NULL && strstr(r->str, text) != NULL;
		if (r != NULL)
			freeReplyObject(r);
		redisFree(c);
		assert_true(clock_mono_ms() < until);
		poll(NULL, 0, 20);
	}
}

static void until_quorum(void)
{
	for (int i = 0; i < SENTINELS; i++) {
		until_said(sentinel_ports[i], "SENTINEL CKQUORUM limits", "OK 3 usable");
		until_said(sentinel_ports[i], "INFO sentinel", "status=ok,address=");
		until_said(sentinel_ports[i], "INFO sentinel", "slaves=1,sentinels=3");
	}
}

static int begin(void **state)
{
	assert_non_null(mkdtemp(dir));
	for (int i = 0; i < 2; i++)
		ports[i] = pick_port();
	for (int i = 0; i < SENTINELS; i++)
		sentinel_ports[i] = pick_port();
	start_server(0, 0);
	start_server(1, ports[0]);
	until_said(ports[0], "INFO replication", "state=online");
	for (int i = 0; i < SENTINELS; i++)
		start_sentinel(i);
	until_quorum();
	return 0;
}

static int end(void **state)
{
	char path[64];
	for (int i = 0; i < 2; i++) {
		stop_redis(servers[i]);
		snprintf(path, sizeof path, "%s/%d.rdb", dir, i);
		unlink(path);
	}
	for (int i = 0; i < SENTINELS; i++) {
		stop_redis(sentinels[i]);
		snprintf(path, sizeof path, "%s/sentinel%d.conf", dir, i);
		unlink(path);
	}
	return rmdir(dir);
}

static struct conf *load_with_sentinels(const char *master)
{
	char text[MORE_MAX];
	snprintf(text, sizeof text,
	    "metermaid { redis_sentinel 127.0.0.1:%d, 127.0.0.1:%d, 127.0.0.1:%d;"
	    " redis_master %s; deadline %dms;\n"
	    " rule open { on connect; key client/32,64; rate 100000/1s; on_loss open; }\n"
	    " rule kept { on tls; key client/32,64; rate 3/1h; on_loss open; }\n}\n",
	    sentinel_ports[0], sentinel_ports[1], sentinel_ports[2], master, DEADLINE_MS);
	return load(text, NULL);
}

/* Every answer in its time until another server is the master, and the limits go on there. */
static void is_survived(struct flood *f, int gone, int sig)
{
	char port[16];
	kill(servers[gone], sig);
	flood(f, 3000);
	assert_int_equal(f->refused, 0);
	assert_true(f->degraded > 0);
	until_healthy(f->l, f->m);
	flood(f, 500);
	assert_true(f->degraded * 10 < f->asked);
	snprintf(port, sizeof port, "port=%d", ports[!gone]);
	until_said(sentinel_ports[0], "INFO sentinel", strchr(port, '=') + 1);
}

static void test_failover(void **state)
{
	struct flood f = { .l = loop_new() };
	struct conf *c = load_with_sentinels("limits");
	struct meter_facts kept = from("192.0.2.7", "");
	assert_non_null(c);
	f.m = metermaid_new(f.l, NULL, c);
	log_set_fd(open("/dev/null", O_WRONLY));
	until_healthy(f.l, f.m);
	for (int i = 0; i < 3; i++)
		assert_int_equal(question(f.l, f.m, METER_TLS, &kept).action, METER_ALLOW);
	flood(&f, 500);
	assert_true(f.degraded * 10 < f.asked);
	is_survived(&f, 0, SIGKILL);
	/* what was counted has been replicated: the limit goes on */
	assert_int_equal(question(f.l, f.m, METER_TLS, &kept).action, METER_DEFER);
	assert_false(last_copy.degraded);

	waitpid(servers[0], NULL, 0);
	start_server(0, ports[1]);
	until_said(ports[1], "INFO replication", "state=online");
	until_quorum();
	is_survived(&f, 1, SIGSTOP);
	kill(servers[1], SIGCONT); /* the old master is back, and believed to be one by nobody */
	until_said(ports[1], "INFO replication", "role:slave");
	flood(&f, 500);
	assert_true(f.degraded * 10 < f.asked);
	until_said(ports[0], "INFO replication", "state=online");
	until_quorum();

	kill(sentinels[0], SIGSTOP); /* whom it asked may be one of these */
	stop_redis(sentinels[1]);
	metermaid_free(&f.m);
	f.m = metermaid_new(f.l, NULL, c);
	until_healthy(f.l, f.m);
	flood(&f, 300);
	assert_true(f.degraded * 10 < f.asked);
	kill(sentinels[0], SIGCONT);
	start_sentinel(1);
	metermaid_free(&f.m);
	conf_unref(&c);
	loop_free(&f.l);
}

static void test_a_wrong_name_is_told(void **state)
{
	int log[2];
	char said[4096] = "";
	size_t n = 0;
	struct loop *l = loop_new();
	struct conf *c = load_with_sentinels("nobody");
	assert_int_equal(pipe(log), 0);
	fcntl(log[0], F_SETFL, O_NONBLOCK);
	log_set_fd(log[1]);
	struct metermaid *m = metermaid_new(l, NULL, c);
	uint64_t until = clock_mono_ms() + 5000;
	while (strstr(said, "meter.sentinel_error") == NULL && clock_mono_ms() < until) {
		loop_step(l, 10);
		ssize_t got = read(log[0], said + n, sizeof said - 1 - n);
		n += got > 0 ? (size_t)got : 0;
	}
	assert_non_null(strstr(said, "it does not know the master"));
	struct meter_facts f = from("192.0.2.7", "");
	assert_true(question(l, m, METER_CONNECT, &f).degraded);
	metermaid_free(&m);
	log_set_fd(open("/dev/null", O_WRONLY));
	close(log[0]);
	close(log[1]);
	conf_unref(&c);
	loop_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_wrong_name_is_told),
		cmocka_unit_test(test_failover),
	};
	return cmocka_run_group_tests_name("meter_failover", tests, begin, end);
}
