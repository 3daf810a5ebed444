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

enum { EXIT_OK = 0, EXIT_USAGE_64 = 64, EXIT_CONFIG_78 = 78, OVERRIDES_MAX = 64 };

static const char default_path[] = "/etc/postern/postern.conf";

/* What children reach as well: keeps everything of the master visible to leak checkers. */
static struct master *the_master;

static void usage(const char *name)
{
	fprintf(stderr,
	    "usage: postern-%s [-c FILE] [-t] [-V] [-o section.option=value]...\n"
	    "  -c FILE   configuration (default %s)\n"
	    "  -t        check the configuration and exit: 0 good, 78 with every error on standard "
	    "error\n"
	    "  -o A.B=V  sets an option over the file's value\n"
	    "  -V        prints the version\n",
	    name, default_path);
}

/* Prints every error as FILE:LINE:COLUMN: text. */
static int check_only(struct master *m)
{
	struct conf_diag *d = conf_diag_new();
	struct conf_source *src = conf_source_disk(m->conf_path);
	struct conf *c = conf_load(&m->schema.schema, src, &m->overrides, d);
	size_t n = conf_error_count(d);
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "%s\n", conf_error_text(d, i));
	if (c != NULL)
		printf("%s: good for postern-%s\n", m->conf_path, m->spec->name);
	else
		fprintf(stderr, "%zu error%s\n", n, n == 1 ? "" : "s");
	int status = c != NULL ? EXIT_OK : EXIT_CONFIG_78;
	conf_unref(&c);
	conf_source_free(&src);
	conf_diag_free(&d);
	return status;
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
	daemon_make_ticket_key();
	metric_register(daemon_metrics, DAEMON_M_COUNT);
	if (m->spec->prepare != NULL)
		m->spec->prepare();
	int status = master_run(m);
	conf_unref(&m->conf);
	buf_wipe_end(&m->packed);
	return status;
}

int daemon_main(const struct daemon_spec *spec, int argc, char **argv)
{
	const char *overrides[OVERRIDES_MAX];
	struct master *m = MEM_NEW(struct master);
	bool check = false;
	int opt, status;
	*m = (struct master){ .magic = master_MAGIC,
		.spec = spec,
		.conf_path = default_path,
		.overrides.v = overrides };
	the_master = m;
	open_standard_streams();
	while ((opt = getopt(argc, argv, "c:o:tV")) != -1)
		switch (opt) {
		case 'c':
			m->conf_path = optarg;
			break;
		case 'o':
			if (m->overrides.n < OVERRIDES_MAX)
				overrides[m->overrides.n++] = optarg;
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
	if (optind != argc) {
		usage(spec->name);
		MEM_FREE(&the_master);
		return EXIT_USAGE_64;
	}
	daemon_schema_init(&m->schema, spec->schema);
	status = check ? check_only(m) : serve(m);
	MEM_FREE(&the_master);
	return status;
}
