//! What is kept of an HTTP/1.1 head as it passes: enough to answer its sender in its own protocol should the parser find
//! that it can't be read.

/// The first bytes of the request line and of the content type.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outline {
    line: Kept<128>,
    kind: Kept<64>,
}

/// The first bytes of a text. No door's path, and no content type that one knows, is longer.
#[derive(Clone, Copy, Debug)]
struct Kept<const MAX: usize> {
    bytes: [u8; MAX],
    length: usize,
}

// === impl Outline ===

impl Outline {
    /// More of the request line.
    pub(super) fn line(&mut self, bytes: &[u8]) {
        self.line.push(bytes);
    }

    /// More of the content type.
    pub(super) fn kind(&mut self, bytes: &[u8]) {
        self.kind.push(bytes);
    }

    /// A head that knocks at the same door and has no body. The query stays behind, and the token in it.
    pub(super) fn head(&self) -> Vec<u8> {
        let line = String::from_utf8_lossy(self.line.get());
        let mut words = line.split(' ');
        let method = words.next().filter(|method| {
            let is_method = method.bytes().all(|byte| byte.is_ascii_uppercase());
            is_method && !method.is_empty() && method.len() <= 16
        });
        let path = words.next().and_then(|target| target.split('?').next());
        let path = path.filter(|path| {
            path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
        });
        let (method, path) = match (method, path) {
            (Some(method), Some(path)) => (method, path),
            // Nobody's protocol: there is no such door.
            _ => ("OPTIONS", "*"),
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: -\r\nconnection: close\r\n");
        let kind = String::from_utf8_lossy(self.kind.get());
        let kind = kind.trim_matches([' ', '\t', '\r']);
        if !kind.is_empty() && kind.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            head = format!("{head}content-type: {kind}\r\n");
        }
        format!("{head}\r\n").into_bytes()
    }
}

// === impl Kept ===

impl<const MAX: usize> Kept<MAX> {
    fn push(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(MAX - self.length);
        self.bytes[self.length..self.length + taken].copy_from_slice(&bytes[..taken]);
        self.length += taken;
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl<const MAX: usize> Default for Kept<MAX> {
    fn default() -> Self {
        Self {
            bytes: [0; MAX],
            length: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(line: &str, kind: &str) -> String {
        let mut outline = Outline::default();
        for byte in line.as_bytes() {
            outline.line(&[*byte]);
        }
        outline.kind(kind.as_bytes());
        String::from_utf8(outline.head()).expect("text")
    }

    #[test]
    fn the_door_is_kept_and_the_token_is_not() {
        assert_eq!(
            head(
                "POST /v1/logs?token=secret HTTP/1.1\r",
                " application/json\r"
            ),
            "POST /v1/logs HTTP/1.1\r\nhost: -\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n"
        );
        assert_eq!(
            head("POST / HTTP/1.1\r", ""),
            "POST / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n"
        );
    }

    #[test]
    fn what_is_no_request_line_knocks_at_no_door() {
        let nowhere = "OPTIONS * HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n";
        for line in [
            "",
            " ",
            "POST",
            "POST  / HTTP/1.1",
            "\u{16}\u{3}\u{1}",
            "PO\0ST / HTTP/1.1",
            "POST http://a/ HTTP/1.1",
            "POST /\u{7f} HTTP/1.1",
        ] {
            assert_eq!(head(line, "a\nb"), nowhere, "{line:?}");
        }
        assert!(head(&format!("GET /{}", "x".repeat(400)), "").len() < 250);
    }
}
