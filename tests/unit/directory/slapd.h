/* slapd.h - private slapd processes for a test: own database, own port on loopback, ended with the test. */
#ifndef TEST_DIRECTORY_SLAPD_H
#define TEST_DIRECTORY_SLAPD_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/unit/directory/command.h"

#define SLAPD "/usr/sbin/slapd"

static uint16_t free_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof sa;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
	close(fd);
	return ntohs(sa.sin_port);
}

static bool port_answers(uint16_t port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0;
	close(fd);
	return ok;
}

struct slapd {
	char name[32];
	uint16_t port, tls_port;
	pid_t pid; /* 0: not running */
};

static const char *slapd_path(const struct slapd *s, const char *file)
{
	char name[64];
	snprintf(name, sizeof name, "%s-%s", s->name, file);
	return fixture_path(name);
}

/* A database of its own, filled from the file `ldif` of the fixture's directory by slapadd. */
static void slapd_make(struct slapd *s, const char *name, const char *ldif)
{
	char text[2048], db[160];
	*s = (struct slapd){ .port = free_port(), .tls_port = free_port() };
	snprintf(s->name, sizeof s->name, "%s", name);
	snprintf(db, sizeof db, "%s", slapd_path(s, "db"));
	assert_int_equal(mkdir(db, 0700), 0);
	snprintf(text, sizeof text,
	    "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n"
	    "include /etc/ldap/schema/inetorgperson.schema\ninclude conf/schema/postern.schema\n"
	    "modulepath /usr/lib/ldap\nmoduleload back_mdb\n"
	    "TLSCertificateFile %s\nTLSCertificateKeyFile %s\n"
	    "database mdb\nsuffix \"dc=postern\"\nrootdn \"cn=admin,dc=postern\"\nrootpw admin\n"
	    "directory %s\nmaxsize 33554432\nindex objectClass,uid,cn eq\nindex mail eq,sub\n"
	    "access to attrs=userPassword by anonymous auth by dn.exact=\"cn=service,dc=postern\" "
	    "read by * none\naccess to * by * read\n",
	    fixture_path("tls.pem"), fixture_path("tls.key"), db);
	snprintf(db, sizeof db, "%s-conf", s->name);
	fixture_write(db, text);
	RUN("slapadd", "-q", "-f", slapd_path(s, "conf"), "-l", fixture_path(ldif));
}

static void slapd_start(struct slapd *s)
{
	char url[256], conf[160];
	uint64_t until = clock_mono_ms() + ANSWER_WAIT_MS;
	snprintf(url, sizeof url,
	    "ldap://127.0.0.1:%u ldaps://127.0.0.1:%u ldapi://%%2Ftmp%%2F%s%%2F%s", s->port,
	    s->tls_port, fixture_dir + strlen("/tmp/"), s->name);
	snprintf(conf, sizeof conf, "%s", slapd_path(s, "conf"));
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (s->pid == 0) {
		int null = open("/dev/null", O_RDWR);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, 1);
		dup2(null, 2);
		execl(SLAPD, "slapd", "-h", url, "-f", conf, "-d", "0", (char *)NULL);
		_exit(127);
	}
	while (!port_answers(s->port) || !port_answers(s->tls_port)) {
		assert_true(clock_mono_ms() < until);
		assert_int_equal(waitpid(s->pid, NULL, WNOHANG), 0);
	}
}

static void slapd_kill(struct slapd *s)
{
	if (s->pid == 0)
		return;
	assert_int_equal(kill(s->pid, SIGKILL), 0);
	assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
	s->pid = 0;
}

#endif
