"""An ITSP of a test: a registrar and a gateway that believe nobody without digest.

What is routine it does by itself, in a thread: it challenges, checks credentials, keeps the
registered contact, answers OPTIONS. Calls are left to the test, as with any `Agent`. What the
client does against the RFCs it notes in `faults`.
"""

import hashlib
import queue
import random
import re
import threading
import time

from lib.sip import Agent, Message

DOMAIN = "itsp.test"
HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def fields(value):
    """The parameters of a Digest header."""
    found = re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', value)
    return {name.lower(): quoted or plain for name, quoted, plain in found}


def tag(value):
    found = re.search(r";\s*tag=([^;>\s]+)", value)
    return found.group(1) if found else ""


class Itsp(Agent):
    """One server of an ITSP with one customer.

    `challenges` names the methods whose requests need credentials, `status` is 401 or 407,
    `algorithms` is what is offered, the first preferred (RFC 8760 §2.3). `deaf` makes it silent.
    """

    def __init__(self, case, account, password, **options):
        """Options: address, port, netns, realm, challenges, status, algorithms, nonce_uses,
        expires, streams (a `Streams` instead of the first three)."""
        where = {key: options[key] for key in ("address", "port", "netns") if key in options}
        if "streams" in options:
            streams = options["streams"]
            where = {"address": streams.address, "transport": streams.transport, "socket": streams}
        self.realm = options.get("realm", DOMAIN)
        super().__init__(case, None, account, password=password, domain=self.realm, **where)
        self.ports = {self.transport: self.port}
        self.challenges = set(options.get("challenges", ("REGISTER", "INVITE", "BYE")))
        self.status = options.get("status", 401)
        self.algorithms = options.get("algorithms", ("MD5",))
        self.nonce_uses = options.get("nonce_uses", 1000)
        self.expires = options.get("expires", 3600)
        self.refuse = {}  # method: status, for all of its requests
        self.deaf = False
        self.binding = None  # (contact URI, where it registered from, until when)
        self.faults = []
        self.heard = []  # every message, retransmissions too, as (seconds, bytes)
        self.nonces = {}  # nonce: the highest nc that it was used with
        self.sequences = {}  # (Call-ID, From's tag): the highest CSeq that a request had
        self.answers = {}  # (branch, method): what the thread answered
        self.passed = set()  # (branch, method) of what the test answers
        self.calls = queue.Queue()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        case.defer(self.close)

    def close(self):
        """Ends it, its port with it: what is sent there comes back as an ICMP error."""
        self.done.set()
        self.thread.join()
        self.socket.close()

    # -- its thread

    def _serve(self):
        self.socket.settimeout(0.1)
        while not self.done.is_set():
            try:
                data, source = self.socket.recvfrom(65536)
            except OSError:  # nothing came, or an ICMP error for what we sent
                continue
            if self.deaf or not data.strip():
                continue
            self.heard.append((time.monotonic(), data))
            try:
                self._handle(Message(data), source, data)
            except OSError:  # who asked has gone away
                continue
            except (AssertionError, KeyError, ValueError, IndexError) as error:
                self.faults.append(f"{error!r} at:\n{data.decode(errors='replace')}")

    def _handle(self, message, source, data):
        if message.status:
            self.calls.put((data, source))
            return
        transaction = (self._branch(message), message.method)
        if message.method == "ACK":
            # Only what was not refused here is the test's.
            if (transaction[0], "INVITE") not in self.answers:
                self.calls.put((data, source))
            return
        if transaction in self.answers:
            self.socket.sendto(self.answers[transaction], source)
            return
        if transaction in self.passed:
            return  # a retransmission of what the test will answer
        self._sequence(message)
        if message.method in self.refuse:
            self._answer(message, source, self.refuse[message.method])
        elif message.method in self.challenges and not self._authentic(message):
            self._challenge(message, source)
        elif message.method == "REGISTER":
            self._register(message, source)
        elif message.method == "OPTIONS":
            self._answer(message, source, 200)
        else:
            self._call(message, source, data)

    def _call(self, message, source, data):
        """A request that was let in, and is about a call."""
        self.passed.add((self._branch(message), message.method))
        self.calls.put((data, source))

    def _sequence(self, request):
        """A new request has a CSeq above the one before, after a challenge, too (RFC 3261
        §12.2.1.1, §22.2); a CANCEL has its INVITE's."""
        number, method = request["cseq"].split()
        self._note(method == request.method, "CSeq of another method", request)
        key = (request["call-id"], tag(request["from"]))
        if request.method == "CANCEL":
            self._note(int(number) == self.sequences.get(key), "CSeq not of the INVITE", request)
            return
        self._note(int(number) > self.sequences.get(key, -1), "CSeq did not rise", request)
        self.sequences[key] = int(number)

    @staticmethod
    def _branch(message):
        return re.search(r"branch=([^;,\s]+)", message["via"]).group(1)

    def _answer(self, request, source, status, lines=(), body=""):
        head = [f"SIP/2.0 {status} Whatever"]
        head += [f"Via: {via}" for via in request.all("via")]
        head += [f"Record-Route: {route}" for route in request.all("record-route")]
        mark = "" if tag(request["to"]) else f";tag={self.tag_for(request)}"
        head += [f"From: {request['from']}", f"To: {request['to']}{mark}",
                 f"Call-ID: {request['call-id']}", f"CSeq: {request['cseq']}", *lines,
                 f"Content-Length: {len(body)}"]
        data = ("\r\n".join(head) + "\r\n\r\n" + body).encode()
        self.answers[(self._branch(request), request.method)] = data
        self.socket.sendto(data, source)

    def _challenge(self, request, source):
        name = "WWW-Authenticate" if self.status == 401 else "Proxy-Authenticate"
        status = 401 if request.method == "REGISTER" else self.status
        name = name if status == self.status else "WWW-Authenticate"
        lines = []
        stale = ", stale=true" if self._credentials(request) else ""
        for algorithm in self.algorithms:
            nonce = f"{random.getrandbits(96):x}"
            self.nonces[nonce] = 0
            lines.append(f'{name}: Digest realm="{self.realm}", nonce="{nonce}", qop="auth", '
                         f'opaque="{random.getrandbits(32):x}", algorithm={algorithm}{stale}')
        self._answer(request, source, status, lines)

    def _credentials(self, request):
        both = request.all("authorization") + request.all("proxy-authorization")
        return next((f for f in map(fields, both) if f.get("realm") == self.realm), None)

    def _authentic(self, request):
        """Whether the credentials are right; wrong ones are a fault, worn out ones are not."""
        given = self._credentials(request)
        if given is None:
            return False
        wanted = "authorization" if self.status == 401 or request.method == "REGISTER" \
            else "proxy-authorization"
        self._note(request.all(wanted), f"no {wanted}", request)
        algorithm = given.get("algorithm", "MD5").upper()
        self._note(algorithm == self.algorithms[0], f"{algorithm} is not preferred", request)
        self._note(given["uri"] == request.uri, "uri is not the Request-URI", request)
        count = int(given["nc"], 16)
        if given["nonce"] not in self.nonces or count > self.nonce_uses:
            return False
        if count <= self.nonces[given["nonce"]]:
            self._note(False, "nc did not rise", request)
            return False
        self.nonces[given["nonce"]] = count
        good = self._response(given, request.method, algorithm) == given["response"]
        self._note(good, "wrong response", request)
        return good

    def _response(self, given, method, algorithm):
        def h(text):
            return HASHES[algorithm](text.encode()).hexdigest()

        ha1 = h(f"{self.user}:{self.realm}:{self.password}")
        ha2 = h(f"{method}:{given['uri']}")
        middle = f"{given['nonce']}:{given['nc']}:{given['cnonce']}:{given['qop']}"
        return h(f"{ha1}:{middle}:{ha2}")

    def _note(self, good, fault, request):
        if not good:
            self.faults.append(f"{fault}:\n{request.text()}")

    def _register(self, request, source):
        self._note(f"sip:{self.user}@" in request["to"], "not the account's To", request)
        wanted = re.search(r"expires=(\d+)", request["contact"]) or re.search(
            r"(\d+)", request["expires"] or "3600")
        seconds = min(int(wanted.group(1)), self.expires)
        uri = request.contact_uri()
        self.binding = (uri, source, time.monotonic() + seconds) if seconds else None
        bound = [f"Contact: <{uri}>;expires={seconds}"] if seconds else []
        self._answer(request, source, 200, bound)

    # -- for the test

    def registered(self):
        return self.binding is not None and self.binding[2] > time.monotonic()

    def messages(self, method=None):
        """What was heard, retransmissions too; of one method."""
        found = [Message(data) for _, data in list(self.heard)]
        return [m for m in found if method is None or (m.method == method and not m.status)]

    def _datagram(self, seconds):
        try:
            data, self.peer = self.calls.get(timeout=max(0.001, seconds))
            return data
        except queue.Empty:
            return None

    def call_in(self, did, body, uri=None, lines=()):
        """Calls a number of the customer's: at the registered contact, the number put for its
        user, unless a URI is named; returns the open call."""
        contact, source, _ = self.binding
        self.peer = source
        uri = uri or re.sub(r"^(sips?:)[^@;?]*@", rf"\g<1>{did}@", contact)
        return self.invite(did, body, lines, uri, believed=True)
