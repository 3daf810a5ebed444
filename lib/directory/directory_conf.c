/* directory_conf.c - the table of the `directory` section, its cross checks and comparison. */
#include "directory/directory_conf.h"

#include "directory/directory.h"
#include "directory/ldap_template.h"
#include "directory/ldap_url.h"

#define CONF_BLOCK directory
#define CONF_DEF "directory/directory.params.def"
#define CONF_PROSE "Where users, domains and stores are looked up."
#include "conf/params_table.h"

static bool is_empty(const char *s)
{
	return s == NULL || s[0] == '\0';
}

/* ---- comparison: one function for each type of row ---- */

static bool same_BOOL(const bool *a, const bool *b)
{
	return *a == *b;
}

static bool same_ENUM(const int *a, const int *b)
{
	return *a == *b;
}

static bool same_INT(const int64_t *a, const int64_t *b)
{
	return *a == *b;
}

static bool same_SIZE(const uint64_t *a, const uint64_t *b)
{
	return *a == *b;
}

static bool same_DURATION(const uint64_t *a, const uint64_t *b)
{
	return *a == *b;
}

static bool same_STRING(const char *const *a, const char *const *b)
{
	return span_eq(span_str(*a), span_str(*b));
}

static bool same_PATH(const char *const *a, const char *const *b)
{
	return same_STRING(a, b);
}

static bool same_STRINGS(const struct conf_strings *a, const struct conf_strings *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!same_STRING(&a->v[i], &b->v[i]))
			return false;
	return true;
}

static bool same_FILE(const struct conf_file *a, const struct conf_file *b)
{
	return span_eq(a->bytes, b->bytes);
}

static bool same_SECRET(const struct conf_file *a, const struct conf_file *b)
{
	return same_FILE(a, b);
}

bool directory_conf_equal(const struct directory_conf *a, const struct directory_conf *b)
{
#define PARAM(field, type, def, low, high, when, prose)                                            \
	if (!same_##type(&a->field, &b->field))                                                    \
		return false;
#include "directory/directory.params.def"
#undef PARAM
	return true;
}

bool directory_conf_lists(const struct directory_conf *c, struct span domain)
{
	if (domain.n == 0)
		return false;
	if (span_ieq_str(domain, c->default_domain == NULL ? "" : c->default_domain))
		return true;
	for (size_t i = 0; i < c->domains.n; i++)
		if (span_ieq_str(domain, c->domains.v[i]))
			return true;
	return false;
}

/* ---- cross checks ---- */

static void check_template(
    const struct directory_conf *c, const char *option, const char *text, struct conf_diag *d)
{
	if (!is_empty(text) && !ldap_template_ok(span_str(text)))
		conf_error(d, c->head.pos,
		    "directory: `%s` is no filter such as (service=mail-%%d): & | ! = =* and "
		    "substrings, with %%s, %%u, %%d and %%%% in values",
		    option);
}

static void check_ldap(const struct directory_conf *c, struct conf_diag *d)
{
	struct ldap_url url;
	if (c->uri.n == 0)
		conf_error(d, c->head.pos, "directory: backend ldap needs `uri`");
	if (c->uri.n > LDAP_URLS_MAX)
		conf_error(d, c->head.pos, "directory: at most %d values of `uri`", LDAP_URLS_MAX);
	for (size_t i = 0; i < c->uri.n; i++)
		if (!ldap_url_parse(span_str(c->uri.v[i]), &url))
			conf_error(d, c->head.pos,
			    "directory: `%s` is not ldap://HOST[:PORT], ldaps://HOST[:PORT] or "
			    "ldapi://%%2FPATH",
			    c->uri.v[i]);
	if (is_empty(c->base))
		conf_error(d, c->head.pos, "directory: backend ldap needs `base`");
	check_template(c, "user_filter", c->user_filter, d);
	check_template(c, "domain_filter", c->domain_filter, d);
	if (!is_empty(c->bind_dn) && c->bind_password.bytes.n == 0)
		conf_error(d, c->head.pos, "directory: `bind_dn` needs `bind_password`");
}

static void check_static(const struct directory_conf *c, struct conf_diag *d)
{
	if (is_empty(c->static_host))
		conf_error(d, c->head.pos, "directory: backend static needs `static_host`");
	else if (span_find_span(span_str(c->static_host), SPAN("%d")) != SIZE_MAX &&
		 c->domains.n == 0)
		conf_error(d, c->head.pos,
		    "directory: `static_host` with %%d needs `domains`: else any client could "
		    "choose the host");
}

void directory_check(const struct conf *conf, struct conf_diag *d)
{
	const struct directory_conf *c = conf_section(conf, &directory_block);
	if (!conf_has_section(conf, &directory_block))
		return;
	switch (c->backend) {
	case BACKEND_LDAP:
		check_ldap(c, d);
		break;
	case BACKEND_STATIC:
		check_static(c, d);
		break;
	default:
		if (is_empty(c->file))
			conf_error(d, c->head.pos, "directory: backend file needs `file`");
	}
}
