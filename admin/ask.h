/* ask.h - questions over control sockets: one line of JSON to each, one line back, all at once. */
#ifndef ADMIN_ASK_H
#define ADMIN_ASK_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { ASK_REPLY_MAX = 64 * 1024 * 1024, ASK_MS = 15000, UPGRADE_MS = 24 * 60 * 1000 };

struct ask {
	const char *socket; /* set by the caller, borrowed */
	int fd;
	struct buf in;
	json_t *reply; /* owned: an object; NULL: error says why */
	char error[128];
};

/* Asks every socket the same words and waits until all have answered or deadline_ms is over. */
void ask_all(
    struct ask *v, size_t n, const char *const *words, size_t word_count, uint64_t deadline_ms);
void ask_end(struct ask *v, size_t n);

#endif
