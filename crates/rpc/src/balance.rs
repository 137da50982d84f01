//! Which instance a call goes to.

use std::sync::Arc;

use tokio::time::Instant;

use crate::instance::{Endpoint, Instance};

/// How an instance is chosen for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Any instance: of two drawn by weight, of the caller's own zone if possible, the one with less load.
    Any,
    /// The key's owner, by rendezvous hashing: all callers that know the same instances choose the same one, and when an
    /// instance comes or goes, only its own keys move. Whoever cannot reach the owner takes the next in the key's order.
    Key(u64),
}

impl Route {
    /// By a text, such as a name.
    pub fn text(text: &str) -> Self {
        Self::Key(hash(text.as_bytes()))
    }
}

/// The second drawn is taken if its load is below this share of the first's: between equals, the draw decides.
const CLEARLY_LESS: f64 = 0.75;

/// An instance with what the registry says of it.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) instance: Arc<Instance>,
    pub(crate) own_zone: bool,
    pub(crate) weight: u32,
}

/// Who may be chosen; each includes those before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Choice {
    OwnZone,
    Healthy,
    /// All others are ejected as well, or cannot be reached.
    Ejected,
}

/// Chooses among the instances that can be reached and are not in `tried`, those set aside only if there is no other.
pub(crate) fn choose(members: &[Member], route: Route, now: Instant, tried: &[Arc<Instance>]) -> Option<Arc<Instance>> {
    let first = if route == Route::Any { Choice::OwnZone } else { Choice::Healthy };
    let choices = [Choice::OwnZone, Choice::Healthy, Choice::Ejected].into_iter().filter(|choice| *choice >= first);
    choices.into_iter().find_map(|choice| {
        let may = |member: &&Member| {
            member.weight > 0
                && (choice > Choice::OwnZone || member.own_zone)
                && !tried.iter().any(|tried| Arc::ptr_eq(tried, &member.instance))
                && member.instance.is_reachable()
                && (choice == Choice::Ejected || !member.instance.is_ejected(now))
        };
        let chosen = match route {
            Route::Any => less_loaded_of_two(members.iter().filter(may), now),
            Route::Key(key) => owner(members.iter().filter(may), key),
        };
        chosen.map(|member| member.instance.clone())
    })
}

/// Who owns which key, as it was at one moment: instances that come and go since change nothing of it.
pub struct Owners(Vec<Member>);

impl Owners {
    pub(crate) fn new(members: &[Member], now: Instant) -> Self {
        let reachable = members.iter().filter(|member| member.weight > 0 && member.instance.is_reachable());
        let (ejected, healthy): (Vec<_>, Vec<_>) = reachable.cloned().partition(|it| it.instance.is_ejected(now));
        Self(if healthy.is_empty() { ejected } else { healthy })
    }

    /// The instance that would have been called by this route: something that is equal for the same one. `None` if nobody
    /// could be reached, or anybody would do.
    pub fn of(&self, route: Route) -> Option<u64> {
        match route {
            Route::Any => None,
            Route::Key(key) => owner(self.0.iter(), key).map(|owner| owner.instance.seed),
        }
    }
}

/// Drawing by weight makes shares; comparing the load of two keeps a slow instance from getting its share. Drawn with
/// replacement: otherwise, of two, the light one would get as much as the heavy one.
fn less_loaded_of_two<'a>(members: impl Iterator<Item = &'a Member> + Clone, now: Instant) -> Option<&'a Member> {
    let total: u64 = members.clone().map(|member| u64::from(member.weight)).sum();
    if total == 0 {
        return None;
    }
    let draw = || {
        let mut rest = fastrand::u64(0..total);
        members.clone().find(|member| match rest.checked_sub(member.weight.into()) {
            Some(less) => {
                rest = less;
                false
            }
            None => true,
        })
    };
    // An instance may become unreachable between summing and drawing: then one of the draws, or both, find nobody.
    match (draw(), draw()) {
        (Some(one), Some(other)) if Arc::ptr_eq(&one.instance, &other.instance) => Some(one),
        (Some(one), Some(other)) => {
            Some(if other.instance.load(now) < CLEARLY_LESS * one.instance.load(now) { other } else { one })
        }
        (one, other) => one.or(other).or_else(|| members.clone().next()),
    }
}

