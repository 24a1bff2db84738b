//! What is sent: bodies in every form, and the fates that befall them on the way.

use std::{net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    SIGNALS,
    world::{Sender, World, bodies, live},
};

const WRITE_2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// Numbers that a seed decides.
#[derive(Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % sides
    }

    pub(crate) fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }
}

/// What happens to a request besides its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Good,
    Dribbled,
    Partial,
    Malformed,
    TooLarge,
    CutOff,
    Stalled,
    ClientGone,
    WrongToken,
    WrongSignal,
    WrongType,
    WrongMethod,
}

pub(crate) const FATES: [Fate; 20] = [
    Fate::Good,
    Fate::Good,
    Fate::Good,
    Fate::Good,
    Fate::Good,
    Fate::Good,
    Fate::Good,
    Fate::Dribbled,
    Fate::Partial,
    Fate::Partial,
    Fate::Partial,
    Fate::Malformed,
    Fate::Malformed,
    Fate::TooLarge,
    Fate::CutOff,
    Fate::Stalled,
    Fate::ClientGone,
    Fate::WrongToken,
    Fate::WrongSignal,
    Fate::WrongMethod,
];

/// A request that is ready to go.
pub(crate) struct Parcel {
    to: Sender,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    pub(crate) items: u64,
    is_grpc: bool,
    is_compressed: bool,
}

/// A body of that fate in a random form of that signal; bulk where the fate is about lines.
pub(crate) fn parcel(
    world: &World,
    dice: &mut Dice,
    fate: Fate,
    signal: usize,
    token: &str,
) -> Parcel {
    let count = 2 + dice.below(40);
    let signal_name = SIGNALS[signal];
    let is_lines = fate == Fate::Partial || fate == Fate::TooLarge && signal == 0;
    let form = if is_lines { 0 } else { dice.below(5) };
    let bad: &[u8] = b"\n  \nnot json\n{}\n{\"cut\":\n";
    let bearer = ("authorization".to_owned(), format!("Bearer {token}"));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let (to, path, kind, plain, is_grpc) = match (form, signal) {
        (0, 0) => {
            let mut body = bodies::lines(count);
            match fate {
                Fate::Partial => body.extend_from_slice(bad),
                Fate::Malformed => body = bad.to_vec(),
                Fate::TooLarge => body = bodies::lines(1).repeat((11 << 20) / 27),
                _ => {}
            }
            (
                world.bulk(),
                "/?type=mixed".to_owned(),
                "text/plain".to_owned(),
                body,
                false,
            )
        }
        (0 | 1, 1) => {
            let is_2 = form == 1;
            let mut body = if is_2 {
                bodies::write_2(count)
            } else {
                bodies::write_1(count)
            };
            if fate == Fate::Malformed {
                body.extend_from_slice(&[0x0a, 0x7f]);
            }
            if fate == Fate::TooLarge {
                body = vec![0; 33 << 20];
            }
            let body = bodies::snappy(&body);
            let headers = vec![
                bearer,
                header(
                    "content-type",
                    if is_2 {
                        WRITE_2
                    } else {
                        "application/x-protobuf"
                    },
                ),
                header("content-encoding", "snappy"),
            ];
            return Parcel {
                to: world.remote_write(),
                path: "/api/v1/write".to_owned(),
                headers,
                body: body.into(),
                items: count as u64,
                is_grpc: false,
                is_compressed: false,
            };
        }
        (2, _) => {
            let mut body = bodies::otlp_json(signal_name, count).into_bytes();
            if fate == Fate::Malformed {
                body.truncate(body.len() - 1);
            }
            (
                world.otlp_http(),
                format!("/v1/{signal_name}"),
                "application/json".to_owned(),
                body,
                false,
            )
        }
        _ => {
            let mut body = bodies::otlp(signal_name, count);
            if fate == Fate::Malformed {
                body.extend_from_slice(&[0x0a, 0x7f]);
            }
            let service = ["logs.v1.Logs", "metrics.v1.Metrics", "trace.v1.Trace"][signal];
            if form == 3 {
                let path = format!("/opentelemetry.proto.collector.{service}Service/Export");
                (
                    world.otlp_grpc(),
                    path,
                    "application/grpc".to_owned(),
                    body,
                    true,
                )
            } else {
                let kind = "application/x-protobuf".to_owned();
                (
                    world.otlp_http(),
                    format!("/v1/{signal_name}"),
                    kind,
                    body,
                    false,
                )
            }
        }
    };
    let plain = if fate == Fate::TooLarge && form != 0 {
        vec![b' '; 65 << 20]
    } else {
        plain
    };
    let encoding = match fate {
        Fate::TooLarge => "gzip",
        _ => dice.one_of(&["identity", "gzip", "zstd"]),
    };
    let body = match encoding {
        "gzip" => bodies::gzip(&plain),
        "zstd" => bodies::zstd(&plain),
        _ => plain,
    };
    let name = if is_grpc {
        "grpc-encoding"
    } else {
        "content-encoding"
    };
    let kind = if fate == Fate::WrongType {
        "text/html"
    } else {
        &kind
    };
    Parcel {
        to,
        path,
        headers: vec![bearer, header("content-type", kind), header(name, encoding)],
        body: body.into(),
        items: count as u64,
        is_grpc,
        is_compressed: encoding != "identity",
    }
}

