/* bans.h - who is on a list by command or by another rule's action, until when.
 *
 * Bounded: BANS_MAX entries; a new one takes the place of the one that ends first. Without Redis one
 * table is shared by the workers of the host; with Redis each worker has a copy of the tier's. */
#ifndef METERMAID_BANS_H
#define METERMAID_BANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ip.h"

enum { BANS_MAX = 1024, BAN_TEXT_MAX = 160 };

/* text: "LIST|192.0.2.0/24" or "LIST|user@example.org". */
struct bans;
struct bans *bans_new_shared(void); /* before fork */
struct bans *bans_new_private(void);
void bans_free(struct bans **b);
/* False: not a list's name, "|", and a network or a user of at most BAN_TEXT_MAX bytes. */
bool bans_put(struct bans *b, struct span text, uint64_t until_ms);
bool bans_remove(struct bans *b, struct span text); /* false: it was not there */
void bans_clear(struct bans *b);
bool bans_match(
    struct bans *b, const char *list, struct ip_addr client, struct span user, uint64_t now_ms);
/* JSON objects {"rule","key","left_s"}, separated by commas. */
void bans_put_json(struct bans *b, uint64_t now_ms, struct buf *out);

#endif
