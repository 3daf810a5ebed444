/* record.c - immutable records, made of entries: users, domains, stores.
 *
 * Drafts are record_draft.c's, groups group_record.c's. Owns nothing but the records, which their holders count. Passwords are wiped with the last one. */
#include "directory/record.h"

#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

#include "directory/name.h"
#include "directory/record_draft.h"

struct record *record_ref(const struct record *r)
{
	struct record *own = (struct record *)r;
	own->refs++;
	return own;
}

void record_unref(struct record **r)
{
	struct record *gone = *r;
	*r = NULL;
	if (gone == NULL || --OBJ(record, gone)->refs > 0)
		return;
	mem_wipe(gone->text, gone->text_n);
	gone->magic = 0;
	mem_free(gone);
}

struct record *record_of_account(const struct account *a)
{
	return OBJ(record, (char *)a - offsetof(struct record, account));
}

/* With room for more bytes of text behind what it has. */
static struct record *copy_user(const struct record *r, size_t more)
{
	struct record *copy = mem_alloc(sizeof *r + r->text_n + more);
	memcpy(copy, r, sizeof *r + r->text_n);
	copy->text = (char *)(copy + 1);
	copy->text_n = r->text_n + more;
	ptrdiff_t shift = copy->text - r->text;
	const char **texts[] = { &copy->account.id, &copy->account.user, &copy->account.address,
		&copy->account.domain, &copy->account.password, &copy->account.allowed_services,
		&copy->account.forwards.p, &copy->account.programs.p, &copy->account.filters.p,
		&copy->account.domain_filters.p };
	copy->refs = 1;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		*texts[i] = *texts[i] == NULL ? NULL : *texts[i] + shift;
	for (size_t i = 0; i < copy->account.host_count; i++)
		copy->account.hosts[i] += shift;
	for (size_t i = 0; i < copy->password_n; i++)
		copy->passwords[i] += shift;
	return copy;
}

struct record *record_with_status(const struct record *r, enum account_status status)
{
	struct record *copy = copy_user(r, 0);
	copy->account.status = status;
	return copy;
}

static bool domain_says_nothing(const struct record *domain)
{
	return domain->domain_status == ACCOUNT_ACTIVE && domain->domain_quota_bytes == -2 &&
	       domain->domain_quota_messages == -2 && domain->domain_services == NULL &&
	       domain->filters.n == 0;
}

static struct span list_bytes(const struct text_list *l)
{
	const char *end = l->p;
	for (size_t i = 0; i < l->n; i++)
		end = text_list_next(end);
	return span_of(l->p, l->n > 0 ? (size_t)(end - l->p) : 0);
}

struct record *record_in_domain(const struct record *user, const struct record *domain)
{
	const char *filter = domain->domain_services, *own = user->account.allowed_services;
	if (domain_says_nothing(domain))
		return record_ref(user);
	size_t more = filter == NULL ? 0 : strlen(filter) + 2 + (own != NULL ? strlen(own) : 0);
	struct span wanted = list_bytes(&domain->filters);
	struct record *copy = copy_user(user, more + wanted.n);
	char *text = copy->text + user->text_n;
	if (domain->domain_status != ACCOUNT_ACTIVE)
		copy->account.status = domain->domain_status;
	if (filter != NULL) {
		snprintf(
		    text, more, "%s%s%s", filter, own != NULL ? "\n" : "", own != NULL ? own : "");
		copy->account.allowed_services = text;
	}
	if (wanted.n > 0) {
		memcpy(text + more, wanted.p, wanted.n);
		copy->account.domain_filters = (struct text_list){ text + more, domain->filters.n };
	}
	copy->account.domain_quota_bytes = domain->domain_quota_bytes;
	copy->account.domain_quota_messages = domain->domain_quota_messages;
	return copy;
}

/* ---- values ---- */

static enum account_status parse_status(struct span word)
{
	static const struct {
		const char *word;
		enum account_status status;
	} words[] = {
		{ "active", ACCOUNT_ACTIVE },
		{ "inactive", ACCOUNT_INACTIVE },
		{ "disabled", ACCOUNT_DISABLED },
		{ "deleted", ACCOUNT_DELETED },
		{ "removed", ACCOUNT_DELETED },
		{ "hold", ACCOUNT_HOLD },
		{ "overquota", ACCOUNT_OVERQUOTA },
		{ "defer", ACCOUNT_DEFER },
	};
	if (word.p == NULL)
		return ACCOUNT_ACTIVE;
	for (size_t i = 0; i < COUNT_OF(words); i++)
		if (span_ieq_str(word, words[i].word))
			return words[i].status;
	return ACCOUNT_INACTIVE; /* as the model: an unknown word is not a licence */
}

