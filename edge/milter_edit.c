/* milter_edit.c - a message while filters look at it (part of step 4, filter.c).
 *
 * Owns the fields of the header section as a list, the changes of the filter that is being asked, and
 * the new body if one was sent. What a filter sends is made harmless here: no line of a value can end the
 * header section or begin another field, line ends become CRLF. */
#include "edge/milter_edit.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/header.h"
#include "proto/smtp_path.h"

enum { MEMORY = 16 * 1024, PIECE = 16 * 1024, REASON_MAX = 200 };

struct field {
	struct span raw; /* in edit.section, or owned */
	size_t name_n, colon;
	bool own;  /* raw is this field's own memory */
	bool ours; /* not shown */
};

struct change {
	char code;
	uint32_t index;
	char *name; /* owned; of a header field */
	char *text; /* owned; a whole field, an address, a reason */
	size_t text_n;
};

struct edit {
	struct transaction *t;
	struct edit_opts opts;
	struct buf section;   /* the header section as it came */
	uint64_t text_at;     /* of the text in the transaction's body */
	struct field *fields; /* owned */
	size_t field_n, field_cap;
	bool fields_changed, text_changed;
	/* of the filter that is being asked */
	struct change *changes; /* owned */
	size_t change_n, change_cap, change_bytes;
	struct body *text; /* the new text */
	bool cr, line;     /* at its end: a CR that waits for its LF; a line without its end */
	bool high;         /* it has bytes above 0x7f */
	/* of all filters */
	char **added;
	size_t added_n, added_cap;
	char *quarantine;
};

/* ---- fields --------------------------------------------------------------------------------------- */

static void field_end(struct field *f)
{
	if (f->own)
		mem_free((char *)f->raw.p);
}

static void insert_field(struct edit *e, size_t at, struct field f)
{
	if (e->field_n == e->field_cap) {
		e->field_cap = e->field_cap == 0 ? 32 : 2 * e->field_cap;
		e->fields = mem_grow(e->fields, e->field_cap, sizeof *e->fields);
	}
	memmove(&e->fields[at + 1], &e->fields[at], (e->field_n - at) * sizeof f);
	e->fields[at] = f;
	e->field_n++;
}

static void remove_field(struct edit *e, size_t at)
{
	field_end(&e->fields[at]);
	e->field_n--;
	memmove(&e->fields[at], &e->fields[at + 1], (e->field_n - at) * sizeof *e->fields);
}

static void remove_all(struct edit *e)
{
	for (size_t i = 0; i < e->field_n; i++)
		field_end(&e->fields[i]);
	e->field_n = 0;
}

/* The section's fields behind those that are listed; `ours` below the topmost `shown` are not shown. */
static enum header_rx list_fields(struct edit *e, size_t shown, size_t ours)
{
	struct header_walk w;
	struct header_field f;
	enum header_rx rx;
	header_walk_init(&w, buf_span(&e->section));
	while ((rx = header_next(&w, &f)) == HEADER_FIELD)
		insert_field(e, e->field_n,
		    (struct field){ .raw = f.raw,
			.name_n = f.name.n,
			.colon = (size_t)(f.value.p - f.raw.p),
			.ours = e->field_n >= shown && e->field_n < shown + ours });
	if (e->text_at == UINT64_MAX)
		e->text_at = w.at;
	return rx;
}

static err_t read_section(struct edit *e)
{
	err_t err = ERR_OK;
	struct span start = body_read(e->t->body, 0, HEADER_BYTES_MAX, &err);
	if (err)
		return err;
	buf_add_span(&e->section, start);
	enum header_rx rx = list_fields(e, e->opts.shown, e->opts.ours);
	bool cut = start.n == HEADER_BYTES_MAX && e->text_at == start.n;
	return rx == HEADER_TOO_MANY || cut ? ERR_TOO_MANY : ERR_OK;
}

err_t edit_new(struct transaction *t, const struct edit_opts *opts, struct edit **out)
{
	struct edit *e = MEM_NEW(struct edit);
	e->t = t;
	e->opts = *opts;
	e->section = BUF_INIT(HEADER_BYTES_MAX);
	e->text_at = UINT64_MAX; /* not known yet */
	err_t err = read_section(e);
	if (err)
		edit_free(&e);
	*out = e;
	return err;
}

