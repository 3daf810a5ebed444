/* ldap_query.c - filters and attribute lists, from the names in the options and the key. Pure.
 *
 * Filters are trees on the stack; the key is a value in them, never a part of their grammar. */
#include "directory/ldap_query.h"

#include "base/check.h"
#include "base/mem.h"

#include "directory/ldap_msg.h"
#include "directory/ldap_template.h"
#include "directory/member_url.h"
#include "directory/name.h"
#include "directory/record.h"

enum { PARTS_MAX = 8, ATTRS_MAX = 40, ENTRIES_MAX = 8 };

struct parts {
	struct ldap_filter v[PARTS_MAX];
	size_t n;
};

static bool is_set(const char *s)
{
	return s != NULL && s[0] != '\0';
}

static void add_part(struct parts *p, struct ldap_filter f)
{
	CHECK(p->n < PARTS_MAX);
	p->v[p->n++] = f;
}

static void add_equal(struct parts *p, const char *attr, struct span value)
{
	if (is_set(attr))
		add_part(p, (struct ldap_filter){ LDAP_F_EQUAL, attr, value, NULL, 0 });
}

static void add_ends(struct parts *p, const char *attr, struct span value)
{
	if (is_set(attr))
		add_part(p, (struct ldap_filter){ LDAP_F_ENDS, attr, value, NULL, 0 });
}

static struct ldap_filter join(enum ldap_filter_kind kind, const struct parts *p)
{
	return (struct ldap_filter){ kind, NULL, SPAN_NONE, p->v, p->n };
}

struct query {
	const struct directory_conf *conf;
	struct span key;
	struct ldap_search search;
	struct buf *out;
	int32_t id;
};

static bool put_filtered(struct query *q, struct ldap_filter filter)
{
	q->search.filter = &filter;
	return ldap_put_search(q->out, q->id, &q->search);
}

static struct parts classed(const char *class, const struct parts *any)
{
	struct parts all = { .n = 0 };
	add_equal(&all, "objectClass", span_str(class));
	add_part(&all, join(LDAP_F_OR, any));
	return all;
}

static bool put_classed(struct query *q, const char *class, const struct parts *any)
{
	struct parts all = classed(class, any);
	return put_filtered(q, join(LDAP_F_AND, &all));
}

/* What fits the operator's template, too. A name that cannot fit it is nobody's: nothing has no object class. */
static bool put_also(struct query *q, struct parts *all, const char *template)
{
	static const struct ldap_filter present = { LDAP_F_PRESENT, "objectClass", SPAN_NONE, NULL,
		0 };
	static const struct ldap_filter never = { LDAP_F_NOT, NULL, SPAN_NONE, &present, 1 };
	struct ldap_tree *tree = MEM_NEW(struct ldap_tree);
	struct ldap_filled *f = MEM_NEW(struct ldap_filled);
	bool ok = false;
	if (ldap_template_parse(span_str(template), tree)) {
		bool fits = ldap_template_fill(tree, q->key, f);
		add_part(all, fits ? f->root : never);
		ok = (fits || buf_ok(&f->text)) && put_filtered(q, join(LDAP_F_AND, all));
	}
	buf_end(&f->text);
	mem_free(f);
	mem_free(tree);
	return ok;
}

static bool put_all(struct query *q, struct parts *all, const char *template)
{
	return is_set(template) ? put_also(q, all, template)
				: put_filtered(q, join(LDAP_F_AND, all));
}

