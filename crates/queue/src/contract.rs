//! What every queue must pass. [`contract_tests!`](crate::contract_tests) makes a test of each promise.
//!
//! The functions take two clients of one fresh queue, so that what crosses processes elsewhere is checked as such.
//! Back ends that deliver later are allowed [`EVENTUALLY`]; that nothing comes is judged after [`SETTLED`].

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use protocol::{GatewayId, GroupId, UserId};
use tokio::time::{Instant, sleep, timeout};

use crate::{Delivered, Presence, Publication, Queue, Subscription, Topic};

/// What must become true becomes true within this, leases that run out included.
pub const EVENTUALLY: Duration = Duration::from_secs(60);
/// What has not come by then does not come.
pub const SETTLED: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(20);

const ONE: GatewayId = GatewayId::new(1);
const TWO: GatewayId = GatewayId::new(2);
const GROUP: Topic = Topic::Group(GroupId::new(100));
const ALICE: UserId = UserId::new(1_000);
const BOB: UserId = UserId::new(1_001);

/// Two clients of one queue.
#[derive(Clone)]
pub struct Clients {
    /// One, here used by gateways.
    pub gateway: Arc<dyn Queue>,
    /// Another, here used by services.
    pub service: Arc<dyn Queue>,
    /// So many publications of 1 KiB are certainly more than a gateway may leave unread.
    pub too_many: usize,
}

/// Makes the tests. Takes an `async` block that makes [`Clients`](crate::contract::Clients) of a fresh queue.
#[macro_export]
macro_rules! contract_tests {
    ($clients:expr) => {
        $crate::contract_tests! { @each $clients;
            a_gateway_hears_its_own_topic_from_the_start_and_no_other,
            publications_to_a_topic_arrive_whole_and_in_order,
            a_groups_publication_reaches_each_subscribed_gateway_once,
            a_topic_is_heard_from_subscribing_until_unsubscribing,
            what_a_slow_gateway_loses_it_is_told_exactly,
            a_slow_gateway_loses_nothing_of_the_others,
            an_abandoned_receive_takes_nothing,
            routes_come_in_the_users_order,
            the_first_and_the_last_gateway_of_a_user_are_told,
            who_is_away_on_all_gateways_is_away,
            binding_and_unbinding_twice_changes_nothing,
            a_gateway_that_is_not_open_has_no_routes,
            a_closed_gateways_routes_are_gone,
            a_closed_gateways_topics_are_gone,
            a_gateway_that_opens_again_takes_the_formers_place,
            a_subscription_whose_place_was_taken_harms_nobody_when_it_ends,
        }
    };
    (@each $clients:expr; $($promise:ident,)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                $crate::contract::$promise($clients.await).await;
            }
        )*
    };
}

fn publication(topic: Topic, number: u64) -> Publication {
    Publication { topic, payload: Bytes::copy_from_slice(&number.to_be_bytes()) }
}

async fn publish(queue: &Arc<dyn Queue>, topic: Topic, numbers: impl IntoIterator<Item = u64>) {
    queue.publish(numbers.into_iter().map(|number| publication(topic, number)).collect()).await.unwrap();
}

/// Receives until so many publications came, and compares; then nothing more may come.
async fn hears(subscription: &dyn Subscription, wanted: Vec<Publication>) {
    let mut heard = Vec::new();
    while heard.len() < wanted.len() {
        let delivered = timeout(EVENTUALLY, subscription.receive(wanted.len() - heard.len())).await;
        heard.extend(delivered.unwrap_or_else(|_| panic!("heard only {heard:?} of {wanted:?}")));
    }
    assert_eq!(heard, wanted.into_iter().map(Delivered::Publication).collect::<Vec<_>>());
    hears_nothing(subscription).await;
}

async fn hears_nothing(subscription: &dyn Subscription) {
    if let Ok(heard) = timeout(SETTLED, subscription.receive(10)).await {
        panic!("heard {heard:?}, wanted nothing");
    }
}

