/* memory_message.h - a message whose bytes are in memory, for tests and fuzzers. Reading what is not there fails. */
#ifndef TEST_STORE_MEMORY_MESSAGE_H
#define TEST_STORE_MEMORY_MESSAGE_H

#include <string.h>

#include "store-backend/imap/message.h"

/* arg: struct span */
static inline err_t memory_read(void *arg, uint64_t at, void *out, size_t n)
{
	const struct span *m = arg;
	if (at > m->n || n > m->n - at)
		return ERR_NOT_FOUND;
	memcpy(out, m->p + at, n);
	return ERR_OK;
}

/* Borrows both as long as the message is there; cache: none when empty. */
static inline void memory_message_init(struct message *m, struct span *bytes, struct span cache)
{
	message_init(m, &(struct message_bytes){ memory_read, bytes, bytes->n });
	message_set_cache(m, cache);
}

#endif
