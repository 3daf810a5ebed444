/* smtp_ext.c - ESMTP parameters by two tables, one for MAIL and one for RCPT.
 *
 * Owns nothing; spans point into the caller's line. */
#include "base/check.h"
#include "proto/priority.h"
#include "proto/smtp_ext.h"
#include "proto/utf8_addr.h"

#define UTF8_TYPE "utf-8" /* of addresses in UTF-8 (RFC 6533) */

struct param_row {
	const char *name;
	unsigned bit;
	bool has_value;
	const char *why; /* what is wrong when set says no */
	bool (*set)(void *ext, struct span value);
};

static bool is_xtext(struct span s, size_t max)
{
	struct buf raw = BUF_INIT(s.n + 1);
	bool ok = s.n > 0 && s.n <= max && smtp_xtext_get(s, &raw);
	buf_end(&raw);
	return ok;
}

/* ---- MAIL ------------------------------------------------------------------------------------- */

static bool set_size(void *ext, struct span v)
{
	struct smtp_mail_ext *m = ext;
	return v.n <= 20 && span_u64(v, UINT64_MAX, &m->size);
}

static bool set_body(void *ext, struct span v)
{
	static const char *const names[] = { "7BIT", "8BITMIME", "BINARYMIME" };
	struct smtp_mail_ext *m = ext;
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		if (span_ieq_str(v, names[i])) {
			m->body = (enum smtp_body_kind)i;
			return true;
		}
	}
	return false;
}

static bool set_flag(void *ext, struct span v)
{
	return true;
}

static bool set_ret(void *ext, struct span v)
{
	struct smtp_mail_ext *m = ext;
	m->ret = span_ieq_str(v, "FULL") ? SMTP_RET_FULL : SMTP_RET_HDRS;
	return m->ret == SMTP_RET_FULL || span_ieq_str(v, "HDRS");
}

static bool set_envid(void *ext, struct span v)
{
	struct smtp_mail_ext *m = ext;
	m->envid = v;
	return is_xtext(v, SMTP_ENVID_MAX);
}

static bool set_auth(void *ext, struct span v)
{
	struct smtp_mail_ext *m = ext;
	m->auth = v;
	return is_xtext(v, SMTP_ORCPT_MAX);
}

static bool set_delivery_id(void *ext, struct span v)
{
	struct smtp_mail_ext *m = ext;
	return ident_parse(v, &m->delivery_id);
}

static bool set_priority(void *ext, struct span v)
{
	struct smtp_mail_ext *m = ext;
	return priority_parse(v, &m->priority);
}

static const struct param_row mail_rows[] = {
	{ "SIZE", SMTP_PARAM_SIZE, true, "SIZE is not a number", set_size },
	{ "BODY", SMTP_PARAM_BODY, true, "unknown BODY type", set_body },
	{ "SMTPUTF8", SMTP_PARAM_SMTPUTF8, false, "", set_flag },
	{ "REQUIRETLS", SMTP_PARAM_REQUIRETLS, false, "", set_flag },
	{ "RET", SMTP_PARAM_RET, true, "RET must be FULL or HDRS", set_ret },
	{ "ENVID", SMTP_PARAM_ENVID, true, "ENVID is not xtext or too long", set_envid },
	{ "AUTH", SMTP_PARAM_AUTH, true, "AUTH is not xtext or too long", set_auth },
	{ "MT-PRIORITY", SMTP_PARAM_MT_PRIORITY, true, "MT-PRIORITY is from -9 to 9",
	    set_priority },
	{ "XDELIVERYID", SMTP_PARAM_XDELIVERYID, true, "bad delivery id", set_delivery_id },
};

/* ---- RCPT ------------------------------------------------------------------------------------- */

static const char *const notify_names[] = { "NEVER", "SUCCESS", "FAILURE", "DELAY" };

bool smtp_notify_put(struct buf *out, unsigned notify)
{
	bool any = false;
	for (size_t i = 0; i < COUNT_OF(notify_names); i++) {
		if ((notify & 1u << i) == 0)
			continue;
		buf_printf(out, "%s%s", any ? "," : "", notify_names[i]);
		any = true;
	}
	return any && buf_ok(out);
}

static bool set_notify(void *ext, struct span v)
{
	struct smtp_rcpt_ext *r = ext;
	while (v.p != NULL) {
		struct span word = span_cut(&v, ',');
		unsigned bit = 0;
		for (size_t i = 0; i < COUNT_OF(notify_names); i++)
			if (span_ieq_str(word, notify_names[i]))
				bit = 1u << i;
		if (bit == 0 || (r->notify & bit) != 0)
			return false;
		r->notify |= bit;
	}
	return r->notify == SMTP_NOTIFY_NEVER || (r->notify & SMTP_NOTIFY_NEVER) == 0;
}

static bool is_utf8_addr(struct span v)
{
	struct buf raw = BUF_INIT(SMTP_ORCPT_MAX);
	bool ok = utf8_addr_get(v, true, &raw);
	buf_end(&raw);
	return ok;
}

static bool set_orcpt(void *ext, struct span v)
{
	struct smtp_rcpt_ext *r = ext;
	struct span rest = v, type = span_cut(&rest, ';');
	r->orcpt = v;
	for (size_t i = 0; i < type.n; i++) {
		unsigned char u = (unsigned char)type.p[i];
		if (!ascii_is_alpha(u) && !ascii_is_digit(u) && u != '-')
			return false;
	}
	if (type.n == 0 || rest.n == 0 || v.n > SMTP_ORCPT_MAX)
		return false;
	return span_ieq_str(type, UTF8_TYPE) ? is_utf8_addr(rest) : is_xtext(rest, SMTP_ORCPT_MAX);
}

