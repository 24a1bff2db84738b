//! The scripted servers.

use std::cell::Cell;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// What a server does with a request.
#[derive(Clone)]
pub(super) enum Act {
    /// Writes this and keeps the connection.
    Answer(String),
    /// Writes this and closes.
    AnswerAndClose(String),
    /// Closes without a word.
    Close,
    /// Says nothing and stays.
    Silence,
    /// A good head, then bytes for as long as they are read.
    Flood,
    /// Writes this and resets.
    AnswerAndReset(String),
}

pub(super) struct Server {
    pub(super) url: String,
    pub(super) seen: Rc<RefCell<Vec<Seen>>>,
    pub(super) connections: Rc<Cell<usize>>,
    pub(super) flooded_bytes: Rc<Cell<usize>>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(seen, _)| seen == name)?;
        Some(&found.1)
    }
}

pub(super) fn answer(status: u16, headers: &str, body: &str) -> Act {
    Act::Answer(format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    ))
}

/// A server that does with the nth request of all what `script(n)` says.
pub(super) async fn serve(script: impl Fn(usize) -> Act + 'static) -> Server {
    serve_tls(None, script).await
}

pub(super) async fn serve_tls(
    tls: Option<Arc<rustls::ServerConfig>>,
    script: impl Fn(usize) -> Act + 'static,
) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server {
        url: match tls {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        },
        seen: Rc::default(),
        connections: Rc::default(),
        flooded_bytes: Rc::default(),
    };
    let script: Rc<dyn Fn(usize) -> Act> = Rc::new(script);
    let (seen, connections) = (server.seen.clone(), server.connections.clone());
    let flooded = server.flooded_bytes.clone();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.set(connections.get() + 1);
            let (seen, script, flooded) = (seen.clone(), script.clone(), flooded.clone());
            let tls = tls.clone();
            spawn_local(async move {
                match tls {
                    None => talk(stream, &seen, &*script, &flooded).await,
                    Some(tls) => {
                        if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                            talk(Box::pin(stream), &seen, &*script, &flooded).await
                        } else {
                            None
                        }
                    }
                };
            });
        }
    });
    server
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin + Linger>(
    mut stream: S,
    seen: &RefCell<Vec<Seen>>,
    script: &dyn Fn(usize) -> Act,
    flooded: &Cell<usize>,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let request = read_request(&mut stream, &mut buffer).await?;
        let number = seen.borrow().len();
        seen.borrow_mut().push(request);
        match script(number) {
            Act::Answer(text) => stream.write_all(text.as_bytes()).await.ok()?,
            Act::AnswerAndClose(text) => {
                stream.write_all(text.as_bytes()).await.ok()?;
                return stream.shutdown().await.ok();
            }
            Act::Close => return None,
            Act::Silence => std::future::pending().await,
            Act::Flood => {
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
                stream.write_all(head.as_bytes()).await.ok()?;
                while stream.write_all(&[b'x'; 4096]).await.is_ok() {
                    flooded.set(flooded.get() + 4096);
                }
                return None;
            }
            Act::AnswerAndReset(text) => {
                stream.write_all(text.as_bytes()).await.ok()?;
                sleep(Duration::from_millis(20)).await;
                stream.reset_on_drop();
                return None;
            }
        }
    }
}

/// Makes a close a reset.
pub(super) trait Linger {
    fn reset_on_drop(&self);
}

impl Linger for TcpStream {
    fn reset_on_drop(&self) {
        socket2::SockRef::from(self)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

impl Linger for std::pin::Pin<Box<tokio_rustls::server::TlsStream<TcpStream>>> {
    fn reset_on_drop(&self) {
        self.get_ref().0.reset_on_drop();
    }
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    buffer.drain(..end + 4);
    let mut rows = head.split("\r\n");
    let mut seen = Seen {
        line: rows.next()?.to_owned(),
        ..Seen::default()
    };
    for row in rows {
        let (name, value) = row.split_once(": ").unwrap();
        seen.headers.push((name.to_owned(), value.to_owned()));
    }
    let length: usize = seen.header("content-length")?.parse().unwrap();
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    seen.body = buffer.drain(..length).collect();
    Some(seen)
}
