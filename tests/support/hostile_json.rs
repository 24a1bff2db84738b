//! Bulk bodies made to hurt, or to look so, with the counts they must get.

const MIB: usize = 1 << 20;

/// One hostile bulk body and the lines it must be counted as: good, malformed, oversized, empty.
pub(crate) struct HostileLines {
    pub(crate) name: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) lines: [u64; 4],
}

/// Sixty bulk bodies that are hostile, or look so.
pub(crate) fn bodies() -> Vec<HostileLines> {
    const GOOD: [u64; 4] = [1, 0, 0, 0];
    const MALFORMED: [u64; 4] = [0, 1, 0, 0];
    const OVERSIZED: [u64; 4] = [0, 0, 1, 0];
    const EMPTY: [u64; 4] = [0, 0, 0, 1];
    let text = |text: &str| text.as_bytes().to_vec();
    let around = |before: &[u8], inner: &[u8], after: &[u8]| [before, inner, after].concat();
    let in_string = |inner: &[u8]| around(b"{\"a\":\"", inner, b"\"}");
    let arrays = |depth: usize| {
        around(
            b"{\"a\":",
            &around(&b"[".repeat(depth), b"", &b"]".repeat(depth)),
            b"}",
        )
    };
    let keys = |count: usize| {
        let members: Vec<String> = (0..count).map(|key| format!("\"{key}\":1")).collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    };
    let cases: Vec<(&'static str, Vec<u8>, [u64; 4])> = vec![
        ("arrays 100,000 deep", arrays(100_000), MALFORMED),
        ("arrays 128 deep", arrays(128), MALFORMED),
        ("arrays 127 deep", arrays(127), GOOD),
        ("objects 100,000 deep", b"{\"a\":".repeat(90_000), MALFORMED),
        ("opened and never closed", b"[".repeat(400_000), MALFORMED),
        ("closed and never opened", b"}".repeat(1_000), MALFORMED),
        (
            "a line of 10 MiB",
            in_string(&vec![b'x'; 10 * MIB - 16]),
            OVERSIZED,
        ),
        (
            "a line of 10 MiB that is not JSON",
            vec![b'x'; 10 * MIB],
            OVERSIZED,
        ),
        (
            "a line of 10 MiB of spaces",
            vec![b' '; 10 * MIB],
            OVERSIZED,
        ),
        (
            "a line of exactly the ceiling",
            in_string(&vec![b'x'; 500_000 - 8]),
            GOOD,
        ),
        (
            "a line one past the ceiling",
            in_string(&vec![b'x'; 500_000 - 7]),
            OVERSIZED,
        ),
        (
            "the ceiling and CRLF",
            around(&in_string(&vec![b'x'; 500_000 - 8]), b"\r\n", b""),
            GOOD,
        ),
        ("1,000,000 keys", keys(1_000_000), OVERSIZED),
        ("40,000 keys", keys(40_000), GOOD),
        (
            "one key 40,000 times",
            around(b"{", &b"\"a\":1,".repeat(40_000), b"\"a\":1}"),
            GOOD,
        ),
        (
            "a million empty lines",
            b"\n".repeat(1_000_000),
            [0, 0, 0, 1_000_000],
        ),
        (
            "a million empty objects",
            b"{}\n".repeat(1_000_000),
            [0, 0, 0, 1_000_000],
        ),
        (
            "a million open objects",
            b"{\n".repeat(1_000_000),
            [0, 1_000_000, 0, 0],
        ),
        ("a million CRs in a line", vec![b'\r'; 400_000], EMPTY),
        ("nothing", text(""), [0; 4]),
        ("an empty object with space", text("{ \t }\r\n"), EMPTY),
        ("a lone continuation byte", in_string(b"\x80"), MALFORMED),
        ("an overlong slash", in_string(b"\xC0\xAF"), MALFORMED),
        ("an overlong NUL", in_string(b"\xE0\x80\x80"), MALFORMED),
        (
            "a surrogate in UTF-8",
            in_string(b"\xED\xA0\x80"),
            MALFORMED,
        ),
        (
            "past the last character",
            in_string(b"\xF4\x90\x80\x80"),
            MALFORMED,
        ),
        (
            "a five-byte character",
            in_string(b"\xF8\x88\x80\x80\x80"),
            MALFORMED,
        ),
        (
            "a character cut by the quote",
            in_string(b"\xE2\x82"),
            MALFORMED,
        ),
        ("a byte 0xFF", in_string(b"\xFF"), MALFORMED),
        ("Latin-1", in_string(b"caf\xE9"), MALFORMED),
        (
            "UTF-16 with its mark",
            around(b"\xFF\xFE", b"{\0\"\0a\0\"\0:\x001\0}\0", b""),
            MALFORMED,
        ),
        (
            "a byte order mark",
            around(b"\xEF\xBB\xBF", b"{\"a\":1}", b""),
            MALFORMED,
        ),
        (
            "the last character",
            in_string("\u{10FFFF}".as_bytes()),
            GOOD,
        ),
        ("every script", in_string("Ωж中𝄞é".as_bytes()), GOOD),
        (
            "bad UTF-8 outside a string",
            around(b"{\"a\":", b"\xC3\xA9", b"}"),
            MALFORMED,
        ),
        (
            "bad UTF-8 in a name",
            around(b"{\"", b"\xFE", b"\":1}"),
            MALFORMED,
        ),
        ("a NUL in a string", in_string(b"\0"), MALFORMED),
        ("a NUL between values", text("{\"a\":\0 1}"), MALFORMED),
        ("a NUL after the object", text("{\"a\":1}\0"), MALFORMED),
        ("nothing but NULs", vec![0; 1_000], MALFORMED),
        ("a raw tab in a string", in_string(b"\t"), MALFORMED),
        (
            "a raw line feed in a string",
            in_string(b"\n"),
            [0, 2, 0, 0],
        ),
        ("an unknown escape", in_string(b"\\x41"), MALFORMED),
        ("a cut unicode escape", in_string(b"\\u12"), MALFORMED),
        (
            "a unicode escape of letters",
            in_string(b"\\uzzzz"),
            MALFORMED,
        ),
        ("a backslash at the end", in_string(b"\\"), MALFORMED),
        (
            "a million escapes",
            in_string(&b"\\u0041".repeat(80_000)),
            GOOD,
        ),
        (
            "a number with a leading zero",
            text("{\"a\":01}"),
            MALFORMED,
        ),
        ("a number with a plus", text("{\"a\":+1}"), MALFORMED),
        (
            "a number that ends in a point",
            text("{\"a\":1.}"),
            MALFORMED,
        ),
        ("a hexadecimal number", text("{\"a\":0x1}"), MALFORMED),
        ("NaN", text("{\"a\":NaN}"), MALFORMED),
        (
            "a number of 400,000 digits",
            around(b"{\"a\":", &vec![b'9'; 400_000], b"}"),
            GOOD,
        ),
        ("a number of 1e400000", text("{\"a\":1e400000}"), GOOD),
        ("a trailing comma", text("{\"a\":1,}"), MALFORMED),
        (
            "two objects on a line",
            text("{\"a\":1}{\"b\":2}"),
            MALFORMED,
        ),
        ("an array on a line", text("[{\"a\":1}]"), MALFORMED),
        ("a comment", text("{\"a\":1}//"), MALFORMED),
        ("single quotes", text("{'a':1}"), MALFORMED),
        ("brackets that cross", text("{\"a\":[1}]"), MALFORMED),
    ];
    assert_eq!(cases.len(), 60);
    cases
        .into_iter()
        .map(|(name, body, lines)| HostileLines { name, body, lines })
        .collect()
}
