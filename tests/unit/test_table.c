/* test_table.c - tables of access rules: the keys of what is looked for, and the text of a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "directory/table_kind.h"
#include "directory/table_text.h"

static void check_keys(enum table_use use, const char *what, bool plain, const char *want)
{
	struct table_keys k;
	char have[8192];
	size_t n = 0;
	table_keys_of(use, span_str(what), plain, &k);
	have[0] = '\0';
	for (size_t i = 0; i < k.n; i++)
		n += (size_t)snprintf(have + n, sizeof have - n, "%s%.*s", i > 0 ? " " : "",
		    SPAN_ARG(table_key(&k, i)));
	assert_string_equal(have, want);
	table_keys_end(&k);
}

static void test_keys(void **state)
{
	static const struct {
		enum table_use use;
		const char *what;
		bool plain;
		const char *want;
	} cases[] = {
		{ TABLE_CLIENT, "192.0.2.1", false, "192.0.2.1 192.0.2 192.0 192" },
		{ TABLE_CLIENT, "2001:db8::1", false, "2001:db8::1 2001:db8: 2001:db8 2001" },
		{ TABLE_NAME, "A.B.example", false, "a.b.example .b.example .example" },
		{ TABLE_NAME, "a.b.example", true, "a.b.example b.example example" },
		{ TABLE_NAME, "[192.0.2.1]", true, "[192.0.2.1]" },
		{ TABLE_NAME, "", true, "" },
		{ TABLE_ADDRESS, "", false, "<>" },
		{ TABLE_ADDRESS, "Bob@Example.ORG", false,
		    "bob@example.org example.org .org bob@" },
		{ TABLE_ADDRESS, "bob+x@a.example.org", true,
		    "bob+x@a.example.org bob@a.example.org a.example.org example.org org bob+x@ "
		    "bob@" },
		{ TABLE_ADDRESS, "\"a+b\"@x", false, "\"a+b\"@x x \"a+b\"@" },
		{ TABLE_ADDRESS, "+b@x", false, "+b@x x +b@" },
		{ TABLE_ADDRESS, "postmaster", false, "postmaster postmaster@" },
		{ TABLE_ADDRESS, "bob@[192.0.2.1]", false, "bob@[192.0.2.1] [192.0.2.1] bob@" },
		{ TABLE_WORD, "Store", false, "store" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check_keys(cases[i].use, cases[i].what, cases[i].plain, cases[i].want);
}

/* However deep a name is, the domains near the root are looked up. */
static void test_deep_names(void **state)
{
	struct table_keys k;
	struct buf name = BUF_INIT(512);
	for (size_t i = 0; i < 100; i++)
		buf_add_str(&name, "a.");
	buf_add_str(&name, "evil.example");
	table_keys_of(TABLE_NAME, buf_span(&name), false, &k);
	assert_int_equal(k.n, 1 + TABLE_PARENTS_MAX);
	assert_true(span_eq_str(table_key(&k, k.n - 2), ".evil.example"));
	assert_true(span_eq_str(table_key(&k, k.n - 1), ".example"));
	table_keys_end(&k);
	buf_clear(&name);
	buf_add_str(&name, "u+d@");
	for (size_t i = 0; i < 100; i++)
		buf_add_str(&name, "a.");
	buf_add_str(&name, "evil.example");
	table_keys_of(TABLE_ADDRESS, buf_span(&name), true, &k);
	assert_int_equal(k.n, 3 + TABLE_PARENTS_MAX + 2);
	assert_true(span_eq_str(table_key(&k, k.n - 1), "u@"));
	assert_true(span_eq_str(table_key(&k, k.n - 4), "evil.example"));
	table_keys_end(&k);
	buf_end(&name);
}

static const char *get(const struct map *m, const char *key)
{
	return map_get(m, span_str(key));
}

static struct map *parse(char **copy, const char *text, size_t *line, const char **why)
{
	size_t n = strlen(text);
	*copy = mem_str(text);
	return table_text_parse(*copy, n, line, why);
}