/* The first of two attributes that is not active. */
enum account_status record_status_of(const struct entry *e, const char *first, const char *second)
{
	enum account_status s = parse_status(entry_get(e, first, 0));
	return s != ACCOUNT_ACTIVE ? s : parse_status(entry_get(e, second, 0));
}

/* "123", "10M", "-1" unlimited; -2, nothing or nonsense: the system's default. */
static int64_t parse_quota(struct span text)
{
	uint64_t n, unit = 1;
	if (span_eq_str(text, "-1"))
		return -1;
	if (text.n > 0) {
		switch (ascii_lower(text.p[text.n - 1])) {
		case 'k':
			unit = 1024;
			break;
		case 'm':
			unit = 1024 * 1024;
			break;
		case 'g':
			unit = 1024 * 1024 * 1024;
			break;
		}
		text.n -= unit > 1;
	}
	return span_u64(text, INT64_MAX / unit, &n) ? (int64_t)(n * unit) : -2;
}

static uint16_t parse_port(struct draft *d, struct span text)
{
	uint64_t port = 0;
	if (text.p != NULL && !span_u64(text, 65535, &port))
		draft_fail(d, "a port is not a number up to 65535");
	return (uint16_t)port;
}

/* ---- users ---- */

bool record_is_address(struct span s)
{
	return name_is_clean(s, NAME_BYTES_MAX) && name_local(s).n > 0 && name_domain(s).n > 0 &&
	       name_domain(s).n <= DOMAIN_BYTES_MAX;
}

/* uid is the mailbox name at the store: no separators of paths and hierarchies of names. */
static bool is_uid(struct span s)
{
	return name_is_clean(s, NAME_BYTES_MAX) && span_find(s, '/') == SIZE_MAX && s.p[0] != '.';
}

static void put_names(struct draft *d, const struct directory_conf *c, const struct entry *e)
{
	struct span uid = entry_get(e, c->attr_uid, 0), mail = entry_get(e, c->attr_mail, 0);
	struct buf key = BUF_INIT(2 * NAME_BYTES_MAX);
	struct account *a = &d->r.account;
	if (uid.p == NULL && mail.p == NULL)
		draft_fail(d, "neither uid nor mail");
	else if (uid.p != NULL && !is_uid(uid))
		draft_fail(d, "uid is not usable");
	else if (mail.p != NULL && !record_is_address(mail))
		draft_fail(d, "mail is not an address");
	struct span own = uid.p != NULL ? uid : mail;
	struct span domain = mail.p != NULL ? name_domain(mail) : span_str(c->default_domain);
	char *default_domain = mem_span_str(domain);
	if (d->why == NULL && !name_user_key(&key, own, default_domain))
		draft_fail(d, "uid and domain are no usable name");
	mem_free(default_domain);
	if (d->why == NULL && !is_uid(buf_span(&key)))
		draft_fail(d, "the name for the store is not usable");
	draft_text(d, &a->user, buf_span(&key));
	draft_text(d, &a->address, mail.p != NULL ? mail : buf_span(&key));
	draft_text(d, &a->domain, name_domain(buf_span(&key)));
	buf_end(&key);
}

static void put_hosts(struct draft *d, const struct directory_conf *c, const struct entry *e)
{
	struct span host;
	struct buf key = BUF_INIT(NAME_BYTES_MAX);
	struct account *a = &d->r.account;
	for (size_t i = 0;
	     a->host_count < ACCOUNT_HOSTS_MAX && (host = entry_get(e, c->attr_host, i)).p != NULL;
	     i++) {
		if (!name_host_key(&key, host))
			draft_fail(d, "mailHost is not a name");
		draft_text(d, &a->hosts[a->host_count++], buf_span(&key));
	}
	buf_end(&key);
}

static void put_passwords(struct draft *d, const struct directory_conf *c, const struct entry *e)
{
	struct span value;
	for (size_t i = 0; d->r.password_n < RECORD_PASSWORDS_MAX &&
			   (value = entry_get(e, c->attr_password, i)).p != NULL;
	     i++) {
		if (value.n >= RECORD_PASSWORD_SIZE || span_find(value, '\0') != SIZE_MAX)
			draft_fail(d, "userPassword is too long or has a NUL in it");
		if (d->r.password_n == 0)
			draft_text(d, &d->r.account.password, value);
		draft_text(d, &d->r.passwords[d->r.password_n++], value);
	}
}

