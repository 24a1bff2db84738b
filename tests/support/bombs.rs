//! Bodies made to hurt: protobuf bombs, compression bombs and hostile JSON, for the scanners and for sockets.

use std::io::Write;

use wharfinger::model::{Content, Encoding, Signal};

/// One hostile body.
pub(crate) struct Bomb {
    pub(crate) name: &'static str,
    pub(crate) content: Content,
    pub(crate) signal: Signal,
    pub(crate) encoding: Encoding,
    pub(crate) body: Vec<u8>,
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A length-delimited field.
pub(crate) fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 8);
    varint(u64::from(number << 3 | 2), &mut out);
    varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// A field whose length lies.
fn lying(number: u32, length: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(u64::from(number << 3 | 2), &mut out);
    varint(length, &mut out);
    out.extend_from_slice(content);
    out
}

fn within(numbers: &[u32], content: Vec<u8>) -> Vec<u8> {
    numbers
        .iter()
        .rev()
        .fold(content, |content, number| field(*number, &content))
}

/// `numbers` in turn, `levels` times, around nothing.
fn nested(numbers: &[u32], levels: usize) -> Vec<u8> {
    // Built from the inside as (tag, length) prefixes in reverse, so that it takes linear time.
    let mut reversed: Vec<u8> = Vec::new();
    for level in (0..levels).rev() {
        let mut prefix = Vec::new();
        varint(
            u64::from(numbers[level % numbers.len()] << 3 | 2),
            &mut prefix,
        );
        varint(reversed.len() as u64, &mut prefix);
        reversed.extend(prefix.iter().rev());
    }
    reversed.reverse();
    reversed
}

const MIB: usize = 1 << 20;

/// Forty bodies in protobuf that no scanner may take, none compressed.
pub(crate) fn protobuf() -> Vec<Bomb> {
    use Content::{OtlpProtobuf, RemoteWrite1, RemoteWrite2};
    use Signal::{Logs, Metrics, Traces};

    let empties = |number: u32| field(number, b"").repeat(4 * MIB / 2);
    let mut bombs: Vec<(&'static str, Content, Signal, Vec<u8>)> = vec![
        ("empty resource logs", OtlpProtobuf, Logs, empties(1)),
        ("empty resource spans", OtlpProtobuf, Traces, empties(1)),
        ("empty resource metrics", OtlpProtobuf, Metrics, empties(1)),
        (
            "empty scope logs",
            OtlpProtobuf,
            Logs,
            within(&[1], empties(2)),
        ),
        (
            "empty log records",
            OtlpProtobuf,
            Logs,
            within(&[1, 2], empties(2)),
        ),
        (
            "one record of empty attributes",
            OtlpProtobuf,
            Logs,
            within(&[1, 2, 2], empties(6)),
        ),
        (
            "one body of empty values",
            OtlpProtobuf,
            Logs,
            within(&[1, 2, 2, 5, 5], empties(1)),
        ),
        (
            "one body of empty pairs",
            OtlpProtobuf,
            Logs,
            within(&[1, 2, 2, 5, 6], empties(1)),
        ),
        (
            "empty entity references",
            OtlpProtobuf,
            Logs,
            within(&[1, 1], empties(3)),
        ),
        (
            "empty spans",
            OtlpProtobuf,
            Traces,
            within(&[1, 2], empties(2)),
        ),
        (
            "one span of empty events",
            OtlpProtobuf,
            Traces,
            within(&[1, 2, 2], empties(11)),
        ),
        (
            "one span of empty links",
            OtlpProtobuf,
            Traces,
            within(&[1, 2, 2], empties(13)),
        ),
        (
            "empty metrics",
            OtlpProtobuf,
            Metrics,
            within(&[1, 2], empties(2)),
        ),
        (
            "one gauge of empty points",
            OtlpProtobuf,
            Metrics,
            within(&[1, 2, 2, 5], empties(1)),
        ),
        (
            "one point of empty exemplars",
            OtlpProtobuf,
            Metrics,
            within(&[1, 2, 2, 5, 1], empties(5)),
        ),
        (
            "one summary of empty quantiles",
            OtlpProtobuf,
            Metrics,
            within(&[1, 2, 2, 11, 1], empties(6)),
        ),
        ("empty time series", RemoteWrite1, Metrics, empties(1)),
        (
            "one series of empty labels",
            RemoteWrite1,
            Metrics,
            within(&[1], empties(1)),
        ),
        (
            "one series of empty samples",
            RemoteWrite1,
            Metrics,
            within(&[1], empties(2)),
        ),
        ("empty metadata", RemoteWrite1, Metrics, empties(3)),
        (
            "one histogram of empty spans",
            RemoteWrite1,
            Metrics,
            within(&[1, 4], empties(8)),
        ),
        ("2.0: empty time series", RemoteWrite2, Metrics, empties(5)),
        (
            "2.0: one series of empty exemplars",
            RemoteWrite2,
            Metrics,
            within(&[5], empties(4)),
        ),
        (
            "values nested 100 deep",
            OtlpProtobuf,
            Logs,
            within(&[1, 2, 2, 5], nested(&[5, 1], 100)),
        ),
        (
            "values nested a million deep",
            OtlpProtobuf,
            Logs,
            within(&[1, 2, 2, 5], nested(&[5, 1], MIB)),
        ),
        (
            "pairs nested a million deep",
            OtlpProtobuf,
            Traces,
            within(&[1, 2, 2, 9, 2], nested(&[6, 1, 2], MIB)),
        ),
        (
            "a length of 2^63",
            OtlpProtobuf,
            Logs,
            lying(1, 1 << 63, b""),
        ),
        (
            "a length of 2^64 - 1",
            RemoteWrite1,
            Metrics,
            lying(1, u64::MAX, b""),
        ),
        (
            "a length of 2 GiB - 1 and no bytes",
            OtlpProtobuf,
            Logs,
            lying(1, i32::MAX as u64, b""),
        ),
        (
            "a length one past its parent",
            OtlpProtobuf,
            Logs,
            within(&[1, 2], lying(2, 3, b"\x12\x00")),
        ),
        (
            "a varint of 11 bytes",
            OtlpProtobuf,
            Logs,
            within(
                &[1, 2, 2],
                [b"\x10".as_slice(), &[0xFF; 10], b"\x01"].concat(),
            ),
        ),
        (
            "a tag of 2^64 - 1",
            RemoteWrite1,
            Metrics,
            [[0xFF; 9].as_slice(), &[1]].concat(),
        ),
        (
            "4 MiB of continuation bits",
            OtlpProtobuf,
            Metrics,
            vec![0x80; 4 * MIB],
        ),
        ("field number 0", OtlpProtobuf, Traces, b"\x02\x00".to_vec()),
        (
            "groups nested a million deep",
            OtlpProtobuf,
            Logs,
            vec![0x0B; MIB],
        ),
        (
            "4 MiB of end-group tags",
            RemoteWrite2,
            Metrics,
            vec![0x0C; 4 * MIB],
        ),
        (
            "4 MiB of packed integers that never end",
            RemoteWrite2,
            Metrics,
            within(&[5, 1], vec![0xFF; 4 * MIB]),
        ),
        (
            "references past the symbols",
            RemoteWrite2,
            Metrics,
            [field(4, b""), within(&[5, 1], vec![0x7F; 4 * MIB])].concat(),
        ),
        (
            "4 MiB of text that is not UTF-8",
            OtlpProtobuf,
            Logs,
            within(&[1, 2, 2, 3], vec![0xC0; 4 * MIB]),
        ),
        (
            "a fixed64 where a message belongs",
            OtlpProtobuf,
            Logs,
            [b"\x09".as_slice(), &[0; 8]].concat().repeat(MIB / 2),
        ),
    ];
    assert_eq!(bombs.len(), 40);
    bombs
        .drain(..)
        .map(|(name, content, signal, body)| Bomb {
            name,
            content,
            signal,
            encoding: Encoding::Identity,
            body,
        })
        .collect()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("a slice can be read")
}

