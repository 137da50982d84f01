//! What a subscription has heard of each publisher, by number: from this it knows exactly what it did not hear.
//!
//! A publisher numbers what it publishes to a topic 1, 2, 3 …, in a *series* whose id nobody else has. The topic's mark in
//! Redis holds the last number of each series. It is read when the topic is subscribed, to know where each series stands;
//! and again after the connection broke, to know what was published meanwhile.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::Topic;

/// A series that was not heard of for so long is over: its publisher begins another one, see `numbering`.
const FORGET_AFTER: Duration = Duration::from_secs(2 * 3_600);

#[derive(Debug, Default)]
pub(super) struct Hearing {
    topics: HashMap<Topic, Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// The marks were read: a series that was not among them begins with 1.
    marked: bool,
    series: Vec<Series>,
}

#[derive(Debug)]
struct Series {
    id: u64,
    /// The next number.
    next: u64,
    heard_at: Instant,
}

/// How an envelope fits to what was heard before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// So many publications before it were lost.
    pub(super) lost: u64,
    /// So many publications at its beginning were heard before, or counted as lost.
    pub(super) known: u64,
}

impl Hearing {
    /// From now on this topic is heard. To be called before it is subscribed.
    pub(super) fn begin(&mut self, topic: Topic) {
        self.topics.entry(topic).or_default();
    }

    pub(super) fn end(&mut self, topic: &Topic) {
        self.topics.remove(topic);
    }

    /// Takes note of an envelope; `None` if nobody wants to hear it.
    pub(super) fn hear(&mut self, topic: &Topic, series: u64, first: u64, count: u64, now: Instant) -> Option<Fit> {
        let heard = self.topics.get_mut(topic)?;
        let end = first.saturating_add(count);
        let fit = if let Some(series) = heard.series.iter_mut().find(|known| known.id == series) {
            let fit =
                Fit { lost: first.saturating_sub(series.next), known: series.next.saturating_sub(first).min(count) };
            series.next = series.next.max(end);
            series.heard_at = now;
            fit
        } else {
            let lost = if heard.marked { first.saturating_sub(1) } else { 0 };
            heard.series.push(Series { id: series, next: end, heard_at: now });
            Fit { lost, known: 0 }
        };
        Some(fit)
    }

    /// Compares with the topic's marks, read after the topic was subscribed (again) on the same connection. Returns what was
    /// lost meanwhile: nothing the first time.
    pub(super) fn compare(&mut self, topic: &Topic, marks: &[(u64, u64)], now: Instant) -> u64 {
        let Some(heard) = self.topics.get_mut(topic) else { return 0 };
        let mut lost = 0;
        for &(id, last) in marks {
            let next = last.saturating_add(1);
            if let Some(series) = heard.series.iter_mut().find(|known| known.id == id) {
                lost += next.saturating_sub(series.next);
                series.next = series.next.max(next);
            } else {
                // Begun while nothing was heard, if it was not there the first time.
                lost += if heard.marked { last } else { 0 };
                heard.series.push(Series { id, next, heard_at: now });
            }
        }
        heard.marked = true;
        lost
    }

    /// Forgets series that are over.
    pub(super) fn sweep(&mut self, now: Instant) {
        for heard in self.topics.values_mut() {
            heard.series.retain(|series| now.duration_since(series.heard_at) < FORGET_AFTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::GroupId;

    use super::*;

    const TOPIC: Topic = Topic::Group(GroupId::new(1));

    fn fit(lost: u64, known: u64) -> Option<Fit> {
        Some(Fit { lost, known })
    }

    #[test]
    fn gaps_are_lost_and_repetitions_known() {
        let (mut hearing, now) = (Hearing::default(), Instant::now());
        assert_eq!(hearing.hear(&TOPIC, 7, 1, 1, now), None, "not subscribed");
        hearing.begin(TOPIC);
        assert_eq!(hearing.compare(&TOPIC, &[(7, 10)], now), 0, "before it was subscribed");
        assert_eq!(hearing.hear(&TOPIC, 7, 11, 2, now), fit(0, 0));
        assert_eq!(hearing.hear(&TOPIC, 7, 15, 1, now), fit(2, 0));
        assert_eq!(hearing.hear(&TOPIC, 7, 13, 4, now), fit(0, 3), "13 and 14 were counted, 15 was heard, 16 is new");
        assert_eq!(
            hearing.hear(&TOPIC, 7, 20, 0, now),
            fit(3, 0),
            "an envelope without publications tells of those lost"
        );
        assert_eq!(hearing.hear(&TOPIC, 7, 20, 1, now), fit(0, 0));
    }

    #[test]
    fn what_was_published_while_nothing_was_heard_is_counted_once() {
        let (mut hearing, now) = (Hearing::default(), Instant::now());
        hearing.begin(TOPIC);
        hearing.compare(&TOPIC, &[], now);
        assert_eq!(hearing.hear(&TOPIC, 7, 1, 3, now), fit(0, 0));
        // The connection breaks. Another publisher begins meanwhile, and both go on while the marks are read.
        assert_eq!(hearing.hear(&TOPIC, 7, 6, 1, now), fit(2, 0));
        assert_eq!(hearing.compare(&TOPIC, &[(7, 8), (8, 4)], now), 2 + 4);
        assert_eq!(hearing.hear(&TOPIC, 7, 9, 1, now), fit(0, 0));
        assert_eq!(hearing.hear(&TOPIC, 8, 5, 1, now), fit(0, 0));
        assert_eq!(hearing.compare(&TOPIC, &[(7, 9), (8, 5)], now), 0);
    }

    #[test]
    fn a_series_that_begins_later_begins_with_one() {
        let (mut hearing, now) = (Hearing::default(), Instant::now());
        hearing.begin(TOPIC);
        assert_eq!(hearing.hear(&TOPIC, 7, 50, 1, now), fit(0, 0), "before the marks are read nothing is known of it");
        hearing.compare(&TOPIC, &[(7, 50)], now);
        assert_eq!(hearing.hear(&TOPIC, 8, 4, 1, now), fit(3, 0));
        hearing.sweep(now + FORGET_AFTER);
        assert_eq!(hearing.hear(&TOPIC, 7, 1, 1, now), fit(0, 0), "forgotten");
    }
}
