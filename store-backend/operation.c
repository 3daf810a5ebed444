/* operation.c - step 3 of 6: what is a legal operation? Names of users, mailboxes and keywords.
 * The bytes on the wire: operation_codec.c; the way to the committer: operation_link.c. Owns nothing. */
#include "store-backend/operation.h"

#include "base/check.h"

static const char *const result_names[OPR_COUNT] = {
	[OPR_OK] = "ok",
	[OPR_SEEN] = "seen",
	[OPR_NO_USER] = "no-user",
	[OPR_NO_MAILBOX] = "no-mailbox",
	[OPR_NO_TARGET] = "no-target",
	[OPR_EXISTS] = "exists",
	[OPR_BAD_NAME] = "bad-name",
	[OPR_DENIED] = "denied",
	[OPR_OVER_QUOTA] = "over-quota",
	[OPR_TOO_MANY] = "too-many",
	[OPR_TOO_BIG] = "too-big",
	[OPR_NO_SPACE] = "no-space",
	[OPR_AWAY] = "away",
	[OPR_MENDING] = "mending",
	[OPR_LATER] = "later",
	[OPR_OVER_GRACE] = "over-grace",
};

const char *operation_result_name(enum operation_result r)
{
	CHECK(r < OPR_COUNT);
	return result_names[r];
}

const char *store_stay_name(enum store_stay s)
{
	static const char *const names[STAY_COUNT] = {
		[STAY_HERE] = "here",
		[STAY_LEAVING] = "leaving",
		[STAY_ARRIVING] = "arriving",
		[STAY_GONE] = "gone",
	};
	CHECK(s < STAY_COUNT);
	return names[s];
}

void operation_init(struct operation *op, enum operation_kind kind)
{
	*op = (struct operation){ .kind = kind, .unchanged_since = UINT64_MAX };
}

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

bool operation_name_ok(struct span name)
{
	if (name.n == 0 || name.n > STORE_MAILBOX_NAME_MAX || !span_is_utf8(name))
		return false;
	for (size_t i = 0; i < name.n; i++) {
		if (is_control(name.p[i]) || name.p[i] == '*' || name.p[i] == '%')
			return false;
	}
	struct span rest = name;
	size_t depth = 0;
	while (rest.p != NULL) {
		struct span level = span_cut(&rest, '/');
		if (level.n == 0 || ++depth > STORE_MAILBOX_DEPTH_MAX)
			return false;
		if (depth == 1 && span_ieq_str(level, "INBOX") && !span_eq_str(level, "INBOX"))
			return false;
	}
	return true;
}

bool operation_user_ok(struct span user)
{
	size_t at = span_rfind(user, '@');
	if (user.n > STORE_USER_MAX || at == SIZE_MAX || at == 0 || at + 1 == user.n ||
	    !span_is_utf8(user))
		return false;
	for (size_t i = 0; i < user.n; i++) {
		char c = user.p[i];
		if (is_control(c) || c == ' ' || c == '/' || (c >= 'A' && c <= 'Z'))
			return false;
	}
	return true;
}

bool operation_entry_ok(struct span name)
{
	bool own = name.n > 1 && name.p[0] == '!';
	if (name.n > STORE_ENTRY_NAME_MAX || name.n == 0 || name.p[name.n - 1] == '/')
		return false;
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];
		if (c < 0x20 || c >= 0x7f || c == '*' || c == '%' || (c >= 'A' && c <= 'Z') ||
		    (c == '/' && i > 0 && name.p[i - 1] == '/'))
			return false;
	}
	return own || span_starts(name, SPAN("/private/")) || span_starts(name, SPAN("/shared/"));
}

bool operation_keyword_ok(struct span word)
{
	if (word.n == 0 || word.n > STORE_KEYWORD_LEN_MAX)
		return false;
	for (size_t i = 0; i < word.n; i++) {
		unsigned char c = (unsigned char)word.p[i];
		if (c <= 0x20 || c >= 0x7f || span_find(SPAN("(){%*\"\\]"), (char)c) != SIZE_MAX)
			return false;
	}
	return true;
}
