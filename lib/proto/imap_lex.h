/* imap_lex.h - IMAP framing and tokens (RFC 3501 section 9, RFC 7888 literals), for both sides.
 *
 * Framing: where does the next command or response end in the bytes received so far? It is one or more
 * lines joined by literals; nothing is copied, the scanner only remembers how far it has looked. Then
 * a cursor reads the tokens of one framed command. Its error is sticky: read everything, test once. */
#ifndef PROTO_IMAP_LEX_H
#define PROTO_IMAP_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

/* ---- framing ---------------------------------------------------------------------------------- */

enum imap_rx {
	IMAP_RX_MORE, /* incomplete: call again when there are more bytes */
	IMAP_RX_CONTINUE, /* the peer waits for "+ ..." before it sends its literal: send it, call again */
	IMAP_RX_COMMAND, /* complete: the first `len` bytes of input, CRLF included */
	IMAP_RX_LITERAL, /* a literal was announced that is larger than literal_max, does not fit any more, or is
	                     a client's one too many (see below) */
	IMAP_RX_TOO_LONG, /* a line, or the whole, is longer than the limit: answer BAD and close */
	IMAP_RX_BAD       /* NUL, bare CR or bare LF in a line: answer BAD and close */
};

struct imap_limits {
	size_t line_max;    /* bytes of lines, CRLF counted, literals not */
	size_t literal_max; /* bytes of one literal that may be part of the command */
	size_t total_max;   /* the whole command; the stream's in_max must be larger than this */
};
enum { IMAP_LINE_MAX = 65536, IMAP_LITERALS_MAX = 64 };
enum { IMAP_TAG_MAX = 128 }; /* a longer tag is a syntax error */

struct imap_frame {
	struct imap_limits limits;
	bool from_client; /* a client's literals may wait for our "+" */
	/* the scanner's own: */
	size_t at;          /* bytes looked at */
	size_t line_at;     /* the present line began here */
	size_t line_used;   /* bytes of the lines before it */
	size_t literal_end; /* while in_literal */
	unsigned literals;
	bool in_literal;
	/* results: */
	size_t len;            /* after IMAP_RX_COMMAND and IMAP_RX_LITERAL */
	uint64_t literal_size; /* after IMAP_RX_LITERAL */
	bool literal_sync;     /* "{n}", not "{n+}" */
};

void imap_frame_init(struct imap_frame *f, struct imap_limits limits, bool from_client);
/* Ready for the next command: the caller has eaten `len` bytes. */
void imap_frame_reset(struct imap_frame *f);

/* input is everything received and not yet eaten: the same bytes as at the last call, or more behind.
 *
 * IMAP_RX_LITERAL: `len` bytes are the command up to and with "{n}" CRLF, literal_size is n. The caller may
 * - take it (APPEND): parse the first len bytes, eat them, imap_frame_reset(), send "+" if literal_sync,
 *   then take literal_size bytes by itself; the rest of the command is framed as a line of its own;
 * - refuse it: literal_sync: eat, reset, answer NO; the client will not send it. Otherwise close, or take
 *   the bytes as above and throw them and the following line away. */
enum imap_rx imap_frame_scan(struct imap_frame *f, struct span input);

/* One plain line, no literals: SASL answers, "DONE". MORE, COMMAND, TOO_LONG or BAD. */
enum imap_rx imap_frame_line(struct imap_frame *f, struct span input);

const char *imap_rx_why(
    enum imap_rx rx); /* a sentence for the BAD of TOO_LONG and BAD, else NULL */

/* ---- tokens ------------------------------------------------------------------------------------- */

/* Reads one framed command. Spans handed out point into the command, or into scratch for quoted strings
 * with escapes: both must live as long as the spans. After the first failure every reader answers an
 * empty span, 0 or false, and `why` tells what is wrong (a constant, for "BAD ..."). */
struct imap_cursor {
	struct span in;
	size_t at;
	const char *why;
	struct buf *scratch;
};

/* command: as framed; a CRLF at its end is not part of the tokens. scratch: empty, with a maximum of at least command.n; NULL:
 * a string with escapes fails. */
void imap_cursor_init(struct imap_cursor *c, struct span command, struct buf *scratch);

static inline bool imap_ok(const struct imap_cursor *c)
{
	return c->why == NULL;
}

void imap_fail(struct imap_cursor *c, const char *why); /* the first one stays */
bool imap_at_end(const struct imap_cursor *c);
int imap_peek(const struct imap_cursor *c);    /* next byte; -1 at the end or after a failure */
bool imap_try(struct imap_cursor *c, char ch); /* takes ch if it is next; no failure */
/* Takes the word if it is next, case-blind, with no atom character behind it; no failure. */
bool imap_try_word(struct imap_cursor *c, const char *word);
void imap_read_char(struct imap_cursor *c, char ch);
void imap_read_sp(struct imap_cursor *c);  /* exactly one space */
void imap_read_end(struct imap_cursor *c); /* nothing may be left */

