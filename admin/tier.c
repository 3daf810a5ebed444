/* tier.c - finds out what runs on this host: which sections the configuration files have, where the
 * control sockets are, where the programs are installed. Owns the strings of struct tier. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "daemon/daemon_conf.h"

#include "admin/tier.h"

/* Stores first: what delivers to them comes after, and is stopped before. */
const char *const tier_program_names[] = { "store", "meter", "mmp", "edge", NULL };

static const struct conf_block *const sections[] = { &admin_block, NULL };
static const char *const foreign[] = { "*", NULL };
static const struct conf_schema schema = { &root_block, sections, foreign, NULL };

static void put_program(
    struct tier *t, const char *name, const char *label, const char *config, const char *run_dir)
{
	struct buf path = BUF_INIT(4096);
	if (t->n == TIER_PROGRAMS_MAX)
		return;
	buf_printf(&path, "%s/%s.sock", run_dir, name);
	t->v[t->n++] = (struct program){ name, mem_str(label), mem_str(config),
		mem_span_str(buf_span(&path)) };
	buf_end(&path);
}

/* "store" in /x/store1.conf is called store1: several stores of a host have a file each. */
static void put_label(const struct tier *t, const char *name, const char *config, struct buf *out)
{
	struct span base = span_str(config);
	size_t slash = span_rfind(base, '/');
	base = span_from(base, slash == SIZE_MAX ? 0 : slash + 1);
	if (span_iends(base, SPAN(".conf")))
		base = span_first(base, base.n - 5);
	if (strcmp(name, "store") == 0 && span_starts(base, SPAN("store")))
		buf_add_span(out, base);
	else
		buf_add_str(out, name);
	for (size_t i = 0; i < t->n; i++)
		if (span_eq_str(buf_span(out), t->v[i].label)) {
			buf_printf(out, "-%.*s", SPAN_ARG(base));
			return;
		}
}

static void take_http(struct tier *t, const struct conf_addresses *at)
{
	for (size_t i = 0; i < at->n && t->http_count < COUNT_OF(t->http); i++) {
		struct conf_address *a = &t->http[t->http_count];
		*a = at->v[i];
		t->http_paths[t->http_count] = mem_str(a->unix_path);
		a->unix_path = t->http_paths[t->http_count++];
	}
}

static void take_config(struct tier *t, const struct conf *c, const char *path, const char *run_dir)
{
	const struct root_conf *root = conf_section(c, &root_block);
	const struct admin_conf *admin = conf_section(c, &admin_block);
	if (t->n == 0) {
		t->log_level = root->log_level;
		t->log_json = root->log_format == 1;
	}
	if (root->drain_timeout > t->drain_ms)
		t->drain_ms = root->drain_timeout;
	if (t->http_count == 0)
		take_http(t, &admin->address);
	for (const char *const *name = tier_program_names; *name != NULL; name++) {
		struct buf label = BUF_INIT(8192);
		if (!conf_has_foreign(c, *name))
			continue;
		put_label(t, *name, path, &label);
		put_program(
		    t, *name, buf_cstr(&label), path, run_dir != NULL ? run_dir : root->run_dir);
		buf_end(&label);
	}
}

static void take_installed(struct tier *t, const char *path)
{
	struct buf binary = BUF_INIT(8192);
	for (const char *const *name = tier_program_names; *name != NULL; name++)
		if (tier_binary(*name, &binary))
			put_program(t, *name, *name, path, "");
	buf_end(&binary);
}

/* Overrides of the top level and of the section admin; another's would make it look present. */
static bool is_ours(const char *override)
{
	struct span path = span_str(override);
	path = span_cut(&path, '=');
	return span_find(path, '.') == SIZE_MAX || span_starts(path, SPAN("admin."));
}

