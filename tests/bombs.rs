//! Hostile bodies against the scanners: each is refused or counted exactly, in one piece and in small ones.

#[path = "support/bombs.rs"]
mod bombs;
#[path = "support/hostile_json.rs"]
mod hostile_json;

use bytes::Bytes;
use wharfinger::{
    model::{Content, Counts, Encoding, Limits, Signal},
    wire::{
        Fault, Scanner,
        encoding::{Inflate, Progress},
    },
};

const MIB: u64 = 1 << 20;

fn scan(
    content: Content,
    signal: Signal,
    body: &[u8],
    piece_bytes: usize,
) -> Result<Counts, Fault> {
    let mut scanner = Scanner::new(content, signal, &Limits::default());
    for piece in body.chunks(piece_bytes) {
        scanner.push(piece)?;
    }
    scanner.finish()
}

#[test]
fn every_protobuf_bomb_is_refused_however_it_is_cut() {
    let bombs = bombs::protobuf();
    for bomb in &bombs {
        assert_eq!(bomb.encoding, Encoding::Identity);
        for piece_bytes in [usize::MAX, 4096, 7, 1] {
            // A body of 4 MiB byte by byte is slow in a debug build, and says no more than its start.
            let body = if piece_bytes < 4096 {
                &bomb.body[..bomb.body.len().min(1 << 20)]
            } else {
                &bomb.body
            };
            let verdict = scan(bomb.content, bomb.signal, body, piece_bytes);
            assert!(
                matches!(verdict, Err(Fault::Malformed(_))),
                "{} in pieces of {piece_bytes}: {verdict:?}",
                bomb.name
            );
        }
    }
    println!("{} protobuf bombs refused", bombs.len());
    assert_eq!(bombs.len(), 40);
}

#[test]
fn every_compression_bomb_is_refused_within_its_ceiling_of_bytes_and_memory() {
    const CEILING: u64 = 10 * MIB;
    let bombs = bombs::compressed();
    for bomb in &bombs {
        let scanner = Scanner::new(bomb.content, bomb.signal, &Limits::default());
        let mut inflate = Inflate::new(bomb.encoding, CEILING, scanner);
        let mut memory_bytes_max = 0;
        let mut run = || {
            for chunk in bomb.body.chunks(16 << 10) {
                inflate.feed(Bytes::copy_from_slice(chunk));
                loop {
                    let before = inflate.inflated_bytes();
                    let progress = inflate.step();
                    memory_bytes_max = memory_bytes_max.max(inflate.memory_bytes());
                    assert!(
                        inflate.inflated_bytes() - before <= 512 << 10,
                        "{}: a step of {} bytes",
                        bomb.name,
                        inflate.inflated_bytes() - before
                    );
                    if progress? == Progress::Drained {
                        break;
                    }
                }
            }
            Ok(())
        };
        let verdict: Result<(), Fault> = run();
        let inflated = inflate.inflated_bytes();
        let verdict = verdict.and_then(|()| inflate.finish().map(drop));
        assert!(verdict.is_err(), "{} was taken", bomb.name);
        assert!(
            inflated <= CEILING + (512 << 10),
            "{}: {inflated}",
            bomb.name
        );
        assert!(
            memory_bytes_max <= 20 * MIB,
            "{}: {memory_bytes_max}",
            bomb.name
        );
    }
    println!("{} compression bombs refused", bombs.len());
    assert_eq!(bombs.len(), 12);
}

#[test]
fn every_hostile_json_body_is_counted_exactly_however_it_is_cut() {
    let cases = hostile_json::bodies();
    for case in &cases {
        for piece_bytes in [usize::MAX, 4096, 13, 1] {
            if piece_bytes < 4096 && case.body.len() > 1 << 20 {
                continue;
            }
            let verdict = scan(Content::Lines, Signal::Logs, &case.body, piece_bytes);
            let Ok(Counts::Lines(lines)) = verdict else {
                panic!("{}: {verdict:?}", case.name);
            };
            let classes = [lines.good, lines.malformed, lines.oversized, lines.empty];
            assert_eq!(
                classes.map(|class| class.items),
                case.lines,
                "{} in pieces of {piece_bytes}",
                case.name
            );
            assert_eq!(
                classes.map(|class| class.bytes).iter().sum::<u64>(),
                case.body.len() as u64,
                "{}",
                case.name
            );
        }
    }
    println!("{} hostile JSON bodies counted", cases.len());
    assert_eq!(cases.len(), 60);
}
