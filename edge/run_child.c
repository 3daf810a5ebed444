/* run_child.c - see run_child.h (part of step 6: runner.c). In this process nothing else happens, so it may wait.
 *
 * Order: standard streams, user, limits, directory, then the program. Nothing of the recipient's is looked at before
 * the process is the user. */
#include "edge/run_child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/mem.h"
#include "edge/convert.h"
#include "edge/mailbox.h"
#include "edge/run_user.h"

enum {
	RESULT_FD = 3,
	FILES_MAX = 256,
	VALUE_MAX = 4096,
	ENVIRONMENT_MAX = 64 * 1024,
	LOCK_MS = 20 * 1000,
};

static noreturn void leave(int status, const char *why)
{
	struct span rest = span_str(why);
	ssize_t n = rest.n > 0 ? write(STDERR_FILENO, rest.p, rest.n) : 0;
	_exit(n >= 0 ? status : EX_TEMPFAIL);
}

/* ---- streams and signals ------------------------------------------------------------------------ */

static void put_streams(const struct run_child *c)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGCHLD, SIGQUIT };
	struct sigaction sa = { .sa_handler = SIG_DFL };
	sigset_t none;
	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
		sigaction(signals[i], &sa, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	/* The numbers of the three are above RESULT_FD: standard streams are open in the runner. */
	if (dup2(c->message, STDIN_FILENO) < 0 || dup2(c->words, STDOUT_FILENO) < 0 ||
	    dup2(c->words, STDERR_FILENO) < 0 || lseek(STDIN_FILENO, 0, SEEK_SET) != 0)
		_exit(EX_TEMPFAIL);
	if (c->result >= 0 && c->result != RESULT_FD && dup2(c->result, RESULT_FD) < 0)
		_exit(EX_TEMPFAIL);
	close_range(c->result >= 0 ? RESULT_FD + 1 : RESULT_FD, ~0u, 0);
}

/* ---- limits ------------------------------------------------------------------------------------- */

static bool limit(int what, uint64_t value)
{
	struct rlimit r = { value, value };
	return setrlimit((__rlimit_resource_t)what, &r) == 0;
}

static bool set_limits(const struct edge_channel_conf *c)
{
	return limit(RLIMIT_CORE, 0) && limit(RLIMIT_CPU, (c->cpu + 999) / 1000) &&
	       limit(RLIMIT_NOFILE, FILES_MAX) &&
	       (c->file_size == 0 || limit(RLIMIT_FSIZE, c->file_size)) &&
	       (c->processes == 0 || limit(RLIMIT_NPROC, (uint64_t)c->processes));
}

