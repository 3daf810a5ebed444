/* test_admin_text.c - what the command line tool prints: tables of hostile values, joined metrics, and
 * which programs a set of files means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "admin/gather.h"
#include "admin/table.h"
#include "admin/tier.h"

static const struct column columns[] = {
	{ "name", "name", COLUMN_TEXT },
	{ "n", "count", COLUMN_NUMBER },
	{ "size", "size", COLUMN_BYTES },
	{ "age", "age", COLUMN_SECONDS },
	{ "at", "at", COLUMN_TIME },
	{ "why", "why", COLUMN_TEXT },
	{ NULL, NULL, COLUMN_TEXT },
};

static const struct {
	const char *json;
	bool any;
	const char *text;
} tables[] = {
	{ "[]", false, "name  count  size  age  at  why\n" },
	{ "[{\"name\":\"a\",\"n\":5,\"size\":2048000,\"age\":3700,\"at\":1790000000,\"why\":null},"
	  "{\"name\":\"long name\",\"n\":12345,\"size\":9,\"why\":\"x\\u001b[31m\\ny\"}]",
	    false,
	    "name       count  size      age                    at  why\n"
	    "a              5  2.0M  1h1m40s  2026-09-21T14:13:20Z  -\n"
	    "long name  12345     9        -                     -  x?[31m?y\n" },
	{ "[{\"a\":1,\"b\":[1,2]},{\"b\":true}]", true, "a  b\n1  [1,2]\n-  yes\n" },
	{ "{\"a\":1,\"long\":\"x\"}", true, "a     1\nlong  x\n" },
	{ "[\"x\",2]", true, "x\n2\n" },
	{ "\"word\"", true, "word\n" },
};

static void test_tables(void **state)
{
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
		struct buf out = BUF_INIT(10000);
		json_t *v = json_loads(tables[i].json, JSON_DECODE_ANY, NULL);
		assert_non_null(v);
		if (tables[i].any)
			assert_true(table_put_any(v, &out));
		else
			assert_true(table_put(v, columns, &out));
		assert_string_equal(buf_cstr(&out), tables[i].text);
		json_decref(v);
		buf_end(&out);
	}
}

static void test_gather(void **state)
{
	struct gather *g = gather_new();
	struct buf out = BUF_INIT(10000);
	gather_add(g, "mmp",
	    SPAN("# HELP a_total Things.\n# TYPE a_total counter\na_total 5\n"
		 "b{event=\"x\"} 1\nb{event=\"y\"} 2\n\nnonsense\n"));
	gather_add(g, "edge",
	    SPAN("# HELP a_total Things.\n# TYPE a_total counter\na_total 7\n# HELP c_total z\n"));
	assert_true(gather_put(g, &out));
	assert_string_equal(buf_cstr(&out),
	    "# HELP a_total Things.\n# TYPE a_total counter\na_total{program=\"mmp\"} 5\n"
	    "a_total{program=\"edge\"} 7\n"
	    "b{program=\"mmp\",event=\"x\"} 1\nb{program=\"mmp\",event=\"y\"} 2\n");
	gather_free(&g);
	buf_end(&out);
}

static char dir[] = "/tmp/test_admin.XXXXXX";

static const char *put_file(const char *name, const char *text, char path[256])
{
	snprintf(path, 256, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
	return path;
}

static void test_tier(void **state)
{
	char one[256], two[256], three[256];
	struct tier t;
	struct admin_args a = { .config_count = 2 };
	a.configs[0] = put_file("host.conf",
	    "run_dir r; drain_timeout 3s; admin { address 127.0.0.1:1; }\n"
	    "tls { cert x { chain /gone; key file:/gone; } }\n"
	    "edge { } mmp { } unheard-of { }",
	    one);
	a.configs[1] = put_file("store1.conf", "run_dir /s1; store { }", two);
	a.overrides[0] = "edge.x=1";
	a.overrides[1] = "drain_timeout=4s";
	a.override_count = 2;
	assert_int_equal(tier_load(&a, &t), ADMIN_OK);
	assert_int_equal(t.n, 3);
	assert_string_equal(t.v[0].label, "store1");
	assert_string_equal(t.v[0].socket, "/s1/store.sock");
	assert_string_equal(t.v[1].label, "mmp");
	assert_string_equal(t.v[2].name, "edge");
	assert_non_null(strstr(t.v[2].socket, "/r/edge.sock"));
	assert_int_equal(t.http_count, 1);
	assert_int_equal(t.drain_ms, 4000);
	tier_end(&t);
	a.run_dir = "/elsewhere";
	assert_int_equal(tier_load(&a, &t), ADMIN_OK);
	assert_string_equal(t.v[0].socket, "/elsewhere/store.sock");
	tier_end(&t);
	a.run_dir = NULL;
	a.configs[2] = put_file("other.conf", "run_dir /s2; store { }", three);
	a.config_count = 3;
	assert_int_equal(tier_load(&a, &t), ADMIN_OK);
	assert_string_equal(t.v[1].label, "store");
	tier_end(&t);
	a.configs[2] = a.configs[1]; /* the same file twice: one control socket for two stores */
	assert_int_equal(tier_load(&a, &t), ADMIN_CONFIG);
	assert_string_equal(t.v[1].label, "store1-store1");
	tier_end(&t);
	unlink(three);
	a.config_count = 2;
	a.configs[1] = put_file("bad.conf", "hostnme x;\nmmp {", three);
	assert_int_equal(tier_load(&a, &t), ADMIN_CONFIG);
	assert_int_equal(json_array_size(t.errors), 2);
	tier_end(&t);
	unlink(one);
	unlink(two);
	unlink(three);
}

static int set_up(void **state)
{
	return mkdtemp(dir) == NULL;
}

static int tear_down(void **state)
{
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_gather),
		cmocka_unit_test(test_tier),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
