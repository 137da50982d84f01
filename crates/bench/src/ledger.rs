//! What was sent against what came: text for text, once, in order.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use protocol::{ConversationId, EntryId, wire};

/// Differences kept; more of them are only counted.
const DIFFERENCES_MAX: usize = 50;
/// Characters of a text that are shown.
const CHARS_SHOWN: usize = 60;

/// A text as it was sent or as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) position: u64,
    pub(crate) id: EntryId,
    pub(crate) text: String,
}

impl Said {
    /// The text message in an entry; nothing if it is something else.
    pub(crate) fn of(entry: &wire::Entry) -> Option<Self> {
        let text = entry.content.as_ref()?.text()?;
        Some(Self { position: entry.position, id: entry.id.parse().ok()?, text })
    }
}

/// What was sent and acknowledged, by conversation and position.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    conversations: HashMap<ConversationId, BTreeMap<u64, Said>>,
    // Told by the acknowledgements themselves: two texts at one position.
    collisions: Vec<Difference>,
}

impl Ledger {
    /// An acknowledgement said that this is where the text is.
    pub(crate) fn acknowledged(&mut self, conversation: ConversationId, said: Said) {
        let texts = self.conversations.entry(conversation).or_default();
        if let Some(other) = texts.get(&said.position) {
            let what = format!("acknowledged at the position of {} ({})", other.id, shown(&other.text));
            let place = "acknowledgement".to_owned();
            self.collisions.push(Difference { place, conversation, said: said.clone(), what });
        }
        texts.insert(said.position, said);
    }

    /// Texts that were acknowledged in a conversation.
    pub(crate) fn count(&self, conversation: ConversationId) -> usize {
        self.conversations.get(&conversation).map_or(0, BTreeMap::len)
    }

    /// Texts that were acknowledged in all.
    pub(crate) fn total(&self) -> usize {
        self.conversations.values().map(BTreeMap::len).sum()
    }

    /// The conversations in which something was acknowledged.
    pub(crate) fn conversations(&self) -> impl Iterator<Item = ConversationId> {
        self.conversations.keys().copied()
    }

    /// Compares what came at one place, in the order in which it came, with what was acknowledged.
    pub(crate) fn compare(
        &self,
        place: &str,
        conversation: ConversationId,
        came: &[Said],
        differences: &mut Differences,
    ) {
        let empty = BTreeMap::new();
        let sent = self.conversations.get(&conversation).unwrap_or(&empty);
        let mut report = |said: &Said, what: String| {
            let (place, said) = (place.to_owned(), said.clone());
            differences.add(Difference { place, conversation, said, what });
        };
        let mut seen: HashMap<EntryId, u64> = HashMap::with_capacity(came.len());
        let mut last = 0;
        for said in came {
            if let Some(before) = seen.insert(said.id, said.position) {
                report(said, format!("came twice (at {before} before)"));
                continue;
            }
            if said.position <= last {
                report(said, format!("came after position {last}"));
            }
            last = last.max(said.position);
            match sent.get(&said.position) {
                None => report(said, "was not acknowledged there".into()),
                Some(sent) if sent.id != said.id => {
                    report(said, format!("is where {} ({}) was acknowledged", sent.id, shown(&sent.text)));
                }
                Some(sent) if sent.text != said.text => {
                    report(said, format!("was sent as {}", shown(&sent.text)));
                }
                Some(_) => {}
            }
        }
        for said in sent.values().filter(|said| !seen.contains_key(&said.id)) {
            report(said, "is missing".into());
        }
    }

    /// Adds what the acknowledgements themselves contradict each other in.
    pub(crate) fn contradictions(&self, differences: &mut Differences) {
        for collision in &self.collisions {
            differences.add(collision.clone());
        }
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    place: String,
    conversation: ConversationId,
    said: Said,
    what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, conversation, said: Said { position, id, text }, what } = self;
        write!(f, "{place}: conversation {conversation}, position {position}, {id} ({}) {what}", shown(text))
    }
}

/// All differences: the first ones, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    first: Vec<String>,
    count: u64,
}

impl Differences {
    fn add(&mut self, difference: Difference) {
        self.note(difference.to_string());
    }