static const struct param_row rcpt_rows[] = {
	{ "NOTIFY", SMTP_PARAM_NOTIFY, true, "bad NOTIFY list", set_notify },
	{ "ORCPT", SMTP_PARAM_ORCPT, true, "bad ORCPT", set_orcpt },
};

/* ---- both ------------------------------------------------------------------------------------- */

struct param_reader {
	const struct param_row *rows;
	size_t row_count;
	unsigned offered, seen;
	bool utf8; /* SMTPUTF8 was said of this mail */
	struct smtp_ext_error error;
};

static bool refuse(struct param_reader *r, const char *why, bool unknown)
{
	r->error.why = why;
	r->error.unknown = unknown;
	return false;
}

/* esmtp-value (RFC 5321 section 4.1.2): printable, no "=" and no space; with SMTPUTF8 UTF-8 too (RFC 6531 section 3.3). */
static bool value_ok(struct span v, bool utf8)
{
	for (size_t i = 0; i < v.n; i++) {
		unsigned char u = (unsigned char)v.p[i];
		if (u <= 0x20 || u == 0x7f || u == '=' || (u >= 0x80 && !utf8))
			return false;
	}
	return v.n > 0;
}

static bool parse_one(struct param_reader *r, struct span param, void *ext)
{
	struct span value = param, name = span_cut(&value, '=');
	const struct param_row *row = NULL;
	r->error.name = name;
	for (size_t i = 0; i < r->row_count; i++)
		if (span_ieq_str(name, r->rows[i].name) && (r->offered & r->rows[i].bit) != 0)
			row = &r->rows[i];
	if (row == NULL)
		return refuse(r, "parameter not supported", true);
	if ((r->seen & row->bit) != 0)
		return refuse(r, "parameter given twice", false);
	if (row->has_value ? value.p == NULL || !value_ok(value, r->utf8) : value.p != NULL)
		return refuse(r, row->has_value ? "value missing or bad" : "takes no value", false);
	if (!row->set(ext, value))
		return refuse(r, row->why, false);
	r->seen |= row->bit;
	return true;
}

static err_t parse_all(struct param_reader *r, struct span params, void *ext)
{
	while (params.n > 0) {
		struct span one = span_cut(&params, ' ');
		if (one.n > 0 && !parse_one(r, one, ext))
			return ERR_SYNTAX;
	}
	r->error = (struct smtp_ext_error){ 0 };
	return ERR_OK;
}

err_t smtp_ext_mail(struct span params, unsigned offered, struct smtp_mail_ext *out)
{
	struct param_reader r = { .rows = mail_rows, .row_count = COUNT_OF(mail_rows) };
	r.offered = offered;
	*out = (struct smtp_mail_ext){ 0 };
	err_t err = parse_all(&r, params, out);
	out->seen = r.seen;
	out->error = r.error;
	return err;
}

err_t smtp_ext_rcpt(struct span params, unsigned offered, struct smtp_rcpt_ext *out)
{
	struct param_reader r = { .rows = rcpt_rows, .row_count = COUNT_OF(rcpt_rows) };
	r.offered = offered;
	r.utf8 = (offered & SMTP_PARAM_SMTPUTF8) != 0;
	*out = (struct smtp_rcpt_ext){ 0 };
	err_t err = parse_all(&r, params, out);
	out->seen = r.seen;
	out->error = r.error;
	return err;
}

/* ---- ORCPT ------------------------------------------------------------------------------------ */

bool smtp_orcpt_get(struct span orcpt, struct buf *out)
{
	struct span rest = orcpt, type = span_cut(&rest, ';');
	if (rest.n == 0)
		return false;
	if (span_ieq_str(type, UTF8_TYPE))
		return utf8_addr_get(rest, true, out);
	return span_ieq_str(type, "rfc822") && smtp_xtext_get(rest, out);
}

bool smtp_orcpt_put(struct buf *out, struct span orcpt, bool utf8)
{
	struct buf address = BUF_INIT(SMTP_ORCPT_MAX);
	size_t before = buf_len(out);
	bool ok = true;
	if (utf8 || span_is_ascii(orcpt))
		buf_add_span(out, orcpt);
	else if (smtp_orcpt_get(orcpt, &address))
		ok = buf_add_str(out, UTF8_TYPE ";") && utf8_addr_put(out, buf_span(&address));
	else
		ok = false;
	buf_end(&address);
	return ok && buf_ok(out) && buf_len(out) - before <= SMTP_ORCPT_MAX;
}

/* ---- xtext ------------------------------------------------------------------------------------ */

bool smtp_xtext_put(struct buf *out, struct span raw)
{
	for (size_t i = 0; i < raw.n; i++) {
		unsigned char u = (unsigned char)raw.p[i];
		if (u <= 0x20 || u >= 0x7f || u == '+' || u == '=')
			buf_printf(out, "+%02X", u);
		else
			buf_add_char(out, raw.p[i]);
	}
	return buf_ok(out);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool smtp_xtext_get(struct span text, struct buf *out)
{
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		if (c <= 0x20 || c >= 0x7f || c == '=')
			return false;
		if (c == '+') {
			if (text.n - i < 3 || hex_digit(text.p[i + 1]) < 0 ||
			    hex_digit(text.p[i + 2]) < 0)
				return false;
			c = (char)(hex_digit(text.p[i + 1]) * 16 + hex_digit(text.p[i + 2]));
			i += 2;
		}
		buf_add_char(out, c);
	}
	return buf_ok(out);
}
