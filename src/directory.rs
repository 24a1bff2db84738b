//! Floor 2: every token and account in memory, followed from the feed and kept on disk.
