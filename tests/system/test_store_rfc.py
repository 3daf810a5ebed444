"""What the RFCs of the advertised extensions demand, one row for each demand, at one store; test_store_imap_ext.py has the
larger ones, tests/unit/store/test_imap*.c the exact transcripts."""
import re
import socket

import pytest

TEXT = "Subject: hello\r\nMessage-ID: <1@x.example>\r\nFrom: a@b.example\r\n\r\nbody text\r\n"
APPEND = "APPEND {} {{%d+}}\r\n%s" % (len(TEXT), TEXT)
# Each row is a session of its own, with a mailbox B of three messages selected (uids 1 to 3): the RFC and its section, commands, and
# what the answer to the last one is, as a pattern; "!" before it: what it must not hold.
ROWS = [
    ("3501 6.3.3 superior mailboxes are made", ["CREATE {}/x/y", 'LIST "" {}/%'], r"\* LIST \(\\HasChildren\) \"/\" {}/x\r\n"),
    ("3501 6.3.4 a mailbox with inferiors becomes Noselect", ["CREATE {}/x/y", "DELETE {}/x", 'LIST "" {}/%'], r"\\Noselect"),
    ("3501 6.3.8 the delimiter", ['LIST "" ""'], r'\* LIST \(\\Noselect\) "/" ""\r\n'),
    ("3501 6.3.11 APPEND never makes a mailbox", [APPEND.format("none")], r"NO \[TRYCREATE\]"),
    ("3501 6.4.8 a uid that is not there is no error", ["UID FETCH 99 FLAGS"], r"^x OK"),
    ("3501 6.4.5 BODY sets Seen and says so", ["FETCH 1 BODY[TEXT]"], r"\\Seen"),
    ("3501 6.3.2 EXAMINE changes nothing", ["EXAMINE {}", "FETCH 1 BODY[TEXT]"], r"!Seen"),
    ("3501 6.4.2 CLOSE tells of no EXPUNGE", ["STORE 1 +FLAGS (\\Deleted)", "CLOSE"], r"!EXPUNGE"),
    ("9051 6.4.4 SEARCH answers with ESEARCH", ["ENABLE IMAP4rev2", "SEARCH ALL"], r'\* ESEARCH \(TAG "x"\) ALL 1:3\r\n'),
    ("9051 6.3.2 no RECENT; the name is told", ["ENABLE IMAP4rev2", "SELECT {}"], r'EXISTS\r\n\* LIST \(\) "/" {}'),
    ("9051 6.3.2 no RECENT", ["ENABLE IMAP4rev2", "SELECT {}"], r"!RECENT"),
    ("2177 3 anything but DONE ends IDLE with BAD", ["IDLE", "over"], r"x BAD"),
    ("2971 3.3 NIL is a list", ["ID NIL"], r"\* ID \("),
    ("5161 3.1 what is unknown is passed over", ["ENABLE X-NONE CONDSTORE"], r"\* ENABLED CONDSTORE\r\n"),
    ("2342 5 namespaces", ["NAMESPACE"], r'\* NAMESPACE \(\("" "/"\)\)'),
    ("4315 3 APPENDUID", [APPEND.format("{}")], r"OK \[APPENDUID \d+ 4\]"),
    ("4315 3 COPYUID", ["CREATE {}c", "COPY 2:3 {}c"], r"OK \[COPYUID \d+ 2:3 1:2\]"),
    ("4315 2.1 UID EXPUNGE leaves the others", ["STORE 1:2 +FLAGS (\\Deleted)", "UID EXPUNGE 2"], r"^\* 2 EXPUNGE\r\nx OK"),
    ("3691 2 UNSELECT removes nothing", ["STORE 1 +FLAGS (\\Deleted)", "UNSELECT", "STATUS {} (MESSAGES)"], r"MESSAGES 3"),
    ("6851 4.3 COPYUID before EXPUNGE", ["CREATE {}m", "MOVE 1 {}m"], r"^\* OK \[COPYUID \d+ 1 1\].*\r\n\* 1 EXPUNGE"),
    ("3348 3 HasChildren", ["CREATE {}/k", 'LIST "" {}'], r"\\HasChildren"),
    ("5258 3.1 RECURSIVEMATCH alone", ['LIST (RECURSIVEMATCH) "" %'], r"x BAD"),
    ("5258 3.5 CHILDINFO", ["CREATE {}/s", "SUBSCRIBE {}/s", 'LIST (SUBSCRIBED RECURSIVEMATCH) "" {}'], r'\("CHILDINFO" \("SUBSCRIBED"\)\)'),
    ("5258 3 several patterns", ['LIST "" (INBOX {})'], r" {}\r\n.* INBOX\r\n"),
    ("5819 2 STATUS behind LIST", ['LIST "" {} RETURN (STATUS (MESSAGES))'], r"LIST .*\r\n\* STATUS {} \(MESSAGES 3\)"),
    ("8440 3 MYRIGHTS behind LIST", ['LIST "" {} RETURN (MYRIGHTS)'], r"\* MYRIGHTS {} lrswipkxteacd"),
    ("6154 3 CREATE with a use", ["CREATE {}u (USE (\\Junk))", 'LIST (SPECIAL-USE) "" {}u'], r"\\Junk"),
    ("6154 3 a use that is not offered", ["CREATE {}v (USE (\\All))"], r"NO \[USEATTR\]"),
    ("6154 4 an annotation says nothing else", ["SETMETADATA {} (/private/specialuse \"\\\\Sent\")"], r"NO \[USEATTR\]"),
    ("7162 3.1.3 MODIFIED", ["STORE 1 (UNCHANGEDSINCE 1) +FLAGS (x)"], r"OK \[MODIFIED 1\]"),
    ("7162 3.1.3 MODSEQ even if SILENT", ["STORE 1 (UNCHANGEDSINCE 99) +FLAGS.SILENT (x)"], r"\* 1 FETCH \((UID 1 )?MODSEQ \(\d+\)\)"),
    ("7162 3.2.8 HIGHESTMODSEQ of CLOSE", ["ENABLE QRESYNC", "STORE 1 +FLAGS (\\Deleted)", "CLOSE"], r"OK \[HIGHESTMODSEQ \d+\]"),
    ("7162 3.2.7 HIGHESTMODSEQ of EXPUNGE", ["ENABLE QRESYNC", "STORE 1 +FLAGS (\\Deleted)", "EXPUNGE"],
     r"\* VANISHED 1\r\nx OK \[HIGHESTMODSEQ \d+\]"),
    ("7162 3.2.11 CLOSED", ["ENABLE QRESYNC", "SELECT INBOX"], r"^\* OK \[CLOSED\]"),
    ("7162 3.2.6 VANISHED needs QRESYNC", ["UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)"], r"x BAD"),
    ("4731 3.1 nothing found", ["SEARCH RETURN (MIN COUNT) KEYWORD none"], r'\* ESEARCH \(TAG "x"\) COUNT 0\r\n'),
    ("5182 2.1 NO empties the result", ["SEARCH RETURN (SAVE) ALL", "SEARCH RETURN (SAVE) CHARSET X ALL", "FETCH $ UID"], r"!FETCH \("),
    ("5182 2.1 BAD leaves it", ["SEARCH RETURN (SAVE) ALL", "SEARCH RETURN (SAVE) NOKEY", "FETCH $ UID"], r"\* 3 FETCH"),
    ("5256 4 ORDEREDSUBJECT", ["THREAD ORDEREDSUBJECT UTF-8 ALL"], r"\* THREAD \(1 \(2\)\(3\)\)"),
    ("5256 3 charset", ["SORT (SUBJECT) X-NONE ALL"], r"NO \[BADCHARSET"),
    ("5032 4 zero is no interval", ["SEARCH OLDER 0"], r"x BAD"),
    ("3502 6.3.11 all or nothing", [APPEND.format("{}") + " {3+}\r\n\0\0\0", "NOOP"], r"!EXISTS"),
    ("3516 4.2 BINARY.SIZE", ["FETCH 1 BINARY.SIZE[1]"], r"BINARY.SIZE\[1\] 11"),
    ("3516 4.3 NUL that cannot be kept", ["APPEND {} ~{{3+}}\r\n\0ab"], r"NO \[UNKNOWN-CTE\]"),
    ("4469 5 a part that is not there", ['APPEND {} CATENATE (URL "/{}/;UID=99")'], r"NO \[BADURL"),
    ("4467 7 a URL without rump", ['GENURLAUTH "imap://a@b/INBOX/;UID=1" INTERNAL'], r"x (BAD|NO)"),
    ("4467 6 an URL that is no good is NIL", ['URLFETCH "imap://a@b/INBOX/;UID=1"'], r"\* URLFETCH \S+ NIL"),
    ("4314 3.1 unknown rights", ["SETACL {} bob@example.org !"], r"x BAD"),
    ("9208 3.1.2 a root that is not there", ["GETQUOTA none"], r"x NO"),
    ("9208 5.3 DELETED-STORAGE", ["STORE 1 +FLAGS (\\Deleted)", "STATUS {} (DELETED DELETED-STORAGE)"], r"DELETED 1 DELETED-STORAGE %d" % len(TEXT)),
    ("5464 4.2 no value is NIL", ["GETMETADATA {} /private/none"], r"/private/none NIL"),
    ("4978 3 a mechanism that is not there", ["COMPRESS LZW"], r"x (NO|BAD)"),
    ("8438 3 SIZE", ["STATUS {} (SIZE)"], r"SIZE %d" % (3 * len(TEXT))),
    ("8514 4.2 SAVEDATESUPPORTED", ["SEARCH SAVEDATESUPPORTED"], r"\* SEARCH 1 2 3\r\n"),
    ("8474 4.3 MAILBOXID", ["STATUS {} (MAILBOXID)"], r"MAILBOXID \(F\d+\)"),
    ("8474 5.2 THREADID", ["FETCH 1 THREADID"], r"THREADID NIL"),
    ("8970 3.1 PREVIEW LAZY", ["FETCH 1 (PREVIEW (LAZY))"], r'PREVIEW "body text"'),
    ("8508 3.4 no such message", ["UID REPLACE 99 {} {{3+}}\r\nabc"], r"x NO"),
    ("8508 3.3 one goes, one comes", ["UID REPLACE 2 {} {{3+}}\r\nabc"], r"APPENDUID \d+ 4\].*\r\n(\* .*\r\n)*\* 2 EXPUNGE\r\n(\* .*\r\n)*x OK"),
    ("5465 5 an unknown event", ["NOTIFY SET (PERSONAL (NoEvent))"], r"NO \[BADEVENT \("),
    ("5465 5.3 MessageNew alone", ["NOTIFY SET (PERSONAL (MessageNew))"], r"x BAD"),
    ("6855 3 no CHARSET", ["ENABLE UTF8=ACCEPT", "SEARCH CHARSET UTF-8 ALL"], r"x BAD"),
    ("6855 3 no separators in names", ["ENABLE UTF8=ACCEPT", 'CREATE "a\u2028"'], r"x NO"),
    ("7889 3 APPENDLIMIT", ["STATUS {} (APPENDLIMIT)"], r"APPENDLIMIT \d+"),
    ("9586 3 numbers are refused", ["ENABLE UIDONLY", "FETCH 1 FLAGS"], r"BAD \[UIDREQUIRED\]"),
    ("9586 3 numbers in SEARCH", ["ENABLE UIDONLY", "UID SEARCH 1:2"], r"BAD \[UIDREQUIRED\]"),
    ("9586 3.3 UIDFETCH", ["ENABLE UIDONLY", "UID FETCH 2 FLAGS"], r"\* 2 UIDFETCH \("),
    ("5255 3.2 a language that is not there", ["LANGUAGE xx"], r"x NO"),
    ("5255 3.2 fallback of subtags", ["LANGUAGE en-GB"], r'\* LANGUAGE \("en"\)'),
    ("7888 4 LITERAL+", ["NOOP"], r"^x OK"),
]


