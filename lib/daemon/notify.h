/* notify.h - telling systemd (sd_notify): READY=1, RELOADING=1, STOPPING=1, STATUS=... */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

/* Sends text to the socket that NOTIFY_SOCKET names; nothing when it is not set. */
void daemon_notify(const char *text);

#endif