    /// Adds one in words.
    pub(crate) fn note(&mut self, difference: String) {
        self.count += 1;
        if self.first.len() < DIFFERENCES_MAX {
            self.first.push(difference);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// One line for each of the first ones, and one that counts those that are left out.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = self.first.clone();
        if self.count > lines.len() as u64 {
            lines.push(format!("… and {} more", self.count - lines.len() as u64));
        }
        lines
    }
}

fn shown(text: &str) -> String {
    let cut: String = text.chars().take(CHARS_SHOWN).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONVERSATION: ConversationId = ConversationId::new(7);

    fn said(position: u64, text: &str) -> Said {
        // The id follows from the text, so that the same text is the same message.
        let mut id = [1; 16];
        id[0] = text.as_bytes()[0];
        Said { position, id: EntryId::from_bytes(id), text: text.to_owned() }
    }

    fn check(came: &[Said]) -> Vec<String> {
        let mut ledger = Ledger::default();
        for said in [said(3, "c"), said(1, "a"), said(2, "b"), said(5, "d")] {
            ledger.acknowledged(CONVERSATION, said);
        }
        assert_eq!((ledger.count(CONVERSATION), ledger.total()), (4, 4));
        let mut differences = Differences::default();
        ledger.contradictions(&mut differences);
        ledger.compare("device", CONVERSATION, came, &mut differences);
        assert_eq!(differences.count() as usize, differences.lines().len());
        differences.lines()
    }

    fn complete() -> Vec<Said> {
        vec![said(1, "a"), said(2, "b"), said(3, "c"), said(5, "d")]
    }

    #[test]
    fn what_came_as_it_was_sent_is_no_difference() {
        assert_eq!(check(&complete()), Vec::<String>::new());
    }

    #[test]
    fn a_missing_text_is_found_wherever_it_is() {
        for index in 0..4 {
            let mut came = complete();
            came.remove(index);
            let lines = check(&came);
            assert_eq!(lines.len(), 1);
            assert!(lines[0].ends_with("is missing"), "{lines:?}");
        }
    }

    #[test]
    fn a_doubled_text_is_found() {
        let mut came = complete();
        came.insert(2, said(2, "b"));
        let lines = check(&came);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("came twice"), "{lines:?}");
        // Stored twice, so at two positions.
        came[2] = said(4, "b");
        assert!(!check(&came).is_empty());
    }

    #[test]
    fn reordered_texts_are_found() {
        let mut came = complete();
        came.swap(1, 2);
        let lines = check(&came);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("came after position 3"), "{lines:?}");
        // In the order of positions, but not those that were acknowledged.
        assert_eq!(check(&[said(1, "b"), said(2, "a"), said(3, "c"), said(5, "d")]).len(), 2);
    }

    #[test]
    fn an_altered_text_is_found_even_if_it_looks_the_same() {
        for altered in ["a ", "a\u{301}", "а"] {
            let mut came = complete();
            came[0].text = altered.to_owned();
            let lines = check(&came);
            assert_eq!(lines.len(), 1);
            assert!(lines[0].contains("was sent as \"a\""), "{lines:?}");
        }
    }

    #[test]
    fn a_text_that_nobody_sent_is_found() {
        let mut came = complete();
        came.push(said(6, "x"));
        assert_eq!(check(&came).len(), 1);
    }

    #[test]
    fn two_texts_acknowledged_at_one_position_are_found() {
        let mut ledger = Ledger::default();
        ledger.acknowledged(CONVERSATION, said(1, "a"));
        ledger.acknowledged(CONVERSATION, said(1, "b"));
        let mut differences = Differences::default();
        ledger.contradictions(&mut differences);
        assert_eq!(differences.count(), 1);
    }

    #[test]
    fn many_differences_are_counted_and_a_few_shown() {
        let mut differences = Differences::default();
        for number in 0..1_000 {
            differences.note(format!("difference {number}"));
        }
        assert_eq!(differences.lines().len(), DIFFERENCES_MAX + 1);
        assert_eq!(differences.lines().last().unwrap(), "… and 950 more");
    }
}
