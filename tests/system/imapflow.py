"""imapflow, a mail client's library for Node (`make deps-node`): what a web mail does in one session, in a store of any make."""
import base64
import json
import os
import subprocess

import mail

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODULES = os.path.join(TOP, "build", "node", "node_modules")

# Reads the message with the token in its subject, then works on a copy of it in a folder of its own.
SCRIPT = r"""
const { ImapFlow } = require("imapflow");
const [port, tls, ca, user, pass, token, folder] = process.argv.slice(2);
const client = new ImapFlow({ host: "localhost", port: Number(port), secure: tls === "implicit", logger: false,
    auth: { user, pass }, tls: { ca: require("fs").readFileSync(ca) },
    clientInfo: { name: "postern-test" }, connectionTimeout: 60000, greetingTimeout: 60000 });
const told = { exists: [], expunged: 0 };
client.on("error", () => {}); // a connection that breaks behind the end is nobody's trouble; what is under way is rejected
const until = async (what, done) => { for (const limit = Date.now() + 60000; !done();) {
    if (Date.now() > limit) throw new Error("waited in vain: " + what);
    await new Promise(resolve => setImmediate(resolve)); await client.noop(); } };
async function work() {
    await client.connect();
    told.secure = client.secureConnection;
    told.capabilities = [...client.capabilities.keys()];
    let lock = await client.getMailboxLock("INBOX");
    const [uid] = await client.search({ header: { subject: token } }, { uid: true });
    const seen = await client.fetchOne(String(uid), { source: true, envelope: true, bodyStructure: true, size: true,
        internalDate: true, flags: true }, { uid: true });
    told.source = seen.source.toString("base64");
    told.subject = seen.envelope.subject;
    told.size = seen.size;
    told.structure = seen.bodyStructure.type;
    const { content } = await client.download(String(uid), undefined, { uid: true });
    const parts = [];
    for await (const part of content) parts.push(part);
    told.download = Buffer.concat(parts).toString("base64");
    lock.release();
    await client.mailboxCreate(folder);
    told.listed = (await client.list()).map(box => box.path).filter(path => path.endsWith(folder)).length;
    const appended = await client.append(folder, seen.source, ["\\Flagged"], new Date(86400000));
    lock = await client.getMailboxLock(folder);
    client.on("exists", event => told.exists.push(event.count));
    client.on("expunge", () => told.expunged++);
    await client.append(folder, Buffer.from("Subject: second\r\n\r\n" + "x".repeat(300000) + "\r\n"));
    await until("the second message", () => client.mailbox.exists === 2);
    await client.messageFlagsAdd("1:*", ["\\Answered"]);
    told.flags = (await client.fetchAll("1:*", { flags: true, size: true })).map(m => [...m.flags].filter(f => f !== "\\Recent").sort());
    told.uid = appended.uid || 0;
    const trash = folder + "-Trash";
    await client.mailboxCreate(trash);
    await client.messageMove("2", trash);
    await client.messageDelete("1");
    await until("an empty folder", () => client.mailbox.exists === 0);
    lock.release();
    const status = await client.status(trash, { messages: true, uidNext: true, unseen: true });
    told.moved = status.messages;
    await client.mailboxClose();
    await client.mailboxRename(trash, trash + "-2");
    await client.mailboxDelete(trash + "-2");
    await client.mailboxDelete(folder);
    await client.logout();
    console.log(JSON.stringify(told));
}
work().catch(error => { console.log("FAILED", error.stack, error.responseText || "", error.response || ""); process.exit(1); });
"""


def run(tier, port, tls, user, token):
    """What the client saw; tls: "starttls" or "implicit". The folder is named after the run: Cyrus keeps a deleted mailbox under its
    name and the second of its end, and refuses to delete another of that name in the same second."""
    assert os.path.isdir(os.path.join(MODULES, "imapflow")), "imapflow is not there: make deps-node"
    script = tier.path("imapflow.js")
    with open(script, "w", encoding="ascii") as f:
        f.write(SCRIPT)
    done = subprocess.run(["node", script, str(port), tls, tier.ca_file, user["address"], user["password"], token,
                           f"Flow-{mail.new_token()}"], capture_output=True, text=True, timeout=180, check=False,
                          env={**os.environ, "NODE_PATH": MODULES})
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def check(tier, port, tls, sent):
    """The whole session, and what it saw is what was sent."""
    user, token, text = sent
    told = run(tier, port, tls, user, token)
    source = base64.b64decode(told["source"])
    assert mail.original(source) == text and base64.b64decode(told["download"]) == source
    assert told["size"] == len(source) and token in told["subject"] and told["structure"] == "text/plain"
    assert told["listed"] == 1 and told["moved"] == 1
    assert told["flags"] == [["\\Answered", "\\Flagged"], ["\\Answered"]]
    assert told["secure"]
    return told
