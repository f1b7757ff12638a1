//! Certificates and keys from PEM files.
//!
//! Reads and takes apart; whom a certificate convinces is decided where it is used (`server/tls.rs`, `upstream/tls.rs`).
//!
//! **Invariant:** a key is only ever handed out together with a certificate that it belongs to, and no message shows what
//! is in a file.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    InconsistentKeys, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use x509_cert::{Certificate, der::Decode};

use crate::config::KeyPair;

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A chain of certificates, the end entity's first.
pub(crate) type Chain = Vec<CertificateDer<'static>>;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PemError {
    #[error("cannot read {0}: {1}")]
    Read(String, #[source] io::Error),
    #[error("{0} is not a PEM file that can be read: {1}")]
    NotPem(String, &'static str),
    #[error("there is no certificate in {0}; expected are `-----BEGIN CERTIFICATE-----` parts")]
    NoCertificate(String),
    #[error(
        "there is no private key in {0}; expected is a `-----BEGIN PRIVATE KEY-----` part, and keys under a passphrase cannot be used"
    )]
    NoKey(String),
    #[error("certificate {1} in {0} cannot be used: {2}")]
    BadCertificate(String, usize, #[source] rustls::Error),
    #[error("the certificate in {0} cannot be used: {1}")]
    BadChain(String, #[source] rustls::Error),
    #[error("the private key in {0} cannot be used: expected is an RSA, ECDSA or Ed25519 key")]
    BadKey(String),
    #[error("the private key in {0} does not belong to the certificate")]
    Mismatch(String),
}

/// The cryptography of every connection.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let made = PROVIDER.get_or_init(|| {
        let provider = aws_lc_rs::default_provider();
        // Its generator is seeded at its first use, for tens of milliseconds: here rather than in a handshake.
        _ = provider.secure_random.fill(&mut [0]);
        Arc::new(provider)
    });
    made.clone()
}

/// The certificates of a file: at least one.
///
/// # Errors
/// When the file cannot be read, or has none.
pub(crate) fn certificates(path: &Path) -> Result<Chain, PemError> {
    let text = read(path)?;
    let chain: Chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| PemError::NotPem(name(path), damage(&error)))?;
    if chain.is_empty() { Err(PemError::NoCertificate(name(path))) } else { Ok(chain) }
}

/// The authorities of a file as what certificates are checked against.
///
/// # Errors
/// The first certificate that is none.
pub(crate) fn authorities(path: &Path, certificates: &Chain) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        roots.add(certificate.clone()).map_err(|error| PemError::BadCertificate(name(path), index + 1, error))?;
    }
    Ok(roots)
}

/// A key that is not known to belong to a certificate.
pub(crate) struct PrivateKey(PrivateKeyDer<'static>);

/// The first key of a file.
///
/// # Errors
/// When the file cannot be read, or has none.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKey, PemError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map(PrivateKey).map_err(|error| match error {
        pem::Error::NoItemsFound => PemError::NoKey(name(path)),
        error => PemError::NotPem(name(path), damage(&error)),
    })
}

/// The key of `files` together with the chain it belongs to.
///
/// # Errors
/// When it is of no kind that can be used, or the key of another certificate.
pub(crate) fn certified_key(files: &KeyPair, chain: Chain, key: PrivateKey) -> Result<Arc<CertifiedKey>, PemError> {
    CertifiedKey::from_der(chain, key.0, &provider()).map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => PemError::Mismatch(name(&files.private_key)),
        error @ rustls::Error::InvalidCertificate(_) => PemError::BadChain(name(&files.certificate), error),
        _ => PemError::BadKey(name(&files.private_key)),
    })
}

/// What is wrong, without a byte of the file: the library's own words quote it, and it may be a key.
fn damage(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a part has no `-----END ...-----` line, the file may be half written",
        pem::Error::IllegalSectionStart { .. } => "a `-----BEGIN ...-----` line does not end after its dashes",
        pem::Error::Base64Decode(_) => "what stands between BEGIN and END is not base64",
        _ => "expected are parts in base64 between `-----BEGIN ...-----` and `-----END ...-----` lines",
    }
}

/// The end entity's certificate, taken apart; `None` when it cannot be.
pub(crate) fn parsed(chain: &[CertificateDer<'_>]) -> Option<Certificate> {
    Certificate::from_der(chain.first()?).ok()
}

/// Whether a certificate is past its time.
pub(crate) fn is_expired(certificate: &Certificate) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    certificate.tbs_certificate().validity().not_after.to_unix_duration() < now
}

fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    let read = read.and_then(|len| if len as u64 > MAX_FILE_BYTES { Err(too_large()) } else { Ok(bytes) });
    read.map_err(|error| PemError::Read(name(path), error))
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 4 MiB")
}

fn name(path: &Path) -> String {
    path.display().to_string()
}