async fn routes_become(queue: &Arc<dyn Queue>, users: &[UserId], wanted: Vec<Vec<GatewayId>>) {
    let end = Instant::now() + EVENTUALLY;
    loop {
        let mut routes = queue.routes(users).await.unwrap();
        routes.iter_mut().for_each(|gateways| gateways.sort());
        if routes == wanted {
            return;
        }
        assert!(Instant::now() < end, "routes are {routes:?}, wanted {wanted:?}");
        sleep(POLL).await;
    }
}

/// Its own topic needs no subscribing.
pub async fn a_gateway_hears_its_own_topic_from_the_start_and_no_other(clients: Clients) {
    let subscription = clients.gateway.open(ONE).await.unwrap();
    publish(&clients.service, Topic::Gateway(TWO), [1]).await;
    publish(&clients.service, GROUP, [2]).await;
    publish(&clients.service, Topic::Presence(ALICE), [3]).await;
    publish(&clients.service, Topic::Gateway(ONE), [4]).await;
    hears(&*subscription, vec![publication(Topic::Gateway(ONE), 4)]).await;
}

/// Over several calls, and received in pieces.
pub async fn publications_to_a_topic_arrive_whole_and_in_order(clients: Clients) {
    let subscription = clients.gateway.open(ONE).await.unwrap();
    let own = Topic::Gateway(ONE);
    for start in [0, 10, 20] {
        publish(&clients.service, own, start..start + 10).await;
    }
    let mut heard = Vec::new();
    while heard.len() < 30 {
        let delivered = timeout(EVENTUALLY, subscription.receive(7)).await.unwrap();
        assert!((1..=7).contains(&delivered.len()));
        heard.extend(delivered);
    }
    let wanted: Vec<_> = (0..30).map(|number| Delivered::Publication(publication(own, number))).collect();
    assert_eq!(heard, wanted);
}

/// Also to a gateway that subscribed twice.
pub async fn a_groups_publication_reaches_each_subscribed_gateway_once(clients: Clients) {
    let first = clients.gateway.open(ONE).await.unwrap();
    let second = clients.service.open(TWO).await.unwrap();
    first.subscribe(vec![GROUP, GROUP]).await.unwrap();
    first.subscribe(vec![GROUP]).await.unwrap();
    second.subscribe(vec![GROUP]).await.unwrap();
    publish(&clients.service, GROUP, [1, 2]).await;
    let wanted = vec![publication(GROUP, 1), publication(GROUP, 2)];
    hears(&*first, wanted.clone()).await;
    hears(&*second, wanted).await;
}

/// Other topics stay.
pub async fn a_topic_is_heard_from_subscribing_until_unsubscribing(clients: Clients) {
    let subscription = clients.gateway.open(ONE).await.unwrap();
    let presence = Topic::Presence(BOB);
    publish(&clients.service, GROUP, [1]).await;
    hears_nothing(&*subscription).await;
    subscription.subscribe(vec![GROUP, presence]).await.unwrap();
    publish(&clients.service, GROUP, [2]).await;
    hears(&*subscription, vec![publication(GROUP, 2)]).await;
    subscription.unsubscribe(vec![GROUP, Topic::Presence(ALICE)]).await.unwrap();
    publish(&clients.service, GROUP, [3]).await;
    publish(&clients.service, presence, [4]).await;
    hears(&*subscription, vec![publication(presence, 4)]).await;
}

/// Heard and told as lost make what was published; publishing does not wait meanwhile.
pub async fn what_a_slow_gateway_loses_it_is_told_exactly(clients: Clients) {
    const BATCH: usize = 100;
    let subscription = clients.gateway.open(ONE).await.unwrap();
    let own = Publication { topic: Topic::Gateway(ONE), payload: Bytes::from(vec![7; 1024]) };
    let mut published = 0;
    while published < clients.too_many as u64 {
        let publishing = clients.service.publish(vec![own.clone(); BATCH]);
        timeout(EVENTUALLY, publishing).await.expect("publishing waits for a gateway").unwrap();
        published += BATCH as u64;
    }
    let (mut heard, mut lost) = (0, 0);
    let end = Instant::now() + EVENTUALLY;
    while heard + lost != published || lost == 0 {
        assert!(Instant::now() < end, "published {published}, heard {heard}, told of {lost} lost");
        match timeout(SETTLED, subscription.receive(BATCH)).await {
            Ok(delivered) => {
                for delivered in delivered {
                    match delivered {
                        Delivered::Publication(_) => heard += 1,
                        Delivered::Lost(count) => lost += count,
                    }
                }
            }
            // What was lost last may be noticed only when something follows.
            Err(_) => {
                clients.service.publish(vec![own.clone()]).await.unwrap();
                published += 1;
            }
        }
    }
}

