/* fuzz_dns_msg.c - DNS replies: whatever is read out of one stays inside the bounds that askers rely
 * on, and a reply that was cut holds nothing that the whole did not. First byte: which type was asked. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "net/dns_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Names go into buffers of fixed size and into other questions. */
static void check_name(struct span name)
{
	char again[DNS_NAME_SIZE];
	CHECK(name.n <= DNS_NAME_MAX);
	if (name.n > 0)
		CHECK(dns_name_check(name, again) && span_eq_str(name, again));
}

static void check_message(const struct dns_msg *m, enum dns_type type)
{
	CHECK((m->status == DNS_FOUND) == (m->n > 0));
	CHECK(m->n <= DNS_RECORDS_MAX && buf_len(&m->data) <= DNS_DATA_MAX);
	CHECK(m->ttl_s <= 3600);
	for (size_t i = 0; i < m->n; i++) {
		struct span v = dns_msg_data(m, i);
		CHECK(v.n == m->v[i].len);
		if (type == DNS_TYPE_A)
			CHECK(v.n == 4);
		else if (type == DNS_TYPE_AAAA)
			CHECK(v.n == 16);
		else if (type == DNS_TYPE_TLSA)
			CHECK(v.n > 3);
		else if (type != DNS_TYPE_TXT)
			check_name(v);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum dns_type types[] = { DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_MX, DNS_TYPE_PTR,
		DNS_TYPE_TXT, DNS_TYPE_TLSA };
	if (size < 1)
		return 0;
	enum dns_type type = types[data[0] % COUNT_OF(types)];
	struct span packet = span_of(data + 1, size - 1);
	struct dns_msg *whole = dns_msg_parse(packet, type);
	check_message(whole, type);
	for (size_t n = 0; n < packet.n; n += 1 + n / 4) {
		struct dns_msg *part = dns_msg_parse(span_first(packet, n), type);
		check_message(part, type);
		/* A name may point forward, past the cut: that record alone is passed over. */
		CHECK(part->n <= whole->n);
		dns_msg_unref(&part);
	}
	dns_msg_unref(&whole);
	return 0;
}
