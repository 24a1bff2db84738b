//! A process of its own, since it uses up its descriptors.

#![allow(clippy::disallowed_methods, reason = "tests may sleep and read clocks")]

#[path = "listen/world.rs"]
#[allow(dead_code, reason = "shared with the larger test")]
mod world;

use std::{net::TcpStream, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wharfinger::gateway::listen::Config;
use world::{World, ask};

#[test]
fn the_accept_loop_outlives_exhausted_descriptors() {
    let world = World::start(Config {
        connections_max: 10_000,
        ..Config::default()
    });
    assert_eq!(ask(&world, "/").0, 200);
    let mut held: Vec<TcpStream> = (0..32).map(|_| world.connect()).collect();
    std::thread::sleep(Duration::from_millis(200));
    let open = std::fs::read_dir("/proc/self/fd")
        .expect("descriptors")
        .count() as u64;
    let before = getrlimit(Resource::Nofile);
    // Room for a client's socket, and none for the accepted one.
    let tight = Rlimit {
        current: Some(open),
        ..before
    };
    setrlimit(Resource::Nofile, tight).expect("a limit");
    let waiting: Vec<_> = (0..4)
        .map_while(|_| TcpStream::connect(world.address).ok())
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let errors = world.gate.accept_errors();
    setrlimit(Resource::Nofile, before).expect("a limit");
    println!(
        "{} waiting, {errors} failed accepts in half a second",
        waiting.len()
    );
    assert!(errors >= 1, "the limit was not reached");
    assert!(errors < 50, "a busy loop");
    held.clear();
    assert_eq!(ask(&world, "/").0, 200);
}
