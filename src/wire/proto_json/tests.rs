//! Protobuf to JSON, by schema, over any bytes.

use super::*;

static LEAF: Message = Message {
    fields: &[
        Field::one(1, "a", Kind::Int32),
        Field::many(2, "b", Kind::Text),
        Field::many(3, "c", Kind::UInt64),
        Field::one(4, "d", Kind::Bool).one_of(1),
        Field::one(5, "e", Kind::Message(&LEAF)).one_of(1),
        Field::one(6, "f", Kind::Message(&LEAF)),
    ],
};

fn write(bytes: &[u8]) -> Result<String, Unwritable> {
    let mut out = Vec::new();
    Walker::new(&mut out, Symbols::default()).message(&LEAF, bytes)?;
    Ok(String::from_utf8(out).unwrap())
}

fn text(bytes: &[u8]) -> String {
    write(bytes).unwrap()
}

fn malformed(bytes: &[u8]) -> &'static str {
    match write(bytes) {
        Err(Unwritable::Malformed(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn wrapped(tag: u8, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    prost::encoding::encode_varint(inner.len() as u64, &mut out);
    out.extend_from_slice(inner);
    out
}

#[test]
fn an_empty_message_is_an_empty_object() {
    assert_eq!(text(b""), "{}");
}

#[test]
fn interleaved_repeated_fields_become_one_array_each() {
    assert_eq!(
        text(b"\x12\x01x\x18\x01\x12\x01y\x1A\x02\x02\x03\x18\x04\x08\x07"),
        r#"{"a":7,"b":["x","y"],"c":["1","2","3","4"]}"#
    );
}

#[test]
fn the_last_scalar_wins_and_sub_messages_in_pieces_merge() {
    assert_eq!(text(b"\x08\x01\x08\x02"), r#"{"a":2}"#);
    assert_eq!(
        text(b"\x32\x05\x08\x01\x12\x01x\x08\x09\x32\x05\x12\x01y\x08\x02"),
        r#"{"a":9,"f":{"a":2,"b":["x","y"]}}"#
    );
}

#[test]
fn of_a_oneof_the_last_member_wins_and_starts_afresh() {
    assert_eq!(text(b"\x2A\x02\x08\x01\x20\x01"), r#"{"d":true}"#);
    assert_eq!(
        text(b"\x2A\x02\x08\x01\x20\x01\x2A\x03\x12\x01x"),
        r#"{"e":{"b":["x"]}}"#
    );
    assert_eq!(
        text(b"\x2A\x02\x08\x01\x2A\x03\x12\x01x"),
        r#"{"e":{"a":1,"b":["x"]}}"#
    );
}

#[test]
fn unknown_fields_are_dropped_whatever_their_wire_type() {
    assert_eq!(
        text(b"\x78\x01\x79\x01\x02\x03\x04\x05\x06\x07\x08\x7A\x01x\x7D\x01\x02\x03\x04\x08\x05"),
        r#"{"a":5}"#
    );
}

#[test]
fn negative_numbers_and_control_characters_are_written_right() {
    assert_eq!(
        text(b"\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"),
        r#"{"a":-1}"#
    );
    assert_eq!(text(b"\x12\x04\"\n\\\x00"), r#"{"b":["\"\n\\\u0000"]}"#);
}

#[test]
fn bad_bytes_are_named() {
    assert_eq!(malformed(b"\x08"), "cut-off protobuf");
    assert_eq!(malformed(b"\x12\x05x"), "cut-off protobuf");
    assert_eq!(
        malformed(b"\x12\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"),
        "cut-off protobuf"
    );
    assert_eq!(
        malformed(b"\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02"),
        "a varint past 64 bits"
    );
    assert_eq!(malformed(b"\x00\x01"), "field number 0");
    assert_eq!(malformed(b"\x0B\x0C"), "groups are not taken");
    assert_eq!(
        malformed(b"\x0A\x01x"),
        "a field with another field's wire type"
    );
    assert_eq!(malformed(b"\x12\x01\xFF"), "a text that is not UTF-8");
    assert_eq!(malformed(b"\x1A\x01\x80"), "cut-off protobuf");
}

#[test]
fn nesting_ends_at_64() {
    let mut bytes = Vec::new();
    for _ in 0..63 {
        bytes = wrapped(0x32, &bytes);
    }
    assert!(write(&bytes).is_ok());
    assert_eq!(
        malformed(&wrapped(0x32, &bytes)),
        "messages nested deeper than 64"
    );
}

#[test]
fn sub_messages_in_pieces_are_joined_within_a_budget() {
    let piece = wrapped(0x32, &wrapped(0x12, &vec![b'x'; 300_000]));
    assert!(write(&piece.repeat(3)).is_ok());
    assert_eq!(malformed(&piece.repeat(4)), "sub-messages sent in pieces");
}

#[test]
fn interleaving_costs_a_factor_and_not_a_square() {
    // 4 MiB that alternate between two repeated fields: a walk per element would take hours.
    let body = b"\x12\x00\x18\x01".repeat(1 << 20);
    let start = std::time::Instant::now();
    Walker::new(io::sink(), Symbols::default())
        .message(&LEAF, &body)
        .unwrap();
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_what_is_written_is_json(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
        if let Ok(text) = write(&bytes) {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }
}

/// The same fields in another order, some twice, at every level: what a hostile but valid encoder may send.
pub(in crate::wire) fn scrambled(
    table: &Message,
    bytes: &[u8],
    random: &mut impl FnMut() -> u64,
) -> Vec<u8> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for found in Fields::new(bytes) {
        let found = found.unwrap();
        let end = bytes.len();
        let next = Fields::starting_at(bytes, found.start).nth(1);
        let end = next.map_or(end, |next| next.unwrap().start);
        let known = table
            .fields
            .iter()
            .find(|field| field.number == found.number);
        let piece = match (known.map(|field| field.kind), found.raw) {
            (Some(Kind::Message(table)), Raw::Bytes(inner)) => {
                let mut piece = Vec::new();
                prost::encoding::encode_varint(u64::from(found.number << 3 | 2), &mut piece);
                let inner = scrambled(table, inner, random);
                prost::encoding::encode_varint(inner.len() as u64, &mut piece);
                piece.extend(inner);
                piece
            }
            _ => bytes[found.start..end].to_vec(),
        };
        if random().is_multiple_of(8) {
            pieces.push(piece.clone());
        }
        pieces.push(piece);
    }
    for at in (1..pieces.len()).rev() {
        pieces.swap(at, (random() % (at as u64 + 1)) as usize);
    }
    pieces.concat()
}