/* Words of mailDeliveryOption that are none of ours (file, autoreply) promise nothing. */
unsigned record_delivery(const struct entry *e, const char *attr, unsigned without)
{
	static const struct {
		const char *word;
		unsigned bit;
	} words[] = {
		{ "mailbox", ACCOUNT_TO_MAILBOX },
		{ "members", ACCOUNT_TO_MAILBOX },
		{ "members_offline", ACCOUNT_TO_MAILBOX | ACCOUNT_TO_LATER },
		{ "forward", ACCOUNT_TO_FORWARDS },
		{ "hold", ACCOUNT_TO_HOLD },
		{ "native", ACCOUNT_TO_NATIVE },
		{ "unix", ACCOUNT_TO_NATIVE },
		{ "program", ACCOUNT_TO_PROGRAM },
	};
	unsigned found = 0;
	struct span word;
	size_t at = 0;
	while ((word = entry_next(e, attr, &at)).p != NULL)
		for (size_t i = 0; i < COUNT_OF(words); i++)
			found |= span_ieq_str(word, words[i].word) ? words[i].bit : 0;
	return at == 0 ? without : found;
}

static void put_services(
    struct draft *d, const char **member, const struct entry *e, const char *attr)
{
	struct span services = entry_get(e, attr, 0);
	if (services.n == 0)
		return;
	if (!name_is_clean(services, RECORD_TEXT_MAX / 4))
		draft_fail(d, "mailAllowedServiceAccess is not usable");
	draft_text(d, member, services);
}

/* Words, not sentences. */
static void put_filters(
    struct draft *d, struct text_list *list, const struct entry *e, const char *attr)
{
	draft_list(d, list, e, attr);
	if (list->n > ACCOUNT_FILTERS_MAX)
		draft_fail(d, "too many values of mailAntiUBEService");
}

static void put_delivery(struct draft *d, const struct directory_conf *c, const struct entry *e)
{
	struct account *a = &d->r.account;
	a->delivery = record_delivery(e, c->attr_delivery, ACCOUNT_TO_MAILBOX);
	draft_list(d, &a->forwards, e, c->attr_forward);
	if (a->forwards.n > ACCOUNT_FORWARDS_MAX)
		draft_fail(d, "too many values of mailForwardingAddress");
	draft_list(d, &a->programs, e, c->attr_program);
	if (a->programs.n > ACCOUNT_PROGRAMS_MAX)
		draft_fail(d, "too many values of mailProgramDeliveryInfo");
	put_filters(d, &a->filters, e, c->attr_filters);
}

struct record *record_from_user(
    const struct directory_conf *c, const struct entry *e, const char **why_out)
{
	struct draft d;
	draft_init(&d, RECORD_USER, RECORD_TEXT_MAX);
	struct account *a = &d.r.account;
	if (!name_is_clean(entry_dn(e), RECORD_TEXT_MAX / 4))
		draft_fail(&d, "dn is not usable");
	draft_text(&d, &a->id, entry_dn(e));
	put_names(&d, c, e);
	put_hosts(&d, c, e);
	put_passwords(&d, c, e);
	put_services(&d, &a->allowed_services, e, c->attr_services);
	put_delivery(&d, c, e);
	a->status = record_status_of(e, c->attr_user_status, c->attr_mail_status);
	a->quota_bytes = parse_quota(entry_get(e, c->attr_quota, 0));
	a->quota_messages = parse_quota(entry_get(e, c->attr_quota_messages, 0));
	a->domain_quota_bytes = a->domain_quota_messages = -2;
	d.r.revision = hash_keyed(buf_span(&e->text));
	return draft_finish(&d, why_out);
}

/* ---- domains and stores ---- */

/* "dc=example, dc=org, o=internet": example.org. */
static void domain_of_dn(struct buf *out, struct span dn)
{
	while (dn.p != NULL) {
		struct span rdn = span_trim(span_cut(&dn, ','));
		if (!span_istarts(rdn, SPAN("dc=")))
			continue;
		if (buf_len(out) > 0)
			buf_add_char(out, '.');
		buf_add_span(out, span_trim(span_from(rdn, 3)));
	}
}

