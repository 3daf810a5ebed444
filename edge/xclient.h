/* xclient.h - XCLIENT: a trusted host in front of us says who the client really is. XFORWARD: it says where the next
 * mail came from, for the log alone. */
#ifndef EDGE_XCLIENT_H
#define EDGE_XCLIENT_H

#include "edge/session.h"

/* May this session say it? Both the socket's peer and the client it came for must be in xclient_from: a balancer
 * there would otherwise lend its trust to everybody behind it. */
bool xclient_offered(const struct session *s);
/* May it also say who the client has logged in as (LOGIN)? Where we would take AUTH from it. */
bool xclient_takes_login(const struct session *s);
/* The session begins anew as the one of the client that was named: admission, greeting and all. */
enum verdict xclient_command(struct session *s, const struct smtp_cmd *cmd);

/* XFORWARD: the same condition, by xforward_from. What it says counts for the next mail. */
bool xforward_offered(const struct session *s);
enum verdict xforward_command(struct session *s, const struct smtp_cmd *cmd);

#endif
