/* diag.c - collects the errors of a load and gives them in file order; owns the texts. */
#include <stdarg.h>
#include <string.h>

#include "base/mem.h"

#include "conf/conf.h"
#include "conf/diag.h"

enum { TEXT_MAX = 1024, FILES_MAX = CONF_INCLUDE_MAX + 1 };

struct entry {
	size_t rank; /* of the file */
	unsigned line, column;
	char *text; /* owned */
};

struct conf_diag {
	struct entry v[CONF_ERRORS_MAX];
	size_t n;
	char *files[FILES_MAX]; /* owned */
	size_t file_count;
};

struct conf_diag *conf_diag_new(void)
{
	return MEM_NEW(struct conf_diag);
}

void conf_diag_free(struct conf_diag **d)
{
	if (*d == NULL)
		return;
	for (size_t i = 0; i < (*d)->n; i++)
		mem_free((*d)->v[i].text);
	for (size_t i = 0; i < (*d)->file_count; i++)
		mem_free((*d)->files[i]);
	MEM_FREE(d);
}

static size_t file_rank(const struct conf_diag *d, const char *file)
{
	size_t i = 0;
	while (i < d->file_count && (file == NULL || strcmp(d->files[i], file) != 0))
		i++;
	return i; /* the command line and files that could not be read come last */
}

void diag_note_file(struct conf_diag *d, const char *file)
{
	if (file_rank(d, file) == d->file_count && d->file_count < FILES_MAX)
		d->files[d->file_count++] = mem_str(file);
}

static bool entry_before(const struct entry *a, const struct entry *b)
{
	if (a->rank != b->rank)
		return a->rank < b->rank;
	return a->line != b->line ? a->line < b->line : a->column < b->column;
}

static void put_entry(struct conf_diag *d, struct entry e)
{
	size_t i = d->n++;
	while (i > 0 && entry_before(&e, &d->v[i - 1])) {
		d->v[i] = d->v[i - 1];
		i--;
	}
	d->v[i] = e;
}

void conf_error(struct conf_diag *d, struct conf_pos at, const char *fmt, ...)
{
	struct buf text = BUF_INIT(TEXT_MAX);
	va_list ap;
	if (d->n == CONF_ERRORS_MAX)
		return;
	if (d->n == CONF_ERRORS_MAX - 1) {
		put_entry(d, (struct entry){ .rank = SIZE_MAX,
				 .text = mem_str("too many errors: the rest is not shown") });
		return;
	}
	if (at.file != NULL)
		buf_add_str(&text, at.file);
	if (at.file != NULL && at.line > 0)
		buf_printf(&text, ":%u:%u", at.line, at.column);
	if (at.file != NULL)
		buf_add_str(&text, ": ");
	va_start(ap, fmt);
	if (!buf_vprintf(&text, fmt, ap)) {
		buf_clear(&text);
		buf_printf(&text, "%.200s:%u:%u: error with an overlong text",
		    at.file == NULL ? "" : at.file, at.line, at.column);
	}
	va_end(ap);
	put_entry(d, (struct entry){ file_rank(d, at.file), at.line, at.column,
			 mem_span_str(buf_span(&text)) });
	buf_end(&text);
}

size_t conf_error_count(const struct conf_diag *d)
{
	return d->n;
}

const char *conf_error_text(const struct conf_diag *d, size_t i)
{
	return i < d->n ? d->v[i].text : "";
}
