//! The JSON scanner beside serde_json, over any bytes and any cut.

use proptest::prelude::*;

use super::*;
use crate::wire::cuts::{cut, cuts};

/// Writes down what it is told.
#[derive(Debug, Default, PartialEq)]
struct Journal {
    names: Vec<u8>,
    values: Vec<(Begins, bool)>,
    ends: usize,
}

impl Visit for Journal {
    fn name(&mut self, piece: &[u8]) {
        self.names.extend_from_slice(piece);
    }

    fn value(&mut self, begins: Begins, is_element: bool, _: usize) -> Result<(), Fault> {
        self.values.push((begins, is_element));
        Ok(())
    }

    fn end(&mut self) {
        self.ends += 1;
    }
}

fn check(pieces: &[&[u8]]) -> Option<Journal> {
    let mut checker = Checker::default();
    let mut journal = Journal::default();
    for piece in pieces {
        checker.push(piece, &mut journal).ok()?;
    }
    checker.is_whole().then_some(journal)
}

/// Texts made of JSON's own pieces, so that many of them are JSON.
fn near_json() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        "-?[0-9.eE+]{1,6}",
        "\"[a-zé中𝄞]{0,12}(\\\\(n|u12[aF]4|u00|\"|x))?[a-z]{0,9}\"",
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
        Just("nul".to_owned()),
    ];
    let value = value.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| format!("[{}]", values.join(", "))),
            proptest::collection::vec(("[a-z]{0,3}", inner), 0..4).prop_map(|members| {
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(name, value)| format!("\"{name}\" :{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    });
    prop_oneof![
        8 => value.clone(),
        1 => "[]\\[{}\",:0-9a-f tru\\\\-]{0,12}",
        4 => (value, any::<prop::sample::Index>(), "[]\\[{}\",:0-9 \\\\\u{1}é-]").prop_map(
            |(mut text, at, piece)| {
                let mut at = at.index(text.len() + 1);
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                text.insert_str(at, &piece);
                text
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_verdict_is_serde_json_s_and_no_cut_changes_it(text in near_json(), at in cuts()) {
        // As an element: a bare number has no end of its own.
        let text = format!("[{text}]");
        let wanted = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        let whole = check(&[text.as_bytes()]);
        prop_assert_eq!(whole.is_some(), wanted, "{}", text);
        prop_assert_eq!(check(&cut(text.as_bytes(), &at)), whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_pass_only_as_utf8(
        bytes in proptest::collection::vec(any::<u8>(), 0..40), at in cuts(),
    ) {
        let text = [b"[\"".as_slice(), &bytes, b"\"]"].concat();
        let whole = check(&[&text]);
        prop_assert!(whole.is_none() || serde_json::from_slice::<serde_json::Value>(&text).is_ok()
            || bytes.contains(&b'\\'));
        prop_assert_eq!(check(&cut(&text, &at)), whole);
    }
}

#[test]
fn names_come_unescaped() {
    let journal = check(&[br#"{"a\u0062\n\u00e9":{"c":[]}}"#]).unwrap();
    assert_eq!(journal.names, b"ab\n\xFFc");
    assert_eq!(
        journal.values,
        [
            (Begins::Object, false),
            (Begins::Object, false),
            (Begins::Array, false)
        ]
    );
    assert_eq!(journal.ends, 3);
}

#[test]
fn a_word_s_every_byte_is_looked_at() {
    // Each special byte at each place of a word, with every neighbour that a borrow could reach.
    for special in [b'"', b'\\', 0, 0x1F, 0x80, 0xFF] {
        for place in 0..16 {
            for filler in [b' ', b'!', b'#', b'[', b']', b'~', 0x7F] {
                let mut bytes = [filler; 24];
                bytes[place] = special;
                assert_eq!(plain(&bytes), place, "{special} after {filler}");
                assert_eq!(plain(&[filler; 24]), 24);
            }
        }
    }
}
