/* daemon_conf.h - the sections that lib/daemon owns; private to it and to the command line tool. */
#ifndef DAEMON_DAEMON_CONF_H
#define DAEMON_DAEMON_CONF_H

#define CONF_BLOCK root
#define CONF_DEF "daemon/root.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK tls_cert
#define CONF_DEF "daemon/tls_cert.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK tls
#define CONF_DEF "daemon/tls.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK admin
#define CONF_DEF "daemon/admin.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK move_store
#define CONF_DEF "daemon/move_store.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK move
#define CONF_DEF "daemon/move.params.def"
#include "conf/params_struct.h"

/* In the order of the words in move.params.def. */
enum { MOVE_SWITCH_DIRECTORY, MOVE_SWITCH_COMMAND };

/* The root and common sections added to a program's own. *out borrows spec_sections' blocks; the
 * array is in *out. */
enum { DAEMON_SECTIONS_MAX = 16 };
struct daemon_schema {
	struct conf_schema schema;
	const struct conf_block *sections[DAEMON_SECTIONS_MAX];
};
void daemon_schema_init(struct daemon_schema *out, const struct conf_schema *program);

/* The address rows of section admin for a program's name; NULL when it has none. */
const struct conf_addresses *daemon_admin_addresses(const struct conf *c, const char *program);

#endif
