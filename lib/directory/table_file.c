/* table_file.c - a table as a text, kept in memory and looked at each second. Owns the text in force and the timer. */
#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

#include "directory/table_kind.h"
#include "directory/tables.h"
#include "directory/watched_file.h"

#define table_file_MAGIC 0x7ab1ef11u

enum { ROWS_MAX = 10 * 1000 * 1000 };

struct table_file {
	uint32_t magic;
	const struct table_conf *conf;
	char *text;      /* owned; what map points into */
	struct map *map; /* owned; NULL until the file was good once */
	struct file_watch watch;
};

/* ---- the text: pure --------------------------------------------------------------------------- */

/* A line that begins with a space goes on with the one before it. */
static void join_lines(char *text, size_t n)
{
	for (size_t i = 0; i + 1 < n; i++)
		if (text[i] == '\n' && (text[i + 1] == ' ' || text[i + 1] == '\t'))
			text[i] = ' ';
}

static const char *take_row(struct map *map, struct span line)
{
	char *at = (char *)(uintptr_t)line.p; /* of the caller's text, which is ours to change */
	size_t key_n = 0;
	while (key_n < line.n && line.p[key_n] != ' ' && line.p[key_n] != '\t')
		key_n++;
	struct span value = span_trim(span_from(line, key_n));
	if (key_n >= TABLE_KEY_MAX || value.n > TABLE_VALUE_MAX)
		return "the line is too long";
	span_lower_to(at, span_first(line, key_n));
	if (map_get(map, span_first(line, key_n)) != NULL)
		return "the key stands here for the second time";
	char *end = value.n > 0 ? at + (value.p - line.p) + value.n : at + line.n;
	*end = '\0';
	return map_set(map, span_first(line, key_n), value.n > 0 ? end - value.n : end, NULL)
		   ? NULL
		   : "too many lines";
}

struct map *table_text_parse(char *text, size_t text_n, size_t *line_out, const char **why_out)
{
	struct span rest = span_of(text, text_n);
	struct map *map = map_new(ROWS_MAX);
	*why_out = span_find(rest, '\0') != SIZE_MAX ? "this is no text" : NULL;
	*line_out = 0;
	join_lines(text, text_n);
	while (rest.n > 0 && *why_out == NULL) {
		struct span line = span_trim(span_cut(&rest, '\n'));
		++*line_out; /* of the lines as they are after joining */
		if (line.n > 0 && line.p[0] != '#')
			*why_out = take_row(map, line);
	}
	if (*why_out != NULL)
		map_free(&map);
	return map;
}

/* ---- the file --------------------------------------------------------------------------------- */

static void load(void *arg)
{
	struct table_file *f = OBJ(table_file, arg);
	char *text;
	size_t n, line = 0;
	struct map *fresh = NULL;
	const char *why = file_read(f->conf->path, f->conf->size_max, &f->watch.tried, &text, &n);
	if (why == NULL) {
		text = mem_resize(text, n + 1); /* for the NUL of the last value */
		text[n] = '\0';
		fresh = table_text_parse(text, n, &line, &why);
	}
	if (fresh == NULL) {
		mem_free(text);
		directory_log(TABLE_BROKEN, LOG_STR("table", f->conf->head.title),
		    LOG_STR("file", f->conf->path), LOG_U64("line", line), LOG_STR("why", why));
		return;
	}
	map_free(&f->map);
	mem_free(f->text);
	f->map = fresh;
	f->text = text;
	directory_log(TABLE_LOADED, LOG_STR("table", f->conf->head.title),
	    LOG_STR("file", f->conf->path), LOG_U64("keys", map_count(fresh)));
}

static void *file_open(const struct table_env *env)
{
	struct table_file *f = MEM_NEW(struct table_file);
	f->magic = table_file_MAGIC;
	f->conf = env->conf;
	file_watch_begin(&f->watch, env->loop, f->conf->path, load, f);
	return f;
}

static void file_close(void *table)
{
	struct table_file *f = OBJ(table_file, table);
	file_watch_end(&f->watch);
	map_free(&f->map);
	mem_free(f->text);
	f->magic = 0;
	mem_free(f);
}

static bool file_look(void *table, struct span key, struct buf *out, struct table_found *found)
{
	const struct table_file *f = OBJ(table_file, table);
	const char *value = f->map != NULL ? map_get(f->map, key) : NULL;
	found->answer = f->map == NULL ? TABLE_UNKNOWN : value != NULL ? TABLE_FOUND : TABLE_ABSENT;
	found->why = f->map == NULL ? "the file could not be read yet" : NULL;
	if (value != NULL)
		buf_add_str(out, value);
	return true;
}

const struct table_kind table_file_kind = {
	.open = file_open,
	.close = file_close,
	.look = file_look,
};
