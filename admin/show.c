/* show.c - asks the daemons of the tier over their control sockets, joins the answers of their workers,
 * prints a table or JSON. After: commands.c. Owns nothing beyond a call. */
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"

#include "admin/ask.h"
#include "admin/show.h"
#include "admin/tier.h"

enum { PIECE_MAX = 1024 * 1024 };

/* A tier with a question to each of its programs, or to those of a list. */
struct round {
	struct tier tier;
	struct ask asks[TIER_PROGRAMS_MAX];
	const struct program *asked[TIER_PROGRAMS_MAX];
	size_t n;
	int status;
};

static bool is_named(const char *const *names, const char *name)
{
	for (size_t i = 0; names != NULL && names[i] != NULL; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return names == NULL;
}

static void round_ask(struct round *r, const struct admin_args *a, const char *const *programs,
    const char *const *words, size_t word_count)
{
	memset(r, 0, sizeof *r);
	r->status = tier_load_or_say(a, &r->tier);
	for (size_t i = 0; r->status == ADMIN_OK && i < r->tier.n; i++)
		if (is_named(programs, r->tier.v[i].name)) {
			r->asked[r->n] = &r->tier.v[i];
			r->asks[r->n++].socket = r->tier.v[i].socket;
		}
	if (r->status == ADMIN_OK && r->n == 0) {
		fprintf(stderr, "postern: the configuration has no program that knows \"%s\"\n",
		    words[0]);
		r->status = ADMIN_CONFIG;
	}
	uint64_t ms = word_count == 1 && strcmp(words[0], "upgrade") == 0 ? UPGRADE_MS : ASK_MS;
	ask_all(r->asks, r->n, words, word_count, ms);
}

static void round_end(struct round *r)
{
	ask_end(r->asks, r->n);
	tier_end(&r->tier);
}

static bool is_ok(const struct ask *ask)
{
	return json_is_true(json_object_get(ask->reply, "ok"));
}

static const char *why_not(const struct ask *ask)
{
	const char *why = json_string_value(json_object_get(ask->reply, "error"));
	return ask->reply == NULL ? ask->error : why != NULL ? why : "it answered without a reason";
}

static void complain(struct round *r, size_t i)
{
	fprintf(stderr, "postern: %s (%s): %s\n", r->asked[i]->label, r->asks[i].socket,
	    why_not(&r->asks[i]));
	r->status = ADMIN_UNAVAILABLE;
}

static void print_json(const json_t *v)
{
	json_dumpf(v, stdout, JSON_INDENT(1) | JSON_ENCODE_ANY);
	putchar('\n');
}

static void print(const json_t *v, bool json, bool (*put)(const json_t *, struct buf *))
{
	struct buf out = BUF_INIT(TABLE_OUTPUT_MAX);
	if (json) {
		print_json(v);
		return;
	}
	put(v, &out);
	fwrite(buf_span(&out).p, 1, buf_len(&out), stdout);
	buf_end(&out);
}

/* ---- rows ---------------------------------------------------------------------------------------- */

static bool is_same(const json_t *a, const json_t *b, const struct question *q)
{
	for (size_t i = 0; i < 2 && q->unique[i] != NULL; i++) {
		const json_t *x = json_object_get(a, q->unique[i]),
			     *y = json_object_get(b, q->unique[i]);
		if (x == NULL || y == NULL || !json_equal(x, y))
			return false;
	}
	return true;
}

/* Workers that share their counts all report them: one row is enough. */
static void put_row(json_t *rows, json_t *row, const struct question *q)
{
	for (size_t i = 0; q->unique[0] != NULL && i < json_array_size(rows); i++) {
		json_t *other = json_array_get(rows, i);
		if (!is_same(other, row, q))
			continue;
		if (json_integer_value(json_object_get(row, q->greatest)) >
		    json_integer_value(json_object_get(other, q->greatest)))
			json_array_set(rows, i, row);
		return;
	}
	json_array_append(rows, row);
}

/* The question was understood, and cannot be answered. */
static bool is_error(struct round *r, const json_t *data)
{
	const char *why = json_string_value(json_object_get(data, "error"));
	if (why == NULL || !json_is_object(data))
		return false;
	fprintf(stderr, "postern: %s\n", why);
	r->status = ADMIN_USAGE;
	return true;
}

static void put_answers(struct round *r, size_t i, json_t *rows, const struct question *q)
{
	const json_t *answers = json_object_get(r->asks[i].reply, "answers");
	for (size_t n = 0; n < json_array_size(answers); n++) {
		json_t *data = json_object_get(json_array_get(answers, n), "data");
		if (is_error(r, data))
			continue;
		for (size_t k = 0; k < json_array_size(data); k++)
			put_row(rows, json_array_get(data, k), q);
		if (data != NULL && !json_is_array(data))
			put_row(rows, data, q);
	}
}

static void warn_silent(const struct round *r, size_t i)
{
	json_int_t silent = json_integer_value(json_object_get(r->asks[i].reply, "silent"));
	if (silent > 0)
		fprintf(stderr,
		    "postern: %" JSON_INTEGER_FORMAT " workers of %s did not answer in time\n",
		    silent, r->asked[i]->label);
}

static bool put_rows_with(const json_t *rows, const struct question *q)
{
	struct buf out = BUF_INIT(TABLE_OUTPUT_MAX);
	bool ok = json_array_size(rows) == 0 ? buf_printf(&out, "%s\n", q->none)
		  : q->columns != NULL       ? table_put(rows, q->columns, &out)
					     : table_put_any(rows, &out);
	fwrite(buf_span(&out).p, 1, buf_len(&out), stdout);
	buf_end(&out);
	return ok;
}

size_t show_gather(const struct admin_args *a, const struct question *q, struct show_words words,
    json_t *rows, int *status_out)
{
	size_t answered = 0;
	struct round r;
	round_ask(&r, a, q->programs, words.v, words.n);
	for (size_t i = 0; i < r.n; i++)
		if (is_ok(&r.asks[i])) {
			answered++;
			if (!words.quiet)
				warn_silent(&r, i);
			put_answers(&r, i, rows, q);
		}
	/* One that does not know the question is no fault where another has answered it. */
	for (size_t i = 0; i < r.n && !words.quiet; i++)
		if (!is_ok(&r.asks[i]) && (answered == 0 || r.asks[i].reply == NULL))
			complain(&r, i);
	*status_out = r.status;
	round_end(&r);
	return *status_out == ADMIN_USAGE ? 0 : answered;
}

static void print_rows(const struct admin_args *a, const struct question *q, const json_t *rows)
{
	if (a->json)
		print_json(rows);
	else
		put_rows_with(rows, q);
}

int show_rows(const struct admin_args *a, const struct question *q)
{
	int status;
	json_t *rows = json_array();
	const struct show_words words = { a->words, a->word_count, false };
	if (show_gather(a, q, words, rows, &status) > 0)
		print_rows(a, q, rows);
	json_decref(rows);
	return status;
}

/* ---- the queue ------------------------------------------------------------------------------------ */

/* Takes the row out that says that there is more; false: there is none. */
static bool take_more(json_t *rows, char *after, size_t size)
{
	size_t i = json_array_size(rows);
	while (i > 0 && !json_is_true(json_object_get(json_array_get(rows, i - 1), "more")))
		i--;
	if (i == 0)
		return false;
	const char *id = json_string_value(json_object_get(json_array_get(rows, i - 1), "after"));
	snprintf(after, size, "after=%s", id != NULL ? id : "");
	json_array_remove(rows, i - 1);
	return true;
}

static void say_more(const struct admin_args *a, const char *after)
{
	bool known = strcmp(after, "after=") != 0;
	fprintf(stderr, "postern: this is not all that is in the queue. %s: postern queue list",
	    known ? "It goes on with" : "Ask again");
	for (size_t i = 2; i < a->word_count; i++)
		if (strncmp(a->words[i], "after=", 6) != 0)
			fprintf(stderr, " %s", a->words[i]);
	fprintf(stderr, "%s%s\n", known ? " " : "", known ? after : "");
}

enum { LIST_WORDS_MAX = 20 };

int show_queue(const struct admin_args *a, const struct question *q)
{
	const char *v[LIST_WORDS_MAX + 1];
	char after[64] = "", former[64];
	struct show_words words = { v, 0, false };
	json_t *rows = json_array();
	bool more = true;
	int status = ADMIN_OK;
	for (; words.n < a->word_count && words.n < LIST_WORDS_MAX; words.n++)
		v[words.n] = a->words[words.n];
	size_t given = words.n, answered = 1;
	while (more && answered > 0 && json_array_size(rows) < SHOW_LIST_MAX) {
		memcpy(former, after, sizeof former);
		answered = show_gather(a, q, words, rows, &status);
		more = take_more(rows, after, sizeof after);
		if (more && (strcmp(after, "after=") == 0 || strcmp(after, former) == 0))
			break;
		v[given] = after; /* the last one counts */
		words.n = given + 1;
	}
	if (answered > 0)
		print_rows(a, q, rows);
	if (answered > 0 && more)
		say_more(a, after);
	json_decref(rows);
	return status;
}

int show_summary(const struct admin_args *a, const struct question *q)
{
	const struct show_words words = { a->words, a->word_count, false };
	char after[64];
	json_t *rows = json_array();
	int status = ADMIN_OK;
	bool answered = show_gather(a, q, words, rows, &status) > 0;
	if (answered && take_more(rows, after, sizeof after))
		fprintf(stderr, "postern: there was no time to count all that is in the queue\n");
	if (answered)
		print_rows(a, q, rows);
	json_decref(rows);
	return status;
}

/* ---- a message ----------------------------------------------------------------------------------- */

/* Writes one piece; false: that was the last, or it cannot be had. */
static bool put_piece(struct round *r, const json_t *data, char from[24])
{
	struct buf bytes = BUF_INIT(PIECE_MAX);
	json_int_t next = json_integer_value(json_object_get(data, "next"));
	json_int_t size = json_integer_value(json_object_get(data, "bytes"));
	const char *text = json_string_value(json_object_get(data, "base64"));
	bool good = text != NULL && base64_get(span_str(text), &bytes);
	if (good)
		fwrite(buf_span(&bytes).p, 1, buf_len(&bytes), stdout);
	else if (!is_error(r, data))
		r->status = ADMIN_UNAVAILABLE;
	snprintf(from, 24, "%" JSON_INTEGER_FORMAT, next);
	good = good && buf_len(&bytes) > 0 && next < size;
	buf_end(&bytes);
	return good;
}

int show_cat(const struct admin_args *a)
{
	static const char *const programs[] = { "edge", NULL };
	char from[24] = "0";
	const char *const words[] = { "queue", "cat", a->words[2], from };
	struct round r;
	bool more = true;
	int status = ADMIN_OK;
	while (more) {
		round_ask(&r, a, programs, words, 4);
		more = r.n > 0 && is_ok(&r.asks[0]);
		if (more)
			more = put_piece(&r,
			    json_object_get(
				json_array_get(json_object_get(r.asks[0].reply, "answers"), 0),
				"data"),
			    from);
		else if (r.n > 0)
			complain(&r, 0);
		status = r.status;
		round_end(&r);
	}
	return status;
}

/* ---- status -------------------------------------------------------------------------------------- */

static const struct column program_columns[] = {
	{ "label", "program", COLUMN_TEXT },
	{ "phase", "phase", COLUMN_TEXT },
	{ "pid", "pid", COLUMN_NUMBER },
	{ "uptime_s", "uptime", COLUMN_SECONDS },
	{ "version", "version", COLUMN_TEXT },
	{ "revision", "configuration", COLUMN_TEXT },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column worker_columns[] = {
	{ "label", "program", COLUMN_TEXT },
	{ "role", "role", COLUMN_TEXT },
	{ "index", "n", COLUMN_NUMBER },
	{ "pid", "pid", COLUMN_NUMBER },
	{ "state", "state", COLUMN_TEXT },
	{ "healthy", "healthy", COLUMN_TEXT },
	{ "restarts", "restarts", COLUMN_NUMBER },
	{ "uptime_s", "uptime", COLUMN_SECONDS },
	{ NULL, NULL, COLUMN_TEXT },
};

static json_t *status_of(const struct round *r, size_t i)
{
	json_t *s;
	if (is_ok(&r->asks[i])) {
		s = json_copy(r->asks[i].reply);
		json_object_del(s, "ok");
	} else {
		s = json_pack("{s:s,s:s,s:s}", "program", r->asked[i]->name, "phase", "down",
		    "error", why_not(&r->asks[i]));
	}
	json_object_set_new(s, "label", json_string(r->asked[i]->label));
	return s;
}

static bool put_status(const json_t *all, struct buf *out)
{
	json_t *workers = json_array();
	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *p = json_array_get(all, i), *list = json_object_get(p, "workers");
		for (size_t k = 0; k < json_array_size(list); k++) {
			json_t *w = json_copy(json_array_get(list, k));
			json_object_set(w, "label", json_object_get(p, "label"));
			json_array_append_new(workers, w);
		}
	}
	table_put(all, program_columns, out);
	if (json_array_size(workers) > 0) {
		buf_add_char(out, '\n');
		table_put(workers, worker_columns, out);
	}
	json_decref(workers);
	return buf_ok(out);
}

int show_status(const struct admin_args *a)
{
	static const char *const words[] = { "status" };
	struct round r;
	json_t *all = json_array();
	round_ask(&r, a, NULL, words, 1);
	for (size_t i = 0; i < r.n; i++) {
		json_array_append_new(all, status_of(&r, i));
		if (!is_ok(&r.asks[i]))
			complain(&r, i);
	}
	if (r.n > 0)
		print(all, a->json, put_status);
	json_decref(all);
	round_end(&r);
	return r.status;
}

/* ---- commands without an answer, and any other --------------------------------------------------- */

static void print_errors(const json_t *errors)
{
	for (size_t i = 0; i < json_array_size(errors); i++) {
		const char *line = json_string_value(json_array_get(errors, i));
		fprintf(stderr, "  %s\n", line != NULL ? line : "");
	}
}

int show_done(
    const struct admin_args *a, const char *const *only, const char *word, const char *said)
{
	struct round r;
	json_t *all = json_object();
	round_ask(&r, a, only, &word, 1);
	for (size_t i = 0; i < r.n; i++) {
		const json_t *errors = json_object_get(r.asks[i].reply, "errors");
		json_object_set_new(all, r.asked[i]->label, json_boolean(is_ok(&r.asks[i])));
		if (is_ok(&r.asks[i]) && !a->json)
			printf("%s: %s\n", r.asked[i]->label, said);
		if (is_ok(&r.asks[i]))
			continue;
		complain(&r, i);
		print_errors(errors);
		if (json_array_size(errors) > 0)
			r.status = ADMIN_CONFIG;
	}
	if (a->json)
		print_json(all);
	json_decref(all);
	round_end(&r);
	return r.status;
}

static bool put_answer(const json_t *reply, struct buf *out)
{
	const json_t *answers = json_object_get(reply, "answers");
	if (answers == NULL)
		return table_put_any(reply, out);
	for (size_t i = 0; i < json_array_size(answers); i++) {
		const json_t *one = json_array_get(answers, i);
		const char *role = json_string_value(json_object_get(one, "role"));
		buf_printf(out, "%s %" JSON_INTEGER_FORMAT ":\n", role != NULL ? role : "",
		    json_integer_value(json_object_get(one, "index")));
		table_put_any(json_object_get(one, "data"), out);
	}
	return buf_ok(out);
}

int show_any(const struct admin_args *a)
{
	const char *const programs[] = { a->words[1], NULL };
	struct round r;
	round_ask(&r, a, programs, a->words + 2, a->word_count - 2);
	for (size_t i = 0; i < r.n; i++) {
		if (is_ok(&r.asks[i]))
			print(r.asks[i].reply, a->json, put_answer);
		else
			complain(&r, i);
	}
	round_end(&r);
	return r.status;
}