static void test_text(void **state)
{
	char *copy;
	size_t line;
	const char *why;
	struct map *m = parse(&copy,
	    "# a comment\n\nExample.org\tREJECT  no mail\r\n"
	    "  from there\nbob@ OK\n<>\n192.0.2 DISCARD",
	    &line, &why);
	assert_non_null(m);
	assert_int_equal(map_count(m), 4);
	assert_string_equal(get(m, "bob@"), "OK");
	assert_string_equal(get(m, "<>"), "");
	assert_string_equal(get(m, "192.0.2"), "DISCARD");
	assert_non_null(strstr(get(m, "example.org"), "REJECT  no mail"));
	assert_non_null(strstr(get(m, "example.org"), "from there"));
	assert_null(get(m, "Example.org"));
	map_free(&m);
	mem_free(copy);
	m = parse(&copy, "", &line, &why);
	assert_non_null(m);
	assert_int_equal(map_count(m), 0);
	map_free(&m);
	mem_free(copy);
}

/* As postmap(1) reads them: comments and empty lines end no row. */
static void test_text_rows(void **state)
{
	char *copy;
	size_t line;
	const char *why;
	struct map *m = parse(&copy,
	    "a REJECT\n# not of it\n\n  one\n   # nor this\n\ttwo \t\n \n\"B c\"@x OK\n\"q\\\" r\" "
	    "1\nlast\n  word",
	    &line, &why);
	assert_non_null(m);
	assert_int_equal(map_count(m), 4);
	assert_string_equal(get(m, "a"), "REJECT one two");
	assert_string_equal(get(m, "\"b c\"@x"), "OK");
	assert_string_equal(get(m, "\"q\\\" r\""), "1");
	assert_string_equal(get(m, "last"), "word");
	map_free(&m);
	mem_free(copy);
}

static void test_text_mistakes(void **state)
{
	static const struct {
		const char *text, *why;
		size_t line;
	} cases[] = {
		{ "a 1\nb 2\nA 3\n", "second time", 3 },
		{ "a 1\n  and\n# x\n\n  more\nb 2\n  and\n\nA 3\n  and\n", "second time", 9 },
		{ "\n# x\n  a 1\n", "goes on with", 3 },
		{ "a 1\n\"b 2\n", "quote", 2 },
	};
	size_t line;
	const char *why;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *copy;
		assert_null(parse(&copy, cases[i].text, &line, &why));
		assert_non_null(strstr(why, cases[i].why));
		assert_int_equal(line, cases[i].line);
		mem_free(copy);
	}
	char bytes[] = "x\na\0b c\n";
	assert_null(table_text_parse(bytes, sizeof bytes - 1, &line, &why));
	assert_int_equal(line, 2);
}

/* The longest key and value, and one byte more. */
static void test_text_limits(void **state)
{
	for (size_t more = 0; more < 3; more++) {
		size_t key_n = TABLE_KEY_MAX - 1 + (more == 1),
		       value_n = TABLE_VALUE_MAX + (more == 2), line;
		size_t n = key_n + 1 + value_n;
		char *text = mem_alloc(n + 1);
		const char *why;
		memset(text, 'k', n);
		text[key_n] = ' ';
		struct map *m = table_text_parse(text, n, &line, &why);
		assert_true((m != NULL) == (more == 0));
		map_free(&m);
		mem_free(text);
	}
}

/* A text cut anywhere is a table with fewer keys, or none, and never one beyond its end. */
static void test_text_cut(void **state)
{
	static const char text[] = "one 1\n two\nthree\n# x\nfour  4 4\n";
	for (size_t n = 0; n < sizeof text; n++) {
		char *part = mem_alloc(n + 1);
		size_t line;
		const char *why;
		memcpy(part, text, n);
		struct map *m = table_text_parse(part, n, &line, &why);
		assert_true((m == NULL) == (why != NULL));
		map_free(&m);
		mem_free(part);
	}
}

static void test_filters(void **state)
{
	static const struct {
		const char *filter;
		bool ok;
	} cases[] = {
		{ "(cn=%s)", true },
		{ "(&(objectClass=x)(|(mail=%s)(dc=%d)(uid=%u)))", true },
		{ "(cn=a%s*b)", true },
		{ "(cn=100%%)", true },
		{ "(cn=%x)", false },
		{ "(cn=%)", false },
		{ "(cn=%s", false },
		{ "cn=%s", false },
		{ "(%s=x)", false },
		{ "", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct table_conf c = { .filter = cases[i].filter };
		assert_int_equal(table_ldap_filter_ok(&c), cases[i].ok);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_deep_names),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_text_rows),
		cmocka_unit_test(test_text_mistakes),
		cmocka_unit_test(test_text_limits),
		cmocka_unit_test(test_text_cut),
		cmocka_unit_test(test_filters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
