/* test_daemon.c - a whole daemon of three roles, one of them not always: it starts, loses a worker, reloads, answers, stops.
 *
 * The daemon runs in a child process; the test talks to its control socket and to its listener. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "daemon/daemon.h"
#include "daemon/daemon_conf.h"
#include "net/listen.h"

enum { WAIT_MS = 20000 };

static char dir[] = "/tmp/postern-daemon-XXXXXX";
static char conf_path[64];
static int port;
static pid_t daemon_pid;

/* ---- the daemon under test: greets with its pid and the hostname of its configuration ---- */

static struct listener *door;

static void on_accept(void *arg, const struct accepted *a)
{
	char line[128];
	struct worker *w = arg;
	int n =
	    snprintf(line, sizeof line, "%d %s\n", (int)getpid(), daemon_hostname(worker_conf(w)));
	(void)!write(a->fd, line, (size_t)n);
	accepted_close(a);
}

static void open_door(void *arg, const struct daemon_listener *at, int fd)
{
	static const struct listener_opts opts;
	door = listener_new(worker_loop(arg), fd, &opts, on_accept, arg);
}

static void front_start(struct worker *w)
{
	worker_each_listener(w, open_door, w);
}

static bool front_healthy(struct worker *w)
{
	return strcmp(daemon_hostname(worker_conf(w)), "sick.example") != 0;
}

static void front_stop(struct worker *w)
{
	listener_free(&door);
}

static bool front_control(struct worker *w, const struct control_ask *ask, struct buf *out)
{
	if (strcmp(ask->words[0], "echo") != 0 || ask->n < 2)
		return false;
	return buf_printf(out, "\"%s\"", ask->words[1]);
}

static void back_start(struct worker *w)
{
}

static unsigned one(const struct conf *c)
{
	return 1;
}

static unsigned two(const struct conf *c)
{
	return 2;
}

static bool side_needed(const struct conf *c)
{
	return strcmp(daemon_hostname(c), "third.example") == 0;
}

static const struct daemon_role roles[] = {
	{ .name = "side", .count = two, .needed = side_needed, .start = back_start },
	{ .name = "back", .count = one, .start = back_start },
	{ .name = "front",
	    .count = two,
	    .start = front_start,
	    .stop = front_stop,
	    .healthy = front_healthy,
	    .control = front_control },
};

static void listeners(const struct conf *c, struct daemon_listeners *out)
{
	struct daemon_listener at = { .role = "front", .name = "door" };
	at.at.port = (uint16_t)port;
	assert_true(ip_parse(SPAN("127.0.0.1"), &at.at.addr));
	out->v[out->n++] = at;
}

static const struct conf_block *const sections[] = { NULL };
static const char *const foreign[] = { "mmp", NULL };
static const struct conf_schema schema = { .sections = sections, .foreign = foreign };
static const struct daemon_spec spec = { .name = "probe",
	.schema = &schema,
	.roles = roles,
	.role_count = COUNT_OF(roles),
	.listeners = listeners };

/* ---- talking to it ---- */

static void write_conf(const char *hostname, const char *more)
{
	FILE *f = fopen(conf_path, "w");
	assert_non_null(f);
	fprintf(f, "hostname %s;\nrun_dir %s/run;\ndrain_timeout 1s;\n%s\nmmp { anything; }\n",
	    hostname, dir, more);
	fclose(f);
}

static int connect_to(const struct sockaddr *sa, socklen_t len)
{
	uint64_t until = clock_mono_ms() + WAIT_MS;
	for (;;) {
		int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fd, sa, len) == 0)
			return fd;
		close(fd);
		assert_true(clock_mono_ms() < until);
	}
}

static void read_all(int fd, char *out, size_t size)
{
	size_t n = 0;
	ssize_t got;
	while (n + 1 < size && (got = read(fd, out + n, size - 1 - n)) > 0)
		n += (size_t)got;
	out[n] = '\0';
	close(fd);
}

static pid_t greeting(char name[64])
{
	char line[128];
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int pid = 0;
	read_all(connect_to((struct sockaddr *)&a, sizeof a), line, sizeof line);
	assert_int_equal(sscanf(line, "%d %63s", &pid, name), 2);
	return pid;
}

static const char *control(const char *request)
{
	static char reply[65536];
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	snprintf(un.sun_path, sizeof un.sun_path, "%s/run/probe.sock", dir);
	int fd = connect_to((struct sockaddr *)&un, sizeof un);
	assert_true(write(fd, request, strlen(request)) == (ssize_t)strlen(request));
	read_all(fd, reply, sizeof reply);
	return reply;
}

