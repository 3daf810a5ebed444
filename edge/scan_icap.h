/* scan_icap.h - what the ICAP services of a worker have said that they want (OPTIONS, RFC 3507 section 4.10). */
#ifndef EDGE_SCAN_ICAP_H
#define EDGE_SCAN_ICAP_H

struct icap_memory;
struct icap_memory *icap_memory_new(void);
void icap_memory_free(struct icap_memory **m);

#endif
