/* tlsrpt.c - counts of TLS sessions, and the reports of them; before: deliver.c, after: the queue again, or a web server.
 *
 * Owns the counts of the day, and those that are being reported: a day is cut off at midnight (UTC) and told some time
 * within four hours, domain after domain. */
#include "edge/tlsrpt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "edge/keep_file.h"
#include "edge/queue_tables.h"
#include "net/gzip.h"
#include "net/https.h"
#include "proto/smtp_path.h"

#define tlsrpt_MAGIC 0x7159a001u

enum {
	MINUTE_MS = 60000,
	SAVE_MINUTES = 5,
	SPREAD_MS = 4 * 3600 * 1000, /* section 4.1 */
	DAY_S = 24 * 3600,
	JSON_MAX = 4 * 1024 * 1024,
	MAIL_MAX = 8 * 1024 * 1024,
	KEPT_MAX = 128 * 1024 * 1024, /* what is counted, and what is being told */
	RECORD_MAX = 4096,
	POST_MS = 60000,
	KEY_MAX = 2 * DNS_NAME_SIZE + TLSRPT_RULES_MAX + 8,
	NAME_SIZE = DNS_NAME_SIZE + 16,
};

struct tlsrpt {
	uint32_t magic;
	struct tlsrpt_opts opts;
	char *kept;                   /* owned */
	struct tls_ctx *tls;          /* owned reference */
	struct sign_key *key;         /* owned; NULL: reports are not signed */
	const struct edge_conf *conf; /* the owner's */
	const char *hostname;         /* the owner's */
	struct map *policies;         /* owned; by domain, kind and rules */
	size_t rules_sum;             /* bytes of their rules */
	uint64_t since_us;
	unsigned minutes;
	bool changed;
	struct timer minute, spread;

	struct tlsrpt_policy **leaving; /* owned, as each from `at` on; sorted by domain */
	size_t leaving_n, at, end;      /* [at, end): the domain that is being told */
	struct tlsrpt_about about;
	struct buf packed; /* owned: its report */
	char record[RECORD_MAX];
	struct tlsrpt_uris uris; /* into record */
	size_t uri_at;
	char to[SMTP_ADDRESS_MAX + 1];
	struct ticket *ask; /* the record, an address, or a web server */
};

/* ---- counting ----------------------------------------------------------------------------------- */

bool tlsrpt_on(const struct tlsrpt *t)
{
	return t->conf->tls_reports;
}

static void policy_free(struct tlsrpt_policy *p)
{
	tlsrpt_policy_end(p);
	mem_free(p);
}

static bool put_key(struct buf *key, const struct tlsrpt_policy *p)
{
	buf_printf(key, "%s %u %s %s", p->domain, (unsigned)p->kind, p->base, p->rules);
	return buf_ok(key);
}

static bool same_failure(const struct tlsrpt_failure *a, const struct tlsrpt_failure *b)
{
	return a->result == b->result && a->connected == b->connected &&
	       strcmp(a->mx, b->mx) == 0 && ip_eq(a->local, b->local) && ip_eq(a->peer, b->peer);
}

static void add_failure(struct tlsrpt_policy *p, const struct tlsrpt_failure *f)
{
	for (size_t i = 0; i < p->failure_n; i++) {
		if (same_failure(&p->failures[i], f)) {
			p->failures[i].n += f->n;
			return;
		}
	}
	if (p->failure_n == TLSRPT_FAILURES_MAX)
		return; /* the sum has it */
	p->failures = mem_grow(p->failures, p->failure_n + 1, sizeof(*p->failures));
	p->failures[p->failure_n++] = *f;
}

/* Adds up with what is there of the same policy. What take owns is gone afterwards. */
static void merge(struct tlsrpt *t, struct tlsrpt_policy *take)
{
	struct buf key = BUF_INIT(KEY_MAX);
	struct tlsrpt_policy *p = put_key(&key, take) ? map_get(t->policies, buf_span(&key)) : NULL;
	size_t length = strlen(take->rules);
	bool room = map_count(t->policies) < TLSRPT_POLICIES_MAX &&
		    t->rules_sum + length <= TLSRPT_RULES_SUM_MAX;
	if (p == NULL && buf_ok(&key) && room) {
		p = mem_copy(take, sizeof *take);
		t->rules_sum += length;
		CHECK(map_set(t->policies, buf_span(&key), p, NULL));
	} else {
		if (p != NULL) {
			p->good += take->good;
			p->bad += take->bad;
		}
		for (size_t i = 0; p != NULL && i < take->failure_n; i++)
			add_failure(p, &take->failures[i]);
		tlsrpt_policy_end(take);
	}
	buf_end(&key);
	t->changed = true;
}

