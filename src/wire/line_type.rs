//! A bulk body's `?type=`, written into those of its lines that have none of their own.

use std::io;

/// Writes checked bulk lines that come in pieces. Holds the one line that a piece has cut.
#[derive(Debug)]
pub struct LineWriter<'t> {
    line_type: Option<&'t str>,
    cut: Vec<u8>,
}

// === impl LineWriter ===

impl<'t> LineWriter<'t> {
    /// As [`write_lines`] with that type.
    pub const fn new(line_type: Option<&'t str>) -> Self {
        Self {
            line_type,
            cut: Vec::new(),
        }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// `out` failed.
    pub fn push(&mut self, piece: &[u8], out: &mut impl io::Write) -> io::Result<()> {
        let mut rest = piece;
        if !self.cut.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            self.cut.extend_from_slice(&rest[..end]);
            if self.cut.last() != Some(&b'\n') {
                return Ok(());
            }
            write_lines(&self.cut, self.line_type, out)?;
            self.cut.clear();
            rest = &rest[end..];
        }
        let whole = memchr::memrchr(b'\n', rest).map_or(0, |end| end + 1);
        write_lines(&rest[..whole], self.line_type, out)?;
        self.cut.extend_from_slice(&rest[whole..]);
        Ok(())
    }

    /// Writes the last line, which needs no line end.
    ///
    /// # Errors
    /// `out` failed.
    pub fn finish(self, out: &mut impl io::Write) -> io::Result<()> {
        write_lines(&self.cut, self.line_type, out)
    }
}

/// Writes checked bulk lines, each a JSON object, ending each with one line feed and dropping blank ones.
/// With a `line_type`, a line without a top-level `"type"` becomes `{"type":"X",` and the rest of it.
///
/// # Errors
/// `out` failed.
pub fn write_lines(
    body: &[u8],
    line_type: Option<&str>,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let mut rest = body;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = rest[..end].trim_ascii();
        rest = rest.get(end + 1..).unwrap_or_default();
        match line_type {
            _ if line.is_empty() => continue,
            Some(line_type) if !names_type(line) => write_typed(line, line_type, out)?,
            _ => out.write_all(line)?,
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn write_typed(line: &[u8], line_type: &str, out: &mut impl io::Write) -> io::Result<()> {
    // Anything but an object has no place for a type and stays as it is; the check before us leaves none.
    let Some(members) = line.strip_prefix(b"{") else {
        return out.write_all(line);
    };
    out.write_all(b"{\"type\":")?;
    serde_json::to_writer(&mut *out, line_type)?;
    if members.trim_ascii_start() != b"}" {
        out.write_all(b",")?;
    }
    out.write_all(members)
}

/// Whether the object has a member `type` of its own, as opposed to in a value, however the name is escaped.
fn names_type(object: &[u8]) -> bool {
    let mut depth = 0usize;
    let mut awaits_name = false;
    let mut at = 0;
    while let Some(byte) = object.get(at) {
        at += 1;
        match byte {
            b'{' => {
                depth += 1;
                awaits_name = depth == 1;
            }
            b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => awaits_name = depth == 1,
            b'"' => {
                let length = string_length(&object[at..]);
                if awaits_name && is_type(&object[at..at + length]) {
                    return true;
                }
                awaits_name = false;
                at += length + 1;
            }
            _ => {}
        }
    }
    false
}

/// Bytes up to the quote that ends a string, or to the end.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
        at += found;
        if bytes[at] == b'"' {
            return at;
        }
        at += 2;
        if at >= bytes.len() {
            break;
        }
    }
    bytes.len()
}

