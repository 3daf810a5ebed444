/* greet.h - commands: one line in, a reply or a longer way out; the small ones are answered here. */
#ifndef EDGE_GREET_H
#define EDGE_GREET_H

#include "edge/session.h"

/* One command line of a session in ST_COMMAND, and one that was longer than any may be. */
enum verdict greet_line(struct session *s, struct span line);
enum verdict greet_too_long(struct session *s);

/* May this session log in now? (The listener offers it, and TLS is there or not asked for.) */
bool greet_offers_auth(const struct session *s);

#endif