struct span imap_read_tag(struct imap_cursor *c);
struct span imap_read_atom(struct imap_cursor *c);
struct span imap_read_string(struct imap_cursor *c); /* quoted or literal */
struct span imap_read_astring(struct imap_cursor *c);
struct span imap_read_nstring(struct imap_cursor *c, bool *nil_out);
struct span imap_read_list_mailbox(struct imap_cursor *c); /* astring that may hold % and * */
struct span imap_read_rest(struct imap_cursor *c);         /* all that is left, unparsed */
uint32_t imap_read_number(struct imap_cursor *c);
uint32_t imap_read_nz_number(struct imap_cursor *c);
uint64_t imap_read_number64(struct imap_cursor *c);
struct span imap_read_literal(struct imap_cursor *c); /* only a literal; its bytes may be NUL too */
/* "{n}" or "{n+}" as the last thing: the announcement at the end of an IMAP_RX_LITERAL prefix. */
uint64_t imap_read_literal_size(struct imap_cursor *c);

/* Days since 1970-01-01 of  dd-Mon-yyyy  with or without quotes (SEARCH). */
int32_t imap_read_date(struct imap_cursor *c);
/* Seconds since 1970 UTC of  "dd-Mon-yyyy hh:mm:ss +zzzz"  (APPEND); the first digit may be a space, or missing. */
int64_t imap_read_date_time(struct imap_cursor *c);
/* Writes  "dd-Mon-yyyy hh:mm:ss +0000"  with its quotes. */
bool imap_put_date_time(struct buf *out, int64_t unix_s);
/* The same moment on the clock of a zone, minutes east of UTC. */
bool imap_put_date_time_zone(struct buf *out, int64_t unix_s, int zone_min);

/* ---- flags --------------------------------------------------------------------------------------- */

enum imap_flag {
	IMAP_SEEN = 1,
	IMAP_ANSWERED = 2,
	IMAP_FLAGGED = 4,
	IMAP_DELETED = 8,
	IMAP_DRAFT = 16,
	IMAP_RECENT = 32 /* only the server may set it */
};
enum { IMAP_KEYWORDS_MAX = 64, IMAP_KEYWORD_MAX = 64 };

struct imap_flags {
	uint32_t system; /* IMAP_SEEN ... */
	size_t keyword_count;
	struct span keywords[IMAP_KEYWORDS_MAX]; /* as sent; no two equal (case-blind) */
};

/* One flag: a bit in *system_out, or a keyword as the answer with *system_out 0. \Recent and unknown
 * backslash flags fail. */
struct span imap_read_flag(struct imap_cursor *c, uint32_t *system_out);
/* (\Seen kw), and with bare_ok also  \Seen kw  up to the end of the command (STORE). */
void imap_read_flags(struct imap_cursor *c, bool bare_ok, struct imap_flags *out);
/* The names of the bits, separated by single spaces. */
bool imap_put_system_flags(struct buf *out, uint32_t system);

/* ---- sequence sets ------------------------------------------------------------------------------- */

enum { IMAP_SET_MAX = 16384 }; /* ranges in one set */
enum { IMAP_STAR = 0 };        /* "*" until imap_set_resolve() */

struct imap_range {
	uint32_t first, last;
};

struct imap_set {
	struct imap_range *v; /* owned */
	size_t n, cap;
	/* "$": the result of an earlier search (RFC 5182), which the reader's caller knows. */
	bool saved;
};

void imap_set_end(struct imap_set *s);
bool imap_set_add(struct imap_set *s, uint32_t first, uint32_t last); /* false: IMAP_SET_MAX */
void imap_read_set(struct imap_cursor *c, struct imap_set *out); /* as sent, into an empty set */
/* Puts `star` for "*", turns ranges right way round, sorts and merges: needed before _has(). star 0
 * (empty mailbox): "*" stands for nothing. */
void imap_set_resolve(struct imap_set *s, uint32_t star);
bool imap_set_has(const struct imap_set *s, uint32_t n);
bool imap_put_set(struct buf *out, const struct imap_set *s);

/* Writes numbers as a set while they come; neighbours become ranges. */
struct imap_set_writer {
	struct buf *out;
	uint32_t first, last; /* 0: nothing is held back */
	bool any;             /* something was written or is held back */
};
void imap_set_write(struct imap_set_writer *w, uint32_t first, uint32_t last);
void imap_set_write_end(struct imap_set_writer *w); /* what was held back */

/* ---- output -------------------------------------------------------------------------------------- */

/* "..." with \ and " escaped. False, and nothing added: s holds CR, LF, NUL or 8-bit bytes, or is longer
 * than 1000 bytes (then it goes as a literal), or out is full. */
bool imap_put_quoted(struct buf *out, struct span s);
/* The same with UTF-8 in it (RFC 6855, RFC 9051); an atom where possible. s is UTF-8 without control bytes. */
bool imap_put_utf8_astring(struct buf *out, struct span s);
/* "{n}" or "{n+}", CRLF, the bytes. */
bool imap_put_literal(struct buf *out, struct span s, bool plus);
/* Quoted where possible, else a literal as a server sends it. */
bool imap_put_string(struct buf *out, struct span s);
/* An atom where possible, else as imap_put_string(): mailbox names in answers. */
bool imap_put_astring(struct buf *out, struct span s);

#endif
