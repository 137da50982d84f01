//! What becomes of a contact: the same for every store.
//!
//! Each of two users keeps a row about the other, in a place of their own, and tells the other of what changes by an
//! [`Effect`](crate::Effect). The effects of each direction arrive in order, at any time; so what the two do at once
//! crosses. That they agree in the end whether they are friends is seen to by the one with the smaller id: whenever that
//! user's friendship changes, by what the other told as well, it is told to the other, who obeys. What is told last is
//! then what both have.

use protocol::{
    UserId,
    wire::{
        BlockChanged, FriendAdded, FriendRemoved, FriendRequest, FriendRequestClosed, FriendRequested, RemarkChanged,
        content,
    },
};

use crate::{ContactAct, ContactEvent, ContactRow, Refused};

/// What a contact becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The row from now on.
    pub row: ContactRow,
    /// What the owner's personal log tells.
    pub content: content::Kind,
    /// What is told the other, as the other's personal log tells it; see [`told`].
    pub tell: Option<content::Kind>,
}

impl ContactRow {
    /// A user who is nothing to the owner.
    pub fn nothing(peer: UserId) -> Self {
        Self {
            peer,
            friend: false,
            request: FriendRequest::NoRequest,
            message: String::new(),
            remark: String::new(),
            blocked: false,
            changed_ms: 0,
        }
    }

    /// Whether the user is nothing to the owner: such rows need not be kept.
    pub fn is_nothing(&self) -> bool {
        !self.friend && self.request == FriendRequest::NoRequest && self.remark.is_empty() && !self.blocked
    }
}

/// Carries out an event of the owner's at `time_ms`, given the row as it is.
///
/// # Errors
///
/// [`Refused::Unchanged`] if it is so already, or if what the other user tells no longer fits; what the owner does may
/// also be refused as [`Refused::AlreadyFriends`] or [`Refused::NothingThere`].
pub fn step(owner: UserId, row: Option<ContactRow>, event: &ContactEvent, time_ms: i64) -> Result<Step, Refused> {
    let (user, me) = (event.peer.get(), owner.get());
    let row = row.unwrap_or_else(|| ContactRow::nothing(event.peer));
    // Whoever has the smaller id repeats to the other what the other's telling has made of the friendship.
    let leads = owner < event.peer;
    let friends = ContactRow {
        friend: true,
        request: FriendRequest::NoRequest,
        message: String::new(),
        changed_ms: time_ms,
        ..row.clone()
    };
    let strangers = ContactRow { friend: false, ..friends.clone() };
    let asking = |request, message: &String| ContactRow { request, message: message.clone(), ..strangers.clone() };
    let added = |user| content::Kind::FriendAdded(FriendAdded { user });
    let removed = |user, by_peer| content::Kind::FriendRemoved(FriendRemoved { user, by_peer });
    let requested = |user, message: &String, received| {
        content::Kind::FriendRequested(FriendRequested { user, message: message.clone(), received })
    };
    let closed = |user, withdrawn, received| {
        content::Kind::FriendRequestClosed(FriendRequestClosed { user, withdrawn, received })
    };
    let step = |row, content, tell| Ok(Step { row, content, tell });
    match (&event.what, row.request) {
        (ContactAct::Request(_), _) if row.friend => Err(Refused::AlreadyFriends),
        (ContactAct::Request(_), FriendRequest::Sent) => Err(Refused::Unchanged),
        // The other has asked already; or both ask at once: the other may have taken the request back meanwhile, and
        // has to be told.
        (ContactAct::Request(_) | ContactAct::Answer(true), FriendRequest::Received) => {
            step(friends, added(user), Some(added(me)))
        }
        (ContactAct::Requested(_), _) if row.blocked || row.friend => Err(Refused::Unchanged),
        (ContactAct::Requested(_), FriendRequest::Sent) => step(friends, added(user), Some(added(me))),
        (ContactAct::Request(message), FriendRequest::NoRequest) => step(
            asking(FriendRequest::Sent, message),
            requested(user, message, false),
            Some(requested(me, message, true)),
        ),
        (ContactAct::Requested(message), _) => {
            if row.request == FriendRequest::Received && row.message == *message {
                return Err(Refused::Unchanged);
            }
            step(asking(FriendRequest::Received, message), requested(user, message, true), None)
        }
        (ContactAct::Withdraw, FriendRequest::Sent) => {
            step(strangers, closed(user, true, false), Some(closed(me, true, true)))
        }
        (ContactAct::Answer(false), FriendRequest::Received) => {
            step(strangers, closed(user, false, true), Some(closed(me, false, false)))
        }
        (ContactAct::Withdraw | ContactAct::Answer(_), _) => Err(Refused::NothingThere),
        (ContactAct::Remove, _) if row.friend => step(strangers, removed(user, false), Some(removed(me, true))),
        (ContactAct::Remove, _) => Err(Refused::NothingThere),
        (ContactAct::Withdrawn, FriendRequest::Received) => step(strangers, closed(user, true, true), None),
        (ContactAct::Answered(false), FriendRequest::Sent) => step(strangers, closed(user, false, false), None),
        (ContactAct::Answered(true), _) if !row.friend => step(friends, added(user), leads.then(|| added(me))),
        (ContactAct::Removed, _) if row.friend => {
            step(strangers, removed(user, true), leads.then(|| removed(me, true)))
        }
        (ContactAct::Withdrawn | ContactAct::Answered(_) | ContactAct::Removed, _) => Err(Refused::Unchanged),
        (ContactAct::Remark(remark), _) => {
            if row.remark == *remark {
                return Err(Refused::Unchanged);
            }
            let content = content::Kind::RemarkChanged(RemarkChanged { user, remark: remark.clone() });
            step(ContactRow { remark: remark.clone(), ..row }, content, None)
        }
        (&ContactAct::Block(blocked), _) => {
            if row.blocked == blocked {
                return Err(Refused::Unchanged);
            }
            step(ContactRow { blocked, ..row }, content::Kind::BlockChanged(BlockChanged { user, blocked }), None)
        }
    }
}

