//! Over TLS, as `rediss`: with servers whose certificate this machine does not trust, and a process that does.

use protocol::UserId;
use queue::{Queue as _, redis::RedisQueue};
use servers::SecuredRedis;

use crate::{bed, contract::clients};

#[tokio::test]
async fn servers_are_spoken_to_over_tls_if_their_certificate_is_trusted_and_otherwise_not() {
    let name = "tls::servers_are_spoken_to_over_tls_if_their_certificate_is_trusted_and_otherwise_not";
    let refused = async |url: &str| {
        RedisQueue::start(bed::config(url)).unwrap().routes(&[UserId::new(1)]).await.unwrap_err().to_string()
    };
    SecuredRedis::judge(&bed::dir("queue-tls"), name, refused, all_goes_well).await;
}

async fn all_goes_well(url: &str) {
    queue::contract::publications_to_a_topic_arrive_whole_and_in_order(clients(url)).await;
    queue::contract::routes_come_in_the_users_order(clients(url)).await;
}
