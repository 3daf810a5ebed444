/* store.c - postern store: looks after partitions. snapshot asks the running program; the rest is done by
 * postern-store itself, which alone knows the files, in the place of this process. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

#include "admin/admin.h"
#include "admin/show.h"
#include "admin/tier.h"

enum { ARGS_MAX = 4 + 2 * ADMIN_OVERRIDES_MAX + ADMIN_WORDS_MAX };

/* The one configuration file with a store; NULL: it was told why not. */
static const char *store_config(const struct tier *t)
{
	const char *config = NULL;
	for (size_t i = 0; i < t->n; i++) {
		if (strcmp(t->v[i].name, "store") != 0 || t->v[i].config == NULL)
			continue;
		if (config != NULL) {
			fprintf(stderr, "postern: several stores here: name one file with -c\n");
			return NULL;
		}
		config = t->v[i].config;
	}
	if (config == NULL)
		fprintf(stderr, "postern: no file with a store: name one with -c\n");
	return config;
}

static int become_store(const struct admin_args *a, const char *config)
{
	const char *argv[ARGS_MAX];
	struct buf path = BUF_INIT(4096);
	size_t n = 0;
	if (!tier_binary("store", &path)) {
		fprintf(stderr, "postern: there is no postern-store\n");
		buf_end(&path);
		return ADMIN_UNAVAILABLE;
	}
	argv[n++] = "postern-store";
	argv[n++] = "-c";
	argv[n++] = config;
	for (size_t i = 0; i < a->override_count; i++) {
		argv[n++] = "-o";
		argv[n++] = a->overrides[i];
	}
	for (size_t i = 1; i < a->word_count; i++)
		argv[n++] = a->words[i];
	argv[n] = NULL;
	(void)execv(buf_cstr(&path), (char *const *)(uintptr_t)argv);
	perror("postern: postern-store");
	buf_end(&path);
	return ADMIN_UNAVAILABLE;
}

int admin_store(const struct admin_args *a)
{
	struct tier t;
	int status = tier_load_or_say(a, &t);
	const char *config = status == ADMIN_OK ? store_config(&t) : NULL;
	if (config != NULL)
		status = become_store(a, config);
	else if (status == ADMIN_OK)
		status = ADMIN_USAGE;
	tier_end(&t);
	return status;
}