static bool put_name(char out[DNS_NAME_SIZE], const char *name)
{
	struct span s = span_str(name);
	if (s.n > 0 && s.p[s.n - 1] == '.')
		s.n--;
	if (s.n >= DNS_NAME_SIZE || !sts_mx_ok(s))
		return false;
	span_lower_to(out, s);
	out[s.n] = '\0';
	return true;
}

void tlsrpt_count(struct tlsrpt *t, const struct tlsrpt_session *s)
{
	struct tlsrpt_policy p = { .kind = s->kind };
	struct buf rules = BUF_INIT(TLSRPT_RULES_MAX);
	bool own = s->kind == TLSRPT_TLSA && s->dane != NULL && s->dane->base != NULL;
	tlsrpt_put_rules(&rules, s);
	if (!tlsrpt_on(t) || !buf_ok(&rules) || !put_name(p.domain, s->domain) ||
	    !put_name(p.base, own ? s->dane->base : s->domain)) {
		buf_end(&rules);
		return;
	}
	p.rules = mem_span_str(buf_span(&rules));
	p.good = s->result == TLSRPT_SUCCESS;
	p.bad = !p.good;
	if (p.bad != 0) {
		struct tlsrpt_failure f = { .result = s->result,
			.connected = s->connected,
			.local = s->local,
			.peer = s->peer,
			.n = 1 };
		if (s->mx != NULL && !put_name(f.mx, s->mx))
			f.mx[0] = '\0';
		add_failure(&p, &f);
	}
	buf_end(&rules);
	merge(t, &p);
}

/* ---- reporting ---------------------------------------------------------------------------------- */

static void next_domain(struct tlsrpt *t);
static void next_uri(struct tlsrpt *t);

static void say_sent(const struct tlsrpt *t, struct span to)
{
	uint64_t good = 0, bad = 0;
	for (size_t i = t->at; i < t->end; i++) {
		good += t->leaving[i]->good;
		bad += t->leaving[i]->bad;
	}
	metric_add(&queue_metrics[QUEUE_M_TLSRPT_SENT], 1);
	log_write(&queue_events[QUEUE_EV_TLSRPT_SENT], NULL,
	    LOG_FIELDS(LOG_STR("domain", t->about.domain), LOG_SPAN("to", to),
		LOG_STR("report", t->about.id.s), LOG_U64("good", good), LOG_U64("bad", bad)));
}

static void say_failed(const struct tlsrpt *t, struct span to, const char *why)
{
	metric_add(&queue_metrics[QUEUE_M_TLSRPT_FAILED], 1);
	log_write(&queue_events[QUEUE_EV_TLSRPT_FAILED], NULL,
	    LOG_FIELDS(
		LOG_STR("domain", t->about.domain), LOG_SPAN("to", to), LOG_STR("why", why)));
}

static void leaving_end(struct tlsrpt *t)
{
	for (size_t i = t->at; i < t->leaving_n; i++)
		policy_free(t->leaving[i]);
	MEM_FREE(&t->leaving);
	t->leaving_n = t->at = t->end = 0;
}

/* The domain has been told, or does not want to be. */
static void domain_end(struct tlsrpt *t)
{
	buf_end(&t->packed);
	for (; t->at < t->end; t->at++)
		policy_free(t->leaving[t->at]);
	t->changed = true;
	next_domain(t);
}

static const char *given(const char *text, const char *otherwise)
{
	return text != NULL && text[0] != '\0' ? text : otherwise;
}

static const char *domain_of(const char *address)
{
	const char *at = strrchr(address, '@');
	return at != NULL ? at + 1 : address;
}

