/* files.c - certificates, keys and the other files that options name, watched by the master.
 *
 * Beside reload.c: a change goes to the workers as a reload does, but only the files are read, not the
 * configuration, which somebody may be editing. A file is judged when it has rested from one look to the
 * next, so that it is not read half written. Certificate and key are judged together: while one of the
 * two is still the old one the pair is refused, and when the other follows both are taken.
 * Owns the list of files with what was seen of them. */
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/mem.h"
#include "daemon/master.h"
#include "daemon/tables.h"
#include "net/tls_ctx.h"

enum { FILES_MAX = 1024, AGAIN_MS = 600000, NAMES_MAX = 4096, PACKED_MAX = 32 * 1024 * 1024 };

#define files_MAGIC 0xf11e5001u

/* Another one is another content, or may be. All zero: it cannot be looked at. */
struct stamp {
	uint64_t device, inode, size, changed_s, changed_ns, written_s, written_ns;
};

struct file {
	char *path;                /* owned */
	struct stamp seen, judged; /* at the last look; when it was taken or refused */
	bool refused;              /* what is on the disk is not what is in force */
	bool fresh;                /* during a judgement: bytes is what may be taken */
	struct buf bytes;          /* of a judgement */
};

struct files {
	uint32_t magic;
	struct master *master;
	struct timer timer;
	uint64_t again_ms; /* refused ones are tried again */
	struct file v[FILES_MAX];
	size_t n;
};

static struct stamp stamp_of(const char *path)
{
	struct stat st;
	struct stamp s = { 0 };
	if (stat(path, &st) != 0)
		return s;
	s.device = st.st_dev;
	s.inode = st.st_ino;
	s.size = (uint64_t)st.st_size;
	s.changed_s = (uint64_t)st.st_ctim.tv_sec;
	s.changed_ns = (uint64_t)st.st_ctim.tv_nsec;
	s.written_s = (uint64_t)st.st_mtim.tv_sec;
	s.written_ns = (uint64_t)st.st_mtim.tv_nsec;
	return s;
}

static bool same(const struct stamp *a, const struct stamp *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

static struct file *find(struct files *f, const char *path)
{
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->v[i].path, path) == 0)
			return &f->v[i];
	return NULL;
}

/* ---- judging --------------------------------------------------------------------------------------- */

static void refuse(struct file *file)
{
	file->fresh = false;
	file->refused = true;
}

static void refuse_file(struct file *file, const char *why)
{
	refuse(file);
	metric_add(&daemon_metrics[DAEMON_M_FILES_REFUSED], 1);
	log_write(&daemon_events[DAEMON_EV_FILE_REFUSED], NULL,
	    LOG_FIELDS(LOG_STR("file", file->path), LOG_STR("error", why)));
}

/* Reads those that may differ from what is in force. */
static void read_fresh(struct files *f, const struct conf_source *src)
{
	for (size_t i = 0; i < f->n; i++) {
		struct file *file = &f->v[i];
		struct span old;
		const char *why = NULL;
		if (same(&file->seen, &file->judged) && !file->refused)
			continue;
		file->judged = file->seen;
		file->refused = false;
		file->bytes = BUF_INIT(CONF_FILE_MAX);
		file->fresh = conf_file_read(file->path, &file->bytes, &why) &&
			      conf_source_bytes(src, file->path, &old) &&
			      !span_eq(buf_span(&file->bytes), old);
		if (why != NULL)
			refuse_file(file, why);
	}
}

/* A file of a pair: what it will be, or what it is. */
static struct span bytes_of(const struct file *file, const struct conf_file *now)
{
	return file != NULL && file->fresh ? buf_span(&file->bytes) : now->bytes;
}

static void judge_pair(struct files *f, const struct tls_cert_conf *c)
{
	struct file *chain = find(f, c->chain.path), *key = find(f, c->key.path);
	struct buf why = BUF_INIT(1024);
	bool news = (chain != NULL && chain->fresh) || (key != NULL && key->fresh);
	struct tls_pair pair = { bytes_of(chain, &c->chain), bytes_of(key, &c->key) };
	if (news && !tls_pair_check(&pair, &why)) {
		if (chain != NULL && chain->fresh)
			refuse(chain);
		if (key != NULL && key->fresh)
			refuse(key);
		metric_add(&daemon_metrics[DAEMON_M_FILES_REFUSED], 1);
		log_write(&daemon_events[DAEMON_EV_PAIR_REFUSED], NULL,
		    LOG_FIELDS(LOG_STR("cert", c->head.title), LOG_STR("chain", c->chain.path),
			LOG_STR("key", c->key.path), LOG_SPAN("error", buf_span(&why))));
	}
	buf_end(&why);
}

