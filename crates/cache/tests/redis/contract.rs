//! What every cache promises: alone, in a cluster, and behind Sentinels.

use std::sync::Arc;

use cache::{contract::Clients, redis::RedisCache};

use crate::bed;

pub(crate) fn clients(url: &str) -> Clients {
    let config = bed::config(url);
    let client = || Arc::new(RedisCache::start(&config).unwrap());
    (client(), client())
}

mod alone {
    cache::contract_tests!((), async { super::clients(&crate::bed::shared_server().await) });
}

mod alone_on_several_threads {
    cache::contract_tests!((flavor = "multi_thread", worker_threads = 2), async {
        super::clients(&crate::bed::shared_server().await)
    });
}

mod cluster {
    cache::contract_tests!((), async { super::clients(&crate::bed::shared_cluster().await) });
}

mod sentinel {
    cache::contract_tests!((), async { super::clients(&crate::bed::shared_sentinel().await) });
}
