//! A memory cgroup, of either version, for a process that must live within it.

use std::{fs, path::PathBuf, time::Duration};

/// A memory cgroup; gone when dropped, unless something still runs in it.
pub(crate) struct Cgroup {
    folder: PathBuf,
    is_v2: bool,
}

impl Cgroup {
    /// # Panics
    /// Without root and a cgroup file system that can be written to: a test that asks for one must not pass without.
    pub(crate) fn make(name: &str, bytes_max: u64) -> Self {
        let v1 = PathBuf::from("/sys/fs/cgroup/memory");
        let is_v2 = !v1.is_dir();
        let root = if is_v2 {
            PathBuf::from("/sys/fs/cgroup")
        } else {
            v1
        };
        let folder = root.join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&folder).expect("root, and a cgroup file system that can be written to");
        let group = Self { folder, is_v2 };
        let limit = if is_v2 {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        fs::write(group.folder.join(limit), bytes_max.to_string()).expect("a limit");
        group
    }

    /// What a shell runs to be inside.
    pub(crate) fn enter(&self) -> String {
        format!("echo $$ > '{}'", self.folder.join("cgroup.procs").display())
    }

    fn number(&self, v1: &str, v2: &str) -> String {
        let name = if self.is_v2 { v2 } else { v1 };
        fs::read_to_string(self.folder.join(name))
            .unwrap_or_default()
            .trim()
            .replace('\n', " ")
    }

    /// Prints how full it was; how many processes were killed for want of memory.
    pub(crate) fn report(&self) -> Option<u64> {
        let peak = self.number("memory.max_usage_in_bytes", "memory.peak");
        let failed = self.number("memory.failcnt", "memory.events");
        let oom = self.number("memory.oom_control", "memory.events");
        println!("cgroup: peak {peak} bytes (files included), limit hit: {failed}, oom: {oom}");
        let (_, rest) = oom.split_once("oom_kill ")?;
        rest.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            // Its processes are being reaped.
            #[allow(clippy::disallowed_methods, reason = "a drop cannot await")]
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
