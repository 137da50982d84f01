//! Mutual TLS. The files are looked at for every new connection and read again when they have changed: whoever renews
//! certificates replaces the files, and restarts nothing. Established connections go on.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::{PREFACE, stranger};

/// Where a process's certificate is, and whose it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the process's own certificate, then those between it and the authority.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: the authorities whose certificates are accepted, in both directions. They should sign for nothing but this
    /// installation.
    pub authorities: PathBuf,
    /// The DNS name that every server's certificate bears: `rpc.mpim.internal`.
    pub name: String,
}

/// What is wrong with a certificate, a key or the name.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is missing or wrong.
        what: String,
    },
    /// Not a DNS name.
    #[error("{0:?} is not a DNS name")]
    Name(String),
}

/// Mutual TLS by files that may change.
#[derive(Debug, Clone)]
pub struct Tls {
    name: ServerName<'static>,
    files: Arc<TlsFiles>,
    loaded: Arc<Mutex<Loaded>>,
}

#[derive(Debug, Clone)]
struct Loaded {
    stamps: Stamps,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// Tells whether one of the files has changed: when it was written, and its length.
type Stamps = [Option<(SystemTime, u64)>; 3];

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// One of them cannot be read or does not hold what it should.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let name = ServerName::try_from(files.name.clone()).map_err(|_| TlsError::Name(files.name.clone()))?;
        let loaded = Loaded::read(&files)?;
        Ok(Self { name, files: Arc::new(files), loaded: Arc::new(Mutex::new(loaded)) })
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        let mut stream = TlsAcceptor::from(self.current().server).accept(stream).await?;
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).await?;
        if preface != *PREFACE {
            return Err(stranger("the peer speaks another version of this protocol"));
        }
        stream.write_all(PREFACE).await?;
        stream.flush().await?;
        Ok(stream)
    }

    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<client::TlsStream<TcpStream>> {
        let mut stream = TlsConnector::from(self.current().client).connect(self.name.clone(), stream).await?;
        stream.write_all(PREFACE).await?;
        stream.flush().await?;
        // In TLS 1.3 a caller is ready before the server has looked at its certificate: only this tells that it is let in.
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).await?;
        if preface == *PREFACE {
            Ok(stream)
        } else {
            Err(stranger("the server speaks another version of this protocol"))
        }
    }

    /// As the files are now; as they were, if what they hold now is of no use.
    fn current(&self) -> Loaded {
        let mut loaded = self.loaded.lock();
        let stamps = stamps(&self.files);
        if stamps != loaded.stamps {
            match Loaded::read(&self.files) {
                Ok(read) => *loaded = read,
                Err(error) => {
                    tracing::error!(%error, "new certificates cannot be used, going on with the old ones");
                    // Not again for every connection: when the files have changed once more.
                    loaded.stamps = stamps;
                }
            }
        }
        loaded.clone()
    }
}

impl Loaded {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        // Before the files are read: what changes while they are is read again.
        let stamps = stamps(files);
        let certificate = certificates(&files.certificate)?;
        let pem = read(&files.key)?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| content(&files.key, error))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.authorities)? {
            roots.add(authority).map_err(|error| content(&files.authorities, error))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| content(&files.authorities, error))?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .and_then(|server| {
                server.with_client_cert_verifier(verifier).with_single_cert(certificate.clone(), key.clone_key())
            })
            .map_err(|error| content(&files.certificate, error))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|client| client.with_root_certificates(roots).with_client_auth_cert(certificate, key))
            .map_err(|error| content(&files.certificate, error))?;
        Ok(Self { stamps, server: Arc::new(server), client: Arc::new(client) })
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    [&files.certificate, &files.key, &files.authorities].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.into(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| content(path, error))?;
    if certificates.is_empty() { Err(content(path, "it holds no certificate")) } else { Ok(certificates) }
}

fn content(path: &Path, what: impl ToString) -> TlsError {
    TlsError::Content { path: path.into(), what: what.to_string() }
}
