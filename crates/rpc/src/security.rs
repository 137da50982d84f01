//! Who may speak on a connection.
//!
//! Both sides show that they belong to the installation before the first frame: by a secret that they share, or by
//! certificates (mutual TLS). There is no third way. Who cannot is told nothing: not one byte is answered to a caller who
//! does not begin with a proof, and the connection is closed.

mod secret;
mod tls;

use std::io;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

pub use secret::{Secret, WeakSecret};
pub use tls::{Tls, TlsError, TlsFiles};

/// The first bytes of whoever calls; the digit is the version.
pub(crate) const PREFACE: &[u8; 8] = b"MPIMRPC1";

/// How instances recognise each other.
#[derive(Debug, Clone)]
pub enum Security {
    /// By a secret that all of them know. It never travels; what follows on the connection is neither encrypted nor
    /// protected against whoever can change packets on the way: for networks that are trusted.
    Secret(Secret),
    /// By certificates of the installation's own authority, in both directions, and encrypted.
    Tls(Tls),
}

/// The two directions of an authenticated connection.
pub(crate) type Halves = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

impl Security {
    /// Lets a caller in. The time is the caller's to bound; the memory is a few hundred bytes (TLS: what rustls allows an
    /// unfinished handshake). Dropping it closes the connection.
    ///
    /// # Errors
    ///
    /// The peer is not one of us, or the connection broke.
    pub(crate) async fn accept(&self, mut stream: TcpStream) -> io::Result<Halves> {
        match self {
            Self::Secret(secret) => {
                secret.accept(&mut stream).await?;
                Ok(split_tcp(stream))
            }
            Self::Tls(tls) => Ok(split(tls.accept(stream).await?)),
        }
    }

    /// Introduces this process to a server, which shows who it is as well. As [`accept`](Self::accept) otherwise.
    pub(crate) async fn connect(&self, mut stream: TcpStream) -> io::Result<Halves> {
        match self {
            Self::Secret(secret) => {
                secret.connect(&mut stream).await?;
                Ok(split_tcp(stream))
            }
            Self::Tls(tls) => Ok(split(tls.connect(stream).await?)),
        }
    }
}

fn split_tcp(stream: TcpStream) -> Halves {
    let (reader, writer) = stream.into_split();
    (Box::new(reader), Box::new(writer))
}

fn split(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Halves {
    let (reader, writer) = tokio::io::split(stream);
    (Box::new(reader), Box::new(writer))
}

/// The peer is not one of us; for the log.
fn stranger(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}
