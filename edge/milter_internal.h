/* milter_internal.h - the object behind milter.h; for milter.c and milter_say.c only. */
#ifndef EDGE_MILTER_INTERNAL_H
#define EDGE_MILTER_INTERNAL_H

#include "edge/milter.h"
#include "net/stream.h"

#define milter_MAGIC 0x311e0001u

enum { MACRO_LIST_MAX = 2048 };

enum milter_state {
	MS_CLOSED,
	MS_DIAL,
	MS_OPTNEG, /* from here on in the order of a conversation */
	MS_CONNECT,
	MS_HELO,
	MS_MAIL,
	MS_RCPT,
	MS_DATA,
	MS_HEADER,
	MS_EOH,
	MS_BODY,
	MS_EOM,
	MS_IDLE, /* between two questions */
	MS_COUNT
};

struct milter {
	struct ticket ticket; /* first; of the question */
	uint32_t magic;
	enum milter_state state; /* only set_state() of milter.c writes this */
	struct milter_opts opts;
	struct stream *io;      /* owned; NULL in MS_CLOSED and MS_DIAL */
	struct ticket *dialing; /* owned, in MS_DIAL */
	struct timer deadline;  /* of the state */
	struct timer whole;     /* of a message */
	struct soon soon;       /* a failure that is known while the question is being asked */
	size_t host, next;      /* the address in use; the first that was not tried */
	struct milter_optneg neg;
	char *lists[MILTER_M_COUNT]; /* owned; macros that the filter named, or NULL */
	bool waiting;                /* an answer is due */
	bool open;                   /* the filter knows of a mail and not of its end */
	bool over;                   /* it has no more say in this mail */
	bool pass_session;           /* ... nor in any of this session */
	bool kept;                   /* the question began on a connection that was there */
	bool unread;                 /* the message could not be read */
	const char *why;
	/* the question */
	milter_fn *fn; /* NULL: there is none */
	void *arg;
	bool asking;                   /* within milter_ask() */
	enum milter_state first, goal; /* the walk, once there is a connection */
	struct span words;             /* borrowed */
	struct edit *edit;             /* borrowed */
	uint64_t at;                   /* how much of the state's part has been said */
};

/* The command of the state. */
enum milter_command milter_command(const struct milter *m);

/* Appends one packet; false: the state has nothing (more) to say. */
typedef bool milter_say_fn(struct milter *m, struct buf *out);
milter_say_fn milter_say_optneg, milter_say_connect, milter_say_helo, milter_say_words,
    milter_say_empty, milter_say_field, milter_say_text;

/* Appends the packet with the macros of a stage; nothing when none has a value. */
void milter_put_macros(
    struct milter *m, enum milter_command cmd, enum milter_macro_stage stage, struct buf *out);

#endif
