/* mmp_conf.c - settings of the multiplexor and the TLS contexts made from them.
 *
 * Owns: the expansion of the option tables; snapshots (struct mmp_setup). */
#include "mmp/mmp_conf.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/span.h"
#include "daemon/daemon.h"
#include "directory/directory.h"
#include "directory/sasl_offer.h"
#include "metermaid/metermaid.h"

#include "mmp/capability.h"
#include "mmp/front.h"
#include "mmp/store_policy.h"

#define CONF_BLOCK mmp_listener
#define CONF_DEF "mmp/mmp_listener.params.def"
#define CONF_PROSE "Addresses that speak one protocol."
#include "conf/params_table.h"

#define CONF_BLOCK mmp_store
#define CONF_DEF "mmp/mmp_store.params.def"
#define CONF_PROSE "Stores that differ from the others."
#include "conf/params_table.h"

#define CONF_BLOCK mmp
#define CONF_DEF "mmp/mmp.params.def"
#define CONF_PROSE                                                                                 \
	"The multiplexor: clients of IMAP, POP3, ManageSieve and submission on one side, stores "  \
	"on the other."
#include "conf/params_table.h"

enum { WHY_MAX = 512, CAPABILITY_WORD_MAX = 100 };

static bool wants_tls(const struct mmp_conf *m)
{
	for (size_t i = 0; i < m->listener_n; i++)
		if (m->listener[i]->tls != MMP_TLS_NONE)
			return true;
	return false;
}

static void check_titles(const struct mmp_conf *m, struct conf_diag *d)
{
	for (size_t i = 0; i < m->listener_n; i++) {
		const struct conf_head *head = &m->listener[i]->head;
		if (head->title[0] == '\0')
			conf_error(d, head->pos, "a listener needs a name: listener NAME { ... }");
	}
}

static const struct {
	const char *option;
	size_t at;
	bool spaces; /* words may have arguments */
} capability_rows[MMP_PROTOCOLS] = {
	[MMP_IMAP] = { "imap_capability", offsetof(struct mmp_conf, imap_capability), false },
	[MMP_POP3] = { "pop3_capability", offsetof(struct mmp_conf, pop3_capability), true },
	[MMP_SIEVE] = { "sieve_extensions", offsetof(struct mmp_conf, sieve_extensions), false },
	[MMP_SUBMISSION] = { "submission_capability",
	    offsetof(struct mmp_conf, submission_capability), true },
};

const struct conf_strings *mmp_conf_words(const struct mmp_conf *m, enum mmp_protocol protocol)
{
	return (const void *)((const char *)m + capability_rows[protocol].at);
}

bool mmp_conf_masks(const struct mmp_conf *m, struct span capability)
{
	for (size_t i = 0; i < m->imap_mask.n; i++)
		if (span_ieq_str(capability, m->imap_mask.v[i]))
			return true;
	return false;
}

/* What clients are shown must not break their parsers. */
static bool is_capability(struct span word, bool spaces)
{
	for (size_t i = 0; i < word.n; i++)
		if (word.p[i] == ' ' ? !spaces
				     : word.p[i] < 0x21 || word.p[i] > 0x7e ||
					   memchr("]\"\\", word.p[i], 3) != NULL)
			return false;
	return word.n > 0 && word.n <= CAPABILITY_WORD_MAX;
}

static void check_capability(
    const struct mmp_conf *m, enum mmp_protocol protocol, struct conf_diag *d)
{
	const struct conf_strings *list = mmp_conf_words(m, protocol);
	struct conf_pos pos = m->head.pos;
	const char *option = capability_rows[protocol].option;
	if (list->n > CAPABILITY_WORDS_MAX)
		conf_error(d, pos, "%s: at most %d words", option, CAPABILITY_WORDS_MAX);
	for (size_t i = 0; i < list->n; i++)
		if (!is_capability(span_str(list->v[i]), capability_rows[protocol].spaces))
			conf_error(d, pos, "%s: \"%s\" is not a capability", option, list->v[i]);
}

static void check_mask(const struct mmp_conf *m, struct conf_diag *d)
{
	const struct conf_strings *list = &m->imap_mask;
	for (size_t i = 0; i < list->n; i++)
		if (list->v[i][0] != '\0' && !is_capability(span_str(list->v[i]), false))
			conf_error(
			    d, m->head.pos, "imap_mask: \"%s\" is not a capability", list->v[i]);
}

static void check_mechanisms(const struct mmp_setup *s, struct conf_diag *d)
{
	const struct store_policy *stores = s->stores;
	const char *word = s->sasl != NULL ? sasl_offer_without_password(s->sasl) : NULL;
	if (word == NULL && s->mmp->apop)
		word = "apop";
	if (word == NULL || stores == NULL)
		return;
	for (; stores->login == LOGIN_PASSWORD; stores++)
		if (stores->others) {
			conf_error(d, s->mmp->head.pos,
			    "auth_mechanisms: %s leaves no password, and no store has another "
			    "store_login",
			    word);
			return;
		}
}

static void check_logins(const struct mmp_conf *m, struct conf_diag *d)
{
	for (size_t i = 0; i < m->listener_n; i++)
		if (m->listener[i]->tls == MMP_TLS_NONE && !m->listener[i]->allow_plaintext_auth)
			conf_error(d, m->listener[i]->head.pos,
			    "nobody could log in: tls is none and allow_plaintext_auth is no");
}

