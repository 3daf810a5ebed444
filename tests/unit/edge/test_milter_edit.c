/* test_milter_edit.c - a message under its filters: changes by index beside a plain model, new text at every split
 * point, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "edge/milter_edit.h"

enum { FIELDS_MAX = 200, ALL_MAX = 4 * 1024 * 1024 };

static const char trace[] = "Received: from x\r\n\tby y\r\n";
static const char text[] = "the text\r\n.\r\n";

static struct transaction *message(const char *head, size_t memory)
{
	struct transaction *t = transaction_new(ident_new());
	t->sender = mem_str("s@far.example");
	t->body = body_new(memory, ALL_MAX, "/tmp");
	assert_int_equal(body_add(t->body, span_str(head)), ERR_OK);
	assert_int_equal(body_add(t->body, span_str(text)), ERR_OK);
	assert_int_equal(body_prepend(t->body, span_str(trace)), ERR_OK);
	return t;
}

static struct edit *under_edit(struct transaction *t)
{
	struct edit_opts opts = { .ours = 1, .size_max = ALL_MAX, .temp_dir = "/tmp" };
	struct edit *e = NULL;
	assert_int_equal(edit_new(t, &opts, &e), ERR_OK);
	return e;
}

static void assert_message(struct transaction *t, struct span want)
{
	err_t err;
	struct buf got = BUF_INIT(ALL_MAX);
	struct span piece;
	while ((piece = body_read(t->body, buf_len(&got), 4096, &err)).n > 0)
		buf_add_span(&got, piece);
	if (!span_eq(buf_span(&got), want))
		print_error("got:\n%.*s\nwant:\n%.*s\n", SPAN_ARG(buf_span(&got)), SPAN_ARG(want));
	assert_true(span_eq(buf_span(&got), want));
	buf_end(&got);
}

static err_t change(struct edit *e, char code, uint32_t index, const char *name, const char *value)
{
	struct milter_change c = {
		.index = index, .name = span_str(name), .value = span_str(value)
	};
	return edit_note(e, code, &c, false);
}

/* ---- the model: lines in an array ----------------------------------------------------------------- */

static struct {
	char line[FIELDS_MAX][64];
	size_t n;
} model;

static void model_insert(size_t at, const char *name, const char *value)
{
	if (at > model.n)
		at = model.n;
	memmove(model.line[at + 1], model.line[at], (model.n - at) * sizeof model.line[0]);
	snprintf(model.line[at], sizeof model.line[0], "%s: %s\r\n", name, value);
	model.n++;
}

/* Field 0 is our own: not counted among equal names, wherever it stands by now. */
static void model_change(uint32_t nth, const char *name, const char *value)
{
	size_t at = 0;
	for (; at < model.n; at++)
		if (strcmp(model.line[at], trace) != 0 &&
		    strncmp(model.line[at], name, strlen(name)) == 0 && --nth == 0)
			break;
	if (at < model.n) {
		model.n--;
		memmove(model.line[at], model.line[at + 1], (model.n - at) * sizeof model.line[0]);
	}
	if (value[0] != '\0')
		model_insert(at, name, value);
}

static void assert_model(struct transaction *t)
{
	struct buf want = BUF_INIT(ALL_MAX);
	for (size_t i = 0; i < model.n; i++)
		buf_add_str(&want, model.line[i]);
	buf_add_str(&want, "\r\n");
	buf_add_str(&want, text);
	assert_message(t, buf_span(&want));
	buf_end(&want);
}

static const char *const names[] = { "A", "B", "Received" };

static void one_change(struct edit *e, unsigned step)
{
	const char *name = names[(unsigned)random() % 3];
	char value[16];
	uint32_t index = (uint32_t)random() % 6;
	snprintf(value, sizeof value, "v%u", step);
	switch (random() % 4) {
	case 0:
		assert_int_equal(change(e, 'h', 0, name, value), ERR_OK);
		model_insert(model.n, name, value);
		break;
	case 1:
		assert_int_equal(change(e, 'i', index, name, value), ERR_OK);
		model_insert(index, name, value);
		break;
	case 2:
		assert_int_equal(change(e, 'm', index + 1, name, value), ERR_OK);
		model_change(index + 1, name, value);
		break;
	default:
		assert_int_equal(change(e, 'm', index + 1, name, ""), ERR_OK);
		model_change(index + 1, name, "");
	}
}

