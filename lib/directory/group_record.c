/* group_record.c - records of mail groups, and of the addresses behind LDAP URLs. Owns nothing. */
#include "directory/name.h"
#include "directory/record_draft.h"

static void put_names(struct draft *d, const struct directory_conf *c, const struct entry *e)
{
	struct span mail = entry_get(e, c->attr_mail, 0), errors;
	struct group *g = &d->r.group;
	if (!name_is_clean(entry_dn(e), RECORD_TEXT_MAX / 4))
		draft_fail(d, "dn is not usable");
	if (!record_is_address(mail))
		draft_fail(d, "mail of a group is not an address");
	draft_text(d, &g->id, entry_dn(e));
	draft_text(d, &g->address, mail);
	draft_text(d, &g->domain, name_domain(mail));
	errors = entry_get(e, c->attr_group_errors, 0);
	if (span_istarts(errors, SPAN("mailto:")))
		errors = span_from(errors, 7);
	if (errors.p != NULL && !record_is_address(errors))
		draft_fail(d, "mgrpErrorsTo is not an address");
	if (errors.p != NULL)
		draft_text(d, &g->errors_to, errors);
}

static void put_posting(struct draft *d, const struct directory_conf *c, const struct entry *e)
{
	struct group *g = &d->r.group;
	struct span text = entry_get(e, c->attr_group_reject_text, 0);
	draft_list(d, &g->allowed, e, c->attr_group_allowed);
	draft_list(d, &g->disallowed, e, c->attr_group_disallowed);
	draft_list(d, &g->allowed_domains, e, c->attr_group_allowed_domain);
	draft_list(d, &g->disallowed_domains, e, c->attr_group_disallowed_domain);
	draft_list(d, &g->moderators, e, c->attr_group_moderator);
	g->reject_to_moderator =
	    span_ieq(entry_get(e, c->attr_group_reject_action, 0), SPAN("toModerator"));
	if (text.p == NULL)
		return;
	if (!name_is_clean(text, RECORD_TEXT_MAX / 4))
		draft_fail(d, "mgrpMsgRejectText is not one line of text");
	draft_text(d, &g->reject_text, text);
}

static bool has_word(struct span text, const char *word)
{
	struct span w = span_str(word);
	for (size_t i = 0; i + w.n <= text.n; i++)
		if (span_ieq(span_first(span_from(text, i), w.n), w))
			return true;
	return false;
}

/* "SMTP_AUTH_REQUIRED", "PASSWORD_REQUIRED", with AND or OR; "NO_REQUIREMENTS". What is none of these is a
 * requirement that nobody can meet: a word with a slip in it must not open a group. */
static void put_policy(struct draft *d, const struct directory_conf *c, const struct entry *e)
{
	struct group *g = &d->r.group;
	struct span word;
	size_t at = 0;
	while ((word = entry_next(e, c->attr_group_policy, &at)).p != NULL) {
		bool auth = has_word(word, "AUTH_REQ"),
		     password = has_word(word, "PASSWORD_REQ") || has_word(word, "PASSWD_REQ");
		g->wants_auth = g->wants_auth || auth;
		g->wants_password =
		    g->wants_password || password ||
		    (!auth && !has_word(word, "NO_REQ") && !span_ieq(word, SPAN("OR")) &&
			!span_ieq(word, SPAN("AND")));
		g->any_of_both = g->any_of_both || span_ieq(word, SPAN("OR")) ||
				 has_word(word, " OR ") || has_word(word, "_OR_");
	}
}

static void put_size(struct draft *d, const struct directory_conf *c, const struct entry *e)
{
	struct span text = entry_get(e, c->attr_group_size_max, 0);
	d->r.group.size_max = UINT64_MAX;
	if (text.p != NULL && !span_u64(text, UINT64_MAX / 2, &d->r.group.size_max))
		draft_fail(d, "mgrpMsgMaxSize is not a number of bytes");
}

/* "Name: value" (RFC 5322 section 2.2), in ASCII. */
static bool is_field(struct span text)
{
	size_t colon = span_find(text, ':');
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < ' ' || text.p[i] > '~' || (i < colon && text.p[i] == ' '))
			return false;
	return colon != SIZE_MAX && colon > 0 && span_trim(span_from(text, colon + 1)).n > 0;
}

