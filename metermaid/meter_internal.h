/* meter_internal.h - what the files of this folder share of a worker's meter. */
#ifndef METERMAID_METER_INTERNAL_H
#define METERMAID_METER_INTERNAL_H

#include "base/list.h"
#include "metermaid/bans.h"
#include "metermaid/hold.h"
#include "metermaid/hot.h"
#include "metermaid/metermaid.h"
#include "metermaid/observed.h"
#include "metermaid/redis_link.h"
#include "metermaid/rule.h"
#include "metermaid/table.h"
#include "metermaid/witness.h"

struct metermaid {
	uint32_t magic;
	struct loop *loop;
	struct dns *dns;
	struct rules *rules;      /* current */
	struct conf *conf;        /* the link borrows from it */
	struct redis_link *redis; /* NULL: none configured */
	struct table *share;      /* while Redis is away; private to this worker */
	struct bans *bans;        /* the host's; with Redis this worker's copy of the tier's */
	int64_t bans_version;
	struct observed *observed;
	struct hot *hot;
	struct holds *holds;
	struct learned *learned;
	struct witness *witness;
	uint64_t ahead_us; /* of the state's clock before this worker's monotonic one */
	struct list_node waiting, asked, done; /* questions */
	size_t waiting_n;
	size_t batches; /* under way */
	struct soon flush;
	struct timer flush_late, roll_call, bans_poll;
	uint64_t name;         /* of this worker in the roll call and as a holder of leases */
	uint64_t live_workers; /* at least 1 */
	uint64_t roll_calls;   /* since the link is up */
};
#define metermaid_MAGIC 0x3e7e4a1du

struct table *meter_host_table(void);  /* shared by the workers of this host */
struct known *meter_host_known(void);  /* the same */
struct known *meter_host_passes(void); /* the same, of tests and networks */

/* A question over its rules: the facts (borrowed, or the question's own) and the keys they give. */
struct asking {
	struct meter_facts f;
	enum meter_moment moment;
	enum op_mode mode;
	bool quiet; /* nobody is told, nothing is counted: it only leaves something */
	bool peek;  /* it leaves nothing either */
	size_t n;
	struct meter_key keys[KEYS_PER_QUESTION_MAX];
};

/* What the clock of the state is before clock_mono_ms(); without Redis the wall clock's, the same in all
 * workers of the host. */
uint64_t meter_clock_ahead(const struct metermaid *m);
uint64_t meter_host_now_us(void); /* the clock of this host's table */

/* question.c */
void question_forget(struct metermaid *m); /* those that Redis was asked get no answer any more */
void question_free_all(struct metermaid *m);
void question_send(void *metermaid); /* soon: the questions that wait, unless a batch is out */
void question_late(void *metermaid); /* timer: they have waited long enough */
/* Charges the keys where the state is, soon; nobody waits for it. */
void question_charge(struct metermaid *m, const struct asking *a);

/* learned.c: users who log in well, for the rules that grow with them */
struct learned *learned_new(void);
void learned_free(struct learned **l);
void learned_forget(struct learned *l); /* what was noted may be gone */
/* A question of this moment shows that the user has logged in well from where the client is. */
bool learned_shows_login(enum meter_moment moment, const struct meter_facts *f);
void learned_note(struct metermaid *m, enum meter_moment moment, const struct meter_facts *f);

/* judge.c: what the answer means for rules, counters, the log and the asker (out holds local tags). */
void judge(struct metermaid *m, const struct asking *a, const struct op_answer *got,
    struct meter_answer *out);
/* The same for what hot.c decided: counted, and told to people later. */
void judge_hot(struct metermaid *m, const struct asking *a, const struct op_answer *got,
    struct meter_answer *out);
void rule_count(struct rule *r, bool over);

/* Where the answer goes: into out at once, or later. */
struct look_to {
	const struct meter_late *late;
	struct buf *out;
};
/* look.c: the keys that KEY means under all rules, or under the one named (NULL: all) */
enum look_act { LOOK_SHOW, LOOK_RESET };
void look_start(struct metermaid *m, enum look_act act, const char *const *key_and_rule, size_t n,
    struct look_to to);

/* bans_sync.c: the tier's bans, in Redis */
void bans_sync_poll(void *metermaid); /* timer: fetches what has changed */
/* On the list now for this worker, in a moment for all. ms 0: taken off. False: not a key. */
bool bans_sync_put(struct metermaid *m, const char *list, struct span key, uint64_t ms);

/* asking.c: what is asked, before the state is */
enum { FOLD_MAX = 1024 };
/* Names differ in more than letters' case: an attacker must not get a fresh key for each spelling. */
struct fold {
	size_t used;
	char text[FOLD_MAX];
};
/* All but the mode and the keys; spans of a->f may point into fold. */
void asking_begin(
    struct asking *a, enum meter_moment moment, const struct meter_facts *f, struct fold *fold);
/* The same for what leaves nothing behind. */
void asking_begin_peek(
    struct asking *a, enum meter_moment moment, const struct meter_facts *f, struct fold *fold);
void asking_gather(
    struct metermaid *m, struct asking *a); /* the keys, under all rules that apply */

/* local.c: rules that need no state */
enum local { LOCAL_NOTHING, LOCAL_TAGGED, LOCAL_DECIDED };
struct local_world {
	struct rules *rules;
	bool (*is_banned)(void *arg, const struct rule *list, const struct meter_facts *f);
	void *arg;
	bool uncounted; /* the rules' own counters do not move */
};
enum local local_judge(const struct local_world *w, enum meter_moment moment,
    const struct meter_facts *f, struct meter_answer *out);
/* The same with this worker's rules and bans. */
enum local asking_judge(struct metermaid *m, const struct asking *a, struct meter_answer *out);
/* What a rule's action is for the asker when it decides. */
void local_act(const struct rule *r, struct meter_answer *out);

#endif
