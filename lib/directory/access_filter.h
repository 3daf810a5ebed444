/* access_filter.h - mailAllowedServiceAccess: may this user use this service, from there?
 *
 * Rules joined with "$", each  [+|-]services:clients . A rule that allows wins over one that denies; without
 * any match the answer is yes, except when there are only allowing rules. Both lists are words between commas
 * or blanks, and may go on with EXCEPT and another list. A service is a name, "*" or "ALL"; a client "*", "ALL", an
 * address ("192.0.2.7", "2001:db8::7"), a network ("192.0.2.0/24", "192.0.2.0/255.255.255.0", "192.0.2.",
 * "2001:db8::/32", in brackets or not). Words that need a client's name (hosts, ".domain", LOCAL, KNOWN ...) are
 * not understood: with one of them, or any other mistake, the answer is no. Filters on several lines, such as the
 * domain's and the user's, must all allow it. */
#ifndef DIRECTORY_ACCESS_FILTER_H
#define DIRECTORY_ACCESS_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/ip.h"
#include "base/span.h"

enum { ACCESS_FILTER_RULES_MAX = 64 };

/* names: what the session may be called by, NULL entries are skipped: { "imaps", "imap", ... }. client: from where it
 * comes; NULL: that is not known, and only "*" and "ALL" are understood as clients. */
bool access_filter_allows(
    struct span filter, const struct ip_addr *client, const char *const *names, size_t n);

#endif
