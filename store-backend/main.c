/* main.c - postern-store: the table of its roles, sections and sockets. */
#include "base/check.h"
#include "daemon/daemon.h"
#include "directory/directory.h"
#include "metermaid/metermaid.h"
#include "metermaid/redis_stream.h"
#include "store-backend/accept.h"
#include "store-backend/committer.h"
#include "store-backend/store.h"
#include "store-backend/tool.h"

static const struct conf_block *const sections[] = { &store_block, &directory_block,
	&metermaid_block, NULL };
static const char *const foreign[] = { "*", NULL };

static const struct conf_schema schema = {
	.sections = sections,
	.foreign = foreign,
	.check = store_conf_check,
};

/* The committers stand first: they start first and stop last. */
static const struct daemon_role roles[] = {
	{
	    .name = "committer",
	    .exclusive = true,
	    .count = committer_count,
	    .start = committer_start,
	    .reload = committer_reload,
	    .control = committer_control,
	    .stop = committer_stop,
	},
	{
	    .name = "worker",
	    .start = store_worker_start,
	    .reload = store_worker_reload,
	    .drain = store_worker_drain,
	    .retire = store_worker_retire,
	    .control = store_worker_control,
	    .stop = store_worker_stop,
	},
};

static void add(struct daemon_listeners *out, struct daemon_listener at)
{
	if (out->n < COUNT_OF(out->v))
		out->v[out->n++] = at;
}

static void listeners(const struct conf *c, struct daemon_listeners *out)
{
	static char paths[STORE_PARTITIONS_MAX][STORE_SOCKET_PATH_SIZE];
	const struct store_conf *s = store_options(c);
	for (size_t i = 0; i < s->partition_n && i < STORE_PARTITIONS_MAX; i++)
		if (store_socket_path(c, s->partition[i]->head.title, paths[i]))
			add(out, (struct daemon_listener){ .role = "committer",
				     .name = s->partition[i]->head.title,
				     .unix_path = paths[i],
				     .unix_mode = 0600 });
	for (size_t i = 0; i < s->listener_n; i++)
		daemon_listeners_add(
		    out, "worker", s->listener[i]->head.title, &s->listener[i]->address, 0660);
}

static void prepare(void)
{
	metric_register(store_metrics, STORE_M_COUNT);
	directory_prepare();
	redis_stream_prepare();
}

static const struct daemon_spec spec = {
	.name = "store",
	.schema = &schema,
	.roles = roles,
	.role_count = COUNT_OF(roles),
	.listeners = listeners,
	.prepare = prepare,
	.tool = store_tool,
};

int main(int argc, char **argv)
{
	return daemon_main(&spec, argc, argv);
}
