/* move.c - the acts of a move: the tools of both stores, the directory, the multiplexors of this host. Before:
 * user.c. Owns the configuration as the tool reads it. */
#include "admin/move.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/rand.h"
#include "directory/directory.h"
#include "directory/rehost.h"

#include "admin/ask.h"
#include "admin/tier.h"
#include "admin/tool.h"

enum { COMMAND_MAX = 8192, STAY_MS = 600000, MS = 1000, STORE_USAGE = 64 };

static const char shell[] = "/bin/sh";

/* ---- configuration ---------------------------------------------------------------------------------------- */

static const struct conf_block *const sections[] = { &move_block, &directory_block, NULL };
static const char *const foreign[] = { "*", NULL };
static const struct conf_schema schema = { &root_block, sections, foreign, directory_check };

static const struct move_store_conf *find_store(const struct move *m, const char *name)
{
	for (size_t i = 0; i < m->opts->store_n; i++)
		if (strcmp(m->opts->store[i]->head.title, name) == 0)
			return m->opts->store[i];
	fprintf(stderr, "postern: section move has no store \"%.100s\"\n", name);
	return NULL;
}

static bool read_file(struct move *m, const char *path)
{
	struct conf_diag *d = conf_diag_new();
	struct conf_source *src = conf_source_disk(path);
	struct conf *c = conf_load(&schema, src, NULL, d);
	for (size_t i = 0; i < conf_error_count(d); i++)
		fprintf(stderr, "%s\n", conf_error_text(d, i));
	bool ok = c != NULL;
	if (ok && conf_has_section(c, &move_block) && m->conf == NULL)
		m->conf = c;
	else
		conf_unref(&c);
	conf_source_free(&src);
	conf_diag_free(&d);
	return ok;
}

int move_load(const struct admin_args *a, struct move *m)
{
	bool ok = true;
	*m = (struct move){ .args = a, .user = a->words[2] };
	(void)snprintf(m->number, sizeof m->number, "%016" PRIx64, rand_u64() >> 1 | 1);
	for (size_t i = 0; i < a->config_count; i++)
		ok = read_file(m, a->configs[i]) && ok;
	if (ok && m->conf == NULL)
		fprintf(stderr, "postern: no section move in the configuration\n");
	if (!ok || m->conf == NULL)
		return ADMIN_CONFIG;
	m->opts = conf_section(m->conf, &move_block);
	m->directory = conf_section(m->conf, &directory_block);
	m->from = find_store(m, a->words[3]);
	m->to = find_store(m, a->words[4]);
	return m->from == NULL || m->to == NULL || m->from == m->to ? ADMIN_USAGE : ADMIN_OK;
}

void move_end(struct move *m)
{
	conf_unref(&m->conf);
}

/* ---- stores ------------------------------------------------------------------------------------------------- */

/* A name may hold what shells act upon, and ssh makes them two: so it travels in hex digits. */
static bool put_command(const struct move *m, const struct move_store_conf *at, const char *word,
    const char *more, struct buf *out)
{
	buf_printf(out, "exec %s %s hex:", at->command, word);
	fmt_hex(out, span_str(m->user));
	return more == NULL || buf_printf(out, " %s %s", more, m->number);
}

static enum stay parse_stay(struct span said)
{
	static const struct {
		const char *word;
		enum stay stay;
	} rows[] = { { "absent", STAY_ABSENT }, { "here", STAY_HERE }, { "leaving", STAY_LEAVING },
		{ "arriving", STAY_ARRIVING }, { "gone", STAY_GONE } };
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (span_eq_str(span_trim(said), rows[i].word))
			return rows[i].stay;
	return STAY_UNKNOWN;
}

enum stay move_stay(struct move *m, const struct move_store_conf *at, enum stay set)
{
	static const char *const words[] = {
		[STAY_UNKNOWN] = NULL,
		[STAY_HERE] = "here",
		[STAY_LEAVING] = "leaving",
		[STAY_ARRIVING] = "arriving",
		[STAY_GONE] = "gone",
	};
	struct buf command = BUF_INIT(COMMAND_MAX);
	struct tool_output o;
	put_command(m, at, "stay", words[set], &command);
	const char *argv[] = { shell, "-c", buf_cstr(&command), NULL };
	tool_run_for(argv, STAY_MS, &o);
	enum stay got = o.status == 0 ? parse_stay(buf_span(&o.out)) : STAY_UNKNOWN;
	if (got == STAY_UNKNOWN)
		fprintf(stderr, "postern: store %s: %s%.*s\n", at->head.title,
		    o.status == STORE_USAGE ? "of an older version? Then upgrade it first; " : "",
		    SPAN_ARG(span_trim(buf_span(&o.err))));
	tool_output_end(&o);
	buf_end(&command);
	return got;
}

