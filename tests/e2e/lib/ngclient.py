"""A client of rtpengine's ng protocol: bencode over UDP, by the letter of its documentation."""

import itertools
import os
import socket


def encode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, dict):
        return b"d" + b"".join(encode(k) + encode(v) for k, v in value.items()) + b"e"
    return b"l" + b"".join(map(encode, value)) + b"e"


def decode(data, at=0):
    """The value at a place, and the place behind it; strings are text."""
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        at, members = at + 1, []
        while data[at : at + 1] != b"e":
            member, at = decode(data, at)
            members.append(member)
        if kind == b"d":
            return dict(zip(members[::2], members[1::2])), at + 1
        return members, at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end].decode(errors="replace"), end


class NgClient:
    def __init__(self, address, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(1)
        self.server = (address, port)
        self.cookies = (f"{os.getpid()}_{id(self):x}_{n}" for n in itertools.count())

    def ask(self, command, **keys):
        """Sends a request, up to five times; returns the reply's dictionary. `_` in a key is a hyphen."""
        cookie = next(self.cookies).encode()
        request = {"command": command, **{k.replace("_", "-"): v for k, v in keys.items()}}
        datagram = cookie + b" " + encode(request)
        for _ in range(5):
            try:
                self.socket.sendto(datagram, self.server)
                while True:
                    reply = self.socket.recv(65536)
                    back, _, body = reply.partition(b" ")
                    if back == cookie:
                        return decode(body)[0]
            except (TimeoutError, ConnectionRefusedError):
                pass
        raise AssertionError(f"no reply to {command}")

    def answers(self):
        try:
            return self.ask("ping")["result"] == "pong"
        except AssertionError:
            return False
