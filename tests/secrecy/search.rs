//! Looks for thousands of secrets at once, in every form in which one may have been written down.

use std::collections::{BTreeSet, HashMap};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

/// Of a secret this much is looked for, from its middle: one that was cut, or half overwritten, is found too.
const PIECE: usize = 16;
/// Bytes by which a form is recognised.
const HEAD: usize = 8;
/// The longest form: each byte as `%41`.
pub(crate) const FORM_MAX: usize = 3 * PIECE;
/// Bits of a filter in which few of them are set.
const FILTER_BITS: u32 = 24;

/// Secrets by their numbers, from 0.
pub(crate) struct Search {
    names: Vec<String>,
    forms: HashMap<[u8; HEAD], Vec<(usize, Vec<u8>)>>,
    filter: Vec<u64>,
}

// === impl Search ===

impl Search {
    pub(crate) fn new() -> Self {
        Self {
            names: Vec::new(),
            forms: HashMap::new(),
            filter: vec![0; 1 << (FILTER_BITS - 6)],
        }
    }

    /// One more; its number.
    pub(crate) fn add(&mut self, name: String, text: &str) -> usize {
        assert!(text.len() >= PIECE, "{name} is too short to be looked for");
        let from = (text.len() - PIECE) / 2;
        let number = self.names.len();
        for form in forms(&text.as_bytes()[from..from + PIECE]) {
            let head: [u8; HEAD] = form[..HEAD].try_into().expect("longer than that");
            let bit = bit(head);
            self.filter[bit >> 6] |= 1 << (bit & 63);
            self.forms.entry(head).or_default().push((number, form));
        }
        self.names.push(name);
        number
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn name(&self, number: usize) -> &str {
        &self.names[number]
    }

    /// Numbers of those that stand there in any form.
    pub(crate) fn found_in(&self, bytes: &[u8]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for (at, head) in bytes.windows(HEAD).enumerate() {
            let head: [u8; HEAD] = head.try_into().expect("its length");
            let bit = bit(head);
            if self.filter[bit >> 6] & 1 << (bit & 63) == 0 {
                continue;
            }
            for (number, form) in self.forms.get(&head).into_iter().flatten() {
                if bytes[at..].starts_with(form) {
                    found.insert(*number);
                }
            }
        }
        found
    }
}

fn bit(head: [u8; HEAD]) -> usize {
    // Fibonacci hashing: the upper bits of the product are the mixed ones.
    let mixed = u64::from_le_bytes(head).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - FILTER_BITS)) as usize
}

/// As it is, in hexadecimal, percent-encoded, and in base64 wherever that may have begun.
fn forms(piece: &[u8]) -> BTreeSet<Vec<u8>> {
    let each = |show: fn(&u8) -> String| piece.iter().map(show).collect::<String>().into_bytes();
    let mut forms = BTreeSet::from([
        piece.to_vec(),
        each(|byte| format!("{byte:02x}")),
        each(|byte| format!("{byte:02X}")),
        each(|byte| format!("%{byte:02x}")),
        each(|byte| format!("%{byte:02X}")),
    ]);
    for before in 0..3 {
        let text = [&[0; 2][..before], piece].concat();
        let coded = STANDARD_NO_PAD.encode(&text);
        // Characters that the bytes around it have no part in.
        let whole = (before * 8).div_ceil(6)..text.len() * 8 / 6;
        let coded = &coded[whole];
        forms.insert(coded.as_bytes().to_vec());
        forms.insert(coded.replace('+', "-").replace('/', "_").into_bytes());
    }
    forms
}

#[test]
fn a_secret_is_found_in_every_form_at_every_place_and_nowhere_else() {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let secret = "whf_s_0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1abcdef";
    let mut search = Search::new();
    search.add("another".to_owned(), "0123456789abcdef0123456789abcdef");
    let number = search.add("it".to_owned(), secret);
    let hex = |upper: bool| -> String {
        let bytes = secret.bytes();
        let show = |byte| match upper {
            true => format!("{byte:02X}"),
            false => format!("{byte:02x}"),
        };
        bytes.map(show).collect()
    };
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let cut = secret[6..36].to_owned();
    let mut written = vec![secret.to_owned(), hex(true), hex(false), percent, cut];
    for before in ["", "u", "us", "user:", "a longer name:"] {
        written.push(STANDARD.encode(format!("{before}{secret}")));
        written.push(URL_SAFE.encode(format!("{before}{secret} and more")));
    }
    for text in written {
        for place in 0..9 {
            let around = format!("{}{text}{}", "x".repeat(place), "y".repeat(20));
            let found = search.found_in(around.as_bytes());
            assert_eq!(found, BTreeSet::from([number]), "{around}");
        }
    }
    // Neither the digest nor the public parts of a token are the token.
    let digest = blake3::hash(secret.as_bytes());
    for text in [digest.to_hex().as_str(), "whf_s_", &secret[..20], ""] {
        assert_eq!(search.found_in(text.as_bytes()), BTreeSet::new(), "{text}");
    }
}
