/* conf.h - the configuration file: blocks with titles and `name value, value;`, driven by tables.
 *
 * A block kind is declared once, in a .params.def file with rows
 *	PARAM(field, TYPE, default, low, high, when, "prose")
 *	BLOCKS(field, kind, max, "prose")        nested blocks of another kind, written  field title { ... }
 * `when` is RELOAD (a reload changes it) or RESTART. default "" means: none (NULL, 0, empty list);
 * default NULL means the option must be given. Types, their C type in the struct, and their text:
 *	BOOL       bool                     yes | no
 *	INT        int64_t                  low and high as text
 *	SIZE       uint64_t bytes           512, 64k, 10M, 2G
 *	DURATION   uint64_t milliseconds    250ms, 30s, 5m, 2h, 1h30m, 7d
 *	ENUM       int (index of the word)  low holds the words: "none|tls|starttls"
 *	STRING     const char *             word or "quoted \"text\""
 *	STRINGS    struct conf_strings      list
 *	PATH       const char *             absolute, or relative to the file it stands in
 *	FILE       struct conf_file         a path whose bytes are read when the configuration is loaded
 *	SECRET     struct conf_file         a FILE given as file:PATH, or env:NAME, or the text itself
 *	ADDRESSES  struct conf_addresses    literal address:port or unix:/path, list (for listening)
 *	HOSTPORT   struct conf_hostport     name-or-address:port, /unix/path or unix:/path; the port may be left out
 *	HOSTPORTS  struct conf_hostports    list of it
 *	PREFIXES   struct ip_prefixes       192.0.2.0/24, 2001:db8::/32, list
 *	RATE       struct conf_rate         60/1m
 *	RATES      struct conf_rates        10/1m, 60/1m+1000/1d (`+`: several windows), 0/1m: never
 *	INTS       struct conf_ints         32, 24
 * The rows yield the struct (conf/params_struct.h), the table (conf/params_table.h), the parser with
 * range checks, `postern config dump`, the sample file and docs/configuration.md.
 *
 *	// mmp_conf.h
 *	#define CONF_BLOCK mmp_listener
 *	#define CONF_DEF "mmp/mmp_listener.params.def"
 *	#include "conf/params_struct.h"          // struct mmp_listener_conf, extern mmp_listener_block
 *	// mmp_conf.c: the same two defines, then  #include "conf/params_table.h"
 *
 * struct KIND_conf begins with `struct conf_head head` (title and position). BLOCKS gives two members:
 * `struct kind_conf **field; size_t field_n;`.
 *
 * A loaded configuration is an immutable snapshot with a reference count: a session keeps the one it
 * began with. All errors of a file are reported at once, each with file:line:column, the offending
 * text and, for an unknown name, the nearest known one. */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ip.h"
#include "base/span.h"

enum {
	CONF_WINDOWS_MAX = 4,
	CONF_FILE_MAX = 1024 * 1024,
	CONF_NEST_MAX = 16,
	CONF_INCLUDE_MAX = 64,
	CONF_ERRORS_MAX = 100
};

struct conf_pos {
	const char *file;
	unsigned line, column;
};
struct conf_head {
	const char *title; /* "" for a block without one */
	struct conf_pos pos;
};
struct conf_strings {
	const char **v;
	size_t n;
};
struct conf_ints {
	int64_t *v;
	size_t n;
};
struct conf_file {
	const char *path; /* "" for a literal secret or when not given */
	struct span bytes;
};
struct conf_address {
	struct ip_port at;
	const char *unix_path; /* NULL unless unix: */
};
struct conf_addresses {
	struct conf_address *v;
	size_t n;
};
struct conf_hostport {
	const char *host; /* NULL when not given */
	uint16_t port;    /* 0 when not given */
};
struct conf_hostports {
	struct conf_hostport *v;
	size_t n;
};
struct conf_rate {
	uint64_t count, per_ms; /* 0, 0 when not given */
};

struct conf_windows {
	struct conf_rate v[CONF_WINDOWS_MAX]; /* a count of 0 may stand here */
	size_t n;
};
struct conf_rates {
	struct conf_windows *v;
	size_t n;
};

struct conf;        /* a loaded snapshot */
struct conf_source; /* where bytes come from: the disk, or a bundle of the master */

enum conf_type {
	CONF_BOOL,
	CONF_INT,
	CONF_SIZE,
	CONF_DURATION,
	CONF_ENUM,
	CONF_STRING,
	CONF_STRINGS,
	CONF_PATH,
	CONF_FILE,
	CONF_SECRET,
	CONF_ADDRESSES,
	CONF_HOSTPORT,
	CONF_HOSTPORTS,
	CONF_PREFIXES,
	CONF_RATE,
	CONF_RATES,
	CONF_INTS,
	CONF_BLOCKS
};
enum conf_when { CONF_RELOAD, CONF_RESTART };

/* One row of a block, and a kind of block. Made by conf/params_table.h only. */
struct conf_param {
	const char *name; /* of the field and of the option */
	enum conf_type type;
	size_t offset;          /* of the field in struct KIND_conf */
	const char *def;        /* NULL: must be given */
	const char *low, *high; /* as text, NULL: no bound; low of an ENUM: its words */
	enum conf_when when;
	const char *prose;
	const struct conf_block *block; /* CONF_BLOCKS: the nested kind ... */
	size_t count_offset;            /* ... where the count goes ... */
	unsigned max;                   /* ... and how many are allowed */
};
struct conf_block {
	const char *name; /* of the kind; a top-level kind is the section of this name */
	const char *prose;
	size_t size; /* of struct KIND_conf */
	const struct conf_param *params;
	size_t count;
};

