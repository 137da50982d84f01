//! What may be set, and what is where.

use std::{fmt, time::Duration};

use zookeeper_client::{Acls, CreateMode, CreateOptions};

use crate::{Error, Result};

/// The settings of a [`ZooKeeperRegistry`](super::ZooKeeperRegistry).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The members of the ensemble: `host:port`, separated by commas.
    pub servers: String,
    /// Below which everything of this system is, so that several systems can share an ensemble: `/mpim`.
    pub prefix: String,
    /// How long ZooKeeper keeps the instances and node numbers of a process that it does not hear of; ZooKeeper has bounds of
    /// its own (2 to 20 of its ticks).
    pub session_timeout: Duration,
    /// How long a call waits for ZooKeeper, the first connection included.
    pub connect_timeout: Duration,
    /// Who this is. With them, what is written can be read and changed only by who has them too; without, by everybody
    /// who reaches ZooKeeper.
    pub credentials: Option<Credentials>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            servers: "127.0.0.1:2181".into(),
            prefix: "/mpim".into(),
            session_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(15),
            credentials: None,
        }
    }
}

/// A name and a password, for ZooKeeper's scheme `digest`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name, without a colon.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Config {
    /// Where everything is.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names what cannot be used.
    pub(super) fn tree(&self) -> Result<Tree> {
        let invalid = |what, value: &str, allowed| Err(Error::Invalid { what, value: value.into(), allowed });
        if self.servers.split(',').any(|server| server.is_empty() || server.contains(['/', ' '])) {
            return invalid("the servers of ZooKeeper", &self.servers, "say host:port,host:port");
        }
        let parts = self.prefix.strip_prefix('/').map(|rest| rest.split('/'));
        if !parts.is_some_and(|mut parts| parts.all(is_name)) {
            return invalid("the prefix in ZooKeeper", &self.prefix, "say a path such as /mpim");
        }
        if let Some(Credentials { user, .. }) = &self.credentials
            && (user.is_empty() || user.contains(':'))
        {
            return invalid("the user for ZooKeeper", user, "say a name without a colon");
        }
        let acls = if self.credentials.is_some() { Acls::creator_all() } else { Acls::anyone_all() };
        Ok(Tree { root: self.prefix.clone(), acls })
    }

    /// What is at the prefix is closed to whom these settings name.
    pub(super) fn not_authorized(&self) -> Error {
        Error::NotAuthorized {
            servers: self.servers.clone(),
            prefix: self.prefix.clone(),
            user: self.credentials.as_ref().map(|credentials| credentials.user.clone()),
        }
    }
}

/// Where everything is, and who may see it.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    root: String,
    acls: Acls<'static>,
}

impl Tree {
    pub(super) fn service(&self, service: &str) -> Result<String> {
        Ok(format!("{}/services/{}", self.root, name("the name of a service", service)?))
    }

    pub(super) fn config(&self, key: &str) -> Result<String> {
        Ok(format!("{}/config/{}", self.root, name("a key of the live configuration", key)?))
    }

    pub(super) fn nodes(&self) -> String {
        format!("{}/nodes", self.root)
    }

    /// How a node is made that stays.
    pub(super) fn lasting(&self) -> CreateOptions<'static> {
        CreateMode::Persistent.with_acls(self.acls)
    }

    /// How a node is made that goes with the session.
    pub(super) fn ephemeral(&self) -> CreateOptions<'static> {
        CreateMode::Ephemeral.with_acls(self.acls)
    }
}

fn name<'a>(what: &'static str, value: &'a str) -> Result<&'a str> {
    let allowed = "say a word without slashes and control characters";
    if is_name(value) { Ok(value) } else { Err(Error::Invalid { what, value: value.into(), allowed }) }
}

/// What can be a node's name.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text != "." && text != ".." && !text.contains(|c: char| c == '/' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_cannot_be_used_is_named_with_what_can() {
        let refused = |config: Config| config.tree().unwrap_err().to_string();
        for servers in ["", "a:1,,b:1", "a:1/chroot", "a:1, b:1"] {
            let error = refused(Config { servers: servers.into(), ..Config::default() });
            assert!(error.contains("host:port") && error.contains(&format!("{servers:?}")), "{error}");
        }
        for prefix in ["", "/", "mpim", "/mpim/", "/a//b", "/a/../b"] {
            let error = refused(Config { prefix: prefix.into(), ..Config::default() });
            assert!(error.contains("/mpim") && error.contains(&format!("{prefix:?}")), "{error}");
        }
        let credentials = |user: &str| Some(Credentials { user: user.into(), password: "secret".into() });
        let error = refused(Config { credentials: credentials("a:b"), ..Config::default() });
        assert!(error.contains("colon"), "{error}");
        assert!(!format!("{:?}", credentials("a")).contains("secret"));
        let tree = Config { prefix: "/eu/mpim".into(), ..Config::default() }.tree().unwrap();
        assert_eq!(tree.service("user").unwrap(), "/eu/mpim/services/user");
        assert!(tree.service("a/b").is_err() && tree.config("..").is_err() && tree.config("").is_err());
    }
}
