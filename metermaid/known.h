/* known.h - who has logged in well from where, on this host: an address that many share is not shut for them
 * because somebody behind it guesses passwords.
 *
 * A pair is a user and the client's network (/32, /64). Memory shared by the workers, made before they are forked;
 * fixed size: a new pair takes the place of the one of its set that was seen least lately. Only good logins
 * write, so guessing pushes nobody out. Readers and writers take no lock: a pair that is written twice at
 * once may be lost, and is there again after the next login. */
#ifndef METERMAID_KNOWN_H
#define METERMAID_KNOWN_H

#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/span.h"

struct known;

struct known *known_new_shared(size_t pairs_max);
void known_free(struct known **k);
void known_note(struct known *k, struct ip_addr client, struct span user, uint64_t now_ms);
/* Milliseconds since the last good login of this pair and one more; 0: none is known. */
uint64_t known_since(struct known *k, struct ip_addr client, struct span user, uint64_t now_ms);
/* The pair is known no more. */
void known_forget(struct known *k, struct ip_addr client, struct span user);

#endif
