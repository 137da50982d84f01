//! What the gateway knows of each request: one row for each, without which it does not compile.

use protocol::wire::{Scope, client_frame::Body as Request};

/// Who may make a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody, without a log-in.
    Anybody,
    /// Whoever is logged in, and every API key.
    LoggedIn,
    /// Sessions, and API keys with this scope.
    Scope(Scope),
    /// Sessions only: what concerns passwords, keys, and the account as a whole.
    Session,
}

/// Whether a request changes something, and how large its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It may change something: if it takes too long, nobody knows whether it did.
    Writes,
    /// It changes nothing.
    Reads,
    /// It changes nothing, and is answered with a page, which may be large.
    Pages,
}

/// What a request counts against, beside the connection's own rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Nothing else.
    General,
    /// The address's rate of requests to register, log in or refresh tokens.
    Accounts,
    /// The user's and the conversation's rates of messages; not the connection's.
    Sends,
    /// The user's rate of changes to contacts and to what others see of the user.
    Contacts,
    /// The user's rate of groups made, invitations and the like.
    Groups,
    /// The user's rate of searches.
    Searches,
    /// The user's rate of changes to bots, keys and webhooks.
    Bots,
    /// The user's rate of reports.
    Reports,
    /// The user's rate of typing notices; those over it are dropped.
    Typing,
    /// The user's rate of drafts.
    Drafts,
}

/// What a request is about, for people who look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    Accounts,
    Users,
    Contacts,
    Messages,
    Conversations,
    Groups,
    Presence,
    Bots,
    Reports,
}

/// One request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its name, as in the protocol and in metrics.
    pub(crate) name: &'static str,
    /// The message it is, by its name in the protocol.
    pub(crate) message: &'static str,
    /// The message it is answered with, by its name in the protocol.
    pub(crate) answer: &'static str,
    pub(crate) access: Access,
    pub(crate) effect: Effect,
    pub(crate) class: Class,
    pub(crate) topic: Topic,
    /// It concerns the connection it is made on, so that HTTP does not know it.
    pub(crate) needs_socket: bool,
}

impl Row {
    /// Whether nothing can have changed if no answer came.
    pub(crate) fn only_reads(&self) -> bool {
        self.effect != Effect::Writes
    }

    /// Whether the answer may be large.
    pub(crate) fn answers_with_a_page(&self) -> bool {
        self.effect == Effect::Pages
    }
}

/// Where a request may be made: everywhere unless it says `socket`.
macro_rules! needs_socket {
    () => {
        false
    };
    (socket) => {
        true
    };
}

macro_rules! table {
    ($( $topic:ident { $( $variant:ident $name:literal -> $answer:ident: $access:expr, $effect:ident, $class:ident $($socket:ident)?; )+ } )+) => {
        /// All requests, by topic.
        pub(crate) const ROWS: &[Row] = &[
            $($( Row {
                name: $name,
                message: stringify!($variant),
                answer: stringify!($answer),
                access: $access,
                effect: Effect::$effect,
                class: Class::$class,
                topic: Topic::$topic,
                needs_socket: needs_socket!($($socket)?),
            }, )+)+
        ];

        /// Where the rows stand, in the same order.
        enum Place {
            $($( $variant, )+)+
        }

        /// The row of a request.
        pub(crate) fn row(request: &Request) -> &'static Row {
            let place = match request {
                $($( Request::$variant(_) => Place::$variant, )+)+
            };
            &ROWS[place as usize]
        }
    };
}

use Access::{Anybody, LoggedIn, Session};

const READ: Access = Access::Scope(Scope::Read);
const WRITE: Access = Access::Scope(Scope::Write);
const GROUPS: Access = Access::Scope(Scope::Groups);
const CONTACTS: Access = Access::Scope(Scope::Contacts);
const PROFILE: Access = Access::Scope(Scope::Profile);

