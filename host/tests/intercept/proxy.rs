//! The proxy as a process in the application's namespace, under a user of its own.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{PATIENCE, PROXY_UID, namespace::Network};

/// `meshup run`; killed when it is dropped.
pub(crate) struct Proxy {
    child: Child,
    folder: TempDir,
}

impl Proxy {
    /// Starts and waits until it listens.
    pub(crate) fn start(network: &Network, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(path("meshup.toml"), config).unwrap();
        // The folder that it was built in need not be open to that user.
        fs::copy(env!("CARGO_BIN_EXE_meshup"), path("meshup")).unwrap();
        let mut command = network.application.command("setpriv");
        command.args(["--reuid", PROXY_UID, "--regid", PROXY_UID, "--clear-groups", "--"]).arg(path("meshup"));
        command.arg("run").arg("--config").arg(path("meshup.toml"));
        command.env_remove("HOME").env_remove("XDG_CACHE_HOME");
        let child = command.stderr(File::create(path("log")).unwrap()).spawn().unwrap();
        let mut proxy = Self { child, folder };
        proxy.wait_until_it_listens();
        proxy
    }

    fn wait_until_it_listens(&mut self) {
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !log().contains("admin listening") {
            assert!(Instant::now() < deadline, "{}", log());
            assert!(self.child.try_wait().unwrap().is_none(), "{}", log());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
