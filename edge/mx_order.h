/* mx_order.h - which of a domain's mail exchangers are tried, and in which order (RFC 5321 section 5.1). For deliver.c. */
#ifndef EDGE_MX_ORDER_H
#define EDGE_MX_ORDER_H

#include "net/dns.h"

enum mx_use {
	MX_USE,  /* those that are left */
	MX_OURS, /* none is before us: mail would come back */
	MX_BAD   /* none is a name of a host */
};

/* Mail exchangers of the same preference come in any order, another one each time. Those whose preference is ours go,
 * and all behind: they would give the mail to us again. So do names that are no host's of the Internet: addresses, which are
 * not looked up, and localhost. self: our name. */
enum mx_use mx_arrange(struct dns_mx *mx, const char *self);

#endif
