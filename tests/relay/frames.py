#!/usr/bin/env python3
"""Makes the vectors of tests/frames.rs with scapy, which shares no code and no author with us.

    frames.py                  writes tests/relay/frames.jsonl anew
    frames.py --check          says whether it is what this program writes
    frames.py SEED FILE        other frames, for VOIP_FRAMES=FILE cargo test --test frames

Each line is a frame as it comes, the flow that it meets, and the frame as it has to leave: scapy
builds both from their fields, with all lengths and checksums, so that none is carried over from
the one to the other. A few lines say `host`: those frames are not ours. scapy comes from
tests/relay/scapy.
"""

import json
import pathlib
import random
import sys

from scapy.contrib.rtcp import RTCP, ReceptionReport, SDESChunk, SDESItem, SenderInfo
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.rtp import RTP
from scapy.packet import Raw

FILE = pathlib.Path(__file__).with_name("frames.jsonl")
FRAMES = 400
SEED = 6

MAC_IN, MAC_OUT, MAC_NEXT = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
HOSTS = {
    4: ("192.0.2.7", "203.0.113.1", "203.0.113.2", "198.51.100.9"),
    6: ("2001:db8:7::9", "2001:db8::1", "2001:db8::2", "2001:db8:9::5"),
}
SENT, SEEN, REAL = 0x0A0B0C0D, 0x11223344, 0x55667788


def ethernet(source, destination, tag):
    frame = Ether(src=source, dst=destination)
    if tag is not None:
        frame /= Dot1Q(prio=tag >> 13, dei=(tag >> 12) & 1, vlan=tag & 0xFFF)
    return frame


def network(version, source, destination, traffic_class, limit, extra):
    if version == 4:
        return IP(src=source, dst=destination, tos=traffic_class, ttl=limit, **extra)
    return IPv6(src=source, dst=destination, tc=traffic_class, hlim=limit, **extra)


def padded(frame):
    """Ethernet's least length, which scapy leaves to the card."""
    data = bytes(frame)
    return data + bytes(max(0, 60 - len(data)))


def rtp(rng, payload_type, ssrc):
    fields = {
        "marker": rng.getrandbits(1),
        "sequence": rng.getrandbits(16),
        "timestamp": rng.getrandbits(32),
        "sync": [rng.getrandbits(32) for _ in range(rng.choice((0, 0, 1, 3)))],
    }
    sound = Raw(rng.randbytes(rng.choice((0, 1, 20, 33, 160, 161, 320))))
    # Both: as it comes, as it leaves.
    return [
        RTP(payload_type=kind, sourcesync=source, numsync=len(fields["sync"]), **fields) / sound
        for kind, source in zip(payload_type, ssrc)
    ]


