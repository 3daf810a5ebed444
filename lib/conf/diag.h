/* diag.h - inside of lib/conf: the order of files in a report. */
#ifndef CONF_DIAG_H
#define CONF_DIAG_H

#include "conf/conf.h"

/* Files are reported in the order in which they were read; call once for each. */
void diag_note_file(struct conf_diag *d, const char *file);

#endif
