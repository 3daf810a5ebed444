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
	assert_int_equal(store.lifetime, 3600 * 1000);
	assert_int_equal(store.retry_max, 120 * 1000);
	assert_int_equal(smtp.concurrency, 3);
	assert_int_equal(smtp.deliveries, e->queue_deliveries);
	assert_int_equal(smtp.retry_first, 60 * 1000);
	assert_int_equal(smtp.lifetime, e->queue_lifetime);
	assert_int_equal(route.concurrency, 3);
	assert_int_equal(relay.concurrency, 7);
	assert_int_equal(relay.retry_first, e->queue_retry_first);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_deliveries),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
