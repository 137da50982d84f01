//! Who says what where: everything that follows from the seed and the dialogues alone.

use fastrand::Rng;

use super::dialogues::Dialogue;

/// Members of a group.
pub(super) const GROUP_MEMBERS: usize = 8;
/// Dialogues that a group holds at the same time.
const GROUP_LANES: usize = 4;
/// Direct conversations that each account opens.
const PEERS: usize = 3;

/// A place where dialogues are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    /// The accounts, two or eight, by their numbers.
    pub(super) members: Vec<usize>,
    /// Dialogues by their numbers: those of a lane one after the other, the lanes at the same time.
    pub(super) lanes: Vec<Vec<usize>>,
}

impl Room {
    /// Whether it is a group rather than a direct conversation.
    pub(super) fn is_group(&self) -> bool {
        self.members.len() > 2
    }

    /// Which member speaks in a turn of a dialogue: two alternate, in a group all take their turns.
    pub(super) fn speaker(&self, dialogue: usize, turn: usize) -> usize {
        self.members[(dialogue + turn) % self.members.len()]
    }
}

/// What is going to happen.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rooms: Vec<Room>,
    /// Texts in all.
    pub(super) texts: usize,
    /// For each account: whether its second device comes and goes.
    pub(super) restless: Vec<bool>,
    /// The server is killed when so many texts have been acknowledged.
    pub(super) kills: Vec<usize>,
}

impl Plan {
    /// Spreads one half of the dialogues over direct conversations and the other over groups. `accounts` is a
    /// multiple of [`GROUP_MEMBERS`].
    pub(super) fn new(rng: &mut Rng, dialogues: &[Dialogue], accounts: usize, kills: usize) -> Self {
        let mut order: Vec<usize> =
            (0..dialogues.len()).filter(|number| !dialogues[*number].turns.is_empty()).collect();
        rng.shuffle(&mut order);
        let (direct, group) = order.split_at(order.len() / 2);

        let mut rooms = direct_rooms(accounts);
        spread(&mut rooms, direct, dialogues);
        let mut groups = group_rooms(rng, accounts);
        spread(&mut groups, group, dialogues);
        rooms.append(&mut groups);
        rooms.retain(|room| room.lanes.iter().any(|lane| !lane.is_empty()));

        let texts: usize = order.iter().map(|number| dialogues[*number].turns.len()).sum();
        let mut restless: Vec<bool> = (0..accounts).map(|account| account % 2 == 0).collect();
        rng.shuffle(&mut restless);
        // Neither before anything is under way nor when all is over.
        let mut kills: Vec<usize> = (0..kills).map(|_| rng.usize(texts / 20..=texts * 9 / 10)).collect();
        kills.sort_unstable();
        Self { rooms, texts, restless, kills }
    }
}

/// Each account with a few others, each pair once.
fn direct_rooms(accounts: usize) -> Vec<Room> {
    let mut rooms = Vec::new();
    for distance in (1..=PEERS).filter(|distance| distance * 2 < accounts) {
        rooms.extend(
            (0..accounts).map(|account| Room {
                members: vec![account, (account + distance) % accounts],
                lanes: vec![Vec::new()],
            }),
        );
    }
    rooms
}

/// Every account in two groups, with others each time.
fn group_rooms(rng: &mut Rng, accounts: usize) -> Vec<Room> {
    let mut rooms = Vec::new();
    for _ in 0..2 {
        let mut members: Vec<usize> = (0..accounts).collect();
        rng.shuffle(&mut members);
        rooms.extend(
            members
                .chunks_exact(GROUP_MEMBERS)
                .map(|members| Room { members: members.to_vec(), lanes: vec![Vec::new(); GROUP_LANES] }),
        );
    }
    rooms
}

/// Each dialogue goes to the lane that has the fewest texts so far, so that all end at about the same time.
fn spread(rooms: &mut [Room], numbers: &[usize], dialogues: &[Dialogue]) {
    let mut load: Vec<(usize, usize, usize)> = Vec::new();
    for (room, place) in rooms.iter().enumerate() {
        load.extend((0..place.lanes.len()).map(|lane| (0, lane, room)));
    }
    let mut load: std::collections::BinaryHeap<_> = load.into_iter().map(std::cmp::Reverse).collect();
    for number in numbers {
        let Some(std::cmp::Reverse((texts, lane, room))) = load.pop() else { return };
        rooms[room].lanes[lane].push(*number);
        load.push(std::cmp::Reverse((texts + dialogues[*number].turns.len(), lane, room)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialogues(count: usize) -> Vec<Dialogue> {
        (0..count)
            .map(|number| {
                let turns: Vec<String> = (0..2 + number % 3).map(|turn| format!("{number} {turn}")).collect();
                serde_json::from_value(serde_json::json!({"language": "x", "topic": "y", "turns": turns})).unwrap()
            })
            .collect()
    }

    #[test]
    fn every_dialogue_is_played_once_one_half_in_groups() {
        let dialogues = dialogues(1_001);
        let plan = Plan::new(&mut Rng::with_seed(5), &dialogues, 64, 3);
        let mut played: Vec<usize> = plan.rooms.iter().flat_map(|room| room.lanes.iter().flatten().copied()).collect();
        played.sort_unstable();
        assert_eq!(played, (0..1_001).collect::<Vec<_>>());
        let in_groups: usize =
            plan.rooms.iter().filter(|room| room.is_group()).flat_map(|room| &room.lanes).map(Vec::len).sum();
        assert_eq!(in_groups, 501);
        assert_eq!(plan.texts, dialogues.iter().map(|dialogue| dialogue.turns.len()).sum::<usize>());
        assert_eq!(plan.kills.len(), 3);
        assert!(plan.kills.iter().all(|at| *at < plan.texts));
        assert_eq!(plan.restless.iter().filter(|restless| **restless).count(), 32);
    }

    #[test]
    fn rooms_have_two_or_eight_different_members_who_take_turns() {
        let plan = Plan::new(&mut Rng::with_seed(6), &dialogues(500), 8, 0);
        for room in &plan.rooms {
            let mut members = room.members.clone();
            members.sort_unstable();
            members.dedup();
            assert_eq!(members.len(), room.members.len());
            assert!([2, GROUP_MEMBERS].contains(&members.len()));
            let mut speakers: Vec<_> = (0..members.len()).map(|turn| room.speaker(7, turn)).collect();
            assert_ne!(speakers[0], speakers[1]);
            speakers.sort_unstable();
            assert_eq!(speakers, members);
        }
        let mut pairs: Vec<_> = plan
            .rooms
            .iter()
            .filter(|room| !room.is_group())
            .map(|room| {
                let mut members = room.members.clone();
                members.sort_unstable();
                members
            })
            .collect();
        pairs.sort_unstable();
        let count = pairs.len();
        pairs.dedup();
        assert_eq!(pairs.len(), count, "a pair has one conversation");
    }

    #[test]
    fn one_seed_gives_one_plan() {
        let dialogues = dialogues(200);
        let plan = |seed| Plan::new(&mut Rng::with_seed(seed), &dialogues, 16, 5);
        assert_eq!(plan(1).rooms, plan(1).rooms);
        assert_eq!(plan(1).kills, plan(1).kills);
        assert_ne!(plan(1).rooms, plan(2).rooms);
    }
}
