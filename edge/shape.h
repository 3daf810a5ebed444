/* shape.h - what a group makes of a message before it goes to the members: a password that must have been given, header
 * fields that go, texts above and below (between steps 4 and 5; made by expand_group.c, asked by parts.c).
 *
 * The password stands in a field Approved (or X-Approved) of the message, as list servers have it. Fields of these names
 * are taken out of every copy of a message that has come to such a group, whoever gets it. Texts become part of a
 * message in one part, text/plain, where they can be said in its charset and encoding; else they are parts of their own
 * beside it in a new multipart/mixed. What is signed or encrypted as a whole (multipart/signed, multipart/encrypted, PKCS
 * #7) keeps its bytes: it gets no texts. */
#ifndef EDGE_SHAPE_H
#define EDGE_SHAPE_H

#include "directory/group.h"
#include "edge/smtp_out.h"

struct body;
struct shape;

/* What g does inside of outer (NULL: nothing), which is kept alive. NULL: nothing either. wants: its password must have been
 * given; refused: the text for those who have not, borrowed for the call. */
struct shape_opts {
	const struct group *group;
	struct shape *outer;
	bool wants;   /* the password must have been given ... */
	bool without; /* ... or must not: moderators get what has none */
	bool texts;   /* fields and texts; else the password only */
	const char *refused;
};
struct shape *shape_new(const struct shape_opts *o);
struct shape *shape_ref(struct shape *s);
void shape_unref(struct shape **s);

/* Is one of its groups one with a password? Then the message must not keep it. */
bool shape_has_secret(const struct shape *s);
/* Does it ask anything about the message? Others with the same answers are others all the same. */
bool shape_asks(const struct shape *s);
/* approvals: the fields that were taken out (shape_strip()). NULL: the message may go to the members. "": it is not for them, and nobody has to be told.
 * Else what its sender is told. */
const char *shape_refuses(const struct shape *s, struct span approvals);
/* Takes the passwords out: the fields into taken, what is left of the header section into kept, which is to stand in the
 * place of the first *bytes_out bytes. False: there was none. */
bool shape_strip(struct span start, struct buf *kept, struct buf *taken, size_t *bytes_out);

/* Does it change what members get? */
bool shape_changes(const struct shape *s);
/* The message as they get it, the caller's. NULL: it cannot be read or kept now. */
struct body *shape_body(
    const struct shape *s, const struct mail_source *from, uint64_t size_max, const char *temp_dir);

#endif
