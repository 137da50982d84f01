//! Keeps the write-ahead log's file a little longer than the log.
//!
//! A commit that makes a file longer has to write the file's new length through the file system's journal as well, which
//! about doubles what its flush costs and takes. So the writer lengthens the file by a piece, with zeros, for many commits
//! in advance. SQLite finds the log's end by checksums, never by the file's length. Once the log has begun anew, it
//! overwrites what is there, and nothing is to be done.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

/// Added at a time: a dozen commits of one message each; small, as the next flush writes it.
const PIECE_BYTES: usize = 256 * 1024;
/// Added when less than this is left.
const LEFT_BYTES: u64 = 64 * 1024;
/// SQLite's: the log's header, and a page with its own.
const HEADER_BYTES: u64 = 32;
const PAGE_BYTES: u64 = 4_096 + 24;

/// The writer's hold on the log's file; used between two transactions only.
#[derive(Debug)]
pub(super) struct LogRoom {
    file: Option<File>,
    /// The file's length when last looked at; never more than it is while the log grows.
    length: u64,
    pages_before: u32,
}

impl LogRoom {
    /// For the log of a database, which is open and has its log.
    pub(super) fn open(database: &Path) -> Self {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let file = OpenOptions::new().write(true).open(&log);
        // Without it commits cost more, no more than that.
        let file = file.inspect_err(|error| tracing::debug!(%error, "the log's file will not be lengthened")).ok();
        Self { file, length: 0, pages_before: 0 }
    }

    /// Makes sure that some more pages fit the file; `pages` is the log's length now.
    pub(super) fn keep(&mut self, pages: u32) {
        let has_begun_anew = pages < self.pages_before;
        self.pages_before = pages;
        if has_begun_anew {
            // SQLite may have shortened it then.
            self.length = 0;
        }
        let used = HEADER_BYTES + PAGE_BYTES * u64::from(pages);
        if used + LEFT_BYTES > self.length
            && let Err(error) = self.lengthen(used)
        {
            tracing::debug!(%error, "the log's file could not be lengthened");
            // The disk may be full: not again before the log has begun anew.
            self.length = u64::MAX;
        }
    }

    fn lengthen(&mut self, used: u64) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        self.length = file.metadata()?.len();
        if used + LEFT_BYTES > self.length {
            let from = self.length.max(used);
            file.write_all_at(&[0; PIECE_BYTES], from)?;
            self.length = from + PIECE_BYTES as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_stays_longer_than_the_log_and_what_is_in_the_log_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (database, log) = (dir.path().join("db"), dir.path().join("db-wal"));
        let length = || std::fs::metadata(&log).unwrap().len();
        std::fs::write(&log, [7; 10_000]).unwrap();
        let mut room = LogRoom::open(&database);
        for pages in 2..300 {
            room.keep(pages);
            assert!(length() >= HEADER_BYTES + PAGE_BYTES * u64::from(pages) + LEFT_BYTES);
        }
        let bytes = std::fs::read(&log).unwrap();
        assert!(bytes[..10_000].iter().all(|byte| *byte == 7) && bytes[10_000..].iter().all(|byte| *byte == 0));
        let before = length();
        room.keep(1);
        assert_eq!(length(), before, "the log began anew: there is room");
        std::fs::remove_file(&log).unwrap();
        LogRoom::open(&database).keep(1);
    }
}