/* The configuration may be another one than when this report was begun. */
static void describe(struct tlsrpt *t)
{
	static char postmaster[DNS_NAME_SIZE + 16];
	snprintf(postmaster, sizeof postmaster, "postmaster@%.255s", t->hostname);
	t->about.hostname = t->hostname;
	t->about.from = given(t->conf->tls_report_from, given(t->conf->postmaster, postmaster));
	t->about.contact = given(t->conf->tls_report_contact, t->about.from);
	t->about.organisation = given(t->conf->tls_report_organisation, t->hostname);
	t->about.dkim = (struct dkim){
		.key = t->key,
		.selector = t->conf->tls_report_dkim_selector,
		.domain = given(t->conf->tls_report_dkim_domain, domain_of(t->about.from)),
	};
}

static void on_posted(void *arg, const struct https_answer *a)
{
	struct tlsrpt *t = OBJ(tlsrpt, arg);
	struct span to = t->uris.v[t->uri_at - 1];
	char why[64];
	t->ask = NULL;
	snprintf(why, sizeof why, "the web server answered %u", a->status);
	if (a->err)
		say_failed(t, to, a->text);
	else if (a->status / 100 != 2)
		say_failed(t, to, why);
	else
		say_sent(t, to);
	next_uri(t);
}

static void on_mailed(void *arg, const char *why)
{
	struct tlsrpt *t = OBJ(tlsrpt, arg);
	t->ask = NULL;
	if (why == NULL)
		say_sent(t, span_str(t->to));
	else
		say_failed(t, span_str(t->to), why);
	next_uri(t);
}

static void on_account(void *arg, enum directory_status status, const struct account *a)
{
	struct tlsrpt *t = OBJ(tlsrpt, arg);
	struct buf text = BUF_INIT(MAIL_MAX);
	t->ask = NULL;
	describe(t);
	bool good = tlsrpt_put_mail(&text, &t->about, t->to, buf_span(&t->packed)) &&
		    status != DIRECTORY_UNKNOWN;
	struct tlsrpt_mail m = { t->to, status == DIRECTORY_FOUND ? a->user : NULL,
		buf_span(&text) };
	if (good)
		t->ask = t->opts.mail(t->opts.arg, &m, on_mailed, t);
	else
		say_failed(t, span_str(t->to), "it cannot be written now");
	buf_end(&text);
	next_uri(t);
}

static void ask_uri(struct tlsrpt *t, struct span uri)
{
	struct span host, path, address;
	struct smtp_path p;
	uint16_t port;
	if (tlsrpt_https(uri, &host, &port, &path)) {
		struct https_ask q = { .host = host,
			.port = port,
			.path = path,
			.tls = t->tls,
			.type = SPAN("application/tlsrpt+gzip"),
			.body = buf_span(&t->packed),
			.answer_max = STS_POLICY_MAX,
			.deadline_ms = POST_MS };
		t->ask = https_start(t->opts.loop, t->opts.dns, &q, on_posted, t);
	} else if (tlsrpt_mailto(uri, &address) &&
		   smtp_address_parse(address, 0, &p, NULL) == ERR_OK) {
		snprintf(t->to, sizeof t->to, "%s", p.address);
		t->ask = directory_find(t->opts.directory, span_str(t->to), on_account, t);
	} else {
		say_failed(t, uri, "not an address");
	}
}

static void next_uri(struct tlsrpt *t)
{
	while (t->ask == NULL && t->uri_at < t->uris.n)
		ask_uri(t, t->uris.v[t->uri_at++]);
	if (t->ask == NULL)
		domain_end(t);
}

static bool pack(struct tlsrpt *t)
{
	struct buf json = BUF_INIT(JSON_MAX);
	t->about.id = ident_new();
	describe(t);
	tlsrpt_put_json(&json, &t->about, (const struct tlsrpt_policy *const *)(t->leaving + t->at),
	    t->end - t->at);
	t->packed = BUF_INIT(JSON_MAX);
	bool ok = buf_ok(&json) && gzip_pack(buf_span(&json), &t->packed);
	buf_end(&json);
	return ok;
}

static void on_record(void *arg, const struct dns_texts *found)
{
	struct tlsrpt *t = OBJ(tlsrpt, arg);
	struct span record = SPAN_NONE;
	size_t n = 0;
	t->ask = NULL;
	for (size_t i = 0; found->status == DNS_FOUND && i < found->n; i++)
		if (tlsrpt_is_record(found->v[i])) {
			record = found->v[i];
			n++;
		}
	bool wanted = n == 1 && record.n <= sizeof t->record;
	if (wanted)
		memcpy(t->record, record.p, record.n);
	wanted = wanted && tlsrpt_record_parse(span_of(t->record, record.n), &t->uris);
	t->uri_at = 0;
	if (wanted && pack(t))
		next_uri(t);
	else
		domain_end(t);
}

