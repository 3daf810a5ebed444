/* committer.h - step 4 of 6: the role of the one writer of each partition.
 *
 * One process for each partition: number i serves the i-th partition of the configuration, on the
 * listener of role "committer" that has the partition's name. */
#ifndef STORE_COMMITTER_H
#define STORE_COMMITTER_H

#include "daemon/daemon.h"

unsigned committer_count(const struct conf *c);
void committer_start(struct worker *w);
void committer_reload(struct worker *w, const struct conf *fresh);
bool committer_control(
    struct worker *w, const struct control_ask *ask, struct buf *out); /* snapshot */
void committer_stop(struct worker *w);

#endif
