//! What is written is what is read, and no bytes whatever make a reader panic or look outside the message.

use std::time::Duration;

use meshup_abi::{Event, Field, Fields, Malformed, Overflow, SliceSink, Verdict, Writer, pack, tag, unpack};
use proptest::prelude::*;

/// A field as a test writes it.
#[derive(Debug, Clone)]
enum Written {
    Bytes(u16, Vec<u8>),
    Pair(u16, Vec<u8>, Vec<u8>),
    U16(u16, u16),
    U32(u16, u32),
    U64(u16, u64),
    Micros(u16, u64),
}

impl Written {
    fn tag(&self) -> u16 {
        match *self {
            Self::Bytes(tag, _)
            | Self::Pair(tag, ..)
            | Self::U16(tag, _)
            | Self::U32(tag, _)
            | Self::U64(tag, _)
            | Self::Micros(tag, _) => tag,
        }
    }

    fn write<S: meshup_abi::Sink>(&self, writer: &mut Writer<'_, S>) -> Result<(), Overflow> {
        match self {
            Self::Bytes(tag, bytes) => writer.bytes(*tag, bytes),
            Self::Pair(tag, name, value) => writer.pair(*tag, name, value),
            Self::U16(tag, value) => writer.u16(*tag, *value),
            Self::U32(tag, value) => writer.u32(*tag, *value),
            Self::U64(tag, value) => writer.u64(*tag, *value),
            Self::Micros(tag, micros) => writer.duration(*tag, Duration::from_micros(*micros)),
        }
    }

    fn assert_read(&self, field: Field<'_>) {
        assert_eq!(field.tag, self.tag());
        match self {
            Self::Bytes(_, bytes) => assert_eq!(field.payload, bytes),
            Self::Pair(_, name, value) => assert_eq!(field.pair(), Ok((&name[..], &value[..]))),
            Self::U16(_, value) => assert_eq!(field.u16(), Ok(*value)),
            Self::U32(_, value) => assert_eq!(field.u32(), Ok(*value)),
            Self::U64(_, value) => assert_eq!(field.u64(), Ok(*value)),
            Self::Micros(_, micros) => assert_eq!(field.duration(), Ok(Duration::from_micros(*micros))),
        }
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..64)
}

fn written() -> impl Strategy<Value = Written> {
    prop_oneof![
        (any::<u16>(), bytes()).prop_map(|(tag, bytes)| Written::Bytes(tag, bytes)),
        (any::<u16>(), bytes(), bytes()).prop_map(|(tag, name, value)| Written::Pair(tag, name, value)),
        any::<(u16, u16)>().prop_map(|(tag, value)| Written::U16(tag, value)),
        any::<(u16, u32)>().prop_map(|(tag, value)| Written::U32(tag, value)),
        any::<(u16, u64)>().prop_map(|(tag, value)| Written::U64(tag, value)),
        any::<(u16, u64)>().prop_map(|(tag, value)| Written::Micros(tag, value)),
    ]
}

fn message(fields: &[Written]) -> Vec<u8> {
    let mut message = Vec::new();
    let mut writer = Writer::new(&mut message);
    fields.iter().for_each(|field| field.write(&mut writer).unwrap());
    message
}

