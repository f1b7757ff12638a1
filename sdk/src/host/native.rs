//! A simulated host for native builds: what `testing` sets up and looks into.
//!
//! Time is virtual, random numbers repeat, everything else is a map. Each thread has one world at a time.
//!
//! **Invariant:** no filter code runs while the world is borrowed.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::{KeyInit, Mac};
use meshup_abi::{ABSENT, Attribute, INVALID, Level, MetricKind, MetricOp, NO_EXCHANGE, Signature, tag};
use sha2::Digest;

use crate::wire;

/// Everything a filter can see of the host.
#[derive(Debug)]
pub(crate) struct World {
    /// Since the world began.
    pub(crate) now: Duration,
    began: Duration,
    randomness: u64,
    pub(crate) in_exchange: bool,
    pub(crate) logs: Vec<(Level, String)>,
    pub(crate) attributes: BTreeMap<u32, Vec<u8>>,
    pub(crate) variables: BTreeMap<String, Vec<u8>>,
    pub(crate) state: BTreeMap<String, Stored>,
    pub(crate) series: Vec<Series>,
}

#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) value: Vec<u8>,
    expires: Option<Duration>,
}

/// One metric series and what was recorded: a counter and a gauge have one value, a histogram each one.
#[derive(Debug)]
pub(crate) struct Series {
    kind: MetricKind,
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) values: Vec<f64>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now: Duration::ZERO,
            began: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            randomness: 1,
            in_exchange: true,
            logs: Vec::new(),
            attributes: BTreeMap::new(),
            variables: BTreeMap::new(),
            state: BTreeMap::new(),
            series: Vec::new(),
        }
    }
}

impl World {
    /// The value of `key`, unless it has expired.
    pub(crate) fn stored(&self, key: &str) -> Option<&[u8]> {
        let stored = self.state.get(key)?;
        stored.expires.is_none_or(|expires| self.now < expires).then_some(&stored.value)
    }

    pub(crate) fn store(&mut self, key: &str, value: &[u8], ttl_ms: u64) {
        let expires = (ttl_ms > 0).then(|| self.now.saturating_add(Duration::from_millis(ttl_ms)));
        self.state.insert(key.to_owned(), Stored { value: value.to_vec(), expires });
    }

    fn series_index(&mut self, kind: MetricKind, message: &[u8]) -> usize {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let name = wire::first(message, tag::NAME).map(|field| text(field.payload)).unwrap_or_default();
        let labels =
            wire::fields(message).filter(|field| field.tag == tag::LABEL).filter_map(|field| field.pair().ok());
        let labels: Vec<_> = labels.map(|(label, value)| (text(label), text(value))).collect();
        let known = self.series.iter().position(|s| s.kind == kind && s.name == name && s.labels == labels);
        known.unwrap_or_else(|| {
            self.series.push(Series { kind, name, labels, values: Vec::new() });
            self.series.len() - 1
        })
    }
}

thread_local! {
    static WORLD: RefCell<Rc<RefCell<World>>> = RefCell::default();
}

/// Makes `world` this thread's.
pub(crate) fn enter(world: &Rc<RefCell<World>>) {
    let before = WORLD.replace(Rc::clone(world));
    if !Rc::ptr_eq(&before, world) {
        crate::metrics::forget_series();
    }
}

fn with<T>(use_world: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow(|world| use_world(&mut world.borrow_mut()))
}

fn copy(value: Option<&[u8]>, out: &mut [u8]) -> i32 {
    let Some(value) = value else { return ABSENT };
    if let Some(out) = out.get_mut(..value.len()) {
        out.copy_from_slice(value);
    }
    i32::try_from(value.len()).unwrap_or(INVALID)
}

pub(crate) fn log(level: Level, text: &str) {
    with(|world| world.logs.push((level, text.to_owned())));
}

pub(crate) fn now_unix() -> u64 {
    with(|world| u64::try_from((world.began + world.now).as_nanos()).unwrap_or(u64::MAX))
}

pub(crate) fn now_monotonic() -> u64 {
    with(|world| u64::try_from(world.now.as_nanos()).unwrap_or(u64::MAX))
}

