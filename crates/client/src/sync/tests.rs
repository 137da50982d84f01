//! The engine against a model: whatever pushes do and however often connections break, a device ends with every entry
//! exactly once and in order.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use protocol::EntryId;

use super::{asking::FETCHES_MAX, *};

const ME: u64 = 1;
const LOGS: u64 = 4;

/// The server: logs, revisions, and what is under way to the device.
#[derive(Default)]
struct Model {
    logs: BTreeMap<u64, Vec<wire::Entry>>,
    /// The log that each revision appended to.
    revisions: Vec<u64>,
    pushes: Vec<(u64, wire::Entry)>,
}

impl Model {
    fn append(&mut self, log: u64, sender: u64) -> wire::Entry {
        let entries = self.logs.entry(log).or_default();
        let position = entries.len() as u64 + 1;
        let content = Some(crate::text(format!("{log}/{position}")));
        let entry = wire::Entry { position, id: EntryId::generate().to_string(), sender, time_ms: 0, content };
        entries.push(entry.clone());
        self.revisions.push(log);
        entry
    }

    /// A page of at most two heads, so that syncs have several.
    fn sync(&self, request: &wire::Sync) -> wire::SyncPage {
        let since: usize = request.cursor.parse().unwrap_or(0);
        let until: usize = request.page.split('/').next().and_then(|p| p.parse().ok()).unwrap_or(self.revisions.len());
        let skip: usize = request.page.split('/').nth(1).and_then(|p| p.parse().ok()).unwrap_or(0);
        let mut moved = Vec::new();
        for log in self.revisions[since.min(until)..until].iter().rev() {
            if !moved.contains(log) {
                moved.push(*log);
            }
        }
        let heads = moved.iter().skip(skip).take(2).map(|log| {
            let entries = &self.logs[log];
            let from = entries.len().saturating_sub(request.entries as usize);
            let kind = wire::ConversationKind::Group.into();
            wire::Head {
                conversation: Some(wire::Conversation { id: *log, kind, ..wire::Conversation::default() }),
                last_position: entries.len() as u64,
                entries: entries[from..].to_vec(),
                ..wire::Head::default()
            }
        });
        let next_page = if moved.len() > skip + 2 { format!("{until}/{}", skip + 2) } else { String::new() };
        // A cursor that a later page bears would skip what happened since the first: it must not be kept.
        let cursor = if request.page.is_empty() { until } else { self.revisions.len() };
        wire::SyncPage { heads: heads.collect(), next_page, cursor: cursor.to_string() }
    }

    /// At most `room` entries in all pages together.
    fn fetch(&self, request: &wire::Fetch, mut room: usize) -> Vec<wire::HistoryPage> {
        let page = |history: &wire::History| {
            let entries = &self.logs[&history.conversation];
            let Some(wire::history::From::After(after)) = history.from else { panic!("the engine fetches forward") };
            let some: Vec<_> =
                entries.iter().skip(after as usize).take((history.limit as usize).min(room)).cloned().collect();
            room -= some.len();
            wire::HistoryPage { conversation: history.conversation, entries: some, last_position: entries.len() as u64 }
        };
        request.histories.iter().map(page).collect()
    }
}

/// What a device has received and stored.
#[derive(Default)]
struct Device {
    received: HashMap<u64, Vec<wire::Entry>>,
    /// As a profile would have it.
    stored: HashMap<ConversationId, ConversationState>,
    cursor: String,
    caught_up: bool,
}

