/* tool_shadow.c - the index made a second time, beside the first; see tool_shadow.h. Owns the folder PARTITION/repair and
 * the lock in it. */
#include "store-backend/tool_shadow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "store-backend/partition_replay.h"
#include "store-backend/partition_rows.h"
#include "store-backend/snapshot.h"
#include "store-backend/tool_internal.h"

enum { PATH_SIZE = 1100 };

struct shadow {
	const struct store_partition_conf *pc; /* borrowed */
	const struct tool_partition *live;     /* borrowed */
	struct index_writer *writer;           /* owned */
	struct index *index;                   /* owned: reads what writer has committed */
	struct snapshot from;                  /* covered 0: from rows, or from nothing */
	log_pos rows;                          /* where those end in the log; 0: from others */
	log_pos covered;
	int lock_fd; /* owned */
	bool locked; /* what is in the folder is this one's */
	char dir[PATH_SIZE], data[PATH_SIZE], snapshots[PATH_SIZE];
};

static bool paths(struct shadow *s)
{
	int n = snprintf(s->dir, PATH_SIZE, "%s/repair", s->pc->path);
	int m = snprintf(s->data, PATH_SIZE, "%s/repair/data.mdb", s->pc->path);
	int k = snprintf(s->snapshots, PATH_SIZE, "%s/snapshots", s->pc->path);
	return n > 0 && n < PATH_SIZE && m < PATH_SIZE && k < PATH_SIZE;
}

static void wipe(const struct shadow *s)
{
	static const char *const names[] = { "data.mdb", "lock.mdb", "data.mdb.tmp" };
	char path[PATH_SIZE + 16];
	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (snprintf(path, sizeof path, "%s/%s", s->dir, names[i]) < (int)sizeof path)
			(void)unlink(path);
}

/* The kernel gives the lock back whatever becomes of the process. */
static err_t take_lock(struct shadow *s)
{
	char path[PATH_SIZE + 16];
	if (mkdir(s->dir, 0700) != 0 && errno != EEXIST)
		return err_from_errno(errno);
	(void)snprintf(path, sizeof path, "%s/lock", s->dir);
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return err_from_errno(errno);
	s->locked = flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0;
	return s->locked ? ERR_OK : ERR_BUSY;
}

static bool is_trimmed(const struct shadow *s)
{
	char path[PATH_SIZE];
	(void)snprintf(path, sizeof path, "%s/trimmed", s->pc->path);
	return access(path, F_OK) == 0;
}

static err_t open_writer(struct shadow *s)
{
	struct index_state state = { 0 };
	err_t err;
	s->writer = index_writer_open(s->dir, s->pc->index_size, &err);
	if (!err && !index_writer_state(s->writer, &state))
		err = ERR_CORRUPT;
	s->covered = state.covered;
	return err;
}

/* Something that is not there, or is not what it was. */
static bool is_none(err_t err)
{
	return err == ERR_NOT_FOUND || err == ERR_CORRUPT;
}

static err_t begin_empty(struct shadow *s)
{
	index_writer_close(&s->writer, false);
	wipe(s);
	s->from = (struct snapshot){ 0 };
	s->rows = 0;
	return open_writer(s);
}

static err_t from_snapshot(struct shadow *s, const struct snapshot *snap)
{
	index_writer_close(&s->writer, false);
	wipe(s);
	s->from = *snap;
	err_t err = snapshot_restore(s->snapshots, snap, s->data);
	if (!err)
		err = open_writer(s);
	return !err && s->covered != snap->covered ? ERR_CORRUPT : err;
}

/* The newest that is good; ERR_NOT_FOUND: none is. */
static err_t from_snapshots(struct shadow *s)
{
	struct snapshot list[SNAPSHOTS_MAX];
	size_t n = snapshot_list(s->snapshots, list);
	err_t err = ERR_NOT_FOUND;
	for (size_t i = 0; i < n && is_none(err); i++)
		err = from_snapshot(s, &list[i]);
	return err;
}

