/* mend.c - the steps of OP_MEND as bytes; see mend.h. Before: tool_mend.c, which asks; after: index_mend.c, which carries
 * them out. Owns nothing. */
#include "store-backend/mend.h"

#include "store-backend/message_type.h"
#include "store-backend/operation_wire.h"

bool mend_put(const struct mend *m, struct buf *out)
{
	wire_put_u8(out, (uint8_t)m->kind);
	wire_put_u32(out, m->uid);
	wire_put_u32(out, m->flags);
	wire_put_u64(out, m->keywords);
	wire_put_u64(out, m->modseq);
	wire_put_u64(out, m->size);
	wire_put_u64(out, (uint64_t)m->date_s);
	wire_put_u64(out, (uint64_t)m->saved_s);
	wire_put_u32(out, (uint32_t)(int32_t)m->date_zone);
	wire_put_u8(out, (uint8_t)m->type);
	wire_put_u64(out, m->blob);
	wire_put_u64(out, m->refs);
	wire_put_u64(out, m->seen);
	wire_put_u32(out, m->unseen);
	wire_put_u32(out, m->deleted);
	return wire_put_u32(out, m->vanished);
}

/* Numbers that no store can have. */
static bool sound(const struct mend *m, int32_t zone)
{
	if (m->kind == 0 || m->kind >= MEND_KIND_COUNT || zone <= -24 * 60 || zone >= 24 * 60 ||
	    m->type >= TYPE_COUNT || (m->flags & ~(uint32_t)STORE_FLAGS_ALL) != 0)
		return false;
	if (m->kind == MEND_HOLD)
		return m->size > 0 && m->size <= MEND_HOLD_MAX_S;
	if (m->kind == MEND_BLOB)
		return m->blob != 0;
	if (m->kind == MEND_PUT)
		return m->uid > 0 && m->uid < UINT32_MAX && m->blob != 0;
	if (m->kind == MEND_MARK)
		return m->uid > 0 && m->modseq > 0;
	return m->kind != MEND_LOST || m->uid > 0;
}

bool mend_take(struct span *rest, struct mend *out)
{
	struct wire_in w = { .rest = *rest };
	*out = (struct mend){ 0 };
	out->kind = (enum mend_kind)wire_get_u8(&w);
	out->uid = wire_get_u32(&w);
	out->flags = wire_get_u32(&w);
	out->keywords = wire_get_u64(&w);
	out->modseq = wire_get_u64(&w);
	out->size = wire_get_u64(&w);
	out->date_s = (int64_t)wire_get_u64(&w);
	out->saved_s = (int64_t)wire_get_u64(&w);
	int32_t zone = (int32_t)wire_get_u32(&w);
	out->type = wire_get_u8(&w);
	out->blob = wire_get_u64(&w);
	out->refs = wire_get_u64(&w);
	out->seen = wire_get_u64(&w);
	out->unseen = wire_get_u32(&w);
	out->deleted = wire_get_u32(&w);
	out->vanished = wire_get_u32(&w);
	*rest = w.rest;
	if (w.bad || !sound(out, zone))
		return false;
	out->date_zone = (int16_t)zone;
	return true;
}

bool mends_sound(struct span all)
{
	struct mend m;
	size_t n = all.n / MEND_BYTES;
	if (n == 0 || n > MENDS_MAX || all.n % MEND_BYTES != 0)
		return false;
	while (all.n > 0)
		if (!mend_take(&all, &m))
			return false;
	return true;
}
