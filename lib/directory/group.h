/* group.h - a mail group (inetMailGroup) in the terms of the model's schema: members, who may post, what
 * becomes of posts that may not. Lists hold the values as they are written; they live as long as the group. */
#ifndef DIRECTORY_GROUP_H
#define DIRECTORY_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "directory/account.h"

enum { GROUP_FIELDS_MAX = 800, GROUP_TEXT_MAX = 4000, GROUP_PASSWORD_MAX = 200 };

struct group {
	const char *id;      /* dn */
	const char *address; /* mail: the primary address */
	const char *domain;
	enum account_status status; /* inetMailGroupStatus, mgrpStatus */
	unsigned delivery;          /* ACCOUNT_TO_*: MAILBOX means members */
	struct text_list members;   /* mgrpRFC822MailMember: addresses */
	struct text_list entries;   /* uniqueMember: DNs */
	struct text_list searches;  /* mgrpDeliverTo: LDAP URLs */
	struct text_list left_out;  /* mgrpDeliverException: DNs */
	struct text_list forwards;  /* mailForwardingAddress */
	/* Who may post: addresses, mailto: or ldap: URLs; domains. */
	struct text_list allowed, disallowed, allowed_domains, disallowed_domains;
	struct text_list moderators; /* mgrpModerator: as `allowed` */
	bool wants_auth;             /* mgrpBroadcasterPolicy: SMTP AUTH */
	bool wants_password;         /* ... a field Approved with the password */
	bool any_of_both;            /* ... one of the two is enough */
	bool reject_to_moderator;    /* mgrpMsgRejectAction */
	const char *password;        /* mgrpAuthPassword, or NULL */
	const char *reject_text;     /* mgrpMsgRejectText, or NULL */
	const char *errors_to;       /* mgrpErrorsTo: an address, or NULL */
	/* mgrpAddHeader: "Name: value", at most GROUP_FIELDS_MAX bytes in all. */
	struct text_list fields;
	struct text_list removed;  /* mgrpRemoveHeader: names of header fields */
	const char *above, *below; /* mgrpMsgPrefixText, mgrpMsgSuffixText: lines, or NULL */
	uint64_t size_max;         /* mgrpMsgMaxSize, bytes; UINT64_MAX: none */
};

#endif
