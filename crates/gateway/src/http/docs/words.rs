//! The words of the page about the HTTP interface, in each of its languages. What the requests mean is told in the words of
//! the protocol's files.

/// The words of one language.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) language: &'static str,
    pub(super) title: &'static str,
    pub(super) introduction: &'static str,
    /// A link to the page in the other language.
    pub(super) other: &'static str,
    pub(super) for_programs: &'static str,
    pub(super) request: &'static str,
    pub(super) answer: &'static str,
    pub(super) try_it: &'static str,
    pub(super) field: &'static str,
    pub(super) kind: &'static str,
    pub(super) meaning: &'static str,
    pub(super) no_fields: &'static str,
    pub(super) nobody: &'static str,
    pub(super) any_key: &'static str,
    pub(super) scope: &'static str,
    pub(super) session: &'static str,
    pub(super) admin: &'static str,
    pub(super) socket: &'static str,
    pub(super) one_of: &'static str,
    pub(super) list_of: &'static str,
    pub(super) optional: &'static str,
    pub(super) hooks: &'static str,
    pub(super) hook_text: &'static str,
    pub(super) administration: &'static str,
    pub(super) messages: &'static str,
    /// Topics by the names that they have for programs.
    pub(super) topics: [(&'static str, &'static str); 9],
}

impl Words {
    pub(super) fn topic(&self, name: &'static str) -> &'static str {
        self.topics.iter().find(|(tag, _)| *tag == name).map_or(name, |(_, title)| title)
    }
}

pub(super) static ENGLISH: Words = Words {
    language: "en",
    title: "MPIM over HTTP",
    introduction: "Each request is a POST with JSON, and each answer is JSON. 64-bit numbers are written as texts, bytes in \
        base64, enumerations as names; what is zero, empty or false is left out. A refusal is an \
        <a href=\"#Error\">Error</a> with a fitting status; if it has a Retry-After, wait that long. Requests with an id are \
        done once, however often they arrive.",
    other: "<a href=\"?lang=zh\" lang=\"zh\">中文</a>",
    for_programs: "For programs",
    request: "Request",
    answer: "Answer",
    try_it: "Example",
    field: "Field",
    kind: "Type",
    meaning: "Meaning",
    no_fields: "No fields.",
    nobody: "no log-in",
    any_key: "any token",
    scope: "scope",
    session: "session only",
    admin: "admin key",
    socket: "WebSocket and TCP only",
    one_of: "one of",
    list_of: "list of",
    optional: "optional",
    hooks: "Incoming webhooks",
    hook_text: "Posts a message into the webhook's conversation, as its bot. The token is the secret. Give either text or \
        content, and an id (a UUID) if the same post may come twice.",
    administration: "Administration",
    messages: "Types",
    topics: [
        ("accounts", "Accounts and sessions"),
        ("users", "Users"),
        ("contacts", "Contacts"),
        ("messages", "Messages"),
        ("conversations", "Conversations"),
        ("groups", "Groups"),
        ("presence", "Presence"),
        ("bots", "Bots, keys and webhooks"),
        ("reports", "Reports"),
    ],
};

pub(super) static CHINESE: Words = Words {
    language: "zh",
    title: "MPIM 的 HTTP 接口",
    introduction: "每个请求都是携带 JSON 的 POST，应答也是 JSON。64 位整数写成字符串，字节序列用 base64，枚举用名称；\
        零、空和 false 省略不写。请求被拒绝时返回 <a href=\"#Error\">Error</a> 和相应的状态码；若带有 Retry-After，请等待相应的秒数。\
        带 id 的请求无论到达几次都只执行一次。",
    other: "<a href=\"?lang=en\" lang=\"en\">English</a>",
    for_programs: "供程序使用",
    request: "请求",
    answer: "应答",
    try_it: "示例",
    field: "字段",
    kind: "类型",
    meaning: "含义",
    no_fields: "没有字段。",
    nobody: "无需登录",
    any_key: "任意令牌",
    scope: "权限",
    session: "仅限登录会话",
    admin: "管理密钥",
    socket: "仅限 WebSocket 和 TCP",
    one_of: "任选其一",
    list_of: "列表：",
    optional: "可选",
    hooks: "传入 Webhook",
    hook_text: "以机器人的身份向 Webhook 所属的会话发送一条消息。路径中的 token 就是密钥。text 与 content 二者择一；\
        同一条消息可能重复提交时，请给出 id（UUID）。",
    administration: "管理",
    messages: "类型",
    topics: [
        ("accounts", "账号与会话"),
        ("users", "用户"),
        ("contacts", "联系人"),
        ("messages", "消息"),
        ("conversations", "会话设置"),
        ("groups", "群组"),
        ("presence", "在线状态"),
        ("bots", "机器人、密钥与 Webhook"),
        ("reports", "举报"),
    ],
};
