/* tool.c - postern-store as a tool: check and reconstruct; tool_export.c is the third. Owns nothing that lasts.
 *
 * check and export read beside a committer that works. reconstruct takes the partition for itself: the lock of the
 * log says when a committer has it. */
#include "store-backend/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "store-backend/index_check.h"
#include "store-backend/partition.h"
#include "store-backend/partition_rows.h"
#include "store-backend/store.h"
#include "store-backend/tool_internal.h"

enum { FAULTS_SHOWN = 100 };

/* ---- check --------------------------------------------------------------------------------------------------- */

struct checking {
	const char *name;
	struct commitlog_reader *reader;
	uint64_t faults;
};

static void on_fault(void *arg, const char *what)
{
	struct checking *k = arg;
	if (k->faults++ < FAULTS_SHOWN)
		printf("%s: %s\n", k->name, what);
}

static void on_blob(void *arg, log_pos blob)
{
	struct checking *k = arg;
	char what[128];
	err_t err = commitlog_reader_verify(k->reader, blob);
	if (err == ERR_OK)
		return;
	(void)snprintf(
	    what, sizeof what, "message at %" PRIu64 ": %s in the log", blob, err_name(err));
	on_fault(k, what);
}

static void on_rows(void *arg, log_pos at)
{
	struct checking *k = arg;
	char what[128];
	err_t err = rows_check(k->reader, at);
	if (err == ERR_OK)
		return;
	(void)snprintf(what, sizeof what, "rows of the index in the log: %s", err_name(err));
	on_fault(k, what);
}

static int check_one(const struct store_partition_conf *pc)
{
	struct tool_partition p;
	if (!tool_open(pc, &p))
		return TOOL_FAILED;
	struct checking k = { .name = pc->head.title, .reader = p.reader };
	struct index_check c = {
		.on_fault = on_fault, .on_blob = on_blob, .on_rows = on_rows, .arg = &k
	};
	bool ok = index_check_run(p.index, &c);
	tool_close(&p);
	if (!ok)
		on_fault(&k, "the index cannot be read");
	printf("%s: %" PRIu64 " users, %" PRIu64 " mailboxes, %" PRIu64 " messages in %" PRIu64
	       " records, %" PRIu64 " faults\n",
	    k.name, c.users, c.mailboxes, c.messages, c.blobs, k.faults);
	return k.faults > 0 ? TOOL_FAILED : 0;
}

static int tool_check(const struct conf *c, const char *const *words)
{
	const struct store_conf *s = store_options(c);
	int status = 0;
	if (words[0] != NULL)
		return tool_names_user(words[0]) ? tool_check_user(c, words) : TOOL_USAGE;
	for (size_t i = 0; i < s->partition_n; i++) {
		int one = check_one(s->partition[i]);
		status = status != 0 ? status : one;
	}
	return status;
}

/* ---- reconstruct ----------------------------------------------------------------------------------------------- */

static void on_failed(void *arg, const char *what, err_t err)
{
	fprintf(stderr, "postern-store: %s: %s\n", what, err_name(err));
}

/* The index made anew: by the newest good snapshot and the log, or by the log alone while it is whole. */
static int reconstruct(
    const struct store_conf *s, const struct store_partition_conf *pc, bool skip_damaged)
{
	struct loop *l = loop_new();
	const char *what;
	err_t err;
	struct partition_opts opts = {
		.name = pc->head.title,
		.path = pc->path,
		.segment_bytes = pc->segment_size,
		.index_bytes = pc->index_size,
		.settings = { .snapshot_every_ms = pc->snapshot_every,
		    .snapshot_ops = (uint64_t)pc->snapshot_ops,
		    .fold_after = pc->fold_after },
		.events = store_wants_events(s),
		.distrust_index = true,
		.skip_damaged = skip_damaged,
		.on_failed = on_failed,
	};
	struct partition *p = partition_open(l, &opts, &err, &what);
	if (p == NULL) {
		fprintf(stderr, "postern-store: %s: %s: %s%s\n", pc->head.title, what,
		    err_name(err), err == ERR_BUSY ? " (its committer runs: stop it first)" : "");
	} else {
		struct partition_facts f = partition_facts(p);
		printf("%s: made anew (%s), %" PRIu64 " changes replayed, %" PRIu64 " left out\n",
		    pc->head.title, f.how, f.replayed, f.skipped);
	}
	partition_close(&p);
	loop_free(&l);
	return err ? TOOL_FAILED : 0;
}

static int tool_reconstruct(const struct conf *c, const char *const *words)
{
	const struct store_conf *s = store_options(c);
	bool skip = words[1] != NULL;
	if (tool_names_user(words[0]))
		return tool_mend_user(c, words);
	if (skip && strcmp(words[1], "skip-damaged") != 0)
		return TOOL_USAGE;
	for (size_t i = 0; i < s->partition_n; i++)
		if (strcmp(s->partition[i]->head.title, words[0]) == 0)
			return reconstruct(s, s->partition[i], skip);
	fprintf(stderr, "postern-store: no partition \"%.100s\"\n", words[0]);
	return TOOL_USAGE;
}

