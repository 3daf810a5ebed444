/* test_thread.c - base subjects, and threads as RFC 5256 makes them: messages in, parentheses out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/check.h"
#include "store-backend/imap/sort_key.h"
#include "store-backend/imap/thread_tree.h"

/* ---- subjects ------------------------------------------------------------------------------------------ */

static const struct {
	const char *value, *base;
	bool refwd;
} subjects[] = {
	{ "", "", false },
	{ "hello", "hello", false },
	{ "  two  spaces\t and\r\n tabs ", "two spaces and tabs", false },
	{ "Re: hello", "hello", true },
	{ "RE : re:Re:  hello", "hello", true },
	{ "Fwd: Fw: hello", "hello", true },
	{ "re[2]: hello", "hello", true },
	{ "[list] Re: [list] hello", "hello", true },
	{ "[list] hello", "hello", false },
	{ "[a][b] c", "c", false },
	{ "[only]", "[only]", false },
	{ "[one] [two]", "[two]", false },
	{ "Re: [x]", "[x]", true },
	{ "hello (fwd)", "hello", true },
	{ "hello (FWD) (fwd)  ", "hello", true },
	{ "[Fwd: hello]", "hello", true },
	{ "[fwd: Re: hello (fwd)]", "hello", true },
	{ "Re:", "", true },
	{ "regarding", "regarding", false },
	{ "re hello", "re hello", false },
	{ "[unclosed hello", "[unclosed hello", false },
	{ "[fwd: x", "[fwd: x", false },
	{ "=?utf-8?Q?Re=3A_gr=C3=BC=C3=9Fe?=",
	    "gr\xc3\xbc\xc3\x9f"
	    "e",
	    true },
};

static void test_subjects(void **state)
{
	for (size_t i = 0; i < COUNT_OF(subjects); i++) {
		struct buf out = BUF_INIT(1024);
		bool refwd = sort_base_subject(span_str(subjects[i].value), &out);
		if (strcmp(buf_cstr(&out), subjects[i].base) != 0 || refwd != subjects[i].refwd)
			print_error("of: %s\n", subjects[i].value);
		assert_string_equal(buf_cstr(&out), subjects[i].base);
		assert_int_equal(refwd, subjects[i].refwd);
		buf_end(&out);
	}
}

/* ---- threads ------------------------------------------------------------------------------------------- */

struct mail {
	int64_t sent;
	const char *subject;
	bool refwd;
	const char *id, *references, *in_reply_to;
};

static void check(enum thread_how how, const struct mail *v, size_t n, const char *want)
{
	for (size_t most = 1; most != 0; most = most == 1 ? 1000 : 0) {
		struct thread_tree *t = thread_tree_new(how);
		struct buf out = BUF_INIT(1 << 20), all = BUF_INIT(1 << 20);
		for (size_t i = 0; i < n; i++) {
			struct thread_message m = { .name = (uint32_t)i + 1,
				.sent = v[i].sent,
				.subject = span_str(v[i].subject),
				.refwd = v[i].refwd,
				.id = span_str(v[i].id),
				.references = span_str(v[i].references),
				.in_reply_to = span_str(v[i].in_reply_to) };
			assert_true(thread_tree_add(t, &m));
		}
		thread_tree_close(t);
		bool end;
		do {
			buf_clear(&out);
			end = thread_tree_put(t, &out, most);
			buf_add_span(&all, buf_span(&out));
		} while (!end);
		assert_string_equal(buf_cstr(&all), want);
		buf_end(&out);
		buf_end(&all);
		thread_tree_free(&t);
	}
}
#define CHECK_THREADS(how, want, ...)                                                              \
	check(how, (const struct mail[]){ __VA_ARGS__ },                                           \
	    sizeof((const struct mail[]){ __VA_ARGS__ }) / sizeof(struct mail), want)

static void test_by_subject(void **state)
{
	check(THREAD_ORDEREDSUBJECT, NULL, 0, "");
	CHECK_THREADS(THREAD_ORDEREDSUBJECT, "(1)", { .sent = 5, "a" });
	CHECK_THREADS(THREAD_ORDEREDSUBJECT, "(2 1)(4 (3)(5))", { .sent = 5, "a" },
	    { .sent = 1, "a" }, { .sent = 7, "b" }, { .sent = 2, "b" }, { .sent = 8, "b" });
	CHECK_THREADS(THREAD_ORDEREDSUBJECT, "(1)(2 3)", { .sent = 1, "a" }, { .sent = 2, "" },
	    { .sent = 2, "" });
}

