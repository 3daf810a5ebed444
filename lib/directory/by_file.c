/* by_file.c - the directory as an LDIF file: read at start, and again when it changes.
 *
 * A timer looks at the file each second. A changed file is read whole and parsed some entries per loop round
 * beside the content in force; only when all of it is good does it take its place. A file that keeps its inode
 * (written in place, perhaps not finished) is read when it has not changed for a second; one moved into place
 * is read at once. Owns the content, the reading in progress and the timer. */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"

#include "directory/backend.h"
#include "directory/content.h"
#include "directory/ldif.h"
#include "directory/tables.h"
#include "directory/watched_file.h"

#define file_backend_MAGIC 0xd12ef11eu

enum { LOOK_EVERY_MS = 1000, ENTRIES_PER_ROUND = 200, WHY_SIZE = 128 };

/* A reading in progress. */
struct reading {
	struct file_id id;
	char *text; /* owned: the file's bytes */
	size_t text_n;
	struct ldif ldif;
	struct entry entry;
	struct content *content; /* owned until it is in force */
	bool searching;          /* all of it is added; it is read once more for searches */
	uint64_t began_ms;
};

enum reading_state { READING_MORE, READING_DONE, READING_BAD };

struct file_backend {
	struct backend base; /* first */
	uint32_t magic;
	struct backend_env env;
	struct timer timer;
	struct soon soon;         /* next part of the reading */
	struct content *content;  /* owned; NULL until a first reading was good */
	struct reading *reading;  /* owned; NULL when there is none */
	struct file_id tried;     /* the state that was read last, good or bad */
	struct file_id last_seen; /* at the last look */
};

/* ---- the file ---- */

static void log_broken(const struct file_backend *f, size_t line, const char *why)
{
	directory_count(FILE_FAILURES);
	directory_log(FILE_BROKEN, LOG_STR("file", f->env.conf->file), LOG_U64("line", line),
	    LOG_STR("why", why));
}

/* NULL when r holds the file's bytes, else why not. */
static const char *read_file(struct reading *r, const struct directory_conf *conf)
{
	if (conf->file == NULL || conf->file[0] == '\0')
		return "the option `file` is missing";
	return file_read(conf->file, conf->file_size_max, &r->id, &r->text, &r->text_n);
}

/* ---- a reading ---- */

static void reading_free(struct reading **r)
{
	if (*r == NULL)
		return;
	ldif_end(&(*r)->ldif);
	entry_end(&(*r)->entry);
	content_free(&(*r)->content);
	if ((*r)->text != NULL)
		mem_wipe((*r)->text, (*r)->text_n);
	mem_free((*r)->text);
	MEM_FREE(r);
}

/* Starts reading the file as it is now; false: it cannot be read, which is logged. */
static bool reading_start(struct file_backend *f)
{
	struct reading *r = MEM_NEW(struct reading);
	r->began_ms = clock_mono_ms();
	entry_init(&r->entry);
	const char *why = read_file(r, f->env.conf);
	ldif_init(&r->ldif, span_of(r->text, r->text_n));
	f->tried = r->id;
	f->reading = r;
	if (why != NULL) {
		log_broken(f, 0, why);
		reading_free(&f->reading);
		return false;
	}
	r->content = content_new(f->env.conf);
	return true;
}

/* At the end: is another turn needed, for the searches that groups name? */
static bool read_again(struct reading *r)
{
	if (r->searching)
		content_found(r->content);
	if (r->searching || !content_wants_search(r->content))
		return false;
	r->searching = true;
	ldif_end(&r->ldif);
	ldif_init(&r->ldif, span_of(r->text, r->text_n));
	return true;
}

