//! Floor 1: bytes and formats, no policy.
