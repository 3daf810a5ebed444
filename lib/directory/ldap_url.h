/* ldap_url.h - ldap://host:port, ldaps://host:port, ldapi://%2Fpath: pure grammar of the `uri` option. */
#ifndef DIRECTORY_LDAP_URL_H
#define DIRECTORY_LDAP_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum { LDAP_URLS_MAX = 16, LDAP_URL_HOST_SIZE = 256 };

struct ldap_url {
	bool tls;                      /* ldaps: TLS from the first byte */
	uint16_t port;                 /* 0 for a unix socket */
	char host[LDAP_URL_HOST_SIZE]; /* name, address, or path of a unix socket ("/...") */
};

/* A final slash is allowed, a DN is not: the base is an option of its own. */
bool ldap_url_parse(struct span text, struct ldap_url *out);

#endif
