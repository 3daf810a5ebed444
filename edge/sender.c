/* sender.c - what is asked about a sender (part of step 3; before: envelope.c). */
#include "edge/sender.h"

#include "edge/screen.h"

enum verdict sender_go_on(struct session *s)
{
	if (screen_pending(s))
		return V_WAIT;
	session_enter(s, ST_COMMAND);
	return session_say(s, 250, "2.1.0", "sender ok");
}

enum verdict sender_start(struct session *s)
{
	if (!screen_pending(s))
		return sender_go_on(s);
	session_enter(s, ST_SENDER);
	return V_WAIT;
}