static void test_references(void **state)
{
	check(THREAD_REFERENCES, NULL, 0, "");
	/* a chain, an answer beside it */
	CHECK_THREADS(THREAD_REFERENCES, "(1 (2 3)(4))", { .sent = 1, "a", 0, "<1@x>" },
	    { .sent = 2, "a", 1, "<2@x>", "<1@x>" }, { .sent = 3, "a", 1, "<3@x>", "<1@x> <2@x>" },
	    { .sent = 4, "a", 1, "<4@x>", NULL, "your mail <1@x> of today" });
	/* the answer came first */
	CHECK_THREADS(THREAD_REFERENCES, "(2 1)", { .sent = 2, "a", 1, "<2@x>", "<1@x>" },
	    { .sent = 1, "a", 0, "<1@x>" });
	/* what they all answer is not here: its place is kept for two, not for one */
	CHECK_THREADS(THREAD_REFERENCES, "((1)(2))", { .sent = 1, "a", 1, "<1@x>", "<0@x>" },
	    { .sent = 2, "b", 1, "<2@x>", "<0@x>" });
	CHECK_THREADS(THREAD_REFERENCES, "(1)(2)", { .sent = 1, "a", 1, "<1@x>", "<0@x> <9@x>" },
	    { .sent = 2, "b", 1, "<2@x>", "<8@x>" });
	CHECK_THREADS(THREAD_REFERENCES, "(1 2)", { .sent = 1, "a", 0, "<1@x>" },
	    { .sent = 2, "b", 1, "<2@x>", "<1@x> <0@x>" });
	/* circles, oneself, the same id twice, no id at all */
	CHECK_THREADS(THREAD_REFERENCES, "(2 1)", { .sent = 1, "a", 0, "<1@x>", "<2@x>" },
	    { .sent = 2, "a", 0, "<2@x>", "<1@x>" });
	CHECK_THREADS(THREAD_REFERENCES, "(1)", { .sent = 1, "a", 0, "<1@x>", "<1@x>" });
	CHECK_THREADS(THREAD_REFERENCES, "(1)(2)(3)", { .sent = 1, "a", 0, "<1@x>" },
	    { .sent = 2, "b", 0, "<1@x>" }, { .sent = 3, "c", 0, "none" });
}

static void test_subjects_join(void **state)
{
	/* an answer without references goes below what it answers */
	CHECK_THREADS(THREAD_REFERENCES, "(1 2)", { .sent = 1, "a", 0, "<1@x>" },
	    { .sent = 2, "a", 1, "<2@x>" });
	/* two of the same subject become children of nobody */
	CHECK_THREADS(THREAD_REFERENCES, "((1)(2))", { .sent = 1, "a", 0, "<1@x>" },
	    { .sent = 2, "a", 0, "<2@x>" });
	CHECK_THREADS(THREAD_REFERENCES, "((1)(2)(3))", { .sent = 1, "a", 0, "<1@x>" },
	    { .sent = 2, "a", 0, "<2@x>" }, { .sent = 3, "a", 0, "<3@x>" });
	/* two places that are kept for the same subject become one */
	CHECK_THREADS(THREAD_REFERENCES, "((1)(2)(3)(4))", { .sent = 1, "a", 1, "<1@x>", "<0@x>" },
	    { .sent = 2, "a", 1, "<2@x>", "<0@x>" }, { .sent = 3, "a", 1, "<3@x>", "<9@x>" },
	    { .sent = 4, "a", 1, "<4@x>", "<9@x>" });
	CHECK_THREADS(THREAD_REFERENCES, "((1)(2)(3))", { .sent = 1, "a", 1, "<1@x>", "<0@x>" },
	    { .sent = 2, "a", 1, "<2@x>", "<0@x>" }, { .sent = 3, "a", 0, "<3@x>" });
	/* no subject joins nothing */
	CHECK_THREADS(THREAD_REFERENCES, "(1)(2)", { .sent = 1, "", 0, "<1@x>" },
	    { .sent = 2, "", 0, "<2@x>" });
}

/* A chain as long as a mailbox: nothing recurses, and time stays linear. */
static void test_long_chain(void **state)
{
	enum { N = 50000 };
	struct thread_tree *t = thread_tree_new(THREAD_REFERENCES);
	struct buf out = BUF_INIT(1 << 24);
	for (uint32_t i = 1; i <= N; i++) {
		char id[32], before[32];
		snprintf(id, sizeof id, "<%u@x>", i);
		snprintf(before, sizeof before, "<%u@x>", i - 1);
		struct thread_message m = { .name = i, .sent = i, .id = span_str(id) };
		m.references = span_str(i > 1 ? before : "");
		assert_true(thread_tree_add(t, &m));
	}
	thread_tree_close(t);
	assert_true(thread_tree_put(t, &out, SIZE_MAX));
	assert_int_equal(strncmp(buf_cstr(&out), "(1 2 3 4 5 ", 11), 0);
	assert_non_null(strstr(buf_cstr(&out), "50000)"));
	buf_end(&out);
	thread_tree_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_subjects),
		cmocka_unit_test(test_by_subject),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_subjects_join),
		cmocka_unit_test(test_long_chain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
