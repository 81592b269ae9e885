"""A small SIP user agent for scripted tests: what it expects comes in order, or the test fails.

Independent of voipd's own code: it reads and writes messages by the letter of RFC 3261 and knows
digest with MD5 and SHA-256 (RFC 7616). One agent is one socket: UDP, TCP or TLS.
"""

import hashlib
import random
import re
import socket
import time

from lib.net import socket_in
from lib.voipd import DOMAIN

COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l":
           "content-length", "c": "content-type", "s": "subject", "k": "supported"}

SDP = (
    "v=0\r\no=- {id} {version} IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na={direction}\r\n"
)


def sdp(address, port, direction="sendrecv", version=1):
    return SDP.format(id=port, version=version, address=address, port=port, direction=direction)


class Message:
    """One SIP message, read without mercy for what voipd writes."""

    def __init__(self, data):
        head, mark, self.body = data.partition(b"\r\n\r\n")
        assert mark, f"no end of the headers: {data[:200]!r}"
        lines = re.sub(r"\r\n[ \t]+", " ", head.decode()).split("\r\n")
        self.start = lines[0]
        self.headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            assert colon, f"a header without a colon: {line!r}"
            name = name.strip().lower()
            self.headers.append((COMPACT.get(name, name), value.strip()))
        self.status = int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0
        self.method = self["cseq"].split()[1] if self.status else self.start.split()[0]
        self.uri = "" if self.status else self.start.split()[1]

    def all(self, name):
        return [value for key, value in self.headers if key == name]

    def __getitem__(self, name):
        return next(iter(self.all(name)), "")

    def __str__(self):
        return self.start

    def text(self):
        headers = "".join(f"{k}: {v}\n" for k, v in self.headers)
        return f"{self.start}\n{headers}\n{self.body.decode(errors='replace')}"

    def contact_uri(self):
        found = re.search(r"<([^>]*)>", self["contact"])
        return found.group(1) if found else self["contact"].split(";")[0]

    def media(self):
        """The address and port where the peer wants audio."""
        address = re.search(rb"c=IN IP4 (\S+)", self.body)
        port = re.search(rb"m=audio (\d+)", self.body)
        assert address and port, f"no audio in {self.text()}"
        return address.group(1).decode(), int(port.group(1))

    def record_routes(self):
        return [r.strip() for line in self.all("record-route") for r in line.split(",")]


def digest(challenge, user, password, method, uri, algorithm=None):
    """The Authorization value for a challenge (RFC 7616 §3.4)."""
    field = dict(re.findall(r'(\w+)=(?:"([^"]*)"|[^\s,]+)', challenge))
    field |= dict((k, v) for k, v in re.findall(r'(\w+)=([^\s,"]+)', challenge) if not field.get(k))
    algorithm = algorithm or field.get("algorithm", "MD5")
    kind = {"md5": hashlib.md5, "sha-256": hashlib.sha256}[algorithm.lower()]

    def h(text):
        return kind(text.encode()).hexdigest()

    realm, nonce, cnonce = field["realm"], field["nonce"], f"{random.getrandbits(64):x}"
    ha1, ha2 = h(f"{user}:{realm}:{password}"), h(f"{method}:{uri}")
    value = f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}"'
    if field.get("qop"):
        response = h(f"{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}")
        value += f', qop=auth, nc=00000001, cnonce="{cnonce}"'
    else:
        response = h(f"{ha1}:{nonce}:{ha2}")
    if field.get("opaque"):
        value += f', opaque="{field["opaque"]}"'
    return f'{value}, algorithm={algorithm}, response="{response}"'


def cut(unread):
    """Cuts the first message off a stream by its Content-Length; returns it, or None, and the
    rest."""
    unread = unread.lstrip(b"\r\n")
    head, mark, rest = unread.partition(b"\r\n\r\n")
    if mark:
        size = int(re.search(rb"(?im)^(?:content-length|l)\s*:\s*(\d+)", head).group(1))
        if len(rest) >= size:
            return head + mark + rest[:size], rest[size:]
    return None, unread


