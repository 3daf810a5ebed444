/* lmtp_address.h - how a local recipient is named to a store. */
#ifndef EDGE_LMTP_ADDRESS_H
#define EDGE_LMTP_ADDRESS_H

/* "user+detail@domain" of the login name "user@domain" (or "user+detail" of "user"). detail may be NULL. Owned
 * by the caller. */
char *lmtp_address_new(const char *user, const char *detail);

#endif
