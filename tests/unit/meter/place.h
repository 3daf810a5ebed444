/* place.h - what tests of MeterMaid need: a configuration, a question with its answer, a private
 * redis-server. Included by one test program each. */
#ifndef TEST_METER_PLACE_H
#define TEST_METER_PLACE_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "metermaid/metermaid.h"
#include "metermaid/digest_key.h"
#include "metermaid/rule.h"
#include "metermaid/table.h"

static const struct conf_block *const sections[] = { &metermaid_block, NULL };
static const struct conf_block root = { .name = "root", .size = sizeof(struct conf_head) };
static const struct conf_schema schema = {
	.root = &root, .sections = sections, .check = metermaid_check
};

static inline struct conf *load_text(const char *text, struct conf_diag *d)
{
	char path[] = "/tmp/meter-test-XXXXXX";
	int fd = mkstemp(path);
	assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
	struct conf_source *src = conf_source_disk(path);
	struct conf *c = conf_load(&schema, src, NULL, d);
	conf_source_free(&src);
	unlink(path);
	return c;
}

static inline struct conf *load(const char *text, size_t *errors_out)
{
	struct conf_diag *d = conf_diag_new();
	struct conf *c = load_text(text, d);
	if (errors_out != NULL)
		*errors_out = conf_error_count(d);
	else
		for (size_t i = 0; i < conf_error_count(d); i++)
			print_message("%s\n", conf_error_text(d, i));
	conf_diag_free(&d);
	return c;
}

/* What is said of a configuration with mistakes, all lines of it. */
static inline const char *load_error(const char *text)
{
	static char said[4096];
	struct conf_diag *d = conf_diag_new();
	size_t n = 0;
	assert_null(load_text(text, d));
	for (size_t i = 0; i < conf_error_count(d); i++)
		n += (size_t)snprintf(said + n, sizeof said - n, "%s\n", conf_error_text(d, i));
	conf_diag_free(&d);
	return said;
}

static const struct meter_answer *last;
static struct meter_answer last_copy;

static inline void on_answer(void *arg, const struct meter_answer *a)
{
	last_copy = *a;
	last = &last_copy;
}

static inline struct meter_answer question(
    struct loop *l, struct metermaid *m, enum meter_moment moment, const struct meter_facts *f)
{
	uint64_t until = clock_mono_ms() + 5000;
	last = NULL;
	struct ticket *t = meter_ask(m, moment, f, on_answer, NULL);
	assert_non_null(t);
	assert_null(last);
	while (last == NULL && clock_mono_ms() < until)
		loop_step(l, 10);
	assert_non_null(last);
	return last_copy;
}

/* Asks until it passes, or for 3 seconds: a refusal is remembered for one. */
static inline void until_allowed(
    struct loop *l, struct metermaid *m, enum meter_moment moment, const struct meter_facts *f)
{
	uint64_t until = clock_mono_ms() + 3000;
	while (question(l, m, moment, f).action != METER_ALLOW && clock_mono_ms() < until)
		loop_step(l, 10);
	assert_int_equal(last_copy.action, METER_ALLOW);
}

static inline struct meter_facts from(const char *ip, const char *user)
{
	struct meter_facts f = { .user = span_str(user), .sender = SPAN("s@example.org") };
	assert_true(ip_parse(span_str(ip), &f.client));
	return f;
}

static int redis_port;

static inline int pick_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	close(fd);
	return ntohs(a.sin_port);
}

static inline redisContext *client_at(int port)
{
	uint64_t until = clock_mono_ms() + 15000;
	for (;;) {
		redisContext *c = redisConnect("127.0.0.1", port);
		if (c != NULL && c->err == 0)
			return c;
		if (c != NULL)
			redisFree(c);
		assert_true(clock_mono_ms() < until);
	}
}

static inline redisContext *client(void)
{
	return client_at(redis_port);
}

enum { REDIS_MORE_MAX = 20 };

/* more: further words of its command line, ending with NULL; NULL: none. */
static inline pid_t start_redis_at(int at, const char *const *more)
{
	char port[16];
	const char *argv[16 + REDIS_MORE_MAX] = { "redis-server", "--port", port, "--bind",
		"127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp" };
	snprintf(port, sizeof port, "%d", at);
	for (size_t n = 0; more != NULL && n < REDIS_MORE_MAX && more[n] != NULL; n++)
		argv[11 + n] = more[n];
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (freopen("/dev/null", "w", stdout) == NULL)
			_exit(1);
		execvp("redis-server", (char *const *)argv);
		_exit(127);
	}
	redisFree(client_at(at));
	return pid;
}

static inline pid_t start_redis(void)
{
	return start_redis_at(redis_port, NULL);
}

static inline void stop_redis(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static inline void until_healthy(struct loop *l, struct metermaid *m)
{
	uint64_t until = clock_mono_ms() + 15000;
	while (!metermaid_healthy(m) && clock_mono_ms() < until)
		loop_step(l, 10);
	assert_true(metermaid_healthy(m));
}

static inline size_t keys_without_ttl(void)
{
	redisContext *c = client();
	size_t bad = 0;
	redisReply *keys = redisCommand(c, "KEYS *");
	assert_true(keys != NULL && keys->type == REDIS_REPLY_ARRAY && keys->elements > 0);
	for (size_t i = 0; i < keys->elements; i++) {
		redisReply *ttl = redisCommand(c, "PTTL %s", keys->element[i]->str);
		bad += ttl->integer == -1; /* -2: it has just ended */
		freeReplyObject(ttl);
	}
	freeReplyObject(keys);
	redisFree(c);
	return bad;
}

static inline void flush_redis(void)
{
	redisContext *c = client();
	freeReplyObject(redisCommand(c, "SCRIPT FLUSH"));
	freeReplyObject(redisCommand(c, "FLUSHALL"));
	redisFree(c);
}

#endif
