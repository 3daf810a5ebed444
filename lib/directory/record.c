/* record.c - immutable records in one piece of memory: drafted with texts aside, then joined.
 *
 * Owns nothing but the records, which their holders count. Passwords are wiped with the last one. */
#include "directory/record.h"

#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

#include "directory/name.h"

enum { DRAFT_TEXTS_MAX = 48 };

/* A record in the making. Texts are put into `text`; the members that shall point to them are listed. */
struct draft {
	struct record r;
	struct buf text;
	struct {
		size_t member; /* offset of the pointer in struct record */
		size_t at;     /* offset of its text */
	} fix[DRAFT_TEXTS_MAX];
	size_t fixes;
	const char *why; /* first reason why the entry cannot be used */
};

static void draft_init(struct draft *d, enum record_kind kind)
{
	*d = (struct draft){ .text = BUF_INIT(RECORD_TEXT_MAX) };
	d->r.magic = record_MAGIC;
	d->r.refs = 1;
	d->r.kind = kind;
}

static void draft_fail(struct draft *d, const char *why)
{
	if (d->why == NULL)
		d->why = why;
}

/* member: a const char * inside d->r. */
static void put_text(struct draft *d, const char **member, struct span s)
{
	CHECK(d->fixes < DRAFT_TEXTS_MAX);
	d->fix[d->fixes].member = (size_t)((char *)member - (char *)&d->r);
	d->fix[d->fixes++].at = buf_len(&d->text);
	buf_add_span(&d->text, s);
	buf_add_char(&d->text, '\0');
}

static struct record *draft_finish(struct draft *d, const char **why_out)
{
	struct record *r = NULL;
	struct span text = buf_span(&d->text);
	if (!buf_ok(&d->text))
		draft_fail(d, "too long");
	if (d->why == NULL) {
		r = mem_alloc(sizeof *r + text.n);
		*r = d->r;
		r->text = (char *)(r + 1);
		r->text_n = text.n;
		memcpy(r->text, text.p, text.n);
		for (size_t i = 0; i < d->fixes; i++)
			*(const char **)((char *)r + d->fix[i].member) = r->text + d->fix[i].at;
	}
	*why_out = d->why;
	buf_wipe_end(&d->text);
	return r;
}

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

struct record *record_with_status(const struct record *r, enum account_status status)
{
	struct record *copy = mem_copy(r, sizeof *r + r->text_n);
	copy->text = (char *)(copy + 1);
	ptrdiff_t shift = copy->text - r->text;
	const char **texts[] = { &copy->account.id, &copy->account.user, &copy->account.address,
		&copy->account.domain, &copy->account.password, &copy->account.allowed_services };
	copy->refs = 1;
	copy->account.status = status;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		*texts[i] = *texts[i] == NULL ? NULL : *texts[i] + shift;
	for (size_t i = 0; i < copy->account.host_count; i++)
		copy->account.hosts[i] += shift;
	for (size_t i = 0; i < copy->password_n; i++)
		copy->passwords[i] += shift;
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
static enum account_status status_of(const struct entry *e, const char *first, const char *second)
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

static bool is_address(struct span s)
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
	else if (mail.p != NULL && !is_address(mail))
		draft_fail(d, "mail is not an address");
	struct span own = uid.p != NULL ? uid : mail;
	struct span domain = mail.p != NULL ? name_domain(mail) : span_str(c->default_domain);
	char *default_domain = mem_span_str(domain);
	if (d->why == NULL && !name_user_key(&key, own, default_domain))
		draft_fail(d, "uid and domain are no usable name");
	mem_free(default_domain);
	if (d->why == NULL && !is_uid(buf_span(&key)))
		draft_fail(d, "the name for the store is not usable");
	put_text(d, &a->user, buf_span(&key));
	put_text(d, &a->address, mail.p != NULL ? mail : buf_span(&key));
	put_text(d, &a->domain, name_domain(buf_span(&key)));
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
		put_text(d, &a->hosts[a->host_count++], buf_span(&key));
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
			put_text(d, &d->r.account.password, value);
		put_text(d, &d->r.passwords[d->r.password_n++], value);
	}
}

