/* chunk.h - step 4 by another door: BDAT (RFC 3030). */
#ifndef EDGE_CHUNK_H
#define EDGE_CHUNK_H

#include "edge/session.h"

enum verdict chunk_bdat(struct session *s, const struct smtp_cmd *cmd);
/* Bytes of a chunk have come, or did not in time. */
enum verdict chunk_input(struct session *s);
enum verdict chunk_slow(struct session *s);

#endif
