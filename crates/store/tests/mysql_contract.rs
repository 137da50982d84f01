//! The MySQL store keeps every promise, on a real MariaDB.

#![allow(clippy::unwrap_used, reason = "the functions of a test file are tests or serve them")]

mod mariadb;

use std::sync::Arc;

use mariadb::Database;
use store::{
    contract::Store,
    mysql::{MysqlConfig, MysqlStore},
};

async fn fresh() -> (Arc<dyn Store>, Database) {
    let database = Database::new("mysql_contract").await;
    let config = MysqlConfig { connections_max: 8, ..MysqlConfig::new(database.url()) };
    (Arc::new(MysqlStore::open(config).await.unwrap()), database)
}

store::contract_suite!(fresh);