static size_t put_fresh(struct files *f, struct conf_source *src, struct buf *names)
{
	size_t n = 0;
	for (size_t i = 0; i < f->n; i++) {
		struct file *file = &f->v[i];
		if (!file->fresh)
			continue;
		CHECK(conf_source_replace(src, file->path, buf_span(&file->bytes)));
		buf_printf(names, "%s%s", n > 0 ? " " : "", file->path);
		n++;
	}
	return n;
}

static void take(struct files *f, struct conf_source *src, struct conf *fresh, struct span names)
{
	struct master *m = f->master;
	struct buf packed = BUF_INIT(PACKED_MAX);
	if (!conf_source_pack(
		src, &packed)) { /* no bigger than at a load, or it would not be here */
		buf_wipe_end(&packed);
		conf_unref(&fresh);
		return;
	}
	buf_wipe_end(&m->packed);
	m->packed = packed;
	log_write(&daemon_events[DAEMON_EV_FILES_TAKEN], NULL,
	    LOG_FIELDS(LOG_SPAN("files", names), LOG_U64("revision", conf_revision(fresh))));
	master_adopt(m, fresh);
}

static void refuse_all(struct files *f, const struct conf_diag *d)
{
	const char *why = conf_error_count(d) > 0 ? conf_error_text(d, 0) : "unreadable";
	for (size_t i = 0; i < f->n; i++)
		if (f->v[i].fresh)
			refuse_file(&f->v[i], why);
}

static void load_fresh(struct files *f, struct conf_source *src)
{
	struct master *m = f->master;
	struct buf names = BUF_INIT(NAMES_MAX);
	size_t n = put_fresh(f, src, &names);
	struct conf_diag *d = conf_diag_new();
	struct conf *fresh = n > 0 ? conf_load(&m->schema.schema, src, &m->overrides, d) : NULL;
	if (fresh != NULL) {
		metric_add(&daemon_metrics[DAEMON_M_FILES_TAKEN], n);
		take(f, src, fresh, buf_span(&names));
	} else if (n > 0) {
		refuse_all(f, d);
	}
	conf_diag_free(&d);
	buf_end(&names);
}

static void judge(struct files *f)
{
	const struct tls_conf *t = conf_section(f->master->conf, &tls_block);
	struct conf_source *src = conf_source_unpack(buf_span(&f->master->packed));
	CHECK(src != NULL);
	read_fresh(f, src);
	for (size_t i = 0; i < t->cert_n; i++)
		judge_pair(f, t->cert[i]);
	load_fresh(f, src);
	for (size_t i = 0; i < f->n; i++) {
		f->v[i].fresh = false;
		buf_wipe_end(&f->v[i].bytes);
	}
	conf_source_free(&src);
	f->again_ms = loop_now_ms(f->master->loop) + AGAIN_MS;
}

/* ---- looking --------------------------------------------------------------------------------------- */

/* True: something is to be judged, and nothing moves. */
static bool look(struct files *f)
{
	bool news = false, rest = true;
	bool again = loop_now_ms(f->master->loop) >= f->again_ms;
	for (size_t i = 0; i < f->n; i++) {
		struct file *file = &f->v[i];
		struct stamp now = stamp_of(file->path);
		rest = rest && same(&now, &file->seen);
		file->seen = now;
		news = news || !same(&now, &file->judged) || (file->refused && again);
	}
	return news && rest;
}

static void look_later(struct files *f)
{
	const struct root_conf *root = conf_section(f->master->conf, &root_block);
	if (root->watch_files > 0)
		timer_set(&f->timer, root->watch_files);
	else
		timer_clear(&f->timer);
}

static void on_look(void *arg)
{
	struct files *f = OBJ(files, arg);
	if (look(f))
		judge(f);
	look_later(f);
}

static void add_file(void *arg, const char *path)
{
	struct files *f = arg;
	if (f->n < FILES_MAX && find(f, path) == NULL)
		f->v[f->n++] = (struct file){ .path = mem_str(path) };
}

static void forget_all(struct files *f)
{
	for (size_t i = 0; i < f->n; i++)
		mem_free(f->v[i].path);
	f->n = 0;
}

void files_watch(struct master *m)
{
	if (m->files == NULL) {
		m->files = MEM_NEW(struct files);
		m->files->magic = files_MAGIC;
		m->files->master = m;
		timer_init(&m->files->timer, m->loop, on_look, m->files);
	}
	/* What was read a moment ago may have changed since: all are compared at the next look. */
	forget_all(m->files);
	conf_each_file(m->conf, add_file, m->files);
	look_later(m->files);
}

void files_end(struct master *m)
{
	if (m->files == NULL)
		return;
	timer_clear(&m->files->timer);
	forget_all(m->files);
	MEM_FREE(&m->files);
}