/// Sends one to its fate. Whether it was a success, and how it was answered; `None` if nobody waited.
pub(crate) async fn send(parcel: &Parcel, fate: Fate) -> Option<(bool, String)> {
    let headers: Vec<_> = parcel
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    if parcel.is_grpc {
        let headers: Vec<_> = headers
            .into_iter()
            .filter(|(name, _)| *name != "content-type")
            .collect();
        let seen = match fate {
            Fate::Stalled => parcel.to.call_stalling(&parcel.path, &headers).await,
            Fate::CutOff => {
                let mut short = vec![u8::from(parcel.is_compressed), 0, 1, 0, 0];
                short.extend_from_slice(&parcel.body);
                parcel.to.call_framed(&parcel.path, &headers, short).await
            }
            _ => {
                parcel
                    .to
                    .call(&parcel.path, &headers, &parcel.body, parcel.is_compressed)
                    .await
            }
        };
        return Some((seen.code == 0, format!("gRPC {}", seen.code)));
    }
    let status = match fate {
        Fate::WrongMethod => {
            let answer = parcel
                .to
                .send(Method::PUT, &parcel.path, &headers, Vec::new())
                .await;
            answer.status
        }
        Fate::CutOff | Fate::Stalled | Fate::Dribbled | Fate::ClientGone => {
            by_hand(parcel, fate).await?
        }
        _ => {
            let body = parcel.body.clone();
            let address = parcel.to.address;
            let raw = live::post(
                Ipv4Addr::LOCALHOST,
                address,
                &parcel.path,
                &parcel.headers,
                body,
            );
            raw.await
                .unwrap_or_else(|| panic!("no answer: {fate:?} {}", parcel.path))
                .status
        }
    };
    // The good lines of a partial body are safe before its 400 is sent.
    let is_success = status < 300 || fate == Fate::Partial && status == 400;
    Some((is_success, format!("HTTP {status}")))
}

/// Over a bare socket, in pieces.
async fn by_hand(parcel: &Parcel, fate: Fate) -> Option<u16> {
    let mut stream = TcpStream::connect(parcel.to.address)
        .await
        .expect("connects");
    let announced = match fate {
        Fate::CutOff | Fate::Stalled => parcel.body.len() + 1_000,
        _ => parcel.body.len(),
    };
    let mut head = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {announced}\r\n",
        parcel.path
    );
    for (name, value) in &parcel.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.expect("sends");
    for piece in parcel.body.chunks(parcel.body.len().div_ceil(4).max(1)) {
        stream.write_all(piece).await.expect("sends");
        if fate == Fate::Dribbled {
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
    match fate {
        Fate::CutOff => stream.shutdown().await.expect("half-closes"),
        Fate::ClientGone => return None,
        _ => {}
    }
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.expect("an answer");
    Some(
        live::raw(&back)
            .unwrap_or_else(|| panic!("no answer: {fate:?} {}", parcel.path))
            .status,
    )
}
