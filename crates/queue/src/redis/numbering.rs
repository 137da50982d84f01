//! The numbers that this publisher gives to what it publishes. See `hearing` for what they are for.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

use crate::Topic;

/// Nothing was published to a topic for so long: what is published next begins a series.
const SERIES_ENDS_AFTER: Duration = Duration::from_secs(1_800);
/// How long a topic's mark stays after the last publication. Longer than a series can stand still, so that the mark of a
/// series that goes on is there.
pub(super) const MARK_LIFETIME: Duration = Duration::from_secs(3_600);
/// A mark's lifetime is renewed this often, not with each publication. Together with [`SERIES_ENDS_AFTER`] less than
/// [`MARK_LIFETIME`].
const MARK_RENEWED_AFTER: Duration = Duration::from_secs(900);
/// Topics whose numbers are kept. With more, all begin anew, which loses track of what was lost just then, nothing else.
const SERIES_MAX: usize = 1_000_000;

#[derive(Debug)]
pub(super) struct Numbering {
    /// Ids count up from this publisher's incarnation, a random number.
    next_id: u64,
    series: HashMap<Topic, Series>,
}

#[derive(Debug)]
struct Series {
    id: u64,
    next: u64,
    used_at: Instant,
    mark_renewed_at: Option<Instant>,
}

/// A publication's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) series: u64,
    pub(super) number: u64,
}

/// What a topic's mark needs beside the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing.
    Kept,
    /// Its lifetime renewed.
    Renewed,
    /// And room made: series that are over are removed.
    New,
}

impl Numbering {
    pub(super) fn new() -> Self {
        Self { next_id: RandomState::new().hash_one(()), series: HashMap::new() }
    }

    /// The number of the next publication to a topic.
    pub(super) fn next(&mut self, topic: Topic, now: Instant) -> Number {
        if self.series.len() >= SERIES_MAX {
            tracing::warn!(SERIES_MAX, "too many topics to keep count of, counting begins anew");
            self.series.clear();
        }
        let next_id = &mut self.next_id;
        let mut begin = || {
            *next_id = next_id.wrapping_add(1);
            Series { id: *next_id, next: 1, used_at: now, mark_renewed_at: None }
        };
        let series = self.series.entry(topic).or_insert_with(&mut begin);
        if now.duration_since(series.used_at) > SERIES_ENDS_AFTER {
            *series = begin();
        }
        let number = Number { series: series.id, number: series.next };
        series.next += 1;
        series.used_at = now;
        number
    }

    /// What the mark needs now. To be asked when something is sent.
    pub(super) fn mark(&mut self, topic: &Topic, series: u64, now: Instant) -> Mark {
        match self.series.get_mut(topic).filter(|known| known.id == series) {
            None => Mark::Renewed,
            Some(series) => match series.mark_renewed_at.replace(now) {
                None => Mark::New,
                Some(at) if now.duration_since(at) > MARK_RENEWED_AFTER => Mark::Renewed,
                Some(at) => {
                    series.mark_renewed_at = Some(at);
                    Mark::Kept
                }
            },
        }
    }

    /// Topics published to since then, and the number that comes next. Their marks are taken to be gone.
    pub(super) fn since(&mut self, then: Instant) -> Vec<(Topic, Number)> {
        let recent = self.series.iter_mut().filter(|(_, series)| series.used_at >= then);
        let stand = |(topic, series): (&Topic, &mut Series)| {
            series.mark_renewed_at = None;
            (*topic, Number { series: series.id, number: series.next })
        };
        recent.map(stand).collect()
    }

    /// Forgets series that are over.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.series.retain(|_, series| now.duration_since(series.used_at) <= SERIES_ENDS_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use protocol::GroupId;

    use super::*;

    const TOPIC: Topic = Topic::Group(GroupId::new(1));

    #[test]
    fn numbers_count_up_until_a_topic_was_silent_for_long() {
        let (mut numbering, now) = (Numbering::new(), Instant::now());
        let first = numbering.next(TOPIC, now);
        assert_eq!(first.number, 1);
        assert_eq!(numbering.next(TOPIC, now), Number { number: 2, ..first });
        let later = now + SERIES_ENDS_AFTER + Duration::from_secs(1);
        let again = numbering.next(TOPIC, later);
        assert_eq!((again.number, again.series != first.series), (1, true));
        assert_eq!(numbering.next(Topic::Group(GroupId::new(2)), later).number, 1);
        numbering.sweep(later + SERIES_ENDS_AFTER * 2);
        assert!(numbering.series.is_empty());
    }

    #[test]
    fn a_mark_lives_longer_than_its_series_may_stand_still() {
        assert!(SERIES_ENDS_AFTER + MARK_RENEWED_AFTER < MARK_LIFETIME);
        let (mut numbering, now) = (Numbering::new(), Instant::now());
        let series = numbering.next(TOPIC, now).series;
        let later = now + MARK_RENEWED_AFTER + Duration::from_secs(1);
        let marks = [now, now, later, later].map(|at| numbering.mark(&TOPIC, series, at));
        assert_eq!(marks, [Mark::New, Mark::Kept, Mark::Renewed, Mark::Kept]);
    }
}