def rtcp(rng, ssrc, reported):
    numbers = [rng.getrandbits(32) for _ in range(5)]
    blocks = rng.choice((0, 1, 2))
    kind = rng.choice((200, 201))
    name = bytes(rng.choices(b"abcdefgh", k=rng.randrange(1, 20)))
    made = []
    for source, about in zip(ssrc, reported):
        reports = [
            ReceptionReport(
                sourcesync=about if n == 0 else numbers[0],
                fraction_lost=1,
                cumulative_lost=2,
                highest_seqnum_recv=numbers[1],
                interarrival_jitter=numbers[2],
                last_SR_timestamp=3,
                delay_since_last_SR=4,
            )
            for n in range(blocks)
        ]
        report = RTCP(packet_type=kind, sourcesync=source, count=blocks, report_blocks=reports)
        if kind == 200:
            report.sender_info = SenderInfo(
                ntp_timestamp=numbers[3] << 32 | numbers[4],
                rtp_timestamp=7,
                sender_packet_count=8,
                sender_octet_count=9,
            )
        chunk = SDESChunk(
            sourcesync=source,
            items=[SDESItem(chunk_type=1, value=name), SDESItem(chunk_type=0, length=0, value=b"")],
        )
        sdes = bytes(RTCP(packet_type=202, count=1, sdes_chunks=[chunk]))
        # scapy fills no chunk to 32 bits and counts its length so; both are mended here.
        sdes += bytes(-len(sdes) % 4)
        sdes = sdes[:2] + (len(sdes) // 4 - 1).to_bytes(2, "big") + sdes[4:]
        made.append(Raw(bytes(report) + sdes))
    return made


def forwarded(rng):
    came, went = rng.choice((4, 6)), rng.choice((4, 6))
    peer, ours, _, _ = HOSTS[came]
    _, _, local, far = HOSTS[went]
    ports = [rng.randrange(1024, 65536) for _ in range(4)]
    tag_in = rng.choice((None, None, rng.randrange(8) << 13 | rng.randrange(0, 4095)))
    tag_out = rng.choice((None, None, rng.randrange(8) << 13 | rng.randrange(0, 4095)))
    traffic_class, limit = rng.getrandbits(8), rng.randrange(2, 256)
    dscp = rng.choice((None, rng.randrange(64)))
    ssrc, types = rng.random() < 0.5, rng.random() < 0.5
    source = rng.getrandbits(32)
    sources = (source, SENT if ssrc else source)
    is_rtcp = rng.random() < 0.25
    onward = ports[2:]
    if is_rtcp:
        payloads = rtcp(rng, sources, (SEEN, REAL if ssrc else SEEN))
        if rng.random() < 0.5:
            onward = [rng.randrange(1024, 65536) for _ in range(2)]
    else:
        kind = rng.choice((0, 8, 34, 96))
        payloads = rtp(rng, (kind, 101 if types and kind == 96 else kind), sources)
    extra_in = {"id": rng.getrandbits(16), "flags": rng.choice((0, "DF"))}
    label = rng.getrandbits(20)
    if came == 6:
        extra_in = {"fl": label}
    extra_out = extra_in
    if came != went:
        extra_out = {"fl": 0} if went == 6 else {"id": 0, "flags": "DF"}
    # Without a checksum: what IPv4 may be.
    none = came == 4 and rng.random() < 0.25
    before = (
        ethernet(MAC_NEXT, MAC_IN, tag_in)
        / network(came, peer, ours, traffic_class, limit, extra_in)
        / UDP(sport=ports[0], dport=ports[1], **({"chksum": 0} if none else {}))
        / payloads[0]
    )
    new_class = traffic_class if dscp is None else dscp << 2 | traffic_class & 3
    after = (
        ethernet(MAC_OUT, MAC_NEXT, tag_out)
        / network(went, local, far, new_class, limit - 1, extra_out)
        / UDP(sport=onward[0], dport=onward[1], **({"chksum": 0} if none and went == 4 else {}))
        / payloads[1]
    )
    at = "{}:{}" if came == 4 else "[{}]:{}"
    to = "{}:{}" if went == 4 else "[{}]:{}"
    return {
        "source": at.format(peer, ports[0]),
        "destination": at.format(ours, ports[1]),
        "vlan": (tag_in or 0) & 0xFFF or None,
        "from": to.format(local, ports[2]),
        "to": to.format(far, ports[3]),
        "rtcp": onward if onward != ports[2:] else None,
        "tag": tag_out,
        "dscp": dscp,
        "ssrc": [SENT, SEEN, REAL] if ssrc else None,
        "types": [[96, 101]] if types else [],
        "came": padded(before).hex(),
        "went": padded(after).hex(),
    }


def hosts():
    """What a flow's port is not asked about: each of these would meet the flow if it were plain."""
    peer, ours, local, far = HOSTS[4]
    peer6, ours6, _, _ = HOSTS[6]
    link = Ether(src=MAC_NEXT, dst=MAC_IN)
    voice = RTP(sourcesync=9) / Raw(bytes(160))
    udp = UDP(sport=4000, dport=16384) / voice
    ip, ip6 = IP(src=peer, dst=ours), IPv6(src=peer6, dst=ours6)
    frames = [
        link / ARP(psrc=peer, pdst=ours),
        link / ip / ICMP(),
        link / ip / TCP(sport=4000, dport=16384),
        link / IP(src=peer, dst=ours, options=[IPOption_NOP()] * 4) / udp,
        link / ip / UDP(sport=4000, dport=5060) / Raw(b"OPTIONS sip:example.com SIP/2.0\r\n\r\n"),
        link / IP(src=peer, dst=local) / udp,
        link / ip / UDP(sport=4000, dport=16384, len=9) / voice,
        link / ip / UDP(sport=4000, dport=16384, len=900) / voice,
        link / IP(src=peer, dst=ours, len=900) / udp,
        link / IP(src=peer, dst=ours, chksum=1) / udp,
        link / ip6 / IPv6ExtHdrDestOpt() / udp,
        link / ip6 / IPv6ExtHdrFragment() / udp,
        link / IPv6(src=peer6, dst="::ffff:203.0.113.1") / udp,
        link / Dot1Q(vlan=9) / ip / udp,
        link / Dot1Q(vlan=0) / Dot1Q(vlan=0) / ip / udp,
        Ether(src=MAC_NEXT, dst="01:00:5e:00:00:01") / ip / udp,
        *fragment(link / ip / udp, 64),
    ]
    for frame in frames:
        v6 = IPv6 in frame
        a, b = (peer6, ours6) if v6 else (peer, ours)
        at = "[{}]:{}" if v6 else "{}:{}"
        yield {
            "source": at.format(a, 4000),
            "destination": at.format(b, 16384),
            "vlan": None,
            "from": f"{local}:16386",
            "to": f"{far}:5000",
            "rtcp": None,
            "tag": None,
            "dscp": None,
            "ssrc": None,
            "types": [],
            "came": padded(frame).hex(),
            "went": None,
        }


def lines(seed):
    rng = random.Random(seed)
    vectors = [forwarded(rng) for _ in range(FRAMES)] + list(hosts())
    return "".join(json.dumps(vector) + "\n" for vector in vectors)


def main(arguments):
    if arguments == ["--check"]:
        if FILE.read_text() != lines(SEED):
            sys.exit(f"frames.py: {FILE} is not what scapy makes: run it without arguments")
    elif len(arguments) == 2:
        pathlib.Path(arguments[1]).write_text(lines(int(arguments[0])))
    elif not arguments:
        FILE.write_text(lines(SEED))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