static void test_changes_by_index(void **state)
{
	srandom(1);
	for (unsigned turn = 0; turn < 300; turn++) {
		struct transaction *t =
		    message("A: 1\r\nB: 2\r\nA: 3\r\n\r\n", turn % 2 ? 10 : 5000);
		struct edit *e = under_edit(t);
		model.n = 0;
		snprintf(model.line[model.n++], sizeof model.line[0], "%s", trace);
		model_insert(9, "A", "1");
		model_insert(9, "B", "2");
		model_insert(9, "A", "3");
		for (unsigned step = 0; step < turn % 30; step++) {
			one_change(e, step);
			if (random() % 3 == 0) /* the next filter's turn */
				assert_int_equal(edit_accept(e), ERR_OK);
			if (random() % 5 == 0) { /* a scanner's */
				assert_int_equal(edit_accept(e), ERR_OK);
				assert_int_equal(edit_write(e), ERR_OK);
				assert_model(t);
			}
		}
		assert_int_equal(edit_accept(e), ERR_OK);
		assert_int_equal(edit_write(e), ERR_OK);
		assert_model(t);
		edit_free(&e);
		transaction_free(&t);
	}
}

static void test_what_is_dropped_leaves_nothing(void **state)
{
	struct transaction *t = message("A: 1\r\n\r\n", 5000);
	struct edit *e = under_edit(t);
	struct milter_change to = { .address = SPAN("<x@y.example>") };
	transaction_add(t, 10, SPAN("a@b.example"), SPAN_NONE, SPAN_NONE, SPAN_NONE);
	assert_int_equal(change(e, 'i', 0, "X", "y"), ERR_OK);
	assert_int_equal(change(e, 'b', 0, NULL, "new"), ERR_OK);
	assert_int_equal(edit_note(e, '+', &to, false), ERR_OK);
	assert_int_equal(edit_note(e, 'e', &to, false), ERR_OK);
	to.address = SPAN("a@b.example");
	assert_int_equal(edit_note(e, '-', &to, false), ERR_OK);
	edit_drop(e);
	const char *const *added;
	assert_int_equal(edit_added(e, &added), 0);
	assert_int_equal(edit_accept(e), ERR_OK);
	assert_int_equal(edit_write(e), ERR_OK);
	assert_int_equal(t->recipient_count, 1);
	assert_string_equal(t->sender, "s@far.example");
	assert_message(t, SPAN("Received: from x\r\n\tby y\r\nA: 1\r\n\r\nthe text\r\n.\r\n"));
	edit_free(&e);
	transaction_free(&t);
}

static void test_new_text_at_every_split(void **state)
{
	static const char in[] = "a\r\nb\nc\rd\r\r\n\n.\r\n\xc3\xa4 last\r";
	static const char want[] = "Received: from x\r\n\tby y\r\nA: 1\r\n\r\n"
				   "a\r\nb\r\nc\r\nd\r\n\r\n\r\n.\r\n\xc3\xa4 last\r\n";
	size_t n = sizeof in - 1;
	for (size_t i = 0; i <= n; i++)
		for (size_t j = i; j <= n; j++) {
			struct transaction *t = message("A: 1\r\n\r\n", 5000);
			struct edit *e = under_edit(t);
			size_t cuts[] = { 0, i, j, n };
			for (size_t k = 0; k < 3; k++) {
				struct milter_change c = { .value = span_of(in + cuts[k],
							       cuts[k + 1] - cuts[k]) };
				assert_int_equal(edit_note(e, 'b', &c, false), ERR_OK);
			}
			assert_int_equal(edit_accept(e), ERR_OK);
			assert_int_equal(edit_write(e), ERR_OK);
			assert_message(t, span_str(want));
			assert_true(t->body_8bit);
			edit_free(&e);
			transaction_free(&t);
		}
}

