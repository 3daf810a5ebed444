/* tier.h - what runs on this host by the configuration: programs, their sockets and binaries. */
#ifndef ADMIN_TIER_H
#define ADMIN_TIER_H

#include <jansson.h>

#include "admin/admin.h"

enum { TIER_PROGRAMS_MAX = 64 };

struct program {
	const char *name; /* "mmp"; static */
	char *label;      /* owned; "mmp", or "store1" when named by its own configuration file */
	char *config;     /* owned; NULL when found by --run-dir alone */
	char *socket;     /* owned; its control socket */
};

struct tier {
	struct program v[TIER_PROGRAMS_MAX];
	size_t n;
	/* Addresses of the section admin, in the first file that has one. */
	struct conf_address http[8];
	size_t http_count;
	char *http_paths[8]; /* owned; behind unix addresses */
	int log_level;       /* of the first file, as enum log_level */
	bool log_json;
	uint64_t drain_ms; /* longest drain_timeout of the files */
	json_t *errors;    /* owned: array of strings */
};

/* Reads the configuration files: only the top level and which sections are there, so that anyone may.
 * Returns an exit status; tier_end() in any case. Of a file with errors all installed programs are
 * taken, so that each can tell its own. */
int tier_load(const struct admin_args *a, struct tier *out);
/* The same for commands that need it whole: prints the errors; no program at all is one. */
int tier_load_or_say(const struct admin_args *a, struct tier *out);
void tier_end(struct tier *t);

/* Names of all programs in the order in which they are started, NULL-terminated. */
extern const char *const tier_program_names[];

/* Path of postern-NAME: beside this binary or in ../sbin. False: there is none. */
bool tier_binary(const char *name, struct buf *out);

#endif
