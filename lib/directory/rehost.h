/* rehost.h - changes the store of a user in the directory: for tools, since it blocks.
 *
 * file: the LDIF file is written anew beside the old one and moved into its place; lines that do not change stay
 * as they are. ldap: one modify operation that takes the old host away and adds the new one, at the first server
 * of `uri` that answers; it is refused as a whole when the old host is not there. */
#ifndef DIRECTORY_REHOST_H
#define DIRECTORY_REHOST_H

#include <stdbool.h>

#include "base/buf.h"
#include "directory/directory_conf.h"

enum rehost_result {
	REHOST_DONE,    /* or, when only asked: it can be done */
	REHOST_ALREADY, /* the new host is there, and the old one is not */
	REHOST_FAILED /* why says it; after a lost connection the change may have been made all the same */
};

struct rehost {
	const char *user; /* primary address */
	const char *from, *to;
	bool only_look;
};
enum rehost_result directory_rehost(
    const struct directory_conf *c, const struct rehost *r, struct buf *why);

/* The same for the text of an LDIF file; out gets the new text. Pure. */
enum rehost_result rehost_ldif(const struct directory_conf *c, const struct rehost *r,
    struct span text, struct buf *out, struct buf *why);

/* rehost_ldap.c */
enum rehost_result rehost_ldap(
    const struct directory_conf *c, const struct rehost *r, struct buf *why);

#endif
