/* access_filter.h - mailAllowedServiceAccess: may this user use this service?
 *
 * Rules joined with "$", each  [+|-]service,service:client,client . A rule that allows wins over one
 * that denies; without any match the answer is yes, except when there are only allowing rules. Client
 * lists other than "*" and "ALL", and the word EXCEPT, are not understood: the answer is then no. */
#ifndef DIRECTORY_ACCESS_FILTER_H
#define DIRECTORY_ACCESS_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

enum { ACCESS_FILTER_RULES_MAX = 64 };

/* names: what the session may be called by, NULL entries are skipped: { "imaps", "imap", ... }. */
bool access_filter_allows(struct span filter, const char *const *names, size_t n);

#endif
