/* folder.h - a folder for a fuzzer that needs files: in memory where there is such a place, or every input waits for the disk. */
#ifndef FUZZ_FOLDER_H
#define FUZZ_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

static char fuzz_folder[64];

static inline int fuzz_remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
	return remove(path);
}

static inline void fuzz_remove(const char *path)
{
	(void)nftw(path, fuzz_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void fuzz_folder_end(void)
{
	fuzz_remove(fuzz_folder);
}

/* It goes when the fuzzer ends. */
static inline void fuzz_folder_make(void)
{
	(void)snprintf(fuzz_folder, sizeof fuzz_folder, "/dev/shm/postern-fuzz.XXXXXX");
	if (mkdtemp(fuzz_folder) == NULL) {
		(void)snprintf(fuzz_folder, sizeof fuzz_folder, "/tmp/postern-fuzz.XXXXXX");
		CHECK(mkdtemp(fuzz_folder) != NULL);
	}
	CHECK(atexit(fuzz_folder_end) == 0);
}

#endif
