//! Cache-aside for one kind of value.
//!
//! A call first joins the flights of its keys that are under way, and leads those of the others; so the back end and
//! the database are asked once for a key, however many want it. Only then does it wait for the flights of others, so
//! that no two calls wait for each other. A flight ends with its leader: if that is dropped, one of those who wait
//! leads the next.

mod back_end;
mod flights;
mod lifetime;
mod near;

use std::{collections::HashMap, fmt::Display, hash::Hash, sync::Arc, time::Duration};

use prost::Message;

use self::{
    back_end::{BackEnd, Filled},
    flights::{Flight, Flights, Joined, Leader},
    near::{NearLevel, Ticket},
};
pub use self::{lifetime::Lifetime, near::Near};
use crate::{Cache, Found, Lease, Watcher};

/// The settings of a [`Lookup`].
#[derive(Debug, Clone)]
pub struct LookupConfig {
    /// Begins each key, before a colon: `user` makes `user:17`. One prefix for one kind of value.
    pub prefix: &'static str,
    /// How long a value is kept, ± 10 %. May be changed while the look-up runs.
    pub ttl: Lifetime,
    /// How long it is kept that there is none, ± 10 %; no longer than a value.
    pub absent_ttl: Duration,
    /// How long the back end may take to answer, before it is passed by.
    pub timeout: Duration,
    /// How long it is passed by, before one call tries it again.
    pub probe_interval: Duration,
    /// Loads at once while the back end is passed by; further ones wait.
    pub direct_loads_max: usize,
    /// What is kept in the process as well, if anything: for look-ups of every message.
    pub near: Option<Near>,
}

impl LookupConfig {
    /// [`Self::absent_ttl`] if nobody says.
    pub const ABSENT_TTL_DEFAULT: Duration = Duration::from_secs(5);
    /// [`Self::timeout`] if nobody says.
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_millis(100);
    /// [`Self::probe_interval`] if nobody says.
    pub const PROBE_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
    /// [`Self::direct_loads_max`] if nobody says.
    pub const DIRECT_LOADS_MAX_DEFAULT: usize = 16;

    /// Settings with the defaults for all but these.
    pub fn new(prefix: &'static str, ttl: impl Into<Lifetime>) -> Self {
        Self {
            prefix,
            ttl: ttl.into(),
            absent_ttl: Self::ABSENT_TTL_DEFAULT,
            timeout: Self::TIMEOUT_DEFAULT,
            probe_interval: Self::PROBE_INTERVAL_DEFAULT,
            direct_loads_max: Self::DIRECT_LOADS_MAX_DEFAULT,
            near: None,
        }
    }
}

/// What a [`Lookup`] has counted since it was made, in keys; `errors` in calls to the back end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// It was kept in the process: the back end was not asked.
    pub near_hits: u64,
    /// The back end knew the key: its value, or that there is none.
    pub hits: u64,
    /// The back end did not know it.
    pub misses: u64,
    /// Asked of the database, whether after a miss or past the back end.
    pub loads: u64,
    /// Calls that the back end failed, or did not answer in time.
    pub errors: u64,
}

/// Cache-aside for one kind of value, `V`, which the back end keeps as an encoded message. `E` is what a load fails
/// with; whoever waits for the same load gets a clone.
///
/// - One load for each key, however many ask in this process at the same time.
/// - No stale value is left behind: a load that began before [`Self::invalidate`] is neither stored after it, nor
///   joined by a call that begins after it.
/// - A back end that fails or is slow costs one `timeout`; then it is passed by for `probe_interval`, and the database
///   asked directly, by so many at once as `direct_loads_max` says. Invalidations are tried all the same, and those that
///   fail made good before it is used again.
/// - What is kept in the process ([`LookupConfig::near`]) is dropped when it is invalidated, by whatever process: in this
///   one before [`Self::invalidate`] returns, in others as soon as they are told. While a process cannot be told it keeps
///   nothing.
/// - Failures of the database are returned, never cached.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use cache::{LocalCache, Lookup, LookupConfig};
/// # #[derive(Clone, PartialEq, prost::Message)]
/// # struct Group { #[prost(string, tag = "1")] title: String }
/// # async fn find_group(id: u64) -> Result<Option<Group>, protocol::Error> { Ok(None) }
/// # async fn run() -> Result<(), protocol::Error> {
/// let groups: Lookup<Group> =
///     Lookup::new(Arc::new(LocalCache::default()), LookupConfig::new("group", Duration::from_secs(3_600)));
/// let group = groups.get(17, || find_group(17)).await?;
/// # Ok(())
/// # }
/// ```
pub struct Lookup<V, E = protocol::Error> {
    prefix: &'static str,
    ttl: Lifetime,
    absent_ttl: Duration,
    back_end: BackEnd,
    /// `None` also if the back end is in the process itself.
    near: Option<Arc<NearLevel<V>>>,
    flights: Flights<V, E>,
}

