/* filter_macro.c - what filters may ask of a session: the values of macros, by Sendmail's names. */
#include "edge/filter.h"

#include "base/check.h"

#include "edge/mail.h"
#include "edge/trace.h"

typedef void value_fn(const struct session *s, struct buf *out);

static void value_j(const struct session *s, struct buf *out)
{
	buf_add_str(out, s->setup->hostname);
}

static void value_v(const struct session *s, struct buf *out)
{
	buf_add_str(out, "Postern " POSTERN_VERSION);
}

static void value_i(const struct session *s, struct buf *out)
{
	if (s->mail != NULL)
		buf_add_str(out, mail_id(s->mail));
}

static void value_peer(const struct session *s, struct buf *out)
{
	buf_add_str(out, "unknown [");
	trace_put_addr(s->from.addr, out);
	buf_add_char(out, ']');
}

static void value_client_addr(const struct session *s, struct buf *out)
{
	trace_put_addr(s->from.addr, out);
}

static void value_client_name(const struct session *s, struct buf *out)
{
	buf_add_str(out, "unknown");
}

static void value_client_port(const struct session *s, struct buf *out)
{
	buf_printf(out, "%u", s->from.port);
}

static void value_daemon_name(const struct session *s, struct buf *out)
{
	buf_add_str(out, s->listener->head.title);
}

static void value_daemon_addr(const struct session *s, struct buf *out)
{
	trace_put_addr(stream_local(s->io).addr, out);
}

static void value_daemon_port(const struct session *s, struct buf *out)
{
	buf_printf(out, "%u", stream_local(s->io).port);
}

static void value_tls_version(const struct session *s, struct buf *out)
{
	struct stream_tls tls;
	if (stream_tls(s->io, &tls))
		buf_add_str(out, tls.version);
}

static void value_cipher(const struct session *s, struct buf *out)
{
	struct stream_tls tls;
	if (stream_tls(s->io, &tls))
		buf_add_str(out, tls.cipher);
}

static void value_cipher_bits(const struct session *s, struct buf *out)
{
	struct stream_tls tls;
	if (stream_tls(s->io, &tls))
		buf_printf(out, "%d", tls.bits);
}

static void value_cert_subject(const struct session *s, struct buf *out)
{
	struct stream_tls tls;
	if (stream_tls(s->io, &tls))
		buf_add_str(out, tls.peer_subject);
}

static void value_auth_type(const struct session *s, struct buf *out)
{
	if (s->user != NULL)
		buf_add_str(out, s->mechanism);
}

static void value_auth_authen(const struct session *s, struct buf *out)
{
	if (s->user != NULL)
		buf_add_str(out, s->user);
}

static void value_mail_addr(const struct session *s, struct buf *out)
{
	if (s->mail != NULL)
		buf_add_str(out, s->mail->t->sender);
}

static void put_domain(struct span address, struct buf *out)
{
	size_t at = span_rfind(address, '@');
	if (at != SIZE_MAX)
		buf_add_span(out, span_from(address, at + 1));
}

static void value_mail_host(const struct session *s, struct buf *out)
{
	if (s->mail != NULL)
		put_domain(span_str(s->mail->t->sender), out);
}

static void value_mailer(const struct session *s, struct buf *out)
{
	buf_add_str(out, "esmtp");
}

static void value_rcpt_addr(const struct session *s, struct buf *out)
{
	if (s->mail != NULL)
		buf_add_span(out, smtp_path_text(&s->mail->to));
}

static void value_rcpt_host(const struct session *s, struct buf *out)
{
	if (s->mail != NULL)
		put_domain(smtp_path_text(&s->mail->to), out);
}

static void value_msg_size(const struct session *s, struct buf *out)
{
	if (s->mail != NULL && s->mail->t->body != NULL)
		buf_printf(out, "%llu", (unsigned long long)body_size(s->mail->t->body));
}

static const struct {
	const char *name;
	value_fn *value;
} macros[] = {
	{ "i", value_i },
	{ "j", value_j },
	{ "v", value_v },
	{ "_", value_peer },
	{ "{auth_type}", value_auth_type },
	{ "{auth_authen}", value_auth_authen },
	{ "{cert_subject}", value_cert_subject },
	{ "{cipher}", value_cipher },
	{ "{cipher_bits}", value_cipher_bits },
	{ "{client_addr}", value_client_addr },
	{ "{client_name}", value_client_name },
	{ "{client_port}", value_client_port },
	{ "{client_ptr}", value_client_name },
	{ "{daemon_addr}", value_daemon_addr },
	{ "{daemon_name}", value_daemon_name },
	{ "{daemon_port}", value_daemon_port },
	{ "{mail_addr}", value_mail_addr },
	{ "{mail_host}", value_mail_host },
	{ "{mail_mailer}", value_mailer },
	{ "{msg_size}", value_msg_size },
	{ "{rcpt_addr}", value_rcpt_addr },
	{ "{rcpt_host}", value_rcpt_host },
	{ "{rcpt_mailer}", value_mailer },
	{ "{tls_version}", value_tls_version },
};

bool filter_macro(void *session, struct span name, struct buf *out)
{
	for (size_t i = 0; i < COUNT_OF(macros); i++) {
		if (!span_eq_str(name, macros[i].name))
			continue;
		macros[i].value(OBJ(session, session), out);
		return buf_len(out) > 0;
	}
	return false;
}

void filter_client_name(const struct session *s, char out[FILTER_CLIENT_SIZE])
{
	struct buf name = BUF_INIT(FILTER_CLIENT_SIZE - 1);
	buf_add_char(&name, '[');
	trace_put_addr(s->from.addr, &name);
	buf_add_char(&name, ']');
	memcpy(out, buf_cstr(&name), buf_len(&name) + 1);
	buf_end(&name);
}
