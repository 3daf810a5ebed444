/* test_meter_ways.c - ways to a Redis: a user with a password and few rights, a unix socket, another
 * database, a replica before its master, a node of a cluster that has other keys; and servers that talk
 * too much. Each server is a real process, but the last. */
#include <poll.h>

#include "tests/unit/meter/place.h"

enum { TEXT_MAX = 1024 };

static char dir[] = "/tmp/meter-ways-XXXXXX";

static int begin(void **state)
{
	log_set_fd(open("/dev/null", O_WRONLY));
	return mkdtemp(dir) == NULL;
}

static int end(void **state)
{
	static const char *const left[] = { "redis.sock", "dump.rdb", "nodes0.conf",
		"nodes1.conf" };
	char path[64];
	for (size_t i = 0; i < COUNT_OF(left); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, left[i]);
		unlink(path);
	}
	return rmdir(dir);
}

struct way {
	struct loop *l;
	struct conf *c;
	struct metermaid *m;
};

static struct way enter(const char *how)
{
	char text[TEXT_MAX];
	struct way w = { .l = loop_new() };
	snprintf(text, sizeof text,
	    "metermaid { %s;\n rule r { on connect; key client/32,64; rate 2/1h; }\n}\n", how);
	w.c = load(text, NULL);
	assert_non_null(w.c);
	w.m = metermaid_new(w.l, NULL, w.c);
	return w;
}

static void leave(struct way *w)
{
	metermaid_free(&w->m);
	conf_unref(&w->c);
	loop_free(&w->l);
}

/* It comes up there, and a limit holds. */
static void is_good(const char *how)
{
	struct way w = enter(how);
	struct meter_facts f = from("192.0.2.1", "");
	until_healthy(w.l, w.m);
	assert_int_equal(question(w.l, w.m, METER_CONNECT, &f).action, METER_ALLOW);
	assert_int_equal(question(w.l, w.m, METER_CONNECT, &f).action, METER_ALLOW);
	assert_int_equal(question(w.l, w.m, METER_CONNECT, &f).action, METER_DEFER);
	assert_false(last_copy.degraded);
	leave(&w);
}

/* It does not come up within so long; answers go on. */
static void is_bad(const char *how, uint64_t ms)
{
	struct way w = enter(how);
	struct meter_facts f = from("192.0.2.1", "");
	uint64_t until = clock_mono_ms() + ms;
	while (clock_mono_ms() < until) {
		loop_step(w.l, 10);
		assert_false(metermaid_healthy(w.m));
	}
	assert_true(question(w.l, w.m, METER_CONNECT, &f).degraded);
	leave(&w);
}

static long long number(redisContext *c, const char *command)
{
	redisReply *r = redisCommand(c, command);
	assert_non_null(r);
	long long n = r->type == REDIS_REPLY_INTEGER ? r->integer : -1;
	freeReplyObject(r);
	return n;
}

static void test_user_socket_database(void **state)
{
	char path[64], how[TEXT_MAX];
	snprintf(path, sizeof path, "%s/redis.sock", dir);
	const char *const more[] = { "--unixsocket", path, "--user", "limits", "on", ">s3cret",
		"~{postern}:*", "+@read", "+@write", "+@scripting", "+time", "+select", NULL };
	redis_port = pick_port();
	pid_t redis = start_redis_at(redis_port, more);
	redisContext *c = client();
	snprintf(how, sizeof how,
	    "redis unix:%s; redis_user limits; redis_password s3cret; redis_db 3", path);
	is_good(how);
	freeReplyObject(redisCommand(c, "SELECT 3"));
	assert_true(number(c, "DBSIZE") > 0);
	freeReplyObject(redisCommand(c, "SELECT 0"));
	assert_int_equal(number(c, "DBSIZE"), 0);
	snprintf(how, sizeof how, "redis unix:%s; redis_user limits; redis_password wrong", path);
	is_bad(how, 400);
	redisFree(c);
	stop_redis(redis);
}

static void test_a_replica_is_passed_over(void **state)
{
	int master = redis_port = pick_port(), replica = pick_port();
	char port[16], how[TEXT_MAX];
	const char *const more[] = { "--dir", dir, "--replicaof", "127.0.0.1", port, NULL };
	snprintf(port, sizeof port, "%d", master);
	pid_t pids[2] = { start_redis(), start_redis_at(replica, more) };
	snprintf(how, sizeof how, "redis 127.0.0.1:%d", replica);
	is_bad(how, 400);
	snprintf(how, sizeof how, "redis 127.0.0.1:%d, 127.0.0.1:%d", replica, master);
	is_good(how);
	stop_redis(pids[0]);
	stop_redis(pids[1]);
}

