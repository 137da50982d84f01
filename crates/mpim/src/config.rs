//! The configuration: `mpim.toml` or an INI file, and over it the environment.
//!
//! `settings` is the one home of each key. From it come the typed sections, what `mpim config print` says, the names
//! of the environment variables (`MPIM_<SECTION>_<KEY>`), and what is allowed. Whatever is wrong is reported at once,
//! each mistake with its place. Secrets never appear: neither in mistakes, nor printed, nor in `Debug`.

mod distributed;
mod environment;
mod follow;
mod ini;
mod kind;
mod mistake;
mod parts;
mod print;
mod read;
mod settings;
mod source;
mod toml_file;

use std::path::Path;

pub(crate) use self::environment::{unknown, variable};
pub use self::{
    follow::Follower,
    kind::Secret,
    mistake::{Mistake, Mistakes, Place},
    parts::Lifetimes,
    settings::{
        Config, Gateway, Log, LogFormat, LogRotation, Message, MySql, RedisCache, RedisQueue, Rpc, Server, Store, User,
        ZooKeeper,
    },
};

impl Config {
    /// The configuration of a file (none: the defaults), with what the environment says over it.
    ///
    /// # Errors
    ///
    /// All mistakes there are.
    pub fn load(path: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Mistakes> {
        match path.map(|path| (path, std::fs::read_to_string(path))) {
            None => Self::read(None, environment),
            Some((path, Ok(text))) => Self::read(Some((path, &text)), environment),
            Some((path, Err(error))) => {
                let place = Place::File { path: path.to_owned(), line: None };
                Err(Mistakes(vec![Mistake { place, text: format!("cannot be read: {error}") }]))
            }
        }
    }

    /// As [`load`](Self::load), of a file's text; its path tells the format, and stands in mistakes.
    ///
    /// # Errors
    ///
    /// All mistakes there are.
    pub fn read(
        file: Option<(&Path, &str)>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut entries = match file {
            None => source::Entries::default(),
            Some((path, text)) => source::read_file(path, text, &mut mistakes),
        };
        environment::read(environment, &mut entries, &mut mistakes);
        read::read(&entries, mistakes)
    }
}

#[cfg(test)]
mod tests;
