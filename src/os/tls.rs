//! Certificates and keys for TLS and WSS (RFC 3261 §26, RFC 5922): read from PEM files, replaced as
//! a whole on reload; a bad file leaves the old ones in force.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
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
}

/// What was last loaded.
#[derive(Debug)]
pub struct Tls {
    loaded: RwLock<Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    server: Option<Arc<ServerConfig>>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the files for the first time.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsMistake> {
        Ok(Self {
            loaded: RwLock::new(Loaded::read(files)?),
        })
    }

    /// Reads the files again, for connections to come. If one is bad nothing changes.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), TlsMistake> {
        let loaded = Loaded::read(files)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// For one connection that a peer opened; `None` without a certificate.
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        self.get().server.map(TlsAcceptor::from)
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
    fn read(files: &TlsFiles) -> Result<Self, TlsMistake> {
        let server = match &files.identity {
            Some((certificate, key)) => Some(Arc::new(server_config(certificate, key)?)),
            None => None,
        };
        let roots = match &files.roots {
            Some(path) => roots_of(path)?,
            None => system_roots(),
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

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsMistake> {
    const REMEDY: &str = "give a PEM file with -----BEGIN CERTIFICATE-----, readable by the daemon";
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|e| mistake(path, e, REMEDY))?
        .collect();
    let found = found.map_err(|e| mistake(path, e, REMEDY))?;
    if found.is_empty() {
        return Err(mistake(path, "holds no certificate", REMEDY));
    }
    Ok(found)
}

fn server_config(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsMistake> {
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| {
        mistake(
            key,
            e,
            "give a PEM file with an unencrypted private key, readable by the daemon",
        )
    })?;
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| mistake(certificate, e, "this build lacks the protocol versions"))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|e| {
            mistake(
                key,
                e,
                "let the certificate and the key be of the same pair",
            )
        })
}

fn roots_of(path: &Path) -> Result<RootCertStore, TlsMistake> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(mistake(
            path,
            "holds no usable root",
            "give root certificates",
        ));
    }
    Ok(roots)
}

/// The system's roots. Without any, every peer that we connect to by TLS is refused, and said so.
fn system_roots() -> RootCertStore {
    let found = SYSTEM_ROOTS.iter().map(Path::new).find(|p| p.exists());
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