/* ---- public -------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *word;
	size_t least, most;
	int (*fn)(const struct conf *c, const char *const *words); /* ended by NULL */
} tools[] = {
	{ "check", 0, 2, tool_check },
	{ "reconstruct", 1, 2, tool_reconstruct },
	{ "export", 3, 3, tool_export },
	{ "import", 3, 3, tool_import },
	{ "expire", 1, 1, tool_expire },
	{ "domains", 0, 1, tool_domains },
	{ "stay", 1, 3, tool_stay },
	{ "serve", 1, 1, tool_serve },
	{ "pull", 1, 3, tool_pull },
};

bool tool_fail(const char *path)
{
	fprintf(stderr, "postern-store: %s: %s\n", path, strerror(errno));
	return false;
}

bool tool_open(const struct store_partition_conf *pc, struct tool_partition *out)
{
	char path[1024];
	err_t err;
	(void)snprintf(path, sizeof path, "%s/index", pc->path);
	out->index = index_open(path, &err);
	(void)snprintf(path, sizeof path, "%s/log", pc->path);
	out->reader = commitlog_reader_open(path);
	if (out->index == NULL)
		fprintf(stderr, "postern-store: %s: the index cannot be opened: %s\n",
		    pc->head.title, err_name(err));
	if (out->index == NULL)
		tool_close(out);
	return out->index != NULL;
}

void tool_close(struct tool_partition *p)
{
	index_close(&p->index);
	commitlog_reader_close(&p->reader);
}

bool tool_user(const char *word, struct buf *out)
{
	struct span s = span_str(word);
	*out = BUF_INIT(STORE_USER_MAX);
	if (!span_starts(s, SPAN("hex:"))) {
		buf_add_span(out, s);
		return buf_ok(out) && operation_user_ok(buf_span(out));
	}
	s = span_from(s, 4);
	for (size_t i = 0; i + 1 < s.n; i += 2) {
		int high = ascii_hex(s.p[i]), low = ascii_hex(s.p[i + 1]);
		if (high < 0 || low < 0)
			return false;
		buf_add_char(out, (char)(high * 16 + low));
	}
	return s.n % 2 == 0 && buf_ok(out) && operation_user_ok(buf_span(out));
}

bool tool_move(const char *word, uint64_t *out)
{
	size_t n = strlen(word);
	*out = 0;
	for (size_t i = 0; i < n && i < 16; i++) {
		if (ascii_hex(word[i]) < 0)
			return false;
		*out = *out << 4 | (uint64_t)ascii_hex(word[i]);
	}
	return n > 0 && n <= 16 && *out != 0 && *out != UINT64_MAX;
}

static bool has_user(const struct store_partition_conf *pc, struct span user)
{
	struct tool_partition p;
	struct index_user u;
	if (!tool_open(pc, &p))
		return false;
	struct index_view *v = index_view_begin(p.index);
	bool there = v != NULL && (index_user(v, user, &u) || index_stay(v, user) != STAY_HERE);
	index_view_end(&v);
	tool_close(&p);
	return there;
}

const struct store_partition_conf *tool_partition_of(const struct store_conf *s, struct span user)
{
	for (size_t i = 0; i < s->partition_n; i++)
		if (has_user(s->partition[i], user))
			return s->partition[i];
	return s->partition_n > 0 ? s->partition[store_partition_for_new(user, s->partition_n)]
				  : NULL;
}

int store_tool(const struct conf *c, const char *const *words, size_t n)
{
	int status = TOOL_USAGE;
	for (size_t i = 0; i < COUNT_OF(tools); i++) {
		const char *more[TOOL_WORDS_MAX + 1] = { NULL };
		if (strcmp(words[0], tools[i].word) != 0 || n - 1 < tools[i].least ||
		    n - 1 > tools[i].most)
			continue;
		memcpy(more, words + 1, (n - 1) * sizeof more[0]);
		status = tools[i].fn(c, more);
	}
	if (status == TOOL_USAGE)
		fprintf(stderr,
		    "usage: postern-store -c FILE check [USER [FOLDER]] |\n"
		    "       reconstruct PARTITION [skip-damaged] | reconstruct USER [FOLDER] |\n"
		    "       export|import maildir|mbox USER FOLDER | expire dry-run | domains "
		    "[DOMAIN] |\n"
		    "       stay USER [here|leaving|arriving|gone [MOVE]] | serve USER |\n"
		    "       pull USER [live|final [MOVE]]\n");
	return status;
}