def put(text, box="{}"):
    return "APPEND %s {%d+}\r\n%s" % (box, len(text.encode()), text)


MIME = ("Subject: m\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        "--b\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJjDQpkZWY=\r\n"
        "--b\r\nContent-Transfer-Encoding: x-none\r\n\r\nzz\r\n"
        "--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nYQBi\r\n--b--\r\n")
NEW = "{3+}\r\nabc"  # a message for REPLACE
# Of extensions that have more demands than one can see in a row or two.
ROWS += [
    ("3516 4.2 a part of what is decoded", [put(MIME), "FETCH 4 BINARY.PEEK[1]<2.4>"], r"BINARY\[1\]<2> \{4\}\r\nc\r\nd"),
    ("3516 4.2 PEEK sets nothing", [put(MIME), "FETCH 4 BINARY.PEEK[1]", "FETCH 4 FLAGS"], r"!Seen"),
    ("3516 4.2 BINARY sets Seen", [put(MIME), "FETCH 4 BINARY[1]", "FETCH 4 FLAGS"], r"\\Seen"),
    ("3516 4.3 the size of what BINARY gives", [put(MIME), "FETCH 4 BINARY.SIZE[1]"], r"BINARY.SIZE\[1\] 8\)"),
    ("3516 4.3 an encoding that nobody knows", [put(MIME), "FETCH 4 BINARY.PEEK[2]"], r"x NO \[UNKNOWN-CTE\]"),
    ("3516 4.3 nor its size", [put(MIME), "FETCH 4 BINARY.SIZE[2]"], r"x NO \[UNKNOWN-CTE\]"),
    ("3516 4.3 NUL goes in a literal8", [put(MIME), "FETCH 4 BINARY.PEEK[3]"], r"BINARY\[3\] ~\{3\}\r\na\0b"),
    ("3516 4.3 without NUL a string", [put(MIME), "FETCH 4 BINARY.PEEK[1]"], r"!~\{"),
    ("4469 3 APPENDUID", ['APPEND {} CATENATE (URL "/{}/;UID=1" TEXT {3+}\r\nabc)'], r"x OK \[APPENDUID \d+ 4\]"),
    ("4469 3 Seen is not set", ['APPEND {} CATENATE (URL "/{}/;UID=1" TEXT {3+}\r\nabc)', "FETCH 1 FLAGS"], r"!Seen"),
    ("4469 3 octets as they are", ['APPEND {} CATENATE (URL "/{}/;UID=1/;SECTION=HEADER" TEXT {5+}\r\nabc\r\n)', "FETCH 4 BODY.PEEK[TEXT]"],
     r"\{5\}\r\nabc\r\n"),
    ("4469 3 of another server", ['APPEND {} CATENATE (URL "imap://other.example/{}/;UID=1")'], r"x NO"),
    ("4469 4.1 the URL that is no good", ['APPEND {} CATENATE (URL "/{}/;UID=1" URL "/{}/;UID=99")'], r'x NO \[BADURL "?/{}/;UID=99'),
    ("4469 4.1 and nothing is appended", ['APPEND {} CATENATE (URL "/{}/;UID=1" URL "/{}/;UID=99")', "STATUS {} (MESSAGES)"], r"MESSAGES 3\)"),
    ("5182 2.1 SELECT empties the result", ["SEARCH RETURN (SAVE) ALL", "SELECT {}", "FETCH $ UID"], r"^x OK"),
    ("5182 2.1 SAVE alone answers nothing", ["SEARCH RETURN (SAVE) ALL"], r"!SEARCH \("),
    ("5182 2.1 a SEARCH without SAVE leaves it", ["SEARCH RETURN (SAVE) 2", "SEARCH RETURN (ALL) 3", "FETCH $ UID"], r"^\* 2 FETCH"),
    ("5182 2.1 NO without SAVE leaves it", ["SEARCH RETURN (SAVE) 2", "SEARCH CHARSET X ALL", "FETCH $ UID"], r"^\* 2 FETCH"),
    ("5182 2.1 the expunged are not in it", ["SEARCH RETURN (SAVE) 1:3", "STORE 1 +FLAGS (\\Deleted)", "EXPUNGE", "FETCH $ UID"],
     r"\A\* 1 FETCH \(UID 2\)\r\n\* 2 FETCH \(UID 3\)\r\nx OK"),
    ("5182 2.1 an empty result is a set", ["SEARCH RETURN (SAVE) KEYWORD none", "COPY $ INBOX"], r"^x OK"),
    ("5182 2.1 uids where uids are meant", ["STORE 1 +FLAGS (\\Deleted)", "EXPUNGE", "SEARCH RETURN (SAVE) 2", "UID FETCH $ FLAGS"], r"UID 3 "),
    ("5182 2.2 in SEARCH", ["SEARCH RETURN (SAVE) 2:3", "SEARCH $ 1:2"], r"^\* SEARCH 2\r\n"),
    ("5182 2.2 in UID SEARCH", ["SEARCH RETURN (SAVE) 2:3", "UID SEARCH UID $ 1:2"], r"^\* SEARCH 2\r\n"),
    ("5182 2.4 SAVE MIN", ["SEARCH RETURN (SAVE MIN) ALL", "FETCH $ UID"], r"\A\* 1 FETCH \(UID 1\)\r\nx OK"),
    ("5182 2.4 SAVE MAX", ["SEARCH RETURN (MAX SAVE) ALL", "FETCH $ UID"], r"\A\* 3 FETCH \(UID 3\)\r\nx OK"),
    ("5182 2.4 SAVE MIN MAX", ["SEARCH RETURN (MAX SAVE MIN) ALL", "FETCH $ UID"], r"\A\* 1 FETCH.*\r\n\* 3 FETCH.*\r\nx OK"),
    ("5182 2.4 COUNT: all of them", ["SEARCH RETURN (MAX SAVE MIN COUNT) ALL", "FETCH $ UID"], r"\* 2 FETCH"),
    ("4731 3.1 no option is ALL", ["SEARCH RETURN () 2:3"], r'^\* ESEARCH \(TAG "x"\) ALL 2:3\r\n'),
    ("4731 3.1 UID of UID SEARCH", ["UID SEARCH RETURN (MAX) ALL"], r'^\* ESEARCH \(TAG "x"\) UID MAX 3\r\n'),
    ("4731 3.1 and when nothing is found", ["UID SEARCH RETURN (MIN ALL) KEYWORD none"], r'^\* ESEARCH \(TAG "x"\) UID\r\n'),
    ("4731 3.2 MODSEQ", ["SEARCH RETURN (MAX) MODSEQ 1"], r"MAX 3 MODSEQ \d+\r\n"),
    ("7162 3.1.5 SEARCH tells the MODSEQ", ["SEARCH MODSEQ 1"], r"^\* SEARCH 1 2 3 \(MODSEQ \d+\)\r\n"),
    ("7162 3.1.4 CHANGEDSINCE tells MODSEQ", ["FETCH 1:* (FLAGS) (CHANGEDSINCE 1)"], r"MODSEQ \(\d+\)"),
    ("7162 3.1.3 UNCHANGEDSINCE 0", ["STORE 1 (UNCHANGEDSINCE 0) +FLAGS.SILENT (x)"], r"x OK \[MODIFIED 1\]"),
    ("7162 3.1.3 in part", ["STORE 2 +FLAGS (y)", "UID STORE 1:3 (UNCHANGEDSINCE 4) +FLAGS.SILENT (x)"], r"x OK \[MODIFIED 2\]"),
    ("7162 3.1.2 HIGHESTMODSEQ of SELECT", ["SELECT {}"], r"\* OK \[HIGHESTMODSEQ \d+\]"),
    ("7162 3.1.7 HIGHESTMODSEQ of STATUS", ["STATUS {} (HIGHESTMODSEQ)"], r"HIGHESTMODSEQ \d+\)"),
    ("7162 3.2.5 QRESYNC of SELECT is to be enabled", ["SELECT {} (QRESYNC (1 1))"], r"x BAD"),
    ("7162 3.2.5 another UIDVALIDITY: as without", ["ENABLE QRESYNC", "SELECT {} (QRESYNC (1 1))"], r"!VANISHED|FETCH \("),
    ("7162 3.2.6 VANISHED needs CHANGEDSINCE", ["ENABLE QRESYNC", "UID FETCH 1:* FLAGS (VANISHED)"], r"x BAD"),
    ("7162 3.2.6 VANISHED is of UID FETCH", ["ENABLE QRESYNC", "FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)"], r"x BAD"),
    ("7162 3.2.6 VANISHED (EARLIER)", ["ENABLE QRESYNC", "STORE 2 +FLAGS (\\Deleted)", "EXPUNGE",
     "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)"], r"\A\* VANISHED \(EARLIER\) 2\r\n\* 1 FETCH"),
    ("7162 3.2.10 uids for MOVE, too", ["ENABLE QRESYNC", "CREATE {}m", "MOVE 2 {}m"], r"COPYUID.*\r\n\* VANISHED 2\r\n"),
    ("8508 3.5 in the selected state only", ["UNSELECT", "REPLACE 1 {} " + NEW], r"^x BAD"),
    ("8508 1 flags are not inherited", ["STORE 2 +FLAGS (\\Flagged)", "REPLACE 2 {} " + NEW, "FETCH 3 FLAGS"], r"!Flagged"),
    ("8508 3.4 no answer for STORE", ["REPLACE 2 {} " + NEW], r"!Deleted"),
    ("8508 3.4 of APPEND it has TRYCREATE", ["REPLACE 1 none " + NEW], r"x NO \[TRYCREATE\]"),
    ("8508 3.4 and then nothing is gone", ["REPLACE 1 none " + NEW, "UID SEARCH ALL"], r"^\* SEARCH 1 2 3\r\n"),
    ("8508 3.4 what else is Deleted stays", ["STORE 3 +FLAGS (\\Deleted)", "REPLACE 1 {} " + NEW, "UID SEARCH ALL"], r"^\* SEARCH 2 3 4\r\n"),
    ("8508 3.4 into another mailbox", ["CREATE {}o", "REPLACE 1 {}o " + NEW, "STATUS {}o (MESSAGES)"], r"MESSAGES 1\)"),
    ("8508 4.2 CATENATE", ['UID REPLACE 1 {} CATENATE (URL "/{}/;UID=1")'], r"^x OK"),
    ("8508 4.3 APPENDUID before EXPUNGE", ["REPLACE 1 {} " + NEW], r"\* OK \[APPENDUID \d+ 4\].*\r\n(\* .*\r\n)*\* 1 EXPUNGE"),
    ("8508 4.5 VANISHED", ["ENABLE QRESYNC", "REPLACE 1 {} " + NEW], r"\* VANISHED 1\r\n"),
    ("8970 3.2 nothing to tell is an empty string", [put("Subject: x\r\nContent-Type: application/pdf\r\n\r\nzz"), "FETCH 4 PREVIEW"], r'PREVIEW ""'),
    ("8970 3.3 at most 256 characters", [put("Subject: x\r\n\r\n" + "word " * 200), "FETCH 4 PREVIEW"], r'PREVIEW "[^"]{1,256}"'),
    ("8970 3.3 decoded, in UTF-8", [put("Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=FC=DFe"),
     "FETCH 4 PREVIEW"], "PREVIEW (\"|\\{7\\}\r\n)gr\u00fc\u00dfe"),
    ("8970 3.1 Seen is not set", ["FETCH 1 PREVIEW", "FETCH 1 FLAGS"], r"!Seen"),
    ("8970 6 an unknown modifier", ["FETCH 1 (PREVIEW (NONE))"], r"x BAD"),
    ("7889 2 APPENDLIMIT for all", ["CAPABILITY"], r" APPENDLIMIT=\d+"),
    ("7889 4 too large", ["APPEND {} {4000000000}"], r"x NO \[TOOBIG\]"),
    ("8438 3 SIZE behind LIST", ['LIST "" {} RETURN (STATUS (SIZE))'], r"\* STATUS {} \(SIZE %d\)" % (3 * len(TEXT))),
    ("8514 4.1 SAVEDATE", ["FETCH 1 SAVEDATE"], r'SAVEDATE "[ \d]\d-\w\w\w-\d{4} '),
    ("8514 4.3 SAVEDSINCE", ["SEARCH SAVEDSINCE 1-Jan-2020"], r"^\* SEARCH 1 2 3\r\n"),
    ("8514 4.3 SAVEDBEFORE", ["SEARCH SAVEDBEFORE 1-Jan-2020"], r"^\* SEARCH\r\n"),
    ("8474 4.1 CREATE tells the MAILBOXID", ["CREATE {}n"], r"x OK \[MAILBOXID \(F\d+\)\]"),
    ("8474 4.2 SELECT does", ["SELECT {}"], r"\* OK \[MAILBOXID \(F\d+\)\]"),
    ("8474 5.1 EMAILID", ["FETCH 1 EMAILID"], r"EMAILID \(M\d+\)"),
    ("8474 7 SEARCH for one that is not there", ["SEARCH EMAILID M1"], r"^\* SEARCH\r\n"),
    ("5819 2 no STATUS of what cannot be selected", ["CREATE {}/a/b", "DELETE {}/a", 'LIST "" {}/% RETURN (STATUS (MESSAGES))'], r"!STATUS {}"),
    ("5258 3.1 subscribed and not there", ["SUBSCRIBE {}gone", 'LIST (SUBSCRIBED) "" {}gone'], r"\\NonExistent"),
    ("5258 3.2 RETURN (CHILDREN)", ['LIST "" {} RETURN (CHILDREN)'], r"\\HasNoChildren"),
    ("5258 3.2 RETURN (SUBSCRIBED)", ["SUBSCRIBE {}", 'LIST "" {} RETURN (SUBSCRIBED)'], r"\\Subscribed"),
    ("5258 3.1 REMOTE", ['LIST (REMOTE) "" {}'], r"\* LIST .* {}\r\n"),
    ("5258 3.1 an option that is not there", ['LIST (NONE) "" *'], r"x BAD"),
    ("5464 4.3 a value", ["SETMETADATA {} (/private/comment \"a\")", "GETMETADATA {} /private/comment"], r'METADATA {} \(/private/comment "?a"?\)'),
    ("5464 4.2 names in any case", ["SETMETADATA {} (/private/comment \"a\")", "GETMETADATA {} /PRIVATE/Comment"], r'/private/comment (?i:"?a"?)'),
    ("5464 4.2.1 MAXSIZE", ["SETMETADATA {} (/private/comment \"abc\")", "GETMETADATA (MAXSIZE 2) {} /private/comment"], r"\[METADATA LONGENTRIES 3\]"),
    ("5464 4.2.2 DEPTH", ["SETMETADATA {} (/private/a/b \"v\")", "GETMETADATA (DEPTH 1) {} /private/a"], r"/private/a/b"),
    ("5464 4.3 NIL removes", ["SETMETADATA {} (/private/comment \"a\")", "SETMETADATA {} (/private/comment NIL)", "GETMETADATA (DEPTH infinity) {} /private"],
     r"!/private/comment"),
    ("9208 4.2 GETQUOTAROOT", ["GETQUOTAROOT {}"], r"\* QUOTAROOT {}( ""|\r\n)"),
    ("5255 3.1 the languages", ["LANGUAGE"], r"\* LANGUAGE \(.*i-default"),
    ("3502 6.3.11 several", ["APPEND {} {3+}\r\nabc {3+}\r\ndef"], r"x OK \[APPENDUID \d+ 4:5\]"),
    ("5032 3 YOUNGER", ["SEARCH YOUNGER 3600"], r"^\* SEARCH 1 2 3\r\n"),
    ("5032 3 OLDER", ["SEARCH OLDER 3600"], r"^\* SEARCH\r\n"),
    ("5465 3 STATUS of the others before OK", ["NOTIFY SET STATUS (MAILBOXES (INBOX) (MessageNew MessageExpunge FlagChange))"],
     r"^\* STATUS INBOX \((?=.*MESSAGES)(?=.*UIDNEXT)(?=.*UIDVALIDITY)(?=.*HIGHESTMODSEQ)"),
    ("5465 3 what is not there is passed over", ["NOTIFY SET (MAILBOXES (INBOX none) (MessageNew MessageExpunge))"], r"^x OK"),
    ("5465 3 SET tells what has changed", [APPEND.format("{}"), "NOTIFY SET (SELECTED (MessageNew MessageExpunge))"], r"^x OK"),
    ("5465 5 FlagChange alone", ["NOTIFY SET (SELECTED (FlagChange))"], r"x BAD"),
    ("9208 4.1.2 a mailbox that is not there yet", ["GETQUOTAROOT {}none"], r"\* QUOTAROOT {}none"),
    ("5465 3 NONE", ["NOTIFY SET (SELECTED (MessageNew MessageExpunge))", "NOTIFY NONE"], r"^x OK"),
    ("9586 3 VANISHED", ["ENABLE UIDONLY", "UID STORE 2 +FLAGS (\\Deleted)", "UID EXPUNGE 2"], r"\* VANISHED 2\r\n"),
]

