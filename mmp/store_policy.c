/* store_policy.c - `store` blocks and store_* options, resolved (step 4 of 5, beside route.c).
 *
 * Owns: the list of a setup, with the TLS contexts for connections to stores. */
#include "mmp/store_policy.h"

#include "base/base64.h"
#include "base/mem.h"
#include "base/span.h"
#include "daemon/daemon.h"
#include "directory/directory_conf.h"
#include "proto/sasl.h"

/* The words of a block's option are those of the section's behind "inherit". */
static int inherited(int own, int section)
{
	return own > 0 ? own - 1 : section;
}

static bool fits(const char *name, struct span store)
{
	struct span pattern = span_str(name);
	if (!span_starts(pattern, SPAN("*")))
		return span_ieq(pattern, store);
	struct span tail = span_from(pattern, 1);
	return store.n > tail.n && span_ieq(span_from(store, store.n - tail.n), tail);
}

const struct store_policy *store_policy_of(const struct store_policy *list, const char *store)
{
	while (!list->others && !fits(list->name, span_str(store)))
		list++;
	return list;
}

/* ---- one policy ------------------------------------------------------------------------------- */

static bool take_pin(struct store_policy *p, const char *text)
{
	struct buf raw = BUF_INIT(STREAM_BIND_LEN);
	bool good = base64_get(span_str(text), &raw) && buf_len(&raw) == STREAM_BIND_LEN &&
		    p->pin_n < STORE_PINS_MAX;
	if (good)
		memcpy(p->pins[p->pin_n++], buf_span(&raw).p, STREAM_BIND_LEN);
	buf_end(&raw);
	return good;
}

static struct span first_of(struct conf_file own, struct conf_file section)
{
	return span_trim(own.bytes).n > 0 ? span_trim(own.bytes) : span_trim(section.bytes);
}

static void fill_login(
    struct store_policy *p, const struct mmp_store_conf *c, const struct mmp_conf *m)
{
	const char *user = c->user != NULL ? c->user : m->store_user;
	p->login = (enum store_login)inherited(c->login, m->store_login);
	p->user = user != NULL ? user : "";
	p->secret = first_of(c->secret, m->store_secret);
	p->separator = m->store_master_separator != NULL ? m->store_master_separator : "";
}

static bool make_ctx(struct store_policy *p, const struct conf *conf, struct tls_pair pair,
    int verify, struct buf *why)
{
	static const enum tls_verify words[] = { TLS_VERIFY_NAME, TLS_VERIFY_CHAIN,
		TLS_VERIFY_NONE };
	if (p->tls == MMP_TLS_NONE)
		return true;
	const struct mmp_conf *m = conf_section(conf, &mmp_block);
	p->ctx = daemon_tls_client_as(conf, words[verify], &pair, why);
	if (p->ctx != NULL && m->tls_park)
		tls_ctx_set_park(p->ctx);
	return p->ctx != NULL;
}

static const char *default_domain(const struct conf *conf)
{
	const struct directory_conf *d = conf_section(conf, &directory_block);
	return d->default_domain != NULL && d->default_domain[0] != '\0' ? d->default_domain : NULL;
}

static bool fill(struct store_policy *p, const struct conf *conf, const struct mmp_store_conf *c,
    struct buf *why)
{
	const struct mmp_conf *m = conf_section(conf, &mmp_block);
	bool own = c->chain.bytes.n > 0;
	struct tls_pair pair = { own ? c->chain.bytes : m->store_chain.bytes,
		own ? c->key.bytes : m->store_key.bytes };
	p->name = c->head.title;
	p->multiplexor = c->multiplexor;
	p->short_in = inherited(c->name, m->store_name) == 1 ? default_domain(conf) : NULL;
	p->facts = (enum store_facts)inherited(c->facts, m->store_facts);
	p->tls = (enum mmp_tls)inherited(c->tls, m->store_tls);
	p->connections_max =
	    (size_t)(c->connections_max >= 0 ? c->connections_max : m->store_connections_max);
	fill_login(p, c, m);
	for (size_t i = 0; i < c->pins.n; i++)
		if (!take_pin(p, c->pins.v[i])) {
			buf_printf(why, "store %s: \"%s\" is no pin, or one too many", p->name,
			    c->pins.v[i]);
			return false;
		}
	return make_ctx(p, conf, pair, inherited(c->verify, m->store_verify), why);
}

/* ---- all of them ------------------------------------------------------------------------------ */

static const struct mmp_store_conf others = { .head = { .title = "" }, .connections_max = -1 };

