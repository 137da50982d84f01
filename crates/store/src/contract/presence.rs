//! When users were last online.

use std::sync::Arc;

use protocol::UserId;

use super::Store;

/// An older time than the noted one changes nothing.
pub async fn last_seen_only_grows(store: Arc<dyn Store>) {
    let [a, b, never] = [UserId::new(1), UserId::new(2), UserId::new(3)];
    store.note_seen(vec![(a, 100), (b, 100), (a, 150)]).await.unwrap();
    store.note_seen(vec![(a, 120), (b, 130)]).await.unwrap();
    store.note_seen(vec![]).await.unwrap();
    let mut seen = store.last_seen(vec![b, never, a]).await.unwrap();
    seen.sort();
    assert_eq!(seen, [(a, 150), (b, 130)]);
}
