/* simulate.c - postern meter simulate --rules FILE LOG...: loads the rules, replays the records, prints who would
 * be treated otherwise. The replay: metermaid/simulate. Owns nothing beyond a call. */
#include <stdio.h>
#include <stdlib.h>

#include "daemon/daemon_conf.h"
#include "metermaid/simulate.h"

#include "admin/admin.h"
#include "admin/table.h"

enum { REPORT_MAX = 16 * 1024 * 1024, WHY_MAX = 8192 };

static struct conf *load_rules(const char *path)
{
	static const struct conf_block *const sections[] = { &metermaid_block, NULL };
	static const char *const foreign[] = { "*", NULL };
	static const struct conf_schema schema = { &root_block, sections, foreign,
		metermaid_check };
	struct conf_diag *d = conf_diag_new();
	struct conf_source *src = conf_source_disk(path);
	struct conf *c = conf_load(&schema, src, NULL, d);
	for (size_t i = 0; i < conf_error_count(d); i++)
		fprintf(stderr, "%s\n", conf_error_text(d, i));
	conf_source_free(&src);
	conf_diag_free(&d);
	return c;
}

static json_int_t number(const json_t *report, const char *name)
{
	return json_integer_value(json_object_get(report, name));
}

static void put_group(const json_t *report, const char *name, const char *title, struct buf *out)
{
	const struct column columns[] = {
		{ "name", title, COLUMN_TEXT },
		{ "stopped", "stopped", COLUMN_NUMBER },
		{ "let_in", "let in", COLUMN_NUMBER },
		{ "otherwise", "otherwise", COLUMN_NUMBER },
		{ NULL, NULL, COLUMN_TEXT },
	};
	const json_t *rows = json_object_get(report, name);
	if (json_array_size(rows) == 0)
		return;
	buf_add_char(out, '\n');
	table_put(rows, columns, out);
}

static void put_report(const json_t *report, struct buf *out)
{
	static const struct column rule_columns[] = {
		{ "rule", "rule", COLUMN_TEXT },
		{ "was", "limited then", COLUMN_NUMBER },
		{ "now", "limited now", COLUMN_NUMBER },
		{ NULL, NULL, COLUMN_TEXT },
	};
	buf_printf(out,
	    "%" JSON_INTEGER_FORMAT " decisions, %" JSON_INTEGER_FORMAT
	    " would change: %" JSON_INTEGER_FORMAT " stopped, %" JSON_INTEGER_FORMAT
	    " let in, %" JSON_INTEGER_FORMAT " answered otherwise\n",
	    number(report, "decisions"), number(report, "changed"), number(report, "stopped"),
	    number(report, "let_in"), number(report, "otherwise"));
	if (number(report, "corrected") > 0)
		buf_printf(out,
		    "%" JSON_INTEGER_FORMAT
		    " times a record showed a state that those before it do "
		    "not explain\n",
		    number(report, "corrected"));
	if (number(report, "unreadable") > 0)
		buf_printf(out, "%" JSON_INTEGER_FORMAT " lines could not be read\n",
		    number(report, "unreadable"));
	buf_add_char(out, '\n');
	table_put(json_object_get(report, "rules"), rule_columns, out);
	put_group(report, "users", "user", out);
	put_group(report, "domains", "domain", out);
	put_group(report, "prefixes", "network", out);
}

static void print_report(const struct simulation *s, bool json)
{
	struct buf text = BUF_INIT(REPORT_MAX), out = BUF_INIT(TABLE_OUTPUT_MAX);
	simulation_put_json(s, &text);
	json_t *report = json_loadb(buf_span(&text).p, buf_len(&text), 0, NULL);
	if (json) {
		json_dumpf(report, stdout, JSON_INDENT(1));
		putchar('\n');
	} else {
		put_report(report, &out);
		fwrite(buf_span(&out).p, 1, buf_len(&out), stdout);
	}
	json_decref(report);
	buf_end(&text);
	buf_end(&out);
}

int admin_simulate(const struct admin_args *a)
{
	if (a->rules == NULL) {
		fprintf(stderr, "postern: --rules FILE is missing\n");
		return ADMIN_USAGE;
	}
	struct conf *c = load_rules(a->rules);
	if (c == NULL)
		return ADMIN_CONFIG;
	struct simulation *s = simulation_new(c);
	struct sim_log *log = sim_log_new();
	struct buf why = BUF_INIT(WHY_MAX);
	bool ok = true;
	for (size_t i = 2; ok && i < a->word_count; i++)
		ok = sim_log_add(log, a->words[i], &why);
	if (ok) {
		simulation_run(s, log);
		print_report(s, a->json);
	} else {
		fprintf(stderr, "postern: %s\n", buf_cstr(&why));
	}
	buf_end(&why);
	sim_log_free(&log);
	simulation_free(&s);
	conf_unref(&c);
	return ok ? ADMIN_OK : ADMIN_USAGE;
}
