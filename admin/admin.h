/* admin.h - the command line tool: arguments, and the commands as functions. */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/conf.h"

/* Exit statuses, of sysexits.h. */
enum {
	ADMIN_OK = 0,
	ADMIN_ABSENT = 1, /* of table get: the key is not there */
	ADMIN_USAGE = 64,
	ADMIN_UNAVAILABLE = 69, /* a daemon could not be asked */
	ADMIN_BUG = 70,
	ADMIN_CONFIG = 78
};

enum {
	ADMIN_CONFIGS_MAX = 32,
	ADMIN_WORDS_MAX = 256,
	ADMIN_OVERRIDES_MAX = 64,
	ADMIN_TAIL_MAX = 26
};

struct admin_args {
	const char *configs[ADMIN_CONFIGS_MAX];
	size_t config_count; /* at least one, unless run_dir is set */
	const char *overrides[ADMIN_OVERRIDES_MAX];
	size_t override_count;
	const char *run_dir; /* NULL: as the configuration says */
	const char *rules;   /* --rules; NULL: not given */
	bool json;
	const char *words[ADMIN_WORDS_MAX]; /* the command first */
	const char *tail[ADMIN_TAIL_MAX];   /* options of the command, which follow its words */
	size_t tail_count;
	size_t word_count;
};

/* Parses the command line and runs the command. */
int admin_main(int argc, char **argv);

int admin_run(const struct admin_args *a);         /* run.c */
int admin_check(const struct admin_args *a);       /* check.c */
int admin_store(const struct admin_args *a);       /* store.c */
int admin_watch(const struct admin_args *a);       /* watch.c */
int admin_simulate(const struct admin_args *a);    /* simulate.c */
int admin_user_move(const struct admin_args *a);   /* user.c */
int admin_table_build(const struct admin_args *a); /* key_table.c */
int admin_table_get(const struct admin_args *a);
int admin_config_dump(const struct admin_args *a); /* config.c */
int admin_config_sample(const struct admin_args *a);
int admin_config_reference(const struct admin_args *a);

#endif
