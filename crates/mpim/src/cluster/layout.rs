//! Where everything of a system is: directories, ports, secrets.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use servers::{Nginx, Upstream};

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
/// Where it may write also if root does not run it.
const NGINX_OWN_DIRECTORIES: &str = "    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
";
/// Gateways and instances of each service at most: more are of no use on one machine.
const INSTANCES_MAX: u16 = 64;
const SERVICES: [&str; 4] = ["user", "message", "presence", "group"];
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
    /// Makes what is not there yet: directories, secrets, the configuration. Ports are those of the last time, unless
    /// somebody has taken them.
    pub(super) fn open(dir: &Path, size: Size) -> anyhow::Result<Self> {
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
        layout.give_ports();
        fs::write(&path, serde_json::to_vec_pretty(&layout.ports)?).with_context(|| path.display().to_string())?;
        let password = layout.secret(Secret::Stores)?;
        let url = format!("mysql://{DATABASE}:{password}@{}/{DATABASE}", layout.address("mariadb"));
        private(&dir.join(DATABASE_URL), &url)?;
        Ok(layout)
    }

    fn give_ports(&mut self) {
        let mut names: Vec<String> =
            ["redis-cache", "redis-queue", "mariadb", "zookeeper", "nginx", "nginx-tcp"].map(str::to_owned).into();
        for instance in self.instances() {
            names.extend([instance.name.clone(), instance.monitor()]);
        }
        for name in names {
            let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
            let port = self.ports.get(&name).copied().filter(is_free).unwrap_or_else(servers::free_port);
            self.ports.insert(name, port);
        }
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

    /// What all processes of MPIM are told, over the configuration.
    pub(super) fn environment(&self) -> anyhow::Result<Vec<(OsString, OsString)>> {
        let file = |secret| self.secret_file(secret).into_os_string();
        let settings: [(&str, &str, OsString); 15] = [
            ("server", "secret_key_file", file(Secret::Tokens)),
            ("server", "admin_key_file", file(Secret::Admin)),
            ("rpc", "secret_file", file(Secret::Rpc)),
            ("mysql", "url_file", self.dir.join(DATABASE_URL).into_os_string()),
            ("zookeeper", "hosts", self.address("zookeeper").to_string().into()),
            ("zookeeper", "username", "mpim".into()),
            ("zookeeper", "password_file", file(Secret::Stores)),
            ("redis_cache", "port", self.port("redis-cache").to_string().into()),
            ("redis_cache", "password_file", file(Secret::Stores)),
            ("redis_cache", "host", Ipv4Addr::LOCALHOST.to_string().into()),
            ("redis_queue", "port", self.port("redis-queue").to_string().into()),
            ("redis_queue", "password_file", file(Secret::Stores)),
            ("redis_queue", "host", Ipv4Addr::LOCALHOST.to_string().into()),
            ("gateway", "trusted_proxies", Ipv4Addr::LOCALHOST.to_string().into()),
            ("webhooks", "gateway", self.address("nginx-tcp").to_string().into()),
        ];
        Ok(settings.into_iter().map(|(section, key, value)| (variable(section, key).into(), value)).collect())
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
