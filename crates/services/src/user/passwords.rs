//! Hashing passwords with Argon2id, on threads of their own, so that a storm of log-ins cannot starve chat.

use std::{sync::Arc, thread};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Ident, Output, ParamsString, PasswordHash, Salt},
};
use parking_lot::Mutex;
use protocol::{Error, Result, wire::ErrorCode};
use tokio::sync::{mpsc, oneshot};

/// The output of a hash, in bytes.
const HASH_BYTES: usize = 32;

/// How hard a password is to guess from its hash. Hashes made with other settings stay valid.
#[derive(Debug, Clone)]
pub struct PasswordConfig {
    /// Memory for one hash.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Threads that hash.
    pub threads: usize,
    /// Log-ins waiting at most; beyond, they are refused as overloaded.
    pub queue_max: usize,
}

impl Default for PasswordConfig {
    // The first of OWASP's recommended settings for Argon2id.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, iterations: 2, threads: 1, queue_max: 128 }
    }
}

type Blocking<T> = Box<dyn FnOnce(&mut Hasher) -> T + Send>;

/// The threads that hash; they end when this is dropped and what waits is done.
pub(super) struct Passwords {
    jobs: mpsc::Sender<Blocking<()>>,
    /// The hash of no password, checked where there is no account, so that time does not tell which names exist.
    nobody: String,
}

impl Passwords {
    pub(super) fn start(config: &PasswordConfig) -> Result<Self> {
        let params = Params::new(config.memory_kib, config.iterations, 1, Some(HASH_BYTES))
            .map_err(|error| Error::invalid(format!("password hashing: {error}")))?;
        let (jobs, queue) = mpsc::channel::<Blocking<()>>(config.queue_max.max(1));
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..config.threads.max(1) {
            let queue = Arc::clone(&queue);
            let mut hasher = Hasher { params: params.clone(), memory: Vec::new() };
            let work = move || {
                loop {
                    let job = queue.lock().blocking_recv();
                    match job {
                        Some(job) => job(&mut hasher),
                        None => return,
                    }
                }
            };
            thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(work)
                .map_err(|error| Error::unavailable("no thread for password hashing").with_source(error))?;
        }
        let nobody = Hasher { params, memory: Vec::new() }.hash("")?;
        Ok(Self { jobs, nobody })
    }

    /// A PHC string.
    pub(super) async fn hash(&self, password: String) -> Result<String> {
        self.run(move |hasher| hasher.hash(&password)).await?
    }

    /// Whether the password is the one of the hash; `None`, no account, takes as long.
    pub(super) async fn verify(&self, password: String, hash: Option<&str>) -> Result<bool> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or(&self.nobody).to_owned();
        Ok(self.run(move |hasher| hasher.verify(&password, &hash)).await?? && exists)
    }

    async fn run<T: Send + 'static>(&self, job: impl FnOnce(&mut Hasher) -> T + Send + 'static) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job = move |hasher: &mut Hasher| {
            // Whoever asked may have gone while it waited.
            if !reply.is_closed() {
                let _ = reply.send(job(hasher));
            }
        };
        self.jobs.try_send(Box::new(job)).map_err(|_| {
            Error::new(ErrorCode::Overloaded, "too many log-ins at once")
                .with_retry_after(std::time::Duration::from_secs(2))
        })?;
        answer.await.map_err(|error| Error::unavailable("password hashing failed").with_source(error))
    }
}

struct Hasher {
    params: Params,
    /// Kept from hash to hash: fresh memory costs up to half as much again.
    memory: Vec<Block>,
}

impl Hasher {
    fn hash(&mut self, password: &str) -> Result<String> {
        let salt = Salt::generate();
        let params = self.params.clone();
        let hash = PasswordHash {
            algorithm: Ident::new_unwrap("argon2id"),
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params).map_err(failed)?,
            salt: Some(salt),
            hash: Some(self.output(password, &salt, params)?),
        };
        Ok(hash.to_string())
    }

    fn verify(&mut self, password: &str, hash: &str) -> Result<bool> {
        let hash = PasswordHash::new(hash).map_err(failed)?;
        let params = Params::try_from(&hash).map_err(failed)?;
        match (hash.salt, hash.hash) {
            // The comparison takes the same time wherever they differ.
            (Some(salt), Some(expected)) => Ok(self.output(password, &salt, params)? == expected),
            _ => Ok(false),
        }
    }

    fn output(&mut self, password: &str, salt: &Salt, params: Params) -> Result<Output> {
        let blocks = params.block_count();
        if self.memory.len() < blocks {
            self.memory.resize(blocks, Block::new());
        }
        let memory = &mut self.memory[..blocks];
        let mut out = [0; HASH_BYTES];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password.as_bytes(), salt.as_ref(), &mut out, memory)
            .map_err(failed)?;
        Output::new(&out).map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::unavailable("password hashing failed").with_source(std::io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> PasswordConfig {
        PasswordConfig { memory_kib: 8, iterations: 1, threads: 2, queue_max: 4 }
    }

    #[tokio::test]
    async fn a_password_is_accepted_and_others_are_not() {
        let passwords = Passwords::start(&cheap()).unwrap();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse".into(), Some(&hash)).await.unwrap());
        assert!(!passwords.verify("Correct horse".into(), Some(&hash)).await.unwrap());
        assert!(!passwords.verify("".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn hashes_of_other_settings_and_programs_stay_valid() {
        let passwords = Passwords::start(&cheap()).unwrap();
        // Made with the reference implementation: argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32 -e, password "password".
        let hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(passwords.verify("password".into(), Some(hash)).await.unwrap());
        assert!(!passwords.verify("passwort".into(), Some(hash)).await.unwrap());
    }
}
