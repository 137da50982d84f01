//! Whom to believe that a server is who it should be.

use std::{
    hash::{Hash, Hasher},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, sync::OnceCell, task::spawn_blocking};
use tokio_rustls::TlsConnector;

use super::wire::Wire;

/// The authorities that are believed: those of the system, or those in a file. Read once, for all clones; connections that
/// follow the first resume its session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    file: Option<PathBuf>,
    config: Arc<OnceCell<Arc<ClientConfig>>>,
}

impl Trust {
    pub(crate) fn in_file(file: PathBuf) -> Self {
        Self { file: Some(file), config: Arc::default() }
    }

    /// Makes a connection one in TLS with the server of this name or address.
    ///
    /// # Errors
    ///
    /// The authorities cannot be read, or the server is not who it should be.
    pub(crate) async fn greet(&self, host: &str, stream: TcpStream) -> io::Result<Wire> {
        let config = self.config.get_or_try_init(|| {
            let file = self.file.clone();
            async { spawn_blocking(move || config(file.as_deref())).await.map_err(io::Error::other)? }
        });
        let config = config.await?.clone();
        let name = ServerName::try_from(host.to_owned()).map_err(|error| invalid(error.to_string()))?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Wire::Tls(Box::new(stream)))
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

impl Eq for Trust {}

impl Hash for Trust {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.file.hash(state);
    }
}

fn config(file: Option<&Path>) -> io::Result<Arc<ClientConfig>> {
    let roots = match file {
        Some(file) => roots(file).map_err(|error| invalid(format!("{}: {error}", file.display())))?,
        None => system_roots()?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn roots(file: &Path) -> Result<RootCertStore, Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err("no certificate in PEM is in it".into()) } else { Ok(roots) }
}

fn system_roots() -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // Some of the system's may be of a kind that is not supported; without any at all nobody could be believed.
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(invalid(format!("the system's certificate authorities: {why}")));
    }
    Ok(roots)
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, fs};

    use prost::Message as _;
    use protocol::{
        TCP_PREFACE,
        wire::{ClientFrame, Ping, Pong, ServerFrame, client_frame, server_frame},
    };
    use rustls::ServerConfig;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use crate::{Server, transport::Socket};

    /// A server of these names that answers each connection's first frame, and its certificate's file.
    async fn server(dir: &std::path::Path, names: &[&str]) -> (u16, std::path::PathBuf) {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let file = dir.join("authority.pem");
        fs::write(&file, made.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(std::sync::Arc::new(super::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let frame = ClientFrame { request: 7, body: Some(client_frame::Body::Ping(Ping {})) };
                let mut heard = vec![0; TCP_PREFACE.len() + frame.encode_length_delimited_to_vec().len()];
                stream.read_exact(&mut heard).await.unwrap();
                let answer = ServerFrame { request: 7, body: Some(server_frame::Body::Pong(Pong::default())) };
                stream.write_all(&answer.encode_length_delimited_to_vec()).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        (port, file)
    }

    #[tokio::test]
    async fn a_server_that_is_believed_is_spoken_to_by_name_and_by_address() {
        let dir = tempfile::tempdir().unwrap();
        let (port, file) = server(dir.path(), &["localhost", "127.0.0.1"]).await;
        for host in ["localhost", "127.0.0.1"] {
            let server = format!("tls://{host}:{port}").parse::<Server>().unwrap().trusting(&file);
            let mut socket = Socket::open(&server).await.unwrap();
            socket.queue(&ClientFrame { request: 7, body: Some(client_frame::Body::Ping(Ping {})) });
            let mut frames = Vec::new();
            while frames.is_empty() {
                socket.drive(true, &mut frames).await.unwrap();
            }
            assert_eq!(frames[0].request, 7);
        }
    }

    #[tokio::test]
    async fn who_is_not_who_it_should_be_is_not_spoken_to() {
        let dir = tempfile::tempdir().unwrap();
        let (port, file) = server(dir.path(), &["localhost"]).await;
        let why = async |server: Server| {
            let error = Socket::open(&server).await.err().unwrap();
            format!("{error}: {}", error.source().unwrap())
        };
        let named = |host: &str| format!("tls://{host}:{port}").parse::<Server>().unwrap();
        let unknown = why(named("localhost")).await;
        assert!(unknown.contains("invalid peer certificate"), "nobody vouches for it: {unknown}");
        let other = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        fs::write(dir.path().join("other.pem"), other.cert.pem()).unwrap();
        let wrong = why(named("localhost").trusting(dir.path().join("other.pem"))).await;
        assert!(wrong.contains("invalid peer certificate"), "{wrong}");
        let renamed = why(named("127.0.0.1").trusting(&file)).await;
        assert!(renamed.contains("not valid for name"), "{renamed}");
        for (name, text) in [("none.pem", None), ("empty.pem", Some(""))] {
            let path = dir.path().join(name);
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            let unread = why(named("localhost").trusting(path)).await;
            assert!(unread.contains(name), "{unread}");
        }
    }
}
