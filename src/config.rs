//! One TOML file, every mistake at once, `WHARFINGER_*` on top.