static enum reading_state reading_step(struct file_backend *f, size_t entries)
{
	struct reading *r = f->reading;
	while (entries-- > 0) {
		enum ldif_result got = ldif_next(&r->ldif, &r->entry);
		if (got == LDIF_END) {
			if (!read_again(r))
				return READING_DONE;
			continue;
		}
		if (got == LDIF_BAD) {
			log_broken(f, r->ldif.why_line, r->ldif.why);
			return READING_BAD;
		}
		if (r->searching) {
			content_search(r->content, &r->entry);
			continue;
		}
		const char *why = content_add(r->content, &r->entry);
		if (why != NULL) {
			log_broken(f, r->entry.line, why);
			return READING_BAD;
		}
	}
	return READING_MORE;
}

/* The reading is good: what it holds is in force from now on. */
static void reading_adopt(struct file_backend *f)
{
	struct reading *r = f->reading;
	if (content_count(r->content, RECORD_USER) == 0 && f->content != NULL &&
	    content_count(f->content, RECORD_USER) > 0) {
		log_broken(f, 0, "no user in it any more");
		return;
	}
	content_free(&f->content);
	f->content = r->content;
	r->content = NULL;
	directory_count(FILE_LOADS);
	directory_log(FILE_LOADED, LOG_STR("file", f->env.conf->file),
	    LOG_U64("users", content_count(f->content, RECORD_USER)),
	    LOG_U64("domains", content_count(f->content, RECORD_DOMAIN)),
	    LOG_U64("stores", content_count(f->content, RECORD_STORE)),
	    LOG_U64("ms", clock_mono_ms() - r->began_ms));
}

static void reading_go_on(struct file_backend *f, size_t entries)
{
	enum reading_state state = reading_step(f, entries);
	if (state == READING_MORE) {
		soon_set(f->env.loop, &f->soon);
		return;
	}
	if (state == READING_DONE)
		reading_adopt(f);
	reading_free(&f->reading);
}

static void on_soon(void *arg)
{
	struct file_backend *f = OBJ(file_backend, arg);
	reading_go_on(f, ENTRIES_PER_ROUND);
}

/* ---- looking at the file ---- */

static void on_timer(void *arg)
{
	struct file_backend *f = OBJ(file_backend, arg);
	timer_set(&f->timer, LOOK_EVERY_MS);
	if (f->reading != NULL)
		return;
	struct file_id now = file_id_now(f->env.conf->file);
	bool news = file_id_is_news(&now, &f->tried, &f->last_seen);
	f->last_seen = now;
	if (!news)
		return;
	if (reading_start(f))
		reading_go_on(f, ENTRIES_PER_ROUND);
	f->tried = f->tried.there ? f->tried : now;
}

/* ---- the back end ---- */

static struct backend *file_open(const struct backend_env *env)
{
	struct file_backend *f = MEM_NEW(struct file_backend);
	f->base.ops = &backend_file;
	f->magic = file_backend_MAGIC;
	f->env = *env;
	timer_init(&f->timer, env->loop, on_timer, f);
	soon_init(&f->soon, on_soon, f);
	if (reading_start(f))
		reading_go_on(f, SIZE_MAX);
	if (env->conf->file != NULL && env->conf->file[0] != '\0')
		timer_set(&f->timer, LOOK_EVERY_MS);
	return &f->base;
}

static void file_close(struct backend **b)
{
	struct file_backend *f = OBJ(file_backend, *b);
	*b = NULL;
	timer_clear(&f->timer);
	soon_clear(&f->soon);
	reading_free(&f->reading);
	content_free(&f->content);
	f->magic = 0;
	mem_free(f);
}

static bool file_healthy(const struct backend *b)
{
	return OBJ(file_backend, (void *)b)->content != NULL;
}

static enum answer file_look(
    struct backend *b, enum record_kind kind, struct span key, struct record **record_out)
{
	struct file_backend *f = OBJ(file_backend, b);
	return f->content == NULL ? ANSWER_AWAY : content_look(f->content, kind, key, record_out);
}

const struct backend_ops backend_file = {
	.open = file_open,
	.close = file_close,
	.healthy = file_healthy,
	.look = file_look,
};
