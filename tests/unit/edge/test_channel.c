/* test_channel.c - settings of a channel stand over the general ones; and its limit holds whoever waits. */
#include "edge/channel.h"
#include "tests/unit/edge/queue_bench.h"

static const char head[] = "hostname edge.example;\nrun_dir %s;\n"
			   "directory { backend file; file users.ldif; }\n"
			   "edge { smtp_tls none; listener mx { address 127.0.0.1:25; role mx; tls "
			   "none; }\n%s }\n";

static void write_conf(const char *more)
{
	char text[2000];
	snprintf(text, sizeof text, head, dir, more);
	write_file("postern.conf", text);
}

static void test_limits(void **state)
{
	write_conf("queue_concurrency 7; queue_lifetime 3d;\n"
		   "channel smtp { concurrency 3; retry_first 1m; }\n"
		   "channel store { deliveries 4; lifetime 1h; retry_max 2m; }");
	struct conf *c = load();
	const struct edge_conf *e = conf_section(c, &edge_block);
	struct channel store = channel_of(e, DEST_STORE), smtp = channel_of(e, DEST_DOMAIN);
	struct channel relay = channel_of(e, DEST_RELAY), route = channel_of(e, DEST_ROUTE);
	assert_int_equal(store.concurrency, 7);
	assert_int_equal(store.deliveries, 4);
	assert_int_equal(store.times.lifetime, 3600 * 1000);
	assert_int_equal(store.times.most, 120 * 1000);
	assert_int_equal(smtp.concurrency, 3);
	assert_int_equal(smtp.deliveries, e->queue_deliveries);
	assert_int_equal(smtp.times.first, 60 * 1000);
	assert_int_equal(smtp.times.lifetime, e->queue_lifetime);
	assert_int_equal(route.concurrency, 3);
	assert_int_equal(relay.concurrency, 7);
	assert_int_equal(relay.times.first, e->queue_retry_first);
	conf_unref(&c);
}

static void expect_errors(const char *more, size_t count)
{
	write_conf(more);
	struct conf_diag *d = conf_diag_new();
	assert_null(load_from(dir, d));
	assert_int_equal(conf_error_count(d), count);
	conf_diag_free(&d);
}

static void test_mistakes(void **state)
{
	expect_errors("channel frob { concurrency 3; }", 1);
	expect_errors("channel smtp { concurrency 3; } channel smtp { concurrency 4; }", 1);
	expect_errors("channel store { retry_first 10m; retry_max 1m; }", 1);
	expect_errors("channel store { retry_max 1s; }", 1); /* less than queue_retry_first */
	expect_errors("next_hop x.example { tls must; } next_hop X.example { tls may; }", 1);
	expect_errors("next_hop x.example { tls perhaps; }", 1);
	expect_errors("channel smtp { window 22:00-06:00, 9:00-10:00; }", 1);
	expect_errors("channel smtp { window 10:00-10:00; }", 1);
	expect_errors("channel smtp { window 10:00-24:01; }", 1);
	expect_errors("channel smtp { window 10:60-11:00; }", 1);
	expect_errors("channel unpack { concurrency 3; }", 1); /* the queue's own */
	expect_errors("channel unpack { type hold; addresses x.example; }", 1);
}

/* Two deliveries may run, one of the channel: the second waits for the first to end. */
static void test_deliveries(void **state)
{
	struct bench b;
	write_conf("channel store { deliveries 1; concurrency 5; }");
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE, MAIL("", "alice"), GO, DONE,
			   MAIL("", "alice"), GO, DONE));
	queue_again(
	    &b); /* a setting of the bench, which is general, does not stand over the channel's */
	set_body(&b, 100);
	for (int i = 0; i < 3; i++)
		put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(b.store.connections, 1);
	bench_close(&b);
}

static bool is_open(const struct channel *c, unsigned hour, unsigned minute)
{
	return channel_is_open(c, 1764115200000000ull + 60000000ull * (60 * hour + minute));
}

static void test_windows(void **state)
{
	write_conf("channel smtp { window 22:30-06:00, 12:00-13:00; }\n"
		   "channel store { recipients 3; size_max 64k; }");
	struct conf *c = load();
	const struct edge_conf *e = conf_section(c, &edge_block);
	struct channel smtp = channel_of(e, DEST_DOMAIN), store = channel_of(e, DEST_STORE);
	assert_true(is_open(&store, 3, 0));
	assert_int_equal(store.recipients, 3);
	assert_int_equal(store.size_max, 65536);
	assert_int_equal(smtp.recipients, 100);
	assert_true(smtp.size_max == UINT64_MAX);
	assert_true(is_open(&smtp, 22, 30) && is_open(&smtp, 0, 0) && is_open(&smtp, 5, 59));
	assert_true(is_open(&smtp, 12, 0) && !is_open(&smtp, 13, 0));
	assert_true(!is_open(&smtp, 22, 29) && !is_open(&smtp, 6, 0) && !is_open(&smtp, 11, 59));
	conf_unref(&c);
}

/* Two recipients go out one by one; a message that is too big for the channel is refused at once. */
static void test_recipients_and_size(void **state)
{
	struct bench b;
	write_conf("channel store { recipients 1; size_max 10k; }");
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE, MAIL("", "bob"), GO, DONE, "H"));
	set_body(&b, 100);
	put_and_wait(&b, "", TO(to("alice@x.example"), to("bob@x.example")));
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(seen(&b, "}"), 2);
	set_body(&b, 11000);
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(seen(&b, "MAIL FROM"), 2);
	bench_close(&b);
}

/* Outside of its window a channel begins nothing; when it opens, everything goes. */
static void test_window_opens(void **state)
{
	struct bench b;
	write_conf("channel store { window 10:00-11:00; }");
	clock_fake(clock_mono_ms(), 1764115200000000ull + 60000000ull * (9 * 60 + 50));
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	set_body(&b, 100);
	put_and_wait(&b, "", TO(to("alice@x.example")));
	for (int i = 0; i < 100; i++) {
		clock_fake_advance(5000);
		loop_step(b.loop, 1);
	}
	assert_int_equal(b.store.connections, 0);
	for (int i = 0; i < 2000 && !EMPTY(&b); i++) {
		clock_fake_advance(500); /* less than a connection may take */
		loop_step(b.loop, 1);
	}
	assert_true(EMPTY(&b));
	clock_fake_off();
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_deliveries),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_recipients_and_size),
		cmocka_unit_test(test_window_opens),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