/* A uid is a name within the domain of its entry's mail, or within the default domain when it has none. */
static bool put_user(struct query *q)
{
	const struct directory_conf *c = q->conf;
	struct parts any = { .n = 0 }, own = { .n = 0 }, domain = { .n = 0 }, without = { .n = 0 };
	size_t local_n = span_rfind(q->key, '@');
	add_equal(&any, c->attr_uid, q->key);
	if (local_n == SIZE_MAX) {
		struct parts all = classed(c->user_class, &any);
		return put_all(q, &all, c->user_filter);
	}
	struct span at = span_from(q->key, local_n);
	add_equal(&any, c->attr_mail, q->key);
	add_equal(&any, c->attr_alternate, q->key);
	add_equal(&any, c->attr_equivalent, q->key);
	add_equal(&own, c->attr_uid, name_local(q->key));
	add_ends(&domain, c->attr_mail, at);
	add_part(
	    &without, (struct ldap_filter){ LDAP_F_PRESENT, c->attr_mail, SPAN_NONE, NULL, 0 });
	if (span_ieq_str(span_from(at, 1), is_set(c->default_domain) ? c->default_domain : ""))
		add_part(&domain, join(LDAP_F_NOT, &without));
	add_part(&own, join(LDAP_F_OR, &domain));
	add_part(&any, join(LDAP_F_AND, &own));
	struct parts all = classed(c->user_class, &any);
	return put_all(q, &all, c->user_filter);
}

static bool put_domain(struct query *q)
{
	static const char *const class_names[] = { "domain", "inetDomain", "mailDomain",
		"inetDomainAlias", "organization" };
	struct parts all = { .n = 0 }, classes = { .n = 0 }, any = { .n = 0 };
	for (size_t i = 0; i < COUNT_OF(class_names); i++)
		add_equal(&classes, "objectClass", span_str(class_names[i]));
	add_equal(&any, q->conf->attr_domain, q->key);
	if (span_find(q->key, '.') != SIZE_MAX)
		add_equal(&any, "dc", q->key);
	add_part(&all, join(LDAP_F_OR, &classes));
	add_part(&all, join(LDAP_F_OR, &any));
	return put_all(q, &all, q->conf->domain_filter);
}

static bool put_domain_users(struct query *q)
{
	struct buf at = BUF_INIT(DOMAIN_BYTES_MAX + 2);
	struct parts any = { .n = 0 };
	buf_add_char(&at, '@');
	buf_add_span(&at, q->key);
	add_ends(&any, q->conf->attr_mail, buf_span(&at));
	add_ends(&any, q->conf->attr_uid, buf_span(&at));
	bool ok = buf_ok(&at) && put_classed(q, q->conf->user_class, &any);
	buf_end(&at);
	return ok;
}

static bool put_store(struct query *q)
{
	struct parts any = { .n = 0 };
	add_equal(&any, "cn", q->key);
	return put_classed(q, q->conf->store_class, &any);
}

static bool put_group(struct query *q)
{
	const struct directory_conf *c = q->conf;
	struct parts any = { .n = 0 };
	add_equal(&any, c->attr_mail, q->key);
	add_equal(&any, c->attr_alternate, q->key);
	add_equal(&any, c->attr_equivalent, q->key);
	return put_classed(q, c->group_class, &any);
}

static bool put_dn(struct query *q)
{
	struct ldap_filter any = { LDAP_F_PRESENT, "objectClass", SPAN_NONE, NULL, 0 };
	char *dn = mem_span_str(q->key);
	q->search.base = dn;
	q->search.subtree = false;
	bool ok = put_filtered(q, any);
	mem_free(dn);
	return ok;
}

static bool put_list(struct query *q)
{
	struct member_url *url = MEM_NEW(struct member_url);
	const char *why;
	bool ok = member_url_parse(q->key, url, &why);
	if (ok) {
		q->search.base = url->base;
		q->search.subtree = url->scope == MEMBER_SUB;
		q->search.one_level = url->scope == MEMBER_ONE;
		q->search.size_max = RECORD_LIST_MAX + 1;
		ok = put_filtered(q, url->filter.root);
	}
	mem_free(url);
	return ok;
}

static bool put_base(struct query *q)
{
	struct ldap_filter any = { LDAP_F_PRESENT, "objectClass", SPAN_NONE, NULL, 0 };
	q->search.subtree = false;
	return put_filtered(q, any);
}

