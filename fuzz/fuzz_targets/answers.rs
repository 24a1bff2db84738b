#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wharfinger::{
    model::Signal,
    wire::{
        grpc::{Unframe, percent_decode, percent_encode},
        status,
    },
};

// What a destination or a gRPC client may send us: never a panic, never more out than went in.
fuzz_target!(|input: (u8, u8, &[u8])| {
    let (signal, piece, bytes) = input;
    let signal = Signal::ALL[usize::from(signal) % 3];
    let _ = status::parse_status_protobuf(bytes);
    let _ = status::parse_status_json(bytes);
    let _ = status::parse_status_details(bytes);
    let _ = status::parse_partial_success_protobuf(bytes);
    let _ = status::parse_partial_success_json(signal, bytes);
    let decoded = percent_decode(bytes);
    assert_eq!(percent_decode(percent_encode(&decoded).as_bytes()), decoded);

    let unframe = |piece_bytes: usize| {
        let mut unframe = Unframe::default();
        let mut message = Vec::new();
        for piece in bytes.chunks(piece_bytes) {
            message.extend_from_slice(&unframe.push(Bytes::copy_from_slice(piece)).ok()?);
        }
        unframe.finish().ok().map(|frame| (frame, message))
    };
    let whole = unframe(usize::MAX);
    assert_eq!(unframe(usize::from(piece) + 1), whole);
    if let Some((frame, message)) = whole {
        assert_eq!(message.len(), frame.length as usize);
    }
});
