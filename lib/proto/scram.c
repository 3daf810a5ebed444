/* scram.c - SCRAM messages: attributes between commas, names with =2C and =3D, base64. */
#include "proto/scram.h"

#include "base/base64.h"
#include "base/check.h"

enum { ROUNDS_MAX = 1000000, STORED_MAX = 64, SALT_MAX = 64 };

/* "x=value": the value of attribute `name`; p NULL when the word is another attribute. */
static struct span value_of(struct span word, char name)
{
	if (word.n < 2 || word.p[0] != name || word.p[1] != '=')
		return SPAN_NONE;
	return span_from(word, 2);
}

static bool is_printable(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x21 || (unsigned char)s.p[i] > 0x7e || s.p[i] == ',')
			return false;
	return true;
}

static bool is_text(struct span s)
{
	return !span_has_control(s) && span_is_utf8(s);
}

/* "=2C" is a comma, "=3D" an equals sign, and there is no other "=". */
static err_t unescape(struct span in, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];
		if (c == '=') {
			struct span code = span_first(span_from(in, i + 1), 2);
			if (!span_eq_str(code, "2C") && !span_eq_str(code, "3D"))
				return ERR_SYNTAX;
			c = code.p[0] == '2' ? ',' : '=';
			i += 2;
		}
		buf_add_char(out, c);
	}
	return buf_ok(out) ? ERR_OK : ERR_TOO_LONG;
}

static bool decode(struct span text, size_t max, struct buf *out)
{
	*out = BUF_INIT(max);
	return text.n > 0 && base64_get(text, out);
}

/* ---- client-first ----------------------------------------------------------------------------- */

static err_t parse_gs2(struct scram_first *m, struct span flag)
{
	m->binding = value_of(flag, 'p');
	if (span_eq_str(flag, "n"))
		m->gs2 = SCRAM_GS2_NO;
	else if (span_eq_str(flag, "y"))
		m->gs2 = SCRAM_GS2_UNASKED;
	else if (m->binding.n > 0 && is_printable(m->binding))
		m->gs2 = SCRAM_GS2_BOUND;
	else
		return ERR_SYNTAX;
	return ERR_OK;
}

/* Both names behind each other in m->names; spans when that does not move any more. */
static err_t take_names(struct scram_first *m, struct span authzid, struct span user)
{
	err_t err = unescape(authzid, &m->names);
	size_t cut = buf_len(&m->names);
	if (err == ERR_OK)
		err = unescape(user, &m->names);
	if (err != ERR_OK)
		return err;
	m->authzid = span_first(buf_span(&m->names), cut);
	m->user = span_from(buf_span(&m->names), cut);
	if (m->authzid.n > SCRAM_NAME_MAX || m->user.n > SCRAM_NAME_MAX)
		return ERR_TOO_LONG;
	return m->user.n > 0 && is_text(m->authzid) && is_text(m->user) ? ERR_OK : ERR_SYNTAX;
}

err_t scram_first_parse(struct scram_first *m, struct span message)
{
	*m = (struct scram_first){ .names = BUF_INIT(2 * SCRAM_NAME_MAX) };
	struct span rest = message, flag = span_cut(&rest, ','), authz = span_cut(&rest, ',');
	if (rest.p == NULL || parse_gs2(m, flag) != ERR_OK)
		return ERR_SYNTAX;
	struct span authzid = value_of(authz, 'a');
	if (authz.n > 0 && authzid.n == 0)
		return ERR_SYNTAX;
	m->header = span_first(message, message.n - rest.n);
	m->bare = rest;
	struct span name = span_cut(&rest, ',');
	if (value_of(name, 'm').p != NULL)
		return ERR_PROTOCOL;
	m->nonce = value_of(span_cut(&rest, ','), 'r');
	if (value_of(name, 'n').p == NULL || m->nonce.n == 0 || !is_printable(m->nonce))
		return ERR_SYNTAX;
	if (m->nonce.n > SCRAM_NONCE_MAX)
		return ERR_TOO_LONG;
	return take_names(m, authzid, value_of(name, 'n'));
}

void scram_first_end(struct scram_first *m)
{
	buf_end(&m->names);
}

/* ---- client-final ----------------------------------------------------------------------------- */

err_t scram_final_parse(struct scram_final *m, struct span message)
{
	*m = (struct scram_final){ .binding = BUF_INIT(1), .proof = BUF_INIT(1) };
	size_t comma = span_rfind(message, ',');
	if (comma == SIZE_MAX)
		return ERR_SYNTAX;
	struct span proof = value_of(span_from(message, comma + 1), 'p');
	struct span rest = m->without_proof = span_first(message, comma);
	struct span binding = value_of(span_cut(&rest, ','), 'c');
	m->nonce = value_of(span_cut(&rest, ','), 'r');
	if (m->nonce.n == 0 || !is_printable(m->nonce))
		return ERR_SYNTAX;
	if (!decode(binding, SCRAM_BINDING_MAX, &m->binding) ||
	    !decode(proof, SCRAM_PROOF_MAX, &m->proof))
		return ERR_SYNTAX;
	return ERR_OK;
}

void scram_final_end(struct scram_final *m)
{
	buf_end(&m->binding);
	buf_wipe_end(&m->proof);
}

/* ---- the server's messages -------------------------------------------------------------------- */

bool scram_put_server_first(struct buf *out, struct span nonce, struct span salt, unsigned rounds)
{
	buf_add_str(out, "r=");
	buf_add_span(out, nonce);
	buf_add_str(out, ",s=");
	base64_put(out, salt);
	return buf_printf(out, ",i=%u", rounds);
}

bool scram_put_server_final(struct buf *out, struct span signature)
{
	buf_add_str(out, "v=");
	return base64_put(out, signature) && buf_ok(out);
}

/* ---- stored keys ------------------------------------------------------------------------------ */

bool scram_stored_parse(struct scram_stored *v, struct span text)
{
	*v = (struct scram_stored){ .salt = BUF_INIT(1) };
	bool dovecot = span_find(text, ',') != SIZE_MAX;
	uint64_t rounds = 0;
	struct span rest = text, count = span_cut(&rest, dovecot ? ',' : ':');
	struct span salt = span_cut(&rest, dovecot ? ',' : '$');
	struct span stored = span_cut(&rest, dovecot ? ',' : ':');
	if (!span_u64(count, ROUNDS_MAX, &rounds) || rounds == 0)
		return false;
	v->rounds = (unsigned)rounds;
	bool good = decode(salt, SALT_MAX, &v->salt);
	good = decode(stored, STORED_MAX, &v->stored) && good;
	return decode(rest, STORED_MAX, &v->server) && good;
}

void scram_stored_end(struct scram_stored *v)
{
	buf_end(&v->salt);
	buf_wipe_end(&v->stored);
	buf_wipe_end(&v->server);
}
