/* milter.c - what libmilter calls for each SMTP session (the only home of libmilter).
 *
 * Each callback makes a request of the policy protocol, waits for the answer and says it to the mail server. A refusal
 * at connect is kept until the client names itself or a sender: before, libmilter takes no text. Owns:
 * struct session, one an SMTP session, libmilter's private data. */
#include "metermaid/service/milter.h"

#include <errno.h>
#include <libmilter/mfapi.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/ip.h"
#include "base/mem.h"
#include "proto/policy_action.h"

#include "metermaid/service/milter_ask.h"
#include "metermaid/service/question.h"

enum {
	TEXT_MAX = 320, /* of a sender and a user that are kept */
	HELO_KEPT = 256,
	ACTION_MAX = 512,
	SOCKET_MODE = 0666, /* guarded by its folder, as all unix sockets here */
};

static struct milter_shared *shared; /* libmilter gives callbacks no argument of ours */

struct session {
	struct milter_asker asker;
	char client[IP_TEXT_SIZE], helo[HELO_KEPT], sender[TEXT_MAX], user[TEXT_MAX];
	uint64_t recipients, bytes; /* of the mail that is under way */
	bool crowded;               /* more sessions than sessions_max */
	struct buf refusal;         /* at connect; empty: none */
	struct buf session_tags, tags;
	struct buf action; /* what was answered last */
};

/* ---- answers ---------------------------------------------------------------------------------- */

/* "450 4.7.1 text" */
static sfsistat say(SMFICTX *ctx, struct span action)
{
	char code[4], enhanced[12], text[ACTION_MAX];
	struct span rest = action, first = span_cut(&rest, ' '), second = span_cut(&rest, ' ');
	snprintf(code, sizeof code, "%.*s", SPAN_ARG(first));
	snprintf(enhanced, sizeof enhanced, "%.*s", SPAN_ARG(second));
	size_t n = 0;
	for (size_t i = 0; i < rest.n && n + 2 < sizeof text; i++) {
		if (rest.p[i] == '%') /* libmilter's text is a format */
			text[n++] = '%';
		text[n++] = rest.p[i];
	}
	text[n] = '\0';
	smfi_setreply(ctx, code, enhanced, text);
	return code[0] == '4' ? SMFIS_TEMPFAIL : SMFIS_REJECT;
}

static sfsistat lost(void)
{
	atomic_fetch_add(&shared->unasked, 1);
	atomic_store(&shared->losing, true);
	return atomic_load(&shared->open_on_loss) ? SMFIS_CONTINUE : SMFIS_TEMPFAIL;
}

static bool is_refusal(struct span action)
{
	return action.n > 4 && (action.p[0] == '4' || action.p[0] == '5') && action.p[3] == ' ';
}

static void keep_tags(struct buf *tags, struct span action)
{
	struct span rest = action;
	if (!span_starts(action, SPAN("PREPEND ")))
		return;
	span_cut(&rest, ':');
	meter_add_tags(tags, rest);
}

/* ---- questions -------------------------------------------------------------------------------- */

static void put_request(const struct session *s, const char *state, struct buf *out)
{
	char number[24];
	policy_attr_put(out, "request", SPAN("smtpd_access_policy"));
	policy_attr_put(out, "protocol_state", span_str(state));
	policy_attr_put(out, "client_address", span_str(s->client));
	policy_attr_put(out, "helo_name", span_str(s->helo));
	policy_attr_put(out, "sender", span_str(s->sender));
	policy_attr_put(out, "sasl_username", span_str(s->user));
	snprintf(number, sizeof number, "%llu", (unsigned long long)s->recipients);
	policy_attr_put(out, "recipient_count", span_str(number));
	snprintf(number, sizeof number, "%llu", (unsigned long long)s->bytes);
	policy_attr_put(out, "size", span_str(number));
}

