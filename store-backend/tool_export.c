/* tool_export.c - postern-store export: the mailboxes of a user as a Maildir++ or as mbox files, beside a committer
 * that works. Owns the list of the messages of one mailbox at a time.
 *
 * Maildir: files with LF, flags in the name, the time of the file is INTERNALDATE; a level's "." is written "_".
 * mbox: a file for each mailbox, "From " quoted as mboxrd does, flags in Status and X-Status. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "store-backend/message_file.h"
#include "store-backend/store.h"
#include "store-backend/tool_internal.h"

enum { PATH_SIZE = 4096 };

struct mailbox {
	uint64_t id;
	uint32_t uidvalidity;
	char *name; /* owned */
};

struct export
{
	struct tool_partition p;
	const char *folder;
	bool mbox;
	struct mailbox *boxes; /* owned */
	size_t box_n;
	struct index_entry *v; /* owned: messages of one mailbox */
	size_t n, cap;
	char dir[PATH_SIZE]; /* the file of an mbox */
	FILE *to;
	uint64_t written;
};

/* ---- Maildir --------------------------------------------------------------------------------------------------- */

static bool tell(const struct index_entry *e, err_t err)
{
	if (err)
		fprintf(stderr, "postern-store: message %u: %s\n", e->uid, err_name(err));
	return !err;
}

static bool make_maildir(struct export *x, const struct mailbox *m)
{
	struct message_dir d = { .uidvalidity = m->uidvalidity };
	err_t err = message_dir_make(x->folder, span_str(m->name), &d);
	if (err)
		fprintf(stderr, "postern-store: %s: %s\n", m->name, err_name(err));
	bool ok = !err;
	for (size_t i = 0; ok && i < x->n; i++, x->written += ok)
		ok = tell(&x->v[i], message_dir_add(&d, x->p.reader, &x->v[i], false));
	return ok;
}

/* ---- mbox -------------------------------------------------------------------------------------------------------- */

static bool write_mbox_message(struct export *x, const struct index_entry *e)
{
	char date[32];
	struct tm tm;
	time_t when = (time_t)e->date_s;
	if (gmtime_r(&when, &tm) == NULL ||
	    strftime(date, sizeof date, "%a %b %e %H:%M:%S %Y", &tm) == 0)
		return false;
	fprintf(x->to, "From MAILER-DAEMON %s\n", date);
	fprintf(x->to, "Status: %sO\nX-Status: %s%s%s%s\n", (e->flags & STORE_SEEN) != 0 ? "R" : "",
	    (e->flags & STORE_ANSWERED) != 0 ? "A" : "", (e->flags & STORE_FLAGGED) != 0 ? "F" : "",
	    (e->flags & STORE_DRAFT) != 0 ? "T" : "", (e->flags & STORE_DELETED) != 0 ? "D" : "");
	return tell(e, message_put(x->to, x->p.reader, e, true)) && putc('\n', x->to) != EOF;
}

static bool make_mbox(struct export *x, const struct mailbox *m)
{
	int n = snprintf(x->dir, sizeof x->dir, "%s/%s.mbox", x->folder, m->name);
	for (int at = (int)strlen(x->folder) + 1; at < n && at < PATH_SIZE; at++)
		if (x->dir[at] == '/')
			x->dir[at] = '.';
	if (n <= 0 || n >= PATH_SIZE)
		return false;
	x->to = fopen(x->dir, "we");
	if (x->to == NULL)
		return tool_fail(x->dir);
	bool ok = true;
	for (size_t i = 0; ok && i < x->n; i++, x->written += ok)
		ok = write_mbox_message(x, &x->v[i]);
	return (fclose(x->to) == 0 || tool_fail(x->dir)) && ok;
}

/* ---- what is there ---------------------------------------------------------------------------------------------- */

static bool on_mailbox(void *arg, const struct index_mailbox *m)
{
	struct export *x = arg;
	x->boxes = mem_grow(x->boxes, x->box_n + 1, sizeof x->boxes[0]);
	x->boxes[x->box_n++] = (struct mailbox){ m->id, m->uidvalidity, mem_span_str(m->name) };
	return true;
}

static bool on_entry(void *arg, const struct index_entry *e)
{
	struct export *x = arg;
	if (x->n == x->cap) {
		x->cap = x->cap == 0 ? 1024 : x->cap + x->cap / 2;
		x->v = mem_grow(x->v, x->cap, sizeof x->v[0]);
	}
	x->v[x->n++] = *e;
	return true;
}

static bool export_mailbox(struct export *x, const struct mailbox *m)
{
	struct index_view *v = index_view_begin(x->p.index);
	if (v == NULL)
		return false;
	x->n = 0;
	index_entries(v, m->id, (struct uid_range){ 1, UINT32_MAX }, on_entry, x);
	index_view_end(&v);
	return x->mbox ? make_mbox(x, m) : make_maildir(x, m);
}

/* False: another partition has the user. */
static bool find_mailboxes(struct export *x, struct span user)
{
	struct index_user u;
	struct index_view *v = index_view_begin(x->p.index);
	if (v == NULL)
		return false;
	bool there = index_user(v, user, &u);
	if (there)
		index_mailboxes(v, user, on_mailbox, x);
	index_view_end(&v);
	return there;
}

static int export_user(struct export *x)
{
	bool ok = mkdir(x->folder, 0700) == 0 || errno == EEXIST || tool_fail(x->folder);
	for (size_t i = 0; i < x->box_n; i++) {
		ok = ok && export_mailbox(x, &x->boxes[i]);
		mem_free(x->boxes[i].name);
	}
	mem_free(x->boxes);
	mem_free(x->v);
	printf(
	    "%zu mailboxes, %" PRIu64 " messages%s\n", x->box_n, x->written, ok ? "" : ", not all");
	return ok ? 0 : TOOL_FAILED;
}

int tool_export(const struct conf *c, const char *const *words)
{
	const struct store_conf *s = store_options(c);
	struct export x = { .folder = words[2], .mbox = strcmp(words[0], "mbox") == 0 };
	if (!x.mbox && strcmp(words[0], "maildir") != 0)
		return TOOL_USAGE;
	for (size_t i = 0; i < s->partition_n; i++) {
		if (!tool_open(s->partition[i], &x.p))
			return TOOL_FAILED;
		int status = find_mailboxes(&x, span_str(words[1])) ? export_user(&x) : TOOL_USAGE;
		tool_close(&x.p);
		if (status != TOOL_USAGE)
			return status;
	}
	fprintf(stderr, "postern-store: no user \"%.100s\" here\n", words[1]);
	return TOOL_FAILED;
}
