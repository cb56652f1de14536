//! Small files that the operator names: passwords, tokens, authorities. Bounded, and never printed.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::path::Path;

use tokio::io::AsyncReadExt;

/// Largest file of this kind.
const LARGEST: u64 = 1024 * 1024;

/// A text that no log and no message shows.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Secret(pub(super) String);

impl Debug for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// The text of a small file.
pub(super) async fn read(path: &Path) -> io::Result<String> {
    let file = tokio::fs::File::open(path).await?;
    let mut text = String::new();
    let read = file.take(LARGEST + 1).read_to_string(&mut text).await?;
    if read as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(text)
}

/// The secret that is alone in a file; the end of the line is not part of it.
pub(super) async fn read_line(path: &Path) -> io::Result<Secret> {
    let text = read(path).await?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains(char::is_control) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "must hold one line and nothing else"));
    }
    Ok(Secret(line.to_owned()))
}
