/* srs.c - return paths rewritten and read back. Pure; owns nothing. */
#include "edge/srs.h"

#include "base/buf.h"
#include "net/digest.h"

enum {
	HASH_CHARS = 8,
	DAY_CHARS = 2,
	DAYS_CYCLE = 1024,
	TAG_N = 4, /* "SRS0" */
};

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

bool srs_set_keys(struct srs *s, struct span lines)
{
	s->key_n = 0;
	while (lines.p != NULL) {
		struct span key = span_trim(span_cut(&lines, '\n'));
		if (key.n == 0)
			continue;
		if (key.n < SRS_KEY_BYTES_MIN || s->key_n == SRS_KEYS_MAX)
			return false;
		s->keys[s->key_n++] = key;
	}
	return s->key_n > 0;
}

static void put_hash(struct span key, struct span text, char out[HASH_CHARS])
{
	uint8_t mac[DIGEST_LEN_MAX];
	char lower[2 * SMTP_PATH_SIZE];
	text = span_first(text, sizeof lower);
	span_lower_to(lower, text);
	digest_hmac(DIGEST_SHA256, key, span_of(lower, text.n), mac);
	for (size_t i = 0; i < HASH_CHARS; i++) {
		size_t bit = 5 * i;
		unsigned two = (unsigned)(mac[bit / 8] << 8 | mac[bit / 8 + 1]);
		out[i] = digits[two >> (11 - bit % 8) & 31];
	}
}

static bool has_hash(const struct srs *s, struct span hash, struct span text)
{
	char want[HASH_CHARS], upper[HASH_CHARS];
	bool good = false;
	if (hash.n != HASH_CHARS)
		return false;
	for (size_t i = 0; i < HASH_CHARS; i++)
		upper[i] = (char)(ascii_lower(hash.p[i]) >= 'a' && ascii_lower(hash.p[i]) <= 'z'
				      ? ascii_lower(hash.p[i]) - ('a' - 'A')
				      : hash.p[i]);
	for (size_t i = 0; i < s->key_n; i++) {
		put_hash(s->keys[i], text, want);
		good = digest_equal(span_of(want, HASH_CHARS), span_of(upper, HASH_CHARS)) || good;
	}
	return good;
}

static unsigned day_of(uint64_t now_us)
{
	return (unsigned)(now_us / 1000000 / 86400 % DAYS_CYCLE);
}

static int digit_value(char c)
{
	const char *at = strchr(digits, c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c);
	return c != '\0' && at != NULL ? (int)(at - digits) : -1;
}

/* "SRS0=", "srs1+" ...: libraries differ in the separator behind the first tag. */
static bool has_tag(struct span local, char digit)
{
	return local.n > TAG_N && span_istarts(local, SPAN("SRS")) && local.p[3] == digit &&
	       (local.p[TAG_N] == '=' || local.p[TAG_N] == '-' || local.p[TAG_N] == '+');
}

/* ---- forward ---------------------------------------------------------------------------------- */

static bool put_signed(const struct srs *s, const char *tag, struct span text, char *out)
{
	char hash[HASH_CHARS];
	struct buf b = BUF_INIT(SMTP_ADDRESS_MAX);
	put_hash(s->keys[0], text, hash);
	buf_printf(&b, "%s=%.*s=%.*s@%s", tag, HASH_CHARS, hash, SPAN_ARG(text), s->domain);
	bool ok = buf_ok(&b);
	if (ok) {
		memcpy(out, buf_span(&b).p, buf_len(&b));
		out[buf_len(&b)] = '\0';
	}
	buf_end(&b);
	return ok;
}

/* What follows the hash of an SRS1 address: "host=" and the rest of the first SRS0 address behind its tag. */
static bool put_second(struct buf *text, struct span local, struct span domain)
{
	if (has_tag(local, '0'))
		return buf_printf(
		    text, "%.*s=%.*s", SPAN_ARG(domain), SPAN_ARG(span_from(local, TAG_N)));
	struct span rest = span_from(local, TAG_N + 1);
	span_cut(&rest, '='); /* their hash; ours takes its place */
	return rest.n > 0 && buf_add_span(text, rest);
}

