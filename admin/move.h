/* move.h - a user moves from one store to another: what is done at each store, in the directory and at the
 * multiplexors. user.c puts the steps into their order. */
#ifndef ADMIN_MOVE_H
#define ADMIN_MOVE_H

#include "conf/conf.h"
#include "daemon/daemon_conf.h"
#include "directory/directory_conf.h"

#include "admin/admin.h"

/* What a store says of a user (store-backend's enum store_stay), and that it cannot be asked. */
enum stay { STAY_UNKNOWN, STAY_ABSENT, STAY_HERE, STAY_LEAVING, STAY_ARRIVING, STAY_GONE };

struct move {
	const struct admin_args *args;
	struct conf *conf; /* owned */
	const struct move_conf *opts;
	const struct directory_conf *directory;
	const char *user;
	const struct move_store_conf *from, *to;
	enum stay from_stay, to_stay; /* as last heard */
};

/* Reads the configuration; an exit status, and it was told why. move_end() in any case. */
int move_load(const struct admin_args *a, struct move *out);
void move_end(struct move *m);

/* Asks the store, or (set not STAY_UNKNOWN) orders it first. STAY_UNKNOWN: it was told why. */
enum stay move_stay(struct move *m, const struct move_store_conf *at, enum stay set);
/* The new store takes over what it does not have yet. last: nothing changes at the old one any more, and all of it
 * must be there in the end. */
bool move_pull(struct move *m, bool last);
/* Looks whether the directory could be changed, or changes it; being changed already is fine. */
bool move_directory(struct move *m, bool only_look);
/* "hold", "kick" or "release" at the multiplexors of the configuration; nobody there is told and no failure. */
void move_order(struct move *m, const char *order);

#endif
