/* committer.c - step 4 of 6: the process that writes one partition. Before: operation_link.c in the access workers;
 * the work is done by partition.c. Owns the partition and its listener.
 *
 * When the log or the index fails the process ends, and the master starts another: opening anew recovers, the
 * workers ask again what was not answered. Nothing that goes on with half-known state is simpler than that. */
#include "store-backend/committer.h"

#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net/listen.h"
#include "store-backend/partition.h"
#include "store-backend/store.h"

enum { EXIT_FAILED = 75, MS = 1000 }; /* sysexits: try again */

#define committer_MAGIC 0xc0331773u

struct committer {
	uint32_t magic;
	struct loop *loop;
	char *name;         /* owned: of the partition */
	struct conf *first; /* reference: where events go is borrowed from it */
	struct conf *conf;  /* reference: the newest, with the rules of expiry */
	struct dns *dns;    /* owned; NULL: nobody wants events */
	struct partition_events events_to;
	struct partition *partition;
	struct listener *listener;
};

unsigned committer_count(const struct conf *c)
{
	return (unsigned)store_options(c)->partition_n;
}

static const struct store_partition_conf *partition_conf(const struct conf *c, const char *name)
{
	const struct store_conf *s = store_options(c);
	for (size_t i = 0; i < s->partition_n; i++)
		if (strcmp(s->partition[i]->head.title, name) == 0)
			return s->partition[i];
	return NULL;
}

static struct partition_settings settings_of(
    const struct conf *c, const struct store_partition_conf *pc)
{
	const struct store_conf *s = store_options(c);
	return (struct partition_settings){
		.snapshot_every_ms = pc->snapshot_every,
		.snapshot_ops = (uint64_t)pc->snapshot_ops,
		.reclaim_after_s = pc->reclaim_after / MS,
		.keep_changes = pc->changes == STORE_CHANGES_KEEP,
		.fold_after = pc->fold_after,
		.space_reserve = pc->space_reserve,
		.delivery_ids_for_s = pc->delivery_ids_for / MS,
		.delivery_ids_max = (uint64_t)pc->delivery_ids_max,
		.events_keep_s = s->events_keep / MS,
		.events_max = (uint64_t)s->events_max,
		.rules = s,
		.expire_every_ms = s->expire_every,
		.text_index = s->text_index,
		.hostname = daemon_hostname(c),
	};
}

/* Nothing is tidied up: what is on the disk and in the page cache is what recovery wants to see. */
static void on_failed(void *arg, const char *what, err_t err)
{
	const char *name = arg;
	log_write(&store_events[STORE_EV_COMMITTER_FAILED], NULL,
	    LOG_FIELDS(LOG_STR("partition", name), LOG_STR("what", what), LOG_ERR("err", err)));
	_exit(EXIT_FAILED);
}

static void on_accept(void *arg, const struct accepted *a)
{
	struct committer *c = OBJ(committer, arg);
	partition_accept(c->partition, a->fd);
}

static void open_door(void *arg, const struct daemon_listener *at, int fd)
{
	static const struct listener_opts plain = { 0 };
	struct committer *c = OBJ(committer, arg);
	if (c->listener == NULL && strcmp(at->name, c->name) == 0)
		c->listener = listener_new(c->loop, fd, &plain, on_accept, c);
}

static const struct partition_events *events_to(struct committer *c)
{
	const struct store_conf *s = store_options(c->first);
	c->dns = daemon_dns(c->loop, c->first);
	c->events_to = (struct partition_events){
		.conf = c->first,
		.dns = c->dns,
		.stream = s->events_stream,
		.stream_max = (uint64_t)s->events_stream_max,
	};
	return &c->events_to;
}

void committer_start(struct worker *w)
{
	const struct store_conf *s = store_options(worker_conf(w));
	CHECK(worker_index(w) < s->partition_n);
	const struct store_partition_conf *pc = s->partition[worker_index(w)];
	struct committer *c = MEM_NEW(struct committer);
	const char *what;
	err_t err;
	*c = (struct committer){ .magic = committer_MAGIC,
		.loop = worker_loop(w),
		.name = mem_str(pc->head.title),
		.first = conf_ref(worker_conf(w)),
		.conf = conf_ref(worker_conf(w)) };
	struct partition_opts opts = {
		.name = c->name,
		.path = pc->path,
		.segment_bytes = pc->segment_size,
		.index_bytes = pc->index_size,
		.settings = settings_of(worker_conf(w), pc),
		.on_failed = on_failed,
		.arg = c->name,
		.events = store_wants_events(s),
	};
	if (opts.events)
		opts.events_to = events_to(c);
	c->partition = partition_open(c->loop, &opts, &err, &what);
	if (c->partition == NULL)
		on_failed(c->name, what, err);
	worker_set_data(w, c);
	worker_each_listener(w, open_door, c);
}

void committer_reload(struct worker *w, const struct conf *fresh)
{
	struct committer *c = OBJ(committer, (struct committer *)worker_data(w));
	const struct store_partition_conf *pc = partition_conf(fresh, c->name);
	if (pc == NULL)
		return; /* goes on until the restart that the change needs */
	struct partition_settings settings = settings_of(fresh, pc);
	partition_set(c->partition, &settings);
	conf_unref(&c->conf);
	c->conf = conf_ref(fresh);
}

bool committer_control(struct worker *w, const struct control_ask *ask, struct buf *out)
{
	struct committer *c = OBJ(committer, (struct committer *)worker_data(w));
	uint64_t seconds;
	if (strcmp(ask->words[0], "snapshot") == 0) {
		partition_snapshot(c->partition);
		return buf_add_str(out, "true");
	}
	if (strcmp(ask->words[0], "expire") == 0) {
		partition_expire(c->partition);
		return buf_add_str(out, "true");
	}
	if (strcmp(ask->words[0], "events") != 0)
		return false;
	if (ask->n != 2 || !span_u64(span_str(ask->words[1]), UINT32_MAX, &seconds))
		return buf_add_str(out, "{\"error\":\"expected: SECONDS\"}");
	uint64_t now = clock_wall_us() / 1000000;
	bool ok = partition_rewind_events(c->partition, now > seconds ? now - seconds : 0);
	return buf_add_str(out, ok ? "true" : "{\"error\":\"there is no events_stream\"}");
}

void committer_stop(struct worker *w)
{
	struct committer *c = OBJ(committer, (struct committer *)worker_data(w));
	listener_free(&c->listener);
	partition_close(&c->partition);
	dns_free(&c->dns);
	conf_unref(&c->conf);
	conf_unref(&c->first);
	mem_free(c->name);
	mem_free(c);
}