/* What group_record.c reads. */
#define GROUP_ATTRS                                                                                \
	c->attr_mail, c->attr_alternate, c->attr_equivalent, c->attr_delivery, c->attr_forward,    \
	    c->attr_defer, c->attr_group_status, c->attr_group_mail_status, c->attr_group_member,  \
	    c->attr_group_entry, c->attr_group_search, c->attr_group_exception,                    \
	    c->attr_group_allowed, c->attr_group_disallowed, c->attr_group_allowed_domain,         \
	    c->attr_group_disallowed_domain, c->attr_group_policy, c->attr_group_moderator,        \
	    c->attr_group_reject_action, c->attr_group_reject_text, c->attr_group_errors,          \
	    c->attr_group_size_max, c->attr_group_add_header, c->attr_group_remove_header,         \
	    c->attr_group_password, c->attr_group_prefix, c->attr_group_suffix

static size_t list_attrs(
    const struct directory_conf *c, enum ldap_query q, const char *attrs[ATTRS_MAX])
{
	/* The password is asked for only when it is compared here. */
	const char *password = c->verify == VERIFY_COMPARE ? c->attr_password : NULL;
	const char *const lists[LDAP_Q_COUNT][ATTRS_MAX] = {
		[LDAP_Q_USER] = { c->attr_uid, c->attr_mail, c->attr_alternate, c->attr_equivalent,
		    c->attr_host, c->attr_quota, c->attr_quota_messages, c->attr_services,
		    c->attr_user_status, c->attr_mail_status, c->attr_delivery, c->attr_forward,
		    c->attr_program, c->attr_filters, password },
		[LDAP_Q_GROUP] = { GROUP_ATTRS },
		[LDAP_Q_DN] = { "objectClass", c->attr_uid, c->attr_host, c->attr_quota,
		    c->attr_quota_messages, c->attr_services, c->attr_user_status,
		    c->attr_mail_status, GROUP_ATTRS },
		[LDAP_Q_LIST] = { c->attr_mail },
		[LDAP_Q_DOMAIN] = { c->attr_domain, "dc", c->attr_domain_status,
		    c->attr_domain_mail_status, c->attr_domain_alias, c->attr_domain_canonical,
		    c->attr_domain_catchall, c->attr_domain_services, c->attr_domain_quota,
		    c->attr_domain_quota_messages, c->attr_domain_filters },
		[LDAP_Q_DOMAIN_USERS] = { c->attr_uid, c->attr_mail },
		[LDAP_Q_STORE] = { "cn", "posternStoreHost", "posternStoreImapPort",
		    "posternStoreImapsPort", "posternStorePop3Port", "posternStorePop3sPort",
		    "posternStoreLmtpPort", "posternStoreSievePort", "posternStoreSubmissionPort",
		    "posternStoreSubmissionsPort" },
		[LDAP_Q_BASE] = { "1.1" }, /* no attributes: RFC 4511 section 4.5.1.8 */
	};
	size_t n = 0;
	for (size_t i = 0; i < ATTRS_MAX; i++)
		if (is_set(lists[q][i]))
			attrs[n++] = lists[q][i];
	return n;
}

bool ldap_query_put(
    struct buf *out, int32_t id, const struct directory_conf *c, enum ldap_query q, struct span key)
{
	static bool (*const put[LDAP_Q_COUNT])(struct query *) = {
		[LDAP_Q_USER] = put_user,
		[LDAP_Q_DOMAIN] = put_domain,
		[LDAP_Q_DOMAIN_USERS] = put_domain_users,
		[LDAP_Q_STORE] = put_store,
		[LDAP_Q_GROUP] = put_group,
		[LDAP_Q_DN] = put_dn,
		[LDAP_Q_LIST] = put_list,
		[LDAP_Q_BASE] = put_base,
	};
	const char *attrs[ATTRS_MAX];
	struct query query = { .conf = c, .key = key, .out = out, .id = id };
	query.search = (struct ldap_search){ .base = c->base,
		.subtree = true,
		.size_max = ENTRIES_MAX,
		.seconds = (unsigned)((c->deadline + 999) / 1000),
		.attrs = attrs,
		.attr_n = list_attrs(c, q, attrs) };
	return put[q](&query);
}
