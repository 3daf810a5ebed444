/* partition_archive.c - messages that a rule of expiry archives: a thread writes them to files, and only what is durably
 * there goes from the mailbox. Before: partition_expire.c says which; after: the same makes the change.
 *
 * A file's name is made of the message's place (UIDVALIDITY, UID), so that a message that was written before a crash and is
 * still in its mailbox is written over, not once more. Owns the thread and a reader of the log. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/mem.h"
#include "commitlog/flusher.h"
#include "store-backend/message_file.h"
#include "store-backend/partition_internal.h"

#define archiver_MAGIC 0xa5c41e57u

struct archiver {
	uint32_t magic;
	struct flusher *thread; /* owned */
	archiver_done_fn *done;
	void *arg;
	/* The job: of the thread while it runs. */
	char log_dir[PARTITION_PATH_SIZE], root[MESSAGE_FILE_PATH_SIZE];
	char *mailbox; /* owned */
	uint32_t uidvalidity;
	const struct index_entry *entries; /* borrowed until done */
	size_t n;
	err_t err;
};

/* ---- on the thread ----------------------------------------------------------------------------------------- */

static err_t write_all(struct archiver *a, struct commitlog_reader *r)
{
	struct message_dir d = { .uidvalidity = a->uidvalidity };
	if (mkdir(a->root, 0700) != 0 && errno != EEXIST)
		return err_from_errno(errno);
	err_t err = message_dir_make(a->root, span_str(a->mailbox), &d);
	for (size_t i = 0; !err && i < a->n; i++)
		err = message_dir_add(&d, r, &a->entries[i], true);
	return err ? err : message_dir_sync(a->root, &d);
}

static void run(void *arg)
{
	struct archiver *a = OBJ(archiver, arg);
	struct commitlog_reader *r = commitlog_reader_open(a->log_dir);
	a->err = write_all(a, r);
	commitlog_reader_close(&r);
}

/* ---- on the loop ------------------------------------------------------------------------------------------- */

static void on_done(void *arg)
{
	struct archiver *a = OBJ(archiver, arg);
	MEM_FREE(&a->mailbox);
	a->n = 0;
	a->done(a->arg, a->err);
}

/* The user as one name of a folder, whatever bytes it has. */
static bool put_root(struct archiver *a, const char *dir, struct span user)
{
	static const char plain[] = "@+-_=.";
	struct buf b = BUF_INIT(sizeof a->root - 1);
	buf_printf(&b, "%s/", dir);
	for (size_t i = 0; i < user.n; i++) {
		unsigned char c = (unsigned char)user.p[i];
		bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			  (c != '\0' && strchr(plain, c) != NULL && (i > 0 || c != '.'));
		buf_printf(&b, ok ? "%c" : "%%%02X", c);
	}
	bool fits = buf_ok(&b);
	(void)snprintf(a->root, sizeof a->root, "%s", fits ? buf_cstr(&b) : "");
	buf_end(&b);
	return fits;
}

bool archiver_run(struct archiver *a, const struct archive_job *j)
{
	if (flusher_busy(a->thread) || !put_root(a, j->dir, j->mailbox->user))
		return false;
	a->mailbox = mem_span_str(j->mailbox->name);
	a->uidvalidity = j->mailbox->uidvalidity;
	a->entries = j->entries;
	a->n = j->n;
	flusher_run(a->thread, run, a);
	return true;
}

struct archiver *archiver_new(struct partition *p, archiver_done_fn *done, void *arg)
{
	struct archiver *a = MEM_NEW(struct archiver);
	*a = (struct archiver){ .magic = archiver_MAGIC, .done = done, .arg = arg };
	a->thread = flusher_new(p->loop, on_done, a);
	if (a->thread == NULL || !partition_file(p, "log", a->log_dir))
		archiver_free(&a);
	return a;
}

void archiver_free(struct archiver **ap)
{
	struct archiver *a = *ap;
	if (a == NULL)
		return;
	flusher_free(&a->thread);
	mem_free(a->mailbox);
	a->magic = 0;
	MEM_FREE(ap);
}
