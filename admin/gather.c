/* gather.c - the host's view for scrapers and load balancers, made from the control sockets of all
 * programs; used by run_http.c. Owns the families it collects. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/map.h"
#include "base/mem.h"

#include "admin/ask.h"
#include "admin/gather.h"

enum { FAMILY_MAX = 4 * 1024 * 1024, NAME_LEN_MAX = 200 };

/* Samples of one name, with its HELP and TYPE lines. */
struct family {
	struct buf head, samples;
};

struct gather {
	struct map *by_name; /* of struct family, owned through order */
	struct family **order;
	size_t n, cap;
};

struct gather *gather_new(void)
{
	struct gather *g = MEM_NEW(struct gather);
	g->by_name = map_new(GATHER_FAMILIES_MAX);
	return g;
}

void gather_free(struct gather **g)
{
	for (size_t i = 0; i < (*g)->n; i++) {
		buf_end(&(*g)->order[i]->head);
		buf_end(&(*g)->order[i]->samples);
		mem_free((*g)->order[i]);
	}
	mem_free((*g)->order);
	map_free(&(*g)->by_name);
	MEM_FREE(g);
}

static struct family *family_of(struct gather *g, struct span name)
{
	struct family *f = map_get(g->by_name, name);
	if (f != NULL || name.n == 0 || name.n > NAME_LEN_MAX || g->n == GATHER_FAMILIES_MAX)
		return f;
	if (g->n == g->cap) {
		g->cap = g->cap * 2 + 64;
		g->order = mem_grow(g->order, g->cap, sizeof(struct family *));
	}
	f = MEM_NEW(struct family);
	f->head = BUF_INIT(4096);
	f->samples = BUF_INIT(FAMILY_MAX);
	CHECK(map_set(g->by_name, name, f, NULL));
	g->order[g->n++] = f;
	return f;
}

/* "# HELP name words" and "# TYPE name kind": those of the first program that has the family. */
static void add_comment(struct gather *g, struct span line)
{
	struct span rest = span_from(line, 7), name = span_cut(&rest, ' ');
	struct family *f = family_of(g, name);
	struct span seen = f != NULL ? buf_span(&f->head) : SPAN_NONE;
	if (f == NULL || span_find_span(seen, span_first(line, 7)) != SIZE_MAX)
		return;
	buf_add_span(&f->head, line);
	buf_add_char(&f->head, '\n');
}

/* name{labels} value, or name value. */
static void add_sample(struct gather *g, const char *program, struct span line)
{
	size_t end = 0;
	while (end < line.n && line.p[end] != '{' && line.p[end] != ' ')
		end++;
	struct family *f = family_of(g, span_first(line, end));
	bool labels = end < line.n && line.p[end] == '{';
	if (f == NULL || end == line.n)
		return;
	buf_printf(&f->samples, "%.*s{program=", SPAN_ARG(span_first(line, end)));
	fmt_json_string(&f->samples, span_str(program));
	buf_add_str(&f->samples, labels ? "," : "}");
	buf_add_span(&f->samples, span_from(line, end + labels));
	buf_add_char(&f->samples, '\n');
}

void gather_add(struct gather *g, const char *program, struct span text)
{
	while (text.n > 0) {
		struct span line = span_trim(span_cut(&text, '\n'));
		if (span_starts(line, SPAN("# HELP ")) || span_starts(line, SPAN("# TYPE ")))
			add_comment(g, line);
		else if (line.n > 0 && line.p[0] != '#')
			add_sample(g, program, line);
	}
}

bool gather_put(struct gather *g, struct buf *out)
{
	for (size_t i = 0; i < g->n; i++) {
		if (buf_len(&g->order[i]->samples) == 0)
			continue;
		buf_add_span(out, buf_span(&g->order[i]->head));
		buf_add_span(out, buf_span(&g->order[i]->samples));
	}
	return buf_ok(out);
}

static void ask_tier(const struct tier *t, const char *word, struct ask *asks)
{
	memset(asks, 0, t->n * sizeof *asks);
	for (size_t i = 0; i < t->n; i++)
		asks[i].socket = t->v[i].socket;
	ask_all(asks, t->n, &word, 1, GATHER_MS);
}

bool gather_metrics(const struct tier *t, struct buf *out)
{
	struct ask asks[TIER_PROGRAMS_MAX];
	struct gather *g = gather_new();
	ask_tier(t, "metrics", asks);
	gather_add(g, "",
	    SPAN("# HELP postern_up Whether the program answers.\n# TYPE postern_up gauge\n"));
	for (size_t i = 0; i < t->n; i++) {
		const json_t *text = json_object_get(asks[i].reply, "metrics");
		gather_add(g, t->v[i].label,
		    json_is_string(text) ? SPAN("postern_up 1\n") : SPAN("postern_up 0\n"));
		if (json_is_string(text))
			gather_add(g, t->v[i].label,
			    span_of(json_string_value(text), json_string_length(text)));
	}
	bool ok = gather_put(g, out);
	gather_free(&g);
	ask_end(asks, t->n);
	return ok;
}

static bool is_word(const json_t *object, const char *key, const char *word)
{
	const char *s = json_string_value(json_object_get(object, key));
	return s != NULL && strcmp(s, word) == 0;
}

static bool is_ready(const char *label, const struct ask *ask, struct buf *why)
{
	const json_t *workers = json_object_get(ask->reply, "workers");
	if (!is_word(ask->reply, "phase", "running")) {
		const char *phase = json_string_value(json_object_get(ask->reply, "phase"));
		buf_printf(why, "%s is %s\n", label, phase != NULL ? phase : ask->error);
		return false;
	}
	for (size_t i = 0; i < json_array_size(workers); i++) {
		const json_t *w = json_array_get(workers, i);
		if (is_word(w, "state", "up") && json_is_true(json_object_get(w, "healthy")))
			continue;
		buf_printf(why, "%s: a worker is down or not healthy\n", label);
		return false;
	}
	return true;
}

bool gather_ready(const struct tier *t, struct buf *why)
{
	struct ask asks[TIER_PROGRAMS_MAX];
	bool ready = true;
	ask_tier(t, "status", asks);
	for (size_t i = 0; i < t->n && ready; i++)
		ready = is_ready(t->v[i].label, &asks[i], why);
	ask_end(asks, t->n);
	return ready;
}