# URLFETCH: <url> is what GENURLAUTH has made of the one before.
def lend(part=""):
    return 'GENURLAUTH "imap://carol@h/{}/;UID=4%s;URLAUTH=anonymous" INTERNAL' % part


ROWS += [
    ("5524 3 the capability", ["CAPABILITY"], r" URLAUTH=BINARY "),
    ("5524 3 a list without parameters", [put(MIME), lend("/;SECTION=1"), "URLFETCH (<url>)"], r"\* URLFETCH \S+ \{12\}\r\nYWJjDQpkZWY=\r\nx OK"),
    ("5524 3.1 BODY is as it is", [put(MIME), lend("/;SECTION=1"), "URLFETCH (<url> BODY)"], r" \(BODY \{12\}\r\nYWJjDQpkZWY=\)\r\n"),
    ("5524 3.1 BINARY has no encoding", [put(MIME), lend("/;SECTION=1"), "URLFETCH (<url> BINARY)"], r" \(BINARY \{8\}\r\nabc\r\ndef\)\r\n"),
    ("5524 3.1 not both BODY and BINARY", [put(MIME), lend(), "URLFETCH (<url> BODY BINARY)"], r"^x BAD"),
    ("5524 3.1 each once", [put(MIME), lend(), "URLFETCH (<url> BODY BODY)"], r"^x BAD"),
    ("5524 3.1 each URL its own", [put(MIME), lend("/;SECTION=1"), "URLFETCH (<url> BINARY) <url>"], r"def\)\r\n\* URLFETCH \S+ \{12\}\r\n"),
    ("5524 3.2 BODYPARTSTRUCTURE of the part", [put(MIME), lend("/;SECTION=1"), "URLFETCH (<url> BODYPARTSTRUCTURE)"],
     r' \(BODYPARTSTRUCTURE \("text" "plain" .* "base64" 12 '),
    ("5524 3.2 it shows what BINARY gives", [put(MIME), lend("/;SECTION=1"), "URLFETCH (<url> BODYPARTSTRUCTURE BINARY)"],
     r' \(BODYPARTSTRUCTURE \("text" "plain" .* "binary" 8 .*\)\) \(BINARY \{8\}'),
    ("5524 3.2 an encoding that nobody knows", [put(MIME), lend("/;SECTION=2"), "URLFETCH (<url> BINARY)"], r" \(BINARY NIL\)\r\nx OK"),
    ("5524 3.2 NUL goes in a literal8", [put(MIME), lend("/;SECTION=3"), "URLFETCH (<url> BINARY)"], r" \(BINARY ~\{3\}\r\na\0b\)\r\n"),
    ("5524 3.2 without NUL a string", [put(MIME), lend("/;SECTION=1"), "URLFETCH (<url> BINARY)"], r"!~\{"),
    ("5524 5 an URL that is no good is NIL", ['URLFETCH ("imap://a@b/INBOX/;UID=1" BINARY BODYPARTSTRUCTURE)'], r"\* URLFETCH \S+ NIL\r\n"),
]