static void put_fields(struct draft *d, const struct directory_conf *c, const struct entry *e)
{
	struct span text;
	size_t at = 0, all = 0;
	while (c->attr_group_add_header != NULL &&
	       (text = entry_next(e, c->attr_group_add_header, &at)).p != NULL) {
		all += text.n + 2;
		if (!is_field(span_trim(text)))
			draft_fail(d, "mgrpAddHeader is not a header field, NAME: VALUE");
	}
	if (all > GROUP_FIELDS_MAX)
		draft_fail(d, "mgrpAddHeader: more than 800 bytes");
	draft_list(d, &d->r.group.fields, e, c->attr_group_add_header);
}

/* Lines of UTF-8. */
static bool is_lines(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool line_end = c == '\n' || (c == '\r' && i + 1 < s.n && s.p[i + 1] == '\n');
		if ((c < ' ' && !line_end && c != '\t') || c == 0x7f)
			return false;
	}
	return s.n <= GROUP_TEXT_MAX && span_is_utf8(s);
}

static void put_text(
    struct draft *d, const char **member, const struct entry *e, const char *attr, const char *why)
{
	struct span text = entry_get(e, attr, 0);
	if (text.p == NULL || text.n == 0)
		return;
	if (!is_lines(text))
		draft_fail(d, why);
	draft_text(d, member, text);
}

/* What members get is not what came, and a password is wanted of it. A group that has one wants it, whatever its policy
 * says. */
static void put_shape(struct draft *d, const struct directory_conf *c, const struct entry *e)
{
	struct group *g = &d->r.group;
	struct span password = entry_get(e, c->attr_group_password, 0);
	draft_list(d, &g->removed, e, c->attr_group_remove_header);
	put_text(d, &g->above, e, c->attr_group_prefix,
	    "mgrpMsgPrefixText: not text, or more than 4000 bytes");
	put_text(d, &g->below, e, c->attr_group_suffix,
	    "mgrpMsgSuffixText: not text, or more than 4000 bytes");
	if (password.p == NULL)
		return;
	if (!name_is_clean(password, GROUP_PASSWORD_MAX) || span_trim(password).n != password.n)
		draft_fail(d, "mgrpAuthPassword cannot stand in a header field");
	draft_text(d, &g->password, password);
	g->wants_password = true;
}

struct record *record_from_group(
    const struct directory_conf *c, const struct entry *e, const char **why_out)
{
	struct draft d;
	draft_init(&d, RECORD_GROUP, RECORD_LONG_TEXT_MAX);
	struct group *g = &d.r.group;
	put_names(&d, c, e);
	g->status = record_status_of(e, c->attr_group_status, c->attr_group_mail_status);
	g->delivery = record_delivery(e, c->attr_delivery, ACCOUNT_TO_MAILBOX);
	if (span_ieq(entry_get(e, c->attr_defer, 0), SPAN("yes")))
		g->delivery |= ACCOUNT_TO_LATER;
	draft_list(&d, &g->members, e, c->attr_group_member);
	draft_list(&d, &g->entries, e, c->attr_group_entry);
	draft_list(&d, &g->searches, e, c->attr_group_search);
	draft_list(&d, &g->left_out, e, c->attr_group_exception);
	draft_list(&d, &g->forwards, e, c->attr_forward);
	put_posting(&d, c, e);
	put_policy(&d, c, e);
	put_size(&d, c, e);
	put_fields(&d, c, e);
	put_shape(&d, c, e);
	return draft_finish(&d, why_out);
}

struct record *record_from_any(
    const struct directory_conf *c, const struct entry *e, const char **why_out)
{
	*why_out = NULL;
	if (record_is_kind(c, e, RECORD_USER))
		return record_from_user(c, e, why_out);
	if (record_is_kind(c, e, RECORD_GROUP))
		return record_from_group(c, e, why_out);
	return NULL;
}

struct record *record_from_entry(enum record_kind kind, const struct directory_conf *c,
    const struct entry *e, const char **why_out)
{
	static struct record *(*const make[RECORD_KINDS])(
	    const struct directory_conf *, const struct entry *, const char **) = {
		[RECORD_USER] = record_from_user,
		[RECORD_DOMAIN] = record_from_domain,
		[RECORD_STORE] = record_from_store,
		[RECORD_GROUP] = record_from_group,
		[RECORD_DN] = record_from_any,
	};
	return make[kind](c, e, why_out);
}

struct record *record_from_list(struct span texts, size_t n)
{
	struct draft d;
	const char *why;
	draft_init(&d, RECORD_LIST, RECORD_LONG_TEXT_MAX);
	draft_text(&d, &d.r.list.p, texts);
	d.r.list.n = n;
	return draft_finish(&d, &why);
}
