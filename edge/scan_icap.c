/* scan_icap.c - one message to an ICAP server, and its verdict (part of step 4, scanner.c).
 *
 * What is asked is whether the message may pass: nothing that comes back gets into it. So every reply has to be read as
 * yes or no: 204, or the message as it was sent, is yes; a field that names a virus, another HTTP reply, or another
 * message is no. Anything else is no answer. Owns what services have said of themselves. */
#include "edge/scan_icap.h"

#include <stdio.h>

#include "edge/scanner_internal.h"

#include "base/map.h"
#include "base/mem.h"

enum {
	SERVICES_MAX = 64,
	KEY_MAX = 1024,
	TTL_S = 3600,          /* of options that do not say */
	TTL_MAX_S = 24 * 3600, /* of those that say a lot */
	HEAD_MAX = 2048,       /* of what we send in front of a message */
};

/* ---- what services want ------------------------------------------------------------------------- */

struct icap_memory {
	struct map *services; /* "port host service" -> struct icap_options, owned */
};

struct icap_memory *icap_memory_new(void)
{
	struct icap_memory *m = MEM_NEW(struct icap_memory);
	m->services = map_new(SERVICES_MAX);
	return m;
}

static bool drop(void *arg, struct span key, void *value)
{
	struct map *services = arg;
	map_remove(services, key);
	mem_free(value);
	return true;
}

void icap_memory_free(struct icap_memory **m)
{
	if (*m == NULL)
		return;
	map_each((*m)->services, drop, (*m)->services);
	map_free(&(*m)->services);
	MEM_FREE(m);
}

static struct span key_of(const struct scan *c, struct buf *key)
{
	buf_printf(key, "%u %s %s", scan_host(c)->port, scan_host(c)->host, c->opts.conf->service);
	return buf_span(key);
}

static bool recall(const struct scan *c, struct icap_options *out)
{
	struct buf key = BUF_INIT(KEY_MAX);
	const struct icap_options *o = map_get(c->opts.icap->services, key_of(c, &key));
	bool holds = o != NULL && o->until_ms > loop_now_ms(c->opts.loop);
	if (holds)
		*out = *o;
	buf_end(&key);
	return holds;
}

static void forget(const struct scan *c)
{
	struct buf key = BUF_INIT(KEY_MAX);
	mem_free(map_remove(c->opts.icap->services, key_of(c, &key)));
	buf_end(&key);
}

static void remember(const struct scan *c)
{
	struct map *services = c->opts.icap->services;
	struct buf key = BUF_INIT(KEY_MAX);
	struct icap_options *o = MEM_NEW(struct icap_options);
	void *old = NULL;
	*o = c->icap.options;
	if (map_count(services) == SERVICES_MAX) /* of settings that are gone, mostly */
		map_each(services, drop, services);
	map_set(services, key_of(c, &key), o, &old);
	mem_free(old);
	buf_end(&key);
}

static void fail(struct scan *c, const char *why)
{
	forget(c);
	scan_fail(c, why);
}

/* ---- questions ---------------------------------------------------------------------------------- */

static const char *method_of(const struct scan *c)
{
	return c->opts.conf->method == EDGE_ICAP_REQMOD ? "REQMOD" : "RESPMOD";
}

static void put_first_lines(const struct scan *c, const char *method)
{
	const struct conf_hostport *at = scan_host(c);
	const char *host = at->host[0] == '/' ? "localhost" : at->host;
	const char *open = strchr(host, ':') != NULL ? "[" : "", *shut = open[0] != '\0' ? "]" : "";
	stream_printf(c->io, "%s icap://%s%s%s:%u/%s ICAP/1.0\r\nHost: %s%s%s:%u\r\n", method, open,
	    host, shut, at->port, c->opts.conf->service, open, host, shut, at->port);
}

static void ask_options(struct scan *c)
{
	c->state = SC_OPTIONS;
	put_first_lines(c, "OPTIONS");
	stream_write_span(c->io, SPAN("\r\n"));
}

/* The HTTP message that a mail is said to be: a document that was fetched, or one that is handed in. */
static void put_http(const struct scan *c, struct buf *out)
{
	const char *id = c->opts.t->id.s;
	unsigned long long size = (unsigned long long)body_size(c->opts.t->body);
	bool handed_in = c->opts.conf->method == EDGE_ICAP_REQMOD;
	size_t reply_at;
	buf_printf(out, "%s http://message.invalid/%s HTTP/1.1\r\nHost: message.invalid\r\n",
	    handed_in ? "POST" : "GET", id);
	if (!handed_in)
		buf_add_str(out, "\r\n");
	reply_at = buf_len(out);
	if (!handed_in)
		buf_add_str(out, "HTTP/1.1 200 OK\r\n");
	buf_printf(out, "Content-Type: message/rfc822\r\nContent-Length: %llu\r\n\r\n", size);
	if (handed_in)
		stream_printf(c->io, "Encapsulated: req-hdr=0, req-body=%zu\r\n", buf_len(out));
	else
		stream_printf(c->io, "Encapsulated: req-hdr=0, res-hdr=%zu, res-body=%zu\r\n",
		    reply_at, buf_len(out));
}

void icap_put_piece(struct scan *c, struct span piece)
{
	stream_printf(c->io, "%zx\r\n", piece.n);
	stream_write_span(c->io, piece);
	stream_write_span(c->io, SPAN("\r\n"));
}