/* The domain that this one is another name of. */
static void put_canonical(struct draft *d, const struct directory_conf *c, const struct entry *e)
{
	struct buf name = BUF_INIT(DOMAIN_BYTES_MAX), key = BUF_INIT(DOMAIN_BYTES_MAX);
	struct span alias = entry_get(e, c->attr_domain_alias, 0);
	struct span canonical = entry_get(e, c->attr_domain_canonical, 0);
	if (canonical.p != NULL)
		buf_add_span(&name, canonical);
	else
		domain_of_dn(&name, alias);
	if (canonical.p != NULL || alias.p != NULL) {
		if (!buf_ok(&name) || !name_host_key(&key, buf_span(&name)))
			draft_fail(d, "the domain that it is an alias of is no domain");
		draft_text(d, &d->r.canonical, buf_span(&key));
	}
	buf_end(&name);
	buf_end(&key);
}

struct record *record_from_domain(
    const struct directory_conf *c, const struct entry *e, const char **why_out)
{
	struct draft d;
	struct span all = entry_get(e, c->attr_domain_catchall, 0);
	draft_init(&d, RECORD_DOMAIN, RECORD_TEXT_MAX);
	put_canonical(&d, c, e);
	if (all.p != NULL && !record_is_address(all))
		draft_fail(&d, "mailDomainCatchallAddress is not an address");
	if (all.p != NULL) {
		draft_text(&d, &d.r.catch_all.p, all);
		d.r.catch_all.n = 1;
	}
	put_filters(&d, &d.r.filters, e, c->attr_domain_filters);
	d.r.domain_status = record_status_of(e, c->attr_domain_status, c->attr_domain_mail_status);
	put_services(&d, &d.r.domain_services, e, c->attr_domain_services);
	d.r.domain_quota_bytes = parse_quota(entry_get(e, c->attr_domain_quota, 0));
	d.r.domain_quota_messages = parse_quota(entry_get(e, c->attr_domain_quota_messages, 0));
	return draft_finish(&d, why_out);
}

struct record *record_from_store(
    const struct directory_conf *c, const struct entry *e, const char **why_out)
{
	struct draft d;
	struct buf name = BUF_INIT(NAME_BYTES_MAX);
	struct span host = entry_get(e, "posternStoreHost", 0);
	draft_init(&d, RECORD_STORE, RECORD_TEXT_MAX);
	struct store_place *p = &d.r.place;
	if (!name_host_key(&name, entry_get(e, "cn", 0)))
		draft_fail(&d, "cn is not the name of a store");
	if (host.p != NULL && !name_is_clean(host, DOMAIN_BYTES_MAX))
		draft_fail(&d, "posternStoreHost is not a host");
	draft_text(&d, &p->name, buf_span(&name));
	draft_text(&d, &p->host, host.p != NULL ? host : buf_span(&name));
	p->imap = parse_port(&d, entry_get(e, "posternStoreImapPort", 0));
	p->imaps = parse_port(&d, entry_get(e, "posternStoreImapsPort", 0));
	p->pop3 = parse_port(&d, entry_get(e, "posternStorePop3Port", 0));
	p->pop3s = parse_port(&d, entry_get(e, "posternStorePop3sPort", 0));
	p->lmtp = parse_port(&d, entry_get(e, "posternStoreLmtpPort", 0));
	p->sieve = parse_port(&d, entry_get(e, "posternStoreSievePort", 0));
	p->submission = parse_port(&d, entry_get(e, "posternStoreSubmissionPort", 0));
	p->submissions = parse_port(&d, entry_get(e, "posternStoreSubmissionsPort", 0));
	buf_end(&name);
	return draft_finish(&d, why_out);
}

/* ---- keys ---- */

bool record_is_kind(const struct directory_conf *c, const struct entry *e, enum record_kind kind)
{
	static const char *const domains[] = { "domain", "inetDomain", "mailDomain",
		"inetDomainAlias", "organization" };
	if (kind == RECORD_USER)
		return entry_has_class(e, c->user_class);
	if (kind == RECORD_STORE)
		return entry_has_class(e, c->store_class);
	if (kind == RECORD_GROUP)
		return entry_has_class(e, c->group_class);
	if (kind != RECORD_DOMAIN)
		return false;
	for (size_t i = 0; i < COUNT_OF(domains); i++)
		if (entry_has_class(e, domains[i]))
			return true;
	return false;
}

static void each_address_key(
    const struct directory_conf *c, const struct entry *e, record_key_fn *fn, void *arg)
{
	const char *const addresses[] = { c->attr_mail, c->attr_alternate, c->attr_equivalent };
	struct span value;
	struct buf key = BUF_INIT(2 * NAME_BYTES_MAX);
	for (size_t a = 0; a < COUNT_OF(addresses); a++) {
		size_t at = 0;
		while ((value = entry_next(e, addresses[a], &at)).p != NULL)
			if (record_is_address(value) && name_user_key(&key, value, NULL))
				fn(arg, buf_span(&key));
	}
	buf_end(&key);
}

