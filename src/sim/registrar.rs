//! A registrar that is not ours: RFC 3261 §10.3 with digest of its own arithmetic, answers to
//! OPTIONS, a memory that a restart wipes, and a door that can be shut.

use super::net::{Carrier, Packet};
use crate::base::{Instant, Rng};
use crate::wire::sip::{HeaderName, Message, Method, ResponseBuilder};
use bytes::Bytes;
use md5::{Digest, Md5};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How it behaves.
#[derive(Clone, Debug)]
pub struct Manners {
    /// The account.
    pub user: String,
    /// Its domain, and the realm.
    pub domain: String,
    /// Its password.
    pub password: String,
    /// SHA-256 instead of MD5.
    pub sha256: bool,
    /// Shorter ones get 423.
    pub expires_min_s: u32,
    /// Longer ones are cut.
    pub expires_max_s: u32,
    /// How long a nonce is good.
    pub nonce_lifetime: Duration,
}

/// One registrar.
#[derive(Debug)]
pub struct Registrar {
    address: SocketAddr,
    manners: Manners,
    rng: Rng,
    /// Whether it hears anything.
    is_on: bool,
    /// Nonces with the time of their birth and the highest count.
    nonces: BTreeMap<String, (Instant, u32)>,
    bindings: BTreeMap<String, Binding>,
    answers: BTreeMap<Vec<u8>, Vec<u8>>,
    /// REGISTERs that came, repetitions not counted.
    pub registers: u64,
    /// OPTIONS that came, repetitions not counted.
    pub options: u64,
    /// What broke a rule of the RFC.
    pub broken: Vec<String>,
}

#[derive(Debug)]
struct Binding {
    until: Instant,
    call_id: Vec<u8>,
    sequence: u32,
}