/// SplitMix64: short, and good enough to look random.
pub(crate) fn random(out: &mut [u8]) {
    with(|world| {
        for chunk in out.chunks_mut(8) {
            world.randomness = world.randomness.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = world.randomness;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    });
}

pub(crate) fn metric_series(kind: MetricKind, message: &[u8]) -> i32 {
    with(|world| i32::try_from(world.series_index(kind, message)).unwrap_or(INVALID))
}

pub(crate) fn metric_record(series: i32, op: MetricOp, value: f64) {
    with(|world| {
        let Some(series) = usize::try_from(series).ok().and_then(|index| world.series.get_mut(index)) else { return };
        match (op, series.values.as_mut_slice()) {
            (MetricOp::Add, [sum]) => *sum += value,
            (MetricOp::Set, [last]) => *last = value,
            _ => series.values.push(value),
        }
    });
}

pub(crate) fn attribute(attribute: Attribute, out: &mut [u8]) -> i32 {
    with(|world| match world.in_exchange {
        true => copy(world.attributes.get(&attribute.code()).map(Vec::as_slice), out),
        false => NO_EXCHANGE,
    })
}

pub(crate) fn variable(name: &str, out: &mut [u8]) -> i32 {
    with(|world| match world.in_exchange {
        true => copy(world.variables.get(name).map(Vec::as_slice), out),
        false => NO_EXCHANGE,
    })
}

pub(crate) fn set_variable(name: &str, value: &[u8]) -> i32 {
    with(|world| match world.in_exchange {
        true => {
            world.variables.insert(name.to_owned(), value.to_vec());
            0
        }
        false => NO_EXCHANGE,
    })
}

pub(crate) fn state_get(key: &str, out: &mut [u8]) -> i32 {
    with(|world| copy(world.stored(key), out))
}

pub(crate) fn state_set(key: &str, value: &[u8], ttl_ms: u64) -> i32 {
    with(|world| world.store(key, value, ttl_ms));
    0
}

pub(crate) fn state_compare_and_swap(key: &str, expected: Option<&[u8]>, value: &[u8], ttl_ms: u64) -> i32 {
    with(|world| {
        if world.stored(key) != expected {
            return 0;
        }
        world.store(key, value, ttl_ms);
        1
    })
}

pub(crate) fn state_add(key: &str, delta: i64, ttl_ms: u64, out: &mut [u8; 8]) -> i32 {
    with(|world| {
        let Some(old) = world.stored(key) else {
            *out = delta.to_le_bytes();
            world.store(key, out, ttl_ms);
            return 0;
        };
        let Ok(old) = old.try_into().map(i64::from_le_bytes) else { return INVALID };
        *out = old.wrapping_add(delta).to_le_bytes();
        if let Some(stored) = world.state.get_mut(key) {
            stored.value = out.to_vec();
        }
        0
    })
}

pub(crate) fn state_remove(key: &str) -> i32 {
    with(|world| {
        let there = world.stored(key).is_some();
        world.state.remove(key);
        i32::from(there)
    })
}

pub(crate) fn sha256(data: &[u8], out: &mut [u8; 32]) {
    *out = sha2::Sha256::digest(data).into();
}

pub(crate) fn hmac_sha256(key: &[u8], data: &[u8], out: &mut [u8; 32]) {
    if let Ok(mac) = hmac::Hmac::<sha2::Sha256>::new_from_slice(key) {
        *out = mac.chain_update(data).finalize().into_bytes().into();
    }
}

pub(crate) fn verify(algorithm: Signature, key: &[u8], data: &[u8], signature: &[u8]) -> i32 {
    match algorithm {
        Signature::Hs256 => {
            let mut mac = [0; 32];
            hmac_sha256(key, data, &mut mac);
            i32::from(crate::crypto::constant_time_eq(&mac, signature))
        }
        _ => verify_with_public_key(algorithm, key, data, signature),
    }
}

#[cfg(feature = "signatures")]
fn verify_with_public_key(algorithm: Signature, key: &[u8], data: &[u8], signature: &[u8]) -> i32 {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
    };
    let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
        Signature::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        Signature::Es256 => &ECDSA_P256_SHA256_FIXED,
        Signature::EdDsa => &ED25519,
        Signature::Hs256 => return INVALID,
    };
    let Ok(key) = ParsedPublicKey::new(algorithm, key) else { return INVALID };
    i32::from(key.verify_sig(data, signature).is_ok())
}

#[cfg(not(feature = "signatures"))]
fn verify_with_public_key(algorithm: Signature, _: &[u8], _: &[u8], _: &[u8]) -> i32 {
    panic!("to test {algorithm} signatures, enable the feature `signatures` of meshup-sdk in `dev-dependencies`")
}
