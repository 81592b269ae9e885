"""Network namespaces: several hosts on one machine, and a NAT between them."""

import ctypes
import json
import os
import socket
import subprocess
import threading

from lib.case import Skip

CLONE_NEWNET = 0x40000000


def sh(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def socket_in(netns, kind, bind=None, connect=None):
    """A socket that lives in a namespace; None when it cannot connect yet."""
    result = []

    def make():
        if netns:
            libc = ctypes.CDLL(None, use_errno=True)
            handle = os.open(f"/run/netns/{netns}", os.O_RDONLY)
            try:
                if libc.setns(handle, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(handle)
        made = socket.socket(socket.AF_INET, kind)
        try:
            if bind:
                made.bind(bind)
            if connect:
                made.settimeout(3)
                made.connect(connect)
            result.append(made)
        except OSError:
            made.close()

    # A thread of its own: the namespace is a property of the thread and ends with it.
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return result[0] if result else None


NAT_RULES = """
    table ip nat {
        chain out {
            type nat hook postrouting priority 100
            oifname "eth0" masquerade random
        }
    }
    table ip filter {
        chain forward {
            type filter hook forward priority 0; policy drop
            ct state established,related accept
            iifname "inside" accept
        }
    }
"""


class Network:
    """Hosts on one bridge, which lies in the host `core`, and private ones behind routers.

    Namespaces are called TAG-HOST. What it makes is gone when the case ends, with all that runs
    there. With `switch` the bridge is a host of its own, and `core` has an interface `eth0` like
    the others.
    """

    PREFIX = 24

    def __init__(self, case, core, tag=None, switch=False, queues=1):
        """`core` is the core's address; with `switch` its interface has so many queues."""
        if os.geteuid() != 0:
            raise Skip("needs root for network namespaces")
        self.case, self.tag = case, tag or f"v{os.getpid() % 10000}"
        self.bridge = self._namespace("switch" if switch else "core")
        sh("ip", "-n", self.bridge, "link", "add", "br0", "type", "bridge")
        if not switch:
            sh("ip", "-n", self.bridge, "addr", "add", f"{core}/{self.PREFIX}", "dev", "br0")
        sh("ip", "-n", self.bridge, "link", "set", "br0", "up")
        self.core = self.host("core", core, queues) if switch else self.bridge

    def _namespace(self, host):
        name = f"{self.tag}-{host}"
        try:
            sh("ip", "netns", "add", name)
        except subprocess.CalledProcessError as error:
            raise Skip(f"cannot make network namespaces: {error.stderr.strip()}") from None
        self.case.defer(subprocess.run, ("ip", "netns", "del", name))
        sh("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def host(self, name, address, queues=1):
        """Puts a host on the bridge; returns its namespace."""
        host = self._namespace(name)
        self._cable(self.bridge, f"to-{name}", None, host, "eth0", f"{address}/{self.PREFIX}",
                    queues)
        sh("ip", "-n", self.bridge, "link", "set", f"to-{name}", "master", "br0")
        return host

    @staticmethod
    def put_upon(host, kind):
        """Has a host's eth0 be a bridge or a macvlan upon its cable, with the cable's address: their
        drivers have no place for XDP programs, as those of many cards."""
        ip = ["ip", "-n", host]
        (link,) = json.loads(sh(*ip, "-j", "-4", "addr", "show", "dev", "eth0"))
        (address,) = link["addr_info"]
        sh(*ip, "addr", "flush", "dev", "eth0")
        sh(*ip, "link", "set", "eth0", "down")
        sh(*ip, "link", "set", "eth0", "name", "cable0")
        if kind == "bridge":
            sh(*ip, "link", "add", "eth0", "type", "bridge", "forward_delay", "0")
            sh(*ip, "link", "set", "cable0", "master", "eth0")
        else:
            sh(*ip, "link", "add", "eth0", "link", "cable0", "type", "macvlan", "mode", "bridge")
            # Which would answer for the address too, and then has the packets.
            sh(*ip, "link", "set", "cable0", "arp", "off")
        for name in ("cable0", "eth0"):
            sh(*ip, "link", "set", name, "up")
        sh(*ip, "addr", "add", f"{address['local']}/{address['prefixlen']}", "dev", "eth0")

    @staticmethod
    def vlan(host, number, address):
        """Gives a host an address in a VLAN (IEEE 802.1Q) upon its eth0, called eth0.NUMBER."""
        ip, name = ["ip", "-n", host], f"eth0.{number}"
        try:
            sh(*ip, "link", "add", "link", "eth0", "name", name, "type", "vlan", "id", str(number))
        except subprocess.CalledProcessError as error:
            raise Skip(f"the kernel has no VLANs: {error.stderr.strip()}") from None
        sh(*ip, "addr", "add", f"{address}/24", "dev", name)
        sh(*ip, "link", "set", name, "up")

    def home(self, router, outside, inside, name, address):
        """Puts a router on the bridge with a host behind it; returns the host's namespace."""
        gate = self.host(router, outside)
        host = self._namespace(name)
        self._cable(gate, "inside", f"{inside}/24", host, "eth0", f"{address}/24")
        sh("ip", "-n", host, "route", "add", "default", "via", inside)
        self._masquerade(gate)
        return host

    def _cable(self, a, a_name, a_address, b, b_name, b_address, queues=1):
        count = ["numtxqueues", str(queues), "numrxqueues", str(queues)]
        sh("ip", "-n", a, "link", "add", a_name, *count, "type", "veth", "peer", b_name, "netns", b,
           *count)
        for host, name, address in ((a, a_name, a_address), (b, b_name, b_address)):
            if address:
                sh("ip", "-n", host, "addr", "add", address, "dev", name)
            sh("ip", "-n", host, "link", "set", name, "up")

    @staticmethod
    def real_checksums(*hosts):
        """Has these hosts send packets with whole checksums, as cards do. Between two ends of a cable
        in memory nobody else needs them."""
        for host in hosts:
            for name in sh("ip", "netns", "exec", host, "ls", "/sys/class/net").split():
                if name not in ("lo", "br0"):
                    sh("ip", "netns", "exec", host, "ethtool", "-K", name, "tx", "off")

    @staticmethod
    def _masquerade(gate):
        """An ordinary home router: out with a port of its own, in only what answers."""
        run_in = ["ip", "netns", "exec", gate]
        subprocess.run([*run_in, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
        made = subprocess.run([*run_in, "nft", "-f", "-"], input=NAT_RULES, text=True,
                              capture_output=True)
        if made.returncode:
            raise Skip(f"the kernel does no NAT: {made.stderr.strip()}")


class Hosts(Network):
    """A public network with voipd's host and another, and a private one behind a NAT.

        core 198.18.0.1 --- bridge --- pub 198.18.0.3
                              |
                             nat 198.18.0.2 / 192.168.77.1 --- home 192.168.77.10
    """

    CORE, PUB, HOME = "198.18.0.1", "198.18.0.3", "192.168.77.10"

    def __init__(self, case):
        super().__init__(case, self.CORE)
        self.pub = self.host("pub", self.PUB)
        self.home = self.home("nat", "198.18.0.2", "192.168.77.1", "home", self.HOME)