static void drop_contexts(struct mmp_setup *s)
{
	for (size_t i = 0; i < MMP_PROTOCOLS; i++)
		tls_ctx_unref(&s->server[i]);
	store_policies_free(&s->stores);
	sasl_offer_free(&s->sasl);
}

static bool make_sasl(struct mmp_setup *s, struct buf *why)
{
	const struct mmp_conf *m = s->mmp;
	struct sasl_offer_settings o = {
		.mechanisms = &m->auth_mechanisms,
		.asks_certificates = m->client_ca.bytes.n > 0,
		.client_name = m->client_name == 0 ? STREAM_NAME_EMAIL : STREAM_NAME_COMMON,
		.oauth = {
		    .keys_pem = m->oauth_keys.bytes,
		    .issuer = m->oauth_issuer,
		    .audience = m->oauth_audience,
		    .user = m->oauth_user,
		    .scope = m->oauth_scope,
		},
	};
	s->sasl = sasl_offer_new(&o, why);
	return s->sasl != NULL;
}

static bool make_contexts(struct mmp_setup *s, const struct conf *c, struct buf *why)
{
	for (size_t i = 0; i < MMP_PROTOCOLS && wants_tls(s->mmp); i++) {
		s->server[i] = daemon_tls_server_asking(
		    c, front_of((enum mmp_protocol)i)->alpn, s->mmp->client_ca.bytes, why);
		if (s->server[i] == NULL)
			return false;
		if (s->mmp->tls_park)
			tls_ctx_set_park(s->server[i]);
	}
	s->stores = store_policies_new(c, s->mmp, why);
	return s->stores != NULL && make_sasl(s, why);
}

void mmp_conf_check(const struct conf *c, struct conf_diag *d)
{
	const struct mmp_conf *m = conf_section(c, &mmp_block);
	directory_check(c, d);
	metermaid_check(c, d);
	check_titles(m, d);
	check_logins(m, d);
	store_policies_check(m, d);
	for (size_t i = 0; i < MMP_PROTOCOLS; i++)
		check_capability(m, (enum mmp_protocol)i, d);
	check_mask(m, d);
	if (m->store_retry_max < m->store_retry_min)
		conf_error(d, m->head.pos, "store_retry_max is less than store_retry_min");
	struct buf why = BUF_INIT(WHY_MAX);
	struct mmp_setup trial = { .mmp = m };
	if (!make_contexts(&trial, c, &why))
		conf_error(d, m->head.pos, "section mmp: %s", buf_cstr(&why));
	check_mechanisms(&trial, d);
	drop_contexts(&trial);
	buf_end(&why);
}

static void setup_free(struct mmp_setup *s)
{
	drop_contexts(s);
	conf_unref(&s->conf);
	mem_free(s);
}

struct mmp_setup *mmp_setup_new(const struct conf *conf, struct buf *why)
{
	struct mmp_setup *s = MEM_NEW(struct mmp_setup);
	s->refs = 1;
	s->conf = conf_ref(conf);
	s->mmp = conf_section(conf, &mmp_block);
	s->hostname = daemon_hostname(conf);
	s->prelogin_share = s->mmp->prelogin_memory_max / daemon_workers(conf);
	if (make_contexts(s, conf, why))
		return s;
	setup_free(s);
	return NULL;
}

struct mmp_setup *mmp_setup_ref(struct mmp_setup *s)
{
	CHECK(s->refs > 0);
	s->refs++;
	return s;
}

void mmp_setup_unref(struct mmp_setup **s)
{
	struct mmp_setup *gone = *s;
	*s = NULL;
	if (gone == NULL)
		return;
	CHECK(gone->refs > 0);
	if (--gone->refs == 0)
		setup_free(gone);
}

const struct mmp_listener_conf *mmp_setup_listener(const struct mmp_setup *s, const char *name)
{
	for (size_t i = 0; i < s->mmp->listener_n; i++)
		if (span_eq_str(span_str(name), s->mmp->listener[i]->head.title))
			return s->mmp->listener[i];
	return NULL;
}

/* A listener on the wildcard address hears on every address of this host; a connection to one of
 * them has the same address at both ends, or stays on the loopback. */
static bool reaches(const struct conf_address *a, struct ip_port local, struct ip_port remote)
{
	if (a->unix_path != NULL || a->at.port != remote.port)
		return false;
	if (!ip_is_any(a->at.addr))
		return ip_eq(a->at.addr, remote.addr);
	return ip_eq(local.addr, remote.addr) || ip_is_loopback(remote.addr);
}

bool mmp_setup_has_port(const struct mmp_setup *s, uint16_t port)
{
	for (size_t i = 0; i < s->mmp->listener_n; i++) {
		const struct conf_addresses *list = &s->mmp->listener[i]->address;
		for (size_t j = 0; j < list->n; j++)
			if (list->v[j].unix_path == NULL && list->v[j].at.port == port)
				return true;
	}
	return false;
}

bool mmp_setup_is_own(const struct mmp_setup *s, struct ip_port local, struct ip_port remote)
{
	for (size_t i = 0; i < s->mmp->listener_n; i++) {
		const struct conf_addresses *list = &s->mmp->listener[i]->address;
		for (size_t j = 0; j < list->n; j++)
			if (reaches(&list->v[j], local, remote))
				return true;
	}
	return false;
}
