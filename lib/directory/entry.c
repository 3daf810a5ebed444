/* entry.c - an entry's bytes in one bounded buffer, its values as offsets into it. */
#include "directory/entry.h"

#include "base/mem.h"

void entry_init(struct entry *e)
{
	*e = (struct entry){ .text = BUF_INIT(ENTRY_BYTES_MAX) };
}

void entry_end(struct entry *e)
{
	buf_wipe_end(&e->text);
	MEM_FREE(&e->v);
	e->n = e->cap = e->dn_n = 0;
}

bool entry_start(struct entry *e, struct span dn)
{
	buf_clear(&e->text);
	e->n = 0;
	e->line = 0;
	e->dn_n = dn.n;
	return buf_add_span(&e->text, dn);
}

bool entry_add(struct entry *e, struct span name, struct span value)
{
	struct entry_value at;
	if (e->n == ENTRY_VALUES_MAX)
		return false;
	name = span_first(name, span_find(name, ';'));
	at.name_at = buf_len(&e->text);
	at.name_n = name.n;
	at.value_at = at.name_at + name.n;
	at.value_n = value.n;
	if (!buf_add_span(&e->text, name) || !buf_add_span(&e->text, value))
		return false;
	if (e->n == e->cap) {
		e->cap = e->cap == 0 ? 16 : e->cap * 2;
		e->v = mem_grow(e->v, e->cap, sizeof e->v[0]);
	}
	e->v[e->n++] = at;
	return true;
}

static struct span part(const struct entry *e, size_t at, size_t n)
{
	return span_first(span_from(buf_span(&e->text), at), n);
}

struct span entry_dn(const struct entry *e)
{
	return part(e, 0, e->dn_n);
}

struct span entry_get(const struct entry *e, const char *name, size_t nth)
{
	for (size_t i = 0; i < e->n; i++) {
		const struct entry_value *v = &e->v[i];
		if (span_ieq_str(part(e, v->name_at, v->name_n), name) && nth-- == 0)
			return part(e, v->value_at, v->value_n);
	}
	return SPAN_NONE;
}

struct span entry_next(const struct entry *e, const char *name, size_t *at)
{
	for (size_t i = *at; i < e->n; i++) {
		const struct entry_value *v = &e->v[i];
		if (!span_ieq_str(part(e, v->name_at, v->name_n), name))
			continue;
		*at = i + 1;
		return part(e, v->value_at, v->value_n);
	}
	return SPAN_NONE;
}

bool entry_has_class(const struct entry *e, const char *class)
{
	struct span value;
	for (size_t i = 0; (value = entry_get(e, "objectClass", i)).p != NULL; i++)
		if (span_ieq_str(value, class))
			return true;
	return false;
}