/* The beginning, and whether it is the whole (RFC 3507 section 4.5). */
static void put_preview(struct scan *c, size_t n)
{
	err_t err = ERR_OK;
	struct span piece = body_read(c->opts.t->body, 0, n, &err);
	if (err) {
		scan_fail(c, "the message cannot be read");
		return;
	}
	c->icap.ended = n == body_size(c->opts.t->body);
	c->state = SC_PREVIEW;
	c->sent = n;
	if (n > 0)
		icap_put_piece(c, piece);
	stream_write_span(c->io, c->icap.ended ? SPAN("0; ieof\r\n\r\n") : SPAN("0\r\n\r\n"));
}

static void ask_message(struct scan *c)
{
	const struct icap_options *o = &c->icap.options;
	uint64_t size = body_size(c->opts.t->body);
	bool preview = c->opts.conf->preview && o->has_preview;
	size_t n = o->preview < size ? o->preview : (size_t)size;
	struct buf http = BUF_INIT(HEAD_MAX);
	char client[IP_TEXT_SIZE];
	put_first_lines(c, method_of(c));
	stream_printf(
	    c->io, "Allow: 204\r\nX-Client-IP: %s\r\n", ip_text(c->opts.t->client, client));
	if (preview)
		stream_printf(c->io, "Preview: %zu\r\n", n);
	put_http(c, &http);
	stream_write_span(c->io, SPAN("\r\n"));
	stream_write_span(c->io, buf_span(&http));
	buf_end(&http);
	if (preview)
		put_preview(c, n);
	else
		scan_send_from(c, 0);
}

void icap_begin(struct scan *c)
{
	struct icap_talk *t = &c->icap;
	bool asked = t->asked && t->host == c->host;
	struct icap_options known = t->options;
	*t = (struct icap_talk){ .host = c->host };
	t->options = known;
	t->asked = asked || recall(c, &t->options);
	if (t->asked)
		ask_message(c);
	else
		ask_options(c);
}

/* ---- answers ------------------------------------------------------------------------------------ */

static void read_options(struct scan *c, const struct icap_head *h)
{
	unsigned wanted = c->opts.conf->method == EDGE_ICAP_REQMOD ? ICAP_REQMOD : ICAP_RESPMOD;
	uint32_t ttl = h->has_ttl ? h->ttl_s : TTL_S;
	if (h->status != 200 || h->has_body) {
		fail(c, "the service does not tell of itself");
		return;
	}
	if (h->methods != 0 && (h->methods & wanted) == 0) {
		fail(c, "the service does not offer this method");
		return;
	}
	ttl = ttl < TTL_MAX_S ? ttl : TTL_MAX_S;
	c->icap.asked = true;
	c->icap.options = (struct icap_options){ .has_preview = h->has_preview,
		.preview = h->preview,
		.until_ms = loop_now_ms(c->opts.loop) + 1000 * (uint64_t)ttl };
	if (ttl > 0)
		remember(c);
	if (h->closes || stream_at_eof(c->io))
		scan_dial_again(c);
	else
		ask_message(c);
}

static void read_rest(struct scan *c)
{
	struct span in = stream_input(c->io), piece;
	size_t before = in.n;
	enum icap_chunk_rx rx;
	err_t err = ERR_OK;
	bool same = true;
	while ((rx = icap_chunk_take(&c->icap.chunks, &in, &piece)) == ICAP_CHUNK_PIECE && same) {
		same = span_eq(piece, body_read(c->opts.t->body, c->icap.same, piece.n, &err));
		c->icap.same += piece.n;
	}
	stream_eat(c->io, before - in.n);
	if (err)
		scan_fail(c, "the message cannot be read");
	else if (rx == ICAP_CHUNK_BAD)
		fail(c, "not a reply");
	else if (!same || (rx == ICAP_CHUNK_END && c->icap.same != body_size(c->opts.t->body)))
		scan_settle_virus(c, "changed");
	else if (rx == ICAP_CHUNK_END)
		scan_settle_virus(c, "");
	else if (stream_at_eof(c->io))
		fail(c, "connection closed");
}

/* A service may tell of trouble in the same words as of a virus: only what is given in answer to a message counts. */
static void read_verdict(struct scan *c, const struct icap_head *h)
{
	bool message = h->status == 200 || h->status == 201;
	char status[SCAN_NAME_MAX + 1];
	snprintf(status, sizeof status, "HTTP-%u", h->http_status);
	if (h->found && (message || h->status == 204 || h->status == 403))
		scan_settle_virus(c, h->name);
	else if (h->status == 204)
		scan_settle_virus(c, "");
	else if (!message)
		fail(c, "no verdict");
	else if (h->http_status >= 300 ||
		 (h->http_status != 0 && c->opts.conf->method == EDGE_ICAP_REQMOD))
		scan_settle_virus(c, status);
	else if (!h->has_body)
		scan_settle_virus(c, "changed");
	else {
		c->icap.in_body = true;
		read_rest(c);
	}
}

static void read_head(struct scan *c, const struct icap_head *h)
{
	if (c->state == SC_OPTIONS)
		read_options(c, h);
	else if (h->status != 100)
		read_verdict(c, h);
	else if (c->state == SC_PREVIEW && !c->icap.ended)
		scan_send_from(c, c->sent);
	else
		fail(c, "it wants more than there is");
}

void icap_read(struct scan *c)
{
	struct icap_head h;
	size_t eat;
	if (c->icap.in_body) {
		read_rest(c);
		return;
	}
	enum scan_rx rx = icap_take_head(stream_input(c->io), &h, &eat);
	stream_eat(c->io, eat);
	if (rx == SCAN_BAD)
		fail(c, "not a reply");
	else if (rx == SCAN_READY)
		read_head(c, &h);
	else if (stream_at_eof(c->io))
		fail(c, "connection closed");
}
