//! Over TLS, as `rediss`: with servers whose certificate this machine does not trust, and a process that does.

use cache::{Cache as _, redis::RedisCache};
use servers::SecuredRedis;

use crate::{bed, contract::clients, near::copies_are_dropped_when_another_process_invalidates};

#[tokio::test]
async fn servers_are_spoken_to_over_tls_if_their_certificate_is_trusted_and_otherwise_not() {
    let name = "tls::servers_are_spoken_to_over_tls_if_their_certificate_is_trusted_and_otherwise_not";
    let refused = async |url: &str| {
        RedisCache::start(&bed::config(url)).unwrap().get(&["name:1".to_owned()]).await.unwrap_err().to_string()
    };
    SecuredRedis::judge(&bed::dir("cache-tls"), name, refused, all_goes_well).await;
}

async fn all_goes_well(url: &str) {
    cache::contract::what_was_filled_is_found_by_every_client(clients(url)).await;
    cache::contract::an_invalidation_revokes_leases_of_other_clients(clients(url)).await;
    copies_are_dropped_when_another_process_invalidates(url).await;
}
