//! Friends, requests, remarks, blocks. What a user may do about a contact is looked at where it is written, in the user's
//! personal log; here is whom it may concern at all.

use api::{AppendRequest, Call, ContactAct, append_request, contact_act::What};
use protocol::{
    Error, Result, UserId,
    wire::{self, UserInfo},
};

use super::Service;

impl Service {
    pub(super) async fn contact(&self, call: &Call, id: String, peer: u64, what: What) -> Result<wire::Done> {
        let user = call.caller()?.user;
        if peer == user.get() {
            return Err(Error::invalid("user: that is yourself; name another user"));
        }
        let peer = self.info(UserId::new(peer)).await?;
        // What is left of somebody who is gone can be put away.
        if peer.deleted && !puts_away(&what) {
            return Err(Error::not_found(format_args!("user {}", peer.id)));
        }
        self.append_own(call, contact_request(user, id, peer.id, what)).await?;
        Ok(wire::Done {})
    }

    pub(super) async fn contacts(&self, call: &Call, request: wire::ListContacts) -> Result<wire::Contacts> {
        let mut contacts = self.messages.list_contacts(call, request).await?;
        let users: Vec<&mut UserInfo> =
            contacts.contacts.iter_mut().filter_map(|contact| contact.user.as_mut()).collect();
        self.fill(users).await?;
        Ok(contacts)
    }
}

/// What a user does about a contact, as an entry of the user's personal log.
pub(super) fn contact_request(user: UserId, id: String, peer: u64, what: What) -> AppendRequest {
    AppendRequest {
        conversation: user.personal_log().get(),
        sender: user.get(),
        id,
        content: None,
        act: Some(append_request::Act::Contact(ContactAct { peer, what: Some(what) })),
    }
}

fn puts_away(what: &What) -> bool {
    match what {
        What::Request(_) | What::Answer(true) | What::Block(true) => false,
        What::Remark(remark) => remark.is_empty(),
        What::Withdraw(_) | What::Answer(false) | What::Remove(_) | What::Block(false) => true,
    }
}
