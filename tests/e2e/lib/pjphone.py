"""A phone made of PJSIP (pjsua2): a program of its own, started by lib.softphone. Words come by
standard input, one command a line; what happens goes to standard output. Its calls are numbered as
they begin; each is recorded to heard-N.wav.

    pjphone.py USER PASSWORD DOMAIN PROXY ADDRESS PORT RTP CODEC TONE.wav
"""

import os
import select
import sys

import pjsua2 as pj

POLL_MS = 10


def tell(*words):
    print(*words, flush=True)


class Call(pj.Call):
    def __init__(self, phone, call_id=pj.PJSUA_INVALID_ID):
        super().__init__(phone.account, call_id)
        self.phone = phone
        self.number = len(phone.calls)
        phone.calls.append(self)
        self.recorder = pj.AudioMediaRecorder()
        self.recorder.createRecorder(f"heard-{self.number}.wav")

    def onCallState(self, _prm):
        info = self.getInfo()
        tell("call", self.number, info.stateText, info.lastStatusCode)
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            # The file is whole once the recorder is gone.
            self.recorder = None
            tell("closed", self.number)

    def onCallMediaState(self, _prm):
        # What it holds is gone with it.
        info = self.getInfo()
        for index, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                sound = self.getAudioMedia(index)
                self.phone.tone.startTransmit(sound)
                sound.startTransmit(self.recorder)

    def onCallTransferStatus(self, prm):
        tell("transfer", self.number, prm.statusCode)
        prm.cont = True
        if prm.statusCode == 200:
            self.phone.done.append(self)

    def onCallReplaceRequest(self, prm):
        prm.statusCode = 200

    def onCallReplaced(self, prm):
        self.phone.replaced = Call(self.phone, prm.newCallId)

    def onCallTransferRequest(self, prm):
        # The call to whom we are transferred is made by the library.
        prm.newCall = Call(self.phone)


class Account(pj.Account):
    def __init__(self, phone):
        super().__init__()
        self.phone = phone

    def onRegState(self, prm):
        tell("registered" if prm.code == 200 else "unregistered", prm.code)

    def onMwiInfo(self, prm):
        fields = dict(line.split(": ", 1) for line in prm.rdata.wholeMsg.splitlines() if ": " in line)
        tell("mwi", fields.get("Messages-Waiting"), fields.get("Voice-Message"))

    def onIncomingCall(self, prm):
        call = Call(self.phone, prm.callId)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        call.answer(answer)


class Phone:
    def __init__(self, argv):
        user, password, self.domain, proxy, address, port, rtp, codec, tone = argv
        self.calls = []
        # Calls that were transferred: whose phone it was ends them (RFC 5589 §6.1).
        self.done = []
        self.endpoint = pj.Endpoint()
        self.endpoint.libCreate()
        config = pj.EpConfig()
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.logConfig.level = 5
        config.logConfig.consoleLevel = 0
        config.logConfig.filename = "pjsip.txt"
        config.medConfig.noVad = True
        config.medConfig.ecTailLen = 0
        self.endpoint.libInit(config)
        transport = pj.TransportConfig()
        transport.port, transport.boundAddress = int(port), address
        self.endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
        self.endpoint.libStart()
        self.endpoint.audDevManager().setNullDev()
        for known in self.endpoint.codecEnum2():
            wanted = known.codecId.startswith(codec + "/")
            self.endpoint.codecSetPriority(known.codecId, 200 if wanted else 0)
        self.tone = pj.AudioMediaPlayer()
        self.tone.createPlayer(tone)
        account = pj.AccountConfig()
        account.idUri = f"sip:{user}@{self.domain}"
        account.regConfig.registrarUri = f"sip:{self.domain}"
        account.sipConfig.proxies.append(f"sip:{proxy};lr")
        account.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", user, 0, password))
        account.mwiConfig.enabled = True
        account.mediaConfig.transportConfig.port = int(rtp)
        account.mediaConfig.transportConfig.boundAddress = address
        self.account = Account(self)
        self.account.create(account)

    def run(self):
        unread = b""
        while True:
            self.endpoint.libHandleEvents(POLL_MS)
            while self.done:
                call = self.done.pop()
                if call.isActive():
                    call.hangup(pj.CallOpParam(True))
            if not select.select([sys.stdin], [], [], 0)[0]:
                continue
            got = os.read(0, 4096)
            if not got:
                return
            *lines, unread = (unread + got).split(b"\n")
            for line in lines:
                self.command(*line.decode().split())

    def command(self, word, *rest):
        default = pj.CallOpParam(True)
        if word == "dial":
            Call(self).makeCall(f"sip:{rest[0]}@{self.domain}", default)
            return
        call = self.calls[int(rest[0])]
        if word == "press":
            call.dialDtmf(rest[1])
        elif word == "info":
            key = pj.CallSendDtmfParam()
            key.method, key.digits = pj.PJSUA_DTMF_METHOD_SIP_INFO, rest[1]
            call.sendDtmf(key)
        elif word == "hold":
            call.setHold(default)
        elif word == "resume":
            default.opt.flag = pj.PJSUA_CALL_UNHOLD
            call.reinvite(default)
        elif word == "transfer":
            call.xfer(f"sip:{rest[1]}@{self.domain}", default)
        elif word == "join":
            call.xferReplaces(self.calls[int(rest[1])], default)
        elif word == "hangup":
            call.hangup(default)
        else:
            tell("unknown", word)


if __name__ == "__main__":
    Phone(sys.argv[1:]).run()
