/* pipe_internal.h - what the files of pipe.h share: pipe.c moves bytes, pipe_lost.c tells what ended
 * it, pipe_leave.c takes it to another process. */
#ifndef NET_PIPE_INTERNAL_H
#define NET_PIPE_INTERNAL_H

#include <stdbool.h>

#include "net/loop_internal.h"
#include "net/pipe.h"
#include "net/wire.h"

#define pipe_MAGIC 0x919e0001u

enum { HALF_CLOSED_MS = 60000 }; /* without a byte, once one side has ended */

enum side_id { CLIENT, STORE };

/* Whether this side can still be sent to. */
enum sending {
	SEND_OPEN,
	SEND_ENDING, /* the other side's EOF is to be passed on, behind what is held */
	SEND_ENDED,
	SEND_DEAD /* a write failed */
};

/* Bytes that a side did not take at once. */
struct held {
	size_t at, n;
	char bytes[];
};

struct kernel_pipe;

/* Each idle session holds one of these two: nothing is in them twice. */
struct side {
	struct wire wire; /* owned */
	struct watch watch;
	struct held *held;         /* owned; NULL while this side keeps up ... */
	struct kernel_pipe *stuck; /* ... as is this, whose bytes go before those that are held */
	uint64_t received;
	enum sending sending : 8;
	bool is_store; /* the second in the pipe */
	bool eof;      /* nothing more comes from this side */
	bool burst;    /* its last read filled the buffer */
	bool last;     /* plaintext, in this turn: what the kernel has of it is all that comes */
	bool parted;   /* a client: its last words were that it leaves */
	bool read_wants_write, write_wants_read; /* TLS */
	bool may_park; /* TLS: its OpenSSL object may become dispensable */
};

struct pipe {
	uint32_t magic;
	bool over; /* ended: on_soon() or the driver finishes it */
	bool cause_known;
	bool frozen; /* pipe_freeze(): nothing of it is watched */
	bool lent;   /* pipe_save(), pipe_load(): another process may have its descriptors, too */
	bool waits;  /* the store has gone and the client is to be told later */
	enum pipe_end cause : 8; /* what happened first */
	uint16_t keepalive_s;    /* the kernel does not know it yet; 0: nothing to tell */
	uint32_t idle_ms;        /* 0: may be idle for ever */
	void (*fn)(void *arg, const struct pipe_done *);
	const struct pipe_lost *lost; /* NULL: the client hears of it at once */
	void *arg;
	struct held
	    *farewell; /* owned; the store's last words, kept from an idle client for a moment */
	uint64_t last_ms;
	/* Also knows the loop; looks at last_ms now and then: no byte moves it. */
	struct timer idle;
	struct soon soon;
	struct side sides[2];
};

static inline struct pipe *side_pipe(struct side *s)
{
	return LIST_OF(struct pipe, sides, s - (s->is_store ? STORE : CLIENT));
}

static inline struct loop *pipe_loop(const struct pipe *p)
{
	return p->idle.loop;
}

static inline struct side *side_other(struct side *s)
{
	return s->is_store ? s - 1 : s + 1;
}

static inline bool side_is_behind(const struct side *s)
{
	return s->held != NULL || s->stuck != NULL;
}

/* pipe.c: without its sides yet; bytes that a side gets when it takes them, behind those that wait already. */
struct pipe *pipe_new(struct loop *l, const struct pipe_owner *owner);
void side_hold(struct side *to, struct span bytes);
void side_unstick(struct side *to); /* what is in a kernel pipe for it is held then */
void side_watch(struct side *s);    /* its wire, without any event yet */
/* The timer, for what is next: keepalive, or the end of one that was idle for so long by now. */
void pipe_arm(struct pipe *p, uint64_t quiet_ms);

/* pipe_splice.c. Is a burst to go from one to the other in the kernel? Neither is behind. */
bool side_may_splice(const struct side *from, const struct side *to);
/* What there is, up to a turn's worth, is stuck at `to` afterwards. 0: nothing, errno EAGAIN; else reading tells. */
size_t side_splice(struct side *from, struct side *to);
/* What the kernel takes; all is gone, or more is stuck. False: it fails, errno EINVAL: with splicing only. */
bool side_put_stuck(struct side *to);
struct span side_copy_stuck(struct side *s); /* some of it, in the scratch buffer */
void side_drop_stuck(struct side *s);        /* fine when nothing is stuck */

/* pipe_lost.c */
void pipe_set_cause(struct pipe *p, enum pipe_end cause); /* the first one stays */
void side_failed(struct side *s);
void side_closed(struct side *s); /* it will send no more */
/* Are these bytes of a store its goodbye to an idle client, which need not hear it yet? True: they are kept, until
 * the store closes, or a moment later are sent on. */
bool side_keeps_farewell(struct side *store, struct span bytes);
bool side_parts(struct side *client, struct span bytes); /* Does it leave with these bytes? */
/* Something else happened: what was kept is the client's. */
void pipe_release_farewell(struct pipe *p);

#endif
