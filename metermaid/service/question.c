/* question.c - a mail server's request as a question to MeterMaid, and the answer in its words; no I/O. */
#include "metermaid/service/question.h"

#include "base/check.h"

static bool moment_of(
    struct span state, enum meter_message_at message_at, enum meter_moment *moment_out)
{
	static const struct {
		const char *state;
		enum meter_moment moment;
		int message_at; /* -1: always */
	} rows[] = {
		{ "CONNECT", METER_CONNECT, -1 },
		{ "MAIL", METER_MAIL, -1 },
		{ "RCPT", METER_RCPT, -1 },
		{ "DATA", METER_MESSAGE, MESSAGE_AT_DATA },
		{ "END-OF-MESSAGE", METER_MESSAGE, MESSAGE_AT_END },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (span_eq_str(state, rows[i].state)) {
			*moment_out = rows[i].moment;
			return rows[i].message_at < 0 || rows[i].message_at == (int)message_at;
		}
	return false;
}

/* As the edge has it, else as it was said. */
static struct span address_of(struct span raw, unsigned flags, struct smtp_path *path)
{
	if (raw.n == 0 || smtp_address_parse(raw, flags | SMTP_PATH_UTF8_OK, path, NULL) != ERR_OK)
		return raw;
	return smtp_path_text(path);
}

bool question_read(const struct policy_request *r, const char *listener,
    enum meter_message_at message_at, struct question *out)
{
	struct span user = span_first(r->v[POLICY_USER], QUESTION_USER_MAX);
	struct span context = r->v[POLICY_CONTEXT];
	struct meter_facts *f = &out->facts;
	if (!moment_of(r->v[POLICY_STATE], message_at, &out->moment))
		return false;
	*f = (struct meter_facts){ .recipients = 1 };
	if (!ip_parse(r->v[POLICY_CLIENT], &f->client))
		f->client = (struct ip_addr){ { 0 } }; /* rules by client do not look */
	span_lower_to(out->user, user);
	f->user = span_of(out->user, user.n);
	f->authenticated = user.n > 0;
	f->helo = r->v[POLICY_HELO];
	f->listener = context.n > 0 ? context : span_str(listener);
	if (out->moment != METER_CONNECT)
		f->sender = address_of(r->v[POLICY_SENDER], 0, &out->sender);
	if (out->moment == METER_RCPT)
		f->recipient =
		    address_of(r->v[POLICY_RECIPIENT], SMTP_PATH_POSTMASTER_OK, &out->recipient);
	if (out->moment == METER_MESSAGE)
		span_u64(r->v[POLICY_RECIPIENTS], UINT32_MAX, &f->recipients);
	span_u64(r->v[POLICY_SIZE], UINT64_MAX / 2, &f->bytes);
	if (f->recipients == 0)
		f->recipients = 1;
	return true;
}

void question_put_refusal(
    struct buf *out, enum meter_moment moment, const struct meter_answer *a, struct ident id)
{
	bool later = a->disconnect || a->action == METER_DEFER;
	const char *code = a->disconnect             ? "421 4.7.0"
			   : !later                  ? "550 5.7.1"
			   : moment == METER_MESSAGE ? "451 4.7.1"
						     : "450 4.7.1";
	buf_printf(out, "%s limit ", code);
	for (const char *p = a->rule; *p != '\0' && p < a->rule + 60; p++)
		buf_add_char(out, *p > 0x20 && *p < 0x7f ? *p : '?');
	buf_printf(out, " is reached%s [%s]", later ? ", try again later" : "", id.s);
}
