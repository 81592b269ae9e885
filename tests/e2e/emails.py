"""Copies of messages by e-mail: to a mail server of Python's, plain, by STARTTLS and by TLS."""

import base64
import email
import socketserver
import threading
import time

from lib.authority import Authority
from lib.case import wait_for
from lib.phone import Phone
from lib.voipd import Voipd

FROM, TO = "pbx@voip.test", "bob@mail.test"
USER, PASSWORD = "pbx", "mail s3cret"


def trusting(authority):
    """[sip.tls] of a node that trusts this authority and has a certificate by it."""
    key, certificate = authority.issue("node", "/CN=node", "IP:127.0.0.1")
    return {"roots": str(authority.roots), "certificate": str(certificate), "key": str(key)}


class Session(socketserver.StreamRequestHandler):
    """RFC 5321's commands, as far as a client that hands in one letter needs them."""

    def say(self, text):
        self.wfile.write(f"{text}\r\n".encode())

    def upgrade(self):
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)

    def handle(self):
        server = self.server
        encrypted, known, envelope = False, False, []
        try:
            if server.implicit:
                self.upgrade()
                encrypted = True
            self.say("220 mail.test")
            # Not the file's own iterator: STARTTLS puts another file in its place.
            while line := self.rfile.readline():
                words = line.decode().strip()
                verb = words.upper().split(" ")[0]
                server.heard.append(("tls " if encrypted else "") + words)
                if verb == "EHLO":
                    offers = ["mail.test", "8BITMIME"]
                    if server.context and not encrypted:
                        offers.append("STARTTLS")
                    if server.asks and encrypted:
                        offers.append("AUTH PLAIN LOGIN")
                    for offer in offers[:-1]:
                        self.say(f"250-{offer}")
                    self.say(f"250 {offers[-1]}")
                elif verb == "STARTTLS":
                    self.say("220 go ahead")
                    self.upgrade()
                    encrypted = True
                elif verb == "AUTH":
                    proof = base64.b64decode(words.split(" ")[2]).split(b"\0")
                    known = proof[1:] == [USER.encode(), PASSWORD.encode()]
                    self.say("235 welcome" if known else "535 no")
                elif verb == "MAIL":
                    envelope = [words]
                    self.say("530 who are you" if server.asks and not known else "250 ok")
                elif verb == "RCPT":
                    envelope.append(words)
                    self.say(server.refusals.pop(0) if server.refusals else "250 ok")
                elif verb == "DATA":
                    self.say("354 go on")
                    lines = []
                    for part in iter(self.rfile.readline, b".\r\n"):
                        lines.append(part[1:] if part.startswith(b".") else part)
                    server.letters.append((envelope, b"".join(lines)))
                    self.say("250 taken")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")
        except OSError as error:
            server.heard.append(f"broken: {error}")


class MailServer(socketserver.ThreadingTCPServer):
    """Keeps what it gets as (envelope, bytes) in `letters`; answers the next recipients by `refusals`."""

    allow_reuse_address, daemon_threads = True, True

    def __init__(self, case, context=None, implicit=False, asks=False, port=None):
        self.context, self.implicit, self.asks = context, implicit, asks
        self.letters, self.refusals, self.heard = [], [], []
        super().__init__(("127.0.0.1", port or case.port()), Session)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()
        case.defer(self.shutdown)


def house(case, url, **more):
    keys = {"email_from": FROM, "smtp": url, "message_min_s": 1, "ring_s": 5} | more.pop("mail", {})
    voipd = Voipd(case, voicemail=keys, **more)
    for name in ("alice", "bob", "carol"):
        voipd.add_user(name)
    voipd.ctl("mailbox", "set", "bob", "email", TO)
    return voipd


def leave(case, voipd, name="alice"):
    """Somebody leaves a message for bob, who has no phone, by hanging up in the middle of it."""
    before = {message["id"] for message in messages(voipd)}
    caller = Phone(case, name, voipd, 440)
    caller.wait_registered()
    caller.dial("bob")
    wait_for("a message to be recorded",
             lambda: list(voipd.state.glob("spool/voicemail/bob@*/*.wav.part")), 40)
    time.sleep(4)
    caller.hangup()
    return wait_for("the message to be there",
                    lambda: [m for m in messages(voipd) if m["id"] not in before], 20)[0]


def messages(voipd):
    return [m for m in voipd.json("mailbox", "show", "bob")["messages"] if m["folder"] == "new"]


