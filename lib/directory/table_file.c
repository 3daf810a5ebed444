/* table_file.c - a table as a text, kept in memory and looked at each second. Owns the text in force and the timer. */
#include "base/check.h"
#include "base/mem.h"

#include "directory/table_kind.h"
#include "directory/table_text.h"
#include "directory/tables.h"
#include "directory/watched_file.h"

#define table_file_MAGIC 0x7ab1ef11u

struct table_file {
	uint32_t magic;
	const struct table_conf *conf;
	char *text;      /* owned; what map points into */
	struct map *map; /* owned; NULL until the file was good once */
	struct file_watch watch;
};

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
