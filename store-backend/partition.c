/* partition.c - step 4 of 6: one partition open for writing. Before: committer.c, the process; the work is done
 * by partition_recover.c (at start), partition_peer.c (who asks), partition_batch.c (the group commit) and
 * partition_keep.c (what must be done from time to time). Owns the object. */
#include "store-backend/partition.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fd.h"
#include "base/mem.h"
#include "store-backend/partition_internal.h"

bool partition_file(const struct partition *p, const char *name, char out[PARTITION_PATH_SIZE])
{
	int n = snprintf(out, PARTITION_PATH_SIZE, "%s/%s", p->path, name);
	return n > 0 && n < PARTITION_PATH_SIZE;
}

/* ---- the mark that old changes have been cut off the log ---------------------------------------------------- */

bool partition_is_trimmed(const struct partition *p)
{
	char path[PARTITION_PATH_SIZE];
	return partition_file(p, "trimmed", path) && access(path, F_OK) == 0;
}

err_t partition_mark_trimmed(struct partition *p)
{
	char path[PARTITION_PATH_SIZE];
	err_t err = ERR_OK;
	if (!partition_file(p, "trimmed", path))
		return ERR_TOO_LONG;
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || fsync(fd) != 0)
		err = err_from_errno(errno);
	if (fd >= 0)
		close(fd);
	if (!err)
		err = fd_sync_dir(p->path);
	return err;
}

/* ---- failing ------------------------------------------------------------------------------------------------- */

static void on_failed_soon(void *arg)
{
	struct partition *p = OBJ(partition, arg);
	p->on_failed(p->arg, p->failed_what, p->failed_err);
}

void partition_fail(struct partition *p, const char *what, err_t err)
{
	if (p->failed)
		return;
	p->failed = true;
	p->failed_what = what;
	p->failed_err = err;
	soon_set(p->loop, &p->failed_soon);
}

/* ---- public ---------------------------------------------------------------------------------------------------- */

struct partition *partition_open(
    struct loop *l, const struct partition_opts *opts, err_t *err_out, const char **what_out)
{
	struct partition *p = MEM_NEW(struct partition);
	*p = (struct partition){
		.magic = partition_MAGIC,
		.loop = l,
		.name = mem_str(opts->name),
		.path = mem_str(opts->path),
		.settings = opts->settings,
		.segment_bytes = opts->segment_bytes,
		.index_bytes = opts->index_bytes,
		.on_failed = opts->on_failed,
		.arg = opts->arg,
	};
	list_init(&p->peers);
	soon_init(&p->failed_soon, on_failed_soon, p);
	batch_init(p);
	*what_out = "threads";
	*err_out = keep_init(p);
	if (!*err_out)
		*err_out = partition_recover(p, opts, what_out);
	if (!*err_out && p->took_snapshot)
		partition_snapshot(p);
	if (!*err_out && opts->distrust_index)
		text_sweep_all(p);
	if (!*err_out) {
		p->expirer = expirer_new(p);
		p->text_sweep = text_sweep_new(p);
	}
	p->tells = opts->events;
	if (!*err_out && opts->events_to != NULL)
		p->feeder = feeder_new(p, opts->events_to);
	if (*err_out) {
		p->failed = true;
		partition_close(&p);
	}
	return p;
}

void partition_close(struct partition **pp)
{
	struct partition *p = *pp;
	if (p == NULL)
		return;
	soon_clear(&p->failed_soon);
	feeder_free(&p->feeder);
	text_sweep_free(&p->text_sweep);
	expirer_free(&p->expirer);
	keep_end(p); /* a copy that is being written still reads the index */
	peers_end(p);
	batch_end(p);
	index_writer_close(&p->writer, !p->failed);
	commitlog_close(&p->log);
	mem_free(p->name);
	mem_free(p->path);
	p->magic = 0;
	MEM_FREE(pp);
}

void partition_set(struct partition *p, const struct partition_settings *s)
{
	p->settings = *s;
	timer_set(&p->snapshot_timer, s->snapshot_every_ms);
	expirer_set(p);
}

void partition_expire(struct partition *p)
{
	expirer_begin_pass(p);
}

bool partition_rewind_events(struct partition *p, uint64_t since_s)
{
	return feeder_rewind(p, since_s);
}

struct partition_facts partition_facts(struct partition *p)
{
	return (struct partition_facts){
		.how = p->how,
		.replayed = p->replayed,
		.skipped = p->skipped,
		.digest = index_writer_digest(p->writer),
		.folded = p->base.covered,
		.caches_due = index_writer_caches_due(p->writer),
		.peers = p->peer_n,
	};
}
