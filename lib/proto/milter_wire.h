/* milter_wire.h - the milter protocol (version 6), the mail server's side: packets out, replies in.
 *
 * A packet is a 32-bit big-endian length (of the rest), one byte that says what it is, and data.
 * Everything a filter sends is untrusted: lengths, numbers, strings and reply texts are checked here,
 * whether a reply is allowed at that moment the caller knows. */
#ifndef PROTO_MILTER_WIRE_H
#define PROTO_MILTER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/ip.h"
#include "base/span.h"

enum {
	MILTER_VERSION = 6,
	MILTER_VERSION_MIN = 2,
	MILTER_HEAD = 5,                /* bytes in front of the data */
	MILTER_DATA_MAX = 65535,        /* data bytes of a packet that we send */
	MILTER_REPLY_MAX = 1024 * 1024, /* data bytes of a packet that we take */
	MILTER_TEXT_MAX = 1000,         /* text of a reply for the client */
	MILTER_TEXT_LINES_MAX = 32
};

/* What we send. */
enum milter_command {
	MILTER_OPTNEG = 'O',
	MILTER_MACRO = 'D',
	MILTER_CONNECT = 'C',
	MILTER_HELO = 'H',
	MILTER_MAIL = 'M',
	MILTER_RCPT = 'R',
	MILTER_DATA = 'T',
	MILTER_HEADER = 'L',
	MILTER_EOH = 'N',
	MILTER_BODY = 'B',
	MILTER_EOM = 'E',
	MILTER_ABORT = 'A',
	MILTER_QUIT = 'Q'
};

/* What a filter answers with. */
enum milter_code {
	MILTER_R_OPTNEG = 'O',
	MILTER_R_CONTINUE = 'c',
	MILTER_R_ACCEPT = 'a',
	MILTER_R_REJECT = 'r',
	MILTER_R_TEMPFAIL = 't',
	MILTER_R_DISCARD = 'd',
	MILTER_R_REPLYCODE = 'y',
	MILTER_R_SHUTDOWN = '4',
	MILTER_R_CONN_FAIL = 'f',
	MILTER_R_SKIP = 's',
	MILTER_R_PROGRESS = 'p',
	MILTER_R_QUARANTINE = 'q',
	MILTER_R_ADD_HEADER = 'h',
	MILTER_R_INSERT_HEADER = 'i',
	MILTER_R_CHANGE_HEADER = 'm',
	MILTER_R_ADD_RCPT = '+',
	MILTER_R_ADD_RCPT_PAR = '2',
	MILTER_R_DELETE_RCPT = '-',
	MILTER_R_CHANGE_FROM = 'e',
	MILTER_R_REPLACE_BODY = 'b'
};

/* What a filter may do, as it asks for in the negotiation. */
enum milter_action {
	MILTER_MAY_ADD_HEADERS = 1 << 0,
	MILTER_MAY_CHANGE_BODY = 1 << 1,
	MILTER_MAY_ADD_RCPT = 1 << 2,
	MILTER_MAY_DELETE_RCPT = 1 << 3,
	MILTER_MAY_CHANGE_HEADERS = 1 << 4,
	MILTER_MAY_QUARANTINE = 1 << 5,
	MILTER_MAY_CHANGE_FROM = 1 << 6,
	MILTER_MAY_ADD_RCPT_PAR = 1 << 7,
	MILTER_MAY_SET_MACROS = 1 << 8,
	MILTER_MAY_ALL = 0x1ff
};

/* Steps a filter does not want (NO_), does not answer (NR_), and how it wants them. */
enum milter_step {
	MILTER_NO_CONNECT = 1 << 0,
	MILTER_NO_HELO = 1 << 1,
	MILTER_NO_MAIL = 1 << 2,
	MILTER_NO_RCPT = 1 << 3,
	MILTER_NO_BODY = 1 << 4,
	MILTER_NO_HEADERS = 1 << 5,
	MILTER_NO_EOH = 1 << 6,
	MILTER_NR_HEADER = 1 << 7,
	MILTER_NO_UNKNOWN = 1 << 8,
	MILTER_NO_DATA = 1 << 9,
	MILTER_CAN_SKIP = 1 << 10,
	MILTER_NR_CONNECT = 1 << 12,
	MILTER_NR_HELO = 1 << 13,
	MILTER_NR_MAIL = 1 << 14,
	MILTER_NR_RCPT = 1 << 15,
	MILTER_NR_DATA = 1 << 16,
	MILTER_NR_UNKNOWN = 1 << 17,
	MILTER_NR_EOH = 1 << 18,
	MILTER_NR_BODY = 1 << 19,
	MILTER_LEADING_SPACE = 1 << 20,
	MILTER_STEPS_ALL = 0x1fffff & ~(1 << 11) /* refused recipients are not told of */
};

/* Stages for which a filter may name the macros it wants. */
enum milter_macro_stage {
	MILTER_M_CONNECT,
	MILTER_M_HELO,
	MILTER_M_MAIL,
	MILTER_M_RCPT,
	MILTER_M_DATA,
	MILTER_M_EOM,
	MILTER_M_EOH,
	MILTER_M_COUNT
};

/* ---- out: each appends one packet; false: out is full or the data is longer than MILTER_DATA_MAX ----- */

bool milter_put(struct buf *out, enum milter_command cmd, struct span data);
/* Each string with a NUL behind it. */
bool milter_put_strings(
    struct buf *out, enum milter_command cmd, const struct span *strings, size_t n);
bool milter_put_optneg(struct buf *out, uint32_t actions, uint32_t steps);
/* host: the client's name, or its address in brackets. An address of none: family unknown. */
bool milter_put_connect(struct buf *out, struct span host, struct ip_port client);

/* ---- in ---------------------------------------------------------------------------------------- */

enum milter_rx { MILTER_MORE, MILTER_READY, MILTER_BAD };

struct milter_packet {
	char code; /* enum milter_code when the filter is honest */
	struct span data;
};

/* input: all that was received and not eaten. READY: the caller eats *eat_out bytes once it is done with
 * the packet, whose span points into input. BAD: a length of 0 or above the limit. */
enum milter_rx milter_take(struct span input, struct milter_packet *out, size_t *eat_out);

/* The answer to OPTNEG. ERR_PROTOCOL: a version, actions or steps that were not offered. */
struct milter_optneg {
	uint32_t version, actions, steps;
	struct span macros[MILTER_M_COUNT]; /* names with spaces between; p == NULL: the default */
};
err_t milter_parse_optneg(
    struct span data, uint32_t actions, uint32_t steps, struct milter_optneg *out);

/* A reply's words for the client. */
struct milter_text {
	uint16_t code;                  /* 400-599 */
	char enhanced[12];              /* "" or one that fits the code */
	char text[MILTER_TEXT_MAX + 1]; /* printable ASCII, lines separated by "\n" */
};
err_t milter_parse_text(struct span data, struct milter_text *out);

/* An edit. Spans point into the packet. */
struct milter_change {
	uint32_t index;    /* INSERT_HEADER, CHANGE_HEADER */
	struct span name;  /* of a header field: a good one */
	struct span value; /* of a header field; the reason of QUARANTINE; bytes of REPLACE_BODY */
	struct span address; /* ADD_RCPT, ADD_RCPT_PAR, DELETE_RCPT, CHANGE_FROM: as sent */
};
/* The action bit that the edit needs; 0: the code is no edit. */
uint32_t milter_change_needs(char code);
err_t milter_parse_change(const struct milter_packet *p, struct milter_change *out);

#endif
