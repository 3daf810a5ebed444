/* message_file.c - messages of the store as files of a Maildir++ or an mbox. Before: tool_export.c, partition_archive.c. Owns
 * nothing that lasts. */
#include "store-backend/message_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

enum { NAME_SIZE = 128, FLAGS_SIZE = 8, FULL_SIZE = MESSAGE_FILE_PATH_SIZE + 160 };

const struct message_letter message_letters[MESSAGE_LETTER_COUNT] = {
	{ 'D', STORE_DRAFT },
	{ 'F', STORE_FLAGGED },
	{ 'R', STORE_ANSWERED },
	{ 'S', STORE_SEEN },
	{ 'T', STORE_DELETED },
};

/* ---- bytes ------------------------------------------------------------------------------------------------- */

/* mboxrd: a line that begins with any number of ">" and "From " gets one more. */
static bool is_from_line(const char *line, size_t n)
{
	while (n > 0 && *line == '>') {
		line++;
		n--;
	}
	return n >= 5 && memcmp(line, "From ", 5) == 0;
}

static bool put_lf(FILE *to, struct span bytes, bool quote_from)
{
	const char *p = bytes.p;
	for (size_t i = 0, n = bytes.n; i < n;) {
		const char *end = memchr(p + i, '\n', n - i);
		size_t line = end != NULL ? (size_t)(end - p) - i : n - i;
		if (quote_from && is_from_line(p + i, line))
			(void)putc('>', to);
		bool cr = line > 0 && p[i + line - 1] == '\r';
		(void)fwrite(p + i, 1, line - cr, to);
		if (end != NULL)
			(void)putc('\n', to);
		i += line + (end != NULL);
	}
	return ferror(to) == 0;
}

err_t message_put(
    FILE *to, struct commitlog_reader *r, const struct index_entry *e, bool quote_from)
{
	struct buf whole = BUF_INIT(COMMITLOG_PAYLOAD_MAX);
	err_t err = commitlog_reader_load(r, e->blob, &whole);
	if (!err && buf_len(&whole) != e->size)
		err = ERR_CORRUPT; /* what the index says is not so */
	if (!err && !put_lf(to, buf_span(&whole), quote_from))
		err = ERR_IO;
	buf_end(&whole);
	return err;
}

/* ---- folders ----------------------------------------------------------------------------------------------- */

static err_t make_folder(const char *path)
{
	return mkdir(path, 0700) == 0 || errno == EEXIST ? ERR_OK : err_from_errno(errno);
}

err_t message_dir_make(const char *root, struct span mailbox, struct message_dir *out)
{
	static const char *const parts[] = { "", "/cur", "/new", "/tmp" };
	char path[FULL_SIZE];
	bool inbox = span_eq_str(mailbox, "INBOX");
	int n = inbox ? snprintf(out->path, sizeof out->path, "%s", root)
		      : snprintf(out->path, sizeof out->path, "%s/.%.*s", root, SPAN_ARG(mailbox));
	if (n <= 0 || n >= MESSAGE_FILE_PATH_SIZE)
		return ERR_TOO_LONG;
	for (char *p = out->path + strlen(root) + 2; !inbox && *p != '\0'; p++)
		*p = *p == '/' ? '.' : *p == '.' ? '_' : *p;
	err_t err = ERR_OK;
	for (size_t i = 0; !err && i < COUNT_OF(parts); i++) {
		(void)snprintf(path, sizeof path, "%s%s", out->path, parts[i]);
		err = make_folder(path);
	}
	return err;
}

static err_t sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	err_t err = fsync(fd) == 0 ? ERR_OK : err_from_errno(errno);
	close(fd);
	return err;
}

err_t message_dir_sync(const char *root, const struct message_dir *d)
{
	char cur[FULL_SIZE];
	(void)snprintf(cur, sizeof cur, "%s/cur", d->path);
	err_t err = sync_folder(cur);
	if (!err)
		err = sync_folder(d->path);
	return err ? err : sync_folder(root);
}

/* ---- files ------------------------------------------------------------------------------------------------- */

static void put_flags(uint32_t flags, char out[FLAGS_SIZE])
{
	size_t n = 0;
	for (size_t i = 0; i < MESSAGE_LETTER_COUNT; i++)
		if ((flags & message_letters[i].flag) != 0)
			out[n++] = message_letters[i].letter;
	out[n] = '\0';
}

static void put_path(
    char out[FULL_SIZE], const struct message_dir *d, const char *name, uint32_t flags)
{
	char letters[FLAGS_SIZE];
	put_flags(flags, letters);
	(void)snprintf(out, FULL_SIZE, "%s/cur/%s:2,%s", d->path, name, letters);
}

/* A writer that died may have left the same message with the flags of then. */
static void remove_others(const struct message_dir *d, const char *name, const char *keep)
{
	const unsigned all = 1u << MESSAGE_LETTER_COUNT;
	char path[FULL_SIZE];
	for (unsigned bits = 0; bits < all; bits++) {
		uint32_t one = 0;
		for (size_t i = 0; i < MESSAGE_LETTER_COUNT; i++)
			one |= (bits >> i & 1) != 0 ? message_letters[i].flag : 0;
		put_path(path, d, name, one);
		if (strcmp(path, keep) != 0)
			(void)unlink(path);
	}
}

static err_t write_tmp(
    const char *tmp, struct commitlog_reader *r, const struct index_entry *e, bool durable)
{
	struct timespec when[2] = { { .tv_sec = e->date_s }, { .tv_sec = e->date_s } };
	FILE *to = fopen(tmp, "we");
	if (to == NULL)
		return err_from_errno(errno);
	err_t err = message_put(to, r, e, false);
	if (fflush(to) != 0 && !err)
		err = err_from_errno(errno);
	(void)futimens(fileno(to), when);
	if (!err && durable && fsync(fileno(to)) != 0)
		err = err_from_errno(errno);
	if (fclose(to) != 0 && !err)
		err = err_from_errno(errno);
	return err;
}

err_t message_dir_add(const struct message_dir *d, struct commitlog_reader *r,
    const struct index_entry *e, bool durable)
{
	char name[NAME_SIZE], tmp[FULL_SIZE], to[FULL_SIZE];
	(void)snprintf(
	    name, sizeof name, "%" PRId64 ".V%uU%u.postern", e->date_s, d->uidvalidity, e->uid);
	(void)snprintf(tmp, sizeof tmp, "%s/tmp/%s", d->path, name);
	put_path(to, d, name, e->flags);
	err_t err = write_tmp(tmp, r, e, durable);
	if (!err && rename(tmp, to) != 0)
		err = err_from_errno(errno);
	if (err)
		(void)unlink(tmp);
	else
		remove_others(d, name, to);
	return err;
}
