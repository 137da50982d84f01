//! A queue that does its worst within what a queue may do, for tests that things converge without it.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use protocol::{GatewayId, UserId};

use crate::{Presence, Publication, Queue, Result, Subscription};

/// Publications held back at once; further ones go on.
const HELD_MAX: usize = 64;

/// How often what goes wrong, in publications of a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Dropped; nobody is told.
    pub dropped_permille: u32,
    /// Published twice.
    pub doubled_permille: u32,
    /// Held back until some later call of `publish`, and then out of order.
    pub held_permille: u32,
}

impl Faults {
    /// Each fault befalls one in ten.
    pub const SOME: Self = Self { dropped_permille: 100, doubled_permille: 100, held_permille: 100 };
    /// None.
    pub const NONE: Self = Self { dropped_permille: 0, doubled_permille: 0, held_permille: 0 };
}

/// Another queue whose publications are dropped, doubled and reordered. What befalls the n-th publication follows from
/// the seed, so that a run whose publications come in the same order can be repeated. Routes and subscriptions are
/// the other queue's.
pub struct FaultyQueue {
    queue: Arc<dyn Queue>,
    faults: Faults,
    healed: AtomicBool,
    state: Mutex<State>,
    dropped: AtomicU64,
    doubled: AtomicU64,
    held: AtomicU64,
}

struct State {
    random: Random,
    held: Vec<Publication>,
}

impl FaultyQueue {
    /// Puts faults before a queue.
    pub fn new(queue: Arc<dyn Queue>, faults: Faults, seed: u64) -> Self {
        Self {
            queue,
            faults,
            healed: AtomicBool::new(false),
            state: Mutex::new(State { random: Random(seed), held: Vec::new() }),
            dropped: AtomicU64::new(0),
            doubled: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }

    /// Makes no more faults, and publishes what was held back.
    ///
    /// # Errors
    /// Those of the other queue.
    pub async fn heal(&self) -> Result<()> {
        self.healed.store(true, Ordering::Relaxed);
        let held = mem::take(&mut self.state.lock().held);
        self.queue.publish(held).await
    }

    /// Publications dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Publications doubled so far.
    pub fn doubled(&self) -> u64 {
        self.doubled.load(Ordering::Relaxed)
    }

    /// Publications held back so far.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// What becomes of these publications, together with what was held back.
    fn spoil(&self, publications: Vec<Publication>) -> Vec<Publication> {
        let mut state = self.state.lock();
        let State { random, held } = &mut *state;
        let late = mem::take(held);
        let mut spoilt = Vec::with_capacity(publications.len() + late.len());
        for publication in publications {
            if random.befalls(self.faults.dropped_permille) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            } else if held.len() < HELD_MAX && random.befalls(self.faults.held_permille) {
                self.held.fetch_add(1, Ordering::Relaxed);
                held.push(publication);
            } else {
                if random.befalls(self.faults.doubled_permille) {
                    self.doubled.fetch_add(1, Ordering::Relaxed);
                    spoilt.push(publication.clone());
                }
                spoilt.push(publication);
            }
        }
        for publication in late {
            // Half of them come now, anywhere among the others.
            if held.len() < HELD_MAX && random.befalls(500) {
                held.push(publication);
            } else {
                let at = random.below(spoilt.len() as u64 + 1);
                spoilt.insert(at as usize, publication);
            }
        }
        spoilt
    }
}

#[async_trait]
impl Queue for FaultyQueue {
    async fn publish(&self, publications: Vec<Publication>) -> Result<()> {
        if self.healed.load(Ordering::Relaxed) {
            return self.queue.publish(publications).await;
        }
        let spoilt = self.spoil(publications);
        self.queue.publish(spoilt).await
    }

    async fn open(&self, gateway: GatewayId) -> Result<Box<dyn Subscription>> {
        self.queue.open(gateway).await
    }

    async fn bind(&self, user: UserId, gateway: GatewayId, away: bool) -> Result<Option<Presence>> {
        self.queue.bind(user, gateway, away).await
    }

    async fn unbind(&self, user: UserId, gateway: GatewayId) -> Result<Option<Presence>> {
        self.queue.unbind(user, gateway).await
    }

    async fn routes(&self, users: &[UserId]) -> Result<Vec<Vec<GatewayId>>> {
        self.queue.routes(users).await
    }

    async fn presences(&self, users: &[UserId]) -> Result<Vec<Presence>> {
        self.queue.presences(users).await
    }
}

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn befalls(&mut self, permille: u32) -> bool {
        self.below(1_000) < u64::from(permille)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Delivered, LocalQueue, Topic};

    const GATEWAY: GatewayId = GatewayId::new(1);
    const COUNT: u32 = 2_000;

    /// The numbers heard of those published, one a call.
    async fn heard(seed: u64, faults: Faults) -> (Vec<u32>, Arc<FaultyQueue>) {
        let queue = Arc::new(FaultyQueue::new(Arc::new(LocalQueue::new()), faults, seed));
        let subscription = queue.open(GATEWAY).await.unwrap();
        for number in 0..COUNT {
            let payload = Bytes::copy_from_slice(&number.to_be_bytes());
            queue.publish(vec![Publication { topic: Topic::Gateway(GATEWAY), payload }]).await.unwrap();
        }
        let delivered = subscription.receive(COUNT as usize * 2).await;
        let number = |delivered: Delivered| match delivered {
            Delivered::Publication(publication) => u32::from_be_bytes(publication.payload.as_ref().try_into().unwrap()),
            Delivered::Lost(lost) => panic!("{lost} lost, and told so"),
        };
        (delivered.into_iter().map(number).collect(), queue)
    }

    #[tokio::test]
    async fn publications_are_dropped_doubled_and_reordered_untold() {
        let (numbers, queue) = heard(1, Faults::SOME).await;
        assert!(queue.dropped() > 100 && queue.doubled() > 100 && queue.held() > 100);
        assert!(!numbers.is_sorted());
        let mut different = numbers.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(numbers.len() - different.len(), queue.doubled() as usize);
        let waiting = queue.state.lock().held.len();
        assert_eq!(different.len() + queue.dropped() as usize + waiting, COUNT as usize);
    }

    #[tokio::test]
    async fn a_seed_repeats_a_run() {
        assert_eq!(heard(7, Faults::SOME).await.0, heard(7, Faults::SOME).await.0);
        assert_ne!(heard(7, Faults::SOME).await.0, heard(8, Faults::SOME).await.0);
    }

    #[tokio::test]
    async fn healed_it_publishes_what_it_held_back_and_makes_no_more_faults() {
        let all_held = Faults { held_permille: 1_000, ..Faults::NONE };
        let queue = FaultyQueue::new(Arc::new(LocalQueue::new()), all_held, 1);
        let subscription = queue.open(GATEWAY).await.unwrap();
        let publication = Publication { topic: Topic::Gateway(GATEWAY), payload: Bytes::new() };
        queue.publish(vec![publication.clone(); 3]).await.unwrap();
        queue.heal().await.unwrap();
        assert_eq!(subscription.receive(10).await.len(), 3);
        queue.publish(vec![publication; 3]).await.unwrap();
        assert_eq!(subscription.receive(10).await.len(), 3);
    }
}
