/* run_user.h - who a run is for: names of the recipient, the user of this host, and becoming that user.
 *
 * For a child just forked (run_child.c): the user data base may make it wait. */
#ifndef EDGE_RUN_USER_H
#define EDGE_RUN_USER_H

#include <sys/types.h>

#include "edge/channel.h"
#include "edge/run_wire.h"
#include "edge/template.h"

struct run_user {
	struct template_facts names; /* into the question, room and home */
	char room[3 * RUN_STRING_MAX];
	size_t room_n;
	char name[RUN_STRING_MAX + 1], home[RUN_STRING_MAX + 1];
	uid_t uid;
	gid_t gid;
};

/* A sentence with an enhanced status code: why it cannot be; NULL: it can. status_out: of sysexits.h. */
const char *run_user_find(struct run_user *u, const struct run_ask *a,
    const struct edge_channel_conf *c, int *status_out);
/* From here on this process is that user, for good, and its directory is "/". NULL, or why not. */
const char *run_user_become(const struct run_user *u, const struct edge_channel_conf *c);

#endif