bool srs_forward(const struct srs *s, struct span sender, uint64_t now_us, char out[SMTP_PATH_SIZE])
{
	size_t at = span_rfind(sender, '@');
	struct buf text = BUF_INIT(SMTP_ADDRESS_MAX);
	if (at == SIZE_MAX || at == 0 || sender.p[0] == '"' || s->domain == NULL)
		return false;
	struct span local = span_first(sender, at), domain = span_from(sender, at + 1);
	bool again = has_tag(local, '0') || has_tag(local, '1');
	unsigned day = day_of(now_us);
	bool ok = again ? put_second(&text, local, domain)
			: buf_printf(&text, "%c%c=%.*s=%.*s", digits[day / 32], digits[day % 32],
			      SPAN_ARG(domain), SPAN_ARG(local));
	ok = ok && put_signed(s, again ? "SRS1" : "SRS0", buf_span(&text), out);
	buf_end(&text);
	return ok;
}

/* ---- reverse ---------------------------------------------------------------------------------- */

static bool is_expired(const struct srs *s, struct span day, uint64_t now_us)
{
	int high = day.n == DAY_CHARS ? digit_value(day.p[0]) : -1;
	int low = day.n == DAY_CHARS ? digit_value(day.p[1]) : -1;
	if (high < 0 || low < 0)
		return true;
	/* The clock of another host of ours, which made it, may be in its next day already. */
	unsigned age = (day_of(now_us) + 1 + DAYS_CYCLE - (unsigned)(high * 32 + low)) % DAYS_CYCLE;
	return age > s->days + 1;
}

static enum srs_result give(struct buf *address, struct smtp_path *out)
{
	bool ok = buf_ok(address) && !smtp_address_parse(buf_span(address),
					 SMTP_PATH_LONG_LOCAL_OK | SMTP_PATH_UTF8_OK, out, NULL);
	buf_end(address);
	return ok ? SRS_GOOD : SRS_FORGED;
}

static enum srs_result reverse_first(
    const struct srs *s, struct span text, uint64_t now_us, struct smtp_path *out)
{
	struct buf address = BUF_INIT(SMTP_ADDRESS_MAX);
	struct span day = span_cut(&text, '='), domain = span_cut(&text, '=');
	if (text.p == NULL)
		return SRS_FORGED;
	if (is_expired(s, day, now_us))
		return SRS_EXPIRED;
	buf_printf(&address, "%.*s@%.*s", SPAN_ARG(text), SPAN_ARG(domain));
	return give(&address, out);
}

static enum srs_result reverse_second(struct span text, struct smtp_path *out)
{
	struct buf address = BUF_INIT(SMTP_ADDRESS_MAX);
	struct span host = span_cut(&text, '=');
	if (text.p == NULL)
		return SRS_FORGED;
	buf_printf(&address, "SRS0%.*s@%.*s", SPAN_ARG(text), SPAN_ARG(host));
	return give(&address, out);
}

enum srs_result srs_reverse(
    const struct srs *s, struct span address, uint64_t now_us, struct smtp_path *out)
{
	size_t at = span_rfind(address, '@');
	if (s->domain == NULL || at == SIZE_MAX ||
	    !span_ieq_str(span_from(address, at + 1), s->domain))
		return SRS_NONE;
	struct span local = span_first(address, at);
	bool first = has_tag(local, '0');
	if (!first && !has_tag(local, '1'))
		return SRS_NONE;
	struct span text = span_from(local, TAG_N + 1), hash = span_cut(&text, '=');
	if (text.p == NULL || !has_hash(s, hash, text))
		return SRS_FORGED;
	return first ? reverse_first(s, text, now_us, out) : reverse_second(text, out);
}
