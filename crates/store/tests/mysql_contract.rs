//! The MySQL store keeps every promise, on a real MariaDB.

#![allow(clippy::unwrap_used, dead_code, reason = "the functions of a test file are tests or serve them")]

mod mariadb;

use std::sync::Arc;

use store::{
    contract::Store,
    mysql::{MysqlConfig, MysqlStore},
};

async fn fresh() -> (Arc<dyn Store>, ()) {
    let url = mariadb::database("mysql_contract").await;
    let store = MysqlStore::open(MysqlConfig { connections_max: 8, ..MysqlConfig::new(url) }).await.unwrap();
    (Arc::new(store), ())
}

store::contract_suite!(fresh);
