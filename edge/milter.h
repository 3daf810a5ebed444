/* milter.h - one connection to one filter, for one SMTP session: the mail server's side of milter.
 *
 * Connects with the first MAIL, tries one address after the other, and is kept for the session's next
 * mail. One question at a time. Whatever a filter does - hangs, dies, lies - the question has an answer:
 * MILTER_FAILED, with nothing of this filter left in the message. */
#ifndef EDGE_MILTER_H
#define EDGE_MILTER_H

#include "base/ip.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/ticket.h"
#include "proto/milter_wire.h"

#include "edge/edge_conf.h"
#include "edge/milter_edit.h"

struct milter;

/* Which addresses did not answer lately: one for each worker. */
struct milter_health;
struct milter_health *milter_health_new(void);
void milter_health_free(struct milter_health **h);
/* The first address from `from` on that may be asked now; at->n: none. */
size_t milter_health_next(
    const struct milter_health *h, const struct conf_hostports *at, size_t from, uint64_t now_ms);
void milter_health_bad(struct milter_health *h, const struct conf_hostport *at, uint64_t until_ms);
void milter_health_good(struct milter_health *h, const struct conf_hostport *at);

/* Appends the value of a macro ("i", "{auth_type}"); false: it has none. */
typedef bool milter_macro_fn(void *arg, struct span name, struct buf *out);

/* All borrowed, for the milter's life. */
struct milter_opts {
	struct loop *loop;
	struct dns *dns;
	struct milter_health *health;
	const struct edge_milter_conf *conf;
	struct ip_port client;
	const char *client_name; /* its name, or its address in brackets */
	const char *helo;
	const char *log_id; /* of the session */
	milter_macro_fn *macro;
	void *macro_arg;
};

enum milter_verdict {
	MILTER_GO,      /* on with it */
	MILTER_REFUSE,  /* the client is told text */
	MILTER_DISCARD, /* the client is told that all is well, and nobody gets the message */
	MILTER_CLOSE,   /* the client is told text, and the session ends */
	MILTER_FAILED,  /* no answer: on_failure decides */
};
struct milter_answer {
	enum milter_verdict verdict;
	struct milter_text text; /* REFUSE, CLOSE */
};
typedef void milter_fn(void *arg, const struct milter_answer *a);

enum milter_question { MILTER_ASK_MAIL, MILTER_ASK_RCPT, MILTER_ASK_DATA };

struct milter *milter_new(const struct milter_opts *opts);
void milter_free(struct milter **m);
const struct edge_milter_conf *milter_conf(const struct milter *m);

/* words: the path in its brackets and each parameter, with a NUL behind each, borrowed until the answer;
 * none for DATA. NULL: nothing to wait for, go on. Unless the answer is GO, or REFUSE for one recipient,
 * the filter has no more say in this mail. */
struct ticket *milter_ask(
    struct milter *m, enum milter_question what, struct span words, milter_fn *fn, void *arg);
/* The whole message, as e has it now; after GO e has the filter's changes. */
struct ticket *milter_ask_message(struct milter *m, struct edit *e, milter_fn *fn, void *arg);
/* Every mail for which it was asked ends with this: the filter is told, unless it knows. */
void milter_done(struct milter *m);

#endif