pub(crate) fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(bytes)
        .expect("shorter than 4 GiB")
}

/// Twelve compressed bodies that inflate past every ceiling, or claim to, or lie about themselves.
pub(crate) fn compressed() -> Vec<Bomb> {
    use Encoding::{Gzip, Snappy, Zstd};
    let zeros = vec![0u8; 128 * MIB];
    let spaces = vec![b' '; 128 * MIB];
    let lines = b"{\"a\":1}\n".repeat(16 * MIB);
    let mut wide = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xA0];
    wide.extend([0; 64]);
    let mut single = vec![0x28, 0xB5, 0x2F, 0xFD, 0xE0];
    single.extend(u64::MAX.to_le_bytes());
    let mut cut = gzip(&lines[..MIB]);
    cut.truncate(cut.len() / 2);
    let mut forged = gzip(&lines[..MIB]);
    let crc_at = forged.len() - 8;
    forged[crc_at] ^= 1;
    let mut lying_snappy = Vec::new();
    varint(2_700_000_000, &mut lying_snappy);
    lying_snappy.extend([0; 16]);
    let mut endless_name = vec![0x1F, 0x8B, 8, 8, 0, 0, 0, 0, 0, 0];
    endless_name.extend(vec![b'n'; MIB]);

    let bombs = vec![
        ("gzip of zeros", Gzip, gzip(&zeros)),
        ("gzip of lines", Gzip, gzip(&lines)),
        (
            "gzip in gzip members",
            Gzip,
            gzip(&spaces[..MIB]).repeat(64),
        ),
        ("gzip cut in the middle", Gzip, cut),
        ("gzip with a wrong checksum", Gzip, forged),
        ("gzip with a name of 1 MiB and no end", Gzip, endless_name),
        ("zstd of zeros", Zstd, zstd(&zeros)),
        (
            "zstd of lines in frames",
            Zstd,
            zstd(&lines[..MIB]).repeat(64),
        ),
        ("zstd with a window of 1 GiB", Zstd, wide),
        ("zstd with a content of 2^64 - 1", Zstd, single),
        ("snappy that claims 2.7 GB", Snappy, lying_snappy),
        ("snappy of zeros", Snappy, snappy(&zeros)),
    ];
    assert_eq!(bombs.len(), 12);
    bombs
        .into_iter()
        .map(|(name, encoding, body)| Bomb {
            name,
            content: Content::Lines,
            signal: Signal::Logs,
            encoding,
            body,
        })
        .collect()
}

/// One hostile bulk body and the lines it must be counted as: good, malformed, oversized, empty.
pub(crate) struct HostileLines {
    pub(crate) name: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) lines: [u64; 4],
}

/// Sixty bulk bodies that are hostile, or look so.
pub(crate) fn json() -> Vec<HostileLines> {
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
            around(b"\xFF\xFE", b"{\0\"\0a\0\"\0:\01\0}\0", b""),
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
