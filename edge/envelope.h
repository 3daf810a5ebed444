/* envelope.h - step 3: who sends, and to whom? */
#ifndef EDGE_ENVELOPE_H
#define EDGE_ENVELOPE_H

#include "edge/rewrite.h"
#include "edge/session.h"

enum verdict envelope_mail(struct session *s, const struct smtp_cmd *cmd);
/* Our own checks let the sender pass: filters are asked, MAIL is answered. */
enum verdict envelope_sender_ok(struct session *s);
enum verdict envelope_rcpt(struct session *s, const struct smtp_cmd *cmd);
/* What MeterMaid is told of the mail under way, as of one recipient. */
struct meter_facts envelope_facts(const struct session *s);
/* What a refusal says: it names the rule, so that whoever is refused can ask about it. */
enum { LIMIT_TEXT_MAX = 128 };
void envelope_limit_text(const struct meter_answer *a, char text[LIMIT_TEXT_MAX]);
/* A limit's delay of MAIL, of RCPT, is over. */
enum verdict envelope_sender_taken(struct session *s);
enum verdict envelope_filter_recipient(struct session *s);
/* Mail that this client is allowed to send anywhere: it is one of ours. */
bool envelope_may_relay(const struct session *s);
/* The access rules let the recipient of the mail under way pass. */
enum verdict envelope_ruled(struct session *s);
/* For recipient.c and ruling.c, about the recipient of the mail under way: it is refused; it is taken (user, detail, store are
 * empty for mail that is to be relayed); it is in the transaction, and MeterMaid and the filters are asked. */
enum verdict envelope_refuse_recipient(
    struct session *s, unsigned code, const char *enhanced, const char *text);
enum verdict envelope_take_recipient(
    struct session *s, struct span user, struct span detail, struct span store);
enum verdict envelope_meter_recipient(struct session *s);
/* Whose mail rewrite rules are asked about. */
struct rewrite_facts envelope_rewrite_facts(const struct session *s);
/* May this client ask for delivery reports (RFC 3461)? */
bool envelope_offers_dsn(const struct session *s);
/* MT-PRIORITY: to users and listed networks; strangers do not say how urgent their mail is to us. */
bool envelope_offers_priority(const struct session *s);

#endif
