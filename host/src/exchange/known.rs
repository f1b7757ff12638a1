//! Answers that filters gave lately on this thread: most filters give the same one for exchange after exchange, and
//! reading one anew means checking and allocating every name and value in it.
//!
//! Only answers that change headers alone are kept, and only from their second time on.
//!
//! **Invariant:** bounded, and never more than a shortcut: an answer that is not here is read.

use std::{
    cell::RefCell,
    hash::{BuildHasher, BuildHasherDefault},
    rc::Rc,
    time::Duration,
};

use meshup_abi::Verdict;
use rustc_hash::FxHasher;

use super::answer::{Answer, Decision, HeaderChange, HeaderChanges, Phase, RequestChanges, ResponseChanges};

const ENTRIES: usize = 64;
/// Enough for the complete head of a second Run; longer answers are seldom the same twice.
const MAX_BYTES: usize = 4 * 1024;
/// A change takes 80 bytes and what its name and value take, however short they are: with both bounds an answer takes
/// at most about 25 KiB, and all of a thread 1.6 MiB. Those of most filters are below 1 KiB.
const MAX_CHANGES: usize = 128;

thread_local! {
    static KNOWN: RefCell<[Entry; ENTRIES]> = const { RefCell::new([const { Entry { hash: 0, known: None } }; ENTRIES]) };
}

struct Entry {
    /// Of the answer that was here last, known or not.
    hash: u64,
    known: Option<Known>,
}

struct Known {
    occasion: (Verdict, Phase),
    fields: Box<[u8]>,
    deadline: Option<Duration>,
    want_end: bool,
    headers: Rc<[HeaderChange]>,
    /// Of a Pass.
    on_response: Rc<[HeaderChange]>,
}

/// The answer with that verdict and these fields, from here or as `read` reads it.
///
/// # Errors
/// Those of `read`.
pub(super) fn answer<E>(
    occasion: (Verdict, Phase),
    fields: &[u8],
    read: impl FnOnce() -> Result<Answer, E>,
) -> Result<Answer, E> {
    if fields.len() > MAX_BYTES {
        return read();
    }
    let hash = BuildHasherDefault::<FxHasher>::default().hash_one(fields);
    KNOWN.with_borrow_mut(|entries| {
        // The upper bits: FxHash leaves the lower ones to the last bytes.
        let Some(entry) = entries.get_mut((hash >> 58) as usize % ENTRIES) else { return read() };
        let known = entry.known.as_ref().filter(|known| known.occasion == occasion && *known.fields == *fields);
        if let Some(known) = known {
            return Ok(known.answer());
        }
        let mut answer = read()?;
        if std::mem::replace(&mut entry.hash, hash) == hash {
            entry.known = Known::of(occasion, fields, &mut answer);
        }
        Ok(answer)
    })
}

impl Known {
    /// Shares the answer's changes, if it may be kept.
    fn of(occasion: (Verdict, Phase), fields: &[u8], answer: &mut Answer) -> Option<Self> {
        let mut none = HeaderChanges::Own(Vec::new());
        let mut on_response = &mut none;
        let (headers, deadline) = match &mut answer.verdict {
            Decision::Pass(RequestChanges { headers, rest: None }, later) => {
                on_response = later;
                (headers, None)
            }
            Decision::Run { changes: RequestChanges { headers, rest: None }, deadline } => (headers, *deadline),
            Decision::Deliver(ResponseChanges { status: None, headers, body: None }) => (headers, None),
            _ => return None,
        };
        if headers.len() + on_response.len() > MAX_CHANGES {
            return None;
        }
        let (headers, on_response) = (headers.share(), on_response.share());
        Some(Self { occasion, fields: fields.into(), deadline, want_end: answer.want_end, headers, on_response })
    }

    fn answer(&self) -> Answer {
        let headers = HeaderChanges::Known(self.headers.clone());
        let verdict = match self.occasion.0 {
            Verdict::Deliver => Decision::Deliver(ResponseChanges { status: None, headers, body: None }),
            Verdict::Run => Decision::Run { changes: RequestChanges { headers, rest: None }, deadline: self.deadline },
            _ => {
                let on_response = HeaderChanges::Known(self.on_response.clone());
                Decision::Pass(RequestChanges { headers, rest: None }, on_response)
            }
        };
        Answer { verdict, want_end: self.want_end }
    }
}

#[cfg(test)]
mod tests {
    use meshup_abi::{Writer, tag};

    use super::*;
    use crate::exchange::answer;

    fn message(verdict: Verdict, names: &[&str]) -> Vec<u8> {
        let mut message = Vec::new();
        let mut writer = Writer::new(&mut message);
        writer.verdict(verdict).unwrap();
        for name in names {
            writer.pair(tag::HEADER_SET, name.as_bytes(), b"1").unwrap();
        }
        message
    }

    #[test]
    fn a_known_answer_says_the_same() {
        let first = message(Verdict::Run, &["x-one", "x-two"]);
        let read = || format!("{:?}", answer::read(&first, Phase::Request).unwrap()).replace("Known", "Own");
        let anew = read();
        assert_eq!([read(), read(), read()], [anew.clone(), anew.clone(), anew]);
    }

    #[test]
    fn only_what_is_within_both_bounds_is_kept() {
        let is_kept = |names: &[&str]| {
            let message = message(Verdict::Run, names);
            for _ in 0..2 {
                answer::read(&message, Phase::Request).unwrap();
            }
            let is_it = |known: &Known| message.ends_with(&known.fields);
            KNOWN.with_borrow(|entries| entries.iter().filter_map(|entry| entry.known.as_ref()).any(is_it))
        };
        assert!(is_kept(&["x-one"; MAX_CHANGES]));
        assert!(!is_kept(&["x-two"; MAX_CHANGES + 1]));
        let long = "x".repeat(MAX_BYTES / 2 - 16);
        assert!(is_kept(&[&long, &long[1..]]));
        assert!(!is_kept(&[&long, &long, "x-three", "x-four", "x-five"]));
    }

    #[test]
    fn what_is_known_of_one_verdict_says_nothing_of_another() {
        for _ in 0..3 {
            let changes = ["x-one"];
            let pass = answer::read(&message(Verdict::Pass, &changes), Phase::Request);
            assert!(matches!(pass.unwrap().verdict, Decision::Pass(..)));
            let run = answer::read(&message(Verdict::Run, &changes), Phase::Request);
            assert!(matches!(run.unwrap().verdict, Decision::Run { .. }));
            assert!(answer::read(&message(Verdict::Pass, &changes), Phase::Response).is_err());
        }
    }
}
