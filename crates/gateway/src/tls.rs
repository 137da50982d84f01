//! TLS of the listener: the certificate, and its renewal while the gateway runs.

use std::{
    fmt,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::{Mutex, RwLock};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::NoServerSessionStorage,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at. Renewal replaces them days before the certificate ends; looking costs two calls.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A certificate and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, followed by those that lead from it to the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("{}: no {wanted} in PEM can be read: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What should be in it.
        wanted: &'static str,
        /// Why it is not.
        source: rustls::pki_types::pem::Error,
    },
    /// They do not go together, or are of a kind that is not supported.
    #[error("{} with {}: {source}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// The present certificate. Connections that were made keep theirs.
pub(crate) struct Certificate {
    files: TlsFiles,
    /// What the files looked like last.
    seen: Mutex<[Mark; 2]>,
    present: RwLock<Arc<ServerConfig>>,
}

/// What tells one state of a file from another: when it was written, how long it is, and which file it is.
type Mark = Option<(SystemTime, u64, u64)>;

impl Certificate {
    /// # Errors
    ///
    /// The files cannot be used; names the one.
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        // Looked at first: what is replaced meanwhile is loaded again.
        let seen = Mutex::new(files.marks());
        let present = RwLock::new(Arc::new(files.load()?));
        Ok(Self { files, seen, present })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.present.read().clone().into()
    }

    /// Takes what the files hold whenever they have changed, until `ended`. What cannot be used is logged, once, and the
    /// certificate before it stays: so does a pair of which only one file is replaced yet.
    pub(crate) async fn follow(self: Arc<Self>, ended: CancellationToken) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while ended.run_until_cancelled(looks.tick()).await.is_some() {
            self.look();
        }
    }

    fn look(&self) {
        let marks = self.files.marks();
        if std::mem::replace(&mut *self.seen.lock(), marks) == marks {
            return;
        }
        match self.files.load() {
            Ok(config) => {
                *self.present.write() = Arc::new(config);
                tracing::info!(certificate = %self.files.certificate.display(), "a new certificate is in use");
            }
            Err(error) => tracing::error!(%error, "the certificate was not renewed; the one before stays in use"),
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl TlsFiles {
    fn marks(&self) -> [Mark; 2] {
        // Links are followed, as some replace the directory that they lead to.
        let mark =
            |path: &Path| path.metadata().ok().and_then(|file| Some((file.modified().ok()?, file.len(), file.ino())));
        [mark(&self.certificate), mark(&self.key)]
    }

    fn load(&self) -> Result<ServerConfig, TlsError> {
        let failed = |file: &Path, wanted| {
            let file = file.to_owned();
            move |source| TlsError::File { file, wanted, source }
        };
        let certificate = || failed(&self.certificate, "certificate");
        let chain = CertificateDer::pem_file_iter(&self.certificate).map_err(certificate())?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(certificate())?;
        if chain.is_empty() {
            return Err(certificate()(rustls::pki_types::pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(failed(&self.key, "private key"))?;
        let pair = |source| TlsError::Pair { certificate: self.certificate.clone(), key: self.key.clone(), source };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(pair)?;
        // Who comes back resumes with a ticket of the client's, and the server keeps nothing of it.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new().map_err(pair)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_both_files_are_there_and_kept_until_then() {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles { certificate: dir.path().join("tls.pem"), key: dir.path().join("tls.key") };
        let pair = || rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let (old, new) = (pair(), pair());
        fs::write(&files.certificate, old.cert.pem()).unwrap();
        fs::write(&files.key, old.signing_key.serialize_pem()).unwrap();
        let certificate = Certificate::load(files.clone()).unwrap();
        let first = certificate.present.read().clone();
        let is_first = || {
            certificate.look();
            Arc::ptr_eq(&first, &certificate.present.read())
        };
        assert!(is_first(), "nothing has changed");
        // As those who replace a file do it: the name is another file's at once.
        let replace = |file: &Path, text: &str| {
            fs::write(dir.path().join("next"), text).unwrap();
            fs::rename(dir.path().join("next"), file).unwrap();
        };
        replace(&files.certificate, "nonsense");
        assert!(is_first(), "it is broken");
        fs::remove_file(&files.certificate).unwrap();
        assert!(is_first(), "it is gone");
        replace(&files.certificate, &new.cert.pem());
        assert!(is_first(), "the key is still the old one's");
        replace(&files.key, &new.signing_key.serialize_pem());
        assert!(!is_first(), "both are there");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let error = |certificate: &str, key: &str| {
            let files = TlsFiles { certificate: path(certificate), key: path(key) };
            Certificate::load(files).unwrap_err().to_string()
        };
        let pair = || rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let (one, other) = (pair(), pair());
        fs::write(path("one.pem"), one.cert.pem()).unwrap();
        fs::write(path("one.key"), one.signing_key.serialize_pem()).unwrap();
        fs::write(path("other.key"), other.signing_key.serialize_pem()).unwrap();
        fs::write(path("empty"), "").unwrap();
        assert!(error("none.pem", "one.key").contains("none.pem"));
        let empty = error("empty", "one.key");
        assert!(empty.contains("empty") && empty.contains("no certificate"), "{empty}");
        let no_key = error("one.pem", "empty");
        assert!(no_key.contains("empty") && no_key.contains("no private key"), "{no_key}");
        let mixed = error("one.pem", "other.key");
        assert!(mixed.contains("one.pem") && mixed.contains("other.key"), "{mixed}");
        Certificate::load(TlsFiles { certificate: path("one.pem"), key: path("one.key") }).unwrap();
    }
}
