//! What users are to each other, once everything has been told.

use client::{
    UserId,
    wire::{ErrorCode, FriendRequest},
};

use super::{Outcome, Reference, refused};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contact {
    pub friend: bool,
    pub request: FriendRequest,
    pub message: String,
    pub remark: String,
    pub blocked: bool,
}

impl Contact {
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn befriend(&mut self, friend: bool) {
        self.friend = friend;
        self.request = FriendRequest::NoRequest;
        self.message.clear();
    }

    fn ask(&mut self, request: FriendRequest, message: &str) {
        self.request = request;
        self.message = message.into();
    }
}

impl Reference {
    /// What `peer` is to `owner`.
    pub fn contact(&self, owner: UserId, peer: UserId) -> Contact {
        self.users[&owner].contacts.get(&peer).cloned().unwrap_or_default()
    }

    fn with(&mut self, owner: UserId, peer: UserId) -> &mut Contact {
        self.users.get_mut(&owner).unwrap().contacts.entry(peer).or_default()
    }

    fn befriend(&mut self, a: UserId, b: UserId, friends: bool) {
        self.with(a, b).befriend(friends);
        self.with(b, a).befriend(friends);
    }

    pub fn request_friend(&mut self, user: UserId, peer: UserId, message: &str) -> Outcome {
        let (mine, theirs) = (self.contact(user, peer), self.contact(peer, user));
        match mine.request {
            _ if mine.friend => return refused(ErrorCode::Conflict),
            FriendRequest::Sent => {}
            FriendRequest::Received => self.befriend(user, peer, true),
            FriendRequest::NoRequest => {
                self.with(user, peer).ask(FriendRequest::Sent, message);
                match theirs.request {
                    _ if theirs.blocked => {}
                    // Asked while it was blocked.
                    FriendRequest::Sent => self.befriend(user, peer, true),
                    _ => self.with(peer, user).ask(FriendRequest::Received, message),
                }
            }
        }
        Ok(())
    }

    pub fn answer_friend(&mut self, user: UserId, peer: UserId, accept: bool) -> Outcome {
        if self.contact(user, peer).request != FriendRequest::Received {
            return refused(ErrorCode::Conflict);
        }
        self.befriend(user, peer, accept);
        Ok(())
    }

    pub fn withdraw_friend(&mut self, user: UserId, peer: UserId) -> Outcome {
        if self.contact(user, peer).request != FriendRequest::Sent {
            return refused(ErrorCode::Conflict);
        }
        self.with(user, peer).befriend(false);
        if self.contact(peer, user).request == FriendRequest::Received {
            self.with(peer, user).befriend(false);
        }
        Ok(())
    }

    pub fn remove_friend(&mut self, user: UserId, peer: UserId) -> Outcome {
        if !self.contact(user, peer).friend {
            return refused(ErrorCode::Conflict);
        }
        self.befriend(user, peer, false);
        Ok(())
    }

    pub fn remark(&mut self, user: UserId, peer: UserId, remark: &str) {
        self.with(user, peer).remark = remark.into();
    }

    /// From now on what the peer writes does not arrive, or does.
    pub fn block(&mut self, user: UserId, peer: UserId, blocked: bool) {
        if self.contact(user, peer).blocked == blocked {
            return;
        }
        self.with(user, peer).blocked = blocked;
        for log in self.logs.values_mut() {
            if log.group.is_none() && log.members.len() == 2 && log.members.contains_key(&peer) {
                let end = log.end();
                if let Some(member) = log.members.get_mut(&user) {
                    member.blocked_at = blocked.then_some(end);
                }
            }
        }
    }
}
