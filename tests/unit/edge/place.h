/* place.h - a directory of files for a test of the edge: configuration, users of x.example, three stores on
 * unix sockets store1.sock ... in it. */
#ifndef TESTS_PLACE_H
#define TESTS_PLACE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/edge/load.h"

#include "base/check.h"
#include "base/log.h"
#include "daemon/daemon.h"

static char dir[] = "/tmp/postern-edge-XXXXXX";

static void write_file(const char *name, const char *text)
{
	load_write(dir, name, text);
}

static void write_directory(void)
{
	static const char *const users[] = { "alice", "bob", "carol", "gone" };
	struct buf out = BUF_INIT(8000);
	buf_printf(&out, "dn: dc=postern\nobjectClass: domain\ndc: postern\n\n"
			 "dn: dc=x,dc=postern\nobjectClass: domain\ndc: x\n"
			 "associatedDomain: x.example\n");
	for (int k = 1; k <= 3; k++)
		buf_printf(&out,
		    "\ndn: cn=store%d,dc=postern\nobjectClass: posternStore\ncn: store%d\n"
		    "posternStoreHost: %s/store%d.sock\nposternStoreLmtpPort: 24\n",
		    k, k, dir, k);
	for (size_t i = 0; i < COUNT_OF(users); i++)
		buf_printf(&out,
		    "\ndn: uid=%s,dc=x,dc=postern\nobjectClass: inetMailUser\nuid: %s\n"
		    "mail: %s@x.example\nmailHost: store1\nuserPassword: x\n",
		    users[i], users[i], users[i]);
	buf_add_str(&out, "\ndn: cn=former,dc=x,dc=postern\nobjectClass: inetMailGroup\n"
			  "cn: former\nmail: former@x.example\n"
			  "mgrpRFC822MailMember: carol@x.example\n"
			  "\ndn: cn=both,dc=x,dc=postern\nobjectClass: inetMailGroup\n"
			  "cn: both\nmail: both@x.example\n"
			  "mgrpRFC822MailMember: carol@x.example\n"
			  "mgrpRFC822MailMember: alice@x.example\n");
	write_file("users.ldif", buf_cstr(&out));
	buf_end(&out);
}

static int setup(void **state)
{
	char text[512];
	log_setup("test", getenv("VERBOSE") != NULL ? LOG_DEBUG : LOG_ERROR, false);
	assert_non_null(mkdtemp(dir));
	write_directory();
	metermaid_prepare();
	snprintf(text, sizeof text,
	    "hostname edge.example;\nrun_dir %s;\ndirectory { backend file; file users.ldif; }\n"
	    "edge { smtp_tls none; mx_loopback yes; listener mx { address 127.0.0.1:25; role mx; "
	    "tls none; } }\n",
	    dir);
	write_file("postern.conf", text);
	return 0;
}

static int teardown(void **state)
{
	char *const argv[] = { "rm", "-rf", dir, NULL };
	pid_t pid = fork();
	if (pid == 0) {
		execv("/bin/rm", argv);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
	return 0;
}

static struct conf *load(void)
{
	return load_good(dir);
}

/* What a test's bench has of these, in the order in which it goes; the loop has its last rounds. */
struct place_parts {
	struct loop **loop;
	struct dns **dns;
	struct directory **directory;
	struct conf **conf;
};

static inline void place_parts_end(struct place_parts p)
{
	directory_free(p.directory);
	dns_free(p.dns);
	conf_unref(p.conf);
	for (int i = 0; i < 3; i++)
		loop_step(*p.loop, 0);
	loop_free(p.loop);
}

#endif