BOB = "bob@example.org"
TWO = "APPEND {} (\\Seen) {3+}\r\nabc (\\Flagged) \"02-Mar-2004 05:06:07 +0000\" {3+}\r\ndef"
# Of extensions that the rows above only touch.
ROWS += [
    ("9585 3 INPROGRESS is told", ["CAPABILITY"], r" INPROGRESS[ \r]"),
    ("3502 6.3.11 each with its own flags", [TWO, "FETCH 4:5 FLAGS"], r"\* 4 FETCH \(FLAGS \([^)]*\\Seen[^)]*\)\)\r\n\* 5 FETCH \(FLAGS \([^)]*\\Flagged"),
    ("3502 6.3.11 each with its own date", [TWO, "FETCH 5 INTERNALDATE"], r'INTERNALDATE "02-Mar-2004 05:06:07 \+0000"'),
    ("3502 6.3.11 flags of one are not the other's", [TWO, "FETCH 5 FLAGS"], r"!Seen"),
    ("3502 6.3.11 TRYCREATE for all", ["APPEND none {3+}\r\nabc {3+}\r\ndef"], r"x NO \[TRYCREATE\]"),
    ("3502 6.3.11 the second's syntax counts for all", ["APPEND {} {3+}\r\nabc (\\Seen", "STATUS {} (MESSAGES)"], r"MESSAGES 3\)"),
    ("4467 7 RESETKEY tells the mechanisms", ["RESETKEY {}"], r"OK \[URLMECH INTERNAL"),
    ("4467 7 RESETKEY of all", ["RESETKEY"], r"^x OK"),
    ("4467 7 RESETKEY of one that is not there", ["RESETKEY none"], r"^x NO"),
    ("4467 7 SELECT tells the mechanisms", ["SELECT {}"], r"\* OK \[URLMECH INTERNAL"),
    ("4467 7 an unknown mechanism", ['GENURLAUTH "imap://carol%40example.org@localhost/{}/;UID=1;URLAUTH=anonymous" NONE'], r"^x (BAD|NO)"),
    ("4467 7 URLFETCH needs a URL", ["URLFETCH"], r"^x BAD"),
    ("9586 3 ENABLED UIDONLY", ["ENABLE UIDONLY"], r"\* ENABLED UIDONLY"),
    ("9586 3 STORE", ["ENABLE UIDONLY", "STORE 1 +FLAGS (x)"], r"x BAD \[UIDREQUIRED\]"),
    ("9586 3 COPY", ["ENABLE UIDONLY", "COPY 1 INBOX"], r"x BAD \[UIDREQUIRED\]"),
    ("9586 3 MOVE", ["ENABLE UIDONLY", "MOVE 1 INBOX"], r"x BAD \[UIDREQUIRED\]"),
    ("9586 3 SEARCH", ["ENABLE UIDONLY", "SEARCH ALL"], r"x BAD \[UIDREQUIRED\]"),
    ("9586 3 SORT", ["ENABLE UIDONLY", "SORT (DATE) UTF-8 ALL"], r"x BAD \[UIDREQUIRED\]"),
    ("9586 3 THREAD", ["ENABLE UIDONLY", "THREAD REFERENCES UTF-8 ALL"], r"x BAD \[UIDREQUIRED\]"),
    ("9586 3 REPLACE", ["ENABLE UIDONLY", "REPLACE 1 {} " + NEW], r"x BAD \[UIDREQUIRED\]"),
    ("9586 3 the sets of UID commands", ["ENABLE UIDONLY", "UID SEARCH UID 2:3"], r"^\* (SEARCH 2 3|ESEARCH .*2:3)\r\n"),
    ("9586 3 a change is told by its uid", ["ENABLE UIDONLY", "UID STORE 2 +FLAGS (\\Flagged)"], r"\* 2 UIDFETCH \(.*\\Flagged"),
    ("9586 3 no FETCH", ["ENABLE UIDONLY", "UID STORE 2 +FLAGS (\\Flagged)"], r"! FETCH"),
    ("9586 3 EXPUNGE tells VANISHED", ["ENABLE UIDONLY", "UID STORE 2 +FLAGS (\\Deleted)", "EXPUNGE"], r"\A\* VANISHED 2\r\nx OK"),
    ("5255 3.2 the first that is there", ["LANGUAGE xx en"], r'\* LANGUAGE \("?en"?\)\r\n'),
    ("5255 3.2 default", ["LANGUAGE default"], r"\* LANGUAGE \(.+\)\r\n"),
    ("5255 3.2 none: the list alone", ["LANGUAGE"], r"\A\* LANGUAGE \([^)]+\)\r\nx OK"),
    ("5255 3.2 case of a range does not matter", ["LANGUAGE EN"], r"^x OK"),
    ("5464 4.2 several entries", ["SETMETADATA {} (/private/a \"1\" /private/b \"2\")", "GETMETADATA {} (/private/a /private/b)"], r'/private/a "?1"? /private/b "?2"?'),
    ("5464 4.2.2 DEPTH 0", ["SETMETADATA {} (/private/a/b \"v\")", "GETMETADATA (DEPTH 0) {} /private/a"], r"!/private/a/b"),
    ("5464 4.2.2 DEPTH infinity", ["SETMETADATA {} (/private/a/b/c \"v\")", "GETMETADATA (DEPTH infinity) {} /private/a"], r"/private/a/b/c"),
    ("5464 4.2.2 DEPTH 1 is one level", ["SETMETADATA {} (/private/a/b/c \"v\")", "GETMETADATA (DEPTH 1) {} /private/a"], r"!/private/a/b/c"),
    ("5464 4.2.2 an unknown depth", ["GETMETADATA (DEPTH 2) {} /private/a"], r"^x BAD"),
    ("5464 4.2.1 what is not larger comes", ["SETMETADATA {} (/private/a \"abc\")", "GETMETADATA (MAXSIZE 3) {} /private/a"], r'/private/a "?abc"?'),
    ("5464 3.2 a name is private or shared", ["SETMETADATA {} (/other/a \"v\")"], r"^x (BAD|NO)"),
    ("5464 3.2 no wildcards in a name", ["SETMETADATA {} (/private/a* \"v\")"], r"^x (BAD|NO)"),
    ("5464 3.2 no empty level", ["SETMETADATA {} (/private//a \"v\")"], r"^x (BAD|NO)"),
    ("5464 4.3 of a mailbox that is not there", ["SETMETADATA none (/private/a \"v\")"], r"^x NO"),
    ("5464 4.2 of a mailbox that is not there", ["GETMETADATA none /private/a"], r"^x NO"),
    ("5464 4.3 all or nothing", ["SETMETADATA {} (/private/a \"v\" /other/b \"v\")", "GETMETADATA {} /private/a"], r"/private/a NIL"),
    ("5464 4.3 too large", ["SETMETADATA {} (/private/a {70000+}\r\n" + "x" * 70000 + ")"], r"^x NO \[METADATA MAXSIZE \d+\]"),
    ("5464 4.3 an empty value is one", ["SETMETADATA {} (/private/a \"\")", "GETMETADATA {} /private/a"], r'/private/a ""'),
    ("5464 4.3 octets with NUL", ["SETMETADATA {} (/private/a ~{3+}\r\na\0b)", "GETMETADATA {} /private/a"], "/private/a ~\\{3\\}\r\na\0b"),
    ("7162 3.1.8 SELECT (CONDSTORE)", ["SELECT {} (CONDSTORE)", "STORE 1 +FLAGS (x)"], r"MODSEQ \(\d+\)"),
    ("7162 3.1 FETCH MODSEQ enables it", ["FETCH 1 MODSEQ", "STORE 1 +FLAGS (x)"], r"MODSEQ \(\d+\)"),
    ("7162 3.1 STATUS HIGHESTMODSEQ enables it", ["STATUS {} (HIGHESTMODSEQ)", "STORE 1 +FLAGS (x)"], r"MODSEQ \(\d+\)"),
    ("7162 3.1 without it none is told", ["STORE 1 +FLAGS (x)"], r"!MODSEQ"),
    ("7162 3.1.5 the entry of SEARCH MODSEQ", ['SEARCH MODSEQ "/flags/\\\\draft" all 1'], r"^\* SEARCH 1 2 3 \(MODSEQ \d+\)"),
    ("7162 3.1.5 none found: no MODSEQ", ["SEARCH MODSEQ 99999999"], r"^\* SEARCH\r\n"),
    ("7162 3.2.5 what has vanished", ["ENABLE QRESYNC", "STORE 2 +FLAGS (\\Deleted)", "EXPUNGE", "SELECT {} (QRESYNC (1 1 1:3))"], r"^x OK"),
    ("7162 3.2.3 QRESYNC comes with CONDSTORE", ["ENABLE QRESYNC", "STORE 1 +FLAGS (x)"], r"\* 1 FETCH \((?=.*UID 1)(?=.*MODSEQ)"),
    ("7162 3.2.3 VANISHED instead of EXPUNGE", ["ENABLE QRESYNC", "STORE 1 +FLAGS (\\Deleted)", "EXPUNGE"], r"!EXPUNGE\r\n"),
    ("5258 3 no options at all", ['LIST () "" {}'], r"\* LIST \(.*\) \"/\" {}\r\n"),
    ("5258 3 no pattern", ['LIST "" ()'], r"^x BAD"),
    ("5258 3 unknown return option", ['LIST "" {} RETURN (NONE)'], r"^x BAD"),
    ("5258 3 once for several patterns", ['LIST "" ({} {} {})'], r"!\* LIST .*\r\n\* LIST"),
    ("5258 3.1 SUBSCRIBED tells Subscribed", ["SUBSCRIBE {}", 'LIST (SUBSCRIBED) "" {}'], r"\\Subscribed"),
    ("5258 3.1 RECURSIVEMATCH with REMOTE alone", ['LIST (REMOTE RECURSIVEMATCH) "" %'], r"^x BAD"),
    ("5258 3.5 no CHILDINFO without RECURSIVEMATCH", ["CREATE {}/s", "SUBSCRIBE {}/s", 'LIST (SUBSCRIBED) "" {}*'], r"!CHILDINFO"),
    ("5258 3.5 a parent that is not there", ["SUBSCRIBE {}q/s", 'LIST (SUBSCRIBED RECURSIVEMATCH) "" {}%'], r'\\NonExistent.* "/" {}q \("CHILDINFO" \("SUBSCRIBED"\)\)'),
    ("5256 3 SORT by size, backwards", [put("Subject: z\r\n\r\n" + "x" * 200), "SORT (REVERSE SIZE) UTF-8 3:4"], r"^\* SORT 4 3\r\n"),
    ("5256 3 equal ones by number", ["SORT (REVERSE SUBJECT) UTF-8 ALL"], r"^\* SORT 1 2 3\r\n"),
    ("5256 3 Re: is no subject", [put("Subject: Re: [x] hello (fwd)\r\n\r\n"), put("Subject: a\r\n\r\n"), "SORT (SUBJECT) UTF-8 3:5"], r"^\* SORT 5 3 4\r\n"),
    ("5256 3 nothing found", ["SORT (DATE) UTF-8 KEYWORD none"], r"^\* SORT ?\r\n"),
    ("5256 3 no criteria", ["SORT () UTF-8 ALL"], r"^x BAD"),
    ("5256 3 UID SORT tells uids", ["STORE 1 +FLAGS (\\Deleted)", "EXPUNGE", "UID SORT (ARRIVAL) UTF-8 ALL"], r"^\* SORT 2 3\r\n"),
    ("5256 4 an unknown algorithm", ["THREAD NONE UTF-8 ALL"], r"^x BAD"),
    ("5256 4 nothing found", ["THREAD REFERENCES UTF-8 KEYWORD none"], r"^\* THREAD ?\r\n"),
    ("5256 4 an answer below its question", [put("Message-ID: <q@x>\r\nSubject: q\r\n\r\n"), put("Message-ID: <r@x>\r\nIn-Reply-To: <q@x>\r\nSubject: Re: q\r\n\r\n"),
     "THREAD REFERENCES UTF-8 4:5"], r"^\* THREAD \(4 5\)\r\n"),
    ("4731 3.1 several of them", ["SEARCH RETURN (MIN MAX COUNT ALL) ALL"], r'\* ESEARCH \(TAG "x"\)(?=.* MIN 1)(?=.* MAX 3)(?=.* COUNT 3)(?=.* ALL 1:3)'),
    ("4731 3.1 nothing found, no ALL", ["SEARCH RETURN (ALL COUNT) KEYWORD none"], r"!ALL"),
    ("4731 3.1 an unknown option", ["SEARCH RETURN (NONE) ALL"], r"^x BAD"),
    ("4731 3.1 no SEARCH beside it", ["SEARCH RETURN (ALL) ALL"], r"!\* SEARCH"),
    ("5032 3 below zero", ["SEARCH YOUNGER -1"], r"^x BAD"),
    ("5032 3 both", ["SEARCH YOUNGER 3600 OLDER 1800"], r"^\* SEARCH\r\n"),
    ("8514 4.3 SAVEDON", ["SEARCH SAVEDON 1-Jan-2020"], r"^\* SEARCH\r\n"),
    ("8474 4 the id outlives RENAME", ["STATUS {} (MAILBOXID)", "RENAME {} {}r", "STATUS {}r (MAILBOXID)"], r"MAILBOXID \(F\d+\)"),
    ("8474 5.3 SEARCH for a message", ["SEARCH NOT EMAILID M1"], r"^\* SEARCH 1 2 3\r\n"),
    ("8474 5.3 SEARCH THREADID", ["SEARCH THREADID T1"], r"^\* SEARCH\r\n"),
    ("4314 3.3 GETACL", ["GETACL {}"], r"^\* ACL {} carol@example.net \w+"),
    ("4314 3.1 SETACL", [f"SETACL {{}} {BOB} lr", "GETACL {}"], rf" {BOB} lr[ \r]"),
    ("4314 3.1 + adds", [f"SETACL {{}} {BOB} lr", f"SETACL {{}} {BOB} +s", "GETACL {}"], rf" {BOB} lrs[ \r]"),
    ("4314 3.1 - takes away", [f"SETACL {{}} {BOB} lrs", f"SETACL {{}} {BOB} -r", "GETACL {}"], rf" {BOB} ls[ \r]"),
    ("4314 3.1 no rights: no entry", [f"SETACL {{}} {BOB} lr", f'SETACL {{}} {BOB} ""', "GETACL {}"], r"!bob"),
    ("4314 3.2 DELETEACL", [f"SETACL {{}} {BOB} lr", f"DELETEACL {{}} {BOB}", "GETACL {}"], r"!bob"),
    ("4314 2.1.1 c is k and more", [f"SETACL {{}} {BOB} lc", "GETACL {}"], rf" {BOB} lkx?c[ \r]"),
    ("4314 3.4 LISTRIGHTS", [f"LISTRIGHTS {{}} {BOB}"], rf'^\* LISTRIGHTS {{}} {BOB} (""|\w+) '),
    ("4314 3.5 MYRIGHTS", ["MYRIGHTS {}"], r"^\* MYRIGHTS {} lrswipkxte"),
    ("4314 3.1 rights in capitals", [f"SETACL {{}} {BOB} LR"], r"^x BAD"),
    ("4314 3.3 of a mailbox that is not there", ["GETACL none"], r"^x NO"),
    ("4314 3 the capability", ["CAPABILITY"], r" RIGHTS=(?=\w*k)(?=\w*x)(?=\w*t)(?=\w*e)"),
]



