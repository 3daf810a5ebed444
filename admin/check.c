/* check.c - postern check: every daemon checks its part of each file, and all errors come together,
 * each once. Before: tier.c. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/fmt.h"
#include "base/map.h"
#include "base/mem.h"

#include "admin/admin.h"
#include "admin/check.h"
#include "admin/tool.h"

enum { LINES_MAX = 4096 };

/* Lines said so far, in order: several daemons report the same mistake of a common section. */
struct report {
	struct map *seen;
	json_t *errors; /* array of strings */
};

static void put_line(struct report *r, struct span line)
{
	struct buf clean = BUF_INIT(8192);
	if (line.n == 0 || map_get(r->seen, line) != NULL || !map_set(r->seen, line, r, NULL))
		return;
	fmt_line_text(&clean, line, 4096);
	json_array_append_new(r->errors, json_string(buf_cstr(&clean)));
	buf_end(&clean);
}

/* "3 errors": the count of one daemon, wrong for the whole. */
static bool is_summary(struct span line)
{
	uint64_t n;
	struct span rest = line, count = span_cut(&rest, ' ');
	return span_u64(count, UINT32_MAX, &n) && span_starts(rest, SPAN("error"));
}

static void put_own(struct report *r, const json_t *errors)
{
	for (size_t i = 0; i < json_array_size(errors); i++)
		put_line(r, span_str(json_string_value(json_array_get(errors, i))));
}

static void put_lines(struct report *r, const struct buf *err)
{
	struct span rest = buf_span(err);
	while (rest.n > 0) {
		struct span line = span_trim(span_cut(&rest, '\n'));
		if (!is_summary(line))
			put_line(r, line);
	}
}

size_t check_argv(
    const struct admin_args *a, const struct program *p, const char *binary, const char **argv)
{
	size_t n = 0;
	argv[n++] = binary;
	argv[n++] = "-c";
	argv[n++] = p->config;
	for (size_t i = 0; i < a->override_count; i++) {
		argv[n++] = "-o";
		argv[n++] = a->overrides[i];
	}
	argv[n] = NULL;
	return n;
}

static void check_program(const struct admin_args *a, const struct program *p, struct report *r)
{
	const char *argv[TOOL_ARGS_MAX];
	struct buf binary = BUF_INIT(8192), line = BUF_INIT(8192);
	struct tool_output o;
	if (!tier_binary(p->name, &binary)) {
		buf_printf(&line, "%s: postern-%s is not installed", p->config, p->name);
		put_line(r, buf_span(&line));
	} else {
		size_t n = check_argv(a, p, buf_cstr(&binary), argv);
		argv[n++] = "-t";
		argv[n] = NULL;
		tool_run(argv, &o);
		if (o.status != 0 && buf_len(&o.err) == 0)
			buf_printf(&o.err, "%s: postern-%s -t ended with status %d\n", p->config,
			    p->name, o.status);
		if (o.status != 0)
			put_lines(r, &o.err);
		tool_output_end(&o);
	}
	buf_end(&binary);
	buf_end(&line);
}

json_t *check_tier(const struct admin_args *a, const struct tier *t)
{
	struct report r = { map_new(LINES_MAX), json_array() };
	put_own(&r, t->errors);
	for (size_t i = 0; i < t->n; i++)
		check_program(a, &t->v[i], &r);
	map_free(&r.seen);
	return r.errors;
}

static void print_result(const struct admin_args *a, const struct tier *t, const json_t *errors)
{
	size_t n = json_array_size(errors);
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "%s\n", json_string_value(json_array_get(errors, i)));
	if (n > 0)
		fprintf(stderr, "%zu error%s\n", n, n == 1 ? "" : "s");
	for (size_t i = 0; n == 0 && i < t->n; i++)
		printf("%s: good for postern-%s\n", t->v[i].config, t->v[i].name);
}

int admin_check(const struct admin_args *a)
{
	struct tier t;
	int status = tier_load(a, &t);
	json_t *errors = check_tier(a, &t);
	if (status == ADMIN_OK && t.n == 0)
		json_array_append_new(
		    errors, json_string("no section mmp, edge, store or meter in any file"));
	if (json_array_size(errors) > 0)
		status = ADMIN_CONFIG;
	if (a->json) {
		json_t *all = json_pack("{s:b,s:O}", "ok", status == ADMIN_OK, "errors", errors);
		json_dumpf(all, stdout, JSON_INDENT(1));
		putchar('\n');
		json_decref(all);
	} else {
		print_result(a, &t, errors);
	}
	json_decref(errors);
	tier_end(&t);
	return status;
}