table! {
    Accounts {
        Register "register" -> Session: Anybody, Writes, Accounts;
        LogIn "log_in" -> Session: Anybody, Writes, Accounts;
        Refresh "refresh" -> Session: Anybody, Writes, Accounts;
        Connect "connect" -> Connected: Anybody, Reads, General socket;
        Ping "ping" -> Pong: Anybody, Reads, General;
        LogOut "log_out" -> Done: Session, Writes, General;
        ChangePassword "change_password" -> Done: Session, Writes, General;
        ListSessions "list_sessions" -> Sessions: Session, Reads, General;
        RevokeSession "revoke_session" -> Done: Session, Writes, General;
        GetAccount "get_account" -> Account: LoggedIn, Reads, General;
        UpdateProfile "update_profile" -> Account: PROFILE, Writes, Contacts;
        UpdateSettings "update_settings" -> Account: PROFILE, Writes, Contacts;
        Rename "rename" -> Account: Session, Writes, Contacts;
        DeleteAccount "delete_account" -> Done: Session, Writes, General;
    }
    Users {
        FindUsers "find_users" -> Users: READ, Reads, General;
        SearchUsers "search_users" -> Users: READ, Reads, Searches;
    }
    Contacts {
        RequestFriend "request_friend" -> Done: CONTACTS, Writes, Contacts;
        AnswerFriend "answer_friend" -> Done: CONTACTS, Writes, Contacts;
        WithdrawFriend "withdraw_friend" -> Done: CONTACTS, Writes, Contacts;
        RemoveFriend "remove_friend" -> Done: CONTACTS, Writes, Contacts;
        SetRemark "set_remark" -> Done: CONTACTS, Writes, Contacts;
        SetBlocked "set_blocked" -> Done: CONTACTS, Writes, Contacts;
        ListContacts "list_contacts" -> Contacts: CONTACTS, Pages, General;
    }
    Messages {
        Send "send" -> Sent: WRITE, Writes, Sends;
        History "history" -> HistoryPage: READ, Pages, General;
        Fetch "fetch" -> Fetched: READ, Pages, General;
        Sync "sync" -> SyncPage: READ, Pages, General;
        Read "read" -> Done: WRITE, Writes, General;
        Deliver "deliver" -> Done: WRITE, Writes, General;
        ListReceipts "list_receipts" -> Receipts: READ, Pages, General;
        ListChanges "list_changes" -> Entries: READ, Pages, General;
        ListPins "list_pins" -> Entries: READ, Pages, General;
        Search "search" -> Found: READ, Pages, Searches;
        DeleteForMe "delete_for_me" -> Done: WRITE, Writes, General;
    }
    Conversations {
        OpenDirect "open_direct" -> Conversation: WRITE, Writes, General;
        SetConversation "set_conversation" -> Done: WRITE, Writes, General;
        SaveDraft "save_draft" -> Done: WRITE, Writes, Drafts;
    }
    Groups {
        CreateGroup "create_group" -> Conversation: GROUPS, Writes, Groups;
        GetGroup "get_group" -> GroupInfo: READ, Reads, General;
        ListMembers "list_members" -> Members: READ, Pages, General;
        Invite "invite" -> Done: GROUPS, Writes, Groups;
        JoinGroup "join_group" -> Joined: GROUPS, Writes, Groups;
        LeaveGroup "leave_group" -> Done: GROUPS, Writes, General;
        UpdateGroup "update_group" -> Done: GROUPS, Writes, Groups;
        RemoveMembers "remove_members" -> Done: GROUPS, Writes, General;
        LiftBans "lift_bans" -> Done: GROUPS, Writes, General;
        ListBans "list_bans" -> Users: GROUPS, Pages, General;
        SetRole "set_role" -> Done: GROUPS, Writes, General;
        TransferGroup "transfer_group" -> Done: GROUPS, Writes, General;
        MuteMembers "mute_members" -> Done: GROUPS, Writes, General;
        SetNickname "set_nickname" -> Done: GROUPS, Writes, Groups;
        DissolveGroup "dissolve_group" -> Done: GROUPS, Writes, General;
        AnswerJoin "answer_join" -> Done: GROUPS, Writes, General;
        ListJoinRequests "list_join_requests" -> JoinRequests: GROUPS, Pages, General;
        CreateGroupLink "create_group_link" -> GroupLink: GROUPS, Writes, Groups;
        ListGroupLinks "list_group_links" -> GroupLinks: GROUPS, Reads, General;
        RevokeGroupLink "revoke_group_link" -> Done: GROUPS, Writes, General;
    }
    Presence {
        WatchPresence "watch_presence" -> Presences: READ, Reads, General socket;
        SetAway "set_away" -> Done: LoggedIn, Reads, General socket;
        Typing "typing" -> Done: WRITE, Reads, Typing;
    }
    Bots {
        CreateBot "create_bot" -> Bot: Session, Writes, Bots;
        ListBots "list_bots" -> Bots: Session, Reads, General;
        DeleteBot "delete_bot" -> Done: Session, Writes, Bots;
        CreateApiKey "create_api_key" -> ApiKey: Session, Writes, Bots;
        ListApiKeys "list_api_keys" -> ApiKeys: Session, Reads, General;
        RevokeApiKey "revoke_api_key" -> Done: Session, Writes, Bots;
        CreateWebhook "create_webhook" -> Webhook: Session, Writes, Bots;
        ListWebhooks "list_webhooks" -> Webhooks: Session, Reads, General;
        DeleteWebhook "delete_webhook" -> Done: Session, Writes, Bots;
        ListDeadLetters "list_dead_letters" -> DeadLetters: Session, Pages, General;
        Redeliver "redeliver" -> Done: Session, Writes, Bots;
        CreateIncomingWebhook "create_incoming_webhook" -> IncomingWebhook: Session, Writes, Bots;
        ListIncomingWebhooks "list_incoming_webhooks" -> IncomingWebhooks: Session, Reads, General;
        DeleteIncomingWebhook "delete_incoming_webhook" -> Done: Session, Writes, Bots;
    }
    Reports {
        Report "report" -> Done: WRITE, Writes, Reports;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_those_of_the_protocol_and_each_stands_for_one_request() {
        let names: HashSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
        assert_eq!(names, protocol::request_names().collect());
        for row in ROWS {
            let json = format!(r#"{{"{}": {{}}}}"#, row.name);
            let frame: protocol::wire::ClientFrame = serde_json::from_str(&json).unwrap();
            assert_eq!(super::row(&frame.body.expect(row.name)), row);
        }
    }

    #[test]
    fn whoever_is_not_logged_in_can_do_nothing_but_log_in() {
        let open: Vec<_> = ROWS.iter().filter(|row| row.access == Anybody).map(|row| row.name).collect();
        assert_eq!(open, ["register", "log_in", "refresh", "connect", "ping"]);
    }
}
