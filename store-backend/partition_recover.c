/* partition_recover.c - step 4 of 6, at start: the index is brought to where the log is. Before: partition_open();
 * after: partition_peer.c takes workers.
 *
 * Which index is believed? One that was written by this boot of the kernel (its pages are in the page cache,
 * whatever happened to the process) or closed in order, and whose last start came to its end: a start that
 * died may have died of it. Else the newest snapshot whose checksum holds, else one made of rows that the log holds
 * (partition_base.c), else an empty one, but only while the log still has every change since the beginning. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "store-backend/partition_internal.h"
#include "store-backend/partition_replay.h"

struct recovery {
	struct partition *p;
	const struct partition_opts *opts;
	char boot[INDEX_BOOT_ID_MAX + 1];
	char index_dir[PARTITION_PATH_SIZE];
	bool unfinished; /* the start before this one did not come to its end */
	log_pos from;    /* replay from here */
	const char *what;
};

/* ---- replay ------------------------------------------------------------------------------------------------- */

static err_t replay(struct recovery *v)
{
	struct partition *p = v->p;
	struct partition_replay r = {
		.writer = p->writer, .name = p->name, .skip_damaged = v->opts->skip_damaged
	};
	v->what = "replay";
	index_writer_events(p->writer, v->opts->events);
	err_t err = commitlog_replay(p->log, v->from, partition_replay_record, &r);
	if (!err)
		err = r.err;
	if (!err)
		err = partition_replay_commit(&r, commitlog_end(p->log));
	partition_replay_end(&r);
	p->replayed = r.replayed;
	p->skipped = r.skipped;
	return err;
}

/* ---- which index ---------------------------------------------------------------------------------------------- */

/* Readers that have the files open keep them until they hear of the new epoch. */
static void wipe_index(struct recovery *v)
{
	static const char *const names[] = { "index/data.mdb", "index/lock.mdb",
		"index/data.mdb.tmp" };
	char path[PARTITION_PATH_SIZE];
	index_writer_close(&v->p->writer, false);
	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (partition_file(v->p, names[i], path))
			(void)unlink(path);
}

static bool covers_no_more_than_the_log(struct recovery *v, const struct index_state *s)
{
	v->from = s->covered;
	return s->covered <= commitlog_end(v->p->log);
}

static bool keep_index(struct recovery *v)
{
	struct index_state s;
	err_t err;
	v->p->writer = index_writer_open(v->index_dir, v->opts->index_bytes, &err);
	return !err && index_writer_state(v->p->writer, &s) && s.covered != 0 &&
	       (s.boot[0] == '\0' || strcmp(s.boot, v->boot) == 0) &&
	       covers_no_more_than_the_log(v, &s);
}

static bool restore_one(struct recovery *v, const struct snapshot *snap, bool take)
{
	char to[PARTITION_PATH_SIZE];
	struct index_state s;
	wipe_index(v);
	err_t err = ERR_TOO_LONG;
	if (partition_file(v->p, "index/data.mdb", to))
		err = take ? snapshot_take(v->p->snapshot_dir, snap, to)
			   : snapshot_restore(v->p->snapshot_dir, snap, to);
	if (!err)
		v->p->writer = index_writer_open(v->index_dir, v->opts->index_bytes, &err);
	if (!err && (!index_writer_state(v->p->writer, &s) || s.covered != snap->covered ||
			!covers_no_more_than_the_log(v, &s)))
		err = ERR_CORRUPT;
	if (err)
		log_write(&store_events[STORE_EV_SNAPSHOT_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("partition", v->p->name), LOG_STR("what", "restore"),
			LOG_ERR("err", err)));
	return !err;
}

/* Should a start die with the newest as its index, the next one has rows in the log to begin from, or another one. */
static bool newest_may_go(struct recovery *v, const struct snapshot *list, size_t n)
{
	const char *dir = v->p->snapshot_dir;
	return !v->unfinished && n > 0 && snapshot_is_good(dir, &list[0]) &&
	       (base_is_whole(v->p, &list[0]) || (n > 1 && snapshot_is_good(dir, &list[1])));
}

static bool restore_index(struct recovery *v)
{
	struct snapshot list[SNAPSHOTS_MAX];
	size_t n = snapshot_list(v->p->snapshot_dir, list);
	/* Then it need not be copied. A new snapshot is made as soon as the partition serves. */
	if (newest_may_go(v, list, n) && restore_one(v, &list[0], true)) {
		v->p->took_snapshot = true;
		return true;
	}
	n = snapshot_list(v->p->snapshot_dir, list);
	for (size_t i = 0; i < n; i++)
		if (restore_one(v, &list[i], false))
			return true;
	return false;
}

