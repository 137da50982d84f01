//! How tests wait, and for how long at most.

use std::time::Duration;

use protocol::{Error, wire::ErrorCode};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What is looked for, as soon as it is there.
pub(crate) async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("in time")
}

/// What a request is refused with.
pub(crate) async fn code_of<T>(outcome: impl Future<Output = Result<T, Error>>) -> ErrorCode {
    outcome.await.err().expect("refused").code()
}
