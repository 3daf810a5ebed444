/* rules_fixture.h - a block store { } as it is read from a file, for tests of the rules that stand in it. */
#ifndef TEST_STORE_RULES_FIXTURE_H
#define TEST_STORE_RULES_FIXTURE_H

#include <unistd.h>

#include "fixture.h"
#include "conf/conf.h"
#include "store-backend/store_conf.h"

/* `rules` as the whole of the block, looked at by `check`. Owned by the caller; NULL, and counted errors, when it is wrong. */
static struct conf *rules_load(
    const char *rules, void (*check)(const struct conf *, struct conf_diag *), size_t *errors_out)
{
	static const struct conf_block root = { .name = "root", .size = sizeof(struct conf_head) };
	static const struct conf_block *const sections[] = { &store_block, NULL };
	const struct conf_schema schema = { &root, sections, NULL, check };
	char path[] = "/tmp/test_rules.conf.XXXXXX";
	int fd = mkstemp(path);
	dprintf(fd, "store {\n%s\n}\n", rules);
	close(fd);
	struct conf_diag *d = conf_diag_new();
	struct conf_source *src = conf_source_disk(path);
	struct conf *c = conf_load(&schema, src, NULL, d);
	*errors_out = conf_error_count(d);
	conf_source_free(&src);
	conf_diag_free(&d);
	unlink(path);
	return c;
}

#endif
