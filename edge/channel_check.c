/* channel_check.c - mistakes in blocks `channel` of a type of its own. Owns nothing. */
#include <string.h>

#include "base/span.h"
#include "edge/channel.h"
#include "edge/template.h"

static bool is_good_name(const char *title)
{
	struct span s = span_str(title);
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' && c != '_')
			return false;
	}
	return s.n > 0 && s.n <= CHANNEL_NAME_MAX;
}

static void check_template(
    const struct edge_channel_conf *c, const char *option, const char *text, struct conf_diag *d)
{
	const char *bad = text != NULL ? template_mistake(text) : NULL;
	if (bad != NULL)
		conf_error(d, c->head.pos, "channel %s, %s: there is no such name: \"%s\"",
		    c->head.title, option, bad);
}

/* A mailbox whose owner the sender chooses would be no mailbox. */
static void check_user(const struct edge_channel_conf *c, struct conf_diag *d)
{
	check_template(c, "user", c->user, d);
	if (c->user != NULL &&
	    (template_names(c->user, TEMPLATE_SENDER) || template_names(c->user, TEMPLATE_HOME)))
		conf_error(
		    d, c->head.pos, "channel %s: user cannot be found by that name", c->head.title);
	if (c->user != NULL && strcmp(c->user, "root") == 0)
		conf_error(d, c->head.pos, "channel %s: nothing runs as root", c->head.title);
}

static void check_environment(const struct edge_channel_conf *c, struct conf_diag *d)
{
	for (size_t i = 0; i < c->environment.n; i++) {
		struct span s = span_str(c->environment.v[i]);
		size_t eq = span_find(s, '=');
		if (eq == SIZE_MAX || eq == 0)
			conf_error(d, c->head.pos,
			    "channel %s, environment: \"%s\" is no NAME=VALUE", c->head.title,
			    c->environment.v[i]);
	}
}

static void check_fields(const struct edge_channel_conf *c, struct conf_diag *d)
{
	static const char *const words[] = { "return-path", "delivered-to", "x-original-to",
		"from" };
	for (size_t i = 0; i < c->fields.n; i++) {
		bool known = false;
		for (size_t k = 0; k < sizeof words / sizeof words[0]; k++)
			known = known || strcmp(words[k], c->fields.v[i]) == 0;
		if (!known)
			conf_error(d, c->head.pos,
			    "channel %s, fields: \"%s\" is not return-path, delivered-to, "
			    "x-original-to or from",
			    c->head.title, c->fields.v[i]);
	}
}

static void check_pipe(const struct edge_channel_conf *c, struct conf_diag *d)
{
	if (c->program == NULL || c->program[0] != '/')
		conf_error(d, c->head.pos, "channel %s: a pipe needs program, a whole path",
		    c->head.title);
	for (size_t i = 0; i < c->arguments.n; i++)
		check_template(c, "arguments", c->arguments.v[i], d);
}

static void check_local(const struct edge_channel_conf *c, struct conf_diag *d)
{
	check_template(c, "path", c->path, d);
	if (c->path == NULL)
		return;
	if (c->path[0] != '/' && strncmp(c->path, "{home}/", 7) != 0)
		conf_error(
		    d, c->head.pos, "channel %s: path begins with / or {home}/", c->head.title);
	if (template_names(c->path, TEMPLATE_SENDER) || template_names(c->path, TEMPLATE_ID))
		conf_error(d, c->head.pos, "channel %s: path is a recipient's, not a message's",
		    c->head.title);
}

static void check_part(
    const struct edge_channel_conf *c, const struct edge_part_conf *p, struct conf_diag *d)
{
	bool runs = p->program != NULL, wants = p->action == 0; /* program */
	if (runs != wants)
		conf_error(d, p->head.pos,
		    wants ? "part %s: action program needs program"
			  : "part %s: program is for action program",
		    p->head.title);
	if (runs && p->program[0] != '/')
		conf_error(d, p->head.pos, "part %s: program is a whole path", p->head.title);
}

static void check_conversion(const struct edge_channel_conf *c, struct conf_diag *d)
{
	if (c->part_n > 0 && c->type != CHANNEL_CONVERSION)
		conf_error(d, c->head.pos, "channel %s: part is for conversion", c->head.title);
	for (size_t i = 0; i < c->part_n; i++)
		check_part(c, c->part[i], d);
	if (c->type != CHANNEL_CONVERSION)
		return;
	if (c->part_n == 0)
		conf_error(d, c->head.pos, "channel %s: a conversion needs part", c->head.title);
	if (c->user == NULL || strchr(c->user, '{') != NULL)
		conf_error(
		    d, c->head.pos, "channel %s: a conversion needs user, by name", c->head.title);
}

void channel_check_named(const struct edge_channel_conf *c, struct conf_diag *d)
{
	check_conversion(c, d);
	if (c->type == CHANNEL_DELIVER) {
		if (c->addresses.n > 0)
			conf_error(d, c->head.pos, "channel %s finds its recipients by itself",
			    c->head.title);
		return;
	}
	if (!is_good_name(c->head.title))
		conf_error(d, c->head.pos,
		    "a channel's name has letters, digits, - and _, at most %d", CHANNEL_NAME_MAX);
	check_user(c, d);
	check_environment(c, d);
	check_fields(c, d);
	check_template(c, "directory", c->directory, d);
	if (c->type == CHANNEL_PIPE)
		check_pipe(c, d);
	if (c->type == CHANNEL_LOCAL)
		check_local(c, d);
}
