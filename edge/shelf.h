/* shelf.h - every message of the queue in 52 bytes, for step 6 of 6 (queue_load.c).
 *
 * A row says where in the log a message stands and when or for what it waits: enough to leave everything
 * else there until its turn comes. Rows are found by id, by due time (a heap) or in lists of their
 * owner; a row is in one place at a time. Bound: 44 bytes for each row, 4 for each in the table of
 * ids and 4 for each in the heap, in blocks that never move, so that nothing is there twice while it grows;
 * rows that are removed are used again. Of an id its keyed hash is kept: of two million that two have the
 * same happens once in ten million queues of that size. Due times are the loop's milliseconds, kept in
 * hundredths: never early, at most 10 ms late. */
#ifndef EDGE_SHELF_H
#define EDGE_SHELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ident.h"
#include "commitlog/commitlog.h"

enum shelf_place {
	SHELF_IDLE,   /* waits for an order */
	SHELF_DUE,    /* in the heap */
	SHELF_LISTED, /* in a list */
	SHELF_LOADED, /* entry is it */
};

enum { SHELF_OPEN_MAX = 1023, SHELF_OWNER_MAX = (1 << 14) - 1, SHELF_DEADLINE_MAX = (1 << 25) - 1 };

struct shelf_row {
	uint64_t id;      /* its keyed hash: the shelf's */
	log_pos message;  /* MESSAGE, or DONE of one that has ended */
	log_pos progress; /* 0: none */
	union {
		struct {
			uint32_t due_cs, at; /* SHELF_DUE: the shelf's */
		};
		struct {
			uint32_t prev, next; /* SHELF_LISTED: the shelf's */
		};
		void *entry; /* SHELF_LOADED */
	};
	uint64_t place : 2;     /* enum shelf_place: the shelf's */
	uint64_t done : 1;      /* it has ended: only its id is remembered */
	uint64_t more : 1;      /* the owner knows more of it elsewhere */
	uint64_t used : 1;      /* the shelf's */
	uint64_t urgent : 1;    /* it does not wait for the time that stands in the log */
	uint64_t open : 10;     /* recipients without an end, as far as is known */
	uint64_t copied : 1;    /* another host has a copy of it: the owner's */
	uint64_t owner : 14;    /* SHELF_LISTED: whose list; 0: none */
	uint64_t size : 8;      /* of the message: shelf_size_code() */
	uint64_t deadline : 25; /* see shelf_minutes() */
	uint32_t same;          /* the shelf's */
} __attribute__((packed, aligned(4)));

struct shelf;

struct shelf_list {
	uint32_t first, last;
	size_t n;
};

uint64_t shelf_minutes(uint64_t wall_us); /* since 2020 */
/* Bytes, at most 15 GiB, in 8 bits, and what they stand for: 0 to 15 as they are, others within 6.3 %. */
unsigned shelf_size_code(uint64_t bytes);
uint64_t shelf_size(unsigned code);
struct shelf *shelf_new(void);
void shelf_free(struct shelf **s);

/* Numbers count from 1. Pointers to rows stay as long as the row. */
uint32_t shelf_add(struct shelf *s, const struct ident *id); /* SHELF_IDLE; id is not in it yet */
uint32_t shelf_find(const struct shelf *s, struct ident id); /* 0: none */
bool shelf_is(const struct shelf *s, uint32_t number, struct ident id); /* is that the row's? */
struct shelf_row *shelf_row(const struct shelf *s, uint32_t number);
void shelf_remove(struct shelf *s, uint32_t number); /* SHELF_IDLE, or in no list */
size_t shelf_count(const struct shelf *s);
uint32_t shelf_next(
    const struct shelf *s, uint32_t number); /* in order of numbers; 0: the first, the end */

/* Out of wherever it is to ...; a listed one: of this list. */
void shelf_idle(struct shelf *s, uint32_t number, struct shelf_list *from);
void shelf_due(struct shelf *s, uint32_t number, uint64_t due_ms);          /* from SHELF_IDLE */
void shelf_append(struct shelf *s, uint32_t number, struct shelf_list *to); /* from SHELF_IDLE */
void shelf_load(struct shelf *s, uint32_t number, void *entry);             /* from SHELF_IDLE */

/* The one that is due next, and in how long; 0: nothing is in the heap. */
uint32_t shelf_first(const struct shelf *s, uint64_t now_ms, uint64_t *wait_ms_out);

#endif
