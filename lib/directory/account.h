/* account.h - what the directory knows of a user, in the terms of the model's schema
 * (inetMailUser): the same for every back end. Spans and strings live as long as the account. */
#ifndef DIRECTORY_ACCOUNT_H
#define DIRECTORY_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "directory/text_list.h"

enum {
	ACCOUNT_HOSTS_MAX = 8,
	ACCOUNT_FORWARDS_MAX = 64,
	ACCOUNT_PROGRAMS_MAX = 16,
	ACCOUNT_FILTERS_MAX = 16
};

/* Words of mailDeliveryOption that mean something here; of a group, MAILBOX means its members. */
enum {
	ACCOUNT_TO_MAILBOX = 1,
	ACCOUNT_TO_FORWARDS = 2,
	ACCOUNT_TO_HOLD = 4,
	ACCOUNT_TO_NATIVE = 8,   /* native, unix: a mailbox of the host that delivers */
	ACCOUNT_TO_PROGRAM = 16, /* those of account.programs */
	ACCOUNT_TO_LATER =
	    32, /* of a group, with MAILBOX: members are looked for when it is out of the client's way */
};

/* First of inetDomainStatus, mailDomainStatus, inetUserStatus, mailUserStatus that is not active. */
enum account_status {
	ACCOUNT_ACTIVE,
	ACCOUNT_INACTIVE,  /* mail: 4xx; login: no */
	ACCOUNT_DISABLED,  /* mail: 5xx; login: no */
	ACCOUNT_DELETED,   /* mail: 5xx; login: no (also: removed) */
	ACCOUNT_HOLD,      /* mail: held in the queue; login: try later */
	ACCOUNT_OVERQUOTA, /* mail: 4xx 4.2.2; login: yes */
	ACCOUNT_DEFER      /* mail: 4xx; login: try later */
};

struct account {
	const char *id;      /* dn, or the LDIF entry's: for verify */
	const char *user;    /* login name at the store: "uid@domain", lower case */
	const char *address; /* mail: the primary address */
	const char *domain;
	const char *hosts[ACCOUNT_HOSTS_MAX]; /* mailHost values: store names, best first */
	size_t host_count;
	enum account_status status;
	int64_t quota_bytes; /* -1 unlimited, -2 system default */
	int64_t quota_messages;
	int64_t domain_quota_bytes; /* of all users of the domain; -1 unlimited, -2 none is given */
	int64_t domain_quota_messages;
	unsigned delivery;         /* ACCOUNT_TO_*; 0: in no way that is offered here */
	struct text_list forwards; /* mailForwardingAddress, as they are written */
	struct text_list programs; /* mailProgramDeliveryInfo: names of programs */
	struct text_list filters,
	    domain_filters;   /* mailAntiUBEService: of the user, of the domain */
	const char *password; /* userPassword when the back end can read it, else NULL */
	const char
	    *allowed_services; /* for access_filter.h: the user's and the domain's; NULL: all */
	bool verify_at_store;  /* back end cannot check secrets: the store does */
};

/* What the account's status means for mail: an option to hold it counts as that status. */
static inline enum account_status account_mail_status(const struct account *a)
{
	bool hold = a->status == ACCOUNT_ACTIVE && (a->delivery & ACCOUNT_TO_HOLD) != 0;
	return hold ? ACCOUNT_HOLD : a->status;
}

/* Where a store is: an entry of class posternStore (cn = the mailHost value), else the name itself
 * with the default ports. A port of 0: that service is not offered. */
struct store_place {
	const char *name;
	const char *host; /* to dial */
	uint16_t imap, imaps, pop3, pop3s, lmtp, sieve, submission, submissions;
};

#endif
