//! The SQLite store keeps every promise.

#![allow(clippy::unwrap_used, reason = "the functions of a test file are tests or serve them")]

use std::sync::Arc;

use store::{
    contract::Store,
    sqlite::{SqliteConfig, SqliteStore},
};
use tempfile::TempDir;

async fn fresh() -> (Arc<dyn Store>, TempDir) {
    let dir = TempDir::new().unwrap();
    let config = SqliteConfig::new(dir.path());
    let store = tokio::task::spawn_blocking(|| SqliteStore::open(config)).await.unwrap().unwrap();
    (Arc::new(store), dir)
}

store::contract_suite!(fresh);