void edit_free(struct edit **pe)
{
	struct edit *e = *pe;
	if (e == NULL)
		return;
	edit_drop(e);
	remove_all(e);
	for (size_t i = 0; i < e->added_n; i++)
		mem_free(e->added[i]);
	mem_free(e->fields);
	mem_free(e->changes);
	mem_free(e->added);
	mem_free(e->quarantine);
	buf_end(&e->section);
	MEM_FREE(pe);
}

size_t edit_fields(const struct edit *e)
{
	return e->field_n;
}

static struct span name_of(const struct field *f)
{
	return span_first(f->raw, f->name_n);
}

bool edit_field(const struct edit *e, size_t i, struct edit_field *out)
{
	const struct field *f = &e->fields[i];
	if (f->ours)
		return false;
	out->name = name_of(f);
	out->value = span_from(f->raw, f->colon);
	if (out->value.n > 0 && out->value.p[out->value.n - 1] == '\n')
		out->value.n--;
	if (out->value.n > 0 && out->value.p[out->value.n - 1] == '\r')
		out->value.n--;
	return true;
}

struct span edit_text(struct edit *e, uint64_t at, size_t n, err_t *err_out)
{
	return body_read(e->t->body, e->text_at + at, n, err_out);
}

uint64_t edit_text_size(const struct edit *e)
{
	return body_size(e->t->body) - e->text_at;
}

/* ---- noting a change ------------------------------------------------------------------------------ */

static bool is_blank(struct span s)
{
	return span_trim(s).n == 0;
}

