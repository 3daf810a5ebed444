/* front.h - what the client sees: one table of functions per protocol.
 *
 * A front frames and answers commands before login. It never waits and never ends the session: a
 * whole login command goes to authenticate_start(), whose outcome comes back as refuse() or
 * welcome(). Fronts know nothing of stores. */
#ifndef MMP_FRONT_H
#define MMP_FRONT_H

#include <stdbool.h>

#include "base/span.h"
#include "net/stream.h"

#include "mmp/mmp_conf.h"
#include "mmp/mmp_tables.h"

struct session;
struct back;
struct back_done;

/* What a handler wants of the driver. */
enum verdict {
	V_READ,  /* handled; look for the next command */
	V_MORE,  /* nothing whole is there: wait for bytes */
	V_WAIT,  /* a ticket or timer resumes us */
	V_CLOSE, /* session_close() has been called: end it when the last words are sent */
	V_DONE   /* the pipe has the streams: end the session silently */
};

struct front {
	const char *name;       /* "imap": logs, who, service name in access filters ... */
	const char *name_tls;   /* ... and under TLS */
	const char *name_short; /* a second service name, NULL: none ("pop") */
	const char *name_short_tls;
	const char *alpn;
	const char
	    *last_words; /* to an idle client after its login, when we end it; "": none allowed */
	const char *goodbye; /* how the words begin that a store says before it closes */
	const char *parting; /* how the line ends with which a client leaves */
	const struct back *back;
	struct stream_limits limits; /* in_max bounds what waits during a ticket */
	void *(*open)(struct session *s);
	void (*close)(void **data);
	void (*greet)(struct session *s);
	void (*secured)(struct session *s); /* TLS has come by command; NULL: nothing is said */
	enum verdict (*on_input)(struct session *s); /* at most one command */
	/* The next prompt of a SASL exchange: base64, may be empty. */
	void (*challenge)(struct session *s, struct span prompt);
	/* Tells the client its mistake, and counts it: front_error(). */
	enum verdict (*complain)(struct session *s, const char *text);
	/* The answer to the login command that authenticate_start() was given. */
	void (*refuse)(struct session *s, enum told told);
	void (*welcome)(struct session *s, const struct back_done *done);
	void (*bye)(struct session *s, enum told told); /* last words; the connection will close */
	/* What the client calls itself, which a relay is told; NULL: it does not say. */
	struct span (*client_name)(const struct session *s);
};

extern const struct front front_imap, front_pop3, front_sieve, front_smtp;
const struct front *front_of(enum mmp_protocol protocol);

/* ---- shared by the fronts ---- */

bool front_offers_tls(const struct session *s);      /* STARTTLS or STLS would work now */
bool front_takes_secrets(const struct session *s);   /* under TLS, or the listener says so */
bool front_takes_passwords(const struct session *s); /* in a command of the protocol's own */
/* Appends each word of the protocol's capability option that no known store lacks, with what stands before
 * and behind it. */
void front_put_capability(
    const struct session *s, struct buf *out, const char *before, const char *behind);
/* What a client is told, as a sentence without its final stop. */
const char *front_words(enum told told);
/* The client has been told its mistake: counts it; V_READ, or V_CLOSE after too many. */
enum verdict front_error(struct session *s);
/* Sends the SASL exchange's next prompt. */
void front_challenge(struct session *s);
/* A line of the client in its SASL exchange. */
enum verdict front_take_sasl(struct session *s, struct span line);
/* What the command that began the exchange goes on with. initial may be empty and there. */
enum verdict front_begin_sasl(struct session *s, bool has_initial, struct span initial);
/* Framing is lost (the client has been told): V_CLOSE. */
enum verdict front_lost(struct session *s, const char *detail);
/* The command that starts TLS was eaten; ok is its answer. V_WAIT, or V_CLOSE when bytes followed it
 * in plaintext: they would have been taken for the client's own after the handshake. */
enum verdict front_start_tls(struct session *s, struct span ok);

#endif