impl Device {
    fn take(&mut self, engine: &mut Engine, model: &Model) {
        for output in engine.take_outputs() {
            match output {
                Output::Entry { conversation, kind, entry } => {
                    let entries = self.received.entry(conversation.get()).or_default();
                    entries.push(entry);
                    assert_eq!(entries.last().unwrap().position, entries.len() as u64, "out of order or twice");
                    assert_eq!(entries.last(), model.logs[&conversation.get()].get(entries.len() - 1));
                    let applied = entries.len() as u64;
                    let state = ConversationState { kind, applied, ..ConversationState::default() };
                    self.stored.entry(conversation).or_default().merge(state);
                }
                Output::Checkpoint(cursor) => {
                    let until: usize = cursor.parse().unwrap();
                    for log in &model.revisions[..until] {
                        let promised = model.revisions[..until].iter().filter(|other| *other == log).count();
                        assert!(self.received[log].len() >= promised, "the cursor skips entries of {log}");
                    }
                    self.cursor = cursor;
                }
                Output::CaughtUp => self.caught_up = true,
                Output::Heads(_) | Output::ReadMoved { .. } | Output::Read(..) => {}
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Somebody appends, and it is pushed.
    Append {
        log: u64,
    },
    /// The device itself appends; its acknowledgement comes at once.
    Send {
        log: u64,
    },
    /// One of the pushes under way arrives, perhaps to come again.
    Arrive {
        which: usize,
        again: bool,
    },
    Lose {
        which: usize,
    },
    /// The oldest request is answered.
    Answer {
        room: usize,
    },
    Refuse,
    Reconnect,
    /// The process ends without warning, and another begins from what was stored.
    Restart,
    Congest {
        congested: bool,
    },
    /// The device hears that something may have been lost.
    Resync,
    Wait {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let log = 10..10 + LOGS;
    prop_oneof![
        8 => log.clone().prop_map(|log| Step::Append { log }),
        3 => log.prop_map(|log| Step::Send { log }),
        8 => (any::<usize>(), any::<bool>()).prop_map(|(which, again)| Step::Arrive { which, again }),
        3 => any::<usize>().prop_map(|which| Step::Lose { which }),
        6 => (1usize..6).prop_map(|room| Step::Answer { room }),
        1 => Just(Step::Refuse),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(|congested| Step::Congest { congested }),
        1 => Just(Step::Resync),
        3 => (1u64..80).prop_map(|ms| Step::Wait { ms }),
    ]
}

struct Run {
    model: Model,
    device: Device,
    engine: Engine,
    requests: VecDeque<Request>,
    now: Instant,
}

impl Run {
    fn new() -> Self {
        let mut run = Self {
            model: Model::default(),
            device: Device::default(),
            engine: engine(&Device::default()),
            requests: VecDeque::new(),
            now: Instant::now(),
        };
        run.connect();
        run
    }

    /// Pushes and answers of the connection before are lost.
    fn connect(&mut self) {
        self.model.pushes.clear();
        self.requests.clear();
        let request = self.engine.connect();
        self.device.caught_up = false;
        let page = self.model.sync(&request);
        self.engine.on_sync_page(page, self.now);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { log } => {
                let entry = self.model.append(log, 2);
                self.model.pushes.push((log, entry));
            }
            Step::Send { log } => {
                let entry = self.model.append(log, ME);
                let kind = wire::ConversationKind::Unspecified;
                self.engine.on_entry(ConversationId::new(log), kind, entry, self.now);
            }
            Step::Arrive { which, again } if !self.model.pushes.is_empty() => {
                let which = which % self.model.pushes.len();
                let (log, entry) =
                    if again { self.model.pushes[which].clone() } else { self.model.pushes.swap_remove(which) };
                self.engine.on_entry(ConversationId::new(log), wire::ConversationKind::Group, entry, self.now);
            }
            Step::Lose { which } if !self.model.pushes.is_empty() => {
                let which = which % self.model.pushes.len();
                self.model.pushes.swap_remove(which);
            }
            Step::Answer { room } => self.answer(room),
            Step::Refuse => match self.requests.pop_front() {
                Some(Request::Sync(_)) => self.engine.on_sync_refused(self.now + Duration::from_millis(50)),
                Some(Request::Fetch(_, ids)) => {
                    self.engine.on_fetch_refused(&ids, self.now + Duration::from_millis(50));
                }
                None => {}
            },
            Step::Reconnect => self.connect(),
            Step::Restart => {
                self.engine = engine(&self.device);
                self.connect();
            }
            Step::Congest { congested } => self.engine.set_congested(congested),
            Step::Resync => self.engine.want_sync(),
            Step::Wait { ms } => self.now += Duration::from_millis(ms),
            Step::Arrive { .. } | Step::Lose { .. } => {}
        }
        self.settle();
    }

    fn answer(&mut self, room: usize) {
        match self.requests.pop_front() {
            Some(Request::Sync(request)) => self.engine.on_sync_page(self.model.sync(&request), self.now),
            Some(Request::Fetch(request, ids)) => {
                let pages = self.model.fetch(&request, room);
                self.engine.on_fetched(&ids, pages, self.now);
            }
            None => {}
        }
    }

    fn settle(&mut self) {
        self.device.take(&mut self.engine, &self.model);
        while let Some(request) = self.engine.next_request(self.now) {
            self.requests.push_back(request);
            assert!(self.requests.len() <= FETCHES_MAX + 1, "more requests than are allowed are under way");
        }
    }

    /// Everything heals; the device must converge by itself within a bound.
    fn heal(&mut self) {
        self.engine.set_congested(false);
        self.engine.want_sync();
        self.settle();
        for _ in 0..2_000 {
            self.answer(3);
            self.now += Duration::from_millis(20);
            self.settle();
            if self.requests.is_empty() && self.engine.next_wake().is_none() {
                break;
            }
        }
        assert!(self.device.caught_up);
        assert_eq!(self.engine.early, 0);
        for (log, entries) in &self.model.logs {
            assert_eq!(self.device.received.get(log), Some(entries), "log {log}");
        }
        assert_eq!(self.device.cursor, self.model.revisions.len().to_string());
    }
}

fn engine(device: &Device) -> Engine {
    let (patience, entries) = (Duration::from_millis(30), 2);
    Engine::new(UserId::new(ME), &device.stored, device.cursor.clone(), patience, entries)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_device_ends_with_every_entry_once_and_in_order(steps in proptest::collection::vec(step(), 1..150)) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.heal();
    }
}

#[test]
fn what_a_former_member_cannot_fetch_does_not_hold_up_the_rest() {
    let mut run = Run::new();
    run.model.append(10, 2);
    run.model.append(11, 2);
    run.engine.want_sync();
    run.settle();
    run.answer(10);
    run.now += Duration::from_millis(50);
    run.settle();
    let Some(Request::Fetch(request, ids)) = run.requests.pop_front() else { panic!("nothing is fetched") };
    let mut pages = run.model.fetch(&request, 10);
    let index = ids.iter().position(|id| id.get() == 10).unwrap();
    pages[index] = wire::HistoryPage { conversation: 10, ..wire::HistoryPage::default() };
    run.engine.on_fetched(&ids, pages, run.now);
    let outputs: Vec<_> = run.engine.take_outputs().collect();
    assert!(outputs.contains(&Output::Checkpoint("2".into())), "{outputs:?}");
    assert!(run.engine.next_request(run.now + Duration::from_secs(10)).is_none());
}

#[test]
fn a_group_entered_while_online_is_looked_for() {
    let mut run = Run::new();
    run.settle();
    let content = Some(wire::content::Kind::GroupEntered(wire::GroupEntered { group: 10 }).into());
    let entry = wire::Entry { position: 1, content, ..wire::Entry::default() };
    run.engine.on_entry(ConversationId::new(ME), wire::ConversationKind::Personal, entry, run.now);
    assert!(matches!(run.engine.next_request(run.now), Some(Request::Sync(_))));
}

#[test]
fn what_is_held_back_is_bounded_and_what_is_dropped_is_fetched() {
    let mut run = Run::new();
    let last = 3 * EARLY_PER_LOG_MAX as u64;
    for position in 1..=last {
        let entry = run.model.append(10, 2);
        if position > 1 {
            run.engine.on_entry(ConversationId::new(10), wire::ConversationKind::Group, entry, run.now);
        }
    }
    assert_eq!(run.engine.early, EARLY_PER_LOG_MAX);
    for _ in 0..20 {
        run.now += Duration::from_millis(50);
        run.settle();
        run.answer(1_000);
    }
    run.settle();
    assert_eq!(run.device.received[&10].len() as u64, last);
}

#[test]
fn heads_that_bring_what_is_missing_spare_the_fetch() {
    let mut run = Run::new();
    run.model.append(10, 2);
    run.model.append(10, 2);
    run.connect();
    run.settle();
    assert_eq!(run.device.received[&10].len(), 2);
    assert!(run.requests.is_empty() && run.device.caught_up);
}

#[test]
fn a_log_not_heard_of_before_may_begin_near_its_end() {
    let (mut run, now) = (Run::new(), Instant::now());
    for _ in 0..9 {
        run.model.append(1, 7);
    }
    let mut engine = engine(&run.device).beginning_at(Some(3));
    let sync = engine.connect();
    engine.on_sync_page(run.model.sync(&sync), now);
    while let Some(Request::Fetch(fetch, ids)) = engine.next_request(now) {
        assert_eq!(fetch.histories[0].from, Some(wire::history::From::After(6)));
        let entries = run.model.logs[&1][6..].to_vec();
        engine.on_fetched(&ids, vec![wire::HistoryPage { conversation: 1, entries, last_position: 9 }], now);
    }
    let tenth = run.model.append(1, 7);
    engine.on_entry(ConversationId::new(1), wire::ConversationKind::Group, tenth, now);
    let positions = |output| match output {
        Output::Entry { entry, .. } => Some(entry.position),
        _ => None,
    };
    assert_eq!(engine.take_outputs().filter_map(positions).collect::<Vec<_>>(), [7, 8, 9, 10]);
}
