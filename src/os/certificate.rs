//! Which SIP domains a TLS client proves by its certificate (RFC 5922 §7.1).
//!
//! It is asked for and never demanded, and one that proves nothing shuts nobody out: many phones
//! bear a certificate of their maker's, which means nothing here. So the handshake only sees that
//! the client has the key ([`Asker`]); who it is, and whether we believe that, is judged behind it
//! ([`Judge`]). Revocation is not looked at.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage};

/// Domains of one certificate; more are not looked at.
pub const DOMAINS_MAX: usize = 16;

/// `id-kp-sipDomain`, 1.3.6.1.5.5.7.3.20 (RFC 5924 §4).
const SIP_DOMAIN: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x14];

/// Judges chains that were presented.
#[derive(Debug)]
pub(super) struct Judge {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Judge {
    /// By these roots.
    pub fn new(roots: RootCertStore, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { roots, algorithms }
    }

    /// The domains that a chain proves, in lower case; none if we do not believe it.
    pub fn domains(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Vec<Box<str>> {
        let Some((first, intermediates)) = chain.split_first() else {
            return Vec::new();
        };
        let Ok(certificate) = EndEntityCert::try_from(first) else {
            return Vec::new();
        };
        // A proxy has one certificate for both of its sides. Where it says what it is for, that is
        // one of these, or all of SIP.
        let usages = [
            KeyUsage::client_auth(),
            KeyUsage::server_auth(),
            KeyUsage::required_if_present(SIP_DOMAIN),
        ];
        let believed = usages.into_iter().any(|usage| {
            let path = certificate.verify_for_usage(
                self.algorithms.all,
                &self.roots.roots,
                intermediates,
                now,
                usage,
                None,
                None,
            );
            path.is_ok()
        });
        if !believed {
            return Vec::new();
        }
        let uris: Vec<&str> = certificate.valid_uri_names().collect();
        domains_of(&uris, certificate.valid_dns_names())
    }
}

/// The domains that names of a certificate stand for: those of `sip` URIs without a user; only
/// where there are none, host names. A pattern such as `*.example.net` is none (RFC 5922 §7.2).
fn domains_of<'a>(uris: &[&str], hosts: impl Iterator<Item = &'a str>) -> Vec<Box<str>> {
    let written = |domain: &str| Box::from(domain.to_ascii_lowercase());
    let found = uris.iter().filter_map(|uri| domain_of(uri));
    let found: Vec<Box<str>> = found.take(DOMAINS_MAX).map(written).collect();
    if !found.is_empty() {
        return found;
    }
    let hosts = hosts.filter(|host| !host.contains('*'));
    hosts.take(DOMAINS_MAX).map(written).collect()
}

fn domain_of(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let end = rest.find([';', '?']).unwrap_or(rest.len());
    let host = rest.get(..end)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let is_domain = scheme.eq_ignore_ascii_case("sip") && !host.is_empty();
    (is_domain && host.bytes().all(plain)).then_some(host)
}

/// Asks each client for a certificate, and lets in who has none, or any.
#[derive(Debug)]
pub(super) struct Asker(pub WebPkiSupportedAlgorithms);

impl ClientCertVerifier for Asker {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// A list of all the system's roots would not fit into the hello of some peers; without any, a
    /// client sends what it has (RFC 8446 §4.3.2).
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// What it means, [`Judge`] says behind the handshake.
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Purpose, IsCa, Issuer,
        KeyPair, SanType,
    };
    use std::time::Duration;

    #[test]
    fn sip_uris_count_before_host_names() {
        let of = |uris: &[&str], hosts: &[&str]| {
            let found = domains_of(uris, hosts.iter().copied());
            found.iter().map(|d| d.to_string()).collect::<Vec<_>>()
        };
        let hosts = ["Sip.Example.NET", "*.example.net"];
        assert_eq!(of(&[], &hosts), ["sip.example.net"]);
        assert_eq!(of(&["sip:Example.net"], &hosts), ["example.net"]);
        assert_eq!(of(&["SIP:example.net;transport=tls"], &[]), ["example.net"]);
        for none in [
            "https://example.org",
            "sips:a.b",
            "sip:bob@a.b",
            "sip:",
            "sip:*.a.b",
            "sip",
        ] {
            assert_eq!(of(&[none], &hosts), ["sip.example.net"], "{none}");
        }
        assert_eq!(of(&["sip:a.b"; 20], &[]).len(), DOMAINS_MAX);
    }

    struct Authority(Issuer<'static, KeyPair>, CertificateDer<'static>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let der = params.self_signed(&key).unwrap().der().clone();
            Self(Issuer::new(params, key), der)
        }

        fn issue(&self, purposes: &[Purpose]) -> CertificateDer<'static> {
            let mut params = CertificateParams::new(vec!["host.example.net".into()]).unwrap();
            let uri = "sip:example.net".try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
            params.extended_key_usages = purposes.to_vec();
            let key = KeyPair::generate().unwrap();
            params.signed_by(&key, &self.0).unwrap().der().clone()
        }
    }

    #[test]
    fn only_a_chain_that_we_believe_proves_something() {
        let (ours, other) = (Authority::new(), Authority::new());
        let mut roots = RootCertStore::empty();
        roots.add(ours.1.clone()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let judge = Judge::new(roots, provider.signature_verification_algorithms);
        let now = UnixTime::now();
        let asks = |certificate, now| judge.domains(&[certificate], now).len();
        let sip = Purpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 20]);
        for purposes in [
            &[][..],
            &[Purpose::ClientAuth],
            &[Purpose::ServerAuth],
            &[sip],
        ] {
            assert_eq!(asks(ours.issue(purposes), now), 1, "{purposes:?}");
        }
        assert_eq!(asks(ours.issue(&[Purpose::CodeSigning]), now), 0);
        assert_eq!(
            asks(other.issue(&[]), now),
            0,
            "of an authority that nobody named"
        );
        let never = UnixTime::since_unix_epoch(Duration::from_secs(1));
        assert_eq!(asks(ours.issue(&[]), never), 0, "not valid then");
        assert_eq!(asks(CertificateDer::from(vec![1, 2, 3]), now), 0);
        assert_eq!(*judge.domains(&[ours.issue(&[])], now)[0], *"example.net");
        assert!(judge.domains(&[], now).is_empty());
    }
}
