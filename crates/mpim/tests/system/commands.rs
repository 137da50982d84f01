//! What people and scripts do with messages, friends and groups, by commands.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    process::{MPIM, Process},
    terminals::Terminal,
};

async fn three(dir: &std::path::Path) -> (Process, Terminal, Terminal, Terminal) {
    let process = Process::start(&dir.join("data")).await;
    let alice = Terminal::register(&process, dir, "alice").await;
    let bob = Terminal::register(&process, dir, "bob").await;
    let carol = Terminal::register(&process, dir, "carol").await;
    (process, alice, bob, carol)
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_edited_recalled_marked_pinned_forwarded_found_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (_process, alice, bob, carol) = three(dir.path()).await;
    alice.json(&["send", "bob", "lunch at noon"]).await;
    alice.json(&["send", "bob", "never mind"]).await;
    bob.json(&["send", "alice", "fine", "--reply-to", "1"]).await;
    alice.json(&["edit", "bob", "1", "午饭 at one"]).await;
    alice.json(&["recall", "bob", "2"]).await;
    bob.json(&["react", "alice", "1", "👍"]).await;
    bob.json(&["react", "alice", "1", "👍", "--remove"]).await;
    bob.json(&["pin", "alice", "1"]).await;
    let history = bob.run(&["history", "alice"], "").await.unwrap();
    let events: Vec<_> = history.iter().map(|entry| entry["event"].as_str().unwrap_or("text")).collect();
    assert_eq!(events, ["text", "recalled", "text", "edit", "recall", "reaction", "reaction", "pin"]);
    assert_eq!(history[2]["reply_to"], 1);
    assert_eq!((&history[3]["text"], &history[3]["target"]), (&json!("午饭 at one"), &json!(1)));
    assert_eq!(bob.json(&["pins", "alice"]).await["position"], 1);
    assert_eq!(bob.json(&["search", "alice", "午饭"]).await["position"], 1);
    assert!(bob.run(&["search", "alice", "noon"], "").await.unwrap().is_empty(), "it says something else now");
    assert_eq!(alice.json(&["receipts", "bob", "1"]).await, json!({ "name": "bob", "state": "read" }));

    alice.json(&["forward", "bob", "3", "--to", "carol"]).await;
    let forwarded = carol.json(&["history", "alice"]).await;
    assert_eq!((&forwarded["text"], &forwarded["forwarded"]["from"]), (&json!("fine"), &json!("bob")));

    bob.json(&["delete", "alice", "3"]).await;
    assert_eq!(bob.run(&["history", "alice"], "").await.unwrap()[2]["event"], "hidden");
    assert_eq!(alice.run(&["history", "bob"], "").await.unwrap()[2]["text"], "fine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn friends_are_asked_accepted_named_blocked_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (_process, alice, bob, carol) = three(dir.path()).await;
    alice.json(&["friend", "add", "bob", "it is me"]).await;
    let asked = bob.json(&["friend", "list"]).await;
    assert_eq!((&asked["request"], &asked["message"]), (&json!("received"), &json!("it is me")));
    bob.json(&["friend", "accept", "alice"]).await;
    bob.json(&["friend", "remark", "alice", "阿丽"]).await;
    let friend = bob.json(&["friend", "list"]).await;
    assert_eq!(
        (&friend["friend"], &friend["request"], &friend["remark"]),
        (&json!(true), &Value::Null, &json!("阿丽"))
    );
    carol.json(&["friend", "add", "bob"]).await;
    bob.json(&["friend", "refuse", "carol"]).await;
    bob.json(&["friend", "block", "carol"]).await;
    carol.json(&["send", "bob", "why?"]).await;
    bob.json(&["friend", "unblock", "carol"]).await;
    bob.json(&["friend", "remove", "alice"]).await;
    assert!(alice.run(&["friend", "list"], "").await.unwrap().is_empty());

    let profile = alice.json(&["profile", "set", "--display-name", "爱丽丝", "--status", "在忙"]).await;
    assert_eq!((&profile["display_name"], &profile["status_line"]), (&json!("爱丽丝"), &json!("在忙")));
    assert_eq!(alice.json(&["settings", "--write", "friends"]).await["write_policy"], "friends");
    assert_eq!(bob.json(&["users", "爱丽"]).await["name"], "alice");
    let refused = bob.run(&["send", "alice", "hello?"], "").await.expect_err("friends only");
    assert!(refused.contains("friends"), "{refused}");
    alice.json(&["rename", "alicia"]).await;
    assert!(alice.run(&["delete-account", "--password-stdin"], "correct horse\n").await.is_ok());
    assert!(bob.run(&["users", "alicia"], "").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_managed_by_owner_and_admins() {
    let dir = tempfile::tempdir().unwrap();
    let (_process, alice, bob, carol) = three(dir.path()).await;
    let group = alice.json(&["group", "create", "tea", "--member", "bob", "--join", "approval"]).await;
    let group = id(&group);
    let waiting = carol.json(&["group", "join", group, "--message", "me too"]).await;
    assert_eq!(waiting["waiting"], true);
    let request = alice.json(&["group", "requests", group]).await;
    assert_eq!((&request["name"], &request["message"]), (&json!("carol"), &json!("me too")));
    alice.json(&["group", "role", group, "bob", "admin"]).await;
    bob.json(&["group", "admit", group, "carol"]).await;
    bob.json(&["group", "mute", group, "carol"]).await;
    let muted = carol.run(&["send", "--group", group, "hm"], "").await.expect_err("muted");
    assert!(muted.contains("not sent"), "{muted}");
    bob.json(&["group", "mute", group, "carol", "--minutes", "0"]).await;
    carol.json(&["group", "nickname", group, "小卡"]).await;
    alice.json(&["send", "--group", group, "all of you", "--everyone"]).await;
    carol.json(&["send", "--group", group, "@bob?", "--mention", "bob"]).await;
    let said = bob.run(&["history", "--group", group, "--limit", "2"], "").await.unwrap();
    assert_eq!((&said[0]["everyone"], &said[1]["mentions"]), (&json!(true), &json!(["bob"])));
    let members = alice.run(&["group", "members", group], "").await.unwrap();
    let roles: Vec<_> = members.iter().map(|member| (member["role"].as_str().unwrap(), &member["nickname"])).collect();
    assert_eq!(roles, [("owner", &json!("")), ("admin", &json!("")), ("member", &json!("小卡"))]);

    alice.json(&["group", "set", group, "--title", "茶", "--announcement", "at five", "--muted", "true"]).await;
    let info = bob.json(&["group", "info", group]).await;
    assert_eq!(
        (&info["title"], &info["announcement"], &info["muted"]),
        (&json!("茶"), &json!("at five"), &json!(true))
    );
    assert_eq!((&info["members"], &info["join"], &info["role"]), (&json!(3), &json!("approval"), &json!("admin")));
    bob.json(&["group", "remove", group, "carol", "--ban"]).await;
    assert_eq!(alice.json(&["group", "unban", group]).await["name"], "carol");
    alice.json(&["group", "unban", group, "carol"]).await;
    let link = alice.json(&["group", "link", "create", group]).await;
    let code = link["code"].as_str().unwrap();
    assert_eq!(carol.json(&["group", "join", "--link", code]).await["waiting"], false);
    alice.json(&["group", "link", "revoke", group, code]).await;
    assert!(alice.run(&["group", "link", "list", group], "").await.unwrap().is_empty());
    alice.json(&["group", "transfer", group, "bob"]).await;
    bob.json(&["group", "dissolve", group]).await;
    assert_eq!(carol.json(&["group", "info", group]).await["dissolved"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_have_keys_that_can_be_listed_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (_process, alice, ..) = three(dir.path()).await;
    assert_eq!(alice.json(&["bot", "create", "beeper", "--display-name", "Beep"]).await["bot"], true);
    let words = ["bot", "key", "create", "beeper", "--label", "ci", "--scope", "read", "--scope", "write"];
    let key = alice.json(&words).await;
    assert!(key["secret"].as_str().is_some_and(|secret| secret.len() > 16));
    let listed = alice.json(&["bot", "key", "list", "beeper"]).await;
    assert_eq!((&listed["id"], &listed["scopes"]), (&key["id"], &json!(["read", "write"])));
    assert!(listed["secret"].is_null(), "it is told once");
    alice.json(&["bot", "key", "revoke", "beeper", id(&key)]).await;
    alice.json(&["report", "beeper", "--reason", "spam", "--text", "it beeps"]).await;
    alice.json(&["bot", "delete", "beeper"]).await;
    assert!(alice.run(&["bot", "list"], "").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incoming_webhook_is_told_as_a_whole_url_for_a_direct_conversation_and_for_a_group() {
    let dir = tempfile::tempdir().unwrap();
    let (process, alice, ..) = three(dir.path()).await;
    alice.json(&["bot", "create", "beeper"]).await;
    let direct = alice.json(&["bot", "incoming", "create", "beeper", "--label", "builds"]).await;
    let url = format!("{}/api/v1/hooks/{}", process.url(), direct["token"].as_str().unwrap());
    assert_eq!(direct["url"], json!(url));
    alice.json(&["send", "beeper", "are you there?"]).await;
    let said = alice.json(&["history", "beeper"]).await;
    assert_eq!(said["conversation"], direct["conversation"], "it posts where alice writes to the bot");
    let group = alice.json(&["group", "create", "tea", "--member", "beeper"]).await;
    let hook = alice.json(&["bot", "incoming", "create", "beeper", "--group", id(&group)]).await;
    assert_eq!(hook["conversation"], group["id"]);
    let listed = alice.run(&["bot", "incoming", "list", "beeper"], "").await.unwrap();
    assert!(listed.len() == 2 && listed.iter().all(|hook| hook["url"].is_null()), "it is told once: {listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_too_many_and_no_numbers_are_told_with_what_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let (_process, alice, ..) = three(dir.path()).await;
    for (words, wanted) in [
        (&["send", "bob", "a", "b"][..], "quotes"),
        (&["send", "bob", "a", "b", "c"], "quotes"),
        (&["edit", "bob", "1", "a", "b"], "quotes"),
        (&["group", "create", "茶", "bob"], "--member NAME"),
        (&["edit", "bob", "abc", "text"], "a whole number from 1 on"),
        (&["pin", "bob", "0"], "a whole number from 1 on"),
        (&["history", "bob", "--after", "x"], "a whole number"),
        (&["friend", "accept", "bob"], "does not ask to be your friend"),
        (&["pin", "bob", "7"], "there is no message at this position"),
    ] {
        let error = alice.run(words, "").await.expect_err("refused");
        assert!(error.contains(wanted) && !error.contains("invalid digit"), "{words:?}: {error}");
    }
}

/// What a person is told was done, where it was no message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_told_what_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let (process, alice, ..) = three(dir.path()).await;
    alice.json(&["send", "bob", "hi"]).await;
    let group = alice.json(&["group", "create", "tea", "--member", "bob"]).await;
    let group = id(&group);
    for (words, wanted) in [
        (&["edit", "bob", "1", "hello"][..], "edited message 1"),
        (&["react", "bob", "1", "👍"], "marked message 1 with 👍"),
        (&["react", "bob", "1", "👍", "--remove"], "took 👍 from message 1"),
        (&["pin", "bob", "1"], "pinned message 1"),
        (&["pin", "bob", "1", "--remove"], "unpinned message 1"),
        (&["recall", "bob", "1"], "recalled message 1"),
        (&["group", "mute", group, "bob", "--minutes", "5"], "may not write"),
        (&["group", "mute", group, "bob", "--minutes", "0"], "may write again"),
    ] {
        let mut command = Command::new(MPIM);
        command.args(["client", "--server", &process.url(), "--profile"]).arg(&alice.profile).args(words);
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && told.contains(wanted), "{words:?}: {told}");
    }
}

#[test]
fn a_configuration_is_checked_by_name_and_variables_that_set_nothing_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good.toml"), dir.path().join("bad.toml"));
    std::fs::write(&good, "[gateway]\n").unwrap();
    std::fs::write(&bad, "[gateway]\nnope = 1\n").unwrap();
    let check = |file: &std::path::Path| {
        let mut command = Command::new(MPIM);
        command.env_clear().env("MPIM_NOPE", "1").env("MPIM_SERVER", "http://127.0.0.1:1");
        let output = command.args(["config", "check"]).arg(file).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (fine, said, warned) = check(&good);
    assert!(fine && said == "ok\n", "{said}{warned}");
    assert!(warned.contains("MPIM_NOPE") && !warned.contains("MPIM_SERVER"), "{warned}");
    let (fine, _, named) = check(&bad);
    assert!(!fine && named.contains("bad.toml:2"), "{named}");
}

#[test]
fn a_report_that_could_not_be_written_is_refused_before_the_run() {
    let mut command = Command::new(MPIM);
    // With a server that is not there, which would be what goes wrong next.
    command.args(["bench", "idle", "--server", "http://127.0.0.1:1", "--html", "/nonexistent/x.html"]);
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("cannot write /nonexistent/x.html"), "{error}");
}