static void next_domain(struct tlsrpt *t)
{
	char name[NAME_SIZE];
	if (t->at == t->leaving_n) {
		leaving_end(t);
		return;
	}
	const char *domain = t->leaving[t->at]->domain;
	for (t->end = t->at; t->end < t->leaving_n; t->end++)
		if (strcmp(t->leaving[t->end]->domain, domain) != 0)
			break;
	t->about.domain = domain;
	snprintf(name, sizeof name, "_smtp._tls.%s", domain);
	t->ask = dns_txt(t->opts.dns, span_str(name), on_record, t);
}

static int by_domain(const void *a, const void *b)
{
	const struct tlsrpt_policy *const *x = a, *const *y = b;
	return strcmp((*x)->domain, (*y)->domain);
}

static bool take_policy(void *arg, struct span key, void *value)
{
	struct tlsrpt *t = arg;
	t->leaving[t->leaving_n++] = value;
	map_remove(t->policies, key);
	return true;
}

/* What was counted so far is to be told; counting begins anew. False: the former is not told yet. */
static bool cut(struct tlsrpt *t, uint64_t to_us)
{
	size_t n = map_count(t->policies);
	if (t->leaving != NULL)
		return false;
	t->about.from_us = t->since_us;
	t->about.to_us = to_us > t->since_us ? to_us : t->since_us;
	t->since_us = clock_wall_us();
	if (n == 0)
		return true;
	t->leaving = mem_array(n, sizeof(struct tlsrpt_policy *));
	map_each(t->policies, take_policy, t);
	t->rules_sum = 0;
	qsort(t->leaving, n, sizeof(struct tlsrpt_policy *), by_domain);
	return true;
}

size_t tlsrpt_send(struct tlsrpt *t)
{
	if (timer_armed(&t->spread)) /* yesterday's, which waits for its time */
		timer_clear(&t->spread);
	else if (!cut(t, clock_wall_us()))
		return 0;
	size_t n = t->leaving_n - t->at;
	if (t->leaving != NULL && t->ask == NULL)
		next_domain(t);
	return n;
}

static bool show_policy(void *arg, struct span key, void *value)
{
	struct buf *out = arg;
	const struct tlsrpt_policy *p = value;
	struct span so_far = buf_span(out);
	buf_add_str(out, so_far.p[so_far.n - 1] == '[' ? "{\"domain\":" : ",{\"domain\":");
	fmt_json_string(out, span_str(p->domain));
	buf_printf(out, ",\"policy\":\"%s\",\"good\":%" PRIu64 ",\"bad\":%" PRIu64 "}",
	    tlsrpt_kind_word(p->kind), p->good, p->bad);
	return true;
}

void tlsrpt_show(const struct tlsrpt *t, struct buf *out)
{
	buf_add_char(out, '[');
	map_each(t->policies, show_policy, out);
	buf_add_char(out, ']');
}

/* ---- over time ---------------------------------------------------------------------------------- */

static bool keep_policy(void *arg, struct span key, void *value)
{
	tlsrpt_kept_put(arg, value);
	return true;
}

static void save(struct tlsrpt *t)
{
	struct buf text = BUF_INIT(KEPT_MAX);
	buf_printf(&text, "T %" PRIu64 "\n",
	    (t->leaving != NULL ? t->about.from_us : t->since_us) / 1000000);
	map_each(t->policies, keep_policy, &text);
	for (size_t i = t->at; i < t->leaving_n; i++)
		tlsrpt_kept_put(&text, t->leaving[i]);
	err_t err = buf_ok(&text) ? keep_file_write(t->kept, buf_span(&text)) : ERR_TOO_LONG;
	if (err)
		log_write(&queue_events[QUEUE_EV_KEPT_FILE], NULL,
		    LOG_FIELDS(LOG_STR("file", t->kept), LOG_ERR("why", err)));
	t->changed = false;
	buf_end(&text);
}

