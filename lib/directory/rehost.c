/* rehost.c - the store of a user is another from now on, in an LDIF file; rehost_ldap.c does it at a server. Owns
 * nothing beyond a call. */
#include "directory/rehost.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "directory/entry.h"
#include "directory/ldif.h"
#include "directory/watched_file.h"

/* ---- the text -------------------------------------------------------------------------------------------- */

static enum rehost_result fail(struct buf *why, const char *what)
{
	buf_add_str(why, what);
	return REHOST_FAILED;
}

/* The record that begins at *at: up to an empty line, which belongs to it. */
static struct span take_record(struct span text, size_t at)
{
	size_t i = at;
	bool any = false;
	while (i < text.n) {
		struct span line = span_from(text, i);
		size_t n = span_find(line, '\n');
		n = n == SIZE_MAX ? line.n : n + 1;
		bool empty = n == 1 || (n == 2 && line.p[0] == '\r');
		i += n;
		if (empty && any)
			break;
		any = any || !empty;
	}
	return span_of(text.p + at, i - at);
}

static bool is_entry_of(
    struct span record, const struct directory_conf *c, const char *user, struct entry *e)
{
	struct ldif l;
	ldif_init(&l, record);
	bool mine = ldif_next(&l, e) == LDIF_ENTRY && entry_has_class(e, c->user_class);
	struct span mail;
	bool found = false;
	for (size_t i = 0; mine && (mail = entry_get(e, c->attr_mail, i)).p != NULL; i++)
		found = found || span_ieq_str(mail, user);
	ldif_end(&l);
	return found;
}

static bool has_value(const struct entry *e, const char *name, const char *value)
{
	struct span v;
	for (size_t i = 0; (v = entry_get(e, name, i)).p != NULL; i++)
		if (span_ieq_str(v, value))
			return true;
	return false;
}

/* "mailHost: old", on one line: what the tool itself and people write. */
static bool is_host_line(struct span line, const char *name, const char *host)
{
	struct span rest = line;
	struct span key = span_cut(&rest, ':');
	return rest.p != NULL && span_ieq_str(key, name) && span_ieq_str(span_trim(rest), host);
}

static bool put_record(
    const struct directory_conf *c, const struct rehost *r, struct span record, struct buf *out)
{
	struct span rest = record;
	bool changed = false;
	while (rest.n > 0) {
		size_t n = span_find(rest, '\n');
		struct span line = span_first(rest, n == SIZE_MAX ? rest.n : n + 1);
		struct span after = span_from(rest, line.n);
		bool folded = after.n > 0 && after.p[0] == ' ';
		if (!changed && !folded && is_host_line(line, c->attr_host, r->from)) {
			buf_printf(out, "%s: %s\n", c->attr_host, r->to);
			changed = true;
		} else {
			buf_add_span(out, line);
		}
		rest = after;
	}
	return changed;
}

static enum rehost_result judge(
    const struct directory_conf *c, const struct rehost *r, const struct entry *e, struct buf *why)
{
	bool old = has_value(e, c->attr_host, r->from), new = has_value(e, c->attr_host, r->to);
	if (old && new)
		return fail(why, "the user's entry names both stores");
	if (!old && !new)
		return fail(why, "the user's entry names neither store");
	return new ? REHOST_ALREADY : REHOST_DONE;
}

enum rehost_result rehost_ldif(const struct directory_conf *c, const struct rehost *r,
    struct span text, struct buf *out, struct buf *why)
{
	enum rehost_result result = REHOST_FAILED;
	struct entry e;
	size_t found = 0;
	entry_init(&e);
	for (size_t at = 0; at < text.n;) {
		struct span record = take_record(text, at);
		bool mine = is_entry_of(record, c, r->user, &e);
		if (mine)
			result = judge(c, r, &e, why);
		if (!mine || result != REHOST_DONE)
			buf_add_span(out, record);
		else if (!put_record(c, r, record, out))
			result = fail(why, "the user's store is not written on a line of its own");
		found += mine;
		at += record.n;
	}
	entry_end(&e);
	if (found != 1)
		return fail(why, found == 0 ? "no entry has this address as mail"
					    : "several entries have this address as mail");
	return buf_ok(out) ? result : fail(why, "larger than file_size_max");
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

/* Owner and mode as before; durable under its name when this returns. */
static err_t write_beside(int fd, const char *path, struct span text)
{
	struct stat st;
	if (stat(path, &st) != 0 || fchmod(fd, st.st_mode & 07777) != 0)
		return err_from_errno(errno);
	if (fchown(fd, st.st_uid, st.st_gid) != 0 && errno != EPERM)
		return err_from_errno(errno);
	err_t err = fd_write_all(fd, text);
	if (!err && fsync(fd) != 0)
		err = err_from_errno(errno);
	return err;
}

static err_t replace_file(const char *path, const char *fresh, struct span text)
{
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	err_t err = write_beside(fd, path, text);
	close(fd);
	if (!err && rename(fresh, path) != 0)
		err = err_from_errno(errno);
	if (err)
		(void)unlink(fresh);
	return err;
}

static enum rehost_result change_file(
    const struct directory_conf *c, const struct rehost *r, const char *fresh, struct buf *why)
{
	struct buf new = BUF_INIT(c->file_size_max);
	enum rehost_result result = REHOST_FAILED;
	struct file_id id;
	char *text;
	size_t n;
	if (file_read(c->file, c->file_size_max, &id, &text, &n) != NULL)
		buf_printf(why, "%s cannot be read", c->file);
	else
		result = rehost_ldif(c, r, span_of(text, n), &new, why);
	if (result == REHOST_DONE && !r->only_look) {
		err_t err = replace_file(c->file, fresh, buf_span(&new));
		if (err)
			buf_printf(why, "%s cannot be written: %s", fresh, err_text(err));
		result = err ? REHOST_FAILED : REHOST_DONE;
		(void)fd_sync_dir_of(c->file);
	}
	if (text != NULL)
		mem_wipe(text, n);
	mem_free(text);
	buf_wipe_end(&new);
	return result;
}

/* One tool at a time: the lock is a file beside it, since the file itself is replaced. */
static enum rehost_result rehost_file(
    const struct directory_conf *c, const struct rehost *r, struct buf *why)
{
	char lock[4096], fresh[4096];
	if (c->file == NULL || snprintf(lock, sizeof lock, "%s.lock", c->file) >= 4096 ||
	    snprintf(fresh, sizeof fresh, "%s.moving", c->file) >= 4096)
		return fail(why, "the option `file` of section directory is missing or too long");
	int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) != 0) {
		if (fd >= 0)
			close(fd);
		return fail(why, "the lock beside the directory's file cannot be had");
	}
	enum rehost_result result = change_file(c, r, fresh, why);
	close(fd);
	return result;
}

enum rehost_result directory_rehost(
    const struct directory_conf *c, const struct rehost *r, struct buf *why)
{
	if (c->backend == BACKEND_FILE)
		return rehost_file(c, r, why);
	if (c->backend == BACKEND_LDAP)
		return rehost_ldap(c, r, why);
	return fail(why, "a static directory has one store for everybody: use switch_command");
}
