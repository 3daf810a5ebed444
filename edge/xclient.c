/* xclient.c - XCLIENT ADDR= PORT= NAME= HELO= PROTO= LOGIN= (part of step 2; before: greet.c; after: admit.c), and
 * XFORWARD, which changes nothing but what is logged of the next mail.
 *
 * NAME, HELO and PROTO are looked at for their form only: the name is asked of the DNS, and the client's next EHLO
 * tells the rest. */
#include "edge/xclient.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/sasl.h"
#include "proto/smtp_ext.h"

#include "edge/admit.h"
#include "edge/filter.h"
#include "edge/mail.h"
#include "edge/passed.h"
#include "edge/screen.h"

enum { VALUE_MAX = 256, ORIGIN_MAX = 1000 };

static bool is_unknown(struct span v)
{
	return span_ieq(v, SPAN("[UNAVAILABLE]")) || span_ieq(v, SPAN("[TEMPUNAVAIL]"));
}

static bool set_addr(struct ip_port *to, struct span v)
{
	bool v6 = span_istarts(v, SPAN("IPV6:"));
	struct ip_addr a;
	if (!ip_parse(v6 ? span_from(v, 5) : v, &a) || ip_is_none(a) || ip_is_v4(a) == v6)
		return false;
	to->addr = a;
	return true;
}

static bool set_port(struct ip_port *to, struct span v)
{
	uint64_t port = 0;
	if (!is_unknown(v) && !span_u64(v, UINT16_MAX, &port))
		return false;
	to->port = (uint16_t)port;
	return true;
}

static bool set_nothing(struct ip_port *to, struct span v)
{
	return true;
}

/* What XCLIENT says: from where the client comes, and who it has logged in as. */
struct told {
	struct ip_port client;
	struct buf login; /* empty: nobody */
	bool takes_login;
};

static bool set_login(struct told *to, struct span v)
{
	char lower[SASL_NAME_MAX];
	buf_clear(&to->login);
	if (!to->takes_login || v.n == 0 || v.n > sizeof lower || !span_is_utf8(v))
		return false;
	for (size_t i = 0; i < v.n; i++)
		if ((unsigned char)v.p[i] <= ' ' || v.p[i] == 0x7f)
			return false;
	span_lower_to(lower, v);
	return is_unknown(v) || buf_add(&to->login, lower, v.n);
}

typedef bool attribute_fn(void *arg, struct span name, struct span plain);

static bool take_client(void *arg, struct span name, struct span plain)
{
	struct told *to = arg;
	static const struct {
		const char *name;
		bool (*set)(struct ip_port *to, struct span v);
	} rows[] = { { "ADDR", set_addr }, { "PORT", set_port }, { "NAME", set_nothing },
		{ "HELO", set_nothing }, { "PROTO", set_nothing } };
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (span_ieq_str(name, rows[i].name))
			return rows[i].set(&to->client, plain);
	return span_ieq_str(name, "LOGIN") && set_login(to, plain);
}

/* The words of XFORWARD go to the log as they are. */
static bool take_origin(void *arg, struct span name, struct span plain)
{
	static const char *const names[] = { "NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT",
		"SOURCE" };
	struct buf *out = arg;
	struct ip_port at;
	bool known = false;
	for (size_t i = 0; i < COUNT_OF(names) && !known; i++)
		known = span_ieq_str(name, names[i]);
	for (size_t i = 0; i < plain.n && known; i++)
		known = plain.p[i] > ' ' && plain.p[i] < 0x7f;
	if (!known || is_unknown(plain))
		return known;
	if (span_ieq_str(name, "ADDR") && !set_addr(&at, plain))
		return false;
	if (span_ieq_str(name, "PORT") && !set_port(&at, plain))
		return false;
	return buf_printf(
	    out, "%s%.*s=%.*s", buf_len(out) > 0 ? " " : "", SPAN_ARG(name), SPAN_ARG(plain));
}

static bool take_attribute(struct span name, struct span value, attribute_fn *fn, void *arg)
{
	struct buf plain = BUF_INIT(VALUE_MAX);
	bool ok = smtp_xtext_get(value, &plain) && fn(arg, name, buf_span(&plain));
	buf_end(&plain);
	return ok;
}

