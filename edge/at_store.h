/* at_store.h - step 3: verify_at_store, the last of our own checks of a recipient. */
#ifndef EDGE_AT_STORE_H
#define EDGE_AT_STORE_H

#include "edge/session.h"

/* The recipient of the mail under way is in the transaction, and no limit has refused it: its store is asked
 * whether it takes the mail, if the settings want it; then policy services and filters are. */
enum verdict at_store_verify(struct session *s);

#endif
