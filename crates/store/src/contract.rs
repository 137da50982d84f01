//! What every store promises, as tests. A store's crate runs them all with [`contract_suite!`](crate::contract_suite):
//!
//! ```text
//! async fn fresh() -> (std::sync::Arc<dyn store::contract::Store>, tempfile::TempDir) { … }
//! store::contract_suite!(fresh);
//! ```
//!
//! Each promise is an async function that takes an empty store and panics if the promise is broken.

// These functions are tests, though they are compiled as a library.
#![allow(clippy::unwrap_used)]

pub mod accounts;
pub mod administration;
pub mod appending;
pub mod bots;
pub mod changes;
pub mod contacts;
pub mod direct;
mod follower;
pub mod groups;
pub mod heads;
pub mod history;
pub mod links;
pub mod membership;
mod model;
pub mod presence;
pub mod profiles;
pub mod reading;
pub mod receipts;
pub mod reports;
mod scene;
pub mod sessions;
pub mod views;
pub mod webhooks;

use crate::{Groups, LastSeen, Messages, Users, Webhooks};

/// All that a store does, for the tests alone: a service is handed only its own trait.
pub trait Store: Users + Webhooks + Messages + Groups + LastSeen {}

impl<T: Users + Webhooks + Messages + Groups + LastSeen> Store for T {}

/// Makes a test of each promise. The argument is an async function that returns an empty store and what must outlive it
/// (a directory, a server).
#[macro_export]
macro_rules! contract_suite {
    ($fresh:path) => {
        $crate::contract_suite! { @tests $fresh;
            accounts:
                a_name_is_taken_once_however_many_ask,
                an_account_made_again_with_its_id_is_there,
                accounts_are_found_by_name_and_id,
                a_password_is_changed_only_from_the_hash_it_had,
                what_is_told_of_an_account_is_noted_with_it,
                a_deleted_account_is_an_empty_one,
                a_deleted_accounts_name_is_kept_for_a_while,
                a_suspended_account_is_kept_out_with_its_bots,
                a_bots_own_suspension_is_not_its_owners;
            sessions:
                live_sessions_are_limited_and_listed_oldest_first,
                a_refresh_token_is_used_once_and_a_replay_ends_the_session,
                a_refresh_whose_answer_got_lost_is_repeated_with_its_request,
                of_two_who_use_a_token_at_once_one_wins_and_the_session_ends,
                what_is_over_is_not_live_and_refreshes_nothing,
                only_its_user_ends_a_session_and_once,
                ended_sessions_are_told_until_forgotten,
                use_of_a_session_is_noted_forward_only,
                use_prolongs_a_session_and_its_unused_token;
            profiles:
                a_profile_changes_as_told,
                a_name_given_up_is_kept_for_a_while,
                users_are_found_by_how_their_names_begin;
            bots:
                a_request_makes_one_bot_for_good,
                an_api_key_is_good_until_it_ends,
                a_deleted_bot_has_no_keys,
                no_bot_is_without_its_owner,
                an_incoming_webhook_is_found_by_its_token;
            webhooks:
                a_request_makes_one_webhook_for_good,
                a_webhook_never_goes_back,
                dead_letters_are_kept_within_a_bound;
            reports:
                reports_are_listed_newest_first_until_closed;
            groups:
                a_request_makes_one_group_for_good,
                groups_are_found_by_id;
            presence:
                last_seen_only_grows;
            appending:
                positions_have_no_gaps_however_many_append,
                an_id_used_at_once_makes_one_entry,
                an_id_names_its_entry_for_good,
                an_id_belongs_to_its_sender,
                what_is_refused_stops_nothing_else_and_stores_nothing,
                a_message_answers_what_is_there,
                a_personal_log_takes_entries_of_its_user_alone,
                an_append_is_done_wholly_though_its_future_is_dropped;
            direct:
                two_users_who_open_at_once_get_one_conversation,
                one_may_talk_to_oneself,
                those_are_visible_who_wrote_or_read_in_a_direct_conversation;
            membership:
                members_enter_and_exit_with_the_entry,
                a_refused_entry_makes_no_group_and_no_member,
                members_stay_as_they_are_when_entered_again,
                effects_are_told_in_order_until_settled,
                a_group_holds_no_more_than_its_limit,
                a_group_has_no_more_admins_than_its_limit,
                members_are_listed_in_pages_to_members_alone;
            administration:
                authority_is_looked_at_with_the_entry,
                the_banned_do_not_enter,
                the_muted_do_not_write,
                a_mute_outlasts_membership,
                everyone_is_mentioned_by_owner_and_admins,
                the_owner_leaves_only_alone,
                nothing_is_written_to_a_dissolved_group,
                a_group_is_changed_by_entries_of_its_log;
            changes:
                only_its_sender_edits_a_message,
                a_recall_erases_all_that_a_message_said,
                who_recalls_is_the_sender_or_above_the_sender,
                pins_are_set_and_removed_by_those_who_may,
                the_changes_of_messages_are_found,
                a_scan_tells_messages_as_they_say_now,
                an_id_is_known_to_be_used;
            contacts:
                a_request_makes_friends_once_it_is_accepted,
                an_id_of_something_else_about_a_contact_is_refused,
                what_finds_nothing_to_change_is_settled,
                remarks_are_kept_and_contacts_listed_in_pages,
                settings_change_where_told_though_two_do_so_at_once,
                strangers_do_not_write_to_those_who_want_friends_only,
                what_the_blocked_write_is_withheld,
                each_of_two_sees_the_pins_that_the_log_tells,
                a_recall_erases_for_both_whatever_they_are_to_each_other,
                the_blocked_are_not_told_of_reading,
                a_block_holds_in_a_conversation_opened_later,
                friends_are_visible_and_the_invisible_are_not;
            links:
                a_join_request_is_noted_once_until_it_is_closed,
                links_are_made_once_and_limited,
                a_revoked_link_is_forgotten_when_no_retry_comes_any_more,
                a_link_is_used_no_more_often_than_it_may;
            receipts:
                delivered_positions_go_forward_and_along_with_reading,
                receiving_concerns_all_of_a_small_group,
                receipts_are_counted_for_the_sender;
            views:
                settings_of_a_conversation_are_its_members_own,
                a_draft_that_is_replaced_is_erased,
                a_draft_answers_what_is_there,
                edits_of_what_a_user_deletes_are_hidden_as_well,
                what_a_user_deletes_is_hidden_from_that_user;
            reading:
                read_positions_go_forward_and_not_past_the_end,
                marks_at_once_end_at_the_furthest,
                ones_own_message_is_read,
                reading_concerns_the_other_of_two_and_all_of_a_small_group;
            history:
                pages_go_both_ways_from_any_position,
                pages_hold_no_more_bytes_than_asked_for_but_one_entry,
                strangers_read_nothing;
            heads:
                heads_come_last_changed_first_in_pages_without_overlap,
                a_direct_conversation_is_shown_from_its_first_entry,
                heads_bring_the_last_entries_within_a_bound_of_bytes,
                whoever_follows_heads_while_others_write_misses_nothing,
                random_histories_agree_with_a_model;
        }
    };
    (@tests $fresh:path; $($area:ident: $($promise:ident),+;)+) => {
        $(mod $area {
            // `$fresh` may be a path within the module above or a full one.
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let (store, _outlives) = $fresh().await;
                    $crate::contract::$area::$promise(store).await;
                }
            )+
        })+
    };
}
