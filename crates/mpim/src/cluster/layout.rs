//! Where everything of a system is: directories, ports, secrets.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io, iter,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use servers::{Member, Nginx, Upstream};
use toml::Value;

use super::{Size, mpim::Instance};
use crate::{
    config::variable,
    secrets::{make_digits, private, read_or_make},
};

/// The ports that were given out before.
const PORTS: &str = "ports.json";
/// Settings of one's own, for all processes of MPIM.
const CONFIGURATION: &str = "mpim.toml";
const EMPTY_CONFIGURATION: &str = "\
# Settings for all processes of this system; see mpim config print. Where they find each other is told by mpim cluster up.
";
/// Where they find each other, for commands about the system.
const TOLD: &str = "cluster.toml";
const TOLD_HEADER: &str = "\
# Made by mpim cluster up: what it tells all processes, over mpim.toml, by their environment. For commands about this system:
# mpim config set gateway.sends_per_second 50 --config FILE, where FILE is this one. Settings of your own belong in mpim.toml.
";
/// Where it may write also if root does not run it.
const NGINX_OWN_DIRECTORIES: &str = "    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
";
/// Gateways and instances of each service at most: more are of no use on one machine.
const INSTANCES_MAX: u16 = 64;
pub(super) const SERVICES: [&str; 4] = ["user", "message", "presence", "group"];
const STORES: [&str; 4] = ["redis-cache", "redis-queue", "mariadb", "zookeeper"];
/// The database's URL, with its password.
const DATABASE_URL: &str = "mysql.url";
/// The database, and whose it is.
const DATABASE: &str = "mpim";
/// In a gateway's directory.
const SOCKET: &str = "clients.sock";
/// Bytes of a Unix socket's path at most, without the zero that ends it (`sockaddr_un`).
const SOCKET_PATH_MAX: usize = 107;
const NGINX: &str = include_str!("../../../../deploy/nginx/mpim.conf.template");

/// The system in a directory.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    size: Size,
    ports: BTreeMap<String, u16>,
}

/// Secrets of the system, each in a file of its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Secret {
    /// What the database's user, both Redis and ZooKeeper ask for.
    Stores,
    /// What processes know each other by.
    Rpc,
    /// What tokens are signed with.
    Tokens,
    /// What `mpim admin` shows.
    Admin,
}

impl Secret {
    fn file(self) -> &'static str {
        match self {
            Self::Stores => "stores.key",
            Self::Rpc => "rpc.key",
            Self::Tokens => "secret.key",
            Self::Admin => crate::embedded::ADMIN_KEY,
        }
    }
}

impl Layout {
    /// Makes what is not there yet: directories, secrets, the configuration. Ports are those of the last time; if somebody has
    /// taken one, that is told, and refused where processes run, which are `kept`: they look for the others there.
    pub(super) fn open(dir: &Path, size: Size, kept: &[Member], tell: &mut impl FnMut(&str)) -> anyhow::Result<Self> {
        for (what, count) in [("--gateways", size.gateways), ("--services", size.services)] {
            ensure!((1..=INSTANCES_MAX).contains(&count), "{what}: from 1 to {INSTANCES_MAX}, not {count}");
        }
        let configuration = dir.join(CONFIGURATION);
        if !configuration.exists() {
            fs::write(&configuration, EMPTY_CONFIGURATION).with_context(|| configuration.display().to_string())?;
        }
        for secret in [Secret::Stores, Secret::Rpc, Secret::Tokens, Secret::Admin] {
            read_or_make(&dir.join(secret.file()), make_digits)?;
        }
        let path = dir.join(PORTS);
        let ports = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let mut layout = Self { dir: dir.to_owned(), size, ports };
        layout.give_ports(kept, tell)?;
        private(&path, serde_json::to_vec_pretty(&layout.ports)?)?;
        let password = layout.secret(Secret::Stores)?;
        let url = format!("mysql://{DATABASE}:{password}@{}/{DATABASE}", layout.address("mariadb"));
        private(&dir.join(DATABASE_URL), &url)?;
        private(&dir.join(TOLD), format!("{TOLD_HEADER}{}", layout.told()?))?;
        Ok(layout)
    }

    fn give_ports(&mut self, kept: &[Member], tell: &mut impl FnMut(&str)) -> anyhow::Result<()> {
        // Of whom, and what for.
        let mut names: Vec<(String, String)> = STORES.map(|name| (name.into(), name.into())).into();
        for instance in self.instances() {
            names.extend([(instance.name.clone(), instance.name.clone()), (instance.name.clone(), instance.monitor())]);
        }
        names.extend(["nginx", "nginx-tcp"].map(|name| ("nginx".into(), name.into())));
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        for (process, name) in names {
            let before = self.ports.get(&name).copied();
            if let Some(port) = before
                && (kept.iter().any(|member| member.name == process) || is_free(port))
            {
                continue;
            }
            let new = iter::repeat_with(servers::free_port).find(|port| self.ports.values().all(|other| other != port));
            let new = new.context("there is no free port")?;
            if let Some(port) = before {
                ensure!(
                    kept.is_empty(),
                    "{name}: another program has taken its port {port}, where those that run look for it: end that program, \
                     or let all move by mpim cluster down and up"
                );
                tell(&format!("{name}: another program has taken its port {port}; it moves to {new}"));
            }
            self.ports.insert(name, new);
        }
        Ok(())
    }

