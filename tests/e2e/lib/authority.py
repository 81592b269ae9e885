"""A certificate authority of a test."""

import ssl
import subprocess


class Authority:
    """Its own certificate is ca.pem in the case's folder, or NAME.pem."""

    def __init__(self, case, name="ca"):
        self.folder, self.name = case.folder, name
        self._make(name, "/CN=test authority")

    @property
    def roots(self):
        return self.folder / f"{self.name}.pem"

    def _make(self, name, subject, *more):
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", subject,
                "-keyout", self.folder / f"{name}.key", "-out", self.folder / f"{name}.pem", *more]
        subprocess.run([str(word) for word in argv], check=True, capture_output=True)

    def issue(self, name, subject, alternatives, *extensions):
        """A certificate for these subjectAltNames, such as `DNS:sip.example.net`; returns its key
        and its file."""
        more = ["-CA", self.roots, "-CAkey", self.folder / f"{self.name}.key"]
        for extension in (f"subjectAltName={alternatives}", "basicConstraints=critical,CA:FALSE",
                          *extensions):
            more += ["-addext", extension]
        self._make(name, subject, *more)
        return self.folder / f"{name}.key", self.folder / f"{name}.pem"

    def server(self, key, certificate):
        """For a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    def client(self, key=None, certificate=None):
        """For a client that trusts this authority, with a certificate of its own or without."""
        context = ssl.create_default_context(cafile=self.roots)
        if certificate:
            context.load_cert_chain(certificate, key)
        return context
