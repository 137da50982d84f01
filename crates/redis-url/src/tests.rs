use super::*;

fn parsed(url: &str) -> Result<Server, InvalidUrl> {
    url.parse()
}

fn hosts(server: &Server) -> Vec<(&str, u16)> {
    server.hosts.iter().map(|(host, port)| (host.as_str(), *port)).collect()
}

fn login(user: &str, password: &str) -> Login {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Login { user: some(user), password: some(password) }
}

#[test]
fn a_url_names_one_server_a_cluster_or_sentinels() {
    let alone = parsed("redis://cache.example:6380/2").unwrap();
    assert_eq!((&alone.kind, hosts(&alone), alone.database), (&Kind::Alone, vec![("cache.example", 6380)], 2));
    assert_eq!((alone.tls, &alone.login), (false, &Login::default()));
    let secured = parsed("rediss://us%40er:p%3Aw@[::1]:7000").unwrap();
    assert_eq!((hosts(&secured), secured.tls, &secured.login), (vec![("::1", 7000)], true, &login("us@er", "p:w")));
    assert_eq!(hosts(&parsed("redis://[::1]").unwrap()), [("::1", 6379)]);
    assert_eq!(parsed("redis://:secret@one").unwrap().login, login("", "secret"));
    let cluster = parsed("redis+cluster://one,two:7001,three").unwrap();
    assert_eq!((&cluster.kind, hosts(&cluster)[1]), (&Kind::Cluster, ("two", 7001)));
    let sentinel = parsed("redis+sentinel://one,two:5000/main/3").unwrap();
    let kind = Kind::Sentinel { master: "main".into(), login: Login::default() };
    assert_eq!((&sentinel.kind, hosts(&sentinel), sentinel.database), (&kind, vec![("one", 26379), ("two", 5000)], 3));
}

#[test]
fn sentinels_are_shown_their_own_login_and_servers_theirs() {
    let url = "redis+sentinel://u:p%26w@one/main?sentinel_username=watch%3Fer&sentinel_password=s%40c";
    let server = parsed(url).unwrap();
    let Kind::Sentinel { login: to_sentinels, .. } = &server.kind else { panic!("{server:?}") };
    assert_eq!((&server.login, to_sentinels), (&login("u", "p&w"), &login("watch?er", "s@c")));
    let named = server.named_connection_info("one", 26379).unwrap();
    assert_eq!((named.redis_settings().username(), named.redis_settings().password()), (Some("watch?er"), Some("s@c")));
    let master = server.connection_info("ten", 6379).unwrap();
    assert_eq!((master.redis_settings().username(), master.redis_settings().password()), (Some("u"), Some("p&w")));
    // Those who have a password of their own, and Sentinels none.
    let server = parsed("redis+sentinel://:p@one/main").unwrap();
    assert_eq!(server.named_connection_info("one", 26379).unwrap().redis_settings().password(), None);
}

#[test]
fn a_password_is_shown_nowhere_encoded_or_not() {
    for url in [
        "redis://u:QX/QY@host",
        "redis://u:QX?QY@host",
        "redis://u:QX#QY@host",
        "redis://:QX/QY@QZ@host:7000/1",
        "redis+cluster://u:QX/QY@one,two",
        "redis+sentinel://one/main?sentinel_password=QX@QY",
        "redis+sentinel://u:QZ@one/main?sentinel_password=QX@QY",
    ] {
        let error = parsed(url).err().unwrap().to_string();
        assert!(error.contains("percent-encoded"), "{error}");
        assert!(!error.contains('Q') && !without_passwords(url).contains('Q'), "{url}: {error}");
    }
    for url in [
        "http://user:secret@host",
        "user:secret@host",
        "redis://user:secret@a,b",
        "redis://host?sentinel_password=secret",
        "redis+sentinel://h?sentinel_password=secret",
        "redis+sentinel://h/main?sentinel_passwort=secret",
        "redis+sentinel://h/main?secret",
    ] {
        let error = parsed(url).err().unwrap().to_string();
        assert!(!error.contains("secret") && !without_passwords(url).contains("secret"), "{url}: {error}");
    }
    let right = "redis+sentinel://user:secret@h/main?sentinel_password=secret";
    assert!(!format!("{:?}", parsed(right).unwrap()).contains("secret"));
    assert_eq!(without_passwords(right), "redis+sentinel://…@h/main?…");
    assert_eq!(without_passwords("redis://h:1/2"), "redis://h:1/2");
}

