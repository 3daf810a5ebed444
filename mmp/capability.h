/* capability.h - what IMAP clients are shown before login: of the words that imap_capability lists, those
 * that every store has which this worker knows.
 *
 * A store is known by what it said after a login; nobody is promised what the store behind may lack. */
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

/* The store under this key said so after a login. can: words between spaces. */
void capability_learn(struct capability *c, struct span store, struct span can);
/* May the word with this index be shown? */
bool capability_shows(const struct capability *c, size_t index);

#endif