static int load_config(struct tier *t, const struct admin_args *a, const char *path)
{
	const char *ours[ADMIN_OVERRIDES_MAX];
	struct conf_strings over = { ours, 0 };
	for (size_t i = 0; i < a->override_count; i++)
		if (is_ours(a->overrides[i]))
			ours[over.n++] = a->overrides[i];
	struct conf_diag *d = conf_diag_new();
	struct conf_source *src = conf_source_disk(path);
	struct conf *c = conf_load(&schema, src, &over, d);
	for (size_t i = 0; i < conf_error_count(d); i++)
		json_array_append_new(t->errors, json_string(conf_error_text(d, i)));
	if (c != NULL)
		take_config(t, c, path, a->run_dir);
	else
		take_installed(t, path);
	int status = c != NULL ? ADMIN_OK : ADMIN_CONFIG;
	conf_unref(&c);
	conf_source_free(&src);
	conf_diag_free(&d);
	return status;
}

/* Without a configuration file: the sockets that are there. */
static void take_run_dir(struct tier *t, const char *run_dir)
{
	for (const char *const *name = tier_program_names; *name != NULL; name++) {
		put_program(t, *name, *name, NULL, run_dir);
		struct program *last = &t->v[t->n - 1];
		if (access(last->socket, F_OK) == 0)
			continue;
		mem_free(last->label);
		mem_free(last->socket);
		t->n--;
	}
}

/* Programs in the order of their names, as started, whatever file they are in. */
static void sort_programs(struct tier *t)
{
	struct program old[TIER_PROGRAMS_MAX];
	size_t n = 0;
	memcpy(old, t->v, sizeof old);
	for (const char *const *name = tier_program_names; *name != NULL; name++)
		for (size_t i = 0; i < t->n; i++)
			if (old[i].name == *name)
				t->v[n++] = old[i];
	CHECK(n == t->n);
}

/* Two programs of one name in one run_dir would take each other's control socket. */
static int check_sockets(struct tier *t)
{
	int status = ADMIN_OK;
	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; k < i; k++) {
			if (strcmp(t->v[i].socket, t->v[k].socket) != 0)
				continue;
			json_array_append_new(t->errors,
			    json_sprintf(
				"%s and %s have the same %s: give each file a run_dir of its own",
				t->v[k].config, t->v[i].config, t->v[i].socket));
			status = ADMIN_CONFIG;
		}
	return status;
}

int tier_load(const struct admin_args *a, struct tier *out)
{
	int status = ADMIN_OK;
	memset(out, 0, sizeof *out);
	out->errors = json_array();
	for (size_t i = 0; i < a->config_count; i++) {
		int one = load_config(out, a, a->configs[i]);
		status = one != ADMIN_OK ? one : status;
	}
	if (a->config_count == 0 && a->run_dir != NULL)
		take_run_dir(out, a->run_dir);
	sort_programs(out);
	return status == ADMIN_OK ? check_sockets(out) : status;
}

int tier_load_or_say(const struct admin_args *a, struct tier *out)
{
	int status = tier_load(a, out);
	for (size_t i = 0; i < json_array_size(out->errors); i++)
		fprintf(stderr, "%s\n", json_string_value(json_array_get(out->errors, i)));
	if (status == ADMIN_OK && out->n == 0) {
		fprintf(
		    stderr, "postern: no section mmp, edge, store or meter in the configuration\n");
		status = ADMIN_CONFIG;
	}
	return status;
}

void tier_end(struct tier *t)
{
	json_decref(t->errors);
	for (size_t i = 0; i < t->n; i++) {
		mem_free(t->v[i].label);
		mem_free(t->v[i].config);
		mem_free(t->v[i].socket);
	}
	for (size_t i = 0; i < t->http_count; i++)
		mem_free(t->http_paths[i]);
	memset(t, 0, sizeof *t);
}

bool tier_binary(const char *name, struct buf *out)
{
	static const char *const places[] = { "", "../sbin/" };
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self);
	if (n <= 0)
		return false;
	struct span folder = span_of(self, (size_t)n);
	folder = span_first(folder, span_rfind(folder, '/') + 1);
	for (size_t i = 0; i < COUNT_OF(places); i++) {
		buf_clear(out);
		buf_printf(out, "%.*s%spostern-%s", SPAN_ARG(folder), places[i], name);
		if (buf_ok(out) && access(buf_cstr(out), X_OK) == 0)
			return true;
	}
	return false;
}
