/* ldap_msg.c - LDAP messages written and read with liblber. Pure; owns nothing.
 *
 * Reading is stricter than liblber's own format strings: each constructed element must end exactly where its
 * length says, or the message is refused. A mistaken length must not make an entry look empty, for an empty
 * entry would read as "no such user". */
#include "directory/ldap_msg.h"

#include <ldap.h>

#include "base/check.h"
#include "base/mem.h"

enum { LENGTH_BYTES_MAX = 4 };

/* ---- writing ---- */

/* Adds what ber holds to out, unless something failed before; ber is gone afterwards, and wiped. */
static bool finish(BerElement *ber, bool ok, struct buf *out)
{
	struct berval bytes;
	ok = ok && ber_flatten2(ber, &bytes, 0) == 0;
	if (ok) {
		ok = buf_add(out, bytes.bv_val, bytes.bv_len);
		mem_wipe(bytes.bv_val, bytes.bv_len);
	}
	ber_free(ber, 1);
	return ok;
}

static BerElement *start(void)
{
	BerElement *ber = ber_alloc_t(LBER_USE_DER);
	CHECK(ber != NULL); /* out of memory */
	return ber;
}

static bool put_string(BerElement *ber, ber_tag_t tag, struct span s)
{
	return ber_put_ostring(ber, s.p != NULL ? s.p : "", s.n, tag) >= 0;
}

static bool put_filter(BerElement *ber, const struct ldap_filter *f, unsigned depth);

static bool put_parts(BerElement *ber, ber_tag_t tag, const struct ldap_filter *f, unsigned depth)
{
	bool ok = ber_printf(ber, "t{", tag) >= 0;
	for (size_t i = 0; i < f->n; i++)
		ok = ok && put_filter(ber, &f->parts[i], depth + 1);
	return ok && ber_printf(ber, "N}") >= 0;
}

static bool put_equal(BerElement *ber, const struct ldap_filter *f)
{
	return ber_printf(ber, "t{", LDAP_FILTER_EQUALITY) >= 0 &&
	       put_string(ber, LBER_OCTETSTRING, span_str(f->attr)) &&
	       put_string(ber, LBER_OCTETSTRING, f->value) && ber_printf(ber, "N}") >= 0;
}

static bool put_ends(BerElement *ber, const struct ldap_filter *f)
{
	return ber_printf(ber, "t{", LDAP_FILTER_SUBSTRINGS) >= 0 &&
	       put_string(ber, LBER_OCTETSTRING, span_str(f->attr)) && ber_printf(ber, "{") >= 0 &&
	       put_string(ber, LDAP_SUBSTRING_FINAL, f->value) && ber_printf(ber, "N}N}") >= 0;
}

static bool put_substrings(BerElement *ber, const struct ldap_filter *f)
{
	bool ok = ber_printf(ber, "t{", LDAP_FILTER_SUBSTRINGS) >= 0 &&
		  put_string(ber, LBER_OCTETSTRING, span_str(f->attr)) && ber_printf(ber, "{") >= 0;
	for (size_t i = 0; i < f->n; i++) {
		ber_tag_t tag = i == 0          ? LDAP_SUBSTRING_INITIAL
				: i + 1 == f->n ? LDAP_SUBSTRING_FINAL
						: LDAP_SUBSTRING_ANY;
		if (f->parts[i].value.n > 0)
			ok = ok && put_string(ber, tag, f->parts[i].value);
	}
	return ok && ber_printf(ber, "N}N}") >= 0;
}

static bool put_filter(BerElement *ber, const struct ldap_filter *f, unsigned depth)
{
	CHECK(depth < LDAP_FILTER_DEPTH_MAX);
	switch (f->kind) {
	case LDAP_F_AND:
		return put_parts(ber, LDAP_FILTER_AND, f, depth);
	case LDAP_F_OR:
		return put_parts(ber, LDAP_FILTER_OR, f, depth);
	case LDAP_F_NOT:
		CHECK(f->n == 1);
		return put_parts(ber, LDAP_FILTER_NOT, f, depth);
	case LDAP_F_EQUAL:
		return put_equal(ber, f);
	case LDAP_F_ENDS:
		return put_ends(ber, f);
	case LDAP_F_SUBSTRINGS:
		return put_substrings(ber, f);
	case LDAP_F_PRESENT:
		return put_string(ber, LDAP_FILTER_PRESENT, span_str(f->attr));
	}
	BUG("a kind of filter without encoding");
}

static ber_int_t scope_of(const struct ldap_search *s)
{
	if (s->subtree)
		return LDAP_SCOPE_SUBTREE;
	return s->one_level ? LDAP_SCOPE_ONELEVEL : LDAP_SCOPE_BASE;
}

