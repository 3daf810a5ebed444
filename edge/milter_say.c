/* milter_say.c - what each step of a milter conversation says; called by milter.c only.
 *
 * Owns nothing. Each function appends one packet, or answers that there is nothing (more) to say. */
#include "edge/milter_internal.h"

enum { MACRO_VALUE_MAX = 512, MACROS_MAX = 16 * 1024 };

static const char at_connect[] = "j {daemon_name} {daemon_addr} {daemon_port} v _ {client_addr} "
				 "{client_name} {client_port} {client_ptr}";
static const char *const usual[MILTER_M_COUNT] = {
	[MILTER_M_CONNECT] = at_connect,
	[MILTER_M_HELO] = "{tls_version} {cipher} {cipher_bits} {cert_subject}",
	[MILTER_M_MAIL] = "i {auth_type} {auth_authen} {mail_addr} {mail_host} {mail_mailer}",
	[MILTER_M_RCPT] = "{rcpt_addr} {rcpt_host} {rcpt_mailer}",
	[MILTER_M_DATA] = "i",
	[MILTER_M_EOM] = "i {msg_size}",
	[MILTER_M_EOH] = "i",
};

/* ---- macros: those that the filter named, else the usual ones ------------------------------------- */

static struct span next_name(struct span *rest)
{
	while (rest->n > 0 && (rest->p[0] == ' ' || rest->p[0] == ','))
		*rest = span_from(*rest, 1);
	size_t n = 0;
	while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != ',')
		n++;
	struct span name = span_first(*rest, n);
	*rest = span_from(*rest, n);
	return name;
}

void milter_put_macros(
    struct milter *m, enum milter_command cmd, enum milter_macro_stage stage, struct buf *out)
{
	const char *list = m->lists[stage] != NULL ? m->lists[stage] : usual[stage];
	struct span rest = span_str(list), name;
	struct buf data = BUF_INIT(MACROS_MAX), value = BUF_INIT(MACRO_VALUE_MAX);
	buf_add_char(&data, (char)cmd);
	while ((name = next_name(&rest)).n > 0) {
		buf_clear(&value);
		if (!m->opts.macro(m->opts.macro_arg, name, &value) || !buf_ok(&value))
			continue;
		buf_add_span(&data, name);
		buf_add_char(&data, '\0');
		buf_add_span(&data, buf_span(&value));
		buf_add_char(&data, '\0');
	}
	if (buf_len(&data) > 1 && buf_ok(&data))
		milter_put(out, MILTER_MACRO, buf_span(&data));
	buf_end(&data);
	buf_end(&value);
}

/* ---- steps --------------------------------------------------------------------------------------- */

/* All but the repeated states say their piece once. */
static bool once(struct milter *m)
{
	return m->at++ == 0;
}

bool milter_say_optneg(struct milter *m, struct buf *out)
{
	return once(m) && milter_put_optneg(out, MILTER_MAY_ALL, MILTER_STEPS_ALL);
}

bool milter_say_connect(struct milter *m, struct buf *out)
{
	return once(m) && milter_put_connect(out, span_str(m->opts.client_name), m->opts.client);
}

bool milter_say_helo(struct milter *m, struct buf *out)
{
	struct span helo = span_str(m->opts.helo);
	return once(m) && milter_put_strings(out, MILTER_HELO, &helo, 1);
}

bool milter_say_words(struct milter *m, struct buf *out)
{
	return once(m) && milter_put(out, milter_command(m), m->words);
}

bool milter_say_empty(struct milter *m, struct buf *out)
{
	return once(m) && milter_put(out, milter_command(m), SPAN_NONE);
}

/* Folds have LF only, and the space behind the colon is the filter's to have or not. */
static bool put_one_field(struct milter *m, const struct edit_field *f, struct buf *out)
{
	struct span value = f->value;
	struct buf text = BUF_INIT(MILTER_DATA_MAX);
	if (!(m->neg.steps & MILTER_LEADING_SPACE) && value.n > 0 && value.p[0] == ' ')
		value = span_from(value, 1);
	buf_add_span(&text, f->name);
	buf_add_char(&text, '\0');
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] != '\r' && value.p[i] != '\0')
			buf_add_char(&text, value.p[i]);
	buf_add_char(&text, '\0');
	bool ok = buf_ok(&text) && milter_put(out, MILTER_HEADER, buf_span(&text));
	buf_end(&text);
	return ok;
}

/* A field that fits into no packet is one the filter does not see. */
bool milter_say_field(struct milter *m, struct buf *out)
{
	struct edit_field f;
	while (m->at < edit_fields(m->edit)) {
		size_t i = (size_t)m->at++;
		if (edit_field(m->edit, i, &f) && put_one_field(m, &f, out))
			return true;
		buf_clear(out);
	}
	return false;
}

bool milter_say_text(struct milter *m, struct buf *out)
{
	err_t err = ERR_OK;
	struct span piece = edit_text(m->edit, m->at, MILTER_DATA_MAX, &err);
	m->unread = err != ERR_OK;
	m->at += piece.n;
	return piece.n > 0 && milter_put(out, MILTER_BODY, piece);
}
