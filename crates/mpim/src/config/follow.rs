//! Live change: follows the configuration's file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::AccessKind};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    Config, Mistakes, Place, read,
    source::{Entries, Entry, Raw},
};

/// A file that changed is read once nothing has happened for so long: editors write in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// It is read then even if there is no quiet; other files of the directory may change all the time.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Follows a configuration's file. An invalid change is logged and refused, and what was valid before stays in effect.
/// Stops when dropped.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    environment: Vec<(String, String)>,
    /// What the file last said, valid or not.
    text: Option<String>,
    /// What it last said that was valid.
    read: Option<Config>,
    /// What is in effect.
    current: Config,
    changes: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

macro_rules! live {
    ($($section:ident: $($key:ident)+;)+) => {
        /// Section and key of what may change while the process runs.
        const LIVE: &[(&str, &str)] = &[$($((stringify!($section), stringify!($key)),)+)+];

        fn copy_live(from: &Config, to: &mut Config) {
            $($( to.$section.$key.clone_from(&from.$section.$key); )+)+
        }
    };
}

live! {
    log: level;
    gateway:
        requests_per_second requests_burst
        sends_per_second sends_burst
        conversation_sends_per_second conversation_sends_burst
        accounts_per_second accounts_burst
        contacts_per_minute contacts_burst
        groups_per_minute groups_burst
        searches_per_second searches_burst
        bots_per_minute bots_burst
        reports_per_minute reports_burst
        typing_per_second typing_burst
        drafts_per_second drafts_burst
        new_account_age new_account_percent;
    redis_cache: user_info_ttl group_info_ttl status_ttl;
}

impl Config {
    /// This one with all that may change while the process runs taken from `new`: levels of the log, rates, lifetimes.
    pub(super) fn with_live_of(&self, new: &Self) -> Self {
        let mut changed = self.clone();
        copy_live(new, &mut changed);
        changed
    }

    /// Section and key of all that may change while the process runs.
    pub fn live_keys() -> impl Iterator<Item = (&'static str, &'static str)> {
        LIVE.iter().copied()
    }

    /// This one with these values of the registry's over it, by section and key.
    ///
    /// # Errors
    ///
    /// All values that are not allowed.
    pub fn with_live_values(&self, values: &BTreeMap<(&str, &str), String>) -> Result<Self, Mistakes> {
        let entry = |(&(section, key), value): (&(&str, &str), &String)| Entry {
            section: section.to_owned(),
            key: key.to_owned(),
            raw: Raw::Bare(value.trim().to_owned()),
            place: Place::Registry(format!("{section}.{key}")),
        };
        let entries = Entries { values: values.iter().map(entry).collect(), sections: Vec::new() };
        read::read_over(self.clone(), &entries, Vec::new())
    }
}

impl Follower {
    /// Follows the file that `current` was loaded from, together with this environment. What the process was told
    /// elsewhere may stand in `current` too.
    ///
    /// # Errors
    ///
    /// The system cannot watch the file's directory.
    pub fn start(
        path: &Path,
        environment: impl Iterator<Item = (String, String)>,
        current: Config,
    ) -> notify::Result<Self> {
        // One place: that something changed is all there is to say.
        let (changed, changes) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no change, and this reads.
            let matters = match event {
                Ok(event) => match event.kind {
                    EventKind::Access(AccessKind::Close(_)) => true,
                    EventKind::Access(_) => false,
                    _ => true,
                },
                // Perhaps events were lost.
                Err(_) => true,
            };
            if matters {
                let _ = changed.try_send(());
            }
        })?;
        let path = std::path::absolute(path)?;
        // The directory: editors and container platforms put a new file in the old one's place.
        let directory = path.parent().unwrap_or(&path);
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        let environment = environment.collect();
        // A change between the load and the watch is found by comparing.
        Ok(Self { path, environment, text: None, read: None, current, changes, _watcher: watcher })
    }

    /// The configuration with the next valid change of what may change while the process runs: levels of the log, rates,
    /// lifetimes. All else in it is as it was at the start. Cancel safe.
    pub async fn changed(&mut self) -> Config {
        loop {
            if let Some(config) = self.reload() {
                return config;
            }
            self.wait().await;
        }
    }

    async fn wait(&mut self) {
        if self.changes.recv().await.is_none() {
            // The watcher has gone, which it does only with this.
            std::future::pending::<()>().await;
        }
        let end = Instant::now() + WAIT_MAX;
        loop {
            let quiet = (Instant::now() + QUIET).min(end);
            match timeout_at(quiet, self.changes.recv()).await {
                Ok(Some(())) if Instant::now() < end => {}
                _ => break,
            }
        }
    }

    fn reload(&mut self) -> Option<Config> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            // Away for a moment, as while an editor replaces it; or for good, and then what it said stays in effect.
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "the configuration cannot be read");
                return None;
            }
        };
        if self.text.as_ref() == Some(&text) {
            return None;
        }
        self.text = Some(text);
        match Config::load(Some(&self.path), self.environment.iter().cloned()) {
            Ok(new) => {
                if self.read.as_ref().is_some_and(|read| read.with_live_of(&new) != new) {
                    tracing::warn!("the configuration has changed in what takes effect only after a restart");
                }
                let live = self.current.with_live_of(&new);
                self.read = Some(new);
                if live == self.current {
                    return None;
                }
                self.current = live.clone();
                Some(live)
            }
            Err(mistakes) => {
                for mistake in mistakes.0 {
                    tracing::error!(%mistake, "the changed configuration is refused, the former stays in effect");
                }
                None
            }
        }
    }
}
