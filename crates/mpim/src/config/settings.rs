//! All settings: each key's name, kind, range, default and meaning stand here and nowhere else.

use std::{path::PathBuf, time::Duration};

use gateway::Network;

use super::{
    kind::{
        Address, Addresses, Choice, FilePath, Host, Kind, Levels, Networks, NodePath, OptionalAddress, OptionalPath,
        OptionalSecret, OptionalServer, Secret, Switch, Text, Whole, milliseconds, seconds,
    },
    source::Raw,
};

/// What goes through all settings.
pub(super) trait Visitor {
    /// The keys that follow are of this section.
    fn section(&mut self, name: &'static str, comment: &'static [&'static str]);

    /// One key and its value.
    fn key<K: Kind>(&mut self, key: Key, kind: &K, value: &mut K::Value);
}

/// What is known of a key beside its kind.
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) comment: &'static [&'static str],
    pub(super) default: Raw,
}

macro_rules! settings {
    ($(
        $(#[doc = $section_comment:literal])+
        $section:ident: $Section:ident {
            $(
                $(#[doc = $comment:literal])+
                $key:ident: $Value:ty = $kind:expr, $default:expr;
            )+
        }
    )+) => {
        /// The configuration of the process, by section.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct Config {
            $( $(#[doc = $section_comment])+ pub $section: $Section, )+
        }

        impl Config {
            /// Goes through all settings, in the order in which they are printed.
            pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
                $(
                    visitor.section(stringify!($section), &[$($section_comment),+]);
                    self.$section.visit(visitor);
                )+
            }
        }

        $(
            $(#[doc = $section_comment])+
            #[derive(Debug, Clone, PartialEq)]
            pub struct $Section {
                $( $(#[doc = $comment])+ pub $key: $Value, )+
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self {
                        $( $key: $kind.read(&Raw::from($default)).expect("a default is allowed"), )+
                    }
                }
            }

            impl $Section {
                fn visit(&mut self, visitor: &mut impl Visitor) {
                    $(
                        let key = Key {
                            section: stringify!($section),
                            name: stringify!($key),
                            comment: &[$($comment),+],
                            default: Raw::from($default),
                        };
                        visitor.key(key, &$kind, &mut self.$key);
                    )+
                }
            }
        )+
    };
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How often a new log file is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRotation {
    /// One file for ever.
    Never,
    /// Each day, in UTC; the date is appended to the file's name.
    Daily,
    /// Each hour, in UTC; date and hour are appended to the file's name.
    Hourly,
}

const RATE: Whole<u32> = Whole(0..=10_000_000);
const BURST: Whole<u32> = Whole(1..=10_000_000);
const CONNECTIONS: Whole<usize> = Whole(1..=10_000_000);
const MIB: u64 = 1024 * 1024;
const DAY: u64 = 24 * 3_600;
const TTL: std::ops::RangeInclusive<u64> = 1..=30 * DAY;
const TIMEOUT: std::ops::RangeInclusive<u64> = 10..=600_000;

settings! {
    /// The process.
    server: Server {
        /// The directory where everything is kept; made if it does not exist.
        data: PathBuf = FilePath, "./mpim-data";
        /// Where clients are accepted: WebSocket, TCP and HTTP on one port. Port 0 takes a free one.
        listen: String = Address, "127.0.0.1:8080";
        /// A Unix socket on which clients are accepted as well, without TLS: for a proxy on this machine, which by TCP costs
        /// more than twice as much. Who comes by it is 127.0.0.1, also for gateway.trusted_proxies.
        socket: Option<PathBuf> = OptionalPath, "";
        /// Where a process of a distributed system tells how it is: /metrics, /healthz, /readyz. Port 0 takes a free one.
        monitor: String = Address, "127.0.0.1:0";
        /// How long clients may take, when the process is told to stop, to receive what is theirs.
        shutdown_grace: Duration = seconds(0..=3_600), 10;
        /// What tokens are signed with: 64 hexadecimal digits, the same for all user services of a system. In one process it
        /// is made on the first start.
        secret_key: Option<Secret> = OptionalSecret, "";
        /// What `mpim admin` shows: 64 hexadecimal digits, the same for all gateways. In one process it is made on the first
        /// start; a gateway without one refuses `mpim admin`.
        admin_key: Option<Secret> = OptionalSecret, "";
    }

    /// Client connections. The rates may be changed while the process runs; a rate of 0 means no limit.
    gateway: Gateway {
        /// Connections at a time. Further ones wait until one ends.
        connections_max: usize = CONNECTIONS, 100_000;
        /// Connections at a time from one address. Further ones are closed at once.
        connections_per_address_max: usize = CONNECTIONS, 20_000;
        /// Requests of one connection each second, sends apart …
        requests_per_second: u32 = RATE, 200;
        /// … and at once, after a pause.
        requests_burst: u32 = BURST, 1_000;
        /// Messages sent by one user each second, over all connections …
        sends_per_second: u32 = RATE, 1_000;
        /// … and at once, after a pause.
        sends_burst: u32 = BURST, 2_000;
        /// Messages sent into one conversation each second, by all its members …
        conversation_sends_per_second: u32 = RATE, 500;
        /// … and at once, after a pause.
        conversation_sends_burst: u32 = BURST, 2_000;
        /// Requests of one address each second to register, log in or refresh a token …
        accounts_per_second: u32 = RATE, 50;
        /// … and at once, after a pause.
        accounts_burst: u32 = BURST, 500;
        /// Friend requests, remarks, blocks and changes of profile and settings by one user each minute …
        contacts_per_minute: u32 = RATE, 120;
        /// … and at once, after a pause.
        contacts_burst: u32 = BURST, 200;
        /// Groups that one user makes, joins, invites to and changes each minute …
        groups_per_minute: u32 = RATE, 120;
        /// … and at once, after a pause.
        groups_burst: u32 = BURST, 200;
        /// Searches by one user each second, for messages and for users …
        searches_per_second: u32 = RATE, 10;
        /// … and at once, after a pause.
        searches_burst: u32 = BURST, 100;
        /// Changes to bots, keys and webhooks by one user each minute …
        bots_per_minute: u32 = RATE, 60;
        /// … and at once, after a pause.
        bots_burst: u32 = BURST, 100;
        /// Reports by one user each minute …
        reports_per_minute: u32 = RATE, 10;
        /// … and at once, after a pause.
        reports_burst: u32 = BURST, 20;
        /// Notices of one user's typing each second; further ones are dropped without a word …
        typing_per_second: u32 = RATE, 5;
        /// … and at once, after a pause.
        typing_burst: u32 = BURST, 20;
        /// Drafts saved by one user each second …
        drafts_per_second: u32 = RATE, 5;
        /// … and at once, after a pause.
        drafts_burst: u32 = BURST, 50;
        /// How long an account is new: so long its user has but a part of these rates …
        new_account_age: Duration = seconds(0..=365 * DAY), DAY;
        /// … in percent.
        new_account_percent: u32 = Whole(1..=100), 25;
        /// Bytes that may wait for one client. One that reads more slowly is closed, and resumes.
        outbox_bytes_max: usize = Whole(64 * 1024..=1024 * 1024 * 1024), MIB;
        /// The same in frames.
        outbox_frames_max: usize = Whole(16..=10_000_000), 4_096;
        /// How long a client may take without reading before it is closed, and resumes.
        write_timeout: Duration = seconds(1..=3_600), 10;
        /// How long a client may take to say its first words.
        handshake_timeout: Duration = seconds(1..=3_600), 10;
        /// How long a request may take before it is answered with an error.
        request_timeout: Duration = seconds(1..=3_600), 10;
        /// How long an HTTP connection lives; WebSocket and TCP connections live on.
        http_connection_max: Duration = seconds(1..=DAY), 60;
        /// How long a user may be without a connection before others see them gone.
        departure_grace: Duration = seconds(0..=3_600), 3;
        /// Clients of a gateway that stops reconnect spread over this time.
        drain_reconnect_spread: Duration = seconds(0..=3_600), 5;
        /// A gateway that is told to stop says on /readyz that it is not ready, and still serves for so long, so that whoever sends
        /// it clients hears of it first.
        drain_notice: Duration = seconds(0..=3_600), 0;
        /// The certificate to speak TLS with, in PEM, followed by those that lead to its authority; empty: nothing is in TLS. It is
        /// read again when it changes.
        tls_certificate: Option<PathBuf> = OptionalPath, "";
        /// The certificate's private key, in PEM; empty: it is in the same file.
        tls_key: Option<PathBuf> = OptionalPath, "";
        /// Proxies that are believed when they say which client they speak for, by X-Forwarded-For or the PROXY protocol: addresses
        /// or networks, separated by commas. Whoever is believed here can get around all limits that count by address.
        trusted_proxies: Vec<Network> = Networks, "";
    }

    /// Accounts and sessions. Passwords are hashed with Argon2id; hashes made with other settings stay valid.
    user: User {
        /// Memory for one hash, in KiB. Less than 8192 is for tests.
        password_memory_kib: u32 = Whole(8..=4 * 1024 * 1024), 19_456;
        /// Passes over the memory for one hash.
        password_iterations: u32 = Whole(1..=100), 2;
        /// Threads that hash. One does about 50 log-ins a second.
        hashing_threads: usize = Whole(1..=1_024), 1;
        /// Log-ins that may wait for them; further ones are told to come later.
        hashing_queue: usize = Whole(1..=100_000), 128;
        /// How long an access token is valid.
        access_token_ttl: Duration = seconds(10..=DAY), 900;
        /// How long a session lives without being used.
        refresh_token_ttl: Duration = seconds(60..=3_650 * DAY), 30 * DAY;
        /// How long a client may be away and come back without its refresh token.
        resume_token_ttl: Duration = seconds(10..=30 * DAY), DAY;
    }

    /// Messages, and their way to the store.
    message: Message {
        /// How long after it was sent a message may be edited by its sender; 0: for ever.
        edit_within: Duration = seconds(0..=3_650 * DAY), DAY;
        /// How long after it was sent a message may be taken back by its sender; 0: for ever.
        recall_within: Duration = seconds(0..=3_650 * DAY), DAY;
        /// Entries in one transaction. Their logs are moved in one packet with the commit, which the database has to take.
        append_batch_max: usize = Whole(1..=10_000), 1_000;
        /// Bytes of messages that may wait for the store; further ones are refused as certainly not stored.
        append_queue_bytes_max: usize = Whole(1024 * 1024..=64 * 1024 * 1024 * 1024), 64 * MIB;
    }

    /// Outgoing webhooks.
    webhooks: Webhooks {
        /// Where the user services of a distributed system, which deliver, reach gateways: one, or Nginx in front of them, by
        /// tcp://HOST:PORT (HOST:PORT means that) or http://HOST:PORT, with TLS tls://HOST:PORT or https://HOST. Those without it
        /// deliver none; the others deliver all. Not used in one process.
        gateway: Option<client::Server> = OptionalServer, "";
        /// The authorities (a PEM file) that vouch for the gateways' certificate; empty: those of the system.
        gateway_authority: Option<PathBuf> = OptionalPath, "";
        /// How long a receiver may take for one request.
        timeout: Duration = milliseconds(10..=600_000), 10_000;
        /// Attempts until an entry becomes a dead letter.
        attempts_max: u32 = Whole(1..=100), 8;
        /// The wait after the first attempt. It doubles with each further one …
        wait_min: Duration = milliseconds(1..=3_600_000), 1_000;
        /// … up to this. A receiver that asks for a longer wait gets at most this as well.
        wait_max: Duration = milliseconds(1..=DAY * 1_000), 600_000;
        /// Requests under way at a time, of all webhooks together.
        requests_max: usize = Whole(1..=10_000), 64;
        /// Whether receivers may have addresses that are not public (this machine, the local network), and http: URLs. Then
        /// whoever may make a bot can have requests sent there.
        allow_private: bool = Switch, false;
    }

    /// How the processes of a distributed system reach each other. Not used in one process.
    rpc: Rpc {
        /// Where this process takes calls of the others. Port 0 takes a free one.
        listen: String = Address, "127.0.0.1:0";
        /// Where the others reach it, if that is another address; its port 0 means the port of `listen`.
        advertise: Option<String> = OptionalAddress, "";
        /// What the processes know each other by; the same for all of a system, at least 32 characters.
        secret: Option<Secret> = OptionalSecret, "";
        /// This process's certificate (PEM): calls are encrypted then, and both sides show that they are of the authority's.
        tls_certificate: Option<PathBuf> = OptionalPath, "";
        /// The certificate's key (PEM).
        tls_key: Option<PathBuf> = OptionalPath, "";
        /// The authority that certified the processes (PEM).
        tls_authority: Option<PathBuf> = OptionalPath, "";
        /// Connections to each instance of a service.
        connections: usize = Whole(1..=64), 2;
        /// Where this process runs; callers prefer instances of their own zone.
        zone: String = Text, "";
        /// Its share of the work relative to the others; 0: none.
        weight: u32 = Whole(0..=1_000_000), 100;
    }

    /// Discovery, node numbers, live configuration. Not used in one process.
    zookeeper: ZooKeeper {
        /// The servers: HOST:PORT, several with commas between them.
        hosts: String = Addresses, "127.0.0.1:2181";
        /// The path under which everything is kept. Systems that share a ZooKeeper have one each.
        root: String = NodePath, "/mpim";
        /// Who may read and change what is kept there, with the password; the same for all. Without them everybody may who
        /// reaches ZooKeeper.
        username: String = Text, "";
        /// The password.
        password: Option<Secret> = OptionalSecret, "";
        /// After so long without a word, ZooKeeper takes this process for gone.
        session_timeout: Duration = milliseconds(1_000..=600_000), 10_000;
    }

    /// The database of a distributed system. Not used in one process.
    mysql: MySql {
        /// The database by its URL: mysql://USER:PASSWORD@HOST:PORT/DATABASE. It has to be there; tables are made. What is no
        /// letter and no digit in user and password is percent-encoded. Across a network that is not trusted append
        /// ?ssl-mode=VERIFY_IDENTITY, and &ssl-ca=FILE if the authority is your own.
        url: Option<Secret> = OptionalSecret, "";
        /// A replica to read history from, by its URL.
        replica_url: Option<Secret> = OptionalSecret, "";
        /// Connections at most, to each of them.
        max_connections: u32 = Whole(2..=10_000), 16;
        /// How long each step of a call (a read, or a transaction up to its commit) may take, and then the commit. Waits for locks,
        /// told in whole seconds, get half of it: at least 2 s, so that they are not taken for silence.
        timeout: Duration = milliseconds(2_000..=600_000), 5_000;
    }

    /// The embedded store.
    store: Store {
        /// Threads that read.
        readers: usize = Whole(1..=64), 2;
        /// How long the write-ahead log may grow before it is copied into the database, in MiB.
        wal_mib_max: u32 = Whole(1..=65_536), 64;
    }

    /// The process's own log.
    log: Log {
        /// What is logged. May be changed while the process runs.
        level: String = Levels, "info";
        /// How the lines look.
        format: LogFormat = Choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]), "text";
        /// The file; empty for standard error.
        file: Option<PathBuf> = OptionalPath, "";
        /// How often a new file is begun.
        rotation: LogRotation = Choice(&[
            ("never", LogRotation::Never),
            ("daily", LogRotation::Daily),
            ("hourly", LogRotation::Hourly),
        ]), "daily";
        /// Files kept when a new one is begun.
        files_max: usize = Whole(1..=10_000), 14;
        /// Lines that may wait to be written; further ones are dropped and counted.
        lines_max: usize = Whole(16..=10_000_000), 65_536;
    }

    /// The cache. In one process only the lifetimes count. Each is varied by 10 %, and may be changed while the process runs, for
    /// what is kept from then on.
    redis_cache: RedisCache {
        /// The server's host.
        host: String = Host, "127.0.0.1";
        /// The server's port.
        port: u16 = Whole(1..=65_535), 6_379;
        /// The database's number.
        database: u32 = Whole(0..=1_000_000), 0;
        /// The server, a Redis Cluster or Sentinels by a URL, instead of host, port, database, username and password:
        /// redis://HOST:PORT/DATABASE, redis+cluster://HOST:PORT,…, redis+sentinel://HOST:PORT,…/MASTER/DATABASE; with TLS
        /// rediss…; with USER:PASSWORD@ before the hosts; ?sentinel_username=…&sentinel_password=… if Sentinels ask for it.
        url: Option<Secret> = OptionalSecret, "";
        /// The user to log in as; empty for the server's default user.
        username: String = Text, "";
        /// The password.
        password: Option<Secret> = OptionalSecret, "";
        /// Connections at most.
        max_connections: u32 = Whole(2..=10_000), 50;
        /// How long an answer may take.
        timeout: Duration = milliseconds(TIMEOUT), 5_000;
        /// How long it is kept what everybody may know of a user: name, display name, avatar and the like.
        user_info_ttl: Duration = seconds(TTL), 3_600;
        /// Has no effect: who is whose friend, or has blocked whom, decides who may write and who sees whom, and is asked of the
        /// database each time. Accepted so that configurations with it work as they stand.
        friends_ttl: Duration = seconds(TTL), 1_800;
        /// How long a group's title and avatar are kept.
        group_info_ttl: Duration = seconds(TTL), 3_600;
        /// How long it is kept when a user was last seen. Who is online is not: that is in the message queue.
        status_ttl: Duration = seconds(TTL), 3_600;
    }

    /// The message queue. Not used in one process.
    redis_queue: RedisQueue {
        /// The server's host.
        host: String = Host, "127.0.0.1";
        /// The server's port.
        port: u16 = Whole(1..=65_535), 6_379;
        /// The database's number.
        database: u32 = Whole(0..=1_000_000), 1;
        /// The server, a Redis Cluster or Sentinels by a URL, instead of host, port, database, username and password:
        /// redis://HOST:PORT/DATABASE, redis+cluster://HOST:PORT,…, redis+sentinel://HOST:PORT,…/MASTER/DATABASE; with TLS
        /// rediss…; with USER:PASSWORD@ before the hosts; ?sentinel_username=…&sentinel_password=… if Sentinels ask for it.
        url: Option<Secret> = OptionalSecret, "";
        /// The user to log in as; empty for the server's default user.
        username: String = Text, "";
        /// The password.
        password: Option<Secret> = OptionalSecret, "";
        /// Connections at most.
        max_connections: u32 = Whole(2..=10_000), 100;
        /// How long an answer may take.
        timeout: Duration = milliseconds(TIMEOUT), 5_000;
        /// Entries in one publication.
        batch_size: usize = Whole(1..=10_000), 100;
        /// The longest that an entry waits for others to be published with it.
        batch_timeout: Duration = milliseconds(1..=60_000), 1_000;
        /// Attempts to publish before an entry is left to catching up.
        max_retries: u32 = Whole(1..=100), 3;
    }
}
