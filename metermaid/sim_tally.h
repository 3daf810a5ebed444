/* sim_tally.h - who would be treated otherwise, counted by name. */
#ifndef METERMAID_SIM_TALLY_H
#define METERMAID_SIM_TALLY_H

#include "base/buf.h"

enum sim_change { SIM_SAME, SIM_STOPPED, SIM_LET_IN, SIM_OTHERWISE, SIM_CHANGES };

struct sim_tally;
struct sim_tally *sim_tally_new(size_t names_max);
void sim_tally_free(struct sim_tally **t);
/* Names beyond names_max are not counted. */
void sim_tally_add(struct sim_tally *t, struct span name, enum sim_change what);
/* A JSON array of the n with the most changes. */
void sim_tally_put_json(struct sim_tally *t, size_t n, struct buf *out);

#endif
