//! Bodies made to hurt: protobuf bombs and compression bombs, for the scanners and for sockets.

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
