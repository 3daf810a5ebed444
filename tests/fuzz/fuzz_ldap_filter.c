/* fuzz_ldap_filter.c - LDAP URLs of groups and the filters in them: what is taken can be asked of a server, and held
 * against an entry. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/mem.h"
#include "directory/member_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tree(const struct ldap_tree *t, const struct entry *e)
{
	static const char *const attrs[] = { "mail" };
	struct buf out = BUF_INIT(64 * 1024);
	struct ldap_search s = { .base = "o=x",
		.subtree = true,
		.size_max = 1,
		.filter = &t->root,
		.attrs = attrs,
		.attr_n = 1 };
	CHECK(t->n <= LDAP_TREE_NODES_MAX && t->text_n <= LDAP_TREE_TEXT_MAX);
	CHECK(ldap_put_search(&out, 1, &s));
	bool fits = ldap_tree_fits(&t->root, e);
	CHECK(fits == ldap_tree_fits(&t->root, e));
	buf_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct member_url *url = MEM_NEW(struct member_url);
	struct entry e;
	const char *why;
	entry_init(&e);
	CHECK(entry_start(&e, SPAN("uid=a,o=x")) && entry_add(&e, SPAN("mail"), SPAN("a@b.c")) &&
	      entry_add(&e, SPAN("a"), SPAN("abcabc")));
	if (ldap_tree_parse(in, &url->filter))
		check_tree(&url->filter, &e);
	if (member_url_parse(in, url, &why)) {
		check_tree(&url->filter, &e);
		CHECK(strlen(url->base) > 0 && url->scope <= MEMBER_SUB);
		(void)member_url_fits(url, &e);
	}
	entry_end(&e);
	mem_free(url);
	return 0;
}