class Agent:
    """A user agent with one socket."""

    def __init__(self, case, server, user, transport="udp", address="127.0.0.1", password="secret",
                 **options):
        """Options: port, netns (both for UDP), domain (of its From), tls (an ssl.SSLContext),
        socket (one that is there, with UDP's methods, whatever the transport)."""
        self.server, self.user, self.password = server, user, password
        self.transport, self.address = transport, address
        self.domain = options.get("domain", DOMAIN)
        self.peer = (server.address, server.ports[transport]) if server else None
        self.unread = b""
        self.seen = set()
        self.retransmissions = 0
        self.datagrams = transport == "udp" or "socket" in options
        if "socket" in options:
            self.socket = options["socket"]
        elif transport == "udp":
            at = (address, options.get("port", 0))
            self.socket = socket_in(options.get("netns"), socket.SOCK_DGRAM, bind=at)
            assert self.socket, f"{user}: cannot bind {at}"
        else:
            self.socket = socket.create_connection(self.peer, 5, (address, 0))
            if transport == "tls":
                context = options["tls"]
                self.socket = context.wrap_socket(self.socket, server_hostname=self.peer[0])
        case.defer(self.socket.close)
        self.port = self.socket.getsockname()[1]
        self.cseq = 0

    # -- the wire

    def send(self, text, body=""):
        if isinstance(text, list):
            text = "\r\n".join(text)
        data = f"{text}\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}".encode()
        if self.datagrams:
            self.socket.sendto(data, self.peer)
        else:
            self.socket.sendall(data)

    def receive(self, seconds=5.0):
        """The next message that is no retransmission, or None."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            data = self._datagram(left) if self.datagrams else self._cut(left)
            if data is None:
                return None
            if not data.strip():
                continue
            message = Message(data)
            key = (message.start, message["via"], message["cseq"])
            if message.status == 0 and key in self.seen:
                self.retransmissions += 1
                continue
            self.seen.add(key)
            return message
        return None

    def _datagram(self, seconds):
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(65536)
        except TimeoutError:
            return None

    def _cut(self, seconds):
        end = time.monotonic() + seconds
        while True:
            message, self.unread = cut(self.unread)
            if message:
                return message
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                got = self.socket.recv(65536)
            except TimeoutError:
                return None
            assert got, f"{self.user}: the server closed the connection"
            self.unread += got

    def expect(self, what, seconds=5.0, skip=("100",)):
        """The next message must be `what`, a method or a status; provisional ones in `skip` and
        OPTIONS keepalives pass by."""
        end = time.monotonic() + seconds
        while True:
            message = self.receive(max(0.01, end - time.monotonic()))
            assert message, f"{self.user}: {what} did not come within {seconds} s"
            name = str(message.status) if message.status else message.method
            if name == str(what):
                return message
            if name == "OPTIONS":
                self.reply(message, 200)
            elif name not in skip:
                raise AssertionError(f"{self.user}: {what} expected, came:\n{message.text()}")

    def nothing(self, seconds=1.0):
        """Nothing may come, but for OPTIONS that ask whether it is there."""
        end = time.monotonic() + seconds
        while message := self.receive(max(0.01, end - time.monotonic())):
            assert message.method == "OPTIONS", f"{self.user}: nothing expected, came:\n{message.text()}"
            self.reply(message, 200)

    # -- requests

    def contact(self):
        transport = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"<sip:{self.user}@{self.address}:{self.port}{transport}>"

    def via(self):
        branch = f"z9hG4bK{random.getrandbits(64):x}"
        return (f"SIP/2.0/{self.transport.upper()} {self.address}:{self.port}"
                f";rport;branch={branch}")

    def start_lines(self, method, uri, via, call, to=None, cseq=None):
        """The lines that every request has; `call` holds call_id and tag."""
        return [
            f"{method} {uri} SIP/2.0", f"Via: {via}", "Max-Forwards: 70",
            f"From: <sip:{self.user}@{self.domain}>;tag={call['tag']}",
            f"To: {to or f'<{uri}>'}", f"Call-ID: {call['call_id']}",
            f"CSeq: {cseq or self.cseq} {method}",
        ]

    def new_call(self):
        return {"call_id": f"{random.getrandbits(96):x}", "tag": f"{random.getrandbits(32):x}"}

    def request(self, method, uri, lines=(), body="", to=None, call=None, auth=True):
        """Sends a request outside of a dialog, answers one challenge, returns the final answer."""
        call = call or self.new_call()
        extra = list(lines)
        for _ in range(2):
            self.cseq += 1
            via = self.via()
            head = self.start_lines(method, uri, via, call, to)
            self.send(head + extra, body)
            answer = self.final()
            if method == "INVITE" and answer.status >= 300:
                self.send(self.start_lines("ACK", uri, via, call, answer["to"]))
            if answer.status not in (401, 407) or not auth:
                return answer
            extra = list(lines) + [self.credentials(answer, method, uri)]
        return answer

    def credentials(self, answer, method, uri, algorithm=None):
        name, reply = (("www-authenticate", "Authorization") if answer.status == 401
                       else ("proxy-authenticate", "Proxy-Authorization"))
        challenges = answer.all(name)
        assert challenges, f"{answer.status} without {name}"
        value = digest(challenges[0], self.user, self.password, method, uri, algorithm)
        return f"{reply}: {value}"

    def final(self, seconds=8.0):
        end = time.monotonic() + seconds
        while True:
            message = self.receive(max(0.01, end - time.monotonic()))
            assert message, f"{self.user}: no final answer within {seconds} s"
            if message.status >= 200:
                return message
            if message.status == 0:
                assert message.method == "OPTIONS", f"{self.user}: came {message.text()}"
                self.reply(message, 200)

    def register(self, expires=300, contact=None, status=200, call=None):
        lines = [f"Contact: {contact or self.contact()}", f"Expires: {expires}"]
        to = f"<sip:{self.user}@{self.domain}>"
        answer = self.request("REGISTER", f"sip:{self.domain}", lines, to=to, call=call)
        assert answer.status == status, f"REGISTER {self.user}: {answer.text()}"
        return answer

    # -- as the called party

    def reply(self, request, status, reason="Whatever", lines=(), body="", tag=None):
        head = [f"SIP/2.0 {status} {reason}"]
        head += [f"Via: {via}" for via in request.all("via")]
        head += [f"Record-Route: {route}" for route in request.all("record-route")]
        to = request["to"]
        if status > 100 and "tag=" not in to:
            to += f";tag={tag or self.tag_for(request)}"
        head += [f"From: {request['from']}", f"To: {to}", f"Call-ID: {request['call-id']}",
                 f"CSeq: {request['cseq']}"]
        if request.method == "INVITE" and status < 300:
            head.append(f"Contact: {self.contact()}")
        if body:
            head.append("Content-Type: application/sdp")
        self.send(head + list(lines), body)

    def tag_for(self, request):
        return hashlib.md5((self.user + str(self.port) + request["call-id"]).encode()).hexdigest()[:8]

    # -- calls

    def invite(self, to_user, body, lines=(), uri=None, believed=False):
        """Sends an INVITE, answers the challenge if there is one, and returns the open call
        without waiting for its end. Who is `believed` waits for no challenge, and answers none."""
        uri = uri or f"sip:{to_user}@{self.domain}"
        call = self.new_call()
        extra = [f"Contact: {self.contact()}", "Content-Type: application/sdp", *lines]
        credentials = []
        for _ in range(2):
            self.cseq += 1
            via = self.via()
            self.send(self.start_lines("INVITE", uri, via, call) + extra + credentials, body)
            if credentials or believed:
                break
            first = self.receive(5)
            while first is not None and first.status == 100:
                first = self.receive(2)
            if first is None or first.status not in (401, 407):
                return Call(self, call, uri, via, first)
            self.send(self.start_lines("ACK", uri, via, call, first["to"]))
            credentials = [self.credentials(first, "INVITE", uri)]
        return Call(self, call, uri, via, None)

    def answer(self, request, body):
        """Answers an INVITE with 180 and 200; returns the dialog. The ACK is still to come."""
        self.reply(request, 180)
        self.reply(request, 200, body=body)
        return Dialog.called(self, request)


class Call:
    """An INVITE of ours on its way."""

    def __init__(self, agent, call, uri, via, first):
        self.agent, self.call, self.uri, self.via = agent, call, uri, via
        self.waiting = [first] if first is not None else []

    def next(self, seconds=8.0):
        """The next answer above 100."""
        end = time.monotonic() + seconds
        while True:
            left = max(0.01, end - time.monotonic())
            message = self.waiting.pop(0) if self.waiting else self.agent.receive(left)
            assert message, f"{self.agent.user}: no answer to the INVITE within {seconds} s"
            if message.status != 100:
                return message

    def final(self, seconds=8.0):
        """The final answer, acknowledged if it refuses."""
        while True:
            answer = self.next(seconds)
            assert answer.status, f"{self.agent.user}: came {answer.text()}"
            if answer.status >= 300:
                self.agent.send(self.agent.start_lines("ACK", self.uri, self.via, self.call,
                                                       answer["to"]))
            if answer.status >= 200:
                return answer

    def cancel(self):
        self.agent.send(self.agent.start_lines("CANCEL", self.uri, self.via, self.call))

    def established(self, seconds=8.0):
        """Waits for the 200, acknowledges it, returns the dialog."""
        answer = self.final(seconds)
        assert answer.status == 200, f"{self.agent.user}: {answer.text()}"
        dialog = Dialog.caller(self.agent, self.call, answer)
        dialog.send("ACK", cseq=int(answer["cseq"].split()[0]))
        return dialog


class Dialog:
    """One side of an established call."""

    def __init__(self, agent, local, remote, call_id, target, routes, answer):
        self.agent, self.local, self.remote, self.call_id = agent, local, remote, call_id
        self.target, self.routes, self.answer = target, routes, answer

    @classmethod
    def caller(cls, agent, call, answer):
        local = f"<sip:{agent.user}@{agent.domain}>;tag={call['tag']}"
        routes = list(reversed(answer.record_routes()))
        return cls(agent, local, answer["to"], call["call_id"], answer.contact_uri(), routes, answer)

    @classmethod
    def called(cls, agent, request):
        local = f"{request['to']};tag={agent.tag_for(request)}"
        return cls(agent, local, request["from"], request["call-id"], request.contact_uri(),
                   request.record_routes(), request)

    def send(self, method, cseq=None, body="", lines=(), kind="application/sdp"):
        agent = self.agent
        if cseq is None:
            agent.cseq += 1
        head = [
            f"{method} {self.target} SIP/2.0", f"Via: {agent.via()}", "Max-Forwards: 70",
            *[f"Route: {route}" for route in self.routes],
            f"From: {self.local}", f"To: {self.remote}", f"Call-ID: {self.call_id}",
            f"CSeq: {cseq or agent.cseq} {method}", f"Contact: {agent.contact()}", *lines,
        ]
        if body:
            head.append(f"Content-Type: {kind}")
        agent.send(head, body)

    def press(self, key):
        """A key by INFO, which is answered."""
        body = f"Signal={key}\r\nDuration=160\r\n"
        self.send("INFO", body=body, kind="application/dtmf-relay")
        assert self.agent.final().status == 200

    def bye(self, other):
        """Ends the call; the other side answers."""
        self.send("BYE")
        other.agent.reply(other.agent.expect("BYE"), 200)
        self.agent.expect(200)
