/* search_sink.h - what is done with the messages that a search finds other than to tell their numbers: SORT and
 * THREAD. */
#ifndef STORE_IMAP_SEARCH_SINK_H
#define STORE_IMAP_SEARCH_SINK_H

#include "store-backend/imap/search.h"
#include "store-backend/imap/session.h"

/* First member of the sink's own object. */
struct search_sink {
	/* One message that matches, with its entry; name: as the client calls it. False: too many. */
	bool (*found)(struct search_sink *k, struct search_subject *of, uint32_t name);
	/* All are found: the answer in steps, as the run of a job. V_NEXT with *done_out: it is all in the
	 * session's text but for its line end. */
	enum verdict (*tell)(struct imap_session *s, struct search_sink *k, bool *done_out);
	void (*end)(struct search_sink *k); /* frees it */
	bool modseq;                        /* with a MODSEQ key the answer ends with the highest */
};

/* The rest of the command: charset SP keys. */
enum verdict imap_start_search(struct imap_session *s, struct search_sink *take_sink);

#endif