static err_t empty_index(struct recovery *v)
{
	err_t err;
	wipe_index(v);
	v->p->writer = index_writer_open(v->index_dir, v->opts->index_bytes, &err);
	return err;
}

/* Of the log alone: of the rows that are in it, or of all its changes. */
static err_t make_index(struct recovery *v)
{
	v->p->how = "folded";
	err_t err = empty_index(v);
	if (!err)
		err = base_restore(v->p, &v->from);
	if (!err || (err != ERR_NOT_FOUND && err != ERR_CORRUPT))
		return err;
	if (err == ERR_CORRUPT)
		log_write(&store_events[STORE_EV_FOLD_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("partition", v->p->name), LOG_ERR("err", err)));
	if (v->p->trimmed)
		return ERR_CORRUPT; /* changes that only a snapshot had */
	v->p->how = "rebuilt";
	v->from = 0;
	return empty_index(v);
}

static err_t choose_index(struct recovery *v)
{
	struct partition *p = v->p;
	struct index_state s;
	err_t err = ERR_OK;
	v->what = "index";
	if (mkdir(v->index_dir, 0700) != 0 && errno != EEXIST)
		return err_from_errno(errno);
	if (!v->unfinished && keep_index(v)) {
		p->how = "kept";
	} else if (restore_index(v)) {
		p->how = "snapshot";
	} else {
		err = make_index(v);
	}
	if (!err)
		err = index_writer_mark(p->writer, v->boot, strcmp(p->how, "kept") != 0);
	if (!err && !index_writer_state(p->writer, &s))
		err = ERR_CORRUPT;
	if (!err)
		p->epoch = s.epoch;
	return err;
}

/* ---- the start --------------------------------------------------------------------------------------------------- */

static bool read_boot(struct recovery *v)
{
	size_t n = 0;
	if (v->opts->boot != NULL)
		return snprintf(v->boot, sizeof v->boot, "%s", v->opts->boot) > 0;
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		ssize_t got = read(fd, v->boot, sizeof v->boot - 1);
		n = got > 0 ? (size_t)got : 0;
		close(fd);
	}
	v->boot[n] = '\0';
	v->boot[strcspn(v->boot, "\n")] = '\0';
	return v->boot[0] != '\0';
}

static err_t open_log(struct recovery *v)
{
	char dir[PARTITION_PATH_SIZE];
	struct buf why = BUF_INIT(512);
	struct commitlog_opts o = { .dir = dir, .segment_bytes = v->opts->segment_bytes };
	err_t err = ERR_TOO_LONG;
	v->what = "log";
	if (partition_file(v->p, "log", dir))
		v->p->log = commitlog_open(v->p->loop, &o, &err, &why);
	if (err)
		log_write(&store_events[STORE_EV_COMMITTER_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("partition", v->p->name), LOG_SPAN("what", buf_span(&why)),
			LOG_ERR("err", err)));
	buf_end(&why);
	return err;
}

static err_t open_folder(struct recovery *v, char starting[PARTITION_PATH_SIZE])
{
	struct partition *p = v->p;
	v->what = "path";
	if (!partition_file(p, "index", v->index_dir) || !partition_file(p, "starting", starting) ||
	    !partition_file(p, "snapshots", p->snapshot_dir))
		return ERR_TOO_LONG;
	if (mkdir(p->path, 0700) != 0 && errno != EEXIST)
		return err_from_errno(errno);
	return snapshot_prepare(p->snapshot_dir);
}

static err_t recover(struct recovery *v)
{
	char starting[PARTITION_PATH_SIZE];
	err_t err = open_folder(v, starting);
	if (!err)
		err = open_log(v); /* and its lock: nobody else is here from now on */
	if (err)
		return err;
	v->what = "path";
	v->p->trimmed = partition_is_trimmed(v->p);
	v->unfinished = access(starting, F_OK) == 0 || v->opts->distrust_index;
	int fd = open(starting, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	close(fd);
	err = choose_index(v);
	if (!err)
		err = replay(v);
	if (!err)
		(void)unlink(starting);
	return err;
}

err_t partition_recover(
    struct partition *p, const struct partition_opts *opts, const char **what_out)
{
	struct recovery v = { .p = p, .opts = opts };
	uint64_t began = clock_mono_ms();
	*what_out = "boot_id";
	if (!read_boot(&v))
		return ERR_IO;
	err_t err = recover(&v);
	*what_out = v.what;
	if (err)
		return err;
	p->changes = p->replayed;
	p->base = index_writer_base(p->writer);
	log_write(&store_events[STORE_EV_COMMITTER_START], NULL,
	    LOG_FIELDS(LOG_STR("partition", p->name), LOG_STR("how", p->how),
		LOG_U64("covered", v.from), LOG_U64("replayed", p->replayed),
		LOG_U64("ms", clock_mono_ms() - began)));
	return ERR_OK;
}