/* The C type of each row type, for params_struct.h. */
#define CONF_C_BOOL bool
#define CONF_C_INT int64_t
#define CONF_C_SIZE uint64_t
#define CONF_C_DURATION uint64_t
#define CONF_C_ENUM int
#define CONF_C_STRING const char *
#define CONF_C_STRINGS struct conf_strings
#define CONF_C_PATH const char *
#define CONF_C_FILE struct conf_file
#define CONF_C_SECRET struct conf_file
#define CONF_C_ADDRESSES struct conf_addresses
#define CONF_C_HOSTPORT struct conf_hostport
#define CONF_C_HOSTPORTS struct conf_hostports
#define CONF_C_PREFIXES struct ip_prefixes
#define CONF_C_RATE struct conf_rate
#define CONF_C_RATES struct conf_rates
#define CONF_C_INTS struct conf_ints
#define CONF_CAT_(a, b) a##b
#define CONF_CAT(a, b) CONF_CAT_(a, b)
#define CONF_TEXT_(a) #a
#define CONF_TEXT(a) CONF_TEXT_(a)

/* Errors of a load, in file order. */
struct conf_diag;
struct conf_diag *conf_diag_new(void);
void conf_diag_free(struct conf_diag **d);
void conf_error(struct conf_diag *d, struct conf_pos at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
size_t conf_error_count(const struct conf_diag *d);
const char *conf_error_text(const struct conf_diag *d, size_t i); /* "file:3:9: unknown ..." */

/* What a program reads. sections: top-level blocks it takes. foreign: names of top-level blocks that
 * belong to other programs, skipped (syntax checked); "*" stands for all that are not sections. root: rows of top-level options (may be NULL).
 * check (may be NULL) adds errors that no single row can see; it is called when there are no others, so
 * every required option is there. A schema and its blocks live for ever. */
struct conf_schema {
	const struct conf_block *root;
	const struct conf_block *const *sections; /* NULL-terminated */
	const char *const *foreign;               /* NULL-terminated */
	void (*check)(const struct conf *c, struct conf_diag *d);
};

/* "1h30m" as DURATION reads it, in milliseconds. */
bool conf_duration(struct span text, uint64_t *ms_out);

struct conf_source *conf_source_disk(const char *path);
/* The bytes of every file a disk load has read (configuration, FILEs, secrets), for a worker that may
 * not read files: conf_source_pack() after conf_load(), conf_source_unpack() on the other side. */
bool conf_source_pack(const struct conf_source *s, struct buf *out);
struct conf_source *conf_source_unpack(struct span packed);
/* Answers `bytes` for a file from now on, which it was asked for before; false: it was not. */
bool conf_source_replace(struct conf_source *s, const char *path, struct span bytes);
/* What it answers for a file; until the next call that changes s. False: it was not asked for it. */
bool conf_source_bytes(const struct conf_source *s, const char *path, struct span *out);
void conf_source_free(struct conf_source **s);
/* A regular file of at most CONF_FILE_MAX, appended to out. False: *why_out says why not. */
bool conf_file_read(const char *path, struct buf *out, const char **why_out);

/* overrides: "section.option=value" (or "section.title.option=value"), from -o; may be NULL.
 * NULL result: errors are in d. */
struct conf *conf_load(const struct conf_schema *schema, struct conf_source *src,
    const struct conf_strings *overrides, struct conf_diag *d);
struct conf *conf_ref(const struct conf *c);
void conf_unref(struct conf **c);

/* The struct of a top-level section, with defaults when the file has none of it (options without a
 * default are then empty: ask conf_has_section()). Sections stand once and take no title: conf_section(c, &mmp_block). Root options: conf_section(c, &root_block). */
const void *conf_section(const struct conf *c, const struct conf_block *block);
bool conf_has_section(const struct conf *c, const struct conf_block *block);
/* Calls fn with the absolute path of every file that a FILE or SECRET option names, for some more than once. */
void conf_each_file(const struct conf *c, void (*fn)(void *arg, const char *path), void *arg);
bool conf_has_foreign(
    const struct conf *c, const char *name);  /* the file has that foreign section */
uint64_t conf_revision(const struct conf *c); /* hash of the effective options */
/* The same of one block (a struct KIND_conf), nested blocks left out: equal on every host. */
uint64_t conf_block_revision(const struct conf_block *block, const void *data);

/* Appends the names of RESTART options whose values differ ("edge.queue.threads, mmp.x"); returns how
 * many: a reload to `fresh` does not change those. */
size_t conf_restart_needed(const struct conf *old, const struct conf *fresh, struct buf *out);

/* Effective options with their origin as comments; a sample file with prose; reference in Markdown. */
bool conf_dump(const struct conf *c, struct buf *out);
bool conf_dump_one(const struct conf *c, const struct conf_block *block, struct buf *out);
bool conf_sample(const struct conf_schema *schema, struct buf *out);
bool conf_reference(const struct conf_schema *schema, struct buf *out);

#endif
