/* watch.c - postern meter watch: decisions of all workers as they are made. Each worker keeps what we have
 * not fetched yet (metermaid/watch), so nothing is lost between two questions; what it had no room for is
 * told. Owns nothing beyond a call. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "base/rand.h"

#include "admin/show.h"

enum { PAUSE_MS = 250, CELL_MAX = 64 };

struct watching {
	const struct admin_args *args;
	const char *words[ADMIN_WORDS_MAX];
	size_t n;
	char id[24];
	uint64_t until_ms; /* 0: for ever */
};

/* "--for DURATION" stands last. False: it is no duration. */
static bool take_words(struct watching *w)
{
	const struct admin_args *a = w->args;
	size_t n = a->word_count;
	uint64_t ms;
	if (n >= 2 && strcmp(a->words[n - 2], "--for") == 0) {
		if (!conf_duration(span_str(a->words[n - 1]), &ms))
			return false;
		w->until_ms = clock_mono_ms() + ms;
		n -= 2;
	}
	snprintf(w->id, sizeof w->id, "w%016" PRIx64, rand_u64());
	w->words[w->n++] = "meter";
	w->words[w->n++] = "watch";
	w->words[w->n++] = w->id;
	for (size_t i = 2; i < n; i++)
		w->words[w->n++] = a->words[i];
	return true;
}

static const char *text_of(const json_t *row, const char *name)
{
	const char *s = json_string_value(json_object_get(row, name));
	return s != NULL ? s : "";
}

static int earlier_first(const void *a, const void *b)
{
	return strcmp(text_of(*(json_t *const *)a, "at"), text_of(*(json_t *const *)b, "at"));
}

static void put_cell(struct buf *out, const json_t *row, const char *name)
{
	const char *s = text_of(row, name);
	buf_add_str(out, "  ");
	fmt_line_text(out, span_str(s[0] != '\0' ? s : "-"), CELL_MAX);
}

static void print_row(const json_t *row, bool json)
{
	static const char *const cells[] = { "on", "action", "rule", "client", "user", "sender",
		"recipient" };
	struct buf line = BUF_INIT(4096);
	json_int_t lost = json_integer_value(json_object_get(row, "lost"));
	if (json) {
		json_dumpf(row, stdout, JSON_COMPACT);
		putchar('\n');
		return;
	}
	if (lost > 0) {
		buf_printf(&line, "(%" JSON_INTEGER_FORMAT " more were not kept)", lost);
	} else {
		buf_add_str(&line, text_of(row, "at"));
		for (size_t i = 0; i < COUNT_OF(cells); i++)
			put_cell(&line, row, cells[i]);
	}
	puts(buf_cstr(&line));
	buf_end(&line);
}

/* False: nobody answers. */
static bool ask_once(struct watching *w, bool quiet, int *status_out)
{
	static const char *const programs[] = { "mmp", "edge", "meter", NULL };
	static const struct question q = { .programs = programs };
	const struct show_words words = { w->words, w->n, quiet };
	json_t *rows = json_array();
	size_t answered = show_gather(w->args, &q, words, rows, status_out);
	size_t n = json_array_size(rows);
	json_t **order = mem_array(n + 1, sizeof *order);
	for (size_t i = 0; i < n; i++)
		order[i] = json_array_get(rows, i);
	qsort(order, n, sizeof *order, earlier_first);
	for (size_t i = 0; i < n; i++)
		print_row(order[i], w->args->json);
	mem_free(order);
	json_decref(rows);
	fflush(stdout);
	return answered > 0;
}

int admin_watch(const struct admin_args *a)
{
	struct watching w = { .args = a };
	int status = ADMIN_OK;
	bool first = true;
	if (!take_words(&w)) {
		fprintf(stderr, "postern: --for takes a duration\n");
		return ADMIN_USAGE;
	}
	while (ask_once(&w, !first, &status)) {
		if (w.until_ms > 0 && clock_mono_ms() >= w.until_ms)
			return first ? status : ADMIN_OK;
		first = false;
		poll(NULL, 0, PAUSE_MS);
	}
	return status != ADMIN_OK ? status : ADMIN_UNAVAILABLE;
}