static struct span take_line(struct span *rest)
{
	struct span line = span_cut(rest, '\n');
	while (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	return line;
}

static void put_line(struct buf *out, struct span line)
{
	for (size_t i = 0; i < line.n; i++)
		buf_add_char(out, line.p[i] == '\r' || line.p[i] == '\0' ? '?' : line.p[i]);
}

/* A whole field. A line of the value that would end the header section, or begin a field, does not. */
static void put_field(struct buf *out, struct span name, struct span value, bool leading_space)
{
	buf_add_span(out, name);
	buf_add_str(out, leading_space ? ":" : ": ");
	for (bool first = true; first || value.n > 0; first = false) {
		struct span line = take_line(&value);
		if (!first && is_blank(line))
			continue;
		if (!first)
			buf_add_str(out, line.p[0] == ' ' || line.p[0] == '\t' ? "\r\n" : "\r\n\t");
		put_line(out, line);
	}
	buf_add_str(out, "\r\n");
}

static err_t note(struct edit *e, struct change c, struct span text)
{
	e->change_bytes += text.n;
	if (e->change_n >= EDIT_CHANGES_MAX || e->change_bytes > EDIT_BYTES_MAX) {
		mem_free(c.name);
		return ERR_TOO_MANY;
	}
	if (e->change_n == e->change_cap) {
		e->change_cap = e->change_cap == 0 ? 8 : 2 * e->change_cap;
		e->changes = mem_grow(e->changes, e->change_cap, sizeof *e->changes);
	}
	c.text = mem_span_str(text);
	c.text_n = text.n;
	e->changes[e->change_n++] = c;
	return ERR_OK;
}

static err_t note_field(
    struct edit *e, char code, const struct milter_change *c, bool leading_space)
{
	struct buf raw = BUF_INIT(EDIT_BYTES_MAX);
	bool removes = code == MILTER_R_CHANGE_HEADER && c->value.n == 0;
	if (!removes)
		put_field(&raw, c->name, c->value, leading_space);
	struct change made = { .code = code, .index = c->index, .name = mem_span_str(c->name) };
	err_t err = buf_ok(&raw) ? note(e, made, buf_span(&raw)) : ERR_TOO_LONG;
	if (!buf_ok(&raw))
		mem_free(made.name);
	buf_end(&raw);
	return err;
}

static err_t note_address(struct edit *e, char code, struct span address)
{
	struct smtp_path path;
	unsigned flags = code == MILTER_R_CHANGE_FROM ? SMTP_PATH_NULL_OK : 0;
	bool bracketed = address.n > 0 && address.p[0] == '<';
	err_t err = bracketed ? smtp_path_parse(address, flags, &path, NULL)
			      : smtp_address_parse(address, flags, &path, NULL);
	if (address.n == 0 && flags != 0)
		err = smtp_path_parse(SPAN("<>"), flags, &path, NULL);
	return err ? err : note(e, (struct change){ .code = code }, smtp_path_text(&path));
}

/* Line ends of the new text become CRLF, whatever they were and however the pieces were cut. */
static err_t note_text(struct edit *e, struct span in)
{
	struct buf out = BUF_INIT(2 * PIECE + 2);
	err_t err = ERR_OK;
	if (e->text == NULL)
		e->text = body_new(MEMORY, e->opts.size_max, e->opts.temp_dir);
	while (in.n > 0 && err == ERR_OK) {
		struct span piece = span_first(in, PIECE);
		in = span_from(in, piece.n);
		for (size_t i = 0; i < piece.n; i++) {
			char c = piece.p[i];
			if (c == '\n' || e->cr)
				buf_add(&out, "\r\n", 2);
			e->high = e->high || (unsigned char)c >= 0x80;
			e->line = c != '\n' && (c != '\r' || e->line);
			if (c == '\0')
				err = ERR_PROTOCOL;
			else if (c != '\r' && c != '\n')
				buf_add_char(&out, c);
			e->cr = c == '\r';
		}
		if (err == ERR_OK)
			err = body_add(e->text, buf_span(&out));
		buf_clear(&out);
	}
	buf_end(&out);
	return err;
}

err_t edit_note(struct edit *e, char code, const struct milter_change *c, bool leading_space)
{
	switch (code) {
	case MILTER_R_ADD_HEADER:
	case MILTER_R_INSERT_HEADER:
	case MILTER_R_CHANGE_HEADER:
		return note_field(e, code, c, leading_space);
	case MILTER_R_ADD_RCPT:
	case MILTER_R_ADD_RCPT_PAR:
	case MILTER_R_DELETE_RCPT:
	case MILTER_R_CHANGE_FROM:
		return note_address(e, code, c->address);
	case MILTER_R_QUARANTINE:
		return note(e, (struct change){ .code = code }, span_first(c->value, REASON_MAX));
	case MILTER_R_REPLACE_BODY:
		return note_text(e, c->value);
	default:
		BUG("that code is no edit");
	}
}

void edit_drop(struct edit *e)
{
	for (size_t i = 0; i < e->change_n; i++) {
		mem_free(e->changes[i].name);
		mem_free(e->changes[i].text);
	}
	e->change_n = 0;
	e->change_bytes = 0;
	body_free(&e->text);
	e->cr = e->line = e->high = false;
}

/* ---- making it so --------------------------------------------------------------------------------- */

static struct field field_of(const struct change *c)
{
	return (struct field){ .raw = span_of(mem_copy(c->text, c->text_n), c->text_n),
		.name_n = strlen(c->name),
		.colon = strlen(c->name) + 1,
		.own = true };
}

/* The nth field, from 1, of that name among those that filters see; field_n: there is none. */
static size_t nth_field(const struct edit *e, const char *name, uint32_t nth)
{
	for (size_t i = 0; i < e->field_n; i++)
		if (!e->fields[i].ours && span_ieq_str(name_of(&e->fields[i]), name) && --nth == 0)
			return i;
	return e->field_n;
}

/* A field that is not there is added, unless it was to go. */
static void change_field(struct edit *e, const struct change *c)
{
	size_t at = nth_field(e, c->name, c->index == 0 ? 1 : c->index);
	if (at < e->field_n)
		remove_field(e, at);
	if (c->text_n > 0)
		insert_field(e, at, field_of(c));
}

static void add_address(struct edit *e, const char *address)
{
	for (size_t i = 0; i < e->added_n; i++)
		if (strcmp(e->added[i], address) == 0)
			return;
	if (e->added_n >= EDIT_ADDED_MAX)
		return;
	if (e->added_n == e->added_cap) {
		e->added_cap = e->added_cap == 0 ? 4 : 2 * e->added_cap;
		e->added = mem_grow(e->added, e->added_cap, sizeof *e->added);
	}
	e->added[e->added_n++] = mem_str(address);
}

static void delete_address(struct edit *e, const char *address)
{
	for (size_t i = e->added_n; i-- > 0;) {
		if (strcmp(e->added[i], address) != 0)
			continue;
		mem_free(e->added[i]);
		e->added[i] = e->added[--e->added_n];
	}
	transaction_remove(e->t, span_str(address));
}

static void change_text(struct edit *e)
{
	if (e->text == NULL)
		return;
	body_free(&e->t->body);
	e->t->body = e->text;
	e->t->body_8bit = e->t->body_8bit || e->high;
	e->text = NULL;
	e->text_at = 0;
	e->text_changed = true;
}

static void make(struct edit *e, const struct change *c)
{
	switch (c->code) {
	case MILTER_R_ADD_HEADER:
		insert_field(e, e->field_n, field_of(c));
		break;
	case MILTER_R_INSERT_HEADER:
		insert_field(e, c->index < e->field_n ? c->index : e->field_n, field_of(c));
		break;
	case MILTER_R_CHANGE_HEADER:
		change_field(e, c);
		break;
	case MILTER_R_ADD_RCPT:
	case MILTER_R_ADD_RCPT_PAR:
		add_address(e, c->text);
		return;
	case MILTER_R_DELETE_RCPT:
		delete_address(e, c->text);
		return;
	case MILTER_R_CHANGE_FROM:
		mem_free(e->t->sender);
		e->t->sender = mem_str(c->text);
		return;
	default:
		CHECK(c->code == MILTER_R_QUARANTINE);
		mem_free(e->quarantine);
		e->quarantine = mem_str(c->text);
		return;
	}
	e->fields_changed = true;
}

/* The last line gets its end. */
static err_t end_text(struct edit *e)
{
	bool open = e->text != NULL && (e->cr || e->line);
	e->cr = e->line = false;
	return open ? body_add(e->text, SPAN("\r\n")) : ERR_OK;
}

err_t edit_accept(struct edit *e)
{
	err_t err = end_text(e);
	if (err)
		return err;
	for (size_t i = 0; i < e->change_n; i++)
		make(e, &e->changes[i]);
	change_text(e);
	edit_drop(e);
	return ERR_OK;
}

err_t edit_add_field(struct edit *e, const char *name, struct span value)
{
	struct milter_change c = { .name = span_str(name), .value = value };
	CHECK(e->change_n == 0);
	err_t err = edit_note(e, MILTER_R_ADD_HEADER, &c, false);
	return err ? err : edit_accept(e);
}

void edit_remove_fields(struct edit *e, const char *name)
{
	size_t at;
	while ((at = nth_field(e, name, 1)) < e->field_n) {
		remove_field(e, at);
		e->fields_changed = true;
	}
}

err_t edit_replace_fields(struct edit *e, struct span section)
{
	struct buf clean = BUF_INIT(HEADER_BYTES_MAX);
	while (section.n > 0) {
		put_line(&clean, take_line(&section));
		buf_add(&clean, "\r\n", 2);
	}
	bool whole = buf_ok(&clean) && buf_len(&clean) > 2 &&
		     header_size(buf_span(&clean)) == buf_len(&clean);
	if (!whole) {
		buf_end(&clean);
		return ERR_SYNTAX;
	}
	remove_all(e);
	e->fields_changed = true;
	buf_end(&e->section);
	e->section = clean;
	CHECK(list_fields(e, 0, 0) == HEADER_END);
	return ERR_OK;
}

/* ---- the end -------------------------------------------------------------------------------------- */

err_t edit_write(struct edit *e)
{
	if (!e->fields_changed && !e->text_changed)
		return ERR_OK;
	struct buf head = BUF_INIT(BODY_HEAD_MAX);
	for (size_t i = 0; i < e->field_n; i++)
		buf_add_span(&head, e->fields[i].raw);
	buf_add_str(&head, "\r\n");
	err_t err =
	    buf_ok(&head) ? body_set_head(e->t->body, e->text_at, buf_span(&head)) : ERR_TOO_LONG;
	e->text_at = buf_len(&head);
	e->fields_changed = e->text_changed = false;
	buf_end(&head);
	return err;
}

size_t edit_added(const struct edit *e, const char *const **out)
{
	*out = (const char *const *)e->added;
	return e->added_n;
}

char *edit_take_quarantine(struct edit *e)
{
	char *reason = e->quarantine;
	e->quarantine = NULL;
	return reason;
}
