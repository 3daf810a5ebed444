/* test_alias_file.c - alias files as text, good and bad; read again when they change; targets of the static back
 * end. */
#include "tests/unit/directory/fixture.h"

#include "directory/alias_file.h"
#include "directory/target.h"

static void check_get(const struct alias_table *t, const char *key, const char *want)
{
	struct text_list l = alias_table_get(t, span_str(key));
	struct buf b = BUF_INIT(1000);
	const char *text = l.p;
	for (size_t i = 0; i < l.n; i++, text = text_list_next(text))
		buf_printf(&b, "%s%s", i > 0 ? " " : "", text);
	assert_string_equal(buf_cstr(&b), want);
	buf_end(&b);
}

static void test_good(void **state)
{
	static const char text[] = "# comment\r\n\r\nSales: Anna, bert@Other.test\n"
				   "\t,carl+x@a.test # no comment\n"
				   "  # a comment inside\n"
				   "  ,dora\n"
				   "info@Other.test.:sales@a.test\n"
				   "@all.test: anna@a.test";
	const char *why;
	size_t line;
	struct alias_table *t =
	    alias_table_parse(SPAN("a: b\nc@x.test: d@y.test"), "dflt.test", &line, &why);
	assert_non_null(t);
	check_get(t, "a@dflt.test", "b@dflt.test");
	check_get(t, "c@x.test", "d@y.test");
	check_get(t, "c@dflt.test", "");
	alias_table_free(&t);
	t = alias_table_parse(span_str(text), "a.test", &line, &why);
	assert_null(t); /* "carl+x@a.test # no comment" */
	assert_int_equal(line, 3);
	t = alias_table_parse(SPAN("Sales: Anna, bert@Other.test\n  # inside\n  ,dora,,\n"
				   "info@Other.test.:sales@a.test\n@all.test: anna@a.test"),
	    "a.test", &line, &why);
	assert_non_null(t);
	check_get(t, "sales@a.test", "Anna@a.test bert@Other.test dora@a.test");
	check_get(t, "info@other.test", "sales@a.test");
	check_get(t, "@all.test", "anna@a.test");
	assert_int_equal(alias_table_count(t), 3);
	alias_table_free(&t);
}

static void test_bad(void **state)
{
	static const struct {
		const char *text;
		size_t line;
	} cases[] = {
		{ "a b@c.test", 1 },
		{ "# x\n\na:", 3 },
		{ "a: ,", 1 },
		{ "a: b@c.test\nA: d@e.test", 2 },
		{ "a: |/bin/sh", 1 },
		{ "a: /var/mail/x", 1 },
		{ "a: :include:/etc/x", 1 },
		{ "a: \"x y\"@c.test", 1 },
		{ ": b@c.test", 1 },
		{ "@: b@c.test", 1 },
		{ "a: @c.test", 1 },
		{ "a: b@", 1 },
		{ "a: b\x01@c.test", 1 },
		{ "a: b@c.test\xff", 1 },
	};
	const char *why;
	size_t line;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_null(alias_table_parse(span_str(cases[i].text), "d.test", &line, &why));
		assert_int_equal(line, cases[i].line);
		assert_non_null(why);
	}
	assert_null(alias_table_parse(SPAN("a: b@c.test"), "", &line, &why));
	assert_null(alias_table_parse(SPAN("a: b@c.test\0"), "d.test", &line, &why));
}

static void test_bounds(void **state)
{
	struct buf b = BUF_INIT(1024 * 1024);
	const char *why;
	size_t line;
	buf_add_str(&b, "a: x");
	for (int i = 1; i < ALIAS_TARGETS_MAX; i++)
		buf_printf(&b, ",%d", i);
	struct alias_table *t = alias_table_parse(buf_span(&b), "d.test", &line, &why);
	assert_non_null(t);
	alias_table_free(&t);
	buf_add_str(&b, ",y");
	assert_null(alias_table_parse(buf_span(&b), "d.test", &line, &why));
	buf_clear(&b);
	buf_add_str(&b, "a: ");
	for (int i = 0; i < 70000; i++)
		buf_add_char(&b, 'x');
	assert_null(alias_table_parse(buf_span(&b), "d.test", &line, &why));
	buf_end(&b);
}

/* ---- the file, with the static back end --------------------------------------------------------- */

struct hit {
	bool done;
	enum directory_status status;
	enum target_kind kind;
	char words[200];
};

static void on_target(void *arg, enum directory_status status, const struct target *t)
{
	struct hit *h = arg;
	h->done = true;
	h->status = status;
	if (t == NULL)
		return;
	h->kind = t->kind;
	if (t->kind == TARGET_OTHERS)
		snprintf(h->words, sizeof h->words, "%s", t->others.p);
	else if (status == DIRECTORY_FOUND)
		snprintf(h->words, sizeof h->words, "%s", t->user->user);
}

static struct hit target(struct fixture *f, const char *address)
{
	struct hit h = { 0 };
	assert_non_null(directory_target(f->d, span_str(address), on_target, &h));
	assert_false(h.done);
	WAIT_FOR(f, h.done);
	return h;
}

static const char section[] = "backend static; static_host s1; domains a.test; alias_file %s;";

static struct fixture open_with(const char *text)
{
	char conf[300];
	fixture_write("aliases", text);
	snprintf(conf, sizeof conf, section, fixture_path("aliases"));
	return fixture_open(conf);
}

static void test_static(void **state)
{
	struct fixture f = open_with("sales@a.test: anna@a.test\nx@far.test: anna@a.test\n");
	assert_string_equal(target(&f, "sales@a.test").words, "anna@a.test");
	assert_string_equal(target(&f, "anna@a.test").words, "anna@a.test");
	assert_string_equal(target(&f, "anna+box@a.test").words, "anna@a.test");
	struct hit h = target(&f, "x@far.test"); /* an alias makes no domain ours */
	assert_int_equal(h.status, DIRECTORY_ABSENT);
	assert_int_equal(h.kind, TARGET_ELSEWHERE);
	fixture_close(&f);
}

static void test_changes(void **state)
{
	struct fixture f = open_with("sales@a.test: anna@a.test\n");
	fixture_write("aliases", "sales@a.test: bert@a.test\n");
	WAIT_FOR(&f, strcmp(target(&f, "sales@a.test").words, "bert@a.test") == 0);
	fixture_write("aliases", "broken\n");
	uint64_t until = clock_mono_ms() + 2500; /* it has been looked at by then */
	while (clock_mono_ms() < until)
		loop_step(f.loop, 50);
	assert_string_equal(target(&f, "sales@a.test").words, "bert@a.test");
	fixture_close(&f);
}

static void test_broken_from_the_start(void **state)
{
	struct fixture f = open_with("broken\n");
	assert_int_equal(target(&f, "sales@a.test").status, DIRECTORY_UNKNOWN);
	assert_int_equal(target(&f, "anna@a.test").status, DIRECTORY_UNKNOWN);
	fixture_write("aliases", "sales@a.test: bert@a.test\n");
	WAIT_FOR(&f, target(&f, "sales@a.test").status == DIRECTORY_FOUND);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_static),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_broken_from_the_start),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