/* True: the answer is in s->action. */
static bool ask(SMFICTX *ctx, struct session *s, const char *state, const char *recipient)
{
	struct buf request = BUF_INIT(POLICY_REQUEST_MAX);
	if (s->crowded)
		return false;
	put_request(s, state, &request);
	policy_attr_put(&request, "recipient", span_str(recipient));
	policy_attr_put(&request, "queue_id", span_str(smfi_getsymval(ctx, "i")));
	policy_attr_end(&request);
	s->asker.wait_ms = atomic_load(&shared->wait_ms);
	bool got = milter_ask(&s->asker, buf_span(&request), &s->action);
	buf_end(&request);
	if (got)
		atomic_store(&shared->losing, false);
	return got;
}

/* "<a@b>" without its brackets; false: it does not fit. */
static bool take_path(const char *path, char out[TEXT_MAX])
{
	struct span p = span_str(path);
	if (p.n >= 2 && p.p[0] == '<' && p.p[p.n - 1] == '>')
		p = span_first(span_from(p, 1), p.n - 2);
	if (p.n >= TEXT_MAX)
		return false;
	memcpy(out, p.p, p.n);
	out[p.n] = '\0';
	return true;
}

/* ---- libmilter's callbacks -------------------------------------------------------------------- */

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *addr)
{
	struct session *s = MEM_NEW(struct session);
	s->asker = (struct milter_asker){ .path = shared->path, .fd = -1 };
	s->refusal = s->action = BUF_INIT(ACTION_MAX);
	s->session_tags = s->tags = BUF_INIT(METER_TAGS_MAX);
	s->crowded = atomic_fetch_add(&shared->sessions, 1) >= atomic_load(&shared->sessions_max);
	smfi_setpriv(ctx, s);
	if (addr != NULL && (addr->sa_family == AF_INET || addr->sa_family == AF_INET6))
		ip_text(ip_from_sockaddr(addr).addr, s->client);
	if (!ask(ctx, s, "CONNECT", NULL))
		return lost();
	keep_tags(&s->session_tags, buf_span(&s->action));
	if (is_refusal(buf_span(&s->action)))
		buf_add_span(&s->refusal, buf_span(&s->action));
	return SMFIS_CONTINUE;
}

static sfsistat on_helo(SMFICTX *ctx, char *name)
{
	struct session *s = smfi_getpriv(ctx);
	if (s == NULL)
		return lost();
	snprintf(s->helo, sizeof s->helo, "%s", name != NULL ? name : "");
	return buf_len(&s->refusal) > 0 ? say(ctx, buf_span(&s->refusal)) : SMFIS_CONTINUE;
}

static sfsistat on_sender(SMFICTX *ctx, char **words)
{
	struct session *s = smfi_getpriv(ctx);
	const char *user = smfi_getsymval(ctx, "{auth_authen}");
	if (s == NULL)
		return lost();
	s->recipients = s->bytes = 0;
	buf_clear(&s->tags);
	snprintf(s->user, sizeof s->user, "%s", user != NULL ? user : "");
	if (buf_len(&s->refusal) > 0)
		return say(ctx, buf_span(&s->refusal));
	if (!take_path(words[0], s->sender))
		return say(ctx, SPAN("550 5.1.7 the sender's address is too long"));
	if (!ask(ctx, s, "MAIL", NULL))
		return lost();
	keep_tags(&s->tags, buf_span(&s->action));
	return is_refusal(buf_span(&s->action)) ? say(ctx, buf_span(&s->action)) : SMFIS_CONTINUE;
}

static sfsistat on_recipient(SMFICTX *ctx, char **words)
{
	struct session *s = smfi_getpriv(ctx);
	char to[TEXT_MAX];
	if (s == NULL)
		return lost();
	if (!take_path(words[0], to))
		return say(ctx, SPAN("550 5.1.3 the recipient's address is too long"));
	if (!ask(ctx, s, "RCPT", to))
		return lost();
	keep_tags(&s->tags, buf_span(&s->action));
	if (is_refusal(buf_span(&s->action)))
		return say(ctx, buf_span(&s->action));
	s->recipients++;
	return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	struct session *s = smfi_getpriv(ctx);
	if (s != NULL) /* with ": " or ":" and CRLF: as good as can be told */
		s->bytes += strlen(name) + strlen(value) + 4;
	return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *bytes, size_t n)
{
	struct session *s = smfi_getpriv(ctx);
	if (s != NULL)
		s->bytes += n;
	return SMFIS_CONTINUE;
}

