/* load.h - a test's directory: postern.conf in it, with all sections that the edge reads, and other files. */
#ifndef TESTS_EDGE_LOAD_H
#define TESTS_EDGE_LOAD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon/daemon_conf.h"
#include "directory/directory.h"
#include "edge/edge_conf.h"
#include "metermaid/metermaid.h"

__attribute__((unused)) static void load_write(
    const char *place, const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", place, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

__attribute__((unused)) static void load_remove(char *place)
{
	char *const rm[] = { "rm", "-rf", place, NULL };
	if (fork() == 0) {
		execvp(rm[0], rm);
		_exit(127);
	}
	wait(NULL);
}

/* NULL: d says why. */
static struct conf *load_from(const char *place, struct conf_diag *d)
{
	static const struct conf_block *const sections[] = { &tls_block, &directory_block,
		&metermaid_block, &edge_block, NULL };
	static const struct conf_schema schema = {
		.root = &root_block, .sections = sections, .check = edge_conf_check
	};
	char path[128];
	snprintf(path, sizeof path, "%s/postern.conf", place);
	struct conf_source *src = conf_source_disk(path);
	struct conf *c = conf_load(&schema, src, NULL, d);
	conf_source_free(&src);
	return c;
}

static struct conf *load_good(const char *place)
{
	struct conf_diag *d = conf_diag_new();
	struct conf *c = load_from(place, d);
	for (size_t i = 0; i < conf_error_count(d); i++)
		print_error("%s\n", conf_error_text(d, i));
	assert_non_null(c);
	conf_diag_free(&d);
	return c;
}

#endif
