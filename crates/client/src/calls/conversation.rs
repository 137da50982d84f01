//! Reading, and what belongs to messages and conversations.

use protocol::{
    ConversationId, EntryId, RawContent, UserId, limits,
    wire::{self, client_frame::Body as Request},
};

use crate::{Client, Error, Target};

/// Each method sends one request; their errors are those of [`Client::request`].
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl Client {
    /// Entries of a conversation after a position, ascending; `limit` 0 means the server's default.
    pub async fn history_after(
        &self,
        conversation: ConversationId,
        after: u64,
        limit: u32,
    ) -> Result<wire::HistoryPage, Error> {
        self.history(conversation, wire::history::From::After(after), limit).await
    }

    /// Entries of a conversation before a position, ascending; `limit` 0 means the server's default.
    pub async fn history_before(
        &self,
        conversation: ConversationId,
        before: u64,
        limit: u32,
    ) -> Result<wire::HistoryPage, Error> {
        self.history(conversation, wire::history::From::Before(before), limit).await
    }

    async fn history(
        &self,
        conversation: ConversationId,
        from: wire::history::From,
        limit: u32,
    ) -> Result<wire::HistoryPage, Error> {
        let request = wire::History { conversation: conversation.get(), limit, from: Some(from) };
        expect!(self.request(Request::History(request)).await?, History)
    }

    /// Several histories at once.
    pub async fn fetch(&self, histories: Vec<wire::History>) -> Result<Vec<wire::HistoryPage>, Error> {
        expect!(self.request(Request::Fetch(wire::Fetch { histories })).await?, Fetched).map(|fetched| fetched.pages)
    }

    /// The direct conversation with the user of this name, made if there is none yet.
    pub async fn open_direct(&self, name: &str) -> Result<wire::Conversation, Error> {
        let peer = Some(wire::open_direct::Peer::Name(name.into()));
        expect!(self.request(Request::OpenDirect(wire::OpenDirect { peer })).await?, Conversation)
    }

    /// The direct conversation with this user, made if there is none yet.
    pub async fn open_direct_with(&self, user: UserId) -> Result<wire::Conversation, Error> {
        let peer = Some(wire::open_direct::Peer::User(user.get()));
        expect!(self.request(Request::OpenDirect(wire::OpenDirect { peer })).await?, Conversation)
    }

    /// Tells that the user has read up to a position.
    pub async fn read(&self, conversation: ConversationId, position: u64) -> Result<(), Error> {
        let request = wire::Read { conversation: conversation.get(), position };
        expect!(self.request(Request::Read(request)).await?, Done).map(drop)
    }

    /// Tells what has arrived at this device; to have read implies it.
    pub async fn deliver(&self, marks: Vec<wire::Mark>) -> Result<(), Error> {
        self.done(Request::Deliver(wire::Deliver { marks })).await
    }

    /// One page of who has received and read an own message: those with a larger id than `after`.
    pub async fn receipts(
        &self,
        conversation: ConversationId,
        position: u64,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<wire::Receipts, Error> {
        let (conversation, after) = (conversation.get(), after.map_or(0, UserId::get));
        let request = wire::ListReceipts { conversation, position, after, limit };
        expect!(self.request(Request::ListReceipts(request)).await?, Receipts)
    }

    /// One page of the edits, recalls, reactions and pins of messages, ascending: those after a position.
    pub async fn changes(
        &self,
        conversation: ConversationId,
        positions: Vec<u64>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<wire::Entry>, Error> {
        let request = wire::ListChanges { conversation: conversation.get(), positions, after, limit };
        expect!(self.request(Request::ListChanges(request)).await?, Entries).map(|answer| answer.entries)
    }

    /// The messages that are pinned, those pinned last first.
    pub async fn pins(&self, conversation: ConversationId) -> Result<Vec<wire::Entry>, Error> {
        let request = wire::ListPins { conversation: conversation.get() };
        expect!(self.request(Request::ListPins(request)).await?, Entries).map(|answer| answer.entries)
    }

    /// One page of the messages that hold a text, newest first: those before a position (0: the end). A page may be empty
    /// and not the last; `next_before` tells.
    pub async fn search(
        &self,
        conversation: ConversationId,
        query: &str,
        before: u64,
        limit: u32,
    ) -> Result<wire::Found, Error> {
        let request = wire::Search { conversation: conversation.get(), query: query.into(), before, limit };
        expect!(self.request(Request::Search(request)).await?, Found)
    }

    /// Sends a copy of a message somewhere. It is not kept in the outbox: if it fails, it may be tried again with the same
    /// id.
    pub async fn forward(
        &self,
        from: ConversationId,
        message: &wire::Entry,
        target: Target,
        id: EntryId,
    ) -> Result<wire::Sent, Error> {
        let original = message.content.as_ref().and_then(|content| content.view().ok()).unwrap_or_default();
        // One that was forwarded before still comes from where it came first.
        let first = wire::Forwarded { sender: message.sender, time_ms: message.time_ms };
        let forwarded = original.forwarded.unwrap_or(first);
        let content = wire::Content { kind: original.kind, forwarded: Some(forwarded), ..wire::Content::default() };
        let target = match target {
            Target::Conversation(id) => wire::send::Target::Conversation(id.get()),
            Target::Name(name) => wire::send::Target::To(name),
        };
        let request = wire::Send {
            target: Some(target),
            id: id.to_string(),
            content: Some(RawContent::from(content)),
            forward_of: Some(wire::ForwardOf { conversation: from.get(), position: message.position }),
        };
        expect!(self.request(Request::Send(request)).await?, Sent)
    }

    /// How the user's clients show a conversation.
    pub async fn set_conversation(
        &self,
        conversation: ConversationId,
        settings: wire::ConversationSettings,
        id: EntryId,
    ) -> Result<(), Error> {
        let (id, conversation, settings) = (id.to_string(), conversation.get(), Some(settings));
        self.done(Request::SetConversation(wire::SetConversation { id, conversation, settings })).await
    }

    /// Keeps what is written and not sent, for all of the user's devices; empty: nothing.
    pub async fn save_draft(
        &self,
        conversation: ConversationId,
        text: &str,
        reply_to: u64,
        id: EntryId,
    ) -> Result<(), Error> {
        let draft = Some(wire::Draft { text: text.into(), reply_to, time_ms: 0 });
        let (id, conversation) = (id.to_string(), conversation.get());
        self.done(Request::SaveDraft(wire::SaveDraft { id, conversation, draft })).await
    }

    /// Removes messages from what the user's own devices see: these, and everything up to a position (0: only these).
    pub async fn delete_for_me(
        &self,
        conversation: ConversationId,
        positions: Vec<u64>,
        up_to: u64,
        id: EntryId,
    ) -> Result<(), Error> {
        let (id, conversation) = (id.to_string(), conversation.get());
        self.done(Request::DeleteForMe(wire::DeleteForMe { id, conversation, positions, up_to })).await
    }

    /// Looks at the heads of all conversations, page by page, beside and without effect on the client's own catching up.
    pub fn heads(&self) -> SyncPages<'_> {
        SyncPages { client: self, page: Some(String::new()) }
    }
}

/// Pages of [`Client::heads`].
#[derive(Debug)]
pub struct SyncPages<'a> {
    client: &'a Client,
    page: Option<String>,
}

impl SyncPages<'_> {
    /// The next page of heads, those that moved last first; `None` after the last one.
    ///
    /// # Errors
    ///
    /// As [`Client::request`]; the page may be asked for again.
    pub async fn next(&mut self) -> Result<Option<Vec<wire::Head>>, Error> {
        let Some(page) = &self.page else { return Ok(None) };
        let request = wire::Sync { page: page.clone(), limit: limits::SYNC_HEADS_MAX, ..wire::Sync::default() };
        let answer = expect!(self.client.request(Request::Sync(request)).await?, Sync)?;
        self.page = Some(answer.next_page).filter(|next| !next.is_empty());
        Ok(Some(answer.heads))
    }
}
