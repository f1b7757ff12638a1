//! The configuration, checked, with the headers as they will be written.
//!
//! **Invariant:** with credentials nothing is `*`: browsers would not take it, and whoever reflects origins instead opens
//! every session to every page.

use meshup_sdk::prelude::*;

use crate::origin::Origins;

const ANY: &str = "*";

/// The filter's configuration; `README.md` lists the keys.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    pub(crate) origins: Origins,
    methods: String,
    headers: String,
    exposed_headers: String,
    credentials: bool,
    max_age: Option<String>,
    private_network: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    origins: Origins,
    #[serde(default = "default_methods")]
    methods: Vec<String>,
    #[serde(default)]
    headers: Vec<HeaderName>,
    #[serde(default)]
    exposed_headers: Vec<HeaderName>,
    #[serde(default)]
    credentials: bool,
    #[serde(default, with = "duration")]
    max_age: Option<Duration>,
    #[serde(default)]
    private_network: bool,
}

/// What browsers send without asking.
fn default_methods() -> Vec<String> {
    ["GET", "HEAD", "POST"].map(str::to_owned).to_vec()
}

impl TryFrom<RawConfig> for Config {
    type Error = String;

    fn try_from(raw: RawConfig) -> Result<Self, String> {
        check_methods(&raw.methods)?;
        if raw.credentials {
            check_credentials(&raw)?;
        }
        Ok(Self {
            origins: raw.origins,
            methods: raw.methods.join(", "),
            headers: list(&raw.headers),
            exposed_headers: list(&raw.exposed_headers),
            credentials: raw.credentials,
            max_age: raw.max_age.map(|age| age.as_secs().to_string()),
            private_network: raw.private_network,
        })
    }
}

/// Methods are tokens, like the names of headers.
fn check_methods(methods: &[String]) -> Result<(), String> {
    for (index, method) in methods.iter().enumerate() {
        let is_token = HeaderName::try_from(format!("x{method}")).is_ok();
        if method.is_empty() || !is_token {
            return Err(format!("methods[{index}]: invalid method {method:?}"));
        }
        // Browsers compare exactly, and send the standard methods in upper case.
        if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(format!("methods[{index}]: {method:?} is not in upper case"));
        }
    }
    Ok(())
}

fn check_credentials(raw: &RawConfig) -> Result<(), String> {
    let reason = if raw.origins.any() {
        "origins: not \"*\" together with credentials, or every page could act as the user; list the origins"
    } else if raw.origins.null() {
        "origins: not \"null\" together with credentials: every page can make a frame of that origin"
    } else if raw.methods.iter().any(|method| method == ANY) {
        "methods: browsers do not take \"*\" together with credentials; list the methods"
    } else if raw.headers.iter().any(|name| **name == *ANY) {
        "headers: browsers do not take \"*\" together with credentials; list the headers"
    } else if raw.exposed_headers.iter().any(|name| **name == *ANY) {
        "exposed_headers: browsers do not take \"*\" together with credentials; list the headers"
    } else {
        return Ok(());
    };
    Err(reason.to_owned())
}

fn list(names: &[HeaderName]) -> String {
    names.iter().map(|name| &**name).collect::<Vec<_>>().join(", ")
}

impl Config {
    /// Lets scripts of `origin` read the response.
    pub(crate) fn share(&self, res: &mut Response, origin: &str) {
        self.name_origin(res, origin);
        if !self.exposed_headers.is_empty() {
            res.headers_mut().set("access-control-expose-headers", &self.exposed_headers);
        }
    }

    /// Tells a browser what scripts of `origin` may send.
    pub(crate) fn permit(&self, res: &mut Response, origin: &str, wants_private_network: bool) {
        self.name_origin(res, origin);
        let mut headers = res.headers_mut();
        for (name, value) in
            [("access-control-allow-methods", &self.methods), ("access-control-allow-headers", &self.headers)]
        {
            if !value.is_empty() {
                headers.set(name, value);
            }
        }
        if let Some(age) = &self.max_age {
            headers.set("access-control-max-age", age);
        }
        if self.private_network && wants_private_network {
            headers.set("access-control-allow-private-network", "true");
        }
    }

    fn name_origin(&self, res: &mut Response, origin: &str) {
        let mut headers = res.headers_mut();
        headers.set("access-control-allow-origin", origin);
        if self.credentials {
            headers.set("access-control-allow-credentials", "true");
        }
    }
}