fn owner<'a>(members: impl Iterator<Item = &'a Member>, key: u64) -> Option<&'a Member> {
    let scored = members.map(|member| (score(member.instance.seed, key, member.weight), member));
    scored.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, member)| member)
}

/// Which of these instances owns a key: what a [`Route::Key`] leads to as long as all of them can be reached. For work that
/// instances divide among themselves.
pub fn owner_among(endpoints: &[Endpoint], key: u64) -> Option<&Endpoint> {
    let able = endpoints.iter().filter(|endpoint| endpoint.weight > 0);
    let scored = able.map(|endpoint| (score(hash(endpoint.address.as_bytes()), key, endpoint.weight), endpoint));
    scored.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, endpoint)| endpoint)
}

/// Weighted rendezvous hashing: an instance owns a share of the keys in proportion to its weight.
fn score(seed: u64, key: u64, weight: u32) -> f64 {
    // In (0, 1): half a step above each of 2^53 values.
    let uniform = ((mix(seed ^ mix(key)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(weight) / -uniform.ln()
}

/// All processes of an installation have to agree on it: FNV-1a, mixed.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The finalizer of SplitMix64: every bit of the input moves every bit of the output.
fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use tokio_util::sync::CancellationToken;

    use super::*;

    const KEYS: u64 = 20_000;

    fn members(weights: &[u32]) -> Vec<Member> {
        let member = |(i, weight): (usize, &u32)| Member {
            instance: Arc::new(Instance::new(format!("10.0.0.{i}:7000"), 1, CancellationToken::new())),
            own_zone: false,
            weight: *weight,
        };
        weights.iter().enumerate().map(member).collect()
    }

    fn owner_of(members: &[Member], key: u64) -> String {
        owner(members.iter(), key).unwrap().instance.address.clone()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn only_the_keys_of_a_gone_instance_move(weights in prop::collection::vec(1u32..5, 2..12), gone in any::<prop::sample::Index>()) {
            let before = members(&weights);
            let mut after = before.clone();
            let gone = after.remove(gone.index(after.len())).instance.address.clone();
            for key in 0..2_000 {
                let owner = owner_of(&before, key);
                if owner != gone {
                    prop_assert_eq!(owner_of(&after, key), owner);
                }
            }
        }
    }

    #[test]
    fn keys_are_owned_in_proportion_to_weights() {
        let members = members(&[1, 2, 1]);
        let mut owned: HashMap<String, u64> = HashMap::new();
        for key in 0..KEYS {
            *owned.entry(owner_of(&members, key)).or_default() += 1;
        }
        for (address, share) in [("10.0.0.0:7000", 0.25), ("10.0.0.1:7000", 0.5), ("10.0.0.2:7000", 0.25)] {
            let found = owned[address] as f64 / KEYS as f64;
            assert!((found - share).abs() < 0.02, "{address}: {found}");
        }
    }

    #[tokio::test]
    async fn calls_are_shared_by_weight_and_avoid_the_loaded_instance() {
        let members = members(&[1, 3]);
        let now = Instant::now();
        let share = || {
            let drawn = (0..KEYS).filter(|_| {
                let chosen = less_loaded_of_two(members.iter(), now).unwrap();
                Arc::ptr_eq(&chosen.instance, &members[1].instance)
            });
            drawn.count() as f64 / KEYS as f64
        };
        // Equal loads: the first drawn is taken.
        let idle = share();
        assert!((idle - 0.75).abs() < 0.02, "{idle}");
        // With calls under way it is taken only if it is drawn twice.
        let _calls: Vec<_> = (0..10).map(|_| members[1].instance.begin(now)).collect();
        let loaded = share();
        assert!((loaded - 9.0 / 16.0).abs() < 0.02, "{loaded}");
    }

    #[test]
    fn a_text_has_the_same_owner_everywhere() {
        // These values are part of the protocol between callers: changing them moves every key.
        assert_eq!(hash(b"10.0.0.1:7000"), 0xa60c_175f_4aba_4517);
        assert_eq!(Route::text("alice"), Route::Key(hash(b"alice")));
    }
}