static bool take_attributes(struct span rest, attribute_fn *fn, void *arg)
{
	size_t n = 0;
	while (rest.n > 0) {
		struct span value = span_cut(&rest, ' ');
		if (value.n == 0)
			continue;
		struct span name = span_cut(&value, '=');
		if (value.p == NULL || !take_attribute(name, value, fn, arg))
			return false;
		n++;
	}
	return n > 0;
}

/* All that the former client was is forgotten. */
static void forget(struct session *s)
{
	mail_end(s);
	filters_free(&s->filters); /* they know the former one */
	passed_free(&s->passed);
	screen_free(&s->screen);
	meter_release(&s->held);
	meter_release(&s->user_held);
	buf_end(&s->tags);
	MEM_FREE(&s->helo);
	MEM_FREE(&s->user);
	MEM_FREE(&s->origin);
	s->esmtp = false;
	s->relay_cert = false; /* it was the other host's */
	s->probe = false;
	s->failures = 0;
}

bool xclient_offered(const struct session *s)
{
	return s->listener->tls != EDGE_TLS_IMPLICIT && s->may_xclient;
}

/* The host in front of us has checked the password, as we would have. */
static void log_in(struct session *s, struct span user)
{
	s->user = mem_span_str(user);
	s->mechanism = "XCLIENT";
	log_write(&edge_events[EDGE_EV_AUTH_OK], s->id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_STR("user", s->user),
		LOG_STR("mechanism", s->mechanism),
		LOG_STR("tls", stream_is_tls(s->io) ? "yes" : "no")));
	metric_add(&edge_metrics[EDGE_M_AUTH_OK], 1);
	session_notef(s, "auth", "ok by XCLIENT: %s", s->user);
}

static enum verdict begin_anew(struct session *s, const struct told *to)
{
	char text[IP_TEXT_SIZE];
	forget(s);
	edge_client_leave(s->edge, s->from.addr);
	bool room = edge_client_enter(s->edge, to->client.addr);
	if (!room) /* counted where it was: the end of the session takes that away */
		edge_client_enter(s->edge, s->from.addr);
	else
		s->from = to->client;
	session_notef(s, "xclient", "the client is %s", ip_port_text(to->client, text));
	if (!room)
		return session_bye(s, WHY_CLIENT_BUSY, NULL);
	if (buf_len(&to->login) > 0)
		log_in(s, buf_span(&to->login));
	return admit_start(s);
}

bool xclient_takes_login(const struct session *s)
{
	return edge_has_auth(s->listener);
}

enum verdict xclient_command(struct session *s, const struct smtp_cmd *cmd)
{
	if (!xclient_offered(s))
		return session_refuse(s, 550, "5.7.0", "XCLIENT is not for you");
	struct told to = { .client = s->from,
		.login = BUF_INIT(SASL_NAME_MAX),
		.takes_login = xclient_takes_login(s) };
	enum verdict v;
	if (take_attributes(cmd->argument, take_client, &to))
		v = begin_anew(s, &to);
	else
		v = session_refuse(s, 501, "5.5.4",
		    to.takes_login ? "XCLIENT needs ADDR, PORT, NAME, HELO, PROTO or LOGIN"
				   : "XCLIENT needs ADDR, PORT, NAME, HELO or PROTO");
	buf_end(&to.login);
	return v;
}

bool xforward_offered(const struct session *s)
{
	return ip_in_set(s->from.addr, &s->listener->xforward_from) &&
	       ip_in_set(s->peer.addr, &s->listener->xforward_from);
}

enum verdict xforward_command(struct session *s, const struct smtp_cmd *cmd)
{
	struct buf origin = BUF_INIT(ORIGIN_MAX);
	if (!xforward_offered(s))
		return session_refuse(s, 550, "5.7.0", "XFORWARD is not for you");
	buf_add_str(&origin, s->origin != NULL ? s->origin : "");
	bool ok = take_attributes(cmd->argument, take_origin, &origin);
	if (ok) {
		mem_free(s->origin);
		s->origin = mem_span_str(buf_span(&origin));
	}
	buf_end(&origin);
	return ok ? session_say(s, 250, "2.0.0", "ok")
		  : session_refuse(s, 501, "5.5.4", "bad or too many XFORWARD attributes");
}