static void each_user_key(const struct directory_conf *c, const struct entry *e,
    const struct record *r, record_key_fn *fn, void *arg)
{
	struct span uid = entry_get(e, c->attr_uid, 0);
	struct buf key = BUF_INIT(2 * NAME_BYTES_MAX);
	fn(arg, span_str(r->account.user));
	/* A bare uid is asked for only when there is no default domain to complete it. */
	bool bare = span_str(c->default_domain).n == 0 || span_find(uid, '@') != SIZE_MAX;
	if (uid.p != NULL && bare && name_user_key(&key, uid, NULL))
		fn(arg, buf_span(&key));
	buf_end(&key);
	each_address_key(c, e, fn, arg);
}

static void each_domain_key(
    const struct directory_conf *c, const struct entry *e, record_key_fn *fn, void *arg)
{
	struct span value;
	struct buf key = BUF_INIT(NAME_BYTES_MAX);
	for (size_t i = 0; (value = entry_get(e, c->attr_domain, i)).p != NULL; i++)
		if (name_host_key(&key, value))
			fn(arg, buf_span(&key));
	value = entry_get(e, "dc", 0);
	if (span_find(value, '.') != SIZE_MAX && name_host_key(&key, value))
		fn(arg, buf_span(&key));
	buf_end(&key);
}

void record_each_key(const struct directory_conf *c, const struct entry *e, const struct record *r,
    record_key_fn *fn, void *arg)
{
	if (r->kind == RECORD_USER)
		each_user_key(c, e, r, fn, arg);
	else if (r->kind == RECORD_GROUP)
		each_address_key(c, e, fn, arg);
	else if (r->kind == RECORD_DOMAIN)
		each_domain_key(c, e, fn, arg);
	else
		fn(arg, span_str(r->place.name));
}

struct match {
	struct span key;
	bool found;
};

static void match_key(void *arg, struct span key)
{
	struct match *m = arg;
	m->found = m->found || span_eq(m->key, key);
}

bool record_has_key(
    const struct directory_conf *c, const struct entry *e, const struct record *r, struct span key)
{
	struct match m = { .key = key };
	record_each_key(c, e, r, match_key, &m);
	return m.found;
}

/* ---- without an entry ---- */

struct record *record_static_user(struct span key, struct span host)
{
	struct draft d;
	const char *why;
	draft_init(&d, RECORD_USER, RECORD_TEXT_MAX);
	struct account *a = &d.r.account;
	if (!is_uid(key))
		draft_fail(&d, "not usable as a name at the store");
	draft_text(&d, &a->id, key);
	draft_text(&d, &a->user, key);
	draft_text(&d, &a->address, key);
	draft_text(&d, &a->domain, name_domain(key));
	draft_text(&d, &a->hosts[a->host_count++], host);
	a->quota_bytes = a->quota_messages = -2;
	a->domain_quota_bytes = a->domain_quota_messages = -2;
	a->delivery = ACCOUNT_TO_MAILBOX;
	a->verify_at_store = true;
	return draft_finish(&d, &why);
}

struct record *record_plain_domain(void)
{
	struct draft d;
	const char *why;
	draft_init(&d, RECORD_DOMAIN, RECORD_TEXT_MAX);
	d.r.domain_quota_bytes = d.r.domain_quota_messages = -2;
	return draft_finish(&d, &why);
}

struct record *record_default_store(const struct directory_conf *c, struct span name)
{
	struct draft d;
	const char *why;
	draft_init(&d, RECORD_STORE, RECORD_TEXT_MAX);
	struct store_place *p = &d.r.place;
	draft_text(&d, &p->name, name);
	draft_text(&d, &p->host, name);
	p->imap = (uint16_t)c->store_imap_port;
	p->imaps = (uint16_t)c->store_imaps_port;
	p->pop3 = (uint16_t)c->store_pop3_port;
	p->pop3s = (uint16_t)c->store_pop3s_port;
	p->lmtp = (uint16_t)c->store_lmtp_port;
	p->sieve = (uint16_t)c->store_sieve_port;
	p->submission = (uint16_t)c->store_submission_port;
	p->submissions = (uint16_t)c->store_submissions_port;
	return draft_finish(&d, &why);
}