bool ldap_put_search(struct buf *out, int32_t id, const struct ldap_search *s)
{
	BerElement *ber = start();
	CHECK(s->attr_n > 0);
	bool ok = ber_printf(ber, "{it{", (ber_int_t)id, LDAP_REQ_SEARCH) >= 0 &&
		  put_string(ber, LBER_OCTETSTRING, span_str(s->base)) &&
		  ber_printf(ber, "eeiib", scope_of(s), (ber_int_t)LDAP_DEREF_NEVER,
		      (ber_int_t)s->size_max, (ber_int_t)s->seconds, (ber_int_t)0) >= 0 &&
		  put_filter(ber, s->filter, 0) && ber_printf(ber, "{") >= 0;
	for (size_t i = 0; i < s->attr_n; i++)
		ok = ok && put_string(ber, LBER_OCTETSTRING, span_str(s->attrs[i]));
	ok = ok && ber_printf(ber, "N}N}N}") >= 0;
	return finish(ber, ok, out);
}

bool ldap_put_bind(struct buf *out, int32_t id, struct span dn, struct span secret)
{
	BerElement *ber = start();
	bool ok =
	    ber_printf(ber, "{it{i", (ber_int_t)id, LDAP_REQ_BIND, (ber_int_t)LDAP_VERSION3) >= 0 &&
	    put_string(ber, LBER_OCTETSTRING, dn) && put_string(ber, LDAP_AUTH_SIMPLE, secret) &&
	    ber_printf(ber, "N}N}") >= 0;
	return finish(ber, ok, out);
}

bool ldap_put_starttls(struct buf *out, int32_t id)
{
	BerElement *ber = start();
	bool ok = ber_printf(ber, "{it{", (ber_int_t)id, LDAP_REQ_EXTENDED) >= 0 &&
		  put_string(ber, LDAP_TAG_EXOP_REQ_OID, SPAN(LDAP_EXOP_START_TLS)) &&
		  ber_printf(ber, "N}N}") >= 0;
	return finish(ber, ok, out);
}

bool ldap_put_abandon(struct buf *out, int32_t id, int32_t which)
{
	BerElement *ber = start();
	bool ok = ber_printf(ber, "{itiN}", (ber_int_t)id, LDAP_REQ_ABANDON, (ber_int_t)which) >= 0;
	return finish(ber, ok, out);
}

/* ---- framing ---- */

/* Reads the header of an element. MORE: not all of it is there. *n_out: its length with header. */
static enum ldap_frame element_length(struct span in, size_t *head_out, uint64_t *n_out)
{
	if (in.n < 2)
		return LDAP_FRAME_MORE;
	unsigned char first = (unsigned char)in.p[1];
	size_t octets = first & 0x7f;
	*head_out = 2;
	*n_out = 2 + (uint64_t)first;
	if (first < 0x80)
		return LDAP_FRAME_WHOLE;
	if (octets == 0 || octets > LENGTH_BYTES_MAX)
		return LDAP_FRAME_BAD;
	if (in.n < 2 + octets)
		return LDAP_FRAME_MORE;
	uint64_t n = 0;
	for (size_t i = 0; i < octets; i++)
		n = n << 8 | (unsigned char)in.p[2 + i];
	*head_out = 2 + octets;
	*n_out = n + 2 + octets;
	return LDAP_FRAME_WHOLE;
}

enum ldap_frame ldap_frame(struct span in, size_t max, size_t *n_out)
{
	size_t head;
	uint64_t n;
	if (in.n > 0 && (unsigned char)in.p[0] != LBER_SEQUENCE)
		return LDAP_FRAME_BAD;
	enum ldap_frame got = element_length(in, &head, &n);
	if (got != LDAP_FRAME_WHOLE)
		return got;
	if (n > max)
		return LDAP_FRAME_TOO_LONG;
	*n_out = (size_t)n;
	return in.n < n ? LDAP_FRAME_MORE : LDAP_FRAME_WHOLE;
}

int32_t ldap_front_id(struct span in)
{
	size_t head;
	uint64_t n;
	uint32_t id = 0;
	if (element_length(in, &head, &n) != LDAP_FRAME_WHOLE)
		return 0;
	in = span_from(in, head);
	if (in.n < 2 || (unsigned char)in.p[0] != LBER_INTEGER ||
	    element_length(in, &head, &n) != LDAP_FRAME_WHOLE || n > head + 4 || n > in.n)
		return 0;
	for (size_t i = head; i < n; i++)
		id = id << 8 | (unsigned char)in.p[i];
	return id > INT32_MAX ? 0 : (int32_t)id;
}

/* ---- reading ---- */

struct reader {
	BerElement *ber;
	bool bad; /* sticky */
};

static ber_len_t remaining(const struct reader *r)
{
	ber_len_t n = 0;
	ber_get_option(r->ber, LBER_OPT_BER_REMAINING_BYTES, &n);
	return n;
}

