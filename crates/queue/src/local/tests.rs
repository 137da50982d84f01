use bytes::Bytes;
use tokio::time::{Duration, timeout};

use super::*;
use crate::contract::Clients;

const GATEWAY: GatewayId = GatewayId::new(1);

crate::contract_tests!(async {
    let queue = LocalQueue::with_bounds(Bounds { publications_max: 1_000, ..Bounds::DEFAULT });
    Clients { gateway: Arc::new(queue.clone()), service: Arc::new(queue), too_many: 2_000 }
});

fn publication(bytes: usize) -> Publication {
    Publication { topic: Topic::Gateway(GATEWAY), payload: Bytes::from(vec![0; bytes]) }
}

async fn publish(queue: &LocalQueue, sizes: &[usize]) {
    queue.publish(sizes.iter().map(|bytes| publication(*bytes)).collect()).await.unwrap();
}

/// The sizes of what is received; losses as negative numbers.
async fn receive(subscription: &dyn Subscription, max: usize) -> Vec<i64> {
    let size = |delivered: &Delivered| match delivered {
        Delivered::Publication(publication) => publication.payload.len() as i64,
        Delivered::Lost(lost) => -(*lost as i64),
    };
    subscription.receive(max).await.iter().map(size).collect()
}

#[tokio::test]
async fn a_loss_is_told_where_it_happened() {
    let queue = LocalQueue::with_bounds(Bounds { publications_max: 3, bytes_max: 1_000 });
    let subscription = queue.open(GATEWAY).await.unwrap();
    publish(&queue, &[1, 2, 3, 4, 5]).await;
    assert_eq!(receive(&*subscription, 1).await, [1]);
    publish(&queue, &[6, 7]).await;
    assert_eq!(receive(&*subscription, 10).await, [2, 3, -2, 6, -1]);
    publish(&queue, &[8]).await;
    assert_eq!(receive(&*subscription, 10).await, [8]);
}

#[tokio::test]
async fn the_bound_in_bytes_holds_as_the_one_in_publications_does() {
    let queue = LocalQueue::with_bounds(Bounds { publications_max: 1_000, bytes_max: 100 });
    let subscription = queue.open(GATEWAY).await.unwrap();
    publish(&queue, &[60, 41, 40, 1]).await;
    assert_eq!(receive(&*subscription, 10).await, [60, -1, 40, -1]);
    publish(&queue, &[100]).await;
    assert_eq!(receive(&*subscription, 10).await, [100]);
}

#[tokio::test]
async fn one_too_large_to_wait_at_all_is_told_as_lost_at_once() {
    let queue = LocalQueue::with_bounds(Bounds { publications_max: 1_000, bytes_max: 100 });
    let subscription = queue.open(GATEWAY).await.unwrap();
    let waiting = tokio::spawn(async move { receive(&*subscription, 10).await });
    tokio::task::yield_now().await;
    publish(&queue, &[101]).await;
    assert_eq!(timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap(), [-1]);
}

#[tokio::test]
async fn the_figures_add_up() {
    let queue = LocalQueue::with_bounds(Bounds { publications_max: 3, bytes_max: 1_000 });
    publish(&queue, &[1]).await;
    let subscription = queue.open(GATEWAY).await.unwrap();
    publish(&queue, &[1; 5]).await;
    assert_eq!((queue.published(), queue.delivered(), queue.lost(), queue.length()), (6, 0, 2, 3));
    receive(&*subscription, 2).await;
    assert_eq!((queue.published(), queue.delivered(), queue.lost(), queue.length()), (6, 2, 2, 1));
    drop(subscription);
    assert_eq!((queue.published(), queue.delivered(), queue.lost(), queue.length()), (6, 2, 2, 0));
}

#[tokio::test]
async fn a_subscription_whose_place_was_taken_waits_for_ever_and_may_not_subscribe() {
    let queue = LocalQueue::new();
    let former = queue.open(GATEWAY).await.unwrap();
    publish(&queue, &[1]).await;
    let _again = queue.open(GATEWAY).await.unwrap();
    publish(&queue, &[2]).await;
    assert!(timeout(Duration::from_millis(50), former.receive(10)).await.is_err());
    assert!(former.subscribe(vec![Topic::Presence(UserId::new(1))]).await.is_err());
}

#[tokio::test]
async fn closed_gateways_leave_nothing_behind() {
    let queue = LocalQueue::new();
    for _ in 0..3 {
        let subscription = queue.open(GATEWAY).await.unwrap();
        subscription.subscribe((0..100).map(|user| Topic::Presence(UserId::new(user))).collect()).await.unwrap();
        for user in 0..100 {
            queue.bind(UserId::new(user), GATEWAY, false).await.unwrap();
        }
    }
    assert!(queue.state.topics.is_empty() && queue.state.routes.is_empty());
    assert!(queue.state.gateways.read().is_empty());
}

/// Publishers on several threads against one gateway that reads all the time: each publisher's order is kept, none is
/// left lying while the gateway sleeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_left_lying_while_the_gateway_sleeps() {
    const PUBLISHERS: u64 = 4;
    const EACH: u64 = 20_000;
    let queue = LocalQueue::with_bounds(Bounds { publications_max: usize::MAX, bytes_max: usize::MAX });
    let subscription = queue.open(GATEWAY).await.unwrap();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let queue = queue.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    let payload = [publisher.to_be_bytes(), number.to_be_bytes()].concat().into();
                    queue.publish(vec![Publication { topic: Topic::Gateway(GATEWAY), payload }]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut next = [0; PUBLISHERS as usize];
    while next.iter().sum::<u64>() < PUBLISHERS * EACH {
        let delivered = timeout(Duration::from_secs(60), subscription.receive(256)).await.expect("a wake-up was lost");
        for delivered in delivered {
            let Delivered::Publication(publication) = delivered else { panic!("nothing may be lost here") };
            let (publisher, number) = publication.payload.split_at(8);
            let publisher = u64::from_be_bytes(publisher.try_into().unwrap()) as usize;
            assert_eq!(number, next[publisher].to_be_bytes());
            next[publisher] += 1;
        }
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
}