/* Two nodes: all slots but those of the other. */
static void test_a_cluster_says_where(void **state)
{
	int ports[2] = { pick_port(), pick_port() };
	char how[TEXT_MAX], name[2][24];
	pid_t pids[2];
	redisContext *c[2];
	for (int i = 0; i < 2; i++) {
		snprintf(name[i], sizeof name[i], "nodes%d.conf", i);
		char bus[16];
		snprintf(bus, sizeof bus, "%d", pick_port());
		pids[i] = start_redis_at(
		    ports[i], (const char *const[]){ "--dir", dir, "--cluster-enabled", "yes",
				  "--cluster-port", bus, "--cluster-config-file", name[i],
				  "--cluster-require-full-coverage", "no", NULL });
		c[i] = client_at(ports[i]);
	}
	long long slot = number(c[0], "CLUSTER KEYSLOT {postern}:up");
	freeReplyObject(redisCommand(c[0], "CLUSTER ADDSLOTS %lld", (slot + 1) % 16384));
	freeReplyObject(redisCommand(c[1], "CLUSTER ADDSLOTS %lld", slot));
	redisReply *bus = redisCommand(c[1], "CONFIG GET cluster-port");
	freeReplyObject(
	    redisCommand(c[0], "CLUSTER MEET 127.0.0.1 %d %s", ports[1], bus->element[1]->str));
	freeReplyObject(bus);
	uint64_t until = clock_mono_ms() + 20000;
	bool knows = false;
	while (!knows && clock_mono_ms() < until) {
		redisReply *r = redisCommand(c[0], "GET {postern}:up");
		knows = r->type == REDIS_REPLY_ERROR && strncmp(r->str, "MOVED", 5) == 0;
		freeReplyObject(r);
		poll(NULL, 0, 10);
	}
	assert_true(knows);
	snprintf(how, sizeof how, "redis 127.0.0.1:%d", ports[0]);
	is_good(how);
	for (int i = 0; i < 2; i++) {
		redisFree(c[i]);
		stop_redis(pids[i]);
	}
}

/* Answers each command twice, or speaks first: hiredis would abort over it. */
static void talk(int fd, bool first)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		char in[65536];
		int c = accept(fd, NULL, NULL);
		if (first && write(c, "+OK\r\n", 5) != 5)
			_exit(1);
		while (read(c, in, sizeof in) > 0)
			if (write(c, "+OK\r\n+OK\r\n+OK\r\n+OK\r\n", 20) < 0)
				break;
		close(c);
	}
}

static void test_who_talks_too_much(void **state)
{
	for (int first = 0; first < 2; first++) {
		struct sockaddr_in a = { .sin_family = AF_INET,
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		socklen_t n = sizeof a;
		char how[TEXT_MAX];
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
		assert_int_equal(listen(fd, 16), 0);
		pid_t pid = fork();
		if (pid == 0)
			talk(fd, first);
		snprintf(how, sizeof how, "redis 127.0.0.1:%d", ntohs(a.sin_port));
		is_bad(how, 500);
		snprintf(how, sizeof how, "redis_sentinel 127.0.0.1:%d; redis_master m",
		    ntohs(a.sin_port));
		is_bad(how, 500);
		close(fd);
		stop_redis(pid);
	}
}

static void test_mistakes_are_told(void **state)
{
	assert_non_null(
	    strstr(load_error("metermaid { redis a; redis_sentinel b; redis_master c; }"),
		"exclude each other"));
	assert_non_null(
	    strstr(load_error("metermaid { redis_sentinel b; }"), "needs redis_master"));
	assert_non_null(strstr(load_error("metermaid { redis_master b; }"), "for redis_sentinel"));
	assert_non_null(strstr(load_error("metermaid { redis a, unix:/b; }"), "a unix socket"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_user_socket_database),
		cmocka_unit_test(test_a_replica_is_passed_over),
		cmocka_unit_test(test_a_cluster_says_where),
		cmocka_unit_test(test_who_talks_too_much),
		cmocka_unit_test(test_mistakes_are_told),
	};
	return cmocka_run_group_tests_name("meter_ways", tests, begin, end);
}