impl Registrar {
    /// It is on, and knows nobody.
    pub fn new(address: SocketAddr, manners: Manners, rng: Rng) -> Self {
        Self {
            address,
            manners,
            rng,
            is_on: true,
            nonces: BTreeMap::new(),
            bindings: BTreeMap::new(),
            answers: BTreeMap::new(),
            registers: 0,
            options: 0,
            broken: Vec::new(),
        }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it behaves, to change.
    pub fn manners(&mut self) -> &mut Manners {
        &mut self.manners
    }

    /// It dies.
    pub fn turn_off(&mut self) {
        self.is_on = false;
    }

    /// It starts, and remembers nothing.
    pub fn turn_on(&mut self) {
        self.is_on = true;
        self.bindings.clear();
        self.nonces.clear();
        self.answers.clear();
    }

    /// The Contacts that are good now.
    pub fn contacts(&self, now: Instant) -> Vec<&str> {
        let good = self.bindings.iter().filter(|(_, b)| b.until > now);
        good.map(|(contact, _)| contact.as_str()).collect()
    }

    /// A packet came; what goes back.
    pub fn handle_packet(&mut self, now: Instant, packet: &Packet) -> Option<Packet> {
        let bytes = Bytes::copy_from_slice(&packet.bytes);
        let request = Message::parse(bytes).ok().filter(Message::is_request)?;
        if !self.is_on {
            return None;
        }
        let mut branch = request
            .top_via()
            .ok()?
            .branch()
            .unwrap_or_default()
            .to_vec();
        branch.extend(request.method().as_bytes());
        let answer = match self.answers.get(&branch) {
            Some(answer) => answer.clone(),
            None => {
                let answer = self.answer(now, &request).render().to_vec();
                self.answers.insert(branch, answer.clone());
                answer
            }
        };
        Some(Packet {
            carrier: Carrier::Datagram,
            source: self.address,
            destination: packet.source,
            bytes: answer,
        })
    }

    fn answer<'m>(&mut self, now: Instant, request: &'m Message) -> ResponseBuilder<'m> {
        let response = |status| ResponseBuilder::new(request, status).to_tag("reg");
        match request.method() {
            Method::Options => {
                self.options += 1;
                response(200)
            }
            Method::Register => {
                self.registers += 1;
                self.register(now, request)
            }
            _ => response(501),
        }
    }

    fn register<'m>(&mut self, now: Instant, request: &'m Message) -> ResponseBuilder<'m> {
        let response = |status| ResponseBuilder::new(request, status).to_tag("reg");
        let aor = format!("sip:{}@{}", self.manners.user, self.manners.domain);
        if request.to().map(|to| to.uri_bytes().to_vec()) != Ok(aor.into_bytes()) {
            return response(404);
        }
        match self.is_proven(now, request, HeaderName::Authorization) {
            Proof::Right => {}
            Proof::Wrong => return response(403),
            Proof::Absent { stale } => {
                let value = self.new_challenge(now, stale);
                return response(401).header(HeaderName::WwwAuthenticate, value);
            }
        }
        let Some(contact) = request.addresses(HeaderName::Contact).find_map(Result::ok) else {
            return response(400);
        };
        let asked = contact
            .expires()
            .ok()
            .flatten()
            .or(request.expires().ok().flatten());
        let asked = asked.unwrap_or(3600);
        if asked > 0 && asked < self.manners.expires_min_s {
            let least = self.manners.expires_min_s.to_string();
            return response(423).header(HeaderName::MinExpires, least);
        }
        let uri = String::from_utf8_lossy(contact.uri_bytes()).into_owned();
        let sequence = request.cseq().map_or(0, |cseq| cseq.number);
        let call_id = request.call_id().to_vec();
        if let Some(known) = self.bindings.get(&uri)
            && known.call_id == call_id
            && known.sequence >= sequence
        {
            // RFC 3261 §10.3 step 7: out of order. Overtaking does that too.
            return response(500);
        }
        let granted = asked.min(self.manners.expires_max_s);
        if granted == 0 {
            self.bindings.remove(&uri);
            return response(200);
        }
        let until = now + Duration::from_secs(granted.into());
        self.bindings.retain(|_, binding| binding.until > now);
        let binding = Binding {
            until,
            call_id,
            sequence,
        };
        self.bindings.insert(uri, binding);
        let mut answer = response(200);
        for (contact, binding) in &self.bindings {
            let left = binding.until.since(now).as_secs();
            let value = format!("<{contact}>;expires={left}");
            answer = answer.header(HeaderName::Contact, value);
        }
        answer
    }

    /// Whether the sender of another request proved who it is; if not, what it is answered
    /// (RFC 3261 §22.3).
    pub fn doubts<'m>(
        &mut self,
        now: Instant,
        request: &'m Message,
    ) -> Option<ResponseBuilder<'m>> {
        let response = |status| ResponseBuilder::new(request, status).to_tag("reg");
        match self.is_proven(now, request, HeaderName::ProxyAuthorization) {
            Proof::Right => None,
            Proof::Wrong => Some(response(403)),
            Proof::Absent { stale } => {
                let value = self.new_challenge(now, stale);
                Some(response(407).header(HeaderName::ProxyAuthenticate, value))
            }
        }
    }

    fn new_challenge(&mut self, now: Instant, stale: bool) -> String {
        let nonce = String::from_utf8_lossy(&self.rng.token::<16>()).into_owned();
        let realm = &self.manners.domain;
        let name = if self.manners.sha256 {
            "SHA-256"
        } else {
            "MD5"
        };
        let value = format!(
            "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={name}, \
             qop=\"auth,auth-int\", stale={stale}, opaque=\"x\""
        );
        self.nonces.insert(nonce, (now, 0));
        value
    }

    fn is_proven(&mut self, now: Instant, request: &Message, header: HeaderName) -> Proof {
        let given = request.credentials(header).next();
        let Some(Ok(given)) = given else {
            return Proof::Absent { stale: false };
        };
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into();
        let nonce: String = text(given.nonce());
        let (nc, cnonce, uri): (String, String, String) =
            (text(given.nc()), text(given.cnonce()), text(given.uri()));
        if uri.as_bytes() != request.request_uri() {
            self.broken.push(format!("digest for {uri}"));
        }
        let Some((born, used)) = self.nonces.get_mut(&nonce) else {
            return Proof::Absent { stale: true };
        };
        let count = u32::from_str_radix(&nc, 16).unwrap_or(0);
        // RFC 7616 §3.4: a count that does not grow is a replay.
        if count <= *used || now.since(*born) > self.manners.nonce_lifetime {
            return Proof::Absent { stale: true };
        }
        *used = count;
        let Manners {
            user,
            domain,
            password,
            ..
        } = &self.manners;
        let first = self.hash(&format!("{user}:{domain}:{password}"));
        let second = self.hash(&format!("{}:{uri}", request.method()));
        let wanted = self.hash(&format!("{first}:{nonce}:{nc}:{cnonce}:auth:{second}"));
        let is_right = given.response() == Some(wanted.as_bytes())
            && given.username() == Some(user.as_bytes());
        match is_right {
            true => Proof::Right,
            false => Proof::Wrong,
        }
    }

    fn hash(&self, text: &str) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
        match self.manners.sha256 {
            true => hex(&Sha256::digest(text.as_bytes())),
            false => hex(&Md5::digest(text.as_bytes())),
        }
    }
}

enum Proof {
    Right,
    Wrong,
    Absent { stale: bool },
}
