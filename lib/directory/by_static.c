/* by_static.c - no directory at all: every user of the listed (or of any) domain lives on one store, which
 * checks the password. Owns nothing but the settings it was opened with. */
#include "base/check.h"
#include "base/mem.h"

#include "directory/backend.h"
#include "directory/name.h"
#include "directory/tables.h"

#define static_backend_MAGIC 0xd12e57a7u

struct static_backend {
	struct backend base; /* first */
	uint32_t magic;
	const struct directory_conf *conf;
};

/* `static_host` with %d replaced by the domain. */
static bool put_host(struct buf *out, const char *pattern, struct span domain)
{
	struct span rest = span_str(pattern);
	while (rest.n > 0) {
		size_t at = span_find_span(rest, SPAN("%d"));
		buf_add_span(out, span_first(rest, at));
		if (at == SIZE_MAX)
			break;
		buf_add_span(out, domain);
		rest = span_from(rest, at + 2);
	}
	return buf_ok(out) && buf_len(out) > 0;
}

/* A name with detail is nobody's: it is found without it. */
static enum answer look_user(
    const struct directory_conf *c, struct span key, struct record **record_out)
{
	struct buf host = BUF_INIT(DOMAIN_BYTES_MAX), name = BUF_INIT(DOMAIN_BYTES_MAX);
	struct span domain = name_domain(key);
	if (c->domains.n > 0 && !directory_conf_lists(c, domain))
		return ANSWER_ABSENT;
	if (span_find(name_local(key), '+') != SIZE_MAX)
		return ANSWER_ABSENT;
	if (put_host(&host, c->static_host, domain) && name_host_key(&name, buf_span(&host)))
		*record_out = record_static_user(key, buf_span(&name));
	buf_end(&host);
	buf_end(&name);
	return *record_out != NULL ? ANSWER_FOUND : ANSWER_ABSENT;
}

/* Without a list any name may log in, but no domain is known to be ours: nothing is relayed for it. */
static enum answer static_look(
    struct backend *b, enum record_kind kind, struct span key, struct record **record_out)
{
	const struct directory_conf *c = OBJ(static_backend, b)->conf;
	*record_out = NULL;
	if (kind == RECORD_USER)
		return look_user(c, key, record_out);
	if (kind == RECORD_DOMAIN && directory_conf_lists(c, key))
		*record_out = record_plain_domain();
	return *record_out != NULL ? ANSWER_FOUND : ANSWER_ABSENT;
}

static struct backend *static_open(const struct backend_env *env)
{
	struct static_backend *s = MEM_NEW(struct static_backend);
	s->base.ops = &backend_static;
	s->magic = static_backend_MAGIC;
	s->conf = env->conf;
	if (s->conf->static_host == NULL || s->conf->static_host[0] == '\0')
		directory_log(
		    SETTINGS_BAD, LOG_STR("what", "static_host"), LOG_STR("why", "missing"));
	return &s->base;
}

static void static_close(struct backend **b)
{
	struct static_backend *s = OBJ(static_backend, *b);
	*b = NULL;
	s->magic = 0;
	mem_free(s);
}

static bool static_healthy(const struct backend *b)
{
	const struct directory_conf *c = OBJ(static_backend, (void *)b)->conf;
	return c->static_host != NULL && c->static_host[0] != '\0';
}

const struct backend_ops backend_static = {
	.open = static_open,
	.close = static_close,
	.healthy = static_healthy,
	.look = static_look,
};
