//! Links, by which anybody joins.

use api::Call;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use protocol::{
    EntryId, Error, GroupId, Result, limits,
    wire::{self, ErrorCode},
};
use store::GroupLink;

use super::Service;
use crate::text;

/// Of a code's randomness: more than anybody guesses.
const CODE_BYTES: usize = 18;

impl Service {
    pub(super) async fn create_link(&self, call: &Call, request: wire::CreateGroupLink) -> Result<wire::GroupLink> {
        let creator = call.caller()?.user;
        let id = text::entry_id(&request.id)?;
        let asked = (GroupId::new(request.group), request.expires_ms, request.uses_max);
        let made = match self.store.made_link(creator, id).await? {
            Some(made) => made,
            None => self.make_link(call, id, request).await?,
        };
        if (made.group, made.expires_ms, made.uses_max) != asked {
            return Err(Error::new(ErrorCode::IdReused, "id: used before to make another link"));
        }
        Ok(told(made))
    }

    async fn make_link(&self, call: &Call, id: EntryId, request: wire::CreateGroupLink) -> Result<GroupLink> {
        self.check_administers(call, request.group).await?;
        if self.group(request.group).await?.dissolved {
            return Err(Error::new(ErrorCode::Dissolved, "this group was dissolved"));
        }
        let now_ms = self.clock.now_ms();
        if request.expires_ms < 0 {
            return Err(Error::invalid("expires_ms: milliseconds since 1970, or 0 for never"));
        }
        let link = GroupLink {
            code: code()?,
            group: GroupId::new(request.group),
            creator: call.caller()?.user,
            created_ms: now_ms,
            expires_ms: request.expires_ms,
            uses_max: request.uses_max,
            uses: 0,
        };
        let made = self.store.create_link(link, id, limits::GROUP_LINKS_MAX, now_ms).await?;
        made.ok_or_else(|| Error::limit("links of this group", limits::GROUP_LINKS_MAX + 1, limits::GROUP_LINKS_MAX))
    }

    pub(super) async fn links(&self, call: &Call, request: wire::ListGroupLinks) -> Result<wire::GroupLinks> {
        self.check_administers(call, request.group).await?;
        let links = self.store.links(GroupId::new(request.group), self.clock.now_ms()).await?;
        Ok(wire::GroupLinks { links: links.into_iter().map(told).collect() })
    }

    /// The group that a link leads to, which must be this one if one is named.
    pub(super) async fn link_to(&self, code: &str, group: u64) -> Result<u64> {
        let link = self.store.link(code.to_owned()).await?.ok_or_else(unusable)?;
        if group != 0 && group != link.group.get() {
            return Err(Error::invalid("group: not the one that the link leads to; it may be left out"));
        }
        Ok(link.group.get())
    }

    /// A link that somebody could join by now.
    pub(super) async fn usable_link(&self, code: String) -> Result<GroupLink> {
        let link = self.store.link(code).await?.ok_or_else(unusable)?;
        let is_over = link.expires_ms > 0 && link.expires_ms <= self.clock.now_ms();
        let is_used_up = link.uses_max > 0 && link.uses >= link.uses_max;
        if is_over || is_used_up { Err(unusable()) } else { Ok(link) }
    }
}

/// The same for all that cannot be used: who guesses learns nothing.
pub(super) fn unusable() -> Error {
    Error::new(ErrorCode::NotFound, "there is no such link, or it cannot be used any more")
}

fn code() -> Result<String> {
    let mut bytes = [0; CODE_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::unavailable("no randomness for a link").with_source(std::io::Error::other(error)))?;
    // So that it begins with a letter: a dash would be an option's on a command line.
    bytes[0] &= 0x7f;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn told(link: GroupLink) -> wire::GroupLink {
    wire::GroupLink {
        code: link.code,
        group: link.group.get(),
        creator: link.creator.get(),
        created_ms: link.created_ms,
        expires_ms: link.expires_ms,
        uses_max: link.uses_max,
        uses: link.uses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_begins_with_a_letter() {
        assert!((0..1_000).all(|_| code().unwrap().starts_with(|first: char| first.is_ascii_alphabetic())));
    }
}