#[test]
fn one_database_is_known_under_two_urls() {
    for (one, other, shared) in [
        ("redis://:p@h/1", "redis://H:6379/1", Some(("h", 6379))),
        ("redis://h/1", "redis://h/2", None),
        ("redis://h:1/1", "redis://h:2/1", None),
        ("redis+cluster://a,b:1", "redis+cluster://c,b:1", Some(("b", 1))),
        ("redis+sentinel://a,b/main/1", "redis+sentinel://b/main/1", Some(("b", 26379))),
        ("redis+sentinel://a,b/main/1", "redis+sentinel://b/other/1", None),
    ] {
        assert_eq!(parsed(one).unwrap().shares_database_with(&parsed(other).unwrap()), shared, "{one} {other}");
    }
}

#[test]
fn a_login_that_is_not_encoded_is_refused_in_the_url_of_a_database_as_well_and_not_shown() {
    for url in
        ["mysql://u:QX:Q@QZ/w:rd#1@HOST/chat", "mysql://u:Q#1@h/d", "mysql://Q?:p@h/d", "u:Q/Q@h", "mysql://u:Q/@h"]
    {
        let error = check_login(url).unwrap_err().to_string();
        assert!(error.contains("percent-encoded") && !error.contains('Q'), "{url}: {error}");
    }
    for url in ["mysql://u:p%40%2F%23:%25@h:1/d?ssl-ca=/etc/ca.pem", "mysql://h/d", "mysql://u@h/d"] {
        assert_eq!(check_login(url), Ok(()), "{url}");
    }
}

#[test]
fn a_wrong_url_is_refused_by_what_is_wrong_and_what_would_be_right() {
    for (url, named) in [
        ("http://host", "redis+cluster://"),
        ("host", "redis+cluster://"),
        ("redis://", "host or host:port"),
        ("redis://a,b", "several hosts"),
        ("redis://h:0", "\"h:0\""),
        ("redis://h:x", "\"h:x\""),
        ("redis://[::1]7", "host or host:port"),
        ("redis://[::1", "host or host:port"),
        ("redis://h/x", "\"x\""),
        ("redis+cluster://a/1", "only database 0"),
        ("redis+sentinel://a", "/master/database"),
        ("redis+sentinel://a/m/x", "\"x\""),
        ("redis+other://a", "redis+cluster://"),
        ("redis://%ff@h", "UTF-8"),
        ("redis+sentinel://a/m?sentinel_password=%ff", "UTF-8"),
    ] {
        let error = parsed(url).err().unwrap_or_else(|| panic!("{url} is allowed")).to_string();
        assert!(error.contains(named), "{url}: {error}");
    }
}

#[test]
fn the_url_of_a_server_is_read_as_it_was_meant() {
    for (host, user, password) in [
        ("h", "", None),
        ("h", "u", None),
        ("h", "u@:/", Some("p@:/?&%ü")),
        ("::1", "", Some("p")),
        ("[::1]", "", None),
    ] {
        let url = url_of(host, 7, 2, user, password);
        let server = parsed(&url).unwrap();
        assert_eq!(hosts(&server), [(host.trim_matches(['[', ']']), 7)]);
        assert_eq!((server.kind, server.database, server.tls), (Kind::Alone, 2, false));
        assert_eq!(server.login, login(user, password.unwrap_or_default()));
    }
    assert_eq!(url_of("r", 7, 2, "u", Some("p@/")), "redis://u:p%40%2F@r:7/2");
}
