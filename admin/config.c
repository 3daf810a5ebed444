/* config.c - postern config dump, sample, reference: asks each program for its sections (-p) and prints
 * every section once. Before: tier.c. */
#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

#include "admin/check.h"
#include "admin/tool.h"

enum { SECTIONS_MAX = 64 };

struct printing {
	const struct admin_args *args;
	const char *what; /* of -p */
	struct map *done; /* names of sections */
	struct buf out;
	int status;
};

/* Runs a program with -p WHAT[=SECTION]; its output, or NULL after its errors were printed. */
static bool ask_program(
    struct printing *p, const struct program *program, const char *what, struct tool_output *o)
{
	const char *argv[TOOL_ARGS_MAX];
	struct buf binary = BUF_INIT(8192);
	size_t n = 0;
	bool found = tier_binary(program->name, &binary);
	if (found && program->config != NULL)
		n = check_argv(p->args, program, buf_cstr(&binary), argv);
	else if (found)
		argv[n++] = buf_cstr(&binary);
	argv[n++] = "-p";
	argv[n++] = what;
	argv[n] = NULL;
	if (found)
		tool_run(argv, o);
	else
		*o = (struct tool_output){ BUF_INIT(1), BUF_INIT(1), -1 };
	if (!found)
		fprintf(stderr, "postern: postern-%s is not installed\n", program->name);
	else if (o->status != 0)
		fwrite(buf_span(&o->err).p, 1, buf_len(&o->err), stderr);
	buf_end(&binary);
	if (o->status != 0)
		p->status = ADMIN_CONFIG;
	return o->status == 0;
}

static void print_section(struct printing *p, const struct program *program, struct span name)
{
	struct buf what = BUF_INIT(256);
	struct tool_output o;
	struct span key = name.n > 0 ? name : SPAN("/"); /* the top level has no name */
	if (map_get(p->done, key) != NULL || !map_set(p->done, key, p, NULL))
		return;
	buf_printf(&what, "%s=%.*s", p->what, SPAN_ARG(name));
	if (ask_program(p, program, buf_cstr(&what), &o)) {
		if (buf_len(&p->out) > 0 && buf_len(&o.out) > 0 && buf_span(&o.out).p[0] != '\n')
			buf_add_char(&p->out, '\n');
		buf_add_span(&p->out, buf_span(&o.out));
	}
	tool_output_end(&o);
	buf_end(&what);
}

static void print_program(struct printing *p, const struct program *program)
{
	struct tool_output o;
	if (ask_program(p, program, "sections", &o)) {
		struct span rest = buf_span(&o.out);
		while (rest.n > 0 && p->status == ADMIN_OK)
			print_section(p, program, span_cut(&rest, '\n'));
	}
	tool_output_end(&o);
}

static int print_all(const struct admin_args *a, const struct tier *t, const char *what)
{
	struct printing p = { a, what, map_new(SECTIONS_MAX), BUF_INIT(TOOL_OUTPUT_MAX), ADMIN_OK };
	for (size_t i = 0; i < t->n && p.status == ADMIN_OK; i++) {
		if (i > 0 && t->v[i].config != NULL &&
		    strcmp(t->v[i].config, t->v[i - 1].config) != 0) {
			map_free(&p.done);
			p.done = map_new(SECTIONS_MAX);
			buf_printf(&p.out, "\n# ---- %s ----\n", t->v[i].config);
		}
		print_program(&p, &t->v[i]);
	}
	if (a->json) {
		json_t *all = json_pack("{s:s%}", what, buf_span(&p.out).p, buf_len(&p.out));
		json_dumpf(all, stdout, JSON_INDENT(1));
		putchar('\n');
		json_decref(all);
	} else {
		fwrite(buf_span(&p.out).p, 1, buf_len(&p.out), stdout);
	}
	map_free(&p.done);
	buf_end(&p.out);
	return p.status;
}

int admin_config_dump(const struct admin_args *a)
{
	struct tier t;
	int status = tier_load_or_say(a, &t);
	if (status == ADMIN_OK)
		status = print_all(a, &t, "dump");
	tier_end(&t);
	return status;
}

/* Of the programs that are installed, whatever the configuration says. */
static int print_installed(const struct admin_args *a, const char *what)
{
	struct tier t = { .n = 0 };
	struct buf binary = BUF_INIT(8192);
	for (const char *const *name = tier_program_names; *name != NULL; name++)
		if (tier_binary(*name, &binary))
			t.v[t.n++] = (struct program){ .name = *name };
	buf_end(&binary);
	return print_all(a, &t, what);
}

int admin_config_sample(const struct admin_args *a)
{
	return print_installed(a, "sample");
}

int admin_config_reference(const struct admin_args *a)
{
	return print_installed(a, "reference");
}
