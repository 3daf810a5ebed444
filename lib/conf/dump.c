/* dump.c - step 5: snapshots and schemas as text: dump with origins, sample file, reference in
 * Markdown, and the list of changes that need a restart. Owns nothing. */
#include <string.h>

#include "base/hash.h"

#include "conf/lex.h"
#include "conf/snapshot.h"
#include "conf/value.h"

static void indent(struct buf *out, unsigned depth)
{
	while (depth-- > 0)
		buf_add_char(out, '\t');
}

static void put_prose(struct buf *out, unsigned depth, const char *prose)
{
	struct span rest = span_str(prose);
	while (rest.n > 0) {
		struct span line = span_first(rest, 92 - 8 * (size_t)(depth < 6 ? depth : 6));
		size_t cut = line.n < rest.n ? span_rfind(line, ' ') : line.n;
		line = span_first(line, cut == SIZE_MAX || cut == 0 ? line.n : cut);
		indent(out, depth);
		buf_printf(out, "# %.*s\n", SPAN_ARG(line));
		rest = span_trim(span_from(rest, line.n));
	}
}

/* ---- dump and revision ----------------------------------------------------------------------------- */

enum dump_style { DUMP_ORIGINS, DUMP_FOR_HASH };

static void put_origin(struct buf *out, struct conf_pos from)
{
	if (from.file == NULL)
		buf_add_str(out, "   # default");
	else if (from.line == 0)
		buf_printf(out, "   # %s", from.file);
	else
		buf_printf(out, "   # %s:%u", from.file, from.line);
}

static void put_option(
    const struct filled *f, size_t row, unsigned depth, enum dump_style style, struct buf *out)
{
	const struct conf_param *p = &f->block->params[row];
	struct buf value = BUF_INIT(out->max);
	const void *field = filled_field(f, p);
	bool unset = f->from[row].file == NULL && (p->def == NULL || p->def[0] == '\0');
	value_put(p, field, &value);
	indent(out, depth);
	if (unset)
		buf_printf(out, "# %s is not set", p->name);
	else if (value_is_hidden(p, field))
		buf_printf(out, "# %s is set to a literal secret", p->name);
	else
		buf_printf(
		    out, "%s %s;", p->name, buf_len(&value) == 0 ? "\"\"" : buf_cstr(&value));
	if (style == DUMP_ORIGINS && !unset)
		put_origin(out, f->from[row]);
	if (style == DUMP_FOR_HASH && p->type == CONF_FILE) {
		const struct conf_file *file = field;
		buf_printf(out, " %08x", hash_crc32c(0, file->bytes.p, file->bytes.n));
	}
	buf_add_char(out, '\n');
	buf_end(&value);
}

static void put_filled(
    const struct filled *f, unsigned depth, enum dump_style style, struct buf *out)
{
	const struct conf_head *head = f->data;
	bool root = f->name[0] == '\0';
	if (!root) {
		indent(out, depth);
		buf_printf(out, "%s ", f->name);
		if (head->title[0] != '\0') {
			lex_quote(span_str(head->title), out);
			buf_add_char(out, ' ');
		}
		buf_add_str(out, "{\n");
	}
	for (size_t i = 0; i < f->block->count; i++)
		if (f->block->params[i].type != CONF_BLOCKS)
			put_option(f, i, root ? 0 : depth + 1, style, out);
	for (const struct filled *o = f->children; o != NULL; o = o->next)
		put_filled(o, root ? 0 : depth + 1, style, out);
	if (!root) {
		indent(out, depth);
		buf_add_str(out, "}\n");
	}
}

static void put_snapshot(const struct conf *c, enum dump_style style, struct buf *out)
{
	put_filled(c->root, 0, style, out);
	for (const struct filled *f = c->sections; f != NULL; f = f->next)
		if (f->present)
			put_filled(f, 0, style, out);
}

bool conf_dump(const struct conf *c, struct buf *out)
{
	put_snapshot(c, DUMP_ORIGINS, out);
	return buf_ok(out);
}

bool conf_dump_one(const struct conf *c, const struct conf_block *block, struct buf *out)
{
	if (c->root->block == block)
		put_filled(c->root, 0, DUMP_ORIGINS, out);
	for (const struct filled *f = c->sections; f != NULL; f = f->next)
		if (f->present && f->block == block)
			put_filled(f, 0, DUMP_ORIGINS, out);
	return buf_ok(out);
}