impl<V, E> Lookup<V, E>
where
    V: Message + Default + Clone + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// A look-up over a back end. Several may share one back end if their prefixes differ.
    pub fn new(cache: Arc<dyn Cache>, config: LookupConfig) -> Self {
        let LookupConfig { prefix, ttl, absent_ttl, timeout, probe_interval, direct_loads_max, near } = config;
        let near = near.map(|near| Arc::new(NearLevel::new(prefix, near))).filter(|near| {
            let watcher: Arc<dyn Watcher> = Arc::clone(near) as _;
            cache.watch(Arc::downgrade(&watcher))
        });
        Self {
            prefix,
            back_end: BackEnd::new(cache, ttl.clone(), timeout, probe_interval, direct_loads_max),
            ttl,
            absent_ttl,
            near,
            flights: Flights::default(),
        }
    }

    /// The value of an id, or that there is none; `load` asks the database. Cancel safe: whoever waits for the same
    /// load goes on, if need be with its own.
    ///
    /// # Errors
    /// What a load failed with, the own one or one that began earlier.
    pub async fn get<I, F, R>(&self, id: I, load: F) -> Result<Option<V>, E>
    where
        I: Display + Copy + Eq + Hash + Send + Sync,
        F: Fn() -> R + Send + Sync,
        R: Future<Output = Result<Option<V>, E>> + Send,
    {
        let load_many = |ids: Vec<I>| {
            let loading = load();
            async move { Ok(loading.await?.map(|value| (ids[0], value)).into_iter().collect()) }
        };
        let mut values = self.get_many(&[id], load_many).await?;
        Ok(values.pop().flatten())
    }

    /// The values of ids, in their order. `load_many` asks the database for some of them, and returns those that it
    /// has, in any order; it may be called more than once. Cancel safe as [`Self::get`].
    ///
    /// # Errors
    /// What a load failed with, of any of the ids.
    pub async fn get_many<I, F, R>(&self, ids: &[I], load_many: F) -> Result<Vec<Option<V>>, E>
    where
        I: Display + Copy + Eq + Hash + Send + Sync,
        F: Fn(Vec<I>) -> R + Send + Sync,
        R: Future<Output = Result<Vec<(I, V)>, E>> + Send,
    {
        let mut values = HashMap::with_capacity(ids.len());
        let mut wanted: Vec<I> = Vec::with_capacity(ids.len());
        for &id in ids {
            match self.near.as_ref().and_then(|near| near.get(&self.key(&id))) {
                Some(value) => drop(values.insert(id, value)),
                None => wanted.push(id),
            }
        }
        if wanted.len() < ids.len() {
            self.back_end.note_near_hits(ids.len() - wanted.len());
        }
        // Each round ends with the flights that it leads landed, and those that it joined landed or abandoned.
        while !wanted.is_empty() {
            let (led, joined) = self.board(&wanted);
            self.lead(led, &load_many, &mut values).await?;
            wanted.clear();
            for (id, flight) in joined {
                match flight.landed().await {
                    Some(outcome) => drop(values.insert(id, outcome?)),
                    None => wanted.push(id),
                }
            }
        }
        Ok(ids.iter().map(|id| values.get(id).cloned().flatten()).collect())
    }

    /// Forgets what is known of these ids. To be called after the commit that changed them: a load that began before
    /// is not stored any more. If the back end cannot be reached this takes up to the timeout, and is made good before
    /// this look-up uses it again; until then other processes may see the old values, for their lifetime.
    pub async fn invalidate<I: Display>(&self, ids: &[I]) {
        let keys: Vec<_> = ids.iter().map(|id| self.key(id)).collect();
        self.forget_near(&keys);
        self.back_end.invalidate(&keys).await;
        // Last, so that flights which the back end still gave the old value take nobody on board after the return, and
        // leave nothing near.
        self.flights.detach(&keys);
        self.forget_near(&keys);
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.back_end.counts()
    }

    fn forget_near(&self, keys: &[String]) {
        if let Some(near) = &self.near {
            keys.iter().for_each(|key| near.forget(key));
        }
    }

    fn ticket(&self, key: &str) -> Option<Ticket> {
        self.near.as_ref().map(|near| near.ticket(key))
    }

    fn keep_near(&self, key: &str, ticket: Option<Ticket>, value: Option<&V>) {
        if let (Some(near), Some(ticket)) = (&self.near, ticket) {
            near.keep(key, ticket, value.cloned(), self.ttl_of(value));
        }
    }

    /// How long this is kept, or that there is none.
    fn ttl_of(&self, value: Option<&V>) -> Duration {
        let ttl = self.ttl.get();
        if value.is_some() { ttl } else { ttl.min(self.absent_ttl) }
    }

    fn key(&self, id: &impl Display) -> String {
        format!("{}:{id}", self.prefix)
    }

    /// For each id, the flight that this call leads or that it joined.
    fn board<I: Display + Copy>(&self, ids: &[I]) -> Boarded<'_, I, V, E> {
        let (mut led, mut joined) = (Vec::new(), Vec::new());
        for &id in ids {
            match self.flights.join(self.key(&id)) {
                Joined::Leads(leader) => led.push((id, leader)),
                // An id named twice joins its own flight, which has landed by the time it is asked.
                Joined::Follows(flight) => joined.push((id, flight)),
            }
        }
        (led, joined)
    }

    /// Lands the flights that this call leads.
    async fn lead<I, F, R>(
        &self,
        led: Vec<(I, Leader<'_, V, E>)>,
        load_many: &F,
        values: &mut HashMap<I, Option<V>>,
    ) -> Result<(), E>
    where
        I: Copy + Eq + Hash + Send + Sync,
        F: Fn(Vec<I>) -> R + Send + Sync,
        R: Future<Output = Result<Vec<(I, V)>, E>> + Send,
    {
        if led.is_empty() {
            return Ok(());
        }
        let (missing, passed_by) = self.look(led, values).await;
        if missing.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = missing.iter().map(|missing| missing.id).collect();
        self.back_end.note_loads(ids.len());
        let permit = if passed_by { Some(self.back_end.direct_load_permit().await) } else { None };
        let outcome = load_many(ids).await;
        drop(permit);
        self.land(missing, outcome, values).await
    }

    /// Lands the flights whose keys the back end knows. Returns the others, and whether it was passed by.
    async fn look<'a, I: Copy + Eq + Hash>(
        &self,
        led: Vec<(I, Leader<'a, V, E>)>,
        values: &mut HashMap<I, Option<V>>,
    ) -> (Vec<Missing<'a, I, V, E>>, bool) {
        let keys: Vec<_> = led.iter().map(|(_, leader)| leader.key().to_owned()).collect();
        let tickets: Vec<_> = keys.iter().map(|key| self.ticket(key)).collect();
        let Some(found) = self.back_end.get(&keys).await else {
            let missing = |(id, leader)| Missing { id, leader, lease: None, ticket: None };
            return (led.into_iter().map(missing).collect(), true);
        };
        let mut missing = Vec::new();
        for (((id, leader), found), ticket) in led.into_iter().zip(found).zip(tickets) {
            let known = match found {
                Found::Value(bytes) => V::decode(bytes).map(Some),
                Found::Absent => Ok(None),
                Found::Miss(lease) => {
                    missing.push(Missing { id, leader, lease: Some(lease), ticket });
                    continue;
                }
            };
            match known {
                Ok(value) => {
                    self.keep_near(leader.key(), ticket, value.as_ref());
                    values.insert(id, value.clone());
                    leader.land(Ok(value));
                }
                Err(cause) => {
                    tracing::warn!(key = leader.key(), %cause, "a cached value cannot be decoded, loading it anew");
                    self.back_end.invalidate(&[leader.key().to_owned()]).await;
                    missing.push(Missing { id, leader, lease: None, ticket });
                }
            }
        }
        (missing, false)
    }

    /// Lands the flights of a load, and stores what it brought.
    async fn land<I: Copy + Eq + Hash>(
        &self,
        mut missing: Vec<Missing<'_, I, V, E>>,
        outcome: Result<Vec<(I, V)>, E>,
        values: &mut HashMap<I, Option<V>>,
    ) -> Result<(), E> {
        let mut loaded: HashMap<I, V> = match outcome {
            Ok(loaded) => loaded.into_iter().collect(),
            Err(error) => {
                missing.into_iter().for_each(|missing| missing.leader.land(Err(error.clone())));
                return Err(error);
            }
        };
        let mut filled = Vec::with_capacity(missing.len());
        for Missing { id, leader, lease, ticket } in &mut missing {
            let value = loaded.remove(id);
            self.keep_near(leader.key(), *ticket, value.as_ref());
            if let Some(lease) = *lease {
                let ttl = spread(self.ttl_of(value.as_ref()));
                let value = value.as_ref().map(|value| value.encode_to_vec().into());
                filled.push(Filled { key: leader.key().to_owned(), lease, value, ttl });
            }
            values.insert(*id, value.clone());
            leader.announce(Ok(value));
        }
        // The flights stay joinable until the back end has the values, so that nobody misses them there and loads again.
        self.back_end.fill(filled).await;
        Ok(())
    }
}

/// The flights that a call leads, and those that it joined.
type Boarded<'a, I, V, E> = (Vec<(I, Leader<'a, V, E>)>, Vec<(I, Flight<V, E>)>);

/// A flight that needs a load; without a lease what is loaded is not stored, and without a ticket not kept near.
struct Missing<'a, I, V, E> {
    id: I,
    leader: Leader<'a, V, E>,
    lease: Option<Lease>,
    ticket: Option<Ticket>,
}

/// The most that a lifetime is lengthened by.
const SPREAD_MAX: f64 = 1.1;

/// A lifetime up to a tenth longer or shorter, so that what was stored together does not end together.
fn spread(ttl: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};

    /// 0.9 to [`SPREAD_MAX`] in steps of 0.001.
    const STEPS: u64 = 201;
    let permille = 900 + RandomState::new().hash_one(()) % STEPS;
    ttl.mul_f64(permille as f64 / 1_000.0)
}

#[cfg(test)]
mod tests;
