//! Certificates and keys for TLS and WSS (RFC 3261 §26, RFC 5922): read from PEM files, replaced as
//! a whole on reload; a bad file leaves the old ones in force.

use super::certificate::{Asker, Judge};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Where systems keep the roots that they trust; the first that is there counts.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/usr/local/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// What is wrong with a file, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsMistake {
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

impl std::fmt::Display for TlsMistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            file,
            problem,
            remedy,
        } = self;
        write!(f, "{}: {problem}; {remedy}", file.display())
    }
}

impl std::error::Error for TlsMistake {}

/// The files.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TlsFiles {
    /// Our certificate with its chain, and our key; without, no TLS listener can be.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The roots by which peers that we connect to are judged; the system's without.
    pub roots: Option<PathBuf>,
    /// Whether clients are asked for a certificate: who of them is known by it ([`Tls::domains`]).
    pub asks: bool,
}

/// A PEM file as it was read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pem {
    /// Where from, to name it in mistakes.
    path: PathBuf,
    /// All of it.
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Pem({}, {} bytes)",
            self.path.display(),
            self.bytes.len()
        )
    }
}

/// The files as they were read: what a process needs that may not read any.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct TlsPems {
    identity: Option<(Pem, Pem)>,
    roots: Option<Pem>,
    /// Whether `roots` are those of the system, which may be in disorder.
    system: bool,
    /// See [`TlsFiles::asks`].
    asks: bool,
}

impl TlsFiles {
    /// Reads them, and the system's roots where none are named.
    pub fn read(&self) -> Result<TlsPems, TlsMistake> {
        let read = |path: &Path| {
            let remedy = "name a PEM file that the daemon may read";
            let bytes = std::fs::read(path).map_err(|e| mistake(path, e, remedy))?;
            let path = path.to_owned();
            Ok(Pem { path, bytes })
        };
        let identity = match &self.identity {
            Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
            None => None,
        };
        let system = self.roots.is_none();
        let roots = match &self.roots {
            Some(path) => Some(read(path)?),
            None => {
                let found = SYSTEM_ROOTS.iter().map(Path::new).find(|p| p.exists());
                found.and_then(|path| read(path).ok())
            }
        };
        Ok(TlsPems {
            identity,
            roots,
            system,
            asks: self.asks,
        })
    }
}

/// What was last loaded.
#[derive(Debug)]
pub struct Tls {
    loaded: RwLock<Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    server: Option<Arc<ServerConfig>>,
    /// The same, and asks for the client's certificate; with who judges that.
    asking: Option<(Arc<ServerConfig>, Arc<Judge>)>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the files for the first time.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsMistake> {
        Self::of(&files.read()?)
    }

    /// From what was read elsewhere.
    pub fn of(pems: &TlsPems) -> Result<Self, TlsMistake> {
        Ok(Self {
            loaded: RwLock::new(Loaded::of(pems)?),
        })
    }

    /// Reads the files again, for connections to come. If one is bad nothing changes.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), TlsMistake> {
        self.renew(&files.read()?)
    }

    /// The same from what was read elsewhere.
    pub fn renew(&self, pems: &TlsPems) -> Result<(), TlsMistake> {
        let loaded = Loaded::of(pems)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// For one connection that a peer opened; `None` without a certificate of ours.
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        let loaded = self.get();
        let asking = loaded.asking.map(|(config, _)| config);
        asking.or(loaded.server).map(TlsAcceptor::from)
    }

    /// The same for a browser, which is asked for nothing: it would ask its user.
    pub fn web_acceptor(&self) -> Option<TlsAcceptor> {
        self.get().server.map(TlsAcceptor::from)
    }

    /// The SIP domains that a client proves by the chain that it presented, in lower case (RFC 5922
    /// §7.1).
    pub fn domains(&self, chain: Option<&[CertificateDer<'_>]>) -> Vec<Box<str>> {
        match (self.get().asking, chain) {
            (Some((_, judge)), Some(chain)) => judge.domains(chain, UnixTime::now()),
            (Some(_), None) | (None, _) => Vec::new(),
        }
    }

    /// For one connection that we open, and the name that the peer must prove: `name`, or its
    /// address.
    pub fn connector(
        &self,
        name: Option<&str>,
        address: IpAddr,
    ) -> io::Result<(TlsConnector, ServerName<'static>)> {
        let name = match name {
            Some(name) => ServerName::try_from(name.to_owned())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no TLS server name"))?,
            None => ServerName::IpAddress(address.into()),
        };
        Ok((TlsConnector::from(self.get().client), name))
    }

    fn get(&self) -> Loaded {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Loaded {
    fn of(pems: &TlsPems) -> Result<Self, TlsMistake> {
        let roots = match &pems.roots {
            Some(pem) if !pems.system => roots_of(pem)?,
            pem => system_roots(pem.as_ref()),
        };
        let algorithms = provider().signature_verification_algorithms;
        let (server, asking) = match &pems.identity {
            Some((certificate, key)) => {
                let plain = server_config(certificate, key, None)?;
                let asking = match pems.asks {
                    true => Some(server_config(certificate, key, Some(Asker(algorithms)))?),
                    false => None,
                };
                let judge = Arc::new(Judge::new(roots.clone(), algorithms));
                let asking = asking.map(|config| (Arc::new(config), judge));
                (Some(Arc::new(plain)), asking)
            }
            None => (None, None),
        };
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| {
                mistake(
                    Path::new("TLS"),
                    e,
                    "this build lacks the protocol versions",
                )
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            server,
            asking,
            client: Arc::new(client),
        })
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn mistake(file: &Path, problem: impl std::fmt::Display, remedy: &'static str) -> TlsMistake {
    TlsMistake {
        file: file.to_owned(),
        problem: problem.to_string(),
        remedy,
    }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsMistake> {
    const REMEDY: &str = "give a PEM file with -----BEGIN CERTIFICATE-----, readable by the daemon";
    let path = &pem.path;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.bytes).collect();
    let found = found.map_err(|e| mistake(path, e, REMEDY))?;
    if found.is_empty() {
        return Err(mistake(path, "holds no certificate", REMEDY));
    }
    Ok(found)
}

fn server_config(
    certificate: &Pem,
    key: &Pem,
    asker: Option<Asker>,
) -> Result<ServerConfig, TlsMistake> {
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|e| {
        mistake(
            &key.path,
            e,
            "give a PEM file with an unencrypted private key, readable by the daemon",
        )
    })?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| {
            mistake(
                &certificate.path,
                e,
                "this build lacks the protocol versions",
            )
        })?;
    let builder = match asker {
        Some(asker) => builder.with_client_cert_verifier(Arc::new(asker)),
        None => builder.with_no_client_auth(),
    };
    builder.with_single_cert(chain, secret).map_err(|e| {
        mistake(
            &key.path,
            e,
            "let the certificate and the key be of the same pair",
        )
    })
}

fn roots_of(pem: &Pem) -> Result<RootCertStore, TlsMistake> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(pem)?);
    if added == 0 {
        return Err(mistake(
            &pem.path,
            "holds no usable root",
            "give root certificates",
        ));
    }
    Ok(roots)
}

/// The system's roots. Without any, every peer that we connect to by TLS is refused, and said so.
fn system_roots(found: Option<&Pem>) -> RootCertStore {
    match found.map(roots_of) {
        Some(Ok(roots)) => roots,
        Some(Err(error)) => {
            tracing::warn!(%error, "no trusted roots: outgoing TLS will fail");
            RootCertStore::empty()
        }
        None => {
            tracing::warn!("the system has no trusted roots: outgoing TLS will fail");
            RootCertStore::empty()
        }
    }
}
