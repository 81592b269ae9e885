"""A PBX, a gateway or an ITSP that answers calls by itself, where an Asterisk would be too much.

Each call that it takes gets an echo, so that a phone hears its own tone.
"""

import re
import socket
import threading

from lib.itsp import Itsp
from lib.net import socket_in
from lib.sip import sdp


class Echo:
    """Sends back each packet that comes."""

    def __init__(self, case, address, netns):
        self.socket = socket_in(netns, socket.SOCK_DGRAM, bind=(address, 0))
        self.socket.settimeout(0.1)
        self.port = self.socket.getsockname()[1]
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        case.defer(self.close)

    def close(self):
        self.done.set()
        self.thread.join()
        self.socket.close()

    def _run(self):
        while not self.done.is_set():
            try:
                data, source = self.socket.recvfrom(2048)
                self.socket.sendto(data, source)
            except OSError:  # nothing came, or an ICMP error for what we sent
                continue


class Gateway(Itsp):
    """What an Asterisk of the scenarios does, as far as their tests look."""

    def __init__(self, case, name, address, netns, account="", password="", **options):
        self.case, self.name, self.netns = case, name, netns
        self.echo = Echo(case, address, netns)
        options.setdefault("challenges", ())
        options.setdefault("realm", address)
        super().__init__(case, account or name, password, address=address, netns=netns, port=5060,
                         **options)
        self.open = []  # our own calls

    def _handle(self, message, source, data):
        if message.method != "ACK" or message.status:
            super()._handle(message, source, data)

    def _call(self, message, source, data):
        if message.method == "INVITE":
            # A re-INVITE does not ring.
            if ";tag=" not in message["to"]:
                self._answer(message, source, 180, [f"Contact: {self.contact()}"])
            lines = [f"Contact: {self.contact()}", "Content-Type: application/sdp"]
            self._answer(message, source, 200, lines, sdp(self.address, self.echo.port))
        else:
            self._answer(message, source, 200)

    # -- what an Asterisk offers, too

    def dialled(self):
        """The calls that came in, as (number, From, P-Asserted-Identity), each one once."""
        found = {}
        for message in self.messages("INVITE"):
            if ";tag=" not in message["to"]:
                user = re.match(r"sips?:([^@]*)@", message.uri).group(1)
                found[message["call-id"]] = (user, message["from"], message["p-asserted-identity"])
        return list(found.values())

    def call(self, number, server, caller):
        """Calls a number at a server, or at the registered contact, and waits for its answer. It
        calls from its own port, by which it is known."""
        if self.binding:
            contact, self.peer, _ = self.binding
            uri = re.sub(r"^(sips?:)[^@;?]*@", rf"\g<1>{number}@", contact)
        else:
            self.peer = (server.address, server.port)
            uri = f"sip:{number}@{server.address}"
        account, self.user = self.user, caller
        try:
            call = self.invite(number, sdp(self.address, self.echo.port), uri=uri)
            self.open.append(call.established(15))
        finally:
            self.user = account

    def hang_up(self):
        for dialog in self.open:
            dialog.send("BYE")
            self.expect(200)
        self.open = []

    def kill(self):
        self.close()