bool move_pull(struct move *m, bool last)
{
	struct buf serve = BUF_INIT(COMMAND_MAX), pull = BUF_INIT(COMMAND_MAX);
	struct tool_output o;
	put_command(m, m->from, "serve", NULL, &serve);
	put_command(m, m->to, "pull", last ? "final" : "live", &pull);
	const char *first[] = { shell, "-c", buf_cstr(&serve), NULL };
	const char *second[] = { shell, "-c", buf_cstr(&pull), NULL };
	tool_run_pair(first, second, last ? m->opts->hold : m->opts->copy_deadline, &o);
	fprintf(stderr, "postern: %s: %.*s\n", m->to->head.title,
	    SPAN_ARG(span_trim(buf_span(&o.err))));
	bool ok = o.status == 0;
	tool_output_end(&o);
	buf_end(&serve);
	buf_end(&pull);
	return ok;
}

/* ---- the directory -------------------------------------------------------------------------------------------- */

static const char *source_of(const struct move *m, enum move_directory how)
{
	return (how == MOVE_BACK ? m->to : m->from)->head.title;
}

static const char *target_of(const struct move *m, enum move_directory how)
{
	return (how == MOVE_BACK ? m->from : m->to)->head.title;
}

static bool rehost(struct move *m, enum move_directory how)
{
	bool only_look = how == MOVE_LOOK;
	struct rehost r = { m->user, source_of(m, how), target_of(m, how), only_look };
	struct buf why = BUF_INIT(COMMAND_MAX);
	enum rehost_result result = directory_rehost(m->directory, &r, &why);
	m->switched = m->switched || result == REHOST_ALREADY;
	/* Before the copy it must name the old store, unless a move has come further than that before. */
	if (only_look && result == REHOST_ALREADY && m->to_stay != STAY_ARRIVING) {
		buf_add_str(&why, "the user's entry names the new store already");
		result = REHOST_FAILED;
	}
	bool ok = result != REHOST_FAILED;
	if (!ok)
		fprintf(stderr, "postern: directory: %.*s\n", SPAN_ARG(buf_span(&why)));
	buf_end(&why);
	return ok;
}

/* Its words are parameters of the shell, which does not look into them. */
static bool run_command(const struct move *m, enum move_directory how)
{
	struct buf command = BUF_INIT(COMMAND_MAX);
	struct tool_output o;
	buf_printf(&command, "%s \"$@\"", m->opts->switch_command);
	const char *argv[] = { shell, "-c", buf_cstr(&command), shell, m->user, source_of(m, how),
		target_of(m, how), NULL };
	tool_run(argv, &o);
	bool ok = o.status == 0;
	if (!ok)
		fprintf(stderr, "postern: switch_command: %.*s (status %d)\n",
		    SPAN_ARG(span_trim(buf_span(&o.err))), o.status);
	tool_output_end(&o);
	buf_end(&command);
	return ok;
}

bool move_directory(struct move *m, enum move_directory how)
{
	if (m->opts->switch_by == MOVE_SWITCH_DIRECTORY)
		return rehost(m, how);
	if (m->opts->switch_command == NULL || m->opts->switch_command[0] == '\0') {
		fprintf(stderr, "postern: section move has no switch_command\n");
		return false;
	}
	return how == MOVE_LOOK || run_command(m, how);
}

/* ---- multiplexors ----------------------------------------------------------------------------------------------- */

void move_order(struct move *m, const char *order)
{
	struct tier t;
	struct ask asks[TIER_PROGRAMS_MAX];
	size_t n = 0;
	char seconds[24];
	memset(asks, 0, sizeof asks);
	if (tier_load(m->args, &t) == ADMIN_OK)
		for (size_t i = 0; i < t.n; i++)
			if (strcmp(t.v[i].name, "mmp") == 0)
				asks[n++].socket = t.v[i].socket;
	(void)snprintf(seconds, sizeof seconds, "%llu", (unsigned long long)(m->opts->hold / MS));
	const char *words[] = { order, "user", m->user, seconds };
	ask_all(asks, n, words, strcmp(order, "hold") == 0 ? 4 : 3, ASK_MS);
	for (size_t i = 0; i < n; i++)
		if (asks[i].reply == NULL)
			fprintf(stderr, "postern: %s: the multiplexor at %s: %s\n", order,
			    asks[i].socket, asks[i].error);
	ask_end(asks, n);
	tier_end(&t);
}
