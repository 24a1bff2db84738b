//! What a person sees: lines, aligned tables, and texts that cannot play tricks on a terminal.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::access::Failure;
use crate::model::text::is_hidden;

/// Prints a line to stdout. A reader that has seen enough is no failure.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// A new file of mode 0600 for a secret that is yet to come; it goes again if that never does.
pub(super) struct SecretFile {
    path: PathBuf,
    file: Option<fs::File>,
}

impl SecretFile {
    /// Before the secret is asked for: once it is, there must be a place for it. A file that exists is never overwritten,
    /// nor its mode trusted.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| unwritable(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
        })
    }

    /// Writes the secret and says where it lies.
    pub(super) fn write(mut self, text: &str) -> Result<String, Failure> {
        if let Some(mut file) = self.file.take() {
            file.write_all(text.as_bytes())
                .and_then(|()| file.write_all(b"\n"))
                .and_then(|()| file.sync_all())
                .map_err(|error| unwritable(&self.path, &error))?;
        }
        Ok(format!("the token is in {}", self.path.display()))
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Empty and ours; what cannot be removed does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot write {}: {error}", path.display()))
}

/// Columns as wide as their widest cell, the last one unpadded.
pub(super) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut widths = head.map(|name| name.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut add = |row: &[String; N]| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            let padding = width - cell.chars().count() + 2;
            line.extend(std::iter::repeat_n(' ', padding));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    add(&head.map(str::to_owned));
    for row in &rows {
        add(row);
    }
    text
}

/// A field as a person reads it: nothing is `-`.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        other => other.to_string(),
    }
}

/// A list's items as a person reads them, with that between two.
pub(super) fn joined(list: &Value, between: &str) -> String {
    let items = list.as_array().into_iter().flatten();
    items.map(cell).collect::<Vec<_>>().join(between)
}

/// What something is called, and by which number.
pub(super) fn name_and_id(record: &Value) -> String {
    format!("{} (id {})", cell(&record["name"]), cell(&record["id"]))
}

/// Without control characters and marks of direction: names come from others and go to a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if is_hidden(c) { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let rows = vec![
            ["1".to_owned(), "müll".to_owned(), "live".to_owned()],
            ["1234".to_owned(), "b".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["ID", "NAME", "STATE"], rows),
            "ID    NAME  STATE\n1     müll  live\n1234  b\n"
        );
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn a_secret_goes_into_a_new_private_file_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("token");
        drop(SecretFile::create(&path).expect("the folder is writable"));
        assert!(!path.exists(), "a file for a secret that never came stays");
        let file = SecretFile::create(&path).expect("the folder is writable");
        file.write("whf_s_x").expect("the file is open");
        assert_eq!(fs::read_to_string(&path).expect("written"), "whf_s_x\n");
        let mode = fs::metadata(&path).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(SecretFile::create(&path).is_err());
        assert_eq!(fs::read_to_string(&path).expect("kept"), "whf_s_x\n");
    }
}