/// Whether a string, as it stands between its quotes, reads `type`.
fn is_type(raw: &[u8]) -> bool {
    let mut rest = raw;
    for expected in b"type" {
        let after = match rest {
            // No short escape stands for one of these letters, so it is `\u` or nothing.
            [b'\\', b'u', digits @ ..] => match digits.split_at_checked(4) {
                Some((hex, after)) if is_code_of(hex, *expected) => Some(after),
                _ => None,
            },
            [first, after @ ..] if first == expected => Some(after),
            _ => None,
        };
        match after {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

fn is_code_of(hex: &[u8], expected: u8) -> bool {
    let code = hex.iter().try_fold(0u32, |code, digit| {
        Some(code * 16 + char::from(*digit).to_digit(16)?)
    });
    code == Some(u32::from(expected))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn typed(body: &str, line_type: &str) -> String {
        let mut out = Vec::new();
        write_lines(body.as_bytes(), Some(line_type), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_without_a_type_get_it_and_others_keep_theirs() {
        assert_eq!(
            typed(
                "{\"a\":1}\r\n{\"type\":\"own\",\"a\":2}\n\n  {\"b\":3}",
                "nginx"
            ),
            "{\"type\":\"nginx\",\"a\":1}\n{\"type\":\"own\",\"a\":2}\n{\"type\":\"nginx\",\"b\":3}\n"
        );
    }

    #[test]
    fn only_a_top_level_name_counts_as_a_type() {
        for line in [
            r#"{"a":{"type":"x"}}"#,
            r#"{"a":"type","b":["type",{"type":1}]}"#,
            r#"{"a":"\"type\":1"}"#,
            r#"{"types":1,"Type":2,"typ":3,"":4}"#,
            r#"{"a\",\"type":1}"#,
            r#"{"a":"\\","b":"type"}"#,
        ] {
            assert!(
                typed(line, "t").starts_with("{\"type\":\"t\",\"a") || line.contains("types"),
                "{line}"
            );
            assert!(!names_type(line.as_bytes()), "{line}");
        }
        for line in [
            r#"{"type":null}"#,
            r#"{ "a":[1,{"b":"}"}] , "type" : {} }"#,
            r#"{"a":"\\","type":1}"#,
            r#"{"\u0074yp\u0065":1}"#,
            r#"{"a":1,"\u0074\u0079\u0070\u0065":1}"#,
        ] {
            assert_eq!(typed(line, "t"), format!("{line}\n"));
        }
    }

    #[test]
    fn a_type_is_escaped_and_an_empty_object_stays_valid() {
        assert_eq!(typed("{ }", "a\"b"), "{\"type\":\"a\\\"b\" }\n");
    }

    #[test]
    fn without_a_type_lines_stay_as_they_came() {
        let mut out = Vec::new();
        write_lines(b"{\"a\":1}\n{\"b\":2}", None, &mut out).unwrap();
        assert_eq!(out, b"{\"a\":1}\n{\"b\":2}\n");
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let body = b"{\"a\":1}\r\n\n{\"type\":\"own\"}\n  {\"b\":2}";
        let whole = typed(std::str::from_utf8(body).unwrap(), "t");
        for size in 1..body.len() {
            let (mut writer, mut out) = (LineWriter::new(Some("t")), Vec::new());
            for piece in body.chunks(size) {
                writer.push(piece, &mut out).unwrap();
            }
            writer.finish(&mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), whole, "pieces of {size}");
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let name = prop_oneof![Just("type".to_owned()), "[a-z\"\\\\{},:\u{1}]{0,4}"];
        let leaf = prop_oneof![
            any::<i64>().prop_map(serde_json::Value::from),
            name.clone().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::vec((name.clone(), inner), 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_search_agrees_with_a_parser(value in json()) {
            let text = value.to_string();
            let expected = value.as_object().is_some_and(|object| object.contains_key("type"));
            if value.is_object() {
                prop_assert_eq!(names_type(text.as_bytes()), expected);
                let parsed: serde_json::Value = serde_json::from_str(&typed(&text, "t")).unwrap();
                prop_assert_eq!(parsed["type"].clone(), if expected { value["type"].clone() } else { "t".into() });
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b'{')], 0..64)) {
            write_lines(&bytes, Some("t"), &mut Vec::new()).unwrap();
        }
    }
}
