//! The TLS of a configuration's listeners and upstreams: reads the files, says what is wrong in them and where they are
//! named.
//!
//! **Invariant:** what did not change is the previous generation's own, so that its sessions and connections go on.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls::{RootCertStore, sign::CertifiedKey};

use crate::{
    config::{Config, Diagnostic, KeyPair, Listener, Location, Locations, PairLocation, TlsLocation, Upstream},
    pem::{self, PemError},
    server,
    snapshot::Snapshot,
    upstream::{self, Connector},
};

/// The TLS of one generation.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// In the order of the listeners; none for those in clear text.
    pub listeners: Vec<Option<Arc<server::Tls>>>,
    /// By the upstream's name; those that have `tls`.
    pub upstreams: BTreeMap<Arc<str>, Connector>,
    /// Certificates that are past their time: nobody will accept them, but that is no reason to serve nobody.
    pub expired: Vec<PathBuf>,
}

/// What is wrong is gone through to its end: nothing is made of a part that has a fault.
struct Reader<'a> {
    loaded: Loaded,
    faults: &'a mut Vec<Diagnostic>,
}

/// Reads every file that the configuration's `tls` tables name.
pub(super) fn load(
    config: &Config,
    locations: &Locations,
    previous: Option<&Snapshot>,
    faults: &mut Vec<Diagnostic>,
) -> Loaded {
    let mut reader = Reader { loaded: Loaded::default(), faults };
    for (listener, location) in config.listeners.iter().zip(&locations.listeners) {
        let known = previous.and_then(|previous| known(previous, listener));
        let tls = location.tls.as_ref().and_then(|location| reader.listener(listener, location, known));
        reader.loaded.listeners.push(tls);
    }
    for (name, upstream) in &config.upstreams {
        let known = previous.and_then(|previous| previous.upstream_tls.get(name));
        let location = locations.upstream_tls.get(name);
        if let Some(connector) = location.and_then(|location| reader.upstream(name, upstream, location, known)) {
            reader.loaded.upstreams.insert(name.clone(), connector);
        }
    }
    reader.loaded
}

fn known<'a>(previous: &'a Snapshot, listener: &Listener) -> Option<&'a Arc<server::Tls>> {
    previous.listeners.iter().find(|known| known.address == listener.listen)?.tls.as_ref()
}

impl Reader<'_> {
    /// What was read, or a fault at `location`.
    fn read<T>(&mut self, who: &str, location: &Location, read: Result<T, impl ToString>) -> Option<T> {
        let fault = |error: &dyn ToString| location.error(format!("{who}: {}", error.to_string()));
        read.map_err(|error| self.faults.push(fault(&error))).ok()
    }

    fn listener(
        &mut self,
        listener: &Listener,
        location: &TlsLocation,
        known: Option<&Arc<server::Tls>>,
    ) -> Option<Arc<server::Tls>> {
        let tls = listener.tls.as_ref()?;
        let who = format!("listener {:?}", listener.name);
        let pairs: Vec<_> =
            tls.certificates.iter().zip(&location.pairs).map(|(pair, at)| self.pair(&who, pair, at)).collect();
        let ca = tls.client.as_ref().map(|client| self.authorities(&who, &client.ca, &location.ca));
        let (authorities, roots) = ca.unwrap_or_else(|| Some((Vec::new(), RootCertStore::empty())))?;
        let auth = tls.client.as_ref().map(|client| client.auth);
        let trust = server::Trust { authorities, auth, min_version: tls.min_version };
        // None at all is a fault of the text.
        let certificates = pairs.into_iter().collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())?;
        let made = server::Tls::new(server::Material { certificates, trust, roots }, known);
        self.read(&who, &location.ca, made)
    }

    fn upstream(
        &mut self,
        name: &str,
        upstream: &Upstream,
        location: &TlsLocation,
        known: Option<&Connector>,
    ) -> Option<Connector> {
        let settings = upstream.tls.clone()?;
        let who = format!("upstream {name:?}");
        let identity = settings.identity.as_ref().zip(location.pairs.first());
        let identity = identity.map(|(pair, at)| self.pair(&who, pair, at));
        let (authorities, roots) = match &settings.ca {
            Some(ca) => self.authorities(&who, ca, &location.ca).map(|(all, roots)| (all, Arc::new(roots))),
            None => self.read(&who, &location.ca, of_the_system()).map(|roots| (Vec::new(), roots)),
        }?;
        let identity = identity.map_or(Some(None), |identity| identity.map(Some))?;
        let protocol = upstream.protocol;
        let made = Connector::new(upstream::Material { settings, protocol, authorities, roots, identity }, known);
        self.read(&who, &location.ca, made)
    }

    fn pair(&mut self, who: &str, pair: &KeyPair, location: &PairLocation) -> Option<Arc<CertifiedKey>> {
        let chain = self.read(who, &location.certificate, pem::certificates(&pair.certificate));
        // A key that cannot be read is worth a fault of its own.
        let key = self.read(who, &location.private_key, pem::private_key(&pair.private_key));
        let certified = pem::certified_key(pair, chain?, key?);
        let at = match &certified {
            Err(PemError::BadChain(..)) => &location.certificate,
            _ => &location.private_key,
        };
        let certified = self.read(who, at, certified)?;
        if pem::parsed(&certified.cert).is_some_and(|certificate| pem::is_expired(&certificate)) {
            self.loaded.expired.push(pair.certificate.clone());
        }
        Some(certified)
    }

    fn authorities(&mut self, who: &str, path: &Path, location: &Location) -> Option<(pem::Chain, RootCertStore)> {
        let all = self.read(who, location, pem::certificates(path))?;
        let roots = self.read(who, location, pem::authorities(path, &all))?;
        Some((all, roots))
    }
}

/// The authorities that the system trusts, read once.
fn of_the_system() -> Result<Arc<RootCertStore>, &'static str> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        // A certificate that cannot be used is no reason to go without the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        Err("the system trusts no authority that can be read; name them by `ca`")
    } else {
        Ok(roots.clone())
    }
}
