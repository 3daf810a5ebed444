/* load.h - postern.conf in a test's directory, with all sections that the edge reads. */
#ifndef TESTS_EDGE_LOAD_H
#define TESTS_EDGE_LOAD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "daemon/daemon_conf.h"
#include "directory/directory.h"
#include "edge/edge_conf.h"
#include "metermaid/metermaid.h"

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
