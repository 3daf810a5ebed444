/* tool_import.c - postern-store import: a Maildir++ or mbox files into the mailboxes of a user, as changes asked of the
 * committer that runs. What tool_export.c writes comes back as it was: folders, flags, dates. Importing
 * the same twice makes copies.
 *
 * Owns the link to the committer. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <time.h>

#include "base/check.h"
#include "base/mem.h"
#include "store-backend/incoming.h"
#include "store-backend/store.h"
#include "store-backend/message_file.h"
#include "store-backend/tool_internal.h"
#include "store-backend/tool_link.h"

enum { PATH_SIZE = 4096, LINE_PIECE = 65536 };

struct import {
	const struct store_conf *conf;
	const char *user, *folder;
	struct index *index;
	struct tool_link link;
	uint64_t mailbox; /* that messages go to */
	uint64_t unread;  /* too long, or with a NUL */
};

/* ---- changes ------------------------------------------------------------------------------------------------- */

/* Refusals of mailboxes are told where they are met: only messages are counted. */
static enum operation_result ask(struct import *x, const struct operation *op)
{
	uint64_t done, refused;
	tool_link_drain(&x->link);
	done = x->link.done;
	refused = x->link.refused;
	enum operation_result r = tool_link_ask(&x->link, op);
	x->link.done = done;
	x->link.refused = refused;
	return r;
}

static bool ensure_user(struct import *x)
{
	struct operation op;
	struct index_user u = { .quota_bytes = x->conf->quota_bytes,
		.quota_messages = (uint64_t)x->conf->quota_messages };
	struct index_view *v = index_view_begin(x->index);
	if (v != NULL)
		(void)index_user(v, span_str(x->user), &u);
	index_view_end(&v);
	operation_init(&op, OP_ENSURE_USER);
	op.user = span_str(x->user);
	op.quota_bytes = u.quota_bytes;
	op.quota_messages = u.quota_messages;
	enum operation_result r = ask(x, &op);
	x->mailbox = x->link.last.mailbox;
	if (r != OPR_OK)
		fprintf(stderr, "postern-store: %s: %s\n", x->user, operation_result_name(r));
	return r == OPR_OK;
}

/* Messages go to this mailbox from now on; made when missing. */
static bool go_to(struct import *x, const char *name)
{
	struct operation op;
	struct index_mailbox m;
	operation_init(&op, OP_CREATE);
	op.user = span_str(x->user);
	op.name = span_str(name);
	enum operation_result r = operation_name_ok(op.name) ? OPR_EXISTS : OPR_BAD_NAME;
	if (r == OPR_EXISTS && strcmp(name, "INBOX") != 0)
		r = ask(x, &op);
	if (r == OPR_OK)
		x->mailbox = x->link.last.mailbox;
	if (r == OPR_EXISTS) {
		struct index_view *v = index_view_begin(x->index);
		if (v != NULL && index_mailbox_find(v, op.user, op.name, &m)) {
			x->mailbox = m.id;
			r = OPR_OK;
		}
		index_view_end(&v);
	}
	if (r != OPR_OK)
		fprintf(
		    stderr, "postern-store: mailbox %.255s: %s\n", name, operation_result_name(r));
	return r == OPR_OK;
}

static struct incoming *new_message(const struct import *x)
{
	return incoming_new(x->conf->message_memory, x->conf->message_size_max, x->conf->temp_dir);
}

/* Consumes the message. */
static void append(struct import *x, struct incoming *take_in, uint32_t flags, int64_t date_s)
{
	struct operation op;
	operation_init(&op, OP_APPEND);
	op.user = span_str(x->user);
	op.mailbox = x->mailbox;
	op.set.flags = flags;
	op.date_s = date_s;
	if (incoming_add_end(take_in) == ERR_OK && !incoming_has_nul(take_in) &&
	    incoming_source(take_in, &op.message) == ERR_OK) {
		tool_link_send(&x->link, &op);
	} else {
		x->unread++;
		fprintf(stderr, "postern-store: a message is too long or has a NUL\n");
	}
	incoming_free(&take_in);
}

/* ---- Maildir --------------------------------------------------------------------------------------------------- */

static uint32_t flags_of_name(const char *name)
{
	const char *info = strstr(name, ":2,");
	uint32_t flags = 0;
	for (size_t i = 0; info != NULL && i < MESSAGE_LETTER_COUNT; i++)
		if (strchr(info + 3, message_letters[i].letter) != NULL)
			flags |= message_letters[i].flag;
	return flags;
}

