#![no_main]

use libfuzzer_sys::fuzz_target;
use wharfinger::{
    model::{Content, Limits, Signal},
    wire::{Scanner, otlp_convert::json_to_protobuf},
};

// What OTLP JSON becomes is OTLP: our own scanner takes it.
fuzz_target!(|input: (u8, &[u8])| {
    let (signal, json) = input;
    let signal = Signal::ALL[usize::from(signal) % 3];
    if let Ok(protobuf) = json_to_protobuf(signal, json) {
        let mut scanner = Scanner::new(Content::OtlpProtobuf, signal, &Limits::default());
        scanner.push(&protobuf).expect("what we write is well formed");
        scanner.finish().expect("what we write is whole");
    }
});
