//! `tls` of listeners and of upstreams: which files, and who has to show a certificate.
//!
//! Opens no file: whether they hold what they should is judged when a generation is built (`reload/tls.rs`).
//!
//! **Invariant:** a certificate is never named without its key, and a listener has at least one of them.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{
    Location, keys,
    raw::{Fault, Table, Value},
    value::{beside, one_of},
};

/// `tls` of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// `certificate` and `private_key`, then `certificates`: at least one. The first is for clients that ask for no name
    /// or for one that none of them has.
    pub certificates: Vec<KeyPair>,
    /// `client_ca` and `client_auth`; without them clients are not asked for a certificate.
    pub client: Option<ClientCertificates>,
    /// `min_version`: default TLS 1.2.
    pub min_version: TlsVersion,
}

/// A certificate (PEM, with the chain below it) and its key (PEM; PKCS#8, PKCS#1 or SEC 1, not encrypted).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// `certificate`
    pub certificate: PathBuf,
    /// `private_key`
    pub private_key: PathBuf,
}

/// Who may show which certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// `client_ca`: the authorities (PEM).
    pub ca: PathBuf,
    /// `client_auth`: default required.
    pub auth: ClientAuth,
}

/// `client_auth`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// A client without certificate is refused.
    Required,
    /// It is served; one with a certificate that is not valid is refused all the same.
    Optional,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// `"1.2"`
    Tls12,
    /// `"1.3"`
    Tls13,
}

/// `tls` of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// `server_name`: what the certificate has to be for; default: the endpoint.
    pub server_name: Option<String>,
    /// `ca`: the authorities (PEM); default: those of the system.
    pub ca: Option<PathBuf>,
    /// `certificate` and `private_key`: what is shown to the upstream.
    pub identity: Option<KeyPair>,
}

/// Where the files of a `tls` table are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsLocation {
    /// In the order of the pairs.
    pub pairs: Vec<PairLocation>,
    /// `client_ca` or `ca`, or the table without them.
    pub ca: Location,
}

/// Where the files of one pair are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairLocation {
    /// `certificate`
    pub certificate: Location,
    /// `private_key`
    pub private_key: Location,
}

impl KeyPair {
    fn files(&self) -> [&Path; 2] {
        [&self.certificate, &self.private_key]
    }
}

impl ListenerTls {
    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let ca = self.client.iter().map(|client| client.ca.as_path());
        self.certificates.iter().flat_map(KeyPair::files).chain(ca)
    }
}

impl UpstreamTls {
    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.identity.iter().flat_map(KeyPair::files).chain(self.ca.as_deref())
    }
}

/// `tls` of a listener.
pub(super) fn listener(listener: &Table<'_>) -> Option<(ListenerTls, TlsLocation)> {
    let table = listener.get("tls")?.table(&keys::LISTENER_TLS)?;
    let (certificates, pairs) = certificates(&table);
    let words = [("required", ClientAuth::Required), ("optional", ClientAuth::Optional)];
    let auth = table.read("client_auth", |value| one_of(value, &words));
    if let (Some(value), None) = (table.get("client_auth"), table.get("client_ca")) {
        value.report(Fault::new("without `client_ca` no client is asked for a certificate").help("add `client_ca`"));
    }
    let ca = table.read("client_ca", path);
    let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
    let min_version = table.read("min_version", |value| one_of(value, &versions));
    let tls = ListenerTls {
        certificates,
        client: ca.map(|ca| ClientCertificates { ca, auth: auth.unwrap_or(ClientAuth::Required) }),
        min_version: min_version.unwrap_or(TlsVersion::Tls12),
    };
    Some((tls, TlsLocation { pairs, ca: value_location(&table, "client_ca") }))
}

/// The pair of the table itself, then those of `certificates`.
fn certificates(table: &Table<'_>) -> (Vec<KeyPair>, Vec<PairLocation>) {
    let list = table.get("certificates");
    let alone = table.get("certificate").is_some() || table.get("private_key").is_some();
    if let Some(list) = list.as_ref().filter(|list| !alone && list.inner().as_array().is_some_and(|all| all.is_empty()))
    {
        list.report(Fault::new("at least one certificate is required"));
    }
    let own = (alone || list.is_none()).then(|| pair(table)).flatten();
    let items = list.map(|list| list.items("a list of tables")).unwrap_or_default();
    let listed = items.iter().filter_map(|item| pair(&item.table(&keys::CERTIFICATE)?));
    own.into_iter().chain(listed).unzip()
}

fn pair(table: &Table<'_>) -> Option<(KeyPair, PairLocation)> {
    let certificate = table.required("certificate").and_then(|value| value.read(path));
    let private_key = table.required("private_key").and_then(|value| value.read(path));
    let location = PairLocation {
        certificate: value_location(table, "certificate"),
        private_key: value_location(table, "private_key"),
    };
    Some((KeyPair { certificate: certificate?, private_key: private_key? }, location))
}

/// `tls` of an upstream.
pub(super) fn upstream(upstream: &Table<'_>) -> Option<(UpstreamTls, TlsLocation)> {
    let table = upstream.get("tls")?.table(&keys::UPSTREAM_TLS)?;
    let shown = table.get("certificate").is_some() || table.get("private_key").is_some();
    let (identity, location) = shown.then(|| pair(&table)).flatten().unzip();
    let tls = UpstreamTls { server_name: table.read("server_name", server_name), ca: table.read("ca", path), identity };
    Some((tls, TlsLocation { pairs: location.into_iter().collect(), ca: value_location(&table, "ca") }))
}

/// A DNS name or an IP address, lower case.
fn server_name(value: &Value<'_>) -> Result<String, Fault> {
    let text = value.text("a host name such as `\"orders.internal\"`")?;
    let known = text.parse::<IpAddr>().is_ok() || rustls::pki_types::DnsName::try_from(text).is_ok();
    let fault = || Fault::new(format!("`{text}` is not a host name")).help("a DNS name or an IP address, without port");
    known.then(|| text.to_ascii_lowercase()).ok_or_else(fault)
}

fn path(value: &Value<'_>) -> Result<PathBuf, Fault> {
    let text = value.text("the path of a PEM file")?;
    if text.contains("-----BEGIN") {
        return Err(
            Fault::new("this is the content of a PEM file, not its path").help("write it to a file and name that")
        );
    }
    if text.is_empty() || text.contains('\0') {
        return Err(Fault::new("not a path").help("the path of a PEM file, relative to this one"));
    }
    Ok(beside(value, text))
}

fn value_location(table: &Table<'_>, key: &str) -> Location {
    table.get(key).map_or_else(|| table.key_location(key), |value| value.location())
}
