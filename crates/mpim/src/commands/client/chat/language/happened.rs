//! What happened to a conversation, as a line of its history.

use client::wire::{self, content::Kind};

use super::Language;
use crate::commands::client::print::one_line;

/// What an entry tells that is not a message; `name` gives what to call a user. `None` if there is nothing to say.
pub(in crate::commands::client::chat) fn happened(
    language: Language,
    kind: &Kind,
    from: &str,
    name: impl Fn(u64) -> String,
    time: impl Fn(i64) -> String,
) -> Option<String> {
    let chinese = language == Language::Zh;
    let all = |users: &[u64]| {
        users.iter().map(|&user| name(user)).collect::<Vec<_>>().join(if chinese { "、" } else { ", " })
    };
    // In the order of English first, Chinese second.
    let either = |english: String, chinese_text: String| Some(if chinese { chinese_text } else { english });
    match kind {
        Kind::GroupCreated(created) => {
            let (title, members) = (one_line(&created.title), all(&created.members));
            if members.is_empty() {
                return either(format!("{from} made the group “{title}”"), format!("{from}创建了群“{title}”"));
            }
            either(format!("{from} made the group “{title}”: {members}"), format!("{from}创建了群“{title}”：{members}"))
        }
        Kind::MembersAdded(added) => {
            let members = all(&added.members);
            either(format!("{from} brought in {members}"), format!("{from}邀请了{members}"))
        }
        Kind::MemberJoined(_) => either(format!("{from} joined"), format!("{from}加入了群")),
        Kind::MemberLeft(_) => either(format!("{from} left"), format!("{from}退出了群")),
        Kind::MembersRemoved(removed) => {
            let members = all(&removed.members);
            if removed.banned {
                either(format!("{from} banned {members}"), format!("{from}封禁了{members}"))
            } else {
                either(format!("{from} removed {members}"), format!("{from}移除了{members}"))
            }
        }
        Kind::BansLifted(lifted) => {
            let users = all(&lifted.users);
            either(format!("{from} lifted the ban of {users}"), format!("{from}解除了对{users}的封禁"))
        }
        Kind::RoleChanged(changed) => {
            let member = name(changed.member);
            let (role, role_zh) = match changed.role() {
                wire::Role::Member => ("a member", "普通成员"),
                wire::Role::Admin => ("an admin", "管理员"),
                wire::Role::Owner => ("the owner", "群主"),
            };
            either(format!("{from} made {member} {role}"), format!("{from}将{member}设为{role_zh}"))
        }
        Kind::OwnerChanged(changed) => {
            let owner = name(changed.owner);
            either(format!("{from} made {owner} the owner"), format!("{from}将群转让给{owner}"))
        }
        Kind::MembersMuted(muted) => {
            let (members, until) = (all(&muted.members), time(muted.until_ms));
            if muted.until_ms == 0 {
                either(format!("{from} let {members} write again"), format!("{from}解除了{members}的禁言"))
            } else {
                either(format!("{from} muted {members} until {until}"), format!("{from}禁言{members}至{until}"))
            }
        }
        Kind::GroupChanged(changed) => {
            let what = changes(language, changed);
            either(format!("{from} changed {what}"), format!("{from}修改了{what}"))
        }
        Kind::NicknameChanged(changed) if changed.nickname.is_empty() => {
            either(format!("{from} gave up the nickname"), format!("{from}取消了群昵称"))
        }
        Kind::NicknameChanged(changed) => {
            let nickname = &changed.nickname;
            either(format!("{from} took the nickname “{nickname}”"), format!("{from}的群昵称改为“{nickname}”"))
        }
        Kind::GroupDissolved(_) => either(format!("{from} dissolved the group"), format!("{from}解散了群")),
        _ => None,
    }
}

fn changes(language: Language, changed: &wire::GroupChanged) -> String {
    let mut parts = Vec::new();
    let texts = [
        (&changed.title, "the title:", "标题："),
        (&changed.description, "the description:", "简介："),
        (&changed.avatar, "the picture", "头像"),
        (&changed.announcement, "the announcement:", "公告："),
    ];
    for (text, english, chinese) in texts {
        parts.extend(text.as_ref().map(|text| format!("{} {}", language.pick(english, chinese), one_line(text))));
    }
    if changed.join_policy.is_some() {
        parts.push(
            match changed.join_policy() {
                wire::JoinPolicy::Open => language.pick("joining: open", "加入方式：公开"),
                wire::JoinPolicy::ByInvitation => language.pick("joining: by invitation", "加入方式：仅邀请"),
                wire::JoinPolicy::ByApproval => language.pick("joining: by approval", "加入方式：需审批"),
            }
            .to_owned(),
        );
    }
    parts.extend(changed.admins_invite.map(|only| {
        if only {
            language.pick("only admins invite", "仅管理员可邀请")
        } else {
            language.pick("all invite", "所有人可邀请")
        }
        .to_owned()
    }));
    parts.extend(changed.muted.map(|muted| {
        if muted {
            language.pick("only admins write", "全员禁言")
        } else {
            language.pick("all write", "解除全员禁言")
        }
        .to_owned()
    }));
    parts.join("; ")
}
