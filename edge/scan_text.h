/* scan_text.h - what spamd sends behind its verdict: names of rules, a header section, or a message. */
#ifndef EDGE_SCAN_TEXT_H
#define EDGE_SCAN_TEXT_H

#include "base/buf.h"
#include "base/err.h"

#include "edge/milter_edit.h"

enum { SCAN_SYMBOLS_MAX = 4096 };

struct scan_text {
	int command;     /* word of edge_scanner.command */
	struct buf head; /* owned; names, or the header section */
	bool in_body;
};

void scan_text_init(struct scan_text *t, int command);
void scan_text_end(struct scan_text *t);
/* In pieces as they come. A new body is noted in e. */
err_t scan_text_add(struct scan_text *t, struct span bytes, struct edit *e);
/* " tests=NAME,NAME" */
void scan_text_put_symbols(const struct scan_text *t, struct buf *out);
/* The header section takes the place of the message's, and the new body that of its text. */
err_t scan_text_apply(struct scan_text *t, struct edit *e);

#endif