    /// All processes, in the order in which they are started, with the address that tells how they are.
    pub(super) fn processes(&self) -> impl Iterator<Item = (String, SocketAddr)> {
        let at = |name: &str| (name.to_owned(), self.address(name));
        let ours = self.instances().map(|instance| (instance.name.clone(), self.address(&instance.monitor())));
        STORES.into_iter().map(at).chain(ours).chain(iter::once(at("nginx")))
    }

    /// The processes of MPIM, services first.
    pub(super) fn instances(&self) -> impl Iterator<Item = Instance> + use<> {
        let Size { gateways, services } = self.size;
        let of = |role: &'static str, count: u16| (1..=count).map(move |number| Instance::new(role, number));
        SERVICES.into_iter().flat_map(move |role| of(role, services)).chain(of(Instance::GATEWAY, gateways))
    }

    /// A process's directory.
    pub(super) fn dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn port(&self, name: &str) -> u16 {
        self.ports.get(name).copied().unwrap_or(0)
    }

    pub(super) fn address(&self, name: &str) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port(name)).into()
    }

    /// Where Nginx reaches a gateway at less cost than by TCP; `None` where the system does not allow so long a path.
    pub(super) fn socket(&self, gateway: &Instance) -> Option<PathBuf> {
        Some(self.dir(&gateway.name).join(SOCKET)).filter(|path| path.as_os_str().len() <= SOCKET_PATH_MAX)
    }

    pub(super) fn nginx_address(&self) -> SocketAddr {
        self.address("nginx")
    }

    /// Where clients connect.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.nginx_address())
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.dir.join(CONFIGURATION)
    }

    fn secret_file(&self, secret: Secret) -> PathBuf {
        self.dir.join(secret.file())
    }

    pub(super) fn secret(&self, secret: Secret) -> anyhow::Result<String> {
        let path = self.secret_file(secret);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// SQL that MariaDB carries out at each start: the database and its user are there after it, and nobody comes without a
    /// password.
    pub(super) fn database_setup(&self) -> anyhow::Result<String> {
        let password = self.secret(Secret::Stores)?;
        Ok(format!(
            "CREATE DATABASE IF NOT EXISTS {DATABASE};\n\
             CREATE USER IF NOT EXISTS '{DATABASE}'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
             GRANT ALL ON {DATABASE}.* TO '{DATABASE}'@'127.0.0.1';\n\
             ALTER USER 'root'@'localhost' IDENTIFIED BY '{password}';\n\
             DROP USER IF EXISTS 'root'@'127.0.0.1';\n"
        ))
    }

    /// What all processes of MPIM are told, over the configuration: section, key, value.
    fn settings(&self) -> anyhow::Result<[(&'static str, &'static str, Value); 15]> {
        let file = |path: PathBuf| match path.to_str() {
            Some(path) => Ok(Value::from(path)),
            None => anyhow::bail!("{}: the directory's path has to be UTF-8", path.display()),
        };
        let secret = |secret| file(self.secret_file(secret));
        let port = |name| Value::from(i64::from(self.port(name)));
        let host = || Value::from(Ipv4Addr::LOCALHOST.to_string());
        Ok([
            ("server", "secret_key_file", secret(Secret::Tokens)?),
            ("server", "admin_key_file", secret(Secret::Admin)?),
            ("rpc", "secret_file", secret(Secret::Rpc)?),
            ("mysql", "url_file", file(self.dir.join(DATABASE_URL))?),
            ("zookeeper", "hosts", self.address("zookeeper").to_string().into()),
            ("zookeeper", "username", "mpim".into()),
            ("zookeeper", "password_file", secret(Secret::Stores)?),
            ("redis_cache", "host", host()),
            ("redis_cache", "port", port("redis-cache")),
            ("redis_cache", "password_file", secret(Secret::Stores)?),
            ("redis_queue", "host", host()),
            ("redis_queue", "port", port("redis-queue")),
            ("redis_queue", "password_file", secret(Secret::Stores)?),
            ("gateway", "trusted_proxies", host()),
            ("webhooks", "gateway", self.address("nginx-tcp").to_string().into()),
        ])
    }

    /// The settings as variables of the environment.
    pub(super) fn environment(&self) -> anyhow::Result<Vec<(OsString, OsString)>> {
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Ok(self.settings()?.map(|(section, key, value)| (variable(section, key).into(), text(value).into())).into())
    }

    /// The settings as a configuration.
    fn told(&self) -> anyhow::Result<String> {
        let mut lines = String::new();
        let mut last = "";
        for (section, key, value) in self.settings()? {
            if section != last {
                lines += &format!("\n[{section}]\n");
                last = section;
            }
            lines += &format!("{key} = {value}\n");
        }
        Ok(lines)
    }

    /// Nginx in front of the gateways: HTTP and WebSocket on one port, TCP on another.
    pub(super) fn nginx_configuration(&self) -> String {
        let gateways = self
            .instances()
            .filter(Instance::is_gateway)
            .map(|gateway| Upstream { address: self.address(&gateway.name), socket: self.socket(&gateway) });
        let gateways: Vec<Upstream> = gateways.collect();
        NGINX
            .replace("${MPIM_MODULES}", &Nginx::stream_module())
            .replace("${MPIM_GATEWAYS}", &Nginx::gateways(&gateways))
            .replace("${MPIM_HTTP_LISTEN}", &self.nginx_address().to_string())
            .replace("${MPIM_TCP_LISTEN}", &self.address("nginx-tcp").to_string())
            .replace("${MPIM_TLS}", "")
            // What it may have depends on who runs it.
            .replace("worker_rlimit_nofile 200000;", "")
            .replace("\nhttp {\n", &format!("\nhttp {{\n{NGINX_OWN_DIRECTORIES}"))
    }
}
