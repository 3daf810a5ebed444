/* scanner_internal.h - the object behind scanner.h; for scanner.c and scan_icap.c only. */
#ifndef EDGE_SCANNER_INTERNAL_H
#define EDGE_SCANNER_INTERNAL_H

#include "net/stream.h"
#include "proto/icap.h"

#include "edge/scan_text.h"
#include "edge/scanner.h"

#define scan_MAGIC 0x5ca70001u

enum scan_state {
	SC_DIAL,
	SC_OPTIONS, /* ICAP: what does the service want? */
	SC_PREVIEW, /* ICAP: does it want the rest? */
	SC_SEND,    /* the message leaves; an answer may come early */
	SC_HEAD,    /* the verdict is awaited */
	SC_AFTER,   /* what stands behind it */
};

/* What an ICAP service wants. */
struct icap_options {
	uint64_t until_ms; /* it holds so long */
	bool has_preview;
	uint32_t preview;
};

/* One scan by ICAP. */
struct icap_talk {
	bool asked;  /* options are those of the address at hand */
	size_t host; /* ... which is this one */
	struct icap_options options;
	bool ended;   /* the preview was the whole message */
	bool in_body; /* behind the head of the answer */
	struct icap_chunks chunks;
	uint64_t same; /* bytes that came back as they were sent */
};

struct scan {
	struct ticket ticket; /* first */
	uint32_t magic;
	enum scan_state state;
	struct scan_opts opts;
	struct stream *io;
	struct ticket *dialing;
	struct timer deadline;
	struct soon soon;
	size_t host, next;
	uint64_t sent; /* bytes of the message */
	struct spamd_head head;
	struct scan_text text; /* behind the head */
	struct icap_talk icap;
	scan_fn *fn;
	void *arg;
};

static inline const struct conf_hostport *scan_host(const struct scan *c)
{
	return &c->opts.conf->address.v[c->host];
}

/* Each of these is the last statement of whoever calls it: c may be gone. */
void scan_fail(struct scan *c, const char *why);          /* the next address, or the end */
void scan_settle_virus(struct scan *c, const char *name); /* what was found; "": nothing */
void scan_send_from(struct scan *c, uint64_t at);         /* the message from this byte on */
void scan_dial_again(struct scan *c);                     /* the same address */

/* scan_icap.c */
void icap_begin(struct scan *c);
void icap_put_piece(struct scan *c, struct span piece); /* empty: the end */
void icap_read(struct scan *c);

#endif
