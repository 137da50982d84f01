//! What the screen says, in English and in Chinese.

mod happened;

pub(super) use happened::happened;

/// A language of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    /// English
    En,
    /// 中文
    Zh,
}

impl Language {
    /// What the environment asks for, by the first of these variables that is set and not empty.
    pub(super) fn of_environment(variables: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| variables(name).filter(|value| !value.is_empty());
        match ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(set) {
            Some(locale) if locale.starts_with("zh") => Self::Zh,
            _ => Self::En,
        }
    }

    /// One of two.
    pub(super) fn pick<'a>(self, english: &'a str, chinese: &'a str) -> &'a str {
        match self {
            Self::En => english,
            Self::Zh => chinese,
        }
    }

    pub(super) fn say(self, word: Word) -> &'static str {
        let (english, chinese) = both(word);
        self.pick(english, chinese)
    }
}

/// Something the screen says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    NoChats,
    NoMessages,
    Connected,
    Connecting,
    Offline,
    SessionOver,
    LogInAgain,
    You,
    Edited,
    Recalled,
    Pinned,
    Forwarded,
    Draft,
    Compose,
    Replying,
    Editing,
    Loading,
    Help,
    Gone,
    Failed,
    Done,
    NewChat,
    Friends,
    Requests,
    Group,
    NewGroup,
    React,
    ForwardTo,
    Search,
    SearchPrompt,
    Details,
    Invite,
    Nickname,
    Title,
    Announcement,
    Remark,
    AddMessage,
    NothingFound,
    DeleteQuestion,
    LeaveQuestion,
    DissolveQuestion,
    RemoveFriendQuestion,
    RemoveMemberQuestion,
    BanQuestion,
    TransferQuestion,
    JoiningQuestion,
    NotOwn,
    NotText,
    TooSmall,
    IsFriend,
    AsksYou,
    AskedByYou,
    Blocked,
    AsksToJoin,
    Link,
    Everyone,
    Encrypted,
    Unknown,
    Before,
    Sent,
    Delivered,
    Read,
    MutedHere,
    HintNewChat,
    HintFriends,
    HintGroup,
    HintPick,
    HintRead,
    HintClose,
    HintOpen,
    UsableUntil,
    HintPrompt,
    HintDelete,
    HintDeleteForMe,
    HintJoining,
    HintConfirm,
    HintHelp,
}