static void until_running(void)
{
	uint64_t until = clock_mono_ms() + WAIT_MS;
	for (;;) {
		const char *status = control("{\"words\":[\"status\"]}\n");
		if (strstr(status, "\"phase\":\"running\"") != NULL &&
		    strstr(status, "\"state\":\"down\"") == NULL &&
		    strstr(status, "starting") == NULL)
			return;
		assert_true(clock_mono_ms() < until);
	}
}

static void until_restarts(unsigned n)
{
	uint64_t until = clock_mono_ms() + WAIT_MS;
	char wanted[32];
	snprintf(wanted, sizeof wanted, "\"restarts\":%u", n);
	while (strstr(control("{\"words\":[\"status\"]}\n"), wanted) == NULL)
		assert_true(clock_mono_ms() < until);
}

static void start(void)
{
	daemon_pid = fork();
	if (daemon_pid == 0) {
		char *argv[] = { "postern-probe", "-c", conf_path, NULL };
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		optind = 1;
		_exit(daemon_main(&spec, 3, argv));
	}
	until_running();
}

static int stop(int signo)
{
	int status;
	kill(daemon_pid, signo);
	assert_int_equal(waitpid(daemon_pid, &status, 0), daemon_pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- tests ---- */

static void test_life(void **state)
{
	char name[64];
	write_conf("first.example", "");
	start();
	pid_t worker = greeting(name);
	assert_string_equal(name, "first.example");
	/* a service manager's SIGTERM to the whole group is the master's affair */
	kill(worker, SIGTERM);
	for (int i = 0; i < 20; i++)
		greeting(name);
	assert_non_null(strstr(control("{\"words\":[\"status\"]}\n"), "\"restarts\":0"));
	/* a killed worker is replaced; the listener never went away */
	kill(worker, SIGKILL);
	for (int i = 0; i < 20; i++)
		assert_true(greeting(name) != worker);
	until_restarts(1);
	until_running();
	/* a command of a role reaches each of its workers, and nobody else answers */
	const char *reply = control("{\"words\":[\"echo\",\"hi\"]}\n");
	assert_non_null(strstr(reply, "{\"role\":\"front\",\"index\":0,"));
	assert_non_null(strstr(reply, "{\"role\":\"front\",\"index\":1,"));
	assert_null(strstr(reply, "\"back\""));
	assert_non_null(strstr(reply, "\"data\":\"hi\""));
	assert_non_null(strstr(control("{\"words\":[\"nonsense\"]}\n"), "unknown command"));
	assert_non_null(strstr(control("nonsense\n"), "\"ok\":false"));
	assert_non_null(strstr(control("{\"words\":[\"metrics\"]}\n"), "postern_workers 3"));
	assert_int_equal(stop(SIGTERM), 0);
}

static void test_reload(void **state)
{
	char name[64];
	uint64_t until = clock_mono_ms() + WAIT_MS;
	write_conf("first.example", "");
	start();
	pid_t before = greeting(name);
	write_conf("second.example", "hostnam x; workers many;");
	const char *reply = control("{\"words\":[\"reload\"]}\n");
	assert_non_null(strstr(reply, "\"ok\":false"));
	assert_non_null(strstr(reply, ":4:1: "));
	assert_non_null(strstr(reply, "hostname"));
	greeting(name);
	assert_string_equal(name, "first.example");
	write_conf("second.example", "");
	kill(daemon_pid, SIGHUP);
	do {
		greeting(name);
		assert_true(clock_mono_ms() < until);
	} while (strcmp(name, "second.example") != 0);
	kill(before, 0);
	assert_non_null(strstr(control("{\"words\":[\"status\"]}\n"), "\"restarts\":0"));
	assert_int_equal(stop(SIGINT), 0);
}

static void reload_as(const char *hostname)
{
	write_conf(hostname, "");
	assert_non_null(strstr(control("{\"words\":[\"reload\"]}\n"), "\"ok\":true"));
}

/* Until so many processes of side are told of, and no process is anything but up. */
static void wait_for_sides(size_t wanted)
{
	const char *reply = NULL;
	uint64_t until = clock_mono_ms() + WAIT_MS;
	for (size_t sides = SIZE_MAX, up = 0; sides != wanted || up != wanted + 3;) {
		assert_true(clock_mono_ms() < until);
		reply = control("{\"words\":[\"status\"]}\n");
		sides = up = 0;
		for (const char *at = reply; (at = strstr(at, "\"role\":\"side\"")) != NULL; at++)
			sides++;
		for (const char *at = reply; (at = strstr(at, "\"state\":\"up\"")) != NULL; at++)
			up++;
	}
	assert_null(strstr(reply, "\"restarts\":1"));
	assert_non_null(strstr(reply, "\"phase\":\"running\""));
}

/* Processes of a role come and go with the configuration that needs them, and that is no death of theirs. */
static void test_needed(void **state)
{
	write_conf("first.example", "");
	start();
	wait_for_sides(0);
	reload_as("third.example");
	wait_for_sides(2);
	reload_as("first.example");
	wait_for_sides(0);
	for (unsigned i = 0; i < 5; i++) { /* needed again before they have gone */
		reload_as("third.example");
		reload_as("first.example");
	}
	reload_as("third.example");
	wait_for_sides(2);
	assert_non_null(strstr(control("{\"words\":[\"metrics\"]}\n"), "postern_workers 5"));
	assert_int_equal(stop(SIGTERM), 0);
	start();
	wait_for_sides(2);
	assert_int_equal(stop(SIGTERM), 0);
}

/* A process that has the daemon's address until the daemon has got as far as its control socket. */
static pid_t holder(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	snprintf(un.sun_path, sizeof un.sun_path, "%s/run/probe.sock", dir);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 5), 0);
	pid_t pid = fork();
	if (pid == 0) {
		connect_to((struct sockaddr *)&un, sizeof un);
		_exit(0);
	}
	close(fd);
	return pid;
}