def counters(voipd):
    shown = voipd.json("status")["counters"]
    return shown | shown.get("other", {})


def is_letter_about(letter, message):
    """Recipient, words, and the sound: as long as the mailbox says, and the very file."""
    envelope, text = letter
    assert envelope == [f"MAIL FROM:<{FROM}>", f"RCPT TO:<{TO}>"], envelope
    parsed = email.message_from_bytes(text)
    assert parsed["From"] == FROM and parsed["To"] == TO, text[:600]
    assert "alice" in parsed["Subject"], parsed["Subject"]
    words, sound = parsed.get_payload()
    assert "alice" in words.get_payload(decode=True).decode(), words
    assert sound.get_content_type() == "audio/wav" and sound.get_filename().endswith(".wav")
    wav = sound.get_payload(decode=True)
    # A-law of 8 kHz: a byte of the data chunk is a sample.
    at = wav.index(b"data")
    size = int.from_bytes(wav[at + 4 : at + 8], "little")
    assert wav[:4] == b"RIFF" and len(wav) == at + 8 + size + size % 2, (len(wav), at, size)
    assert abs(size / 8 - message["duration_ms"]) < 1, (size, message)
    return wav


def test_by_starttls_with_a_password(case):
    """A message left by a phone arrives: through STARTTLS, with a name and a password, and the certificate
    of an authority that [sip.tls] roots names."""
    authority = Authority(case)
    context = authority.server(*authority.issue("mail", "/CN=mail", "IP:127.0.0.1"))
    server = MailServer(case, context, asks=True)
    secret = case.folder / "smtp.secret"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    voipd = house(case, f"smtp://127.0.0.1:{server.port}",
                  mail={"smtp_user": USER, "smtp_password_file": str(secret)},
                  **{"sip.tls": trusting(authority)})
    message = leave(case, voipd)
    wait_for("the letter", lambda: server.letters, 30)
    wav = is_letter_about(server.letters[0], message)
    kept, = voipd.state.glob("spool/voicemail/bob@*/*.wav")
    assert kept.read_bytes() == wav
    assert not [said for said in server.heard if said.startswith(("AUTH", "MAIL", "RCPT"))], server.heard
    wait_for("it to be counted", lambda: counters(voipd)["email_sent"] == 1)
    assert counters(voipd)["email_waiting"] == 0


def test_waits_for_the_server_over_a_restart(case):
    """While nobody takes it the copy waits, and after a kill it is sent, once; a recipient that is refused
    for a while is tried again, one that is refused for good is told of and given up."""
    port = case.port()
    voipd = house(case, f"smtp://127.0.0.1:{port}")
    message = leave(case, voipd)
    wait_for("a try", lambda: counters(voipd)["email_retried"] >= 1, 20)
    assert counters(voipd)["email_waiting"] == 1
    time.sleep(1.5)
    voipd.kill()
    server = MailServer(case, port=port)
    server.refusals = ["451 later"]
    voipd.restart()
    wait_for("the letter", lambda: server.letters, 40)
    is_letter_about(server.letters[0], message)
    wait_for("it to be counted", lambda: counters(voipd)["email_sent"] == 1)
    assert "no copy by e-mail yet" in voipd.process.text(), voipd.process.text()
    server.refusals = ["550 nobody of that name"]
    second = leave(case, voipd, "carol")
    wait_for("it to be given up", lambda: counters(voipd)["email_failed"] == 1, 30)
    assert "550" in voipd.process.text() and second["id"] != message["id"]
    assert len(server.letters) == 1 and len(messages(voipd)) == 2


def test_by_tls_and_never_to_a_stranger(case):
    """TLS from the first byte on; a certificate of nobody's gets no letter, and the log says why."""
    authority = Authority(case)
    context = authority.server(*authority.issue("mail", "/CN=mail", "IP:127.0.0.1"))
    server = MailServer(case, context, implicit=True)
    voipd = house(case, f"smtps://127.0.0.1:{server.port}")
    message = leave(case, voipd)
    wait_for("the refusal", lambda: "[sip.tls] roots" in voipd.process.text(), 20)
    assert server.letters == [] and counters(voipd)["email_waiting"] == 1
    voipd.stop()
    voipd.tables["sip.tls"] = trusting(authority)
    voipd.write()
    voipd.restart()
    wait_for("the letter", lambda: server.letters, 30)
    is_letter_about(server.letters[0], message)