fn both(word: Word) -> (&'static str, &'static str) {
    match word {
        Word::NoChats => ("No chats yet. Ctrl-N begins one.", "还没有会话。按 Ctrl-N 开始。"),
        Word::NoMessages => ("Nothing was said yet.", "还没有消息。"),
        Word::Connected => ("connected", "已连接"),
        Word::Connecting => ("connecting…", "连接中…"),
        Word::Offline => ("reconnecting in", "重新连接，剩余"),
        Word::SessionOver => ("logged out", "已退出登录"),
        Word::LogInAgain => ("quit and log in again", "请退出并重新登录"),
        Word::You => ("you", "我"),
        Word::Edited => ("edited", "已编辑"),
        Word::Recalled => ("message recalled", "消息已撤回"),
        Word::Pinned => ("pinned", "已置顶"),
        Word::Forwarded => ("from", "转发自"),
        Word::Draft => ("draft", "草稿"),
        Word::Compose => ("Message", "输入消息"),
        Word::Replying => ("reply to", "回复"),
        Word::Editing => ("editing", "编辑"),
        Word::Loading => ("loading…", "加载中…"),
        Word::Help => ("Help", "帮助"),
        Word::Gone => ("deleted account", "已注销"),
        Word::Failed => ("not sent", "未发送"),
        Word::Done => ("done", "已完成"),
        Word::NewChat => ("New chat: begin a name", "新会话：输入名字开头"),
        Word::Friends => ("Friends", "好友"),
        Word::Requests => ("requests", "请求"),
        Word::Group => ("Group", "群组"),
        Word::NewGroup => ("New group: its title", "新群组：标题"),
        Word::React => ("React", "回应"),
        Word::ForwardTo => ("Forward to", "转发到"),
        Word::Search => ("Found", "搜索结果"),
        Word::SearchPrompt => ("Search in this chat", "在会话中搜索"),
        Word::Details => ("Message", "消息详情"),
        Word::Invite => ("Invite: a name", "邀请：名字"),
        Word::Nickname => ("Your nickname here", "我在本群的昵称"),
        Word::Title => ("Title", "群标题"),
        Word::Announcement => ("Announcement", "群公告"),
        Word::Remark => ("What you call them", "备注名"),
        Word::AddMessage => ("Ask to be friends: a few words", "添加好友：附言"),
        Word::NothingFound => ("nothing found", "没有找到"),
        Word::DeleteQuestion => ("Remove this message?", "删除这条消息？"),
        Word::LeaveQuestion => ("Leave this group?", "退出该群？"),
        Word::DissolveQuestion => ("Dissolve this group for good?", "永久解散该群？"),
        Word::RemoveFriendQuestion => ("End the friendship with:", "删除好友："),
        Word::RemoveMemberQuestion => ("Remove from this group:", "移出该群："),
        Word::BanQuestion => ("Remove for good:", "永久移出该群："),
        Word::TransferQuestion => ("Give this group to:", "将该群转让给："),
        Word::JoiningQuestion => ("Who may join?", "谁可以加入？"),
        Word::NotOwn => ("that is not your message", "这不是你的消息"),
        Word::NotText => ("only texts can be edited", "只能编辑文本"),
        Word::TooSmall => ("window too small", "窗口太小"),
        Word::IsFriend => ("friend", "好友"),
        Word::AsksYou => ("asks you", "请求加你"),
        Word::AskedByYou => ("asked by you", "已发送请求"),
        Word::Blocked => ("blocked", "已拉黑"),
        Word::AsksToJoin => ("asks to join", "申请入群"),
        Word::Link => ("Link for joining", "邀请链接"),
        Word::Everyone => ("everyone", "所有人"),
        Word::Encrypted => ("encrypted message", "加密消息"),
        Word::Unknown => ("a newer kind of message", "未知类型的消息"),
        Word::Before => ("before", "此前"),
        Word::Sent => ("sent", "已发送"),
        Word::Delivered => ("delivered", "已送达"),
        Word::Read => ("read", "已读"),
        Word::MutedHere => ("muted", "已禁言"),
        Word::HintNewChat => (
            "Enter chat · Ctrl-A add friend · Ctrl-G new group · Esc",
            "Enter 聊天 · Ctrl-A 加好友 · Ctrl-G 建群 · Esc",
        ),
        Word::HintFriends => (
            "Enter chat · a accept · x refuse · n add · b block · m remark · d remove · Esc",
            "Enter 聊天 · a 接受 · x 拒绝 · n 添加 · b 拉黑 · m 备注 · d 删除 · Esc",
        ),
        Word::HintGroup => (
            "i invite · y/x admit/remove · b ban · a admin · t transfer · m mute · n nickname · T title · A announce · \
             j joining · k link · l leave · D dissolve",
            "i 邀请 · y/x 同意/移除 · b 封禁 · a 管理员 · t 转让 · m 禁言 · n 昵称 · T 标题 · A 公告 · j 加入方式 · k 链接 · \
             l 退群 · D 解散",
        ),
        Word::HintPick => ("↑↓ Enter · Esc", "↑↓ Enter · Esc"),
        Word::HintRead => ("↑↓ · Esc", "↑↓ · Esc"),
        Word::HintClose => ("Esc closes", "Esc 关闭"),
        Word::HintOpen => ("↑↓ Enter: open a chat · F1 help", "↑↓ Enter 打开会话 · F1 帮助"),
        Word::UsableUntil => ("can be used until", "有效期至"),
        Word::HintPrompt => ("Enter · Esc", "Enter 确定 · Esc 取消"),
        Word::HintDelete => ("r recall for everyone · d delete for me · Esc", "r 为所有人撤回 · d 仅为我删除 · Esc"),
        Word::HintDeleteForMe => ("d delete for me · Esc", "d 仅为我删除 · Esc"),
        Word::HintJoining => (
            "o everybody · a whom an admin admits · i who is invited · Esc as it is",
            "o 所有人 · a 需管理员同意 · i 仅受邀者 · Esc 不变",
        ),
        Word::HintConfirm => ("y yes · Esc no", "y 是 · Esc 否"),
        Word::HintHelp => ("F1 help", "F1 帮助"),
    }
}

