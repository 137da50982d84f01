//! The process's own log: structured, asynchronous, with levels by module that may change while it runs.
//!
//! A line is handed to a thread that writes; the queue between has a bound, and what does not fit is dropped and
//! counted rather than waited for. What was queued is written when [`Logging`] is dropped.

use std::{
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use tracing::{Dispatch, dispatcher, level_filters::LevelFilter};
use tracing_appender::{
    non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard},
    rolling::{InitError, RollingFileAppender, Rotation},
};
use tracing_subscriber::{Layer as _, Registry, filter::Targets, fmt, layer::SubscriberExt as _, reload};

use crate::config::{Log, LogFormat, LogRotation};

/// Why logging could not be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be written.
    #[error("cannot write the log to {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: InitError,
    },
    /// The process logs already.
    #[error("logging was started before")]
    Started,
    /// The log whose levels are to be changed has ended.
    #[error("logging has ended")]
    Ended,
    /// No levels; see [`parse_levels`].
    #[error("{0:?} names no levels")]
    Levels(String),
}

/// Says of each connection, also of those that we end, what the registry says of those that matter.
const WORDY: &str = "zookeeper_client";

/// Levels by module, such as `info,gateway=debug`; `None` if it is not such a text. The client of ZooKeeper tells errors only, unless
/// it is named or everything is to be seen (`debug`, `trace`).
pub fn parse_levels(text: &str) -> Option<Targets> {
    // By hand: `Targets` would take a misspelt level for a module, and so silence the log.
    let mut targets = Targets::new();
    for directive in text.split(',') {
        targets = match directive.split_once('=') {
            Some((module, _)) if module.trim().is_empty() => return None,
            Some((module, level)) => targets.with_target(module.trim(), level_of(level)?),
            None => targets.with_default(level_of(directive)?),
        };
    }
    let is_named = targets.iter().any(|(target, _)| target == WORDY);
    let is_wordy = matches!(targets.default_level(), Some(LevelFilter::WARN | LevelFilter::INFO));
    Some(if is_wordy && !is_named { targets.with_target(WORDY, LevelFilter::ERROR) } else { targets })
}

fn level_of(word: &str) -> Option<LevelFilter> {
    const LEVELS: [(&str, LevelFilter); 6] = [
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];
    LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word.trim())).map(|(_, level)| *level)
}

/// The running log. Dropped, it writes what is queued; so keep it to the end of `main`.
#[derive(Debug)]
pub struct Logging {
    levels: reload::Handle<Targets, Registry>,
    dropped: ErrorCounter,
    _writing: WorkerGuard,
}

impl Logging {
    /// Starts logging for the whole process.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or logging was started before.
    pub fn start(config: &Log) -> Result<Self, Error> {
        let (dispatch, logging) = match &config.file {
            Some(path) => Self::build(config, open(path, config)?, false)?,
            None => Self::build(config, io::stderr(), io::stderr().is_terminal())?,
        };
        dispatcher::set_global_default(dispatch).map_err(|_| Error::Started)?;
        Ok(logging)
    }

    /// The levels, to be changed while the process runs.
    pub fn levels(&self) -> Levels {
        Levels(self.levels.clone())
    }

    /// Lines dropped so far because too many waited to be written.
    pub fn dropped_lines(&self) -> u64 {
        self.dropped.dropped_lines() as u64
    }

    /// The same as a function, for metrics that outlive this.
    pub fn dropped_lines_counter(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let dropped = self.dropped.clone();
        move || dropped.dropped_lines() as u64
    }

    fn build(config: &Log, writer: impl Write + Send + 'static, colours: bool) -> Result<(Dispatch, Self), Error> {
        let levels = parse_levels(&config.level).ok_or_else(|| Error::Levels(config.level.clone()))?;
        let (levels, handle) = reload::Layer::new(levels);
        let (writer, writing): (NonBlocking, _) = NonBlockingBuilder::default()
            .buffered_lines_limit(config.lines_max)
            .lossy(true)
            .thread_name("log")
            .finish(writer);
        let logging = Self { levels: handle, dropped: writer.error_counter(), _writing: writing };
        let lines = match config.format {
            LogFormat::Text => fmt::layer().with_ansi(colours).with_writer(writer).boxed(),
            LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
        };
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(lines.with_filter(levels)));
        Ok((dispatch, logging))
    }
}

/// The levels of a running log; clones are the same.
#[derive(Debug, Clone)]
pub struct Levels(reload::Handle<Targets, Registry>);

impl Levels {
    /// Changes them; a text such as [`parse_levels`] takes.
    ///
    /// # Errors
    ///
    /// The text names no levels; those before stay. Or logging has ended.
    pub fn set(&self, levels: &str) -> Result<(), Error> {
        let targets = parse_levels(levels).ok_or_else(|| Error::Levels(levels.to_owned()))?;
        self.0.reload(targets).map_err(|_| Error::Ended)
    }
}

fn open(path: &Path, config: &Log) -> Result<RollingFileAppender, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let rotation = match config.rotation {
        LogRotation::Never => Rotation::NEVER,
        LogRotation::Daily => Rotation::DAILY,
        LogRotation::Hourly => Rotation::HOURLY,
    };
    RollingFileAppender::builder()
        .rotation(rotation)
        .filename_prefix(name)
        .max_log_files(config.files_max)
        .build(directory)
        .map_err(|source| Error::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
