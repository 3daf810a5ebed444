/* daemon.c - the entry point of every daemon: command line, first load of the configuration, run.
 *
 * After: master.c. Owns what lives as long as the process: arguments, configuration. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/metric.h"
#include "daemon/master.h"
#include "daemon/tables.h"
#include "daemon/tickets.h"
#include "net/net_facts.h"
#include "net/tls_ctx.h"

enum { EXIT_OK = 0, EXIT_USAGE_64 = 64, EXIT_CONFIG_78 = 78, OVERRIDES_MAX = 64 };

static const char default_path[] = "/etc/postern/postern.conf";

/* What children reach as well: keeps everything of the master visible to leak checkers. */
static struct master *the_master;

static void usage(const char *name)
{
	fprintf(stderr,
	    "usage: postern-%s [-c FILE] [-t] [-V] [-p WHAT[=SECTION]] [-o "
	    "section.option=value]...\n"
	    "  -c FILE   configuration (default %s)\n"
	    "  -t        check the configuration and exit: 0 good, 78 with every error on standard "
	    "error\n"
	    "  -o A.B=V  sets an option over the file's value\n"
	    "  -p WHAT   prints sections, dump, sample or reference (of one SECTION, or of all)\n"
	    "  -V        prints the version\n",
	    name, default_path);
}

/* Prints every error as FILE:LINE:COLUMN: text. */
static struct conf *load_or_report(struct master *m)
{
	struct conf_diag *d = conf_diag_new();
	struct conf_source *src = conf_source_disk(m->conf_path);
	struct conf *c = conf_load(&m->schema.schema, src, &m->overrides, d);
	size_t n = conf_error_count(d);
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "%s\n", conf_error_text(d, i));
	if (c == NULL)
		fprintf(stderr, "%zu error%s\n", n, n == 1 ? "" : "s");
	conf_source_free(&src);
	conf_diag_free(&d);
	return c;
}

static int check_only(struct master *m)
{
	struct conf *c = load_or_report(m);
	if (c == NULL)
		return EXIT_CONFIG_78;
	printf("%s: good for postern-%s\n", m->conf_path, m->spec->name);
	conf_unref(&c);
	return EXIT_OK;
}

/* The schema cut down to one section; an empty name is the top level. False: there is no such. */
static bool cut_schema(const struct daemon_schema *all, struct span name, struct daemon_schema *out)
{
	memset(out, 0, sizeof *out);
	out->schema.sections = out->sections;
	if (name.n == 0)
		out->schema.root = all->schema.root;
	for (size_t i = 0; name.n > 0 && all->sections[i] != NULL; i++)
		if (span_eq_str(name, all->sections[i]->name))
			out->sections[0] = all->sections[i];
	return out->schema.root != NULL || out->sections[0] != NULL;
}

static bool put_sections(const struct daemon_schema *all, struct buf *out)
{
	buf_add_str(out, "\n"); /* the top level, without a name */
	for (size_t i = 0; all->sections[i] != NULL; i++)
		buf_printf(out, "%s\n", all->sections[i]->name);
	return buf_ok(out);
}

static bool put_dump(const struct conf *c, const struct conf_schema *of, struct buf *out)
{
	if (of->root != NULL)
		conf_dump_one(c, of->root, out);
	for (size_t i = 0; of->sections[i] != NULL; i++)
		conf_dump_one(c, of->sections[i], out);
	return buf_ok(out);
}