/// All keys, for the help: what to press, and what it does. An empty key makes a heading.
pub(super) fn keys(language: Language) -> Vec<(&'static str, &'static str)> {
    let all: [(&str, &str, &str); 47] = [
        ("", "Everywhere", "任何地方"),
        ("F1", "this help (? in chats and history)", "帮助（会话和历史中也可按 ?）"),
        ("Tab / Shift-Tab", "compose, chats, history", "切换：输入、会话、历史"),
        ("Esc", "back; from compose to history", "返回；从输入到历史"),
        ("Alt-↑ Alt-↓", "chat before, after", "上一个、下一个会话"),
        (language.pick("PgUp PgDn, wheel", "PgUp PgDn、滚轮"), "scroll", "滚动"),
        (
            language.pick("Shift and drag", "Shift 加拖动"),
            "select text; or begin with --no-mouse",
            "选择文字；或用 --no-mouse",
        ),
        ("Ctrl-N", "new chat, find a user", "新会话、查找用户"),
        ("Ctrl-F", "friends and requests", "好友与请求"),
        ("F2, Ctrl-G", "group and its members", "群组与成员"),
        ("F3", "search in the chat (/ outside compose)", "在会话中搜索（输入框外按 /）"),
        ("Ctrl-C, Ctrl-Q", "quit", "退出"),
        ("", "Compose", "输入"),
        ("Enter", "send", "发送"),
        ("Alt-Enter, Ctrl-J", "new line", "换行"),
        ("@ Tab", "complete a name", "补全名字"),
        ("↑ ↓", "line; what you sent before", "上下行；此前发送的内容"),
        ("← →, Home End", "move", "移动"),
        ("Ctrl-A Ctrl-E", "begin, end of line", "行首、行尾"),
        ("Alt-B Alt-F", "word back, forward", "前一词、后一词"),
        ("Ctrl-W, Alt-Bksp", "cut the word before", "剪切前一词"),
        ("Alt-D", "cut the word after", "剪切后一词"),
        ("Ctrl-U Ctrl-K", "cut to begin, end of line", "剪切到行首、行尾"),
        ("Ctrl-Y", "put back what was cut", "粘贴剪切内容"),
        ("", "History", "历史"),
        ("↑ ↓", "choose a message", "选择消息"),
        ("r", "reply", "回复"),
        ("e", "edit", "编辑"),
        ("d", "recall or delete", "撤回或删除"),
        ("+", "react", "回应"),
        ("p", "pin, unpin", "置顶、取消置顶"),
        ("f", "forward", "转发"),
        ("i", "who read it, what it said before", "谁已读、编辑记录"),
        ("/", "search", "搜索"),
        ("Home End", "oldest loaded, newest", "最早、最新"),
        ("", "Chats", "会话"),
        ("↑ ↓ Enter", "choose, open", "选择、打开"),
        ("p", "pin, unpin", "置顶、取消置顶"),
        ("m", "mute, unmute", "静音、取消静音"),
        ("u", "mark unread, read", "标为未读、已读"),
        ("x", "hide until something comes", "隐藏直到有新消息"),
        ("", "Signs", "标记"),
        ("✓ ✓✓", "stored, delivered; bold: read", "已存储、已送达；粗体：已读"),
        ("✓✓3", "in a group: how many have read it", "群中已读人数"),
        ("● ○", "online, away", "在线、离开"),
        ("^ ~ •", "pinned, muted, marked unread", "置顶、静音、标为未读"),
        ("@", "you were mentioned", "有人提到你"),
    ];
    all.iter().map(|&(key, english, chinese)| (key, language.pick(english, chinese))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses_the_language() {
        let of = |wanted: &'static [(&str, &str)]| {
            Language::of_environment(move |name| {
                wanted.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[("LANG", "zh_CN.UTF-8")]), Language::Zh);
        assert_eq!(of(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "en_GB")]), Language::En);
        assert_eq!(of(&[("LANG", "zh_TW"), ("LC_ALL", "")]), Language::Zh);
        assert_eq!(of(&[]), Language::En);
    }
}
