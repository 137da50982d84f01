//! A secret that both sides know, and show that they know without telling it.
//!
//! ```text
//! caller → server: preface 8 | nonce c 32 | MAC("hello", c)        a stranger gets no further, and no answer
//! server → caller: nonce s 32 | MAC("server", c, s)
//! caller → server: MAC("client", c, s)
//! ```
//!
//! MAC is HMAC-SHA256 with the secret. The roles in it keep a proof from being sent back to who made it; the nonces, from being
//! used again.

use std::{fmt, sync::Arc};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{PREFACE, stranger};

const NONCE_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
const PREFACE_BYTES: usize = PREFACE.len();
/// What nobody guesses who can try as often as they like: 32 hexadecimal digits are 128 bits.
const SECRET_BYTES_MIN: usize = 32;

/// A secret that all instances of an installation know. Never shown, not even by `Debug`.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

/// A secret is too short to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret that instances share has {0} bytes, at least {SECRET_BYTES_MIN} are needed")]
pub struct WeakSecret(usize);

impl Secret {
    /// A secret of random bytes, or of characters that stand for them.
    ///
    /// # Errors
    ///
    /// It is shorter than 32 bytes.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, WeakSecret> {
        let secret = secret.as_ref();
        if secret.len() < SECRET_BYTES_MIN { Err(WeakSecret(secret.len())) } else { Ok(Self(secret.into())) }
    }

    pub(super) async fn accept(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        let mut hello = [0; PREFACE_BYTES + NONCE_BYTES + MAC_BYTES];
        let (preface, proof) = hello.split_at_mut(PREFACE_BYTES);
        stream.read_exact(preface).await?;
        if preface != PREFACE {
            return Err(stranger("the peer does not speak this protocol, or another version of it"));
        }
        stream.read_exact(proof).await?;
        let (c, mac) = proof.split_at(NONCE_BYTES);
        self.check("hello", &[c], mac)?;
        let s = nonce()?;
        stream.write_all(&[s, self.mac("server", &[c, &s])].concat()).await?;
        let mut proof = [0; MAC_BYTES];
        stream.read_exact(&mut proof).await?;
        self.check("client", &[c, &s], &proof)
    }

    pub(super) async fn connect(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        let c = nonce()?;
        stream.write_all(&[&PREFACE[..], &c, &self.mac("hello", &[&c])].concat()).await?;
        let mut answer = [0; NONCE_BYTES + MAC_BYTES];
        stream.read_exact(&mut answer).await.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                stranger("the server does not recognise this process: is the secret the same?")
            }
            _ => error,
        })?;
        let (s, mac) = answer.split_at(NONCE_BYTES);
        self.check("server", &[&c, s], mac)?;
        stream.write_all(&self.mac("client", &[&c, s])).await
    }

    fn keyed(&self, role: &str, nonces: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(PREFACE);
        mac.update(role.as_bytes());
        // All nonces are of one length, so nothing can be taken for something else.
        nonces.iter().for_each(|nonce| mac.update(nonce));
        mac
    }

    fn mac(&self, role: &str, nonces: &[&[u8]]) -> [u8; MAC_BYTES] {
        self.keyed(role, nonces).finalize().into_bytes().into()
    }

    /// Compares in constant time.
    fn check(&self, role: &str, nonces: &[&[u8]], mac: &[u8]) -> io::Result<()> {
        let checked = self.keyed(role, nonces).verify_slice(mac);
        checked.map_err(|_| stranger("the peer does not know the secret that instances share"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn nonce() -> io::Result<[u8; NONCE_BYTES]> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(seed: u8) -> Secret {
        Secret::new([seed; 32]).unwrap()
    }

    async fn meet(caller: &Secret, server: &Secret) -> (io::Result<()>, io::Result<()>) {
        let (mut near, mut far) = io::duplex(256);
        let server = async {
            let done = server.accept(&mut far).await;
            drop(far);
            done
        };
        tokio::join!(async { caller.connect(&mut near).await }, server)
    }

    #[tokio::test]
    async fn who_knows_the_secret_gets_in_and_who_does_not_does_not() {
        assert!(matches!(meet(&secret(1), &secret(1)).await, (Ok(()), Ok(()))));
        let (caller, server) = meet(&secret(1), &secret(2)).await;
        assert_eq!(caller.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(server.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[tokio::test]
    async fn a_hello_that_is_played_again_does_not_get_in() {
        let secret = secret(1);
        let c = nonce().unwrap();
        let (mut near, mut far) = io::duplex(256);
        let replay = async {
            near.write_all(&[&PREFACE[..], &c, &secret.mac("hello", &[&c])].concat()).await.unwrap();
            let mut answer = [0; 64];
            near.read_exact(&mut answer).await.unwrap();
            // The server's own proof sent back is not the caller's.
            near.write_all(&answer[NONCE_BYTES..]).await.unwrap();
        };
        let (entered, ()) = tokio::join!(secret.accept(&mut far), replay);
        assert_eq!(entered.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[tokio::test]
    async fn a_server_that_does_not_know_the_secret_is_not_spoken_to() {
        let (mut near, mut far) = io::duplex(256);
        let impostor = async {
            let mut hello = [0; 72];
            far.read_exact(&mut hello).await.unwrap();
            // It can only send back what it got.
            far.write_all(&hello[8..]).await.unwrap();
            let mut more = Vec::new();
            far.read_to_end(&mut more).await.unwrap();
            more
        };
        let caller = async {
            let done = secret(1).connect(&mut near).await;
            drop(near);
            done
        };
        let (connected, more) = tokio::join!(caller, impostor);
        assert_eq!(connected.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(more.is_empty());
    }

    #[test]
    fn a_secret_is_long_and_is_not_shown() {
        assert_eq!(Secret::new("password").unwrap_err(), WeakSecret(8));
        assert_eq!(format!("{:?}", secret(65)), "Secret(…)");
    }
}
