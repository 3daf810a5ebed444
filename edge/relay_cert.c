/* relay_cert.c - relaying by client certificate: pins of keys, and names under an authority (part of step 2; before:
 * admit.c; asked by session.c when TLS is there). Owns nothing. */
#include "edge/relay_cert.h"

#include "base/check.h"
#include "daemon/daemon.h"
#include "net/stream_bind.h"

enum { NAME_MAX_BYTES = 512 };

bool relay_cert_wanted(const struct edge_listener_conf *l)
{
	return l->tls != EDGE_TLS_NONE && (l->relay_keys.n > 0 || l->relay_names.n > 0);
}

/* Hex digits in pairs, with or without colons between them. */
static bool parse_pin(const char *text, uint8_t out[STREAM_BIND_LEN])
{
	size_t n = 0;
	for (const char *c = text; *c != '\0'; c++) {
		if (*c == ':' && n > 0 && n % 2 == 0)
			continue;
		int v = ascii_hex(*c);
		if (n == 2 * STREAM_BIND_LEN || v < 0)
			return false;
		out[n / 2] = (uint8_t)(n % 2 == 0 ? v << 4 : out[n / 2] | v);
		n++;
	}
	return n == 2 * STREAM_BIND_LEN;
}

static bool has_key(const struct session *s)
{
	uint8_t shown[STREAM_BIND_LEN], pin[STREAM_BIND_LEN];
	const struct conf_strings *pins = &s->listener->relay_keys;
	if (pins->n == 0 || !stream_peer_key(s->io, shown))
		return false;
	for (size_t i = 0; i < pins->n; i++)
		if (parse_pin(pins->v[i], pin) && memcmp(pin, shown, sizeof pin) == 0)
			return true;
	return false;
}

static bool has_name(const struct session *s, enum stream_name kind)
{
	const struct conf_strings *names = &s->listener->relay_names;
	struct buf name = BUF_INIT(NAME_MAX_BYTES);
	bool found = false, there = names->n > 0 && stream_peer_name(s->io, kind, &name);
	for (size_t i = 0; i < names->n && there && !found; i++)
		found = span_ieq(buf_span(&name), span_str(names->v[i]));
	buf_end(&name);
	return found;
}

bool relay_cert_matches(const struct session *s)
{
	return has_key(s) || has_name(s, STREAM_NAME_EMAIL) || has_name(s, STREAM_NAME_COMMON);
}

/* ---- settings --------------------------------------------------------------------------------- */

bool relay_cert_setup(struct edge_setup *s, const struct conf *c, struct buf *why)
{
	bool wanted = false;
	for (size_t i = 0; i < s->edge->listener_n && !wanted; i++)
		wanted = relay_cert_wanted(s->edge->listener[i]);
	if (wanted)
		s->tls_relay = daemon_tls_server_knowing(c, s->edge->relay_ca.bytes, why);
	return !wanted || s->tls_relay != NULL;
}

void relay_cert_check(const struct edge_conf *e, struct conf_diag *d)
{
	uint8_t pin[STREAM_BIND_LEN];
	for (size_t i = 0; i < e->listener_n; i++) {
		const struct edge_listener_conf *l = e->listener[i];
		if (l->relay_names.n > 0 && e->relay_ca.bytes.n == 0)
			conf_error(d, l->head.pos, "relay_names needs relay_ca");
		/* A name would count that the other's authorities vouch for. */
		if (relay_cert_wanted(l) && edge_has_auth(l) && e->client_ca.bytes.n > 0)
			conf_error(d, l->head.pos,
			    "relay_keys and relay_names cannot be on a listener with AUTH while "
			    "client_ca "
			    "is set: clients are asked for one certificate");
		if (l->tls == EDGE_TLS_NONE && (l->relay_keys.n > 0 || l->relay_names.n > 0))
			conf_error(d, l->head.pos, "relay_keys and relay_names need tls");
		for (size_t k = 0; k < l->relay_keys.n; k++)
			if (!parse_pin(l->relay_keys.v[k], pin))
				conf_error(d, l->head.pos, "relay_keys: %s is not a SHA-256 in hex",
				    l->relay_keys.v[k]);
	}
}