static void test_limits(void **state)
{
	struct transaction *t = message("A: 1\r\n\r\n", 5000);
	struct edit *e = under_edit(t);
	for (unsigned i = 0; i < EDIT_CHANGES_MAX; i++)
		assert_int_equal(change(e, 'h', 0, "X", "y"), ERR_OK);
	assert_int_equal(change(e, 'h', 0, "X", "y"), ERR_TOO_MANY);
	edit_drop(e);
	char *big = mem_alloc(700 * 1024);
	memset(big, 'x', 700 * 1024 - 1);
	assert_int_equal(change(e, 'h', 0, "X", big), ERR_OK);
	assert_int_equal(change(e, 'h', 0, "X", big), ERR_TOO_MANY);
	edit_drop(e);
	for (int i = 0; i < 3; i++) { /* each filter may; all together may not */
		assert_int_equal(change(e, 'h', 0, "X", big), ERR_OK);
		assert_int_equal(edit_accept(e), ERR_OK);
	}
	assert_int_equal(edit_write(e), ERR_TOO_LONG);
	edit_free(&e);
	transaction_free(&t);
	mem_free(big);
}

static void test_header_sections_that_are_too_big(void **state)
{
	struct edit_opts opts = { .ours = 1, .size_max = ALL_MAX, .temp_dir = "/tmp" };
	struct edit *e = NULL;
	struct buf head = BUF_INIT(ALL_MAX);
	for (size_t i = 0; i < 30000; i++)
		buf_printf(&head, "%s%060zu\r\n", i % 100 == 0 ? "A: " : " ", i);
	buf_add_str(&head, "\r\n");
	struct transaction *t = message(buf_cstr(&head), 5000);
	assert_int_equal(edit_new(t, &opts, &e), ERR_TOO_MANY);
	assert_null(e);
	transaction_free(&t);
	buf_end(&head);
}

/* Results above our Received are shown, it is not. */
static void test_what_stands_above_ours_is_shown(void **state)
{
	struct edit_opts opts = { .shown = 1, .ours = 1, .size_max = ALL_MAX, .temp_dir = "/tmp" };
	struct edit *e = NULL;
	struct edit_field f;
	struct transaction *t = message("Received: from a\r\nA: 1\r\n\r\n", 5000);
	assert_int_equal(body_prepend(t->body, SPAN("Authentication-Results: x\r\n")), ERR_OK);
	assert_int_equal(edit_new(t, &opts, &e), ERR_OK);
	assert_int_equal(edit_fields(e), 4);
	assert_true(edit_field(e, 0, &f) && span_eq_str(f.name, "Authentication-Results"));
	assert_false(edit_field(e, 1, &f));
	assert_true(edit_field(e, 2, &f) && span_eq_str(f.name, "Received"));
	assert_true(edit_field(e, 3, &f) && span_eq_str(f.name, "A"));
	edit_free(&e);
	transaction_free(&t);
}

/* No empty line, no header, no text. */
static void test_odd_messages(void **state)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{ "A: 1\r\n", "A: 1\r\nX: y\r\n\r\n" },
		{ "A: 1\r\nno field\r\n", "A: 1\r\nX: y\r\n\r\nno field\r\n" },
		{ "\r\nx\r\n", "X: y\r\n\r\nx\r\n" },
		{ "A: 1\r\n\r\n", "A: 1\r\nX: y\r\n\r\n" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct transaction *t = transaction_new(ident_new());
		struct edit *e = NULL;
		struct edit_opts opts = { .size_max = ALL_MAX, .temp_dir = "/tmp" };
		t->body = body_new(5000, ALL_MAX, "/tmp");
		assert_int_equal(body_add(t->body, span_str(cases[i].in)), ERR_OK);
		assert_int_equal(edit_new(t, &opts, &e), ERR_OK);
		assert_int_equal(change(e, 'h', 0, "X", "y"), ERR_OK);
		assert_int_equal(edit_accept(e), ERR_OK);
		assert_int_equal(edit_write(e), ERR_OK);
		assert_message(t, span_str(cases[i].want));
		edit_free(&e);
		transaction_free(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes_by_index),
		cmocka_unit_test(test_what_is_dropped_leaves_nothing),
		cmocka_unit_test(test_new_text_at_every_split),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_header_sections_that_are_too_big),
		cmocka_unit_test(test_what_stands_above_ours_is_shown),
		cmocka_unit_test(test_odd_messages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
