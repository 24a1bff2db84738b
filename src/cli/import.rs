//! `wharfinger token import`: a file of tokens, sent in pieces of whole lines, so that it may be as long as it likes.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    access::{Api, Failure},
    output,
    token::{SignalName, value_name},
    words::filtered,
};

/// Bytes of a piece, some forty thousand tokens: a few seconds' work.
const PIECE_BYTES: usize = 4 << 20;
/// A line of the API's longest, and more.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Refused lines that are named.
const REFUSALS_SHOWN: usize = 20;

/// Which file, and what holds for its lines.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// A token a line: the bare token, or `{"token": ..., "account": ..., "signal": ..., "name": ...}`. `-` is stdin.
    file: PathBuf,
    /// Account of lines that name none, by name or id.
    #[arg(long)]
    account: Option<String>,
    /// What tokens of lines without a signal ship.
    #[arg(long)]
    signal: Option<SignalName>,
}

/// What has become of all lines so far.
#[derive(Default)]
struct Done {
    lines: u64,
    made: u64,
    known: u64,
    refused: u64,
    refusals: Vec<Value>,
    last: Value,
}

impl Import {
    pub(super) async fn run(self, api: &Api) -> Result<(), Failure> {
        let mut file = open(&self.file).map_err(|error| self.unreadable(&error))?;
        let path = self.path();
        let mut done = Done::default();
        let mut before = 0;
        for number in 1.. {
            let (piece, lines) = piece(&mut file).map_err(|error| self.unreadable(&error))?;
            if lines == 0 {
                break;
            }
            let answer = api.upload(&path, number, piece).await.map_err(|failure| {
                let sent = done.made + done.known;
                Failure::Failed(format!(
                    "{failure}\n{sent} tokens of the first {before} lines are in; the same file can be sent again"
                ))
            })?;
            done.add(answer, before);
            before += lines;
        }
        done.tell(api)
    }

    fn path(&self) -> String {
        let (account, signal) = (self.account.clone(), self.signal.map(value_name));
        filtered(
            "/tokens/import",
            &[("account", account), ("signal", signal)],
        )
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::Failed(format!("cannot read {}: {error}", self.file.display()))
    }
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    Ok(Box::new(BufReader::new(File::open(path)?)))
}

/// The next whole lines, and how many; none at the end.
fn piece(file: &mut dyn BufRead) -> io::Result<(Vec<u8>, u64)> {
    let (mut piece, mut lines) = (Vec::new(), 0);
    while piece.len() < PIECE_BYTES {
        let before = piece.len();
        let read = file.take(LINE_BYTES_MAX).read_until(b'\n', &mut piece)?;
        if read == 0 {
            break;
        }
        lines += 1;
        if piece.last() == Some(&b'\n') {
            continue;
        }
        if read as u64 == LINE_BYTES_MAX {
            // Long past what the API takes: it hears of a line that is too long, and no more of it.
            while skip_line(file)? {}
        }
        debug_assert!(piece.len() > before);
        piece.push(b'\n');
    }
    Ok((piece, lines))
}

/// Throws some of a line away; whether there is more of it.
fn skip_line(file: &mut dyn BufRead) -> io::Result<bool> {
    let bytes = file.fill_buf()?;
    let (skipped, is_over) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (at + 1, true),
        None => (bytes.len(), bytes.is_empty()),
    };
    file.consume(skipped);
    Ok(!is_over)
}

// === impl Done ===

impl Done {
    fn add(&mut self, mut answer: Value, before: u64) {
        let count = |key: &str| answer[key].as_u64().unwrap_or(0);
        self.lines += count("lines");
        self.made += count("made");
        self.known += count("known");
        self.refused += count("refused");
        let refusals = answer["refusals"].as_array().cloned().unwrap_or_default();
        for mut refusal in refusals.into_iter() {
            if self.refusals.len() >= REFUSALS_SHOWN {
                break;
            }
            refusal["line"] = json!(refusal["line"].as_u64().unwrap_or(0) + before);
            self.refusals.push(refusal);
        }
        if !answer["revision"].is_null() {
            self.last = answer.take();
        }
    }

    fn tell(self, api: &Api) -> Result<(), Failure> {
        if api.json {
            let mut object = json!({"lines": self.lines, "made": self.made, "known": self.known,
                "refused": self.refused, "refusals": self.refusals});
            for key in ["revision", "enforcement"] {
                if !self.last[key].is_null() {
                    object[key] = self.last[key].clone();
                }
            }
            output::line(&object.to_string())?;
        } else {
            output::line(&format!(
                "{} tokens are made, {} were there already, {} lines are refused",
                self.made, self.known, self.refused
            ))?;
            api.tell_enforcement(&self.last)?;
        }
        if self.refused > 0 {
            let named = self.refusals.iter().map(|refusal| {
                format!(
                    "\n  line {}: {}",
                    output::cell(&refusal["line"]),
                    output::cell(&refusal["reason"])
                )
            });
            let named: String = named.collect();
            return Err(Failure::Failed(format!(
                "{} lines are refused, among them:{named}",
                self.refused
            )));
        }
        super::proof::holds(&self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sent_in_whole_lines_whatever_stands_in_it() {
        let long = vec![b'x'; 3 * LINE_BYTES_MAX as usize];
        let mut text = b"one\n\ntwo\n".to_vec();
        text.extend(&long);
        text.extend(b"\nlast");
        let mut file: &[u8] = &text;
        let (piece, lines) = super::piece(&mut file).expect("read");
        assert_eq!(lines, 5);
        let read: Vec<_> = piece.split(|byte| *byte == b'\n').collect();
        assert_eq!(
            (read[0], read[1], read[2]),
            (&b"one"[..], &b""[..], &b"two"[..])
        );
        assert_eq!(read[3].len() as u64, LINE_BYTES_MAX);
        assert_eq!((read[4], read[5]), (&b"last"[..], &b""[..]));
        assert_eq!(super::piece(&mut file).expect("read").1, 0);
        let many = "0123456789abcdef\n".repeat(1 << 20);
        let mut file = many.as_bytes();
        let mut total = 0;
        loop {
            let (piece, lines) = super::piece(&mut file).expect("read");
            if lines == 0 {
                break;
            }
            assert!(piece.len() < PIECE_BYTES + 20 && piece.ends_with(b"\n"));
            total += lines;
        }
        assert_eq!(total, 1 << 20);
    }
}
