/* run_user.c - see run_user.h. Owns nothing but what the struct holds. */
#include "edge/run_user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { GROUPS_MAX = 256, ROOM = 64 * 1024 };

/* ---- names -------------------------------------------------------------------------------------- */

/* "name+detail@domain" without the detail, kept in room. */
static struct span without_detail(struct run_user *u, struct span address, struct span detail)
{
	size_t at = span_rfind(address, '@');
	struct span domain = at == SIZE_MAX ? SPAN_NONE : span_from(address, at);
	struct span local = at == SIZE_MAX ? address : span_first(address, at);
	size_t n = local.n - (detail.n > 0 ? detail.n + 1 : 0);
	char *p = u->room + u->room_n;
	memcpy(p, local.p, n);
	if (domain.n > 0)
		memcpy(p + n, domain.p, domain.n);
	u->room_n += n + domain.n;
	return span_of(p, n + domain.n);
}

static struct span detail_of(struct span address)
{
	size_t at = span_rfind(address, '@'), plus = span_find(address, '+');
	if (plus == SIZE_MAX || plus == 0 || (at != SIZE_MAX && plus > at))
		return SPAN_NONE;
	return span_from(span_first(address, at == SIZE_MAX ? address.n : at), plus + 1);
}

static struct span clean_sender(struct run_user *u, struct span sender)
{
	struct buf b = BUF_INIT(RUN_STRING_MAX);
	template_put_plain(&b, sender);
	char *p = u->room + u->room_n;
	memcpy(p, buf_span(&b).p, buf_len(&b));
	if (buf_len(&b) > 0 && p[0] == '-')
		p[0] = '_';
	struct span s = span_of(p, buf_len(&b));
	u->room_n += s.n;
	buf_end(&b);
	return s;
}

static void put_names(struct run_user *u, const struct run_ask *a)
{
	struct span *v = u->names.v;
	size_t at = span_rfind(a->address, '@');
	struct span detail = detail_of(a->address);
	v[TEMPLATE_ADDRESS] = a->address;
	v[TEMPLATE_DOMAIN] = at == SIZE_MAX ? SPAN_NONE : span_from(a->address, at + 1);
	v[TEMPLATE_USER] = a->user.n > 0 ? a->user : without_detail(u, a->address, detail);
	size_t end = span_rfind(v[TEMPLATE_USER], '@');
	v[TEMPLATE_LOCAL] = span_first(v[TEMPLATE_USER], end == SIZE_MAX ? RUN_STRING_MAX : end);
	v[TEMPLATE_DETAIL] = a->user.n > 0 ? a->detail : detail;
	v[TEMPLATE_SENDER] = clean_sender(u, a->sender);
	v[TEMPLATE_ID] = span_str(a->id.s);
}

/* ---- the user ----------------------------------------------------------------------------------- */

static bool put_login(struct run_user *u, const struct edge_channel_conf *c)
{
	struct buf b = BUF_INIT(RUN_STRING_MAX);
	bool ok = template_put(&b, c->user != NULL ? c->user : "{local}", &u->names, TEMPLATE_PATH);
	snprintf(u->name, sizeof u->name, "%s", ok ? buf_cstr(&b) : "");
	buf_end(&b);
	return ok && u->name[0] != '\0';
}

const char *run_user_find(
    struct run_user *u, const struct run_ask *a, const struct edge_channel_conf *c, int *status_out)
{
	bool fixed = c->user != NULL && strchr(c->user, '{') == NULL;
	put_names(u, a);
	*status_out = EX_NOUSER;
	if (!put_login(u, c))
		return "5.1.1 this address can be no user's of this host";
	errno = 0;
	const struct passwd *pw = getpwnam(u->name);
	*status_out = EX_TEMPFAIL;
	if (pw == NULL && (fixed || (errno != 0 && errno != ENOENT && errno != ESRCH)))
		return "4.3.5 the channel's user cannot be found on this host";
	*status_out = EX_NOUSER;
	if (pw == NULL)
		return "5.1.1 there is no such user on this host";
	if (pw->pw_uid == 0 || (!fixed && pw->pw_uid < (uint64_t)c->uid_min))
		return "5.1.1 this user of the host gets no mail this way";
	u->uid = pw->pw_uid;
	u->gid = pw->pw_gid;
	snprintf(u->home, sizeof u->home, "%s", pw->pw_dir);
	u->names.v[TEMPLATE_HOME] = span_str(u->home);
	*status_out = EX_OK;
	return NULL;
}

static bool set_groups(const struct run_user *u, const struct edge_channel_conf *c)
{
	gid_t groups[GROUPS_MAX + 1];
	int n = GROUPS_MAX;
	if (getgrouplist(u->name, u->gid, groups, &n) < 0)
		n = 0;
	if (c->group != NULL) {
		char room[ROOM];
		struct group g, *found = NULL;
		if (getgrnam_r(c->group, &g, room, sizeof room, &found) != 0 || found == NULL)
			return false;
		groups[n++] = g.gr_gid;
	}
	return setgroups((size_t)n, groups) == 0;
}

const char *run_user_become(const struct run_user *u, const struct edge_channel_conf *c)
{
	if (geteuid() != 0)
		return u->uid == geteuid() && chdir("/") == 0
			   ? NULL
			   : "4.3.5 the edge was not started as root and can become nobody else";
	if (!set_groups(u, c))
		return "4.3.5 the groups of the user cannot be taken";
	if (setresgid(u->gid, u->gid, u->gid) != 0 || setresuid(u->uid, u->uid, u->uid) != 0 ||
	    setuid(0) == 0 || chdir("/") != 0)
		return "4.3.5 the user's rights cannot be taken";
	return NULL;
}