/// What an effect does to a contact of the user whom it is told; `peer` is the user who caused it. `None` if its content
/// is of no kind that a [`Step`] tells.
pub fn told(peer: UserId, content: content::Kind) -> Option<ContactEvent> {
    let what = match content {
        content::Kind::FriendRequested(requested) => ContactAct::Requested(requested.message),
        content::Kind::FriendRequestClosed(closed) if closed.withdrawn => ContactAct::Withdrawn,
        content::Kind::FriendRequestClosed(_) => ContactAct::Answered(false),
        content::Kind::FriendAdded(_) => ContactAct::Answered(true),
        content::Kind::FriendRemoved(_) => ContactAct::Removed,
        _ => return None,
    };
    Some(ContactEvent { peer, what })
}

/// Whether this is what an owner's personal log may tell of the event: what exactly follows from what the contact was then.
pub fn may_tell(event: &ContactEvent, content: &content::Kind) -> bool {
    let peer = event.peer.get();
    match (&event.what, content) {
        (ContactAct::Request(message), content::Kind::FriendRequested(told)) => {
            told.user == peer && !told.received && told.message == *message
        }
        (ContactAct::Requested(message), content::Kind::FriendRequested(told)) => {
            told.user == peer && told.received && told.message == *message
        }
        (
            ContactAct::Request(_) | ContactAct::Requested(_) | ContactAct::Answer(true) | ContactAct::Answered(true),
            content::Kind::FriendAdded(told),
        ) => told.user == peer,
        (act, content::Kind::FriendRequestClosed(told)) => {
            let closes = match act {
                ContactAct::Withdraw => told.withdrawn && !told.received,
                ContactAct::Withdrawn => told.withdrawn && told.received,
                ContactAct::Answer(false) => !told.withdrawn && told.received,
                ContactAct::Answered(false) => !told.withdrawn && !told.received,
                _ => false,
            };
            told.user == peer && closes
        }
        (ContactAct::Remove, content::Kind::FriendRemoved(told)) => told.user == peer && !told.by_peer,
        (ContactAct::Removed, content::Kind::FriendRemoved(told)) => told.user == peer && told.by_peer,
        (ContactAct::Remark(remark), content::Kind::RemarkChanged(told)) => told.user == peer && told.remark == *remark,
        (&ContactAct::Block(blocked), content::Kind::BlockChanged(told)) => {
            told.user == peer && told.blocked == blocked
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const USERS: [UserId; 2] = [UserId::new(1), UserId::new(2)];

    /// Two users, and what is on its way to each.
    #[derive(Default)]
    struct Pair {
        rows: [Option<ContactRow>; 2],
        coming: [VecDeque<ContactEvent>; 2],
    }

    impl Pair {
        fn act(&mut self, owner: usize, what: ContactAct) -> Result<content::Kind, Refused> {
            self.carry_out(owner, &ContactEvent { peer: USERS[1 - owner], what })
        }

        fn carry_out(&mut self, owner: usize, event: &ContactEvent) -> Result<content::Kind, Refused> {
            let step = step(USERS[owner], self.rows[owner].clone(), event, 5)?;
            assert!(may_tell(event, &step.content), "{event:?} tells {:?}", step.content);
            self.rows[owner] = Some(step.row);
            self.coming[1 - owner].extend(step.tell.map(|tell| told(USERS[owner], tell).unwrap()));
            Ok(step.content)
        }

        fn deliver(&mut self, owner: usize) {
            if let Some(event) = self.coming[owner].pop_front() {
                let outcome = self.carry_out(owner, &event);
                assert!(matches!(outcome, Ok(_) | Err(Refused::Unchanged)), "{event:?}: {outcome:?}");
            }
        }

        fn settle(&mut self) {
            for _ in 0..1_000 {
                if self.coming.iter().all(VecDeque::is_empty) {
                    return;
                }
                self.deliver(0);
                self.deliver(1);
            }
            panic!("they go on telling each other");
        }

        fn friends(&self) -> [bool; 2] {
            [0, 1].map(|owner| self.rows[owner].as_ref().is_some_and(|row| row.friend))
        }
    }

    #[test]
    fn a_request_is_answered() {
        let mut pair = Pair::default();
        pair.act(0, ContactAct::Request("hi".into())).unwrap();
        assert_eq!(pair.act(0, ContactAct::Request("hi".into())), Err(Refused::Unchanged));
        pair.settle();
        assert_eq!(pair.rows[1].as_ref().unwrap().message, "hi");
        assert_eq!(pair.act(1, ContactAct::Withdraw), Err(Refused::NothingThere));
        pair.act(1, ContactAct::Answer(true)).unwrap();
        pair.settle();
        assert_eq!(pair.friends(), [true; 2]);
        assert_eq!(pair.act(0, ContactAct::Request(String::new())), Err(Refused::AlreadyFriends));
    }

    #[test]
    fn the_blocked_learn_nothing() {
        let mut pair = Pair::default();
        pair.act(1, ContactAct::Block(true)).unwrap();
        pair.act(0, ContactAct::Request("hi".into())).unwrap();
        pair.settle();
        assert_eq!(pair.rows[1].as_ref().unwrap().request, FriendRequest::NoRequest);
        assert_eq!(pair.rows[0].as_ref().unwrap().request, FriendRequest::Sent);
    }

    #[test]
    fn whatever_crosses_two_users_agree_in_the_end_whether_they_are_friends() {
        let mut seed = 1_u64;
        let mut below = |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((seed >> 33) % end).unwrap()
        };
        let mut ended_as_friends = 0;
        for round in 0..50_000 {
            let mut pair = Pair::default();
            let mut history = Vec::new();
            for _ in 0..4 + below(30) {
                let owner = below(2);
                let what = match below(12) {
                    0 | 1 => ContactAct::Request(String::new()),
                    2 => ContactAct::Withdraw,
                    3 => ContactAct::Answer(true),
                    4 => ContactAct::Answer(false),
                    5 => ContactAct::Remove,
                    6 if below(4) == 0 => ContactAct::Block(below(2) == 0),
                    _ => {
                        history.push(format!("{owner} hears {:?}", pair.coming[owner].front()));
                        pair.deliver(owner);
                        continue;
                    }
                };
                history.push(format!("{owner}: {what:?}"));
                let _ = pair.act(owner, what);
            }
            pair.settle();
            assert_eq!(pair.friends()[0], pair.friends()[1], "round {round}: {history:#?}");
            ended_as_friends += usize::from(pair.friends()[0]);
        }
        assert!(ended_as_friends > 5_000, "{ended_as_friends}");
    }
}
