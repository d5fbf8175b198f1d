//! A PgBouncer in transaction mode before a server of the test's own.

use std::{env, fs, path::PathBuf, time::Duration};

use tokio::{
    net::TcpStream,
    process::Child,
    time::{sleep, timeout},
};

use super::cluster::Cluster;
use crate::support::free_port;

/// How long it asks a server that is away no more, after it asked in vain.
const RETRY_SECONDS: u32 = 1;

/// A pooler, gone with this value.
#[derive(Debug)]
pub(crate) struct Pooler {
    pub(crate) port: u16,
    _process: Child,
}

impl Pooler {
    /// Starts one before `cluster`, as the README says to. Whoever connects is the API's
    /// role.
    pub(crate) async fn before(cluster: &Cluster) -> Self {
        let port = free_port();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={server} user={user} password={password}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\nserver_reset_query_always = 1\n\
             ignore_startup_parameters = extra_float_digits, options\n\
             server_login_retry = {RETRY_SECONDS}\n",
            server = cluster.port(),
            user = super::cluster::API,
            password = cluster.password(),
        );
        // In a folder that nobody else can enter.
        let path = cluster.path("pgbouncer.ini");
        fs::write(&path, settings).unwrap();
        let mut command = cluster.command(&program());
        let process = command.args(["--quiet", &path]).kill_on_drop(true).spawn().unwrap();
        let listens = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let told = || panic!("it does not listen: {}", cluster.log());
        timeout(Duration::from_secs(30), listens).await.unwrap_or_else(|_| told());
        Self { port, _process: process }
    }
}

/// Where it is installed.
fn program() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.exists())
        .expect("tests/run installs PgBouncer")
}
