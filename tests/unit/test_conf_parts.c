/* test_conf_parts.c - lib/conf's inner parts alone: tokens, quoting, arena, nearest names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/check.h"
#include "conf/arena.h"
#include "conf/lex.h"
#include "conf/nearest.h"

/* The kinds as letters, with the words between: w s ; , { } and ! for a bad token. */
static void tokens_of(struct span text, struct buf *out)
{
	struct lexer l;
	struct token t;
	lex_init(&l, text);
	do {
		lex_next(&l, &t);
		assert_true(t.line > 0 && t.column > 0 && t.end_column >= t.column);
		buf_add_char(out, "ws;,{}.!"[t.kind]);
		if (t.kind == TOK_WORD)
			buf_printf(out, "[%.*s]", SPAN_ARG(t.raw));
		if (t.kind == TOK_STRING) {
			buf_add_char(out, '[');
			assert_true(lex_unquote(&t, out));
			buf_add_char(out, ']');
		}
		if (t.kind == TOK_BAD)
			assert_non_null(t.why);
	} while (t.kind != TOK_END);
}

static void test_tokens(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "", "." },
		{ "a b;", "w[a]w[b];." },
		{ "a{b,c}", "w[a]{w[b],w[c]}." },
		{ "# all of it", "." },
		{ "a#b # c\nd", "w[a#b]w[d]." },
		{ "\"x\\\"y\\\\z\\n\\t\"", "s[x\"y\\z\n\t]." },
		{ "\"\"", "s[]." },
		{ "a \"open\nb", "w[a]!w[b]." },
		{ "\"bad \\q\" b", "!w[b]." },
		{ "a \x01 b", "w[a]!w[b]." },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf b = BUF_INIT(1000);
		tokens_of(span_str(cases[i].text), &b);
		assert_string_equal(buf_cstr(&b), cases[i].want);
		buf_end(&b);
	}
}

static void test_places(void **state)
{
	struct lexer l;
	struct token t;
	lex_init(&l, SPAN("a\n  \xc3\xa4 b"));
	lex_next(&l, &t);
	assert_true(t.line == 1 && t.column == 1 && t.end_column == 2);
	lex_next(&l, &t);
	assert_true(t.line == 2 && t.column == 3 && t.end_column == 4); /* a character, two bytes */
	lex_next(&l, &t);
	assert_true(t.line == 2 && t.column == 5);
}

/* Whatever is quoted reads back as one word or string with the same bytes. */
static void test_quote_reads_back(void **state)
{
	static const char *const values[] = { "", "plain", "two words", "a;b", "{", "#c", "q\"q",
		"b\\s", "line\nend", "tab\t", "caf\xc3\xa9" };
	for (size_t i = 0; i < COUNT_OF(values); i++) {
		struct buf quoted = BUF_INIT(100), back = BUF_INIT(100);
		struct lexer l;
		struct token t;
		assert_true(lex_quote(span_str(values[i]), &quoted));
		lex_init(&l, buf_span(&quoted));
		lex_next(&l, &t);
		assert_true(t.kind == TOK_WORD || t.kind == TOK_STRING);
		if (t.kind == TOK_STRING)
			assert_true(lex_unquote(&t, &back));
		else
			buf_add_span(&back, t.raw);
		assert_string_equal(buf_cstr(&back), values[i]);
		lex_next(&l, &t);
		assert_int_equal(t.kind, TOK_END);
		buf_end(&quoted);
		buf_end(&back);
	}
}

static void test_arena(void **state)
{
	struct arena *a = arena_new();
	char *last = NULL;
	for (size_t n = 1; n < 20000; n += 1 + n / 7) {
		char *p = arena_alloc(a, n);
		assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(p[i], 0);
		memset(p, 'x', n);
		assert_ptr_not_equal(p, last);
		last = p;
	}
	uint64_t *v = arena_array(a, 100, sizeof *v);
	assert_int_equal(v[99], 0);
	const char *s = arena_str(a, SPAN("copy"));
	assert_string_equal(s, "copy");
	struct span t = arena_span(a, SPAN("a\0b"));
	assert_true(span_eq(t, SPAN("a\0b")) && t.p[3] == '\0');
	arena_free(&a);
	assert_null(a);
}

static void test_nearest(void **state)
{
	static const char *const known[] = { "command_timeout", "listen", "hostname", "log_level" };
	static const struct {
		const char *wanted, *best;
	} cases[] = {
		{ "comand_timeout", "command_timeout" },
		{ "hostnmae", "hostname" },
		{ "Listen", "listen" },
		{ "zzzzzzzz", NULL },
		{ "", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct nearest n;
		nearest_init(&n, span_str(cases[i].wanted));
		for (size_t k = 0; k < COUNT_OF(known); k++)
			nearest_try(&n, known[k]);
		if (cases[i].best == NULL)
			assert_null(n.best);
		else
			assert_string_equal(n.best, cases[i].best);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_quote_reads_back),
		cmocka_unit_test(test_arena),
		cmocka_unit_test(test_nearest),
	};
	return cmocka_run_group_tests_name("conf_parts", tests, NULL, NULL);
}
