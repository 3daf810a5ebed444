/* dns_internal.h - questions and raw answers, shared by the dns_*.c files. */
#ifndef NET_DNS_INTERNAL_H
#define NET_DNS_INTERNAL_H

#include "base/buf.h"
#include "base/list.h"
#include "net/dns.h"

enum dns_type {
	DNS_TYPE_A = 1,
	DNS_TYPE_CNAME = 5,
	DNS_TYPE_SOA = 6,
	DNS_TYPE_PTR = 12,
	DNS_TYPE_MX = 15,
	DNS_TYPE_TXT = 16,
	DNS_TYPE_AAAA = 28,
	DNS_TYPE_TLSA = 52
};

enum { DNS_RECORDS_MAX = 32, DNS_DATA_MAX = 16384, DNS_NAME_MAX = 253 };

/* A decoded reply. A and AAAA data are address bytes, CNAME, PTR and MX a lower-case name without the final
 * dot ("" is the root), TXT the record's strings joined, TLSA the bytes. */
struct dns_msg {
	unsigned refs;
	enum dns_status status;
	bool secure; /* the server says that it has validated it (AD) */
	uint32_t ttl_s;
	uint64_t born_ms;
	uint32_t alias_at,
	    alias_len; /* in data: whose records they are, when not of the name itself */
	size_t n;
	struct {
		uint16_t preference;
		uint32_t at, len; /* in data */
	} v[DNS_RECORDS_MAX];
	struct buf data;
};

/* dns_msg.c: always answers a message; what cannot be read is DNS_FAILED. */
struct dns_msg *dns_msg_new(enum dns_status status);
struct dns_msg *dns_msg_parse(struct span packet, enum dns_type type);
struct dns_msg *dns_msg_ref(struct dns_msg *m);
void dns_msg_unref(struct dns_msg **m);
struct span dns_msg_data(const struct dns_msg *m, size_t i);
struct span dns_msg_alias(const struct dns_msg *m); /* empty: none */

/* dns.c: one wait per asker and question; embedded, all zero at first. */
struct dns_wait {
	struct list_node link;
	void (*fn)(void *arg, struct dns_msg *m);
	void *arg;
};
/* name: checked by dns_name_check(). fn comes once, from the loop, unless cancelled. */
void dns_question(struct dns *d, const char *name, enum dns_type type, struct dns_wait *w);
void dns_wait_cancel(struct dns_wait *w); /* fine when not waiting */

/* Lower case, without the final dot; false: not a name that DNS could know. */
bool dns_name_check(struct span name, char out[DNS_NAME_SIZE]);

/* Outstanding tickets, so that dns_free() can cancel them: the ones asked first come first. */
struct dns_asker {
	struct list_node link;
	struct ticket *ticket;
};
void dns_asker_add(struct dns *d, struct dns_asker *a, struct ticket *t);
void dns_asker_remove(struct dns_asker *a);
struct loop *dns_loop(struct dns *d);
bool dns_trusts(const struct dns *d); /* is what its servers say of security to be believed? */
uint64_t dns_deadline_ms(const struct dns *d);

/* dns_ask.c: PTR records as texts. */
struct ticket *dns_ptr(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_texts *), void *arg);

#endif