/* The workers of a master that was killed hold its address a moment longer. */
static void test_address_in_use(void **state)
{
	char name[64];
	int status;
	write_conf("first.example", "");
	pid_t held = holder();
	start();
	greeting(name);
	assert_string_equal(name, "first.example");
	assert_int_equal(waitpid(held, &status, 0), held);
	assert_int_equal(stop(SIGTERM), 0);
}

static size_t unhealthy(void)
{
	size_t n = 0;
	for (const char *at = control("{\"words\":[\"status\"]}\n");
	     (at = strstr(at, "\"healthy\":false")) != NULL; at++)
		n++;
	return n;
}

/* A role is asked again and again whether it could serve. */
static void test_health(void **state)
{
	write_conf("first.example", "");
	start();
	assert_int_equal(unhealthy(), 0);
	write_conf("sick.example", "");
	assert_non_null(strstr(control("{\"words\":[\"reload\"]}\n"), "\"ok\":true"));
	for (uint64_t until = clock_mono_ms() + WAIT_MS; unhealthy() != 2;)
		assert_true(clock_mono_ms() < until);
	write_conf("first.example", "");
	assert_non_null(strstr(control("{\"words\":[\"reload\"]}\n"), "\"ok\":true"));
	for (uint64_t until = clock_mono_ms() + WAIT_MS; unhealthy() != 0;)
		assert_true(clock_mono_ms() < until);
	assert_int_equal(stop(SIGTERM), 0);
}

static void test_command_line(void **state)
{
	char *bad[] = { "postern-probe", "-x", NULL };
	char *check[] = { "postern-probe", "-t", "-c", conf_path, NULL };
	optind = 1;
	opterr = 0;
	assert_int_equal(daemon_main(&spec, 2, bad), 64);
	write_conf("x.example", "");
	optind = 1;
	assert_int_equal(daemon_main(&spec, 4, check), 0);
	write_conf("x.example", "nonsense 1; workers 99999;");
	optind = 1;
	assert_int_equal(daemon_main(&spec, 4, check), 78);
}

static int set_up(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (mkdtemp(dir) == NULL || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &n) != 0)
		return -1;
	close(fd);
	port = ntohs(a.sin_port);
	snprintf(conf_path, sizeof conf_path, "%s/conf", dir);
	return 0;
}

static int tear_down(void **state)
{
	char run[64];
	snprintf(run, sizeof run, "%s/run", dir);
	unlink(conf_path);
	rmdir(run);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_needed),
		cmocka_unit_test(test_address_in_use),
		cmocka_unit_test(test_health),
		cmocka_unit_test(test_command_line),
	};
	return cmocka_run_group_tests_name("daemon", tests, set_up, tear_down);
}
