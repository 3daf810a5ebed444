/* password.c - schemes of userPassword values; what crypt(3) hashes may cost. Pure. */
#include "directory/password.h"

#include "base/base64.h"
#include "base/check.h"
#include "base/mem.h"
#include "net/digest.h"

#include "directory/scram_keys.h"

enum { SALT_MAX = 64, ROUNDS_MAX = 1000000, BCRYPT_COST_MAX = 14 };

bool password_is_secret(struct span secret)
{
	return secret.n > 0 && secret.n <= SECRET_BYTES_MAX && span_find(secret, '\0') == SIZE_MAX;
}

/* ---- digests ---- */

static enum password_match compare_digest(
    enum digest_kind kind, bool salted, struct span text, struct span secret)
{
	struct buf raw = BUF_INIT(DIGEST_LEN_MAX + SALT_MAX);
	struct buf in = BUF_INIT(SECRET_BYTES_MAX + SALT_MAX);
	uint8_t made[DIGEST_LEN_MAX];
	size_t n = digest_len(kind);
	enum password_match match = PASSWORD_UNUSABLE;
	if (base64_get(text, &raw) && (salted ? buf_len(&raw) > n : buf_len(&raw) == n)) {
		buf_add_span(&in, secret);
		buf_add_span(&in, span_from(buf_span(&raw), n));
		digest_make(kind, buf_span(&in), made);
		bool same = digest_equal(span_of(made, n), span_first(buf_span(&raw), n));
		match = same ? PASSWORD_RIGHT : PASSWORD_WRONG;
	}
	mem_wipe(made, sizeof made);
	buf_wipe_end(&raw);
	buf_wipe_end(&in);
	return match;
}

static enum password_match compare_plain(struct span text, struct span secret)
{
	return digest_equal(text, secret) ? PASSWORD_RIGHT : PASSWORD_WRONG;
}

/* ---- crypt(3) settings: known ones, and none that would hold a thread or the memory for long ---- */

static bool cost_free(struct span rest)
{
	return true;
}

/* "rounds=N$salt$hash" or "salt$hash" */
static bool cost_rounds(struct span rest)
{
	uint64_t rounds;
	if (!span_starts(rest, SPAN("rounds=")))
		return true;
	rest = span_from(rest, 7);
	return span_u64(span_first(rest, span_find(rest, '$')), ROUNDS_MAX, &rounds);
}

/* "NN$salthash": 2^NN rounds */
static bool cost_bcrypt(struct span rest)
{
	uint64_t cost;
	return span_u64(span_first(rest, span_find(rest, '$')), BCRYPT_COST_MAX, &cost);
}

/* A digit of crypt's base64: ./0-9A-Za-z */
static int crypt_digit(struct span s, size_t at)
{
	static const struct span digits =
	    SPAN("./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
	size_t found = at < s.n ? span_find(digits, s.p[at]) : SIZE_MAX;
	return found == SIZE_MAX ? 1000 : (int)found;
}

/* "jNr$salt$hash": flavour, log2(blocks) - 1, block size - 1. At most 2^14 blocks of 4 KiB: 64 MiB. */
static bool cost_yescrypt(struct span rest)
{
	return rest.n > 3 && rest.p[0] == 'j' && rest.p[3] == '$' && crypt_digit(rest, 1) <= 13 &&
	       crypt_digit(rest, 2) <= crypt_digit(SPAN("T"), 0);
}

/* "N" "rrrrr" "ppppp" "salt$hash": log2(blocks), block size, parallelism, least digit first. */
static bool cost_scrypt(struct span rest)
{
	if (rest.n < 11 || crypt_digit(rest, 0) > 14 || crypt_digit(rest, 1) > 32 ||
	    crypt_digit(rest, 6) > 2)
		return false;
	for (size_t i = 2; i < 11; i++)
		if (i != 6 && crypt_digit(rest, i) != 0)
			return false;
	return true;
}

static bool setting_is_bounded(struct span setting)
{
	static const struct {
		struct span prefix;
		bool (*cost)(struct span rest);
	} known[] = {
		{ { "$1$", 3 }, cost_free },
		{ { "$5$", 3 }, cost_rounds },
		{ { "$6$", 3 }, cost_rounds },
		{ { "$2a$", 4 }, cost_bcrypt },
		{ { "$2b$", 4 }, cost_bcrypt },
		{ { "$2y$", 4 }, cost_bcrypt },
		{ { "$y$", 3 }, cost_yescrypt },
		{ { "$gy$", 4 }, cost_yescrypt },
		{ { "$7$", 3 }, cost_scrypt },
	};
	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (span_starts(setting, known[i].prefix))
			return known[i].cost(span_from(setting, known[i].prefix.n));
	return setting.n == 13 && setting.p[0] != '$' && setting.p[0] != '*' &&
	       setting.p[0] != '_'; /* the traditional one */
}

/* ---- schemes ---- */

enum password_match password_compare(
    struct span stored, struct span secret, bool plain_allowed, struct span *setting_out)
{
	static const struct {
		const char *name;
		enum digest_kind kind;
		bool salted;
	} digests[] = {
		{ "SSHA", DIGEST_SHA1, true },
		{ "SHA", DIGEST_SHA1, false },
		{ "SSHA256", DIGEST_SHA256, true },
		{ "SHA256", DIGEST_SHA256, false },
		{ "SSHA512", DIGEST_SHA512, true },
		{ "SHA512", DIGEST_SHA512, false },
		{ "SMD5", DIGEST_MD5, true },
		{ "MD5", DIGEST_MD5, false },
	};
	size_t close = stored.n > 0 && stored.p[0] == '{' ? span_find(stored, '}') : SIZE_MAX;
	if (close == SIZE_MAX)
		return plain_allowed ? compare_plain(stored, secret) : PASSWORD_UNUSABLE;
	struct span scheme = span_from(span_first(stored, close), 1);
	struct span text = span_from(stored, close + 1);
	for (size_t i = 0; i < COUNT_OF(digests); i++)
		if (span_ieq_str(scheme, digests[i].name))
			return compare_digest(digests[i].kind, digests[i].salted, text, secret);
	if (span_ieq_str(scheme, "CRYPT")) {
		*setting_out = text;
		return setting_is_bounded(text) ? PASSWORD_SLOW : PASSWORD_UNUSABLE;
	}
	if (span_ieq_str(scheme, "SCRAM-SHA-256")) {
		struct scram_keys keys;
		*setting_out = stored;
		return scram_keys_read(stored, &keys) && keys.rounds <= ROUNDS_MAX
			   ? PASSWORD_SLOW
			   : PASSWORD_UNUSABLE;
	}
	if (plain_allowed && (span_ieq_str(scheme, "PLAIN") || span_ieq_str(scheme, "CLEARTEXT")))
		return compare_plain(text, secret);
	return PASSWORD_UNUSABLE;
}