/* Dies with the runner, a conversion with the group of its program; gains nothing by what it runs. */
static void confine(const struct edge_channel_conf *c)
{
	prctl(PR_SET_PDEATHSIG, c->type == CHANNEL_CONVERSION ? SIGTERM : SIGKILL, 0, 0, 0);
	if (!c->privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		leave(EX_TEMPFAIL, "4.3.5 the program cannot be confined");
	umask(077);
	if (!set_limits(c))
		leave(EX_TEMPFAIL, "4.3.5 the limits of the program cannot be set");
}

/* ---- the program -------------------------------------------------------------------------------- */

static char *filled(const char *text, const struct run_user *u, enum template_use use)
{
	struct buf b = BUF_INIT(VALUE_MAX);
	char *out = template_put(&b, text, &u->names, use) ? mem_str(buf_cstr(&b)) : NULL;
	buf_end(&b);
	return out;
}

static char **arguments_of(const struct edge_channel_conf *c, const struct run_user *u)
{
	char **v = mem_array(c->arguments.n + 2, sizeof(char *));
	v[0] = mem_str(c->program);
	for (size_t i = 0; i < c->arguments.n; i++) {
		v[i + 1] = filled(c->arguments.v[i], u, TEMPLATE_ARGUMENT);
		if (v[i + 1] == NULL)
			leave(EX_NOUSER,
			    "5.1.3 the address has characters that programs are not given");
	}
	return v;
}

static char *variable(const char *name, struct span value)
{
	struct buf b = BUF_INIT(VALUE_MAX);
	buf_printf(&b, "%s=", name);
	if (!template_is_plain(value) && strcmp(name, "HOME") != 0)
		template_put_plain(&b, value);
	else
		buf_add_span(&b, value);
	char *out = mem_str(buf_cstr(&b));
	buf_end(&b);
	return out;
}

static char **environment_of(const struct edge_channel_conf *c, const struct run_user *u)
{
	static const struct {
		const char *name;
		enum template_name value;
	} rows[] = {
		{ "HOME", TEMPLATE_HOME },
		{ "SENDER", TEMPLATE_SENDER },
		{ "RECIPIENT", TEMPLATE_ADDRESS },
		{ "LOCAL", TEMPLATE_LOCAL },
		{ "DOMAIN", TEMPLATE_DOMAIN },
		{ "DETAIL", TEMPLATE_DETAIL },
		{ "DELIVERY_ID", TEMPLATE_ID },
	};
	size_t n = 0, rows_n = sizeof rows / sizeof rows[0];
	char **v = mem_array(rows_n + 4 + c->environment.n + 1, sizeof(char *));
	for (size_t i = 0; i < rows_n; i++)
		v[n++] = variable(rows[i].name, u->names.v[rows[i].value]);
	v[n++] = variable("USER", span_str(u->name));
	v[n++] = variable("LOGNAME", span_str(u->name));
	v[n++] = mem_str("SHELL=/bin/sh");
	v[n++] = mem_str("PATH=/usr/local/bin:/usr/bin:/bin");
	for (size_t i = 0; i < c->environment.n; i++)
		v[n++] = mem_str(c->environment.v[i]);
	return v;
}

static noreturn void run_program(const struct edge_channel_conf *c, const struct run_user *u)
{
	char **arguments = arguments_of(c, u), **environment = environment_of(c, u);
	char *directory = filled(c->directory, u, TEMPLATE_PATH);
	if (directory == NULL || chdir(directory) != 0)
		leave(EX_TEMPFAIL, "4.3.5 the program's directory cannot be entered");
	if (!limit(RLIMIT_AS, c->memory))
		leave(EX_TEMPFAIL, "4.3.5 the limits of the program cannot be set");
	execve(c->program, arguments, environment);
	leave(EX_TEMPFAIL, errno == ENOENT ? "4.3.5 the program is not there"
					   : "4.3.5 the program cannot be started");
}

/* ---- the mailbox -------------------------------------------------------------------------------- */

static noreturn void put_mailbox(const struct run_child *c, const struct run_user *u)
{
	const struct edge_channel_conf *own = c->channel;
	bool mbox = own->format == CHANNEL_MBOX;
	const char *usual = mbox ? "/var/mail/{local}" : "{home}/Maildir";
	char *path = filled(own->path != NULL ? own->path : usual, u, TEMPLATE_PATH);
	struct buf why = BUF_INIT(RUN_TEXT_MAX);
	if (path == NULL)
		leave(EX_NOUSER, "5.1.3 the address can be no name of a mailbox here");
	struct mailbox_ask a = {
		.path = path,
		.message = STDIN_FILENO,
		.id = c->ask->id,
		.recipient = c->ask->recipient,
		.arrived_s = c->ask->arrived_us / 1000000,
		.again = c->ask->again,
		.quota = own->quota,
		.hostname = c->hostname,
		.sender = c->ask->sender,
		.lock_ms = LOCK_MS,
	};
	int status = mbox ? mbox_put(&a, &why) : maildir_put(&a, &why);
	leave(status, buf_cstr(&why));
}

static noreturn void convert_message(const struct run_child *c)
{
	struct buf why = BUF_INIT(RUN_TEXT_MAX);
	struct convert_ask a = { .channel = c->channel,
		.message = STDIN_FILENO,
		.result = RESULT_FD,
		.sender = c->ask->sender,
		.ours = c->ask->ours,
		.to = c->ask->to };
	convert_heed_end();
	int status = convert(&a, &why);
	leave(status, buf_cstr(&why));
}

noreturn void run_child(const struct run_child *c)
{
	struct run_user u = { .room_n = 0 };
	int status = EX_TEMPFAIL;
	put_streams(c);
	const char *why = run_user_find(&u, c->ask, c->channel, &status);
	if (why != NULL)
		leave(status, why);
	why = run_user_become(&u, c->channel);
	if (why != NULL)
		leave(EX_TEMPFAIL, why);
	confine(c->channel);
	if (c->channel->type == CHANNEL_LOCAL)
		put_mailbox(c, &u);
	if (c->channel->type == CHANNEL_CONVERSION)
		convert_message(c);
	run_program(c->channel, &u);
}
