//! A store that does what it is asked and may then say that nobody knows whether it did, as one does whose answer to a commit
//! got lost. It counts what it is asked.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use protocol::{
    ConversationId, EntryId, GroupId, SessionId, UserId,
    wire::{Entry, SessionInfo, UserInfo},
};
use store::{
    Account, ApiKeyRow, Appended, BotRefused, BotRow, ContactRow, Effect, Error, HeadRow, Incoming, MemberPage,
    MemberRow, Messages, Moved, NewAccount, NewApiKey, NewBot, NewEntry, NewIncoming, NewReport, NewSession, Page,
    PageRequest, ProfileChange, ReadMark, ReceiptCounts, Refused, ReportRow, Result, Revision, Rotation, Scan, Telling,
    TokenHash, UserSettings, Users, sqlite::SqliteStore,
};

pub(crate) struct Doubtful {
    store: SqliteStore,
    /// The methods whose next answer gets lost.
    doubted: Mutex<Vec<&'static str>>,
    /// How often each method was called.
    asked: Mutex<HashMap<&'static str, usize>>,
}

impl Doubtful {
    pub(crate) fn new(store: SqliteStore) -> Self {
        Self { store, doubted: Mutex::default(), asked: Mutex::default() }
    }

    /// The next answer of a method, by its name, gets lost.
    pub(crate) fn lose_answer(&self, method: &'static str) {
        self.doubted.lock().push(method);
    }

    /// How often these methods were called.
    pub(crate) fn asked(&self, methods: &[&str]) -> usize {
        let asked = self.asked.lock();
        methods.iter().filter_map(|method| asked.get(method)).sum()
    }

    fn answer<T>(&self, method: &'static str, answer: Result<T>) -> Result<T> {
        *self.asked.lock().entry(method).or_default() += 1;
        let mut doubted = self.doubted.lock();
        match doubted.iter().position(|doubted| *doubted == method) {
            Some(place) => {
                doubted.swap_remove(place);
                Err(Error::Unknown("the answer got lost".into()))
            }
            None => answer,
        }
    }
}

