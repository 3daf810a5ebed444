/* move.h - a user moves from one store to another: what is done at each store, in the directory and at the
 * multiplexors. user.c puts the steps into their order. */
#ifndef ADMIN_MOVE_H
#define ADMIN_MOVE_H

#include "conf/conf.h"
#include "daemon/daemon_conf.h"
#include "directory/directory_conf.h"

#include "admin/admin.h"

enum { MOVE_NUMBER_SIZE = 17 };

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
	bool switched; /* the directory may name the new store already, by an earlier run */
	char number[MOVE_NUMBER_SIZE]; /* of this run: the stores tell it from others by it */
};

/* Reads the configuration; an exit status, and it was told why. move_end() in any case. */
int move_load(const struct admin_args *a, struct move *out);
void move_end(struct move *m);

/* Asks the store, or (set not STAY_UNKNOWN) orders it first. STAY_LEAVING and STAY_ARRIVING make the user this run's:
 * from then on the store refuses what is still under way of earlier ones, and theirs is refused to us once another run
 * has come. STAY_UNKNOWN: it was told why. */
enum stay move_stay(struct move *m, const struct move_store_conf *at, enum stay set);
/* The new store takes over what it does not have yet. last: nothing changes at the old one any more, and all of it
 * must be there in the end. */
bool move_pull(struct move *m, bool last);
/* MOVE_LOOK: can the directory be changed? MOVE_SWITCH: to the new store; MOVE_BACK: to the old one. That it is so already is
 * fine. False: it was told why. */
enum move_directory { MOVE_LOOK, MOVE_SWITCH, MOVE_BACK };
bool move_directory(struct move *m, enum move_directory how);
/* "hold", "kick" or "release" at the multiplexors of the configuration; nobody there is told and no failure. */
void move_order(struct move *m, const char *order);

#endif
