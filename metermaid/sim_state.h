/* sim_state.h - the state of every key that a simulation meets: all of them, exactly, in memory. */
#ifndef METERMAID_SIM_STATE_H
#define METERMAID_SIM_STATE_H

#include "metermaid/op.h"

/* A key. It stays where it is until another one is found: keep its place, not its address. */
struct sim_cell {
	struct key_id id; /* h1 and h2 0: free */
	struct op_state state;
	uint32_t crowd; /* USERS: which, from 1 */
	bool strayed;   /* what was recorded and what was simulated are no longer the same */
};

struct sim_state;
struct sim_state *sim_state_new(void);
void sim_state_free(struct sim_state **s);
size_t sim_state_place(struct sim_state *s, struct key_id id); /* made when it is new */
struct sim_cell *sim_state_at(struct sim_state *s, size_t place);
/* A place is good until the next sim_state_place(); this finds it again. SIZE_MAX: there is none. */
size_t sim_state_find(const struct sim_state *s, struct key_id id);

/* Users of an op of kind USERS: notes one (op->who), or counts those of the last remember_us. */
void sim_state_note(struct sim_state *s, const struct op *op, uint64_t now_us);
uint64_t sim_state_users(struct sim_state *s, const struct op *op, uint64_t now_us);

#endif
