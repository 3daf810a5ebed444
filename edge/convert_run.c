/* convert_run.c - a program for one part of a message: its files, its environment, its end; part of convert.c.
 *
 * Owns one folder below work_dir with at most five files, which are removed after each run. A folder that a process
 * which was killed has left is removed by the next one, a day later. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "edge/convert_internal.h"
#include "edge/template.h"
#include "proto/mime_transfer.h"

enum {
	OPTIONS_MAX = 16 * 1024,
	OLD_S = 24 * 3600,
	BLOCK = 64 * 1024,
	VARIABLES_MAX = 20,
	SWEEP_MAX = 10000
};

static const char folder[] = "postern-conversion-";
static const char *const files[] = { "input", "input-headers", "message-headers", "output",
	"options" };
enum file { F_INPUT, F_INPUT_HEADERS, F_MESSAGE_HEADERS, F_OUTPUT, F_OPTIONS, FILES };

/* Nobody waits for the conversion any more. */
static volatile sig_atomic_t given_up;

static void on_term(int number)
{
	given_up = 1;
}

/* Held back but while a program runs: so none is missed in front of the wait. */
void convert_heed_end(void)
{
	struct sigaction sa = { .sa_handler = on_term };
	sigset_t term;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

/* ---- the folder --------------------------------------------------------------------------------- */

static void path_of(const struct conversion *c, enum file f, char out[CONVERT_PATH_SIZE + 20])
{
	snprintf(out, CONVERT_PATH_SIZE + 20, "%s/%s", c->dir, files[f]);
}

static void clean(const struct conversion *c)
{
	char path[CONVERT_PATH_SIZE + 20];
	for (size_t i = 0; i < FILES; i++) {
		path_of(c, (enum file)i, path);
		unlink(path);
	}
}

static void sweep_one(int dir, const char *name)
{
	struct stat st;
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	bool old = fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
		   clock_wall_us() / 1000000 > (uint64_t)st.st_mtime + OLD_S;
	for (size_t i = 0; old && i < FILES; i++)
		unlinkat(fd, files[i], 0);
	close(fd);
	if (old)
		unlinkat(dir, name, AT_REMOVEDIR);
}

static void sweep(const char *work_dir)
{
	DIR *d = opendir(work_dir);
	struct dirent *e;
	for (size_t i = 0; d != NULL && i < SWEEP_MAX && (e = readdir(d)) != NULL; i++)
		if (strncmp(e->d_name, folder, sizeof folder - 1) == 0)
			sweep_one(dirfd(d), e->d_name);
	if (d != NULL)
		closedir(d);
}

bool convert_dir(struct conversion *c)
{
	const char *work_dir = c->ask->channel->work_dir;
	if (c->dir[0] != '\0')
		return true;
	sweep(work_dir);
	int n = snprintf(c->dir, sizeof c->dir, "%s/%sXXXXXX", work_dir, folder);
	if (n > 0 && n < (int)sizeof c->dir && mkdtemp(c->dir) != NULL)
		return true;
	c->dir[0] = '\0';
	return false;
}

void convert_dir_end(struct conversion *c)
{
	if (c->dir[0] == '\0')
		return;
	clean(c);
	rmdir(c->dir);
	c->dir[0] = '\0';
}

/* ---- files -------------------------------------------------------------------------------------- */

static int make(const struct conversion *c, enum file f)
{
	char path[CONVERT_PATH_SIZE + 20];
	path_of(c, f, path);
	return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static bool write_file(const struct conversion *c, enum file f, struct span text)
{
	int fd = make(c, f);
	bool ok = fd >= 0 && fd_write_all(fd, text) == ERR_OK;
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool write_decoded(const struct conversion *c, struct span body, struct span encoding)
{
	struct transfer t = { .how = mime_transfer_of(encoding) };
	int fd = make(c, F_INPUT);
	bool ok = fd >= 0;
	while (ok && body.n > 0) {
		struct buf out = BUF_INIT(2 * BLOCK);
		struct span piece = span_first(body, BLOCK);
		transfer_put(&t, piece, &out);
		body = span_from(body, piece.n);
		if (body.n == 0)
			transfer_end(&t, &out);
		ok = fd_write_all(fd, buf_span(&out)) == ERR_OK;
		buf_end(&out);
	}
	if (fd >= 0)
		close(fd);
	return ok;
}

/* False: it is there and cannot be read, or is too long. out stays empty when it is not there. */
static bool read_file(const struct conversion *c, enum file f, struct buf *out, bool *there_out)
{
	char path[CONVERT_PATH_SIZE + 20], *room;
	path_of(c, f, path);
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	*there_out = fd >= 0;
	if (fd < 0)
		return errno == ENOENT;
	bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size <= out->max;
	while (ok) {
		size_t want = buf_room(out, BLOCK, &room);
		ssize_t n = want > 0 ? read(fd, room, want) : -1;
		if (n == 0)
			break;
		ok = n > 0;
		if (ok)
			buf_added(out, (size_t)n);
		if (ok && buf_len(out) == out->max)
			break;
	}
	close(fd);
	return ok;
}

static bool write_input(const struct conversion *c, size_t part, const struct part_facts *f)
{
	const struct mime_part *p = &c->mime.v[part];
	struct span body = span_first(span_from(c->message, p->body_at), p->end - p->body_at);
	clean(c);
	return write_decoded(c, body, f->encoding) &&
	       write_file(c, F_INPUT_HEADERS, mime_header(c->message, p)) &&
	       write_file(c, F_MESSAGE_HEADERS, mime_header(c->message, &c->mime.v[0]));
}

/* ---- the program -------------------------------------------------------------------------------- */

struct environment {
	char *v[VARIABLES_MAX];
	size_t n;
};

static void put_variable(struct environment *e, const char *name, struct span value, bool clean_it)
{
	struct buf b = BUF_INIT(2 * CONVERT_VALUE_MAX);
	buf_printf(&b, "%s=", name);
	if (clean_it)
		template_put_plain(&b, value);
	else
		buf_add_span(&b, value);
	e->v[e->n++] = mem_str(buf_cstr(&b));
	buf_end(&b);
}

static void put_environment(
    struct environment *e, const struct conversion *c, const struct part_facts *f)
{
	static const struct {
		const char *name;
		enum file file;
	} rows[] = { { "INPUT_FILE", F_INPUT }, { "INPUT_HEADERS", F_INPUT_HEADERS },
		{ "MESSAGE_HEADERS", F_MESSAGE_HEADERS }, { "OUTPUT_FILE", F_OUTPUT },
		{ "OUTPUT_OPTIONS", F_OPTIONS } };
	char path[CONVERT_PATH_SIZE + 20];
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		path_of(c, rows[i].file, path);
		put_variable(e, rows[i].name, span_str(path), false);
	}
	put_variable(e, "INPUT_TYPE", f->type, true);
	put_variable(e, "INPUT_SUBTYPE", f->subtype, true);
	put_variable(e, "INPUT_ENCODING", f->encoding, true);
	put_variable(e, "INPUT_DISPOSITION", f->disposition, true);
	put_variable(e, "INPUT_NAME", f->name, true);
	put_variable(e, "INPUT_CHANNEL", c->ask->ours ? SPAN("ours") : SPAN("others"), false);
	put_variable(e, "OUTPUT_CHANNEL", c->ask->to, true);
	put_variable(e, "PART_NUMBER", span_str(f->number), false);
	snprintf(path, sizeof path, "%u", f->attachment);
	put_variable(e, "ATTACHMENT_NUMBER", span_str(path), false);
	put_variable(e, "PATH", SPAN("/usr/local/bin:/usr/bin:/bin"), false);
	put_variable(e, "HOME", span_str(c->dir), false);
}

static _Noreturn void become(
    const struct conversion *c, const struct edge_part_conf *rule, struct environment *e)
{
	char in[CONVERT_PATH_SIZE + 20], out[CONVERT_PATH_SIZE + 20];
	char **v = mem_array(rule->arguments.n + 2, sizeof(char *));
	struct rlimit space = { c->ask->channel->memory, c->ask->channel->memory };
	struct rlimit size = { c->out_max + 1, c->out_max + 1 };
	int null = open("/dev/null", O_RDONLY);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	path_of(c, F_INPUT, in);
	path_of(c, F_OUTPUT, out);
	v[0] = mem_str(rule->program);
	for (size_t i = 0; i < rule->arguments.n; i++) {
		const char *a = rule->arguments.v[i];
		v[i + 1] = mem_str(strcmp(a, "{input}") == 0    ? in
				   : strcmp(a, "{output}") == 0 ? out
								: a);
	}
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || close_range(3, ~0u, 0) != 0 ||
	    chdir(c->dir) != 0 || setrlimit(RLIMIT_AS, &space) != 0 ||
	    setrlimit(RLIMIT_FSIZE, &size) != 0)
		_exit(127);
	execve(rule->program, v, e->v);
	_exit(127);
}

/* The exit status; -1: a signal, no time left, nobody waits, or it could not be started. */
static int wait_for(const struct conversion *c, pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0), status = 0;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	bool ended = false;
	sigset_t heard;
	sigprocmask(SIG_BLOCK, NULL, &heard);
	sigdelset(&heard, SIGTERM);
	while (fd >= 0 && !ended && !given_up) {
		uint64_t now = clock_mono_ms();
		if (now >= c->until_ms)
			break;
		uint64_t left = c->until_ms - now;
		struct timespec t = { (time_t)(left / 1000), (long)(left % 1000) * 1000000 };
		ended = ppoll(&p, 1, &t, &heard) > 0;
	}
	kill(-pid, SIGKILL); /* all of it, or what it has left behind */
	kill(pid, ended ? 0 : SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	kill(-pid, SIGKILL);
	if (fd >= 0)
		close(fd);
	return ended && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int run(
    const struct conversion *c, const struct part_facts *f, const struct edge_part_conf *rule)
{
	struct environment e = { .n = 0 };
	if (given_up)
		return -1;
	put_environment(&e, c, f);
	pid_t pid = fork();
	if (pid == 0)
		become(c, rule, &e);
	int status = pid > 0 ? wait_for(c, pid) : -1;
	for (size_t i = 0; i < e.n; i++)
		mem_free(e.v[i]);
	return status;
}

/* ---- what it has said --------------------------------------------------------------------------- */

/* The model's numbers, and words. */
static const struct {
	const char *number, *word;
	enum part_end end;
} statuses[] = {
	{ "0", "ok", PART_END_CHANGE },
	{ "178029946", "bounce", PART_END_BOUNCE },
	{ "178029947", "bounce-sample", PART_END_BOUNCE },
	{ "178030178", "delete", PART_END_DELETE },
	{ "178030250", "hold", PART_END_HOLD },
	{ "178030259", "drop", PART_END_DROP },
	{ "178030130", "keep", PART_END_KEEP },
	{ "178028698", "later", PART_END_LATER },
};

/* One line, nothing that could begin another field. */
static void copy_value(char *out, size_t size, struct span value)
{
	size_t n = 0;
	for (size_t i = 0; i < value.n && n + 1 < size; i++)
		out[n++] = value.p[i] >= ' ' && value.p[i] < 0x7f ? value.p[i] : '?';
	out[n] = '\0';
}

static bool take_status(struct span value, enum part_end *out)
{
	for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
		if (span_eq_str(value, statuses[i].number) ||
		    span_ieq_str(value, statuses[i].word)) {
			*out = statuses[i].end;
			return true;
		}
	return false;
}

struct types {
	struct span type, subtype;
};

static bool take_option(struct part_result *r, struct types *t, struct span key, struct span value)
{
	if (span_eq_str(key, "STATUS"))
		return take_status(value, &r->end);
	if (span_eq_str(key, "OUTPUT_TYPE"))
		t->type = value;
	else if (span_eq_str(key, "OUTPUT_SUBTYPE"))
		t->subtype = value;
	else if (span_eq_str(key, "OUTPUT_DISPOSITION"))
		copy_value(r->disposition, sizeof r->disposition, value);
	else if (span_eq_str(key, "OUTPUT_DESCRIPTION"))
		copy_value(r->description, sizeof r->description, value);
	else if (span_eq_str(key, "OUTPUT_DIAGNOSTIC"))
		copy_value(r->text, sizeof r->text, value);
	return true; /* others are the model's, and mean nothing here */
}

/* False: it says what there is not. */
static bool take_options(struct part_result *r, struct span text)
{
	struct types t = { SPAN_NONE, SPAN_NONE };
	bool ok = true;
	while (text.n > 0 && ok) {
		struct span line = span_trim(span_cut(&text, '\n')), key = span_cut(&line, '=');
		struct span value = span_trim(line);
		if (value.n > 1 && value.p[0] == '"' && value.p[value.n - 1] == '"')
			value = span_first(span_from(value, 1), value.n - 2);
		ok = take_option(r, &t, span_trim(key), value);
	}
	if (t.type.n > 0 && t.subtype.n > 0) {
		char type[200];
		snprintf(type, sizeof type, "%.*s/%.*s", (int)(t.type.n < 90 ? t.type.n : 90),
		    t.type.p, (int)(t.subtype.n < 90 ? t.subtype.n : 90), t.subtype.p);
		copy_value(r->type, sizeof r->type, span_str(type));
	}
	return ok;
}

static bool take_result(const struct conversion *c, struct part_result *r)
{
	struct buf options = BUF_INIT(OPTIONS_MAX);
	bool there;
	r->end = PART_END_CHANGE;
	bool ok = read_file(c, F_OPTIONS, &options, &there) && take_options(r, buf_span(&options));
	buf_end(&options);
	if (!ok || r->end != PART_END_CHANGE)
		return ok;
	ok = read_file(c, F_OUTPUT, &r->out, &there);
	if (!there) /* it left the part alone */
		r->end = PART_END_KEEP;
	return ok;
}

static enum part_end failure_of(const struct edge_part_conf *rule)
{
	static const enum part_end ends[] = { [PART_FAIL_LATER] = PART_END_LATER,
		[PART_FAIL_KEEP] = PART_END_KEEP,
		[PART_FAIL_DELETE] = PART_END_DELETE,
		[PART_FAIL_HOLD] = PART_END_HOLD,
		[PART_FAIL_BOUNCE] = PART_END_BOUNCE };
	return ends[rule->on_failure];
}

void convert_run(struct conversion *c, size_t part, const struct part_facts *f,
    const struct edge_part_conf *rule, struct part_result *out)
{
	bool ok = convert_dir(c) && write_input(c, part, f) && run(c, f, rule) == 0 &&
		  take_result(c, out);
	if (c->dir[0] != '\0')
		clean(c);
	if (ok)
		return;
	out->end = failure_of(rule);
	snprintf(out->text, sizeof out->text, "the program for part %.60s failed", f->number);
}