/// Whether `part` lies inside `whole`, in memory.
fn inside(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

/// Reads everything of a message in every way there is.
fn read_all(message: &[u8], fields: Fields<'_>) {
    let mut errors = 0;
    for field in fields {
        let Ok(field) = field else {
            errors += 1;
            continue;
        };
        assert!(inside(field.payload, message));
        if let Ok((name, value)) = field.pair() {
            assert!(inside(name, message) && inside(value, message));
        }
        let _ = (field.text(), field.u16(), field.u32(), field.u64(), field.duration());
    }
    assert!(errors <= 1, "a reader yields one error at most");
    let mut headers = Fields::new(message);
    while let Some(value) = headers.next_header("a") {
        assert!(inside(value, message));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_is_read(fields in proptest::collection::vec(written(), 0..20)) {
        let message = message(&fields);
        let mut read = Fields::new(&message);
        for field in &fields {
            field.assert_read(read.next().unwrap().unwrap());
        }
        prop_assert!(read.next().is_none());
    }

    #[test]
    fn headers_are_found_by_name_where_they_stand(
        headers in proptest::collection::vec((0..3_u16, "[a-cA-C-]{0,2}", bytes()), 0..12),
        name in "[a-c-]{0,2}",
    ) {
        let tags = [tag::HEADER, tag::HEADER_SET, tag::STATUS];
        let fields: Vec<_> =
            headers.iter().map(|(n, name, value)| Written::Pair(tags[usize::from(*n)], name.clone().into(), value.clone())).collect();
        let message = message(&fields);
        let mut rest = Fields::new(&message);
        for (n, found, value) in &headers {
            if *n < 2 && found.eq_ignore_ascii_case(&name) {
                prop_assert_eq!(rest.next_header(&name), Some(&value[..]));
            }
        }
        prop_assert_eq!(rest.next_header(&name), None);
    }

    #[test]
    fn an_answer_gives_its_verdict_and_fields(index in 0..Verdict::ALL.len(), field in written()) {
        let verdict = Verdict::ALL[index];
        let mut answer = Vec::new();
        let mut writer = Writer::new(&mut answer);
        writer.verdict(verdict).unwrap();
        field.write(&mut writer).unwrap();
        let (read, mut fields) = Fields::of_answer(&answer).unwrap();
        prop_assert_eq!(read, verdict);
        field.assert_read(fields.next().unwrap().unwrap());
    }

    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(message in proptest::collection::vec(any::<u8>(), 0..256)) {
        read_all(&message, Fields::new(&message));
        if let Ok((_, fields)) = Fields::of_answer(&message) {
            read_all(&message, fields);
        }
    }

    #[test]
    fn damaged_messages_are_read_without_a_panic(
        fields in proptest::collection::vec(written(), 1..8),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut message = message(&fields);
        let at = at.index(message.len());
        message[at] = byte;
        read_all(&message, Fields::new(&message));
        message.truncate(cut.index(message.len()));
        read_all(&message, Fields::new(&message));
    }

    #[test]
    fn a_full_slice_takes_what_fits_and_refuses_the_rest(field in written(), room in 0_usize..160) {
        let expected = message(std::slice::from_ref(&field));
        let mut slice = vec![0; room];
        let mut sink = SliceSink::new(&mut slice);
        let result = field.write(&mut Writer::new(&mut sink));
        let len = sink.written();
        prop_assert_eq!(result.is_ok(), expected.len() <= room);
        prop_assert!(len <= room);
        prop_assert_eq!(&slice[..len], &expected[..len]);
    }

    #[test]
    fn addresses_and_lengths_survive_packing(address in any::<u32>(), len in any::<u32>()) {
        prop_assert_eq!(unpack(pack(address, len)), (address, len));
    }

    #[test]
    fn codes_are_themselves_or_refused(code in prop_oneof![0..40_u32, any::<u32>()]) {
        for (read, what) in [
            (Event::try_from(code).map(Event::code), "event"),
            (Verdict::try_from(code).map(Verdict::code), "verdict"),
            (meshup_abi::ErrorKind::try_from(code).map(meshup_abi::ErrorKind::code), "error"),
            (meshup_abi::Attribute::try_from(code).map(meshup_abi::Attribute::code), "attribute"),
        ] {
            match read {
                Ok(same) => prop_assert_eq!(same, code),
                Err(unknown) => prop_assert_eq!((unknown.what, unknown.code), (what, code)),
            }
        }
    }
}

#[test]
fn the_layout_is_fixed_to_the_byte() {
    let mut message = Vec::new();
    let mut writer = Writer::new(&mut message);
    writer.verdict(Verdict::Run).unwrap();
    writer.pair(tag::HEADER_SET, b"a", b"bc").unwrap();
    writer.u16(tag::STATUS, 0x0102).unwrap();
    let expected: &[u8] = &[2, 0, 0, 0, 6, 0, 7, 0, 0, 0, 1, 0, 0, 0, b'a', b'b', b'c', 9, 0, 2, 0, 0, 0, 2, 1];
    assert_eq!(message, expected);
}

#[test]
fn what_is_cut_off_is_named() {
    let message = message(&[Written::Bytes(1, b"GET".to_vec()), Written::Bytes(4, b"/".to_vec())]);
    let mut fields = Fields::new(&message[..message.len() - 1]);
    assert!(fields.next().unwrap().is_ok());
    assert_eq!(fields.next(), Some(Err(Malformed::Truncated { offset: 9 })));
    assert_eq!(fields.next(), None);
}

#[test]
fn a_payload_of_another_kind_is_refused() {
    let pair_too_short = Field { tag: tag::HEADER, payload: &[5, 0, 0, 0, b'a'] };
    assert_eq!(pair_too_short.pair(), Err(Malformed::Length { tag: tag::HEADER, len: 5 }));
    let huge_name = Field { tag: tag::HEADER, payload: &[255; 8] };
    assert_eq!(huge_name.pair(), Err(Malformed::Length { tag: tag::HEADER, len: 8 }));
    let status = Field { tag: tag::STATUS, payload: &[1] };
    assert_eq!(status.u16(), Err(Malformed::Length { tag: tag::STATUS, len: 1 }));
    let text = Field { tag: tag::UPSTREAM, payload: &[0xff] };
    assert_eq!(text.text(), Err(Malformed::Text { tag: tag::UPSTREAM }));
}

#[test]
fn a_short_duration_does_not_become_none_and_a_long_one_saturates() {
    let read = |duration| {
        let mut message = Vec::new();
        Writer::new(&mut message).duration(tag::DEADLINE, duration).unwrap();
        Fields::new(&message).next().unwrap().unwrap().duration().unwrap()
    };
    assert_eq!(read(Duration::from_nanos(1)), Duration::from_micros(1));
    assert_eq!(read(Duration::ZERO), Duration::ZERO);
    assert_eq!(read(Duration::MAX), Duration::from_micros(u64::MAX));
}
