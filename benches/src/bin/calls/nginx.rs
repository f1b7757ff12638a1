//! nginx, to count its system calls beside: one process, the same forwarding.
//!
//! **Invariant:** it ends with the value that stands for it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use http::Version;

/// A running nginx.
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Nginx {
    /// Starts it; none where there is none.
    pub(crate) fn start(origin: SocketAddr, protocol: Version, folder: &Path) -> Result<Option<Self>> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(address, origin, protocol, folder))?;
        let mut command = Command::new("nginx");
        // Servers live in sbin, which is not in everyone's PATH.
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        let Ok(child) = command.arg("-c").arg(file).spawn() else { return Ok(None) };
        let nginx = Self { address, child };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(started.elapsed() < Duration::from_secs(5), "nginx does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Some(nginx))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // An error here means that it is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn configuration(listen: SocketAddr, origin: SocketAddr, protocol: Version, folder: &Path) -> String {
    let folder = folder.display();
    let http2 = if protocol == Version::HTTP_2 { "http2" } else { "" };
    format!(
        "daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream origin {{ server {origin}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen {listen} {http2};
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"
    )
}
