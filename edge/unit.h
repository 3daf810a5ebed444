/* unit.h - several messages as one: what the parts of a mail (parts.h) are in the spool until the queue has made messages of
 * them (unpack.c). One MESSAGE record stands for all of them, so the spool has every part or none.
 *
 * The unit is a message whose recipients are its parts, in order: "part-1@unpack.invalid", with how many recipients the part
 * has as detail, and the channel that takes it apart as store. What became of a part is thereby the progress of a recipient.
 * Its bytes, numbers little-endian:
 *
 *	version (1 byte), how many parts (2), then of each part (32 bytes)
 *		where its head is (8), how long that is (4), and the fields behind it (4)
 *		where its body is (8), and how long (8)
 *	heads, each as spool_message_put() writes it, and behind each the header fields that go in front of the part's body
 *	bodies, each once, whoever has it
 *
 * What is read was once written by us, but disks lie: every place is checked against the unit's size. */
#ifndef EDGE_UNIT_H
#define EDGE_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/ident.h"
#include "edge/channel.h"
#include "edge/smtp_out.h"
#include "edge/spool_record.h"

enum {
	UNIT_PARTS_MAX = 1000,
	UNIT_START_BYTES = 3,
	UNIT_PART_BYTES = 32,
	UNIT_FIELDS_MAX = 16 * 1024, /* in front of a part's body */
	UNIT_HEAD_MAX = SPOOL_RECORD_MAX + UNIT_FIELDS_MAX
};

/* The store of a part in the record of its unit. */
#define UNIT_CHANNEL "unpack"
#define UNIT_PLACE CHANNEL_PLACE UNIT_CHANNEL

struct unit_part {
	uint64_t head_at, body_at, body_bytes;
	uint32_t head_bytes, fields_bytes;
};

/* The index: once the start, then every part; n at most UNIT_PARTS_MAX. */
void unit_put_start(struct buf *out, size_t n);
void unit_put_part(struct buf *out, const struct unit_part *p);

/* Part `which` of the unit whose bytes these are. ERR_CORRUPT: there is none, or it is not where it should be; else what
 * the source says. */
err_t unit_find(const struct mail_source *unit, size_t which, struct unit_part *out);
/* The part's head and fields, into head (of UNIT_HEAD_MAX), which is cleared first; the head as a message, whose spans
 * point there: spool_message_end() in every case. Its body_bytes are the fields' and the body's. ERR_CORRUPT: it is no
 * message, or has the id of the unit itself. */
err_t unit_load(const struct mail_source *unit, const struct unit_part *p, struct ident unit_id,
    struct buf *head, struct spool_message *out);

/* The id of a part: the same for the same mail, and another one for each. */
struct ident unit_part_id(struct ident unit, size_t which);

/* A part as a recipient of its unit; label lives as long as out. */
struct unit_label {
	char address[40], detail[12], text[40];
};
void unit_recipient(
    size_t which, size_t recipients, struct unit_label *label, struct spool_recipient *out);
/* For how many recipients there has to be room in the queue: those of all parts when m is a unit. */
size_t unit_recipients(const struct spool_message *m);

#endif
