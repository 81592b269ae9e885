"""SRTP by libsrtp (RFC 3711), the reference implementation, and keys as descriptions carry them (RFC
4568)."""

import base64
import ctypes
import ctypes.util
import functools
import os

from lib.case import Skip

# Suites with the bytes of key and salt, and libsrtp's policies of RTP and RTCP.
SUITES = {
    "AEAD_AES_256_GCM": (44, "aes_gcm_256_16_auth", "aes_gcm_256_16_auth"),
    "AEAD_AES_128_GCM": (28, "aes_gcm_128_16_auth", "aes_gcm_128_16_auth"),
    "AES_256_CM_HMAC_SHA1_80": (46, "aes_cm_256_hmac_sha1_80", "aes_cm_256_hmac_sha1_80"),
    "AES_256_CM_HMAC_SHA1_32": (46, "aes_cm_256_hmac_sha1_32", "aes_cm_256_hmac_sha1_80"),
    "AES_CM_128_HMAC_SHA1_80": (30, "rtp_default", "rtp_default"),
    "AES_CM_128_HMAC_SHA1_32": (30, "aes_cm_128_hmac_sha1_32", "rtp_default"),
}
ANY_INBOUND, ANY_OUTBOUND = 2, 3
ROOM = 160


class CryptoPolicy(ctypes.Structure):
    _fields_ = [("cipher_type", ctypes.c_uint32), ("cipher_key_len", ctypes.c_int),
                ("auth_type", ctypes.c_uint32), ("auth_key_len", ctypes.c_int),
                ("auth_tag_len", ctypes.c_int), ("sec_serv", ctypes.c_int)]


class Policy(ctypes.Structure):
    """srtp_policy_t of libsrtp 2."""

    _fields_ = [("ssrc_type", ctypes.c_int), ("ssrc", ctypes.c_uint32), ("rtp", CryptoPolicy),
                ("rtcp", CryptoPolicy), ("key", ctypes.c_char_p), ("keys", ctypes.c_void_p),
                ("num_master_keys", ctypes.c_ulong), ("ekt", ctypes.c_void_p),
                ("window_size", ctypes.c_ulong), ("allow_repeat_tx", ctypes.c_int),
                ("enc_xtn_hdr", ctypes.c_void_p), ("enc_xtn_hdr_count", ctypes.c_int),
                ("next", ctypes.c_void_p)]


@functools.cache
def library():
    try:
        found = ctypes.CDLL(ctypes.util.find_library("srtp2") or "libsrtp2.so.1")
    except OSError:
        raise Skip("no libsrtp (package libsrtp2-1)")
    if found.srtp_init():
        raise Skip("libsrtp does not start")
    return found


class Crypto:
    """One a=crypto."""

    def __init__(self, tag, suite, inline=None):
        self.tag, self.suite = tag, suite
        self.inline = inline or base64.b64encode(os.urandom(SUITES[suite][0])).decode()

    @classmethod
    def read(cls, value):
        tag, suite, keys = value.split()[:3]
        return cls(int(tag), suite, keys.removeprefix("inline:").split("|")[0])

    def line(self):
        return f"a=crypto:{self.tag} {self.suite} inline:{self.inline}\r\n"

    def key(self):
        return base64.b64decode(self.inline + "=" * (-len(self.inline) % 4))


class Context:
    """One direction under one key."""

    def __init__(self, crypto, inbound):
        srtp, policy = library(), Policy()
        _, rtp, rtcp = SUITES[crypto.suite]
        for name, place in ((rtp, policy.rtp), (rtcp, policy.rtcp)):
            getattr(srtp, f"srtp_crypto_policy_set_{name}")(ctypes.byref(place))
        self.material = crypto.key()
        policy.key, policy.ssrc_type = self.material, ANY_INBOUND if inbound else ANY_OUTBOUND
        policy.window_size = 128
        self.handle = ctypes.c_void_p()
        status = srtp.srtp_create(ctypes.byref(self.handle), ctypes.byref(policy))
        assert status == 0, f"libsrtp refuses {crypto.suite}: {status}"
        self.end = "unprotect" if inbound else "protect"

    def __call__(self, packet, rtcp=False):
        """The packet, secure or in the clear; None if it is not genuine."""
        buffer = ctypes.create_string_buffer(packet, len(packet) + ROOM)
        length = ctypes.c_int(len(packet))
        act = getattr(library(), f"srtp_{self.end}" + ("_rtcp" if rtcp else ""))
        if act(self.handle, buffer, ctypes.byref(length)):
            return None
        return buffer.raw[: length.value]
