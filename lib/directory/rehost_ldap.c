/* rehost_ldap.c - the store of a user is another from now on, at an LDAP server. The only place that uses the calls
 * of libldap that block. Owns a connection for the length of a call. */
#include <ldap.h>

#include <string.h>

#include "base/mem.h"
#include "directory/rehost.h"

enum { FILTER_MAX = 2048, MS = 1000 };

struct server {
	LDAP *ld; /* owned */
	const struct directory_conf *conf;
	struct buf *why;
};

static bool fail(struct server *s, const char *what, int rc)
{
	buf_printf(s->why, "%s: %s", what, ldap_err2string(rc));
	return false;
}

/* ---- the connection ---------------------------------------------------------------------------------------- */

static int set_options(struct server *s)
{
	static const int demands[] = { LDAP_OPT_X_TLS_DEMAND, LDAP_OPT_X_TLS_DEMAND,
		LDAP_OPT_X_TLS_NEVER };
	const struct directory_conf *c = s->conf;
	struct timeval wait = { .tv_sec = (time_t)(c->deadline / MS) + 1 };
	int version = LDAP_VERSION3, demand = demands[c->tls_verify], client = 0;
	int rc = ldap_set_option(s->ld, LDAP_OPT_PROTOCOL_VERSION, &version);
	if (rc == LDAP_SUCCESS)
		rc = ldap_set_option(s->ld, LDAP_OPT_NETWORK_TIMEOUT, &wait);
	if (rc == LDAP_SUCCESS)
		rc = ldap_set_option(s->ld, LDAP_OPT_TIMEOUT, &wait);
	if (rc == LDAP_SUCCESS)
		rc = ldap_set_option(s->ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
	if (rc == LDAP_SUCCESS && c->tls_ca.bytes.n > 0)
		rc = ldap_set_option(s->ld, LDAP_OPT_X_TLS_CACERTFILE, c->tls_ca.path);
	if (rc == LDAP_SUCCESS)
		rc = ldap_set_option(s->ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
	if (rc == LDAP_SUCCESS && (c->starttls || c->tls_ca.bytes.n > 0))
		rc = ldap_set_option(s->ld, LDAP_OPT_X_TLS_NEWCTX, &client);
	return rc;
}

static bool server_open(struct server *s, const char *uri)
{
	const struct directory_conf *c = s->conf;
	struct span secret = span_trim(c->bind_password.bytes);
	struct berval cred = { secret.n, (char *)(uintptr_t)secret.p };
	int rc = ldap_initialize(&s->ld, uri);
	if (rc != LDAP_SUCCESS)
		return fail(s, uri, rc);
	rc = set_options(s);
	if (rc == LDAP_SUCCESS && c->starttls && strncmp(uri, "ldap:", 5) == 0)
		rc = ldap_start_tls_s(s->ld, NULL, NULL);
	if (rc == LDAP_SUCCESS)
		rc = ldap_sasl_bind_s(s->ld, c->bind_dn, LDAP_SASL_SIMPLE, &cred, NULL, NULL, NULL);
	return rc == LDAP_SUCCESS || fail(s, uri, rc);
}

static void server_close(struct server *s)
{
	if (s->ld != NULL)
		(void)ldap_unbind_ext_s(s->ld, NULL, NULL);
	s->ld = NULL;
}

/* ---- the entry ------------------------------------------------------------------------------------------------ */

static bool has_value(struct berval **values, const char *host)
{
	for (size_t i = 0; values != NULL && values[i] != NULL; i++)
		if (span_ieq_str(span_of(values[i]->bv_val, values[i]->bv_len), host))
			return true;
	return false;
}

static bool put_filter(struct buf *out, const struct directory_conf *c, const char *user)
{
	buf_printf(out, "(&(objectClass=%s)(%s=", c->user_class, c->attr_mail);
	/* RFC 4515 section 3: what could be grammar is written as hex digits. */
	for (const char *p = user; *p != '\0'; p++)
		if (strchr("*()\\", *p) != NULL)
			buf_printf(out, "\\%02x", (unsigned)(unsigned char)*p);
		else
			buf_add_char(out, *p);
	return buf_add_str(out, "))");
}

/* The entry's DN (the library's memory) and what is to be done. NULL: why says why not. */
static char *judge_entry(
    struct server *s, const struct rehost *r, LDAPMessage *found, enum rehost_result *out)
{
	LDAPMessage *entry = ldap_first_entry(s->ld, found);
	if (ldap_count_entries(s->ld, found) != 1 || entry == NULL) {
		buf_add_str(s->why, "not one entry has this address as mail");
		return NULL;
	}
	struct berval **hosts = ldap_get_values_len(s->ld, entry, s->conf->attr_host);
	bool old = has_value(hosts, r->from), new = has_value(hosts, r->to);
	ldap_value_free_len(hosts);
	*out = new ? REHOST_ALREADY : REHOST_DONE;
	if (old != new)
		return ldap_get_dn(s->ld, entry);
	buf_add_str(s->why,
	    old ? "the user's entry names both stores" : "the user's entry names neither store");
	return NULL;
}

static char *find_entry(struct server *s, const struct rehost *r, enum rehost_result *out)
{
	struct buf filter = BUF_INIT(FILTER_MAX);
	char *attrs[2] = { (char *)(uintptr_t)s->conf->attr_host, NULL };
	LDAPMessage *found = NULL;
	char *dn = NULL;
	int rc = LDAP_FILTER_ERROR;
	if (put_filter(&filter, s->conf, r->user))
		rc = ldap_search_ext_s(s->ld, s->conf->base, LDAP_SCOPE_SUBTREE, buf_cstr(&filter),
		    attrs, 0, NULL, NULL, NULL, 2, &found);
	if (rc == LDAP_SUCCESS)
		dn = judge_entry(s, r, found, out);
	else
		fail(s, "search", rc);
	if (found != NULL)
		(void)ldap_msgfree(found);
	buf_end(&filter);
	return dn;
}

static bool change_entry(struct server *s, const struct rehost *r, const char *dn)
{
	char *old[2] = { (char *)(uintptr_t)r->from, NULL };
	char *new[2] = { (char *)(uintptr_t)r->to, NULL };
	LDAPMod del = { .mod_op = LDAP_MOD_DELETE,
		.mod_type = (char *)(uintptr_t)s->conf->attr_host };
	LDAPMod add = { .mod_op = LDAP_MOD_ADD, .mod_type = del.mod_type };
	del.mod_values = old;
	add.mod_values = new;
	LDAPMod *both[3] = { &del, &add, NULL };
	int rc = ldap_modify_ext_s(s->ld, dn, both, NULL, NULL);
	return rc == LDAP_SUCCESS || fail(s, dn, rc);
}

enum rehost_result rehost_ldap(
    const struct directory_conf *c, const struct rehost *r, struct buf *why)
{
	struct server s = { .conf = c, .why = why };
	enum rehost_result result = REHOST_FAILED;
	bool open = false;
	for (size_t i = 0; !open && i < c->uri.n; i++) {
		buf_clear(why);
		server_close(&s);
		open = server_open(&s, c->uri.v[i]);
	}
	char *dn = open ? find_entry(&s, r, &result) : NULL;
	if (dn == NULL)
		result = REHOST_FAILED;
	else if (result == REHOST_DONE && !r->only_look && !change_entry(&s, r, dn))
		result = REHOST_FAILED;
	ldap_memfree(dn);
	server_close(&s);
	return result;
}