/* Enters a constructed element; what remains behind it is the answer, for more() and leave(). */
static ber_len_t enter(struct reader *r, ber_tag_t want)
{
	ber_len_t n = 0;
	if (r->bad || remaining(r) == 0 || ber_skip_tag(r->ber, &n) != want || n > remaining(r)) {
		r->bad = true;
		return 0;
	}
	return remaining(r) - n;
}

static bool more(const struct reader *r, ber_len_t behind)
{
	return !r->bad && remaining(r) > behind;
}

static void leave(struct reader *r, ber_len_t behind)
{
	r->bad = r->bad || remaining(r) != behind;
}

static ber_tag_t peek(const struct reader *r)
{
	ber_len_t n;
	return r->bad || remaining(r) == 0 ? LBER_DEFAULT : ber_peek_tag(r->ber, &n);
}

static struct span take_element(struct reader *r)
{
	struct berval v = { 0 };
	if (peek(r) == LBER_DEFAULT || ber_skip_element(r->ber, &v) == LBER_DEFAULT) {
		r->bad = true;
		return SPAN_NONE;
	}
	return span_of(v.bv_val, v.bv_len);
}

static struct span take_string(struct reader *r)
{
	r->bad = r->bad || peek(r) != LBER_OCTETSTRING;
	return take_element(r);
}

/* A number that may not be negative. */
static int32_t take_number(struct reader *r, ber_tag_t tag)
{
	ber_int_t n = 0;
	if (peek(r) != tag || ber_get_int(r->ber, &n) == LBER_DEFAULT || n < 0)
		r->bad = true;
	return r->bad ? 0 : n;
}

static void take_values(struct reader *r, struct span name, struct entry *e, bool *cut_out)
{
	ber_len_t behind = enter(r, LBER_SET);
	while (more(r, behind)) {
		struct span value = take_string(r);
		if (!r->bad && !entry_add(e, name, value))
			*cut_out = true;
	}
	leave(r, behind);
}

static void take_entry(struct reader *r, struct ldap_answer *out, struct entry *e)
{
	ber_len_t behind = enter(r, LDAP_RES_SEARCH_ENTRY);
	struct span dn = take_string(r);
	out->cut = r->bad || !entry_start(e, dn);
	ber_len_t list = enter(r, LBER_SEQUENCE);
	while (more(r, list)) {
		ber_len_t attribute = enter(r, LBER_SEQUENCE);
		struct span name = take_string(r);
		take_values(r, name, e, &out->cut);
		leave(r, attribute);
	}
	leave(r, list);
	leave(r, behind);
}

/* LDAPResult; what may follow it (referral, credentials, an extension's value) is passed over. */
static void take_result(struct reader *r, struct ldap_answer *out, ber_tag_t tag)
{
	ber_len_t behind = enter(r, tag);
	out->code = take_number(r, LBER_ENUMERATED);
	(void)take_string(r); /* matchedDN */
	out->text = take_string(r);
	while (more(r, behind))
		(void)take_element(r);
	leave(r, behind);
}

static void take_operation(struct reader *r, struct ldap_answer *out, struct entry *e)
{
	ber_tag_t tag = peek(r);
	switch (tag) {
	case LDAP_RES_SEARCH_ENTRY:
		out->kind = LDAP_A_ENTRY;
		take_entry(r, out, e);
		break;
	case LDAP_RES_SEARCH_RESULT:
		out->kind = LDAP_A_SEARCH;
		take_result(r, out, tag);
		break;
	case LDAP_RES_BIND:
		out->kind = LDAP_A_BIND;
		take_result(r, out, tag);
		break;
	case LDAP_RES_EXTENDED:
		out->kind = LDAP_A_EXTENDED;
		take_result(r, out, tag);
		break;
	default:
		r->bad = r->bad || (tag & LBER_CLASS_MASK) != LBER_CLASS_APPLICATION;
		out->kind = tag == LDAP_RES_SEARCH_REFERENCE ? LDAP_A_REFERENCE : LDAP_A_OTHER;
		(void)take_element(r);
	}
}

bool ldap_take(struct buf *message, struct ldap_answer *out, struct entry *entry)
{
	/* liblber looks one byte behind what it reads: buf_cstr() puts a NUL there. */
	struct berval bytes = { buf_len(message), (char *)buf_cstr(message) };
	struct reader r = { .ber = start() };
	*out = (struct ldap_answer){ 0 };
	ber_init2(r.ber, &bytes, LBER_USE_DER);
	ber_len_t behind = enter(&r, LBER_SEQUENCE);
	out->id = take_number(&r, LBER_INTEGER);
	take_operation(&r, out, entry);
	if (peek(&r) == LDAP_TAG_CONTROLS)
		(void)take_element(&r);
	leave(&r, behind);
	r.bad = r.bad || behind != 0;
	ber_free(r.ber, 0);
	return !r.bad;
}
