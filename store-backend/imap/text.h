/* text.h - bytes of a message as text that can be searched: decoded, in UTF-8, without case.
 *
 * Three steps in a row, each fed in pieces of any size: transfer encoding, charset, folding. Nothing is
 * refused: what cannot be decoded becomes U+FFFD or is left out, so a damaged message is still found by
 * the rest of its words. Charsets beside UTF-8, ISO-8859-1 and windows-1252 are the C library's iconv
 * and only those of a list: a message does not choose code that runs. */
#ifndef STORE_IMAP_TEXT_H
#define STORE_IMAP_TEXT_H

#include <iconv.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "proto/mime_transfer.h"

/* ---- charset ------------------------------------------------------------------------------------- */

struct charset {
	enum { CHARSET_UTF8, CHARSET_WESTERN, CHARSET_ICONV } how;
	iconv_t cd; /* owned, when CHARSET_ICONV */
	char held[16];
	size_t held_n;
};
/* Unknown names are taken for UTF-8, of which ASCII is a part. */
void charset_begin(struct charset *c, struct span name);
void charset_put(struct charset *c, struct span in, struct buf *out);
void charset_end(struct charset *c, struct buf *out); /* frees */

/* ---- folding ------------------------------------------------------------------------------------- */

/* UTF-8 with letters in lower case as far as one character stands for one: Latin, Greek, Cyrillic,
 * Armenian, full width. Accents stay. */
struct folder {
	char held[4]; /* a character that is not whole yet */
	unsigned held_n;
};
void folder_put(struct folder *f, struct span in, struct buf *out);
void folder_end(struct folder *f, struct buf *out);

/* ---- all of it ----------------------------------------------------------------------------------- */

/* A string of a client: it is UTF-8. */
void text_fold(struct span utf8, struct buf *out);
/* The raw value of a header field: unfolded, encoded words (RFC 2047) decoded, folded. Cut where out ends. */
void text_fold_field(struct span value, struct buf *out);
/* Encoded words decoded to UTF-8; the value is on one line. */
void text_decode_words(struct span value, struct buf *out);

/* A body in pieces. */
struct text_body {
	struct transfer transfer;
	struct charset charset;
	struct folder folder;
	struct buf decoded, utf8; /* owned */
};
enum { TEXT_PIECE_MAX = 32 * 1024 }; /* bytes of one text_body_put() */
void text_body_begin(struct text_body *b, enum mime_transfer how, struct span charset);
void text_body_put(struct text_body *b, struct span in, struct buf *out);
/* The end of what was held back; frees. Fine on a zeroed one. */
void text_body_end(struct text_body *b, struct buf *out);

#endif