/* -p: for people, and for the command line tool, which knows no program's sections by itself. */
static int print_only(struct master *m, const char *what)
{
	struct span section = span_str(what), word = span_cut(&section, '=');
	struct daemon_schema one = m->schema;
	struct buf out = BUF_INIT(HTTP_ADMIN_BODY_MAX);
	bool ok = section.p == NULL || cut_schema(&m->schema, section, &one);
	one.schema.sections = one.sections;
	if (ok && span_eq(word, SPAN("sections"))) {
		put_sections(&m->schema, &out);
	} else if (ok && span_eq(word, SPAN("sample"))) {
		conf_sample(&one.schema, &out);
	} else if (ok && span_eq(word, SPAN("reference"))) {
		conf_reference(&one.schema, &out);
	} else if (ok && span_eq(word, SPAN("dump"))) {
		m->conf = load_or_report(m);
		ok = m->conf != NULL && put_dump(m->conf, &one.schema, &out);
		conf_unref(&m->conf);
	} else {
		usage(m->spec->name);
		return EXIT_USAGE_64;
	}
	fwrite(buf_span(&out).p, 1, buf_len(&out), stdout);
	buf_end(&out);
	return ok ? EXIT_OK : EXIT_CONFIG_78;
}

/* Descriptors 0 to 2 are always open, so that no socket becomes "standard error". */
static void open_standard_streams(void)
{
	int fd;
	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

static int serve(struct master *m)
{
	const struct log_event *refused = &daemon_events[DAEMON_EV_CONFIG_REFUSED];
	log_setup(m->spec->name, LOG_INFO, false);
	m->conf = master_load(m, NULL);
	if (m->conf == NULL) {
		log_write(refused, NULL, LOG_FIELDS(LOG_STR("error", "not started")));
		return EXIT_CONFIG_78;
	}
	daemon_log_setup(m->conf, m->spec->name, NULL, 0);
	tickets_start(m->conf);
	metric_register(daemon_metrics, DAEMON_M_COUNT);
	net_metrics_register();
	if (m->spec->prepare != NULL)
		m->spec->prepare();
	m->program = realpath("/proc/self/exe", NULL);
	int status = master_run(m);
	free(m->program); /* glibc's own allocation */
	tickets_end();
	conf_unref(&m->conf);
	buf_wipe_end(&m->packed);
	return status;
}

static int run_tool(struct master *m, const char *const *words, size_t n)
{
	log_setup(m->spec->name, LOG_WARN, false);
	m->conf = load_or_report(m);
	if (m->conf == NULL)
		return EXIT_CONFIG_78;
	int status = m->spec->tool(m->conf, words, n);
	conf_unref(&m->conf);
	buf_wipe_end(&m->packed);
	return status;
}

int daemon_main(const struct daemon_spec *spec, int argc, char **argv)
{
	const char *overrides[OVERRIDES_MAX];
	tls_count_memory();
	struct master *m = MEM_NEW(struct master);
	bool check = false;
	const char *print = NULL;
	int opt, status;
	*m = (struct master){ .magic = master_MAGIC,
		.spec = spec,
		.conf_path = default_path,
		.argv = argv,
		.overrides.v = overrides };
	the_master = m;
	open_standard_streams();
	while ((opt = getopt(argc, argv, "c:o:p:tV")) != -1)
		switch (opt) {
		case 'c':
			m->conf_path = optarg;
			break;
		case 'o':
			if (m->overrides.n < OVERRIDES_MAX)
				overrides[m->overrides.n++] = optarg;
			break;
		case 'p':
			print = optarg;
			break;
		case 't':
			check = true;
			break;
		case 'V':
			printf("postern-%s %s\n", spec->name, POSTERN_VERSION);
			MEM_FREE(&the_master);
			return EXIT_OK;
		default:
			usage(spec->name);
			MEM_FREE(&the_master);
			return EXIT_USAGE_64;
		}
	int words = argc - optind;
	if (words > 0 && spec->tool == NULL) {
		usage(spec->name);
		MEM_FREE(&the_master);
		return EXIT_USAGE_64;
	}
	daemon_schema_init(&m->schema, spec->schema);
	if (print != NULL)
		status = print_only(m, print);
	else if (check)
		status = check_only(m);
	else if (words > 0)
		status = run_tool(m, (const char *const *)argv + optind, (size_t)words);
	else
		status = serve(m);
	MEM_FREE(&the_master);
	return status;
}
