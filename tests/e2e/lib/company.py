"""The company of tests/scenarios in network namespaces: headquarters, three branches, a worker at
home, an old PBX behind a gateway, two ITSPs."""

import pathlib
import re
import shutil

from lib.asterisk import Asterisk
from lib.gateway import Gateway
from lib.net import Network
from lib.phone import Phone
from lib.sip import Agent
from lib.voipd import Voipd

SCENARIOS = pathlib.Path(__file__).resolve().parents[2] / "scenarios"
DOMAIN = "company.test"
CORE = "198.18.0.1"
HOSTS = {
    "office": "198.18.0.30", "north": "198.18.0.11", "south": "198.18.0.12", "west": "198.18.0.13",
    "gate": "198.18.0.20", "itsp": "198.18.0.50", "backup": "198.18.0.51", "pub": "198.18.0.3",
}
ROUTER, INSIDE, HOME = "198.18.0.2", "192.168.77.1", "192.168.77.10"
ACCOUNT = "5700020326"


class Neighbour(Asterisk):
    """One of the scenarios' Asterisks."""

    def dialled(self):
        found = {}
        for block in self.messages().split("<--- Received SIP request ")[1:]:
            head = re.search(r"^INVITE sips?:([^@\s]*)@", block, re.M)
            to = re.search(r"^To:.*$", block, re.M | re.I)
            if head and to and "tag=" not in to.group():
                lines = dict(re.findall(r"^([\w-]+):\s*(.*?)\r?$", block.partition("\n\n")[0],
                                        re.M))
                found[lines["Call-ID"]] = (head.group(1), lines["From"],
                                           lines.get("P-Asserted-Identity", ""))
        return list(found.values())

    def call(self, number, server, caller):
        context = "world" if self.name in ("itsp", "backup") else (
            "line" if len(caller) > 4 else "desk")
        extension = {"desk": f"{caller[0]}101", "line": "5101", "world": "915550199"}[context]
        answering = "from-customer" if context == "world" else "from-core"
        before = self.channels()
        self.console(f"channel originate Local/{number}@{context} extension "
                     f"{extension}@{answering}")
        assert self.channels() > before, f"{self.name} could not call {number}"

    def hang_up(self):
        self.console("channel request hangup all")


class Company:
    """One step of the scenarios, set up. `real` says whether the neighbours are Asterisks."""

    def __init__(self, case, step, real, tag=None):
        self.case, self.real = case, real
        (source,) = SCENARIOS.glob(f"{step}-*")
        self.site = case.folder / "site"
        shutil.copytree(source, self.site)
        for secret in self.site.glob("*.secret"):
            secret.chmod(0o600)
        self.network = Network(case, CORE, tag)
        self.netns = {name: self.network.host(name, address) for name, address in HOSTS.items()
                      if name in ("office", "pub") or (source / name).is_dir()}
        self.netns["home"] = self.network.home("router", ROUTER, INSIDE, "home", HOME)
        self.peers = {name: self._neighbour(name) for name in HOSTS if (source / name).is_dir()}
        self.voipd = Voipd(case, address=CORE, netns=self.network.core, file=self.site / "voip.toml",
                           ports={"udp": 5060, "tcp": 5060})
        self.voipd.ctl("user", "import", self.site / "users.csv")

    def __getattr__(self, name):
        try:
            return self.__dict__["peers"][name]
        except KeyError:
            raise AttributeError(name) from None

    def _neighbour(self, name):
        address, netns = HOSTS[name], self.netns[name]
        if self.real:
            files = {path.name: path.read_text() for path in (self.site / name).glob("*.conf")}
            return Neighbour(self.case, name, files, address, 5060, netns)
        if name in ("itsp", "backup"):
            secret = (self.site / f"{name}.secret").read_text().strip()
            return Gateway(self.case, name, address, netns, ACCOUNT, secret, realm=f"{name}.test",
                           challenges=("REGISTER", "INVITE", "BYE"),
                           algorithms=("SHA-256", "MD5"))
        return Gateway(self.case, name, address, netns)

    def _where(self, where):
        address = HOME if where == "home" else HOSTS[where]
        return {"address": address, "netns": self.netns[where]}

    def phone(self, number, where="office", tone=440):
        """A softphone with a user's account."""
        return Phone(self.case, number, self.voipd, tone, password=f"sesame-{number}",
                     domain=DOMAIN, **self._where(where))

    def agent(self, number, where="office", password=None):
        """A scripted phone with a user's account."""
        return Agent(self.case, self.voipd, number, password=password or f"sesame-{number}",
                     domain=DOMAIN, **self._where(where))

    def close(self):
        for peer in self.peers.values():
            if isinstance(peer, Asterisk):
                peer.stop()
