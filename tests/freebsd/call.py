#!/usr/bin/env python3
"""A relayed call without phones, for netmap.sh: opened by the ng protocol, spoken with plain sockets.

  call.py open NG ONE TWO          voipd at NG (HOST:PORT) relays between ONE and TWO; prints our two ports
  call.py talk OURS A B SECONDS    from 10.99.0.2:4000 to OURS:A and from 10.99.0.3:5000 to OURS:B, 50
                                   packets a second each way; fails if one in a thousand is lost
"""
import os
import re
import select
import socket
import struct
import sys
import time


def encode(value):
    if isinstance(value, dict):
        return b"d" + b"".join(encode(k) + encode(value[k]) for k in sorted(value)) + b"e"
    value = value.encode()
    return b"%d:%s" % (len(value), value)


def ask(server, **words):
    ask.number += 1
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.settimeout(5)
    cookie = b"%d_%d " % (os.getpid(), ask.number)
    link.sendto(cookie + encode({k.replace("_", "-"): v for k, v in words.items()}), server)
    answer = link.recv(65535)
    assert answer.startswith(cookie) and b"6:result2:ok" in answer, answer
    return answer.decode()


ask.number = 0


def description(address, port):
    lines = ["v=0", f"o=- 1 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0",
             f"m=audio {port} RTP/AVP 0", "a=rtpmap:0 PCMU/8000", ""]
    return "\r\n".join(lines)


def host_port(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def open_call(server, one, two):
    server, one, two = map(host_port, (server, one, two))
    call = {"call_id": f"netmap-{os.getpid()}-{time.time_ns()}", "from_tag": "one"}
    offered = ask(server, command="offer", sdp=description(*one), **call)
    answered = ask(server, command="answer", sdp=description(*two), to_tag="two", **call)
    port = re.compile(r"m=audio (\d+) ")
    # What the answer names is for one, what the offer named is for two.
    print(port.search(answered)[1], port.search(offered)[1])


def talk(ours, a, b, seconds):
    ends = []
    for address, port in (("10.99.0.2", int(a)), ("10.99.0.3", int(b))):
        link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        link.bind((address, 4000 if address.endswith(".2") else 5000))
        link.connect((ours, port))
        link.setblocking(False)
        ends.append(link)
    sent, heard = [0, 0], [0, 0]
    begin = time.monotonic()
    end = begin + float(seconds)
    # The first half second lets both sides be latched; what is lost then is not counted.
    counted_from = begin + 0.5
    while time.monotonic() < end + 0.5:
        now = time.monotonic()
        if now < end:
            number = int((now - begin) * 50)
            for side, link in enumerate(ends):
                while sent[side] <= number:
                    mark = 1 if now >= counted_from else 0
                    packet = struct.pack("!BBHII", 0x80, 0, sent[side] & 0xFFFF, sent[side] * 160, 7 + side)
                    link.send(packet + bytes([mark]) * 160)
                    sent[side] += 1
        for link in select.select(ends, [], [], 0.005)[0]:
            packet = link.recv(2048)
            if len(packet) == 172 and packet[-1] == 1:
                heard[ends.index(link)] += 1
    wanted = (float(seconds) - 0.5) * 50
    print(f"sent {sent}, heard {heard} of about {wanted:.0f} each")
    return 0 if min(heard) >= wanted * 0.999 - 1 else 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["open", server, one, two]:
            open_call(server, one, two)
        case ["talk", ours, a, b, seconds]:
            sys.exit(talk(ours, a, b, seconds))
        case _:
            sys.exit(__doc__)
