//! The doors: which protocol a request speaks, which decides what it may carry and how it is answered.

/// One ingest protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Door {
    /// Newline-delimited JSON, as the Logz.io listener takes it.
    Bulk = 0,
    /// OTLP over plain HTTP, protobuf or JSON.
    OtlpHttp = 1,
    /// OTLP over gRPC, unary.
    OtlpGrpc = 2,
    /// Prometheus remote write 1.0 and 2.0.
    RemoteWrite = 3,
}

impl Door {
    /// Every door, in the order of [`Door::index`].
    pub const ALL: [Self; 4] = [
        Self::Bulk,
        Self::OtlpHttp,
        Self::OtlpGrpc,
        Self::RemoteWrite,
    ];

    /// The name in labels and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::OtlpHttp => "otlp_http",
            Self::OtlpGrpc => "otlp_grpc",
            Self::RemoteWrite => "remote_write",
        }
    }

    /// A place in an array of four.
    pub const fn index(self) -> usize {
        self as usize
    }
}
