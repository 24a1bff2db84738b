//! HTTP/2 frames written by hand, and floods of them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use wharfinger::gateway::listen::Config;

use super::world::{World, ask, read_answer, status};

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub(crate) fn preface() -> Vec<u8> {
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()
}

/// Preface and settings.
pub(crate) fn hello() -> Vec<u8> {
    [preface(), frame(4, 0, 0, &[])].concat()
}

/// A head whose body is to come.
pub(crate) fn post(stream: u32, path: &str) -> Vec<u8> {
    head(stream, 0x83, path, 4)
}

/// A whole request.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    head(stream, 0x82, path, 5)
}

fn head(stream: u32, method: u8, path: &str, flags: u8) -> Vec<u8> {
    let mut block = vec![method, 0x86, 0x41, 1, b'a', 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    frame(1, flags, stream, &block)
}

/// Reads frames until the stream's HEADERS, or the end.
pub(crate) fn has_headers(connection: &mut TcpStream, stream: u32) -> bool {
    let mut header = [0; 9];
    while connection.read_exact(&mut header).is_ok() {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        if connection.read_exact(&mut payload).is_err() {
            return false;
        }
        if header[3] == 1 && header[5..] == stream.to_be_bytes() {
            return true;
        }
    }
    false
}

/// Each gives the flood's opening, and its `round`th frame.
type Flood = (&'static str, fn() -> Vec<u8>, fn(u32) -> Vec<u8>);

const FLOODS: [Flood; 12] = [
    ("PING", hello, |_| frame(6, 0, 0, &[1; 8])),
    ("PING answers", hello, |_| frame(6, 1, 0, &[1; 8])),
    ("SETTINGS", hello, |_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 9])),
    ("PRIORITY", hello, |_| frame(2, 0, 1, &[0, 0, 0, 3, 1])),
    ("WINDOW_UPDATE of 1", hello, |_| {
        frame(8, 0, 0, &[0, 0, 0, 1])
    }),
    ("an unknown kind", hello, |_| frame(0xbb, 0, 0, &[0; 32])),
    ("empty DATA", open_post, |_| frame(0, 0, 1, &[])),
    ("empty CONTINUATION", open_block, |_| frame(9, 0, 1, &[])),
    ("HEADERS then RST_STREAM", hello, |round| {
        let stream = round * 2 + 1;
        [get(stream, "/slow"), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    }),
    ("HEADERS then WINDOW_UPDATE of 0", hello, |round| {
        let stream = round * 2 + 1;
        [get(stream, "/slow"), frame(8, 0, stream, &[0; 4])].concat()
    }),
    ("DATA on a stream that is over", refused_post, |_| {
        frame(0, 0, 1, &[7])
    }),
    ("a request on itself", hello, |round| {
        let stream = round * 2 + 1;
        let dependency = (stream).to_be_bytes();
        let block = [&dependency[..], &[1, 0x82, 0x86, 0x41, 1, b'a', 0x84]].concat();
        frame(1, 0x25, stream, &block)
    }),
];

fn open_post() -> Vec<u8> {
    [hello(), post(1, "/")].concat()
}

fn open_block() -> Vec<u8> {
    [hello(), frame(1, 0, 1, &[0x83])].concat()
}

fn refused_post() -> Vec<u8> {
    [hello(), post(1, "/refuse")].concat()
}

/// Floods until the other end has had enough; gives the time and the bytes that took.
fn flood(world: &World, opening: Vec<u8>, next: fn(u32) -> Vec<u8>) -> (Duration, usize) {
    let mut stream = world.connect();
    let began = Instant::now();
    stream.write_all(&opening).expect("writes");
    let mut reader = stream.try_clone().expect("a second handle");
    let over = Arc::new(AtomicBool::new(false));
    let is_over = over.clone();
    let drain = std::thread::spawn(move || {
        let mut scratch = vec![0; 65_536];
        while matches!(reader.read(&mut scratch), Ok(count) if count > 0) {}
        is_over.store(true, Relaxed);
    });
    let (mut round, mut sent) = (0, 0);
    while !over.load(Relaxed) && began.elapsed() < Duration::from_secs(15) {
        let mut bytes = Vec::new();
        while bytes.len() < 4_096 {
            bytes.extend(next(round));
            round += 1;
        }
        if stream.write_all(&bytes).is_err() {
            break;
        }
        sent += bytes.len();
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
    drain.join().expect("the reader ends");
    (began.elapsed(), sent)
}

#[test]
fn floods_are_cut_while_a_neighbour_is_served() {
    let world = Arc::new(World::start(Config::default()));
    let over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicU64::new(0));
    let neighbour = {
        let (world, over, served) = (world.clone(), over.clone(), served.clone());
        std::thread::spawn(move || {
            let mut stream = world.connect();
            let mut worst = Duration::ZERO;
            while !over.load(Relaxed) {
                let began = Instant::now();
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    .expect("writes");
                assert_eq!(status(&read_answer(&mut stream)), 200);
                worst = worst.max(began.elapsed());
                served.fetch_add(1, Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
            worst
        })
    };
    for (name, opening, next) in FLOODS {
        let (took, sent) = flood(&world, opening(), next);
        println!("{name}: cut after {took:?} and {sent} bytes");
        assert!(took < Duration::from_secs(5), "{name} took {took:?}");
    }
    over.store(true, Relaxed);
    let worst = neighbour.join().expect("the neighbour is served");
    let served = served.load(Relaxed);
    println!(
        "{} floods; the neighbour had {served} answers, the worst after {worst:?}",
        FLOODS.len()
    );
    assert!(served > 20);
}

#[test]
fn a_flood_of_pings_between_finished_requests_is_no_flood() {
    let world = World::start(Config {
        control_bytes_max: 4_096,
        ..Config::default()
    });
    let mut stream = world.connect();
    stream.write_all(&hello()).expect("writes");
    for round in 0..50 {
        let pings = frame(6, 0, 0, &[1; 8]).repeat(150);
        stream
            .write_all(&[pings, get(round * 2 + 1, "/")].concat())
            .expect("writes");
        assert!(has_headers(&mut stream, round * 2 + 1), "round {round}");
    }
    assert_eq!(world.cut("control_flood"), 0);
}

#[test]
fn a_header_list_past_all_measure_ends_its_connection_and_is_counted() {
    let world = World::start(Config::default());
    // Five bytes a header here, and 34 to who decodes them.
    let some = [0, 1, b'a', 1, b'b'].repeat(3_000);
    let mut stream = world.connect();
    stream.write_all(&hello()).expect("writes");
    let _ = stream.write_all(&frame(1, 0, 1, &[&[0x83, 0x86, 0x84], &some[..]].concat()));
    for _ in 0..20 {
        let _ = stream.write_all(&frame(9, 0, 1, &some));
    }
    assert!(!has_headers(&mut stream, 1), "nobody answers it");
    world.cut_soon("protocol", 1);
    drop(stream);
    world.is_empty_soon();
    assert_eq!(ask(&world, "/").0, 200);
}