/* Where the newest rows end that the log holds: the index knows it, or else the log is read through. 0: there are none. */
static log_pos newest_rows(const struct shadow *s)
{
	log_pos at = 0, end = 0;
	struct index_view *v = index_view_begin(s->live->index);
	if (v != NULL) {
		at = index_view_base(v).at;
		end = index_covered(v);
	}
	index_view_end(&v);
	if (at == 0)
		(void)rows_find(s->live->reader, end, &at);
	return at;
}

static err_t from_rows(struct shadow *s)
{
	log_pos at = newest_rows(s);
	err_t err = at != 0 ? begin_empty(s) : ERR_NOT_FOUND;
	if (!err)
		err = rows_restore(s->live->reader, at, s->writer, &s->covered);
	s->rows = at;
	return err;
}

/* The newest snapshot that can be had, else rows that the log holds, else nothing at all while it has every change. What
 * is there but cannot be had now (a full disk) is not passed over: without it messages would count as lost. */
static err_t begin_index(struct shadow *s)
{
	err_t err = from_snapshots(s);
	if (is_none(err))
		err = from_rows(s);
	if (is_none(err))
		err = is_trimmed(s) ? ERR_NOT_FOUND : begin_empty(s);
	return err;
}

/* Changes are forgotten once two newer snapshots have them, and newer rows. */
static bool still_whole(const struct shadow *s)
{
	struct snapshot list[SNAPSHOTS_MAX];
	size_t n = snapshot_list(s->snapshots, list);
	for (size_t i = 0; i < n; i++)
		if (list[i].covered == s->from.covered)
			return true;
	if (s->rows != 0)
		return newest_rows(s) == s->rows;
	return s->from.covered == 0 && !is_trimmed(s);
}

err_t shadow_follow(struct shadow *s, log_pos to)
{
	struct partition_replay r = { .writer = s->writer, .name = s->pc->head.title };
	err_t err = ERR_OK;
	if (s->covered < to)
		err = commitlog_reader_replay(
		    s->live->reader, s->covered, to, partition_replay_record, &r);
	if (!err)
		err = r.err;
	if (!err)
		err = partition_replay_commit(&r, to);
	partition_replay_end(&r);
	if (!err && !still_whole(s))
		err = ERR_NOT_FOUND;
	if (err)
		fprintf(stderr, "postern-store: %s: snapshot and log do not make an index: %s\n",
		    s->pc->head.title, err_name(err));
	else if (s->covered < to)
		s->covered = to;
	return err;
}

struct index *shadow_index(struct shadow *s)
{
	if (s->index == NULL)
		s->index = index_writer_reader(s->writer);
	return s->index;
}

static void tell_why_not(const struct shadow *s, err_t err)
{
	const char *why = err == ERR_NOT_FOUND
			      ? "there is no good snapshot, and the log is not whole"
			      : "a second index cannot be made now";
	if (err == ERR_BUSY)
		why = "another repair is under way";
	fprintf(stderr, "postern-store: %s: %s: %s\n", s->pc->head.title, why, err_name(err));
}

struct shadow *shadow_new(
    const struct store_partition_conf *pc, const struct tool_partition *live, err_t *err_out)
{
	struct shadow *s = MEM_NEW(struct shadow);
	*s = (struct shadow){ .pc = pc, .live = live, .lock_fd = -1 };
	*err_out = paths(s) ? take_lock(s) : ERR_TOO_LONG;
	if (!*err_out)
		*err_out = begin_index(s);
	if (*err_out) {
		tell_why_not(s, *err_out);
		shadow_free(&s);
	}
	return s;
}

void shadow_free(struct shadow **sp)
{
	struct shadow *s = *sp;
	if (s == NULL)
		return;
	index_close(&s->index);
	index_writer_close(&s->writer, false);
	if (s->locked)
		wipe(s);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	MEM_FREE(sp);
}
