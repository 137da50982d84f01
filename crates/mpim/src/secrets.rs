//! Secrets in files of their own, made when they are needed first.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;
use services::user::SecretKey;

/// Reads a secret's file, or makes it, readable for the owner only.
pub(crate) fn read_or_make(path: &Path, make: impl FnOnce() -> io::Result<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = make()?;
            private(path, &secret)?;
            Ok(secret)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes a file that only its owner may read: whole or not at all, as a half-written one would be found at the next start.
pub(crate) fn private(path: &Path, text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let new = path.with_added_extension("new");
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_ref())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// 64 hexadecimal digits that nobody guesses: text, so that scripts can show it.
pub(crate) fn make_digits() -> io::Result<Vec<u8>> {
    let key = SecretKey::generate()?;
    Ok(key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes())
}
