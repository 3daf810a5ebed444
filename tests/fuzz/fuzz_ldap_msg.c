/* fuzz_ldap_msg.c - a server's bytes, message by message, up to the record that is made of an entry. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "directory/ldap_msg.h"
#include "directory/ldap_query.h"
#include "directory/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE_MAX = 4096 };

static const struct directory_conf settings = {
	.base = "dc=x",
	.deadline = 5000,
	.user_class = "u",
	.store_class = "s",
	.attr_uid = "uid",
	.attr_mail = "mail",
	.attr_alternate = "alt",
	.attr_equivalent = "eq",
	.attr_host = "host",
	.attr_password = "pw",
	.attr_domain = "dom",
};

static void make_records(const struct entry *e)
{
	static struct record *(*const make[])(const struct directory_conf *, const struct entry *,
	    const char **) = { record_from_user, record_from_domain, record_from_store };
	for (size_t i = 0; i < COUNT_OF(make); i++) {
		const char *why;
		struct record *r = make[i](&settings, e, &why);
		CHECK((r == NULL) == (why != NULL));
		if (r != NULL)
			(void)record_has_key(&settings, e, r, SPAN("a@b"));
		record_unref(&r);
	}
}

/* Whatever the name: what we send is one whole message that says its own length. */
static void check_request(struct span name)
{
	for (enum ldap_query q = 0; q < LDAP_Q_COUNT; q++) {
		struct buf out = BUF_INIT(64 * 1024);
		size_t n;
		if (ldap_query_put(&out, 1, &settings, q, span_first(name, 200))) {
			CHECK(ldap_frame(buf_span(&out), 64 * 1024, &n) == LDAP_FRAME_WHOLE);
			CHECK(n == buf_len(&out) && ldap_front_id(buf_span(&out)) == 1);
		}
		buf_end(&out);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct entry e;
	size_t n;
	entry_init(&e);
	check_request(in);
	while (ldap_frame(in, MESSAGE_MAX, &n) == LDAP_FRAME_WHOLE) {
		struct buf message = BUF_INIT(MESSAGE_MAX);
		struct ldap_answer a;
		CHECK(n >= 2 && n <= in.n);
		CHECK(buf_add_span(&message, span_first(in, n)));
		if (ldap_take(&message, &a, &e)) {
			CHECK(a.id >= 0 && a.code >= 0);
			if (a.kind == LDAP_A_ENTRY)
				make_records(&e);
		}
		(void)ldap_front_id(in);
		buf_end(&message);
		in = span_from(in, n);
	}
	(void)ldap_front_id(in);
	entry_end(&e);
	return 0;
}