static bool import_file(struct import *x, const char *path, const char *name)
{
	char piece[LINE_PIECE];
	struct stat st;
	size_t n;
	FILE *f = fopen(path, "re");
	if (f == NULL || fstat(fileno(f), &st) != 0) {
		if (f != NULL)
			(void)fclose(f);
		return tool_fail(path);
	}
	struct incoming *in = new_message(x);
	while ((n = fread(piece, 1, sizeof piece, f)) > 0)
		incoming_add_text(in, span_of(piece, n));
	bool ok = ferror(f) == 0;
	(void)fclose(f);
	if (ok) {
		append(x, in, flags_of_name(name), st.st_mtime);
		return true;
	}
	incoming_free(&in);
	return tool_fail(path);
}

/* Calls fn for each name in the folder, in their order; hidden ones too. */
static bool each_name(struct import *x, const char *path,
    bool (*fn)(struct import *x, const char *path, const char *name))
{
	struct dirent **v;
	int n = scandir(path, &v, NULL, alphasort);
	bool ok = n >= 0 || errno == ENOENT || tool_fail(path);
	for (int i = 0; i < n; i++) {
		if (strcmp(v[i]->d_name, ".") != 0 && strcmp(v[i]->d_name, "..") != 0)
			ok = ok && fn(x, path, v[i]->d_name);
		free(v[i]); /* scandir()'s own memory */
	}
	if (n >= 0)
		free(v);
	return ok;
}

static bool on_message_name(struct import *x, const char *path, const char *name)
{
	char file[PATH_SIZE];
	int n = snprintf(file, sizeof file, "%s/%s", path, name);
	return n > 0 && n < PATH_SIZE && (name[0] == '.' || import_file(x, file, name));
}

static bool import_maildir(struct import *x, const char *path, const char *mailbox)
{
	char part[PATH_SIZE];
	bool ok = go_to(x, mailbox);
	for (int i = 0; ok && i < 2; i++) {
		int n = snprintf(part, sizeof part, "%s/%s", path, i == 0 ? "cur" : "new");
		ok = n > 0 && n < PATH_SIZE && each_name(x, part, on_message_name);
	}
	return ok;
}

static void dots_to_levels(char *name)
{
	for (; *name != '\0'; name++)
		if (*name == '.')
			*name = '/';
}

static bool too_long(const char *name)
{
	errno = ENAMETOOLONG;
	return tool_fail(name);
}

/* ".A.B" is the mailbox A/B. */
static bool on_maildir_name(struct import *x, const char *path, const char *name)
{
	char folder[PATH_SIZE], mailbox[256];
	if (name[0] != '.')
		return true;
	int n = snprintf(folder, sizeof folder, "%s/%s", path, name);
	int m = snprintf(mailbox, sizeof mailbox, "%s", name + 1);
	if (n >= PATH_SIZE || m >= (int)sizeof mailbox)
		return too_long(name);
	dots_to_levels(mailbox);
	return import_maildir(x, folder, mailbox);
}

/* ---- mbox ------------------------------------------------------------------------------------------------------- */

struct mbox {
	struct import *x;
	struct incoming *in; /* owned: the message that is read; NULL before the first */
	uint32_t flags;
	int64_t date_s;
	bool in_header; /* where Status may stand */
	bool blank;     /* an empty line waits: the last one belongs to the format */
	bool continues; /* the piece goes on the line before */
};

static void end_message(struct mbox *b)
{
	if (b->in != NULL)
		append(b->x, b->in, b->flags, b->date_s);
	b->in = NULL;
}

static void begin_message(struct mbox *b, const char *from_line)
{
	struct tm tm = { 0 };
	const char *date = strchr(from_line + 5, ' ');
	end_message(b);
	b->in = new_message(b->x);
	b->flags = 0;
	b->in_header = true;
	b->blank = false;
	b->date_s = date != NULL && strptime(date + 1, "%a %b %d %H:%M:%S %Y", &tm) != NULL
			? timegm(&tm)
			: 0;
}

/* The two lines that hold flags are the format's, not the message's. */
static bool take_status(struct mbox *b, const char *line)
{
	static const struct message_letter letters[] = { { 'R', STORE_SEEN },
		{ 'A', STORE_ANSWERED }, { 'F', STORE_FLAGGED }, { 'T', STORE_DRAFT },
		{ 'D', STORE_DELETED } };
	bool x_status = strncmp(line, "X-Status:", 9) == 0;
	if (!b->in_header || (!x_status && strncmp(line, "Status:", 7) != 0))
		return false;
	const char *words = strchr(line, ':');
	for (size_t i = 0; i < COUNT_OF(letters); i++)
		if ((i > 0) == x_status && strchr(words, letters[i].letter) != NULL)
			b->flags |= letters[i].flag;
	return true;
}

