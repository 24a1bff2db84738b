//! The memory of a process of ours, read as a core would have it: stopped, every readable page of it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    search::{FORM_MAX, Search},
    world::process::Process,
};

const STEP_BYTES: usize = 1 << 20;
/// The kernel's own: pages of the clock, which can't be read this way.
const KERNELS: [&str; 3] = ["[vvar]", "[vvar_vclock]", "[vsyscall]"];

/// What was read, and what was found in it.
pub(crate) struct Core {
    pub(crate) bytes: usize,
    pub(crate) found: BTreeSet<usize>,
}

/// Stops the process, reads all of it, and lets it go on. Panics where reading isn't allowed: what was not looked at must not
/// pass for clean.
pub(crate) async fn search(process: &Process, search: &Search) -> Core {
    stop(process).await;
    let core = read(process.id(), search);
    process.signal(Signal::CONT);
    core
}

async fn stop(process: &Process) {
    process.signal(Signal::STOP);
    let path = format!("/proc/{}/stat", process.id());
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let stat = fs::read_to_string(&path).expect("a process of ours");
        // The name before it may hold anything, brackets too.
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        if state.starts_with('T') {
            return;
        }
        assert!(Instant::now() < deadline, "not stopped within 10 s: {stat}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn read(id: u32, search: &Search) -> Core {
    let memory = File::open(format!("/proc/{id}/mem")).unwrap_or_else(|error| {
        panic!(
            "the memory of our own child {id} can't be opened ({error}), so nobody knows what is in it: run this as the user of \
             the process, with kernel.yama.ptrace_scope at 0 or 1 and ptrace allowed in the container"
        )
    });
    let maps = fs::read_to_string(format!("/proc/{id}/maps")).expect("a process of ours");
    let mut core = Core {
        bytes: 0,
        found: BTreeSet::new(),
    };
    let mut buffer = vec![0; STEP_BYTES + FORM_MAX];
    let nothing = vec![0; STEP_BYTES + FORM_MAX];
    for line in maps.lines() {
        let Some((from, to)) = readable(line) else {
            continue;
        };
        let mut at = from;
        while at < to {
            // A little of the next step too, for what lies across.
            let piece = &mut buffer[..(to - at).min(STEP_BYTES + FORM_MAX)];
            if let Err(error) = memory.read_exact_at(piece, at as u64) {
                panic!("memory of child {id} can't be read at {at:x} ({error}): {line}");
            }
            // Most of what an allocator has reserved was never touched.
            if *piece != nothing[..piece.len()] {
                core.found.extend(search.found_in(piece));
                core.bytes += piece.len().min(STEP_BYTES);
            }
            at += STEP_BYTES;
        }
    }
    core
}

/// A mapping's bounds, if it can be read.
fn readable(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let is_readable = words.next()?.starts_with('r');
    let is_kernels = KERNELS.iter().any(|name| line.ends_with(name));
    let address = |text| usize::from_str_radix(text, 16).expect("an address");
    (is_readable && !is_kernels).then(|| (address(from), address(to)))
}
