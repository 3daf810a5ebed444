/* alias_file.c - an alias file kept in memory, looked at each second. Owns the table in force and the timer. */
#include "directory/alias_file.h"

#include "base/check.h"
#include "base/mem.h"

#include "directory/tables.h"
#include "directory/watched_file.h"

#define alias_file_MAGIC 0xd12ea11au

struct alias_file {
	uint32_t magic;
	const struct directory_conf *conf;
	struct alias_table *table; /* owned; NULL until the file was good once */
	struct file_watch watch;
};

static void broken(const struct alias_file *f, size_t line, const char *why)
{
	directory_count(FILE_FAILURES);
	directory_log(FILE_BROKEN, LOG_STR("file", f->conf->alias_file), LOG_U64("line", line),
	    LOG_STR("why", why));
}

static void load(void *arg)
{
	struct alias_file *f = OBJ(alias_file, arg);
	char *text;
	size_t n, line = 0;
	struct alias_table *fresh = NULL;
	const char *why =
	    file_read(f->conf->alias_file, f->conf->file_size_max, &f->watch.tried, &text, &n);
	if (why == NULL)
		fresh = alias_table_parse(span_of(text, n), f->conf->default_domain, &line, &why);
	mem_free(text);
	if (fresh == NULL) {
		broken(f, line, why);
		return;
	}
	alias_table_free(&f->table);
	f->table = fresh;
	directory_count(FILE_LOADS);
	directory_log(ALIASES_LOADED, LOG_STR("file", f->conf->alias_file),
	    LOG_U64("aliases", alias_table_count(fresh)));
}

struct alias_file *alias_file_new(struct loop *l, const struct directory_conf *conf)
{
	if (conf->alias_file == NULL || conf->alias_file[0] == '\0')
		return NULL;
	struct alias_file *f = MEM_NEW(struct alias_file);
	f->magic = alias_file_MAGIC;
	f->conf = conf;
	file_watch_begin(&f->watch, l, f->conf->alias_file, load, f);
	return f;
}

void alias_file_free(struct alias_file **f)
{
	if (*f == NULL)
		return;
	file_watch_end(&(*f)->watch);
	alias_table_free(&(*f)->table);
	(*f)->magic = 0;
	MEM_FREE(f);
}

enum alias_answer alias_file_get(const struct alias_file *f, struct span key, struct text_list *out)
{
	*out = (struct text_list){ 0 };
	if (f == NULL)
		return ALIAS_ABSENT;
	if (f->table == NULL)
		return ALIAS_UNKNOWN;
	*out = alias_table_get(f->table, key);
	return out->n > 0 ? ALIAS_FOUND : ALIAS_ABSENT;
}
