/* convert_internal.h - a conversion under way; for convert.c, convert_rule.c and convert_run.c only. */
#ifndef EDGE_CONVERT_INTERNAL_H
#define EDGE_CONVERT_INTERNAL_H

#include "edge/convert.h"
#include "proto/mime.h"

enum { CONVERT_VALUE_MAX = 4096, CONVERT_NUMBER_SIZE = 256, CONVERT_PATH_SIZE = 512 };

/* Words of edge_part.action, .client and .on_failure. */
enum part_action { PART_PROGRAM, PART_KEEP, PART_DELETE, PART_HOLD, PART_BOUNCE, PART_DROP };
enum part_client { PART_ANY, PART_OURS, PART_OTHERS };
enum part_failure {
	PART_FAIL_LATER,
	PART_FAIL_KEEP,
	PART_FAIL_DELETE,
	PART_FAIL_HOLD,
	PART_FAIL_BOUNCE
};

/* What a part says of itself; spans live as long as scratch. */
struct part_facts {
	struct span type, subtype, encoding, disposition, name;
	char number[CONVERT_NUMBER_SIZE]; /* as IMAP counts: 1.2 */
	unsigned attachment;              /* the how manieth leaf */
	size_t size;                      /* encoded */
	struct buf scratch;               /* owned */
};

/* What is to be done with a part. */
enum part_end {
	PART_END_KEEP,
	PART_END_CHANGE, /* options and out are what it becomes */
	PART_END_DELETE,
	PART_END_HOLD,
	PART_END_BOUNCE,
	PART_END_DROP,
	PART_END_LATER
};

struct part_result {
	enum part_end end;
	struct buf out;                                     /* owned: decoded bytes */
	char type[200], disposition[200], description[200]; /* "": as before */
	char text[500];                                     /* diagnostic; "": none */
};

struct conversion {
	const struct convert_ask *ask;
	struct span message;
	struct mime mime; /* owned */
	char dir[CONVERT_PATH_SIZE];
	uint64_t until_ms; /* the end of its time */
	uint64_t out_max;  /* bytes that one part may become */
};

/* convert_rule.c */
void part_facts_of(const struct conversion *c, size_t part, struct part_facts *out);
void part_facts_end(struct part_facts *f);
const struct edge_part_conf *part_rule(const struct conversion *c, const struct part_facts *f);

/* convert_run.c: the folder, once; a program for one part. */
bool convert_dir(struct conversion *c);
void convert_dir_end(struct conversion *c);
void convert_run(struct conversion *c, size_t part, const struct part_facts *f,
    const struct edge_part_conf *rule, struct part_result *out);

#endif
