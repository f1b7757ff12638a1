//! W3C Trace Context: `traceparent` is read strictly, continued with a span id of our own, or created.
//!
//! It records no spans and does not read `tracestate`.
//!
//! **Invariant:** `tracestate` goes on only with the trace it came with.

use meshup_sdk::prelude::*;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Of version 0.
const TRACEPARENT_BYTES: usize = 55;

const SAMPLED: u8 = 1;
/// The flags that have a meaning: sampled, and random-trace-id. The specification wants all others to be 0.
const KNOWN_FLAGS: u8 = 3;

/// The trace and the span of this hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext {
    /// High half and low half: with a `u128` in it, what is remembered of an exchange would want an alignment for which
    /// a guest's allocator takes three times as long.
    trace_id: [u64; 2],
    span_id: u64,
    flags: u8,
}

/// Decides which new traces are sampled.
#[derive(Debug)]
pub(crate) struct Sampler {
    share: f64,
}

impl Sampler {
    /// Samples that share of new traces; `None` unless it is within 0 and 1.
    pub(crate) fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self { share })
    }

    fn flags(&self, chance: u64) -> u8 {
        let chance = (chance >> 11) as f64 / (1_u64 << 53) as f64;
        if chance < self.share { SAMPLED } else { 0 }
    }
}

/// Continues the request's trace, or begins one, and tells the upstream.
pub(crate) fn carry_on(req: &mut Request, sampler: &Sampler) -> TraceContext {
    let random = random_numbers();
    let context = match received(req) {
        Some(context) => TraceContext { span_id: nonzero(random[0]), ..context },
        None => {
            if req.headers().contains(TRACESTATE) {
                req.headers_mut().remove(TRACESTATE);
            }
            TraceContext::new(random, sampler)
        }
    };
    req.headers_mut().set(TRACEPARENT, context.traceparent());
    context
}

fn received(req: &Request) -> Option<TraceContext> {
    let headers = req.headers();
    let mut values = headers.get_all(TRACEPARENT);
    let context = TraceContext::parse(values.next()?)?;
    values.next().is_none().then_some(context)
}

impl TraceContext {
    /// The trace's id in 32 digits.
    pub(crate) fn trace_id(&self) -> String {
        let [high, low] = self.trace_id;
        format!("{high:016x}{low:016x}")
    }

    fn new([span, high, low, chance]: [u64; 4], sampler: &Sampler) -> Self {
        Self { trace_id: [high, nonzero(low)], span_id: nonzero(span), flags: sampler.flags(chance) }
    }

    /// A value of `traceparent`: `00-{trace id}-{parent id}-{flags}`. Later versions may go on behind another dash.
    fn parse(value: &[u8]) -> Option<Self> {
        let (fields, rest) = value.split_at_checked(TRACEPARENT_BYTES)?;
        if [fields[2], fields[35], fields[52]] != *b"---" {
            return None;
        }
        let valid_rest = match hex(&fields[..2])? {
            0x00 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        let context = Self {
            trace_id: [hex(&fields[3..19])?, hex(&fields[19..35])?],
            span_id: hex(&fields[36..52])?,
            flags: u8::try_from(hex(&fields[53..])?).ok()? & KNOWN_FLAGS,
        };
        (valid_rest && context.trace_id != [0, 0] && context.span_id != 0).then_some(context)
    }

    /// The same, of version 0: in one pass, for every request has one.
    fn traceparent(&self) -> [u8; TRACEPARENT_BYTES] {
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let [high, low] = self.trace_id;
        for (at, number) in [(3, high), (19, low), (36, self.span_id)] {
            value[at..at + 8].copy_from_slice(&hex_digits((number >> 32) as u32));
            value[at + 8..at + 16].copy_from_slice(&hex_digits(number as u32));
        }
        // The flags that have a meaning are within one digit. Not by `hex_digits`: for WebAssembly, LLVM 22.1 folds the
        // byte swap of a number whose upper bits it knows to a wrong constant.
        value[TRACEPARENT_BYTES - 1] = b'0' + (self.flags & KNOWN_FLAGS);
        value
    }
}

/// All eight digits at a time, each in a byte of one number.
fn hex_digits(number: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(number);
    digits = (digits << 16 | digits) & 0x0000_ffff_0000_ffff;
    digits = (digits << 8 | digits) & 0x00ff_00ff_00ff_00ff;
    digits = (digits << 4 | digits) & 0x0f0f_0f0f_0f0f_0f0f;
    // Six more than a digit above nine has the fifth bit.
    let letters = (digits + 6 * ONES) >> 4 & ONES;
    (digits + u64::from(b'0') * ONES + u64::from(b'a' - b'0' - 10) * letters).to_be_bytes()
}

/// Lower case only.
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Some(number << 4 | u64::from(digit - b'0')),
        b'a'..=b'f' => Some(number << 4 | u64::from(digit - b'a' + 10)),
        _ => None,
    })
}

/// All that an exchange needs, by one call of the host.
fn random_numbers() -> [u64; 4] {
    let bytes = random::bytes::<32>();
    let mut numbers = [0; 4];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
        *number = u64::from_be_bytes(*bytes);
    }
    numbers
}

/// Zero is no id.
fn nonzero(id: u64) -> u64 {
    id.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn only_what_the_specification_allows_is_continued() {
        let context = |flags| {
            Some(TraceContext {
                trace_id: [0x4bf92f3577b34da6, 0xa3ce929d0e0e4736],
                span_id: 0x00f067aa0ba902b7,
                flags,
            })
        };
        for (value, expected) in [
            (format!("00-{TRACE}-{SPAN}-01"), context(1)),
            (format!("00-{TRACE}-{SPAN}-00"), context(0)),
            (format!("00-{TRACE}-{SPAN}-ff"), context(3)),
            (format!("01-{TRACE}-{SPAN}-01"), context(1)),
            (format!("cc-{TRACE}-{SPAN}-01-what-may-come"), context(1)),
            (format!("cc-{TRACE}-{SPAN}-01.x"), None),
            (format!("00-{TRACE}-{SPAN}-01-more"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("0A-{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}-0A"), None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{TRACE}-{SPAN}-1"), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            (format!("00_{TRACE}-{SPAN}-01"), None),
            (format!(" 0-{TRACE}-{SPAN}-01"), None),
            (format!("00-+{}-{SPAN}-01", &TRACE[1..]), None),
            (String::new(), None),
        ] {
            assert_eq!(TraceContext::parse(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn the_share_decides_what_is_sampled() {
        let sampled = |share: f64, chance: u64| Sampler::new(share).unwrap().flags(chance) == SAMPLED;
        assert!(sampled(1.0, u64::MAX) && sampled(1.0, 0));
        assert!(!sampled(0.0, 0) && !sampled(0.0, u64::MAX));
        assert!(sampled(0.5, u64::MAX / 2 - 4096) && !sampled(0.5, u64::MAX / 2 + 1));
        assert!(Sampler::new(1.5).is_none() && Sampler::new(-0.1).is_none() && Sampler::new(f64::NAN).is_none());
    }

    #[test]
    fn digits_are_those_of_the_number() {
        for number in (0..32).flat_map(|bit| [1 << bit, u32::MAX >> bit, 0x0123_4567 << bit, 0x89ab_cdef << bit]) {
            assert_eq!(hex_digits(number), format!("{number:08x}").as_bytes());
        }
    }

    #[test]
    fn it_is_written_in_the_same_form() {
        let value = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(TraceContext::parse(value.as_bytes()).unwrap().traceparent(), value.as_bytes());
    }
}
