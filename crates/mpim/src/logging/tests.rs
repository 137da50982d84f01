use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use tracing::dispatcher::with_default;

use super::*;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Runs with a log, ends it, and returns what was written.
fn written(config: &Log, run: impl FnOnce(&Logging)) -> String {
    let page = Page::default();
    let (dispatch, logging) = Logging::build(config, page.clone(), false).unwrap();
    with_default(&dispatch, || run(&logging));
    drop(logging);
    page.text()
}

#[test]
fn what_is_queued_is_written_when_the_log_ends() {
    let text = written(&Log::default(), |_| {
        for number in 0..1_000 {
            tracing::info!(number, "counted");
        }
    });
    assert_eq!(text.lines().count(), 1_000);
    assert!(text.lines().last().unwrap().ends_with("counted number=999"), "{text}");
}

#[test]
fn json_lines_have_the_fields_at_the_top() {
    let config = Log { format: LogFormat::Json, ..Log::default() };
    let text = written(&config, |_| tracing::warn!(user = 17, "seen"));
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (line["level"].as_str(), line["message"].as_str(), line["user"].as_u64()),
        (Some("WARN"), Some("seen"), Some(17))
    );
}

#[test]
fn levels_change_while_it_runs_and_a_wrong_text_leaves_them() {
    let config = Log { level: "warn,cache=trace".into(), ..Log::default() };
    let text = written(&config, |logging| {
        let levels = logging.levels();
        tracing::info!("first");
        tracing::trace!(target: "cache::lookup", "second");
        levels.set("info").unwrap();
        tracing::info!("third");
        tracing::trace!(target: "cache::lookup", "fourth");
        assert!(matches!(levels.set("inof"), Err(Error::Levels(_))));
        tracing::info!("fifth");
    });
    let words: Vec<_> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(words, ["second", "third", "fifth"]);
}

#[test]
fn a_misspelt_level_is_not_taken_for_a_module() {
    for text in ["info", "INFO", "warn,gateway=debug", "off, cache::lookup = trace"] {
        assert!(parse_levels(text).is_some(), "{text}");
    }
    for text in ["", "inof", "info,", "gateway", "gateway=loud", "=info"] {
        assert!(parse_levels(text).is_none(), "{text}");
    }
}

#[test]
fn the_client_of_zookeeper_tells_errors_only_unless_it_or_everything_is_asked_for() {
    let told = |level: &str| {
        let text = written(&Log { level: level.into(), ..Log::default() }, |_| {
            tracing::error!(target: "zookeeper_client::session", "error");
            tracing::warn!(target: "zookeeper_client::session", "warning");
            tracing::debug!(target: "zookeeper_client::session", "detail");
        });
        text.lines().count()
    };
    assert_eq!(["off", "error", "warn", "info", "debug", "trace"].map(told), [0, 1, 1, 1, 3, 3]);
    assert_eq!(told("info,zookeeper_client=warn"), 2);
    assert_eq!(told("zookeeper_client=off,info"), 0);
    assert_eq!(told("gateway=trace"), 0, "only what is named is told");
}

/// Holds up the writing thread until it is let go.
struct Stuck(mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv_timeout(Duration::from_secs(60));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_beyond_the_bound_are_dropped_and_counted_and_nobody_waits() {
    let (release, stuck) = mpsc::channel();
    let config = Log { lines_max: 16, ..Log::default() };
    let (dispatch, logging) = Logging::build(&config, Stuck(stuck), false).unwrap();
    let counter = logging.dropped_lines_counter();
    with_default(&dispatch, || (0..100).for_each(|number| tracing::info!(number, "counted")));
    // One is with the writer, perhaps, and 16 wait.
    assert!((83..=84).contains(&logging.dropped_lines()), "{}", logging.dropped_lines());
    assert_eq!(counter(), logging.dropped_lines());
    drop(release);
}

#[test]
fn a_file_is_written_under_its_name_and_an_impossible_one_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        |file: &str| Log { file: Some(directory.path().join(file)), rotation: LogRotation::Never, ..Log::default() };
    let log = config("mpim.log");
    let path = log.file.clone().unwrap();
    let (dispatch, logging) = Logging::build(&log, open(&path, &log).unwrap(), false).unwrap();
    with_default(&dispatch, || tracing::info!("to a file"));
    drop(logging);
    assert!(std::fs::read_to_string(&path).unwrap().contains("to a file"));

    let under_a_file = config("mpim.log/mpim.log");
    let error = Logging::start(&under_a_file).unwrap_err();
    assert!(matches!(&error, Error::File { .. }), "{error:?}");
}

#[test]
fn rotated_files_bear_the_date_after_their_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mpim.log");
    let log = Log { file: Some(path.clone()), rotation: LogRotation::Hourly, ..Log::default() };
    let (dispatch, logging) = Logging::build(&log, open(&path, &log).unwrap(), false).unwrap();
    with_default(&dispatch, || tracing::info!("to a file"));
    drop(logging);
    let names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(matches!(names.as_slice(), [name] if name.starts_with("mpim.log.20")), "{names:?}");
}