uint64_t conf_block_revision(const struct conf_block *block, const void *data)
{
	static const struct hash_key fixed = { 1, 2 };
	struct buf text = BUF_INIT(CONF_FILE_MAX);
	for (size_t i = 0; i < block->count; i++) {
		const struct conf_param *p = &block->params[i];
		if (p->type == CONF_BLOCKS)
			continue;
		buf_printf(&text, "%s ", p->name);
		value_put(p, (const char *)data + p->offset, &text);
		buf_add_char(&text, '\n');
	}
	uint64_t revision = hash_sip(&fixed, buf_span(&text));
	buf_end(&text);
	return revision;
}

void snapshot_put_effective(const struct conf *c, struct buf *out)
{
	put_snapshot(c, DUMP_FOR_HASH, out);
}

/* ---- what a reload cannot change ------------------------------------------------------------------- */

static bool same_value(const struct filled *a, const struct filled *b, const struct conf_param *p)
{
	struct buf va = BUF_INIT(CONF_FILE_MAX), vb = BUF_INIT(CONF_FILE_MAX);
	value_put(p, filled_field(a, p), &va);
	value_put(p, filled_field(b, p), &vb);
	bool same = span_eq(buf_span(&va), buf_span(&vb));
	buf_end(&va);
	buf_end(&vb);
	return same;
}

static const struct filled *find_twin(const struct filled *list, const struct filled *of)
{
	const struct conf_head *head = of->data;
	for (const struct filled *f = list; f != NULL; f = f->next)
		if (f->block == of->block && strcmp(f->name, of->name) == 0 &&
		    strcmp(((const struct conf_head *)f->data)->title, head->title) == 0)
			return f;
	return NULL;
}

static size_t compare(
    const struct filled *a, const struct filled *b, struct span path, struct buf *out)
{
	size_t n = 0;
	const struct conf_head *head = a->data;
	struct buf here = BUF_INIT(4096);
	buf_add_span(&here, path);
	if (a->name[0] != '\0')
		buf_printf(&here, "%s.", a->name);
	if (head->title[0] != '\0')
		buf_printf(&here, "%s.", head->title);
	for (size_t i = 0; i < a->block->count; i++) {
		const struct conf_param *p = &a->block->params[i];
		if (p->type == CONF_BLOCKS || p->when != CONF_RESTART || same_value(a, b, p))
			continue;
		buf_printf(out, "%s%s%s", buf_len(out) > 0 ? ", " : "", buf_cstr(&here), p->name);
		n++;
	}
	for (const struct filled *f = a->children; f != NULL; f = f->next) {
		const struct filled *twin = find_twin(b->children, f);
		n += twin != NULL ? compare(f, twin, buf_span(&here), out) : 0;
	}
	buf_end(&here);
	return n;
}

size_t conf_restart_needed(const struct conf *old, const struct conf *fresh, struct buf *out)
{
	size_t n = old->root->block == fresh->root->block
		       ? compare(old->root, fresh->root, SPAN(""), out)
		       : 0;
	for (const struct filled *f = old->sections; f != NULL; f = f->next) {
		const struct filled *twin = find_twin(fresh->sections, f);
		n += twin != NULL ? compare(f, twin, SPAN(""), out) : 0;
	}
	return n;
}

/* ---- sample file ----------------------------------------------------------------------------------- */

static void sample_block(
    const struct conf_block *b, const char *name, unsigned depth, struct buf *out);

static void sample_option(const struct conf_param *p, unsigned depth, struct buf *out)
{
	struct buf allowed = BUF_INIT(4096);
	put_prose(out, depth, p->prose);
	value_describe(p, &allowed);
	if (p->def == NULL)
		buf_printf(&allowed, "; must be given");
	put_prose(out, depth, buf_cstr(&allowed));
	indent(out, depth);
	buf_printf(out, "#%s ", p->name);
	if (value_is_list(p) && p->def != NULL && p->def[0] != '\0')
		buf_add_str(out, p->def);
	else
		lex_quote(span_str(p->def == NULL ? "" : p->def), out);
	buf_add_str(out, ";\n");
	buf_end(&allowed);
}

