/* test_containers.c - map against a plain model, heap order, list, addresses and prefixes, log, metrics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/heap.h"
#include "base/ip.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/rand.h"

enum { KEYS = 3000 };

static bool count_entry(void *arg, struct span key, void *value)
{
	(*(size_t *)arg)++;
	return true;
}

static void test_map_agrees_with_a_model(void **state)
{
	static int values[KEYS];
	bool present[KEYS] = { false };
	size_t want = 0, seen = 0;
	struct map *m = map_new(KEYS);
	for (int step = 0; step < 40000; step++) {
		char key[16];
		size_t k = (size_t)rand_below(KEYS);
		snprintf(key, sizeof key, "key-%zu", k);
		if (rand_below(3) > 0) {
			void *old;
			assert_true(map_set(m, span_str(key), &values[k], &old));
			assert_ptr_equal(old, present[k] ? &values[k] : NULL);
			want += !present[k];
			present[k] = true;
		} else {
			assert_ptr_equal(
			    map_remove(m, span_str(key)), present[k] ? &values[k] : NULL);
			want -= present[k];
			present[k] = false;
		}
		assert_int_equal(map_count(m), want);
	}
	for (size_t k = 0; k < KEYS; k++) {
		char key[16];
		snprintf(key, sizeof key, "key-%zu", k);
		assert_ptr_equal(map_get(m, span_str(key)), present[k] ? &values[k] : NULL);
	}
	map_each(m, count_entry, &seen);
	assert_int_equal(seen, want);
	map_free(&m);
	assert_null(m);
}

static void test_map_refuses_past_its_cap(void **state)
{
	int v;
	struct map *m = map_new(2);
	assert_true(map_set(m, SPAN("a"), &v, NULL));
	assert_true(map_set(m, SPAN(""), &v, NULL));
	assert_false(map_set(m, SPAN("c"), &v, NULL));
	assert_true(map_set(m, SPAN("a"), &v, NULL));
	map_free(&m);
}

static void test_heap_gives_the_earliest(void **state)
{
	enum { N = 500 };
	static struct heap_node nodes[N];
	struct heap h = { 0 };
	for (size_t i = 0; i < N; i++)
		heap_put(&h, &nodes[i], rand_below(100));
	for (size_t i = 0; i < N; i += 3)
		heap_put(&h, &nodes[i], rand_below(100));
	for (size_t i = 1; i < N; i += 7)
		heap_remove(&h, &nodes[i]);
	uint64_t last = 0;
	for (struct heap_node *n; (n = heap_first(&h)) != NULL;) {
		assert_true(n->due >= last);
		last = n->due;
		heap_remove(&h, n);
		heap_remove(&h, n);
	}
	heap_end(&h);
}

static void test_list(void **state)
{
	struct list_node head, a = { 0 }, b = { 0 };
	list_init(&head);
	list_add_tail(&head, &a);
	list_add_head(&head, &b);
	assert_ptr_equal(list_pop(&head), &b);
	list_remove(&a);
	list_remove(&a);
	assert_true(list_empty(&head));
	assert_null(list_pop(&head));
}

static void test_ip_texts(void **state)
{
	static const struct {
		const char *in, *out;
	} good[] = {
		{ "192.0.2.1:25", "192.0.2.1:25" },
		{ "[2001:db8::1]:143", "[2001:db8::1]:143" },
	};
	static const char *const bad[] = { "192.0.2.1", "1.2.3:5", "::1:5", "[1.2.3.4]:5",
		"1.2.3.4:65536", "[::1]", "1.2.3.4:", "x:1" };
	struct ip_port e;
	char text[IP_TEXT_SIZE], rev[IP_REVERSE_SIZE];
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		assert_true(ip_parse_port(span_str(good[i].in), &e));
		assert_string_equal(ip_port_text(e, text), good[i].out);
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(ip_parse_port(span_str(bad[i]), &e));
	struct ip_addr a, b;
	assert_true(ip_parse(SPAN("127.0.0.2"), &a));
	assert_true(ip_parse(SPAN("::ffff:127.0.0.2"), &b));
	assert_true(ip_eq(a, b) && ip_is_v4(b) && ip_is_loopback(a));
	assert_string_equal(ip_reverse(a, rev), "2.0.0.127");
	assert_true(ip_parse(SPAN("2001:db8::1"), &b));
	ip_reverse(b, rev);
	assert_int_equal(strlen(rev), 63);
	assert_string_equal(rev + 48, "8.b.d.0.1.0.0.2");
}

static void test_ip_prefixes(void **state)
{
	struct ip_prefix p[2];
	struct ip_prefixes set = { p, 2 };
	struct ip_addr a;
	char text[IP_TEXT_SIZE];
	assert_false(ip_parse_prefix(SPAN("10.0.0.1/8"), p));
	assert_false(ip_parse_prefix(SPAN("10.0.0.0/33"), p));
	assert_true(ip_parse_prefix(SPAN("10.128.0.0/9"), &p[0]));
	assert_true(ip_parse_prefix(SPAN("2001:db8::/33"), &p[1]));
	assert_string_equal(ip_prefix_text(p[0], text), "10.128.0.0/9");
	assert_true(ip_parse(SPAN("10.200.1.1"), &a) && ip_in_set(a, &set));
	assert_true(ip_parse(SPAN("10.127.1.1"), &a) && !ip_in_set(a, &set));
	assert_true(ip_parse(SPAN("2001:db8:7fff::"), &a) && ip_in_set(a, &set));
	assert_true(ip_parse(SPAN("2001:db8:8000::"), &a) && !ip_in_set(a, &set));
	assert_false(ip_in_set(a, NULL));
	assert_true(ip_parse(SPAN("192.0.2.77"), &a));
	assert_string_equal(ip_prefix_text(ip_network(a, 24), text), "192.0.2.0/24");
	assert_string_equal(ip_prefix_text(ip_network(a, 0), text), "0.0.0.0/0");
}

static void test_log_line(void **state)
{
	static const struct log_event ev = { "session.end", LOG_INFO, "user why", "prose" };
	char line[1024] = { 0 };
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	log_setup("test", LOG_INFO, false);
	log_set_fd(fds[1]);
	log_write(&ev, "abc",
	    LOG_FIELDS(LOG_STR("user", "a b"), LOG_U64("n", 7), LOG_ERR("why", ERR_TIMEOUT)));
	assert_true(read(fds[0], line, sizeof line - 1) > 0);
	assert_non_null(strstr(line, "] info session.end id=abc user=\"a b\" n=7 why=TIMEOUT\n"));
	log_setup("test", LOG_WARN, true);
	log_write(&ev, "abc", NULL);
	log_setup("test", LOG_INFO, true);
	log_write(&ev, NULL, LOG_FIELDS(LOG_STR("user", "q\"")));
	memset(line, 0, sizeof line);
	assert_true(read(fds[0], line, sizeof line - 1) > 0);
	assert_non_null(strstr(line, "\"event\":\"session.end\",\"user\":\"q\\\"\"}\n"));
	log_set_fd(2);
	log_setup("test", LOG_INFO, false);
	close(fds[0]);
	close(fds[1]);
}

static void test_metrics_attach(void **state)
{
	static struct metric table[] = { METRIC_TABLE_ROW(A, "a_total", COUNTER, "a")
		    METRIC_TABLE_ROW(B, "b", GAUGE, "b") };
	uint64_t cells[2] = { 0 };
	metric_register(table, COUNT_OF(table));
	metric_register(table, COUNT_OF(table));
	assert_int_equal(metric_count(), 2);
	metric_add(&table[0], 2);
	assert_int_equal(metric_get(&table[0]), 2);
	metric_attach(cells);
	metric_add(&table[1], 5);
	metric_sub(&table[1], 2);
	assert_int_equal(cells[1], 3);
	assert_string_equal(metric_at(1)->name, "b");
	metric_attach(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map_agrees_with_a_model),
		cmocka_unit_test(test_map_refuses_past_its_cap),
		cmocka_unit_test(test_heap_gives_the_earliest),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_ip_texts),
		cmocka_unit_test(test_ip_prefixes),
		cmocka_unit_test(test_log_line),
		cmocka_unit_test(test_metrics_attach),
	};
	return cmocka_run_group_tests_name("containers", tests, NULL, NULL);
}
