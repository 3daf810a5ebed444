/* handover.c - messages between two workers at an upgrade; see handover.h. Owns the buffer of what came last. */
#include "mmp/handover.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

enum { HEAD_LEN = 8, FDS = 2, WORD_MAX = 2048 };

/* "PH", then the version, type and number. */
static const char mark[2] = { 'P', 'H' };
static char came[HEAD_LEN + HANDOVER_RECORD_MAX];
static size_t came_n;

/* ---- sending ---------------------------------------------------------------------------------- */

static void put_head(const struct handover_msg *msg, char head[HEAD_LEN])
{
	memcpy(head, mark, sizeof mark);
	head[2] = HANDOVER_VERSION;
	head[3] = (char)msg->type;
	memcpy(head + 4, &msg->seq, sizeof msg->seq); /* of one host */
}

union rights {
	char bytes[CMSG_SPACE(sizeof(int) * FDS)];
	struct cmsghdr align;
};

static void attach(struct msghdr *m, union rights *room, const int fds[FDS])
{
	m->msg_control = room->bytes;
	m->msg_controllen = sizeof room->bytes;
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * FDS);
	memcpy(CMSG_DATA(c), fds, sizeof(int) * FDS);
}

enum handover_io handover_send(int fd, const struct handover_msg *msg)
{
	char head[HEAD_LEN];
	union rights rights = { { 0 } };
	struct iovec iov[2] = { { head, sizeof head },
		{ (void *)(uintptr_t)msg->record.p, msg->record.n } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = msg->record.n > 0 ? 2 : 1 };
	if (msg->record.n > HANDOVER_RECORD_MAX)
		return HANDOVER_NEVER;
	put_head(msg, head);
	if (msg->type == HANDOVER_OFFER)
		attach(&m, &rights, msg->fds);
	if (sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return HANDOVER_DONE;
	if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS)
		return HANDOVER_LATER;
	/* ETOOMANYREFS: descriptors that are under way count against a limit. */
	return errno == EMSGSIZE || errno == ETOOMANYREFS ? HANDOVER_NEVER : HANDOVER_GONE;
}

/* ---- receiving -------------------------------------------------------------------------------- */

void handover_wipe(void)
{
	mem_wipe(came, came_n);
	came_n = 0;
}

void handover_close(const struct handover_msg *msg)
{
	for (size_t i = 0; i < FDS; i++)
		if (msg->fds[i] >= 0)
			close(msg->fds[i]);
}

static bool read_head(struct span in, struct handover_msg *out)
{
	if (in.n < HEAD_LEN || memcmp(in.p, mark, sizeof mark) != 0 || in.p[2] != HANDOVER_VERSION)
		return false;
	out->type = (enum handover_type)(unsigned char)in.p[3];
	memcpy(&out->seq, in.p + 4, sizeof out->seq);
	out->record = span_from(in, HEAD_LEN);
	return out->type >= HANDOVER_OFFER && out->type < HANDOVER_TYPES;
}

enum handover_io handover_recv(int fd, struct handover_msg *out)
{
	union rights rights;
	struct iovec iov = { came, sizeof came };
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = rights.bytes,
		.msg_controllen = sizeof rights.bytes };
	*out = (struct handover_msg){ .fds = { -1, -1 } };
	ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	/* Told once, of a process that died with words of ours unread: what it said before is there still. */
	if (n < 0 && errno == ECONNRESET)
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return HANDOVER_LATER;
	if (n <= 0)
		return HANDOVER_GONE;
	came_n = (size_t)n;
	size_t fds = fd_take_passed(&m, out->fds, FDS);
	bool whole = (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
	bool good = whole && read_head(span_of(came, (size_t)n), out) &&
		    fds == (out->type == HANDOVER_OFFER ? FDS : 0);
	if (good)
		return HANDOVER_DONE;
	handover_close(out);
	out->fds[0] = out->fds[1] = -1;
	return HANDOVER_GONE;
}

/* ---- the card --------------------------------------------------------------------------------- */

void session_card_put(struct buf *out, const struct session_card *c)
{
	bytes_put_ident(out, c->id);
	buf_add(out, c->client.addr.b, sizeof c->client.addr.b);
	bytes_put_u16(out, c->client.port);
	bytes_put_u64(out, c->since_us);
	bytes_put_u64(out, c->since_ms);
	bytes_put_u8(out, c->tls);
	bytes_put_u8(out, c->verified);
	bytes_put_string(out, c->protocol);
	bytes_put_string(out, c->listener);
	bytes_put_string(out, c->user);
	bytes_put_string(out, c->store);
}

static struct span get_word(struct bytes_reader *in)
{
	struct span word = bytes_string(in, WORD_MAX);
	in->bad = in->bad || word.n == 0 || span_find(word, '\0') != SIZE_MAX;
	return word;
}

bool session_card_get(struct bytes_reader *in, struct session_card *out)
{
	out->id = bytes_ident(in);
	struct span addr = bytes_raw(in, sizeof out->client.addr.b);
	if (bytes_ok(in))
		memcpy(out->client.addr.b, addr.p, addr.n);
	out->client.port = bytes_u16(in);
	out->since_us = bytes_u64(in);
	out->since_ms = bytes_u64(in);
	out->tls = bytes_u8(in) != 0;
	out->verified = bytes_u8(in) != 0;
	out->protocol = get_word(in);
	out->listener = get_word(in);
	out->user = get_word(in);
	out->store = get_word(in);
	return bytes_ok(in) && out->id.s[0] != '\0';
}
