//! What every queue promises, alone and in a cluster.

use std::sync::Arc;

use queue::contract::Clients;

use crate::bed::{self, MAILBOX};

pub(crate) fn clients(url: &str) -> Clients {
    let [gateway, service] = bed::two(&bed::config(url));
    Clients { gateway: Arc::new(gateway), service: Arc::new(service), too_many: 2 * MAILBOX }
}

mod alone {
    queue::contract_tests!(async { super::clients(&crate::bed::shared_server().await) });
}

mod cluster {
    queue::contract_tests!(async { super::clients(&crate::bed::shared_cluster().await) });
}