static void sample_rows(const struct conf_block *b, unsigned depth, struct buf *out)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->params[i].type != CONF_BLOCKS)
			sample_option(&b->params[i], depth, out);
	for (size_t i = 0; i < b->count; i++) {
		if (b->params[i].type != CONF_BLOCKS || depth >= CONF_NEST_MAX)
			continue;
		buf_add_char(out, '\n');
		put_prose(out, depth, b->params[i].prose);
		sample_block(b->params[i].block, b->params[i].name, depth, out);
	}
}

/* Everything is a comment: the file means the same as an empty one. */
static void sample_block(
    const struct conf_block *b, const char *name, unsigned depth, struct buf *out)
{
	put_prose(out, depth, b->prose);
	indent(out, depth);
	buf_printf(out, "#%s {\n", name);
	sample_rows(b, depth + 1, out);
	indent(out, depth);
	buf_add_str(out, "#}\n");
}

bool conf_sample(const struct conf_schema *schema, struct buf *out)
{
	if (schema->root != NULL)
		sample_rows(schema->root, 0, out);
	for (size_t i = 0; schema->sections != NULL && schema->sections[i] != NULL; i++) {
		buf_add_char(out, '\n');
		sample_block(schema->sections[i], schema->sections[i]->name, 0, out);
	}
	return buf_ok(out);
}

/* ---- reference in Markdown ------------------------------------------------------------------------- */

static void put_cell(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '|')
			buf_add_char(out, '\\');
		buf_add_char(out, *text == '\n' ? ' ' : *text);
	}
}

static void put_default(const struct conf_param *p, struct buf *out)
{
	if (p->def == NULL)
		buf_add_str(out, "must be given");
	else if (p->def[0] == '\0')
		buf_add_str(out, "none");
	else
		buf_printf(out, "`%s`", p->def);
}

static void reference_option(const struct conf_param *p, struct buf *out)
{
	struct buf allowed = BUF_INIT(4096);
	value_describe(p, &allowed);
	buf_printf(out, "| `%s` | ", p->name);
	put_cell(out, buf_cstr(&allowed));
	buf_add_str(out, value_is_list(p) ? ", list | " : " | ");
	put_default(p, out);
	buf_add_str(out, p->when == CONF_RESTART ? " | restart | " : " | reload | ");
	put_cell(out, p->prose);
	buf_add_str(out, " |\n");
	buf_end(&allowed);
}

static void reference_options(const struct conf_block *b, struct buf *out)
{
	bool table = false;
	if (b->prose[0] != '\0')
		buf_printf(out, "%s\n\n", b->prose);
	for (size_t i = 0; i < b->count; i++) {
		if (b->params[i].type == CONF_BLOCKS)
			continue;
		if (!table)
			buf_add_str(out, "| option | value | default | changed by | meaning |\n"
					 "| --- | --- | --- | --- | --- |\n");
		table = true;
		reference_option(&b->params[i], out);
	}
}

static void reference_blocks(
    const struct conf_block *b, struct span path, unsigned depth, struct buf *out)
{
	for (size_t i = 0; i < b->count && depth < CONF_NEST_MAX; i++) {
		const struct conf_param *p = &b->params[i];
		struct buf here = BUF_INIT(4096);
		if (p->type != CONF_BLOCKS)
			continue;
		buf_printf(&here, "%.*s%s%s%s", SPAN_ARG(path), path.n > 0 ? " " : "", p->name,
		    p->max > 1 ? " NAME" : "");
		buf_printf(
		    out, "\n## `%s`\n\n%s At most %u.\n\n", buf_cstr(&here), p->prose, p->max);
		reference_options(p->block, out);
		reference_blocks(p->block, buf_span(&here), depth + 1, out);
		buf_end(&here);
	}
}

bool conf_reference(const struct conf_schema *schema, struct buf *out)
{
	if (schema->root != NULL) {
		reference_options(schema->root, out);
		reference_blocks(schema->root, SPAN(""), 0, out);
	}
	for (size_t i = 0; schema->sections != NULL && schema->sections[i] != NULL; i++) {
		const struct conf_block *b = schema->sections[i];
		buf_printf(out, "\n## `%s`\n\n", b->name);
		reference_options(b, out);
		reference_blocks(b, span_str(b->name), 1, out);
	}
	return buf_ok(out);
}
