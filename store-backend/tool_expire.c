/* tool_expire.c - postern-store expire dry-run: what the rules would do now, one line for each message, beside a
 * committer that works; nothing is changed. Owns the open partition. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store-backend/expire.h"
#include "store-backend/store.h"
#include "store-backend/tool_internal.h"

static err_t read_log(void *arg, log_pos blob, uint64_t at, void *out, size_t n)
{
	return commitlog_reader_read(arg, blob, at, out, n);
}

static const char *const actions[] = { "delete", "move:", "archive" };

static void tell(const struct expire_found *f, uint64_t *messages, uint64_t *bytes)
{
	for (size_t i = 0; i < f->n; i++) {
		printf("%.*s %" PRIu32 " %" PRIu32 " %" PRIu64 " %s %s%s %.*s\n",
		    SPAN_ARG(f->mailbox.user), f->mailbox.uidvalidity, f->uids[i].first,
		    f->entries[i].size, f->rule->head.title, actions[f->rule->action],
		    f->rule->action == EXPIRE_MOVE ? f->rule->target : "",
		    SPAN_ARG(f->mailbox.name));
		*bytes += f->entries[i].size;
	}
	*messages += f->n;
}

static int expire_one(const struct store_conf *s, const struct store_partition_conf *pc)
{
	static struct expire_found found;
	struct tool_partition p;
	struct expire_cursor at = { 0 };
	uint64_t messages = 0, bytes = 0;
	enum expire_step r = EXPIRE_MORE;
	if (!tool_open(pc, &p))
		return TOOL_FAILED;
	struct expire x = {
		.conf = s, .now_s = clock_wall_us() / 1000000, .read = read_log, .arg = p.reader
	};
	while (r != EXPIRE_END) {
		struct index_view *v = index_view_begin(p.index);
		r = v == NULL ? EXPIRE_END : expire_step(&x, v, &at, &found);
		if (r == EXPIRE_FOUND)
			tell(&found, &messages, &bytes);
		index_view_end(&v);
	}
	tool_close(&p);
	printf("%s: %" PRIu64 " messages, %" PRIu64 " bytes would go\n", pc->head.title, messages,
	    bytes);
	return 0;
}

int tool_expire(const struct conf *c, const char *const *words)
{
	const struct store_conf *s = store_options(c);
	int status = strcmp(words[0], "dry-run") == 0 ? 0 : TOOL_USAGE;
	for (size_t i = 0; status == 0 && i < s->partition_n; i++)
		status = expire_one(s, s->partition[i]);
	return status;
}
