/* test_doors.c - a worker's listening sockets follow the settings of their names, and only when these change. */
#include "net/net_test.h"

#include "daemon/doors.h"
#include "net/listen.h"

#define HALF "PROXY TCP4 192.0.2.7 "
#define REST "192.0.2.1 4000 25\r\n"

static int door, second, other; /* "mx", twice, and "lmtp": the latter two of some tests only */
static struct ip_port at, second_at, other_at;
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
	assert_true(strcmp(name, "mx") == 0 || strcmp(name, "lmtp") == 0);
	asked++;
	*out = settings;
	return named;
}

static void on_accepted(void *arg, const char *name, const struct accepted *a)
{
	accepted_n++;
	last = *a;
	snprintf(last_name, sizeof last_name, "%s", name);
	doors_enter(doors, name);
	accepted_close(a);
}

static bool leaves_it; /* to another worker */

static void on_before(void *arg)
{
	assert_ptr_equal(arg, &settings);
	doors_pause(doors, leaves_it);
}

static int open_socket(struct ip_port *at_out)
{
	struct sockaddr_storage sa;
	socklen_t n = sizeof sa;
	assert_true(ip_parse_port(SPAN("127.0.0.1:0"), at_out));
	int fd = listen_open_tcp(*at_out);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
	*at_out = ip_from_sockaddr((struct sockaddr *)&sa);
	return fd;
}

static int setup(void **state)
{
	loop_setup(state);
	door = open_socket(&at);
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

/* Names have no PROXY networks and room for one session. */
static int setup_narrow(void **state)
{
	setup(state);
	second = open_socket(&second_at);
	other = open_socket(&other_at);
	settings = (struct door_settings){ .proxy_ms = 60000, .sessions_max = 1 };
	doors_reload(doors);
	doors_add(doors, "lmtp", other);
	doors_add(doors, "mx", second);
	return 0;
}

static int teardown_narrow(void **state)
{
	int failed = teardown(state);
	close(second);
	close(other);
	return failed;
}

static int join_at(struct ip_port where, const char *words)
{
	struct sockaddr_storage sa;
	socklen_t n = ip_to_sockaddr(where, &sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, n), 0);
	set_nonblocking(fd);
	raw_send(fd, span_str(words));
	return fd;
}

static int join(const char *words)
{
	return join_at(at, words);
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

/* ---- names with room for so many sessions ---- */

/* Nobody else comes in. */
static void assert_stays(unsigned n)
{
	run_rounds(20);
	assert_int_equal(accepted_n, n);
}

/* At all sockets of the name, also at one that is there later, and at no other's. */
static void test_full_name_waits(void **state)
{
	struct ip_port late_at;
	int late = open_socket(&late_at), fds[5] = { join("") };
	WAIT_FOR(accepted_n == 1);
	doors_add(doors, "mx", late);
	fds[1] = join("");
	fds[2] = join_at(second_at, "");
	fds[3] = join_at(late_at, "");
	assert_stays(1);
	fds[4] = join_at(other_at, "");
	WAIT_FOR(accepted_n == 2);
	assert_string_equal(last_name, "lmtp");
	doors_leave(doors, "lmtp");
	assert_stays(2);
	for (unsigned i = 3; i <= 5; i++) {
		doors_leave(doors, "mx");
		WAIT_FOR(accepted_n == i);
		assert_string_equal(last_name, "mx");
		assert_stays(i);
	}
	doors_close(doors);
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		close(fds[i]);
	close(late);
}

/* It counts those from before the reload, too, and no listener is made anew: half a header is not lost. */
static void test_room_follows_reload(void **state)
{
	settings.proxy_from = (struct ip_prefixes){ balancers, 1 };
	doors_reload(doors);
	int half = join(HALF);
	run_rounds(5);
	int inside = join(HALF REST), waits = join(HALF REST);
	WAIT_FOR(accepted_n == 1);
	assert_stays(1);
	settings.sessions_max = 2;
	doors_reload(doors);
	WAIT_FOR(accepted_n == 2);
	settings.sessions_max = 3;
	doors_reload(doors);
	settings.sessions_max = 2;
	doors_reload(doors);
	int late = join(HALF REST);
	assert_stays(2);
	settings.proxy_ms++;
	raw_send(half, SPAN(REST)); /* it was there before the name was full */
	WAIT_FOR(accepted_n == 3);
	doors_reload(doors);
	assert_stays(3);
	settings.sessions_max = 0;
	doors_reload(doors);
	WAIT_FOR(accepted_n == 4);
	close(half);
	close(inside);
	close(waits);
	close(late);
}

/* Each of the two reasons to wait is one. */
static void test_full_and_paused(void **state)
{
	int inside = join(""), waits = join("");
	WAIT_FOR(accepted_n == 1);
	doors_pause(doors, true);
	doors_pause(doors, false);
	assert_stays(1);
	doors_pause(doors, true);
	doors_leave(doors, "mx");
	assert_stays(1);
	doors_pause(doors, false);
	WAIT_FOR(accepted_n == 2);
	doors_retire(doors, on_left, &left_n);
	int late = join("");
	doors_leave(doors, "mx");
	assert_stays(2);
	close(inside);
	close(waits);
	close(late);
}

/* Nobody is left in a queue: accepted() has them, or they are closed while the name is full. */
static void test_drained(void **state)
{
	int inside = join(""), waits = join("");
	WAIT_FOR(accepted_n == 1);
	doors_pause(doors, true);
	int apart = join_at(other_at, "");
	assert_stays(1);
	doors_drain(doors);
	WAIT_FOR(accepted_n == 2 && is_over(waits));
	assert_string_equal(last_name, "lmtp");
	doors_leave(doors, "mx");
	doors_pause(doors, false);
	doors_pause(doors, true);
	int late = join("");
	WAIT_FOR(accepted_n == 3);
	assert_string_equal(last_name, "mx");
	int none = join_at(second_at, "");
	WAIT_FOR(is_over(none));
	assert_stays(3);
	close(inside);
	close(waits);
	close(apart);
	close(late);
	close(none);
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
		cmocka_unit_test_setup_teardown(
		    test_full_name_waits, setup_narrow, teardown_narrow),
		cmocka_unit_test_setup_teardown(
		    test_room_follows_reload, setup_narrow, teardown_narrow),
		cmocka_unit_test_setup_teardown(
		    test_full_and_paused, setup_narrow, teardown_narrow),
		cmocka_unit_test_setup_teardown(test_drained, setup_narrow, teardown_narrow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