macro_rules! ask_the_store {
    ($trait:ident { $($method:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* }) => {
        #[async_trait]
        impl $trait for Doubtful {
            $(
                async fn $method(&self, $($argument: $type),*) -> Result<$answer> {
                    let answer = $trait::$method(&self.store, $($argument),*).await;
                    self.answer(stringify!($method), answer)
                }
            )*
        }
    };
}

ask_the_store! {
    Users {
        create_account(account: NewAccount, tell: Vec<Telling>) -> bool;
        account_by_name(name_key: String) -> Option<Account>;
        account(id: UserId) -> Option<Account>;
        find(ids: Vec<UserId>, name_keys: Vec<String>) -> Vec<UserInfo>;
        search(prefix: String, after: String, limit: u32) -> (Vec<UserInfo>, Option<String>);
        update_profile(user: UserId, change: ProfileChange, now_ms: i64) -> Option<UserInfo>;
        rename(user: UserId, name: String, name_key: String, now_ms: i64, reserved_since_ms: i64) -> Option<UserInfo>;
        renamed_since(since_ms: i64) -> Vec<(UserId, String)>;
        delete_account(user: UserId, now_ms: i64) -> Option<Vec<SessionId>>;
        suspend(user: UserId, suspended: bool, now_ms: i64) -> Option<Vec<(UserId, SessionId)>>;
        create_session(user: UserId, session: NewSession, limit: usize, tell: Vec<Telling>) -> bool;
        rotate_refresh(old: TokenHash, request: [u8; 16], new: TokenHash, new_expires_ms: i64, now_ms: i64) -> Rotation;
        sessions(user: UserId, now_ms: i64) -> Vec<SessionInfo>;
        touch_sessions(seen: Vec<(SessionId, i64)>, lifetime_ms: i64) -> ();
        end_session(user: UserId, session: SessionId, now_ms: i64, tell: Vec<Telling>) -> bool;
        change_password(
            user: UserId,
            old_hash: String,
            new_hash: String,
            keep: SessionId,
            now_ms: i64,
            tell: Vec<Telling>
        ) -> Option<Vec<SessionId>>;
        sessions_ended_since(since_ms: i64) -> Vec<SessionId>;
        forget_expired(before_ms: i64) -> ();
        create_bot(bot: NewBot, limit: usize) -> std::result::Result<BotRow, BotRefused>;
        bots(owner: UserId) -> Vec<BotRow>;
        create_api_key(key: NewApiKey, limit: usize, now_ms: i64) -> bool;
        api_keys(bot: UserId, now_ms: i64) -> Vec<ApiKeyRow>;
        api_key(hash: TokenHash, now_ms: i64) -> Option<ApiKeyRow>;
        api_key_bot(hash: TokenHash) -> Option<UserId>;
        end_api_key(bot: UserId, key: SessionId, now_ms: i64) -> bool;
        create_incoming(incoming: NewIncoming, limit: usize) -> bool;
        incoming(bot: UserId) -> Vec<Incoming>;
        incoming_by_hash(hash: TokenHash) -> Option<Incoming>;
        incoming_by_id(id: u64) -> Option<Incoming>;
        delete_incoming(id: u64) -> bool;
        report(report: NewReport) -> ();
        reports(closed: bool, before: u64, limit: u32) -> Vec<ReportRow>;
        close_report(id: u64, note: String) -> bool;
    }
}

ask_the_store! {
    Messages {
        append(entries: Vec<NewEntry>) -> Vec<std::result::Result<Appended, Refused>>;
        open_direct(a: UserId, b: UserId, new: ConversationId) -> ConversationId;
        read_pages(reader: UserId, pages: Vec<PageRequest>, bytes_max: usize) -> Vec<Option<Page>>;
        heads(
            user: UserId,
            since: Revision,
            until: Option<Revision>,
            limit: u32,
            entries: u32
        ) -> (Vec<HeadRow>, Revision);
        mark_read(marks: Vec<ReadMark>) -> Vec<Option<Moved>>;
        mark_delivered(marks: Vec<ReadMark>) -> Vec<Option<Moved>>;
        groups_of(user: UserId) -> Vec<GroupId>;
        members(
            reader: UserId,
            conversation: ConversationId,
            after: UserId,
            limit: u32,
            admins: bool
        ) -> Option<MemberPage>;
        member(conversation: ConversationId, user: UserId) -> Option<MemberRow>;
        member_count(conversation: ConversationId) -> u64;
        administrators(conversation: ConversationId, limit: u32) -> Vec<UserId>;
        bans(conversation: ConversationId, after: UserId, limit: u32) -> Vec<UserId>;
        filter_members(conversation: ConversationId, users: Vec<UserId>) -> Vec<UserId>;
        filter_visible(user: UserId, users: Vec<UserId>) -> Vec<UserId>;
        receipts(reader: UserId, conversation: ConversationId, position: u64) -> Option<ReceiptCounts>;
        changes(
            reader: UserId,
            conversation: ConversationId,
            targets: Vec<u64>,
            after: u64,
            limit: u32
        ) -> Option<Vec<Entry>>;
        pins(reader: UserId, conversation: ConversationId, limit: u32) -> Option<Vec<Entry>>;
        scan(reader: UserId, conversation: ConversationId, before: u64, entries: u32) -> Option<Scan>;
        find_entry(sender: UserId, id: EntryId) -> Option<(ConversationId, Entry)>;
        contacts(user: UserId, after: UserId, limit: u32) -> Vec<ContactRow>;
        standings(user: UserId, of: Vec<UserId>) -> Vec<(Option<ContactRow>, UserSettings)>;
        settings(user: UserId) -> UserSettings;
        effects(limit: u32) -> Vec<Effect>;
    }
}
