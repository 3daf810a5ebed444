/* capability.h - what the clients of a protocol are shown before login: of the words that its option lists
 * (imap_capability, pop3_capability ...), those that every store has which this worker knows.
 *
 * A store is known by what it said during a login, and one that the settings name by what it said before any
 * (store_watch.h); nobody is promised what the store behind may lack. */
#ifndef MMP_CAPABILITY_H
#define MMP_CAPABILITY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"
#include "conf/conf.h"

enum { CAPABILITY_WORDS_MAX = 64 };

struct capability;

struct capability *capability_new(size_t stores_max);
void capability_free(struct capability **c);
/* Another list of words: what was learnt is forgotten. words must live until the next call of this. */
void capability_reset(struct capability *c, const struct conf_strings *words);

/* Has the store under this key said what it can do, since it was last found out of order? */
bool capability_known(const struct capability *c, struct span store);
/* It said so. can: words between spaces; of an option's word that has arguments ("SIZE 100") the first
 * counts. */
void capability_learn(struct capability *c, struct span store, struct span can);
/* It was out of order, and may be another when it comes back: what it lacked counts until it is learnt
 * anew. */
void capability_doubt(struct capability *c, struct span store);
/* May the word with this index be shown? */
bool capability_shows(const struct capability *c, size_t index);

#endif
