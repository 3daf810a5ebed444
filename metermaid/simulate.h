/* simulate.h - recorded decisions again, under other rules: who would be treated otherwise?
 *
 * Every question is asked again in the order of the records, through the arithmetic of the live meter.
 * A rule that is the same as when it was recorded has what its worker knew then: tokens taken in advance,
 * refusals that still held, on_loss. Where a record shows a state that the records before it do not
 * explain (they begin later, or some are lost), the state is set right and counted as `corrected`. So rules
 * that are the same give the decisions that were recorded.
 *
 * What it cannot know: how clients would have behaved after another answer; how long sessions would have
 * lasted that were not let in (they count for no time). */
#ifndef METERMAID_SIMULATE_H
#define METERMAID_SIMULATE_H

#include "metermaid/sim_log.h"

enum { SIMULATE_TOP = 20, SIMULATE_NAMES_MAX = 4000000, SIMULATE_LEASES_MAX = 16000000 };

struct simulation;
struct simulation *simulation_new(const struct conf *rules);
void simulation_free(struct simulation **s);
/* Sorts and reads all of it. */
void simulation_run(struct simulation *s, struct sim_log *log);
/* One JSON object: "lines", "unreadable", "decisions", "changed" = "stopped" + "let_in" + "otherwise", "corrected",
 * "rules" [{"rule", "was", "now"}], "users", "domains" and "prefixes" [{"name", "stopped", "let_in",
 * "otherwise"}], those with most changes first, SIMULATE_TOP of each. */
void simulation_put_json(const struct simulation *s, struct buf *out);

#endif