static const char *unquoted(const char *line)
{
	size_t quotes = strspn(line, ">");
	return quotes > 0 && strncmp(line + quotes, "From ", 5) == 0 ? line + 1 : line;
}

static void take_line(struct mbox *b, const char *line, size_t n)
{
	bool start = !b->continues;
	b->continues = n == 0 || line[n - 1] != '\n';
	if (start && strncmp(line, "From ", 5) == 0 && (b->in == NULL || b->blank)) {
		begin_message(b, line);
		return;
	}
	if (b->in == NULL || (start && take_status(b, line)))
		return;
	if (b->blank)
		incoming_add_text(b->in, SPAN("\n"));
	b->blank = start && (strcmp(line, "\n") == 0 || strcmp(line, "\r\n") == 0);
	b->in_header = b->in_header && !b->blank;
	const char *text = start ? unquoted(line) : line;
	if (!b->blank)
		incoming_add_text(b->in, span_of(text, n - (size_t)(text - line)));
}

/* As fgets(), but says how many there are: a NUL is one of them. */
static size_t read_piece(FILE *f, char line[LINE_PIECE])
{
	size_t n = 0;
	int c = 0;
	while (n + 1 < LINE_PIECE && c != '\n' && (c = getc(f)) != EOF)
		line[n++] = (char)c;
	line[n] = '\0';
	return n;
}

/* "A.B.mbox" is the mailbox A/B. */
static bool on_mbox_name(struct import *x, const char *path, const char *name)
{
	char file[PATH_SIZE], mailbox[256], line[LINE_PIECE];
	struct mbox b = { .x = x };
	size_t n = strlen(name);
	if (n < 6 || strcmp(name + n - 5, ".mbox") != 0)
		return true;
	if (n >= sizeof mailbox)
		return too_long(name);
	(void)snprintf(mailbox, sizeof mailbox, "%.*s", (int)n - 5, name);
	dots_to_levels(mailbox);
	int m = snprintf(file, sizeof file, "%s/%s", path, name);
	FILE *f = m > 0 && m < PATH_SIZE ? fopen(file, "re") : NULL;
	if (f == NULL)
		return tool_fail(file);
	bool ok = go_to(x, mailbox);
	while (ok && (n = read_piece(f, line)) > 0)
		take_line(&b, line, n);
	ok = ok && ferror(f) == 0;
	if (ok)
		end_message(&b);
	incoming_free(&b.in);
	(void)fclose(f);
	return ok;
}

/* ---- public ------------------------------------------------------------------------------------------------------- */

static int import_all(struct import *x, bool mbox)
{
	bool ok = (access(x->folder, R_OK) == 0 || tool_fail(x->folder)) && ensure_user(x);
	if (ok && mbox)
		ok = each_name(x, x->folder, on_mbox_name);
	else if (ok)
		ok = import_maildir(x, x->folder, "INBOX") &&
		     each_name(x, x->folder, on_maildir_name);
	tool_link_drain(&x->link);
	uint64_t refused = x->link.refused + x->unread;
	if (x->link.refused > 0)
		fprintf(stderr, "postern-store: a message was refused: %s\n",
		    operation_result_name(x->link.first_refused));
	printf("%" PRIu64 " messages, %" PRIu64 " refused%s\n", x->link.done, refused,
	    ok ? "" : ", not all read");
	return ok && refused == 0 ? 0 : TOOL_FAILED;
}

int tool_import(const struct conf *c, const char *const *words)
{
	const struct store_conf *s = store_options(c);
	struct import x = { .conf = s, .user = words[1], .folder = words[2] };
	const struct store_partition_conf *pc = tool_partition_of(s, span_str(x.user));
	struct tool_partition p;
	bool mbox = strcmp(words[0], "mbox") == 0;
	if ((!mbox && strcmp(words[0], "maildir") != 0) || !operation_user_ok(span_str(x.user)))
		return TOOL_USAGE;
	if (pc == NULL || !tool_open(pc, &p))
		return TOOL_FAILED;
	x.index = p.index;
	int status = tool_link_open(c, pc, &x.link) ? import_all(&x, mbox) : TOOL_FAILED;
	tool_link_close(&x.link);
	tool_close(&p);
	return status;
}
