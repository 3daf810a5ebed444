/* test_doors.c - a worker's listening sockets follow the settings of their names, and only when these change. */
#include "net/net_test.h"

#include "daemon/doors.h"
#include "net/listen.h"

#define HALF "PROXY TCP4 192.0.2.7 "
#define REST "192.0.2.1 4000 25\r\n"

static int door;
static struct ip_port at;
static struct doors *doors;
static struct ip_prefix balancers[2];
static struct door_settings settings;
static bool named;
static unsigned asked, accepted_n;
static struct accepted last;
static char last_name[16];

static bool settings_of(void *arg, const char *name, struct door_settings *out)
{
	assert_ptr_equal(arg, &settings);
	assert_string_equal(name, "mx");
	asked++;
	*out = settings;
	return named;
}

static void on_accepted(void *arg, const char *name, const struct accepted *a)
{
	accepted_n++;
	last = *a;
	snprintf(last_name, sizeof last_name, "%s", name);
	accepted_close(a);
}

static bool leaves_it; /* to another worker */

static void on_before(void *arg)
{
	assert_ptr_equal(arg, &settings);
	doors_pause(doors, leaves_it);
}

static int setup(void **state)
{
	struct sockaddr_storage sa;
	socklen_t n = sizeof sa;
	loop_setup(state);
	assert_true(ip_parse_port(SPAN("127.0.0.1:0"), &at));
	door = listen_open_tcp(at);
	assert_int_equal(getsockname(door, (struct sockaddr *)&sa, &n), 0);
	at = ip_from_sockaddr((struct sockaddr *)&sa);
	struct ip_addr loopback;
	assert_true(ip_parse(SPAN("127.0.0.0"), &loopback));
	balancers[0] = balancers[1] = ip_network(loopback, 8);
	settings = (struct door_settings){ .proxy_from = { balancers, 1 }, .proxy_ms = 60000 };
	named = true;
	accepted_n = 0;
	leaves_it = false;
	doors = doors_new(&(struct doors_opts){ .loop = loop,
	    .settings = settings_of,
	    .accepted = on_accepted,
	    .before = on_before,
	    .arg = &settings });
	doors_add(doors, "mx", door);
	return 0;
}

static int teardown(void **state)
{
	doors_free(&doors);
	assert_null(doors);
	doors_free(&doors);
	assert_int_equal(fcntl(door, F_GETFD), FD_CLOEXEC); /* the daemon's: still open */
	close(door);
	return loop_teardown(state);
}

static int join(const char *words)
{
	struct sockaddr_storage sa;
	socklen_t n = ip_to_sockaddr(at, &sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, n), 0);
	set_nonblocking(fd);
	raw_send(fd, span_str(words));
	return fd;
}

static bool is_over(int fd)
{
	struct buf b = BUF_INIT(64);
	enum raw_end end = raw_take(fd, &b);
	buf_end(&b);
	return end != RAW_OPEN;
}

static void test_settings_are_used(void **state)
{
	int fd = join(HALF REST);
	WAIT_FOR(accepted_n == 1);
	assert_string_equal(last_name, "mx");
	assert_true(last.proxied);
	close(fd);
}

/* The same settings, in another place: a header that is half there is not lost. */
static void test_unchanged_goes_on(void **state)
{
	static struct ip_prefix moved[1];
	int fd = join(HALF);
	run_rounds(5);
	moved[0] = balancers[0];
	settings.proxy_from.v = moved;
	memset(balancers, 0, sizeof balancers); /* the door has its own copy */
	unsigned before = asked;
	doors_reload(doors);
	assert_int_equal(asked, before + 1);
	raw_send(fd, SPAN(REST));
	WAIT_FOR(accepted_n == 1);
	assert_true(last.proxied);
	close(fd);
}

static void test_changes_make_it_anew(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		int half = join(HALF);
		run_rounds(5);
		settings.proxy_ms += i == 0;
		settings.proxy_from.n += i == 1;
		if (i == 2)
			balancers[1] = ip_network(balancers[1].addr, 16);
		doors_reload(doors);
		WAIT_FOR(is_over(half));
		close(half);
	}
	assert_int_equal(accepted_n, 0);
	settings.proxy_from.n = 0;
	doors_reload(doors);
	int fd = join("");
	WAIT_FOR(accepted_n == 1);
	assert_false(last.proxied);
	close(fd);
}

/* Who comes while the name is not configured waits in the queue. */
static void test_unknown_name_waits(void **state)
{
	named = false;
	doors_reload(doors);
	doors_reload(doors);
	int fd = join(HALF REST);
	run_rounds(20);
	assert_int_equal(accepted_n, 0);
	named = true;
	doors_reload(doors);
	WAIT_FOR(accepted_n == 1);
	close(fd);
}

static void test_closed(void **state)
{
	doors_close(doors);
	unsigned before = asked;
	doors_reload(doors);
	assert_int_equal(asked, before);
	int fd = join(HALF REST);
	run_rounds(20);
	assert_int_equal(accepted_n, 0);
	doors_add(doors, "mx", door);
	WAIT_FOR(accepted_n == 1);
	close(fd);
}

/* Who comes meanwhile waits in the queue, also at a door that is made anew. */
static void test_paused(void **state)
{
	doors_pause(doors, true);
	int fd = join(HALF REST);
	run_rounds(20);
	settings.proxy_ms++;
	doors_reload(doors);
	run_rounds(20);
	assert_int_equal(accepted_n, 0);
	doors_pause(doors, false);
	WAIT_FOR(accepted_n == 1);
	close(fd);
}

/* It was about to come in when there was no room any more; it waits for whoever accepts next. */
static void test_left_to_others(void **state)
{
	leaves_it = true;
	int fd = join(HALF REST);
	run_rounds(20);
	assert_int_equal(accepted_n, 0);
	leaves_it = false;
	run_rounds(20);
	assert_int_equal(accepted_n, 0);
	doors_pause(doors, false);
	WAIT_FOR(accepted_n == 1);
	close(fd);
}

static unsigned left_n;

static void on_left(void *arg)
{
	assert_ptr_equal(arg, &left_n);
	left_n++;
}

/* A header that is half there comes to its end, good or bad; nobody else comes in. */
static void test_retired(void **state)
{
	left_n = 0;
	int good = join(HALF), bad = join(HALF);
	run_rounds(5);
	doors_retire(doors, on_left, &left_n);
	assert_int_equal(left_n, 0);
	int late = join(HALF REST);
	raw_send(good, SPAN(REST));
	WAIT_FOR(accepted_n == 1);
	run_rounds(20);
	assert_int_equal(left_n, 0);
	raw_send(bad, SPAN("nonsense\r\n"));
	WAIT_FOR(left_n == 1);
	doors_pause(doors, false);
	run_rounds(20);
	assert_int_equal(accepted_n, 1);
	close(good);
	close(bad);
	close(late);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_settings_are_used, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unchanged_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes_make_it_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown_name_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_paused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_left_to_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_retired, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