/// One that reads hears all that a slow one loses.
pub async fn a_slow_gateway_loses_nothing_of_the_others(clients: Clients) {
    let slow = clients.gateway.open(ONE).await.unwrap();
    let quick = clients.gateway.open(TWO).await.unwrap();
    slow.subscribe(vec![GROUP]).await.unwrap();
    quick.subscribe(vec![GROUP]).await.unwrap();
    let large = Publication { topic: GROUP, payload: Bytes::from(vec![7; 1024]) };
    for _ in 0..clients.too_many {
        clients.service.publish(vec![large.clone()]).await.unwrap();
        let heard = timeout(EVENTUALLY, quick.receive(1)).await.unwrap();
        assert_eq!(heard, [Delivered::Publication(large.clone())]);
    }
}

/// A `receive` that was dropped while it waited has no part in what comes.
pub async fn an_abandoned_receive_takes_nothing(clients: Clients) {
    let subscription = clients.gateway.open(ONE).await.unwrap();
    for number in 0..20 {
        // Polled once, so that it waits already.
        assert!(timeout(Duration::ZERO, subscription.receive(10)).await.is_err());
        publish(&clients.service, Topic::Gateway(ONE), [number]).await;
        let heard = timeout(EVENTUALLY, subscription.receive(10)).await.unwrap();
        assert_eq!(heard, [Delivered::Publication(publication(Topic::Gateway(ONE), number))]);
    }
}

/// Users without a gateway have an empty list.
pub async fn routes_come_in_the_users_order(clients: Clients) {
    let _one = clients.gateway.open(ONE).await.unwrap();
    let _two = clients.gateway.open(TWO).await.unwrap();
    clients.gateway.bind(ALICE, ONE, false).await.unwrap();
    clients.gateway.bind(BOB, TWO, false).await.unwrap();
    clients.gateway.bind(BOB, ONE, false).await.unwrap();
    let users = [BOB, UserId::new(1_002), ALICE, BOB];
    routes_become(&clients.service, &users, vec![vec![ONE, TWO], vec![], vec![ONE], vec![ONE, TWO]]).await;
}

/// From this a user's coming and going is known.
pub async fn the_first_and_the_last_gateway_of_a_user_are_told(clients: Clients) {
    let _one = clients.gateway.open(ONE).await.unwrap();
    let _two = clients.service.open(TWO).await.unwrap();
    assert_eq!(clients.gateway.bind(ALICE, ONE, false).await.unwrap(), Some(Presence::There));
    assert_eq!(clients.service.bind(ALICE, TWO, false).await.unwrap(), None);
    assert_eq!(clients.gateway.unbind(ALICE, ONE).await.unwrap(), None);
    assert_eq!(clients.service.unbind(ALICE, TWO).await.unwrap(), Some(Presence::Gone));
    assert_eq!(clients.service.bind(ALICE, TWO, false).await.unwrap(), Some(Presence::There));
}

/// Being there on one gateway is being there.
pub async fn who_is_away_on_all_gateways_is_away(clients: Clients) {
    let _one = clients.gateway.open(ONE).await.unwrap();
    let _two = clients.service.open(TWO).await.unwrap();
    let users = [BOB, ALICE];
    assert_eq!(clients.service.presences(&users).await.unwrap(), [Presence::Gone, Presence::Gone]);
    assert_eq!(clients.gateway.bind(ALICE, ONE, true).await.unwrap(), Some(Presence::Away));
    assert_eq!(clients.gateway.bind(ALICE, ONE, true).await.unwrap(), None);
    assert_eq!(clients.service.bind(ALICE, TWO, false).await.unwrap(), Some(Presence::There));
    assert_eq!(clients.service.presences(&users).await.unwrap(), [Presence::Gone, Presence::There]);
    assert_eq!(clients.service.bind(ALICE, TWO, true).await.unwrap(), Some(Presence::Away));
    assert_eq!(clients.service.bind(ALICE, TWO, false).await.unwrap(), Some(Presence::There));
    assert_eq!(clients.service.unbind(ALICE, TWO).await.unwrap(), Some(Presence::Away));
    assert_eq!(clients.gateway.presences(&users).await.unwrap(), [Presence::Gone, Presence::Away]);
    assert_eq!(clients.gateway.unbind(ALICE, ONE).await.unwrap(), Some(Presence::Gone));
}