static bool speaks(const struct mmp_conf *m, bool submission)
{
	for (size_t i = 0; i < m->listener_n; i++)
		if ((m->listener[i]->protocol == MMP_SUBMISSION) == submission)
			return true;
	return false;
}

/* Is there a relay whose block this is? */
static bool is_of_relay(const struct mmp_conf *m, const struct mmp_store_conf *c)
{
	for (size_t i = 0; i < m->submission_relays.n; i++) {
		size_t k = 0;
		while (k < m->store_n &&
		       !fits(m->store[k]->head.title, span_str(m->submission_relays.v[i])))
			k++;
		if (k < m->store_n && m->store[k] == c)
			return true;
	}
	return false;
}

static const char *xclient_fault(const struct mmp_conf *m, const struct mmp_store_conf *c)
{
	if (!speaks(m, true))
		return "login xclient is for submission only, and no listener speaks that";
	if (!speaks(m, false) || is_of_relay(m, c))
		return NULL;
	return c == &others || c->login == 0
		   ? "login xclient is for submission only: give it in the store blocks of "
		     "submission_relays, the other listeners need another store_login"
		   : "login xclient is for submission only: no host of submission_relays has this "
		     "block";
}

/* What cannot work, or NULL. */
static const char *login_fault(const struct mmp_conf *m, const struct mmp_store_conf *c)
{
	struct store_policy p = { 0 };
	fill_login(&p, c, m);
	if (p.login == LOGIN_PASSWORD)
		return NULL;
	if (!m->preauth)
		return "anybody could log in: store_login needs preauth yes";
	if (p.login == LOGIN_XCLIENT)
		return xclient_fault(m, c);
	if (p.login == LOGIN_CERTIFICATE)
		return inherited(c->tls, m->store_tls) != MMP_TLS_NONE
			   ? NULL
			   : "login certificate needs store_tls";
	if (p.user[0] == '\0' || p.secret.n == 0)
		return "login proxy and master need user and secret";
	return p.secret.n <= STORE_SECRET_MAX && span_str(p.user).n <= SASL_NAME_MAX
		   ? NULL
		   : "user or secret is too long";
}

static void check_block(
    const struct mmp_conf *m, const struct mmp_store_conf *c, struct conf_diag *d)
{
	bool tls = inherited(c->tls, m->store_tls) != MMP_TLS_NONE;
	const char *fault = c->pins.n > 0 && !tls ? "pins need tls" : login_fault(m, c);
	if (fault != NULL && c == &others)
		conf_error(d, m->head.pos, "store options: %s", fault);
	else if (fault != NULL)
		conf_error(d, c->head.pos, "store %s: %s", c->head.title, fault);
}

void store_policies_check(const struct mmp_conf *m, struct conf_diag *d)
{
	check_block(m, &others, d);
	for (size_t i = 0; i < m->store_n; i++) {
		const struct conf_head *head = &m->store[i]->head;
		check_block(m, m->store[i], d);
		if (head->title[0] == '\0' || span_eq_str(span_str(head->title), "*"))
			conf_error(d, head->pos, "a store needs a name: store NAME { ... }");
		for (size_t k = 0; k < i; k++)
			if (span_ieq_str(span_str(head->title), m->store[k]->head.title))
				conf_error(d, head->pos,
				    "store %s: there is a block for it already", head->title);
	}
}

struct store_policy *store_policies_new(
    const struct conf *conf, const struct mmp_conf *m, struct buf *why)
{
	struct store_policy *list = mem_array(m->store_n + 1, sizeof *list);
	bool good = true;
	list[m->store_n].others = true;
	for (size_t i = 0; i <= m->store_n && good; i++)
		good = fill(&list[i], conf, i < m->store_n ? m->store[i] : &others, why);
	if (!good)
		store_policies_free(&list);
	return list;
}

struct span store_policy_user(const struct store_policy *p, struct span user)
{
	struct span domain = user, local = span_cut(&domain, '@');
	return p->short_in != NULL && span_ieq_str(domain, p->short_in) ? local : user;
}

bool store_policy_key_fits(const struct store_policy *p, const struct stream *s)
{
	uint8_t key[STREAM_BIND_LEN];
	if (p->pin_n == 0)
		return true;
	if (!stream_peer_key(s, key))
		return false;
	for (size_t i = 0; i < p->pin_n; i++)
		if (memcmp(key, p->pins[i], sizeof key) == 0)
			return true;
	return false;
}

void store_policies_free(struct store_policy **list)
{
	struct store_policy *p = *list;
	if (p == NULL)
		return;
	for (;; p++) {
		tls_ctx_unref(&p->ctx);
		if (p->others)
			break;
	}
	MEM_FREE(list);
}
