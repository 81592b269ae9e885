"""A server of TCP or TLS that looks like a UDP socket to who uses it: whole messages come from
whoever is connected, and go back along the connection."""

import queue
import socket
import ssl
import threading

from lib.sip import cut


class Streams:
    """Listens at an address. With `tls`, an ssl.SSLContext, it speaks TLS."""

    def __init__(self, case, address, tls=None):
        self.address, self.tls = address, tls
        self.transport = "tls" if tls else "tcp"
        self.seconds = None
        self.connections = {}  # peer: its connection
        self.came = queue.Queue()
        self.failures = []  # handshakes that came to nothing
        self.listener = socket.create_server((address, 0))
        case.defer(self.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, peer = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(connection, peer), daemon=True).start()

    def _read(self, connection, peer):
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self.connections[peer] = connection
            unread = b""
            while got := connection.recv(65536):
                unread += got
                message, unread = cut(unread)
                while message:
                    self.came.put((message, peer))
                    message, unread = cut(unread)
        except ssl.SSLError as error:
            self.failures.append(str(error))
        except OSError:
            pass
        self.connections.pop(peer, None)
        connection.close()

    # -- as a socket of datagrams

    def getsockname(self):
        return self.listener.getsockname()

    def settimeout(self, seconds):
        self.seconds = seconds

    def recvfrom(self, _size):
        try:
            return self.came.get(timeout=self.seconds)
        except queue.Empty:
            raise TimeoutError from None

    def sendto(self, data, peer):
        connection = self.connections.get(peer)
        if connection is None:
            raise ConnectionError(f"{peer} is not connected")
        connection.sendall(data)

    def drop(self):
        """Ends all connections, as a restart would."""
        for connection in list(self.connections.values()):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        for end in (lambda: self.listener.shutdown(socket.SHUT_RDWR), self.listener.close):
            try:
                end()
            except OSError:
                pass
        self.drop()