static void put_header(SMFICTX *ctx, struct session *s)
{
	meter_add_tags(&s->tags, buf_span(&s->session_tags));
	if (buf_len(&s->tags) > 0)
		smfi_insheader(ctx, 0, (char *)(uintptr_t)meter_tag_field,
		    (char *)(uintptr_t)buf_cstr(&s->tags));
}

static sfsistat on_message(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);
	if (s == NULL || !ask(ctx, s, "END-OF-MESSAGE", NULL))
		return lost();
	keep_tags(&s->tags, buf_span(&s->action));
	if (is_refusal(buf_span(&s->action)))
		return say(ctx, buf_span(&s->action));
	put_header(ctx, s);
	return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);
	if (s == NULL) /* also called for connections that said nothing */
		return SMFIS_CONTINUE;
	smfi_setpriv(ctx, NULL);
	milter_ask_end(&s->asker);
	buf_end(&s->refusal);
	buf_end(&s->session_tags);
	buf_end(&s->tags);
	buf_end(&s->action);
	mem_free(s);
	atomic_fetch_sub(&shared->sessions, 1);
	return SMFIS_CONTINUE;
}

/* Steps that we do not look at are not sent to us, as far as the mail server can leave them out. */
static sfsistat on_negotiate(SMFICTX *ctx, unsigned long can_do, unsigned long can_skip,
    unsigned long f2, unsigned long f3, unsigned long *do_out, unsigned long *skip_out,
    unsigned long *f2_out, unsigned long *f3_out)
{
	unsigned long skip = SMFIP_NOUNKNOWN | SMFIP_NODATA | SMFIP_NOEOH;
	if (!atomic_load(&shared->wants_bytes))
		skip |= SMFIP_NOBODY | SMFIP_NOHDRS;
	*do_out = SMFIF_ADDHDRS & can_do;
	*skip_out = skip & can_skip;
	*f2_out = *f3_out = 0;
	return SMFIS_CONTINUE;
}

/* ---- begin and end ---------------------------------------------------------------------------- */

static void *run(void *arg)
{
	smfi_main();
	atomic_store(&shared->ended, true);
	return NULL;
}

static const struct smfiDesc callbacks = {
	.xxfi_name = (char *)(uintptr_t) "postern-meter",
	.xxfi_version = SMFI_VERSION,
	.xxfi_flags = SMFIF_ADDHDRS,
	.xxfi_connect = on_connect,
	.xxfi_helo = on_helo,
	.xxfi_envfrom = on_sender,
	.xxfi_envrcpt = on_recipient,
	.xxfi_header = on_header,
	.xxfi_body = on_body,
	.xxfi_eom = on_message,
	.xxfi_close = on_close,
	.xxfi_negotiate = on_negotiate,
};

bool milter_begin(struct milter_shared *its, const char *address, struct buf *why)
{
	pthread_t thread;
	mode_t old = umask((mode_t)(0777 & ~SOCKET_MODE));
	shared = its;
	errno = 0;
	bool ok = smfi_setconn((char *)(uintptr_t)address) == MI_SUCCESS &&
		  smfi_register(callbacks) == MI_SUCCESS && smfi_opensocket(true) == MI_SUCCESS;
	umask(old);
	ok = ok && pthread_create(&thread, NULL, run, NULL) == 0;
	if (!ok)
		buf_printf(
		    why, "%s", errno != 0 ? strerror(errno) : "libmilter refuses the address");
	else
		pthread_detach(thread);
	return ok;
}

static void *stop(void *arg)
{
	smfi_stop();
	return NULL;
}

/* In a thread: smfi_stop() waits until libmilter's listener looks up, which it does every 5 seconds. */
void milter_stop(void)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, stop, NULL) == 0)
		pthread_detach(thread);
}