static void load(struct tlsrpt *t)
{
	struct buf text = BUF_INIT(KEPT_MAX);
	struct tlsrpt_policy p;
	uint64_t since;
	err_t err = keep_file_read(t->kept, &text);
	struct span rest = buf_span(&text), first = rest, line = span_cut(&first, '\n');
	if (!err && span_eq_str(span_cut(&line, ' '), "T") && span_u64(line, UINT32_MAX, &since) &&
	    since * 1000000 < t->since_us)
		t->since_us = since * 1000000;
	while (!err && tlsrpt_kept_take(&rest, &p))
		merge(t, &p);
	if (err && err != ERR_NOT_FOUND)
		log_write(&queue_events[QUEUE_EV_KEPT_FILE], NULL,
		    LOG_FIELDS(LOG_STR("file", t->kept), LOG_ERR("why", err)));
	t->changed = false;
	buf_end(&text);
}

static void on_spread(void *arg)
{
	struct tlsrpt *t = OBJ(tlsrpt, arg);
	if (t->leaving != NULL && t->ask == NULL)
		next_domain(t);
}

static void on_minute(void *arg)
{
	struct tlsrpt *t = OBJ(tlsrpt, arg);
	uint64_t day = t->since_us / 1000000 / DAY_S, today = clock_wall_us() / 1000000 / DAY_S;
	uint64_t end_us = (day + 1) * DAY_S * 1000000 - 1000000;
	if (today > day && cut(t, end_us) && t->leaving != NULL)
		timer_set(&t->spread, rand_below(SPREAD_MS));
	if (++t->minutes >= SAVE_MINUTES && t->changed && t->kept != NULL) {
		t->minutes = 0;
		save(t);
	}
	timer_set(&t->minute, MINUTE_MS);
}

bool tlsrpt_dkim_ok(const struct edge_conf *c, struct buf *why)
{
	const char *domain = c->tls_report_dkim_domain, *selector = c->tls_report_dkim_selector;
	if (c->tls_report_dkim_key.bytes.n == 0)
		return true;
	if (!smtp_domain_ok(span_str(selector), false) ||
	    (given(domain, NULL) != NULL && !smtp_domain_ok(span_str(domain), false))) {
		buf_add_str(why, "selector or domain is not a name");
		return false;
	}
	struct sign_key *key = sign_key_new(c->tls_report_dkim_key.bytes, why);
	bool good = key != NULL;
	sign_key_free(&key);
	return good;
}

void tlsrpt_set(struct tlsrpt *t, const struct edge_conf *c, const char *hostname)
{
	struct tls_client_opts o = { .ca_pem = c->mta_sts_ca.bytes, .verify = TLS_VERIFY_NAME };
	tls_ctx_unref(&t->tls);
	sign_key_free(&t->key);
	if (c->tls_report_dkim_key.bytes.n > 0)
		t->key = sign_key_new(c->tls_report_dkim_key.bytes, NULL); /* is good: as above */
	t->tls = tls_client_new(&o, NULL); /* out_conf_tls_ok() has said why not */
	t->conf = c;
	t->hostname = hostname;
}

struct tlsrpt *tlsrpt_new(
    const struct tlsrpt_opts *opts, const struct edge_conf *c, const char *hostname)
{
	struct tlsrpt *t = MEM_NEW(struct tlsrpt);
	t->magic = tlsrpt_MAGIC;
	t->opts = *opts;
	t->opts.kept = t->kept = mem_str(opts->kept);
	t->policies = map_new(TLSRPT_POLICIES_MAX);
	t->since_us = clock_wall_us();
	timer_init(&t->minute, opts->loop, on_minute, t);
	timer_init(&t->spread, opts->loop, on_spread, t);
	timer_set(&t->minute, MINUTE_MS);
	tlsrpt_set(t, c, hostname);
	if (t->kept != NULL)
		load(t);
	return t;
}

static bool end_policy(void *arg, struct span key, void *value)
{
	map_remove(arg, key);
	policy_free(value);
	return true;
}

void tlsrpt_free(struct tlsrpt **pt)
{
	struct tlsrpt *t = *pt;
	if (t == NULL)
		return;
	ticket_cancel(&t->ask);
	if (t->changed && t->kept != NULL)
		save(t);
	leaving_end(t);
	buf_end(&t->packed);
	map_each(t->policies, end_policy, t->policies);
	map_free(&t->policies);
	tls_ctx_unref(&t->tls);
	sign_key_free(&t->key);
	timer_clear(&t->minute);
	timer_clear(&t->spread);
	mem_free(t->kept);
	t->magic = 0;
	MEM_FREE(pt);
}
