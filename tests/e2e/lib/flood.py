"""A flood of rubbish from many sources: python3 flood.py HOST PORT PER_SECOND SECONDS SOURCE...

A program of its own, so that it takes nothing from the test that it runs beside. Prints how many
datagrams it sent, and how many a second.
"""

import os
import random
import socket
import sys
import time

# Datagrams between two looks at the clock.
BATCH = 50


def rubbish(rng):
    """Bytes of chance, broken SIP, and SIP that a scanner may have written."""
    number, method = rng.getrandbits(48), rng.choice(["OPTIONS", "REGISTER", "INVITE", "SUBSCRIBE"])
    whole = (
        f"{method} sip:{number % 1000}@voip.test SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{number:x};rport\r\nMax-Forwards: 70\r\n"
        f"From: <sip:{number % 1000}@voip.test>;tag={number:x}\r\nTo: <sip:100@voip.test>\r\n"
        f"Call-ID: {number:x}\r\nCSeq: 1 {method}\r\nContact: <sip:x@192.0.2.1>\r\n"
        "User-Agent: phone\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    kind = rng.randrange(4)
    if kind == 0:
        return os.urandom(rng.randrange(1, 1400))
    return [whole, whole[: rng.randrange(20, len(whole))], b"A" * 400, whole][kind]


def main(host, port, per_second, seconds, *sources):
    rng = random.Random(7)
    sockets = []
    for source in sources:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind((source, 0))
        sender.connect((host, int(port)))
        sockets.append(sender)
    store = [rubbish(rng) for _ in range(2000)]
    begun, sent, rate = time.monotonic(), 0, int(per_second)
    while (passed := time.monotonic() - begun) < float(seconds):
        if sent > passed * rate:
            time.sleep(BATCH / rate)
            continue
        for _ in range(BATCH):
            try:
                sockets[sent % len(sockets)].send(store[sent % len(store)])
            except OSError:
                pass  # a full buffer; a refusal that came back
            sent += 1
    print(sent, round(sent / (time.monotonic() - begun)))


if __name__ == "__main__":
    main(*sys.argv[1:])
