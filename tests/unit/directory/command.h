/* command.h - other programs run by a test; a certificate made by one. */
#ifndef TEST_DIRECTORY_COMMAND_H
#define TEST_DIRECTORY_COMMAND_H

#include <fcntl.h>
#include <sys/wait.h>

#include "tests/unit/directory/fixture.h"

/* Runs a program to its end; what it says is shown when it fails. */
__attribute__((unused)) static void run(const char *const *argv)
{
	int status;
	char said[4096];
	const char *words = fixture_path("said");
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		dup2(open(words, O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	FILE *f = fopen(words, "r");
	size_t n = f != NULL ? fread(said, 1, sizeof said, f) : 0;
	print_error("%s: %.*s\n", argv[0], (int)n, said);
	fail();
}
#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

/* A certificate for 127.0.0.1, signed by itself, in tls.pem and tls.key. */
static void make_certificate(void)
{
	RUN("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
	    "-nodes", "-days", "2", "-subj", "/CN=ldap", "-addext", "subjectAltName=IP:127.0.0.1",
	    "-keyout", fixture_path("tls.key"), "-out", fixture_path("tls.pem"));
}

#endif