class Session:
    def __init__(self, tier, login=True):
        user = tier.user("carol")
        self.socket = socket.create_connection(("127.0.0.1", tier.store_port(1, "imap")), timeout=60)
        self.file = self.socket.makefile("rb")
        self.file.readline()
        if login:
            self.say(f"LOGIN {user['address']} {user['password']}")

    def say(self, command, continued=False):
        """The answer up to the tagged line, or a continuation; literals as they come."""
        self.socket.sendall((b"" if continued else b"x ") + command.encode() + b"\r\n")
        heard = b""
        while True:
            line = self.file.readline()
            assert line, (command, heard)
            heard += line
            literal = re.search(rb"\{(\d+)\}\r\n$", line)
            if literal:
                heard += self.file.read(int(literal[1]))
            elif line.startswith((b"x ", b"+ ")):
                return heard.decode()

    def close(self):
        self.file.close()
        self.socket.close()


@pytest.fixture(scope="module")
def store(new_tier):
    t = new_tier("rfc", stores=1, needs=("store",))
    t.write_all()
    t.start_store(1)
    return t


@pytest.mark.parametrize("k", range(len(ROWS)), ids=[row[0].replace(" ", "-") for row in ROWS])
def test_demand(store, k):
    _, commands, wanted = ROWS[k]
    box = f"B{k}"
    s = Session(store)
    s.say(f"CREATE {box}")
    for _ in range(3):
        s.say(APPEND.format(box))
    s.say(f"SELECT {box}")
    heard = url = ""
    for n, command in enumerate(commands):
        made = re.search(r'GENURLAUTH ("\S+")', heard)
        url = made[1] if made else url
        heard = s.say(command.replace("<url>", url).replace("{{", "\1").replace("}}", "\2").replace("{}", box).replace("\1", "{").replace("\2", "}"),
                      n > 0 and commands[n - 1] == "IDLE")
    s.close()
    pattern = wanted.lstrip("!").replace("{}", box)
    assert (re.search(pattern, heard, re.M) is None) == wanted.startswith("!"), heard


def test_before_login(store):
    """SASL-IR (RFC 4959), LITERAL+ in LOGIN, and that the rest is not there yet."""
    user = store.user("carol")
    s = Session(store, login=False)
    heard = s.say("CAPABILITY")
    assert "SASL-IR" in heard and "LITERAL+" in heard and "LITERAL-" not in heard and "MOVE" not in heard
    assert s.say("SELECT INBOX").startswith("x BAD")
    assert s.say("AUTHENTICATE PLAIN").startswith("+ ")
    assert s.say("*", True).startswith("x BAD")
    assert s.say("LOGIN {%d+}\r\n%s {%d+}\r\n%s" % (len(user["address"]), user["address"], len(user["password"]), user["password"])).startswith("x OK")
    assert "SASL-IR" not in s.say("CAPABILITY")
    s.close()