struct record *record_from_user(
    const struct directory_conf *c, const struct entry *e, const char **why_out)
{
	struct draft d;
	struct span services = entry_get(e, c->attr_services, 0);
	draft_init(&d, RECORD_USER);
	struct account *a = &d.r.account;
	if (!name_is_clean(entry_dn(e), RECORD_TEXT_MAX / 4))
		draft_fail(&d, "dn is not usable");
	put_text(&d, &a->id, entry_dn(e));
	put_names(&d, c, e);
	put_hosts(&d, c, e);
	put_passwords(&d, c, e);
	if (services.n > 0) {
		if (!name_is_clean(services, RECORD_TEXT_MAX / 4))
			draft_fail(&d, "mailAllowedServiceAccess is not usable");
		put_text(&d, &a->allowed_services, services);
	}
	a->status = status_of(e, c->attr_user_status, c->attr_mail_status);
	a->quota_bytes = parse_quota(entry_get(e, c->attr_quota, 0));
	a->quota_messages = parse_quota(entry_get(e, c->attr_quota_messages, 0));
	d.r.revision = hash_keyed(buf_span(&e->text));
	return draft_finish(&d, why_out);
}

/* ---- domains and stores ---- */

struct record *record_from_domain(
    const struct directory_conf *c, const struct entry *e, const char **why_out)
{
	struct draft d;
	draft_init(&d, RECORD_DOMAIN);
	d.r.domain_status = status_of(e, c->attr_domain_status, c->attr_domain_mail_status);
	return draft_finish(&d, why_out);
}

struct record *record_from_store(
    const struct directory_conf *c, const struct entry *e, const char **why_out)
{
	struct draft d;
	struct buf name = BUF_INIT(NAME_BYTES_MAX);
	struct span host = entry_get(e, "posternStoreHost", 0);
	draft_init(&d, RECORD_STORE);
	struct store_place *p = &d.r.place;
	if (!name_host_key(&name, entry_get(e, "cn", 0)))
		draft_fail(&d, "cn is not the name of a store");
	if (host.p != NULL && !name_is_clean(host, DOMAIN_BYTES_MAX))
		draft_fail(&d, "posternStoreHost is not a host");
	put_text(&d, &p->name, buf_span(&name));
	put_text(&d, &p->host, host.p != NULL ? host : buf_span(&name));
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
		"organization" };
	if (kind == RECORD_USER)
		return entry_has_class(e, c->user_class);
	if (kind == RECORD_STORE)
		return entry_has_class(e, c->store_class);
	for (size_t i = 0; i < COUNT_OF(domains); i++)
		if (entry_has_class(e, domains[i]))
			return true;
	return false;
}

static void each_user_key(const struct directory_conf *c, const struct entry *e,
    const struct record *r, record_key_fn *fn, void *arg)
{
	const char *const addresses[] = { c->attr_mail, c->attr_alternate, c->attr_equivalent };
	struct span uid = entry_get(e, c->attr_uid, 0), value;
	struct buf key = BUF_INIT(2 * NAME_BYTES_MAX);
	fn(arg, span_str(r->account.user));
	/* A bare uid is asked for only when there is no default domain to complete it. */
	bool bare = span_str(c->default_domain).n == 0 || span_find(uid, '@') != SIZE_MAX;
	if (uid.p != NULL && bare && name_user_key(&key, uid, NULL))
		fn(arg, buf_span(&key));
	for (size_t a = 0; a < COUNT_OF(addresses); a++)
		for (size_t i = 0; (value = entry_get(e, addresses[a], i)).p != NULL; i++)
			if (is_address(value) && name_user_key(&key, value, NULL))
				fn(arg, buf_span(&key));
	buf_end(&key);
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
	draft_init(&d, RECORD_USER);
	struct account *a = &d.r.account;
	if (!is_uid(key))
		draft_fail(&d, "not usable as a name at the store");
	put_text(&d, &a->id, key);
	put_text(&d, &a->user, key);
	put_text(&d, &a->address, key);
	put_text(&d, &a->domain, name_domain(key));
	put_text(&d, &a->hosts[a->host_count++], host);
	a->quota_bytes = a->quota_messages = -2;
	a->verify_at_store = true;
	return draft_finish(&d, &why);
}

struct record *record_plain_domain(void)
{
	struct draft d;
	const char *why;
	draft_init(&d, RECORD_DOMAIN);
	return draft_finish(&d, &why);
}

struct record *record_default_store(const struct directory_conf *c, struct span name)
{
	struct draft d;
	const char *why;
	draft_init(&d, RECORD_STORE);
	struct store_place *p = &d.r.place;
	put_text(&d, &p->name, name);
	put_text(&d, &p->host, name);
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