/// One unbinding takes back any number of bindings.
pub async fn binding_and_unbinding_twice_changes_nothing(clients: Clients) {
    let _one = clients.gateway.open(ONE).await.unwrap();
    clients.gateway.bind(ALICE, ONE, false).await.unwrap();
    clients.gateway.bind(ALICE, ONE, false).await.unwrap();
    routes_become(&clients.service, &[ALICE], vec![vec![ONE]]).await;
    assert_eq!(clients.gateway.unbind(ALICE, ONE).await.unwrap(), Some(Presence::Gone));
    assert_eq!(clients.gateway.unbind(ALICE, ONE).await.unwrap(), None);
    routes_become(&clients.service, &[ALICE], vec![vec![]]).await;
}

/// A route needs its gateway's lease.
pub async fn a_gateway_that_is_not_open_has_no_routes(clients: Clients) {
    clients.gateway.bind(ALICE, ONE, false).await.unwrap();
    routes_become(&clients.service, &[ALICE], vec![vec![]]).await;
}

/// Those over other gateways stay.
pub async fn a_closed_gateways_routes_are_gone(clients: Clients) {
    let one = clients.gateway.open(ONE).await.unwrap();
    let _two = clients.gateway.open(TWO).await.unwrap();
    for user in [ALICE, BOB] {
        clients.gateway.bind(user, ONE, false).await.unwrap();
    }
    clients.gateway.bind(BOB, TWO, false).await.unwrap();
    drop(one);
    routes_become(&clients.service, &[ALICE, BOB], vec![vec![], vec![TWO]]).await;
}

/// Opened again, a gateway hears only what it subscribed to since.
pub async fn a_closed_gateways_topics_are_gone(clients: Clients) {
    let one = clients.gateway.open(ONE).await.unwrap();
    one.subscribe(vec![GROUP]).await.unwrap();
    drop(one);
    let again = clients.gateway.open(ONE).await.unwrap();
    publish(&clients.service, GROUP, [1]).await;
    hears_nothing(&*again).await;
    publish(&clients.service, Topic::Gateway(ONE), [2]).await;
    hears(&*again, vec![publication(Topic::Gateway(ONE), 2)]).await;
}

/// With its topic alone: the former's users are not connected to it.
pub async fn a_gateway_that_opens_again_takes_the_formers_place(clients: Clients) {
    let former = clients.gateway.open(ONE).await.unwrap();
    former.subscribe(vec![GROUP]).await.unwrap();
    clients.gateway.bind(ALICE, ONE, false).await.unwrap();
    let again = clients.service.open(ONE).await.unwrap();
    routes_become(&clients.service, &[ALICE], vec![vec![]]).await;
    publish(&clients.service, GROUP, [1]).await;
    publish(&clients.service, Topic::Gateway(ONE), [2]).await;
    hears(&*again, vec![publication(Topic::Gateway(ONE), 2)]).await;
}

/// The end of the former does not take the place from the new one.
pub async fn a_subscription_whose_place_was_taken_harms_nobody_when_it_ends(clients: Clients) {
    let former = clients.gateway.open(ONE).await.unwrap();
    let again = clients.service.open(ONE).await.unwrap();
    clients.service.bind(ALICE, ONE, false).await.unwrap();
    drop(former);
    publish(&clients.service, Topic::Gateway(ONE), [1]).await;
    hears(&*again, vec![publication(Topic::Gateway(ONE), 1)]).await;
    routes_become(&clients.service, &[ALICE], vec![vec![ONE]]).await;
}
