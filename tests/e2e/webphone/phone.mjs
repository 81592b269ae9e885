// A browser's SIP stack (SIP.js) under Node: signalling over WebSocket, media feigned.
//
//   node phone.mjs URL USER@DOMAIN PASSWORD
//
// Commands are lines on standard input: `call USER`, `hangup`, `quit`. What happens is said as
// lines on standard output: `registered`, `ringing`, `incoming FROM`, `up`, `ended`, `refused N`.
// An incoming call rings for a moment and is answered.

import { createInterface } from "node:readline";
import { Inviter, Registerer, RegistererState, SessionState, UserAgent } from "sip.js";
import { WebSocket } from "ws";

globalThis.WebSocket = WebSocket;

const RING_MS = 200;
const [url, aor, password] = process.argv.slice(2);
const domain = aor.split("@")[1];
const say = (...words) => console.log(...words);

// What a browser would offer, without a browser.
const SDP = [
    "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0",
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 0", "c=IN IP4 0.0.0.0", "a=mid:0", "a=sendrecv",
    "a=rtcp-mux", "a=ice-ufrag:feig", "a=ice-pwd:feignedfeignedfeignedfe", "a=setup:actpass",
    `a=fingerprint:sha-256 ${Array(32).fill("AB").join(":")}`,
    "a=rtpmap:111 opus/48000/2", "a=rtpmap:0 PCMU/8000", "",
].join("\r\n");

const feignedMedia = () => ({
    close() {},
    hasDescription: (type) => type === "application/sdp",
    getDescription: async () => ({ body: SDP, contentType: "application/sdp" }),
    setDescription: async () => {},
    holdModifier: async (description) => description,
    rollbackDescription: async () => {},
    sendDtmf: () => false,
});

let session;

function follow(next) {
    session = next;
    session.stateChange.addListener((state) => {
        if (state === SessionState.Established) say("up");
        if (state === SessionState.Terminated) say("ended");
    });
}

const agent = new UserAgent({
    uri: UserAgent.makeURI(`sip:${aor}`),
    authorizationUsername: aor.split("@")[0],
    authorizationPassword: password,
    transportOptions: { server: url },
    sessionDescriptionHandlerFactory: feignedMedia,
    logLevel: "warn",
    delegate: {
        onInvite(invitation) {
            say("incoming", invitation.remoteIdentity.uri.toString());
            follow(invitation);
            setTimeout(() => invitation.accept().catch((e) => say("failed", e.message)), RING_MS);
        },
    },
});

const commands = {
    async call(who) {
        const inviter = new Inviter(agent, UserAgent.makeURI(`sip:${who}@${domain}`));
        follow(inviter);
        await inviter.invite({
            requestDelegate: {
                onProgress: (response) => {
                    if (response.message.statusCode === 180) say("ringing");
                },
                onReject: (response) => say("refused", response.message.statusCode),
            },
        });
    },
    async hangup() {
        await session.bye();
    },
    async quit() {
        await agent.stop();
        process.exit(0);
    },
};

await agent.start();
const registerer = new Registerer(agent, { expires: 120 });
registerer.stateChange.addListener((state) => {
    if (state === RegistererState.Registered) say("registered");
});
await registerer.register({
    requestDelegate: { onReject: (response) => say("refused", response.message.statusCode) },
});

createInterface({ input: process.stdin }).on("line", (line) => {
    const [name, ...words] = line.trim().split(/\s+/);
    commands[name](...words).catch((error) => say("failed", error.message));
});
