//! As much of HTTP/1.1 as a registry needs, and more than a decent one would do with it.

use super::shelf::Role;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest head of a request.
const HEAD: usize = 64 * 1024;

/// The pause between two bytes that drip.
const DROP: std::time::Duration = std::time::Duration::from_millis(100);

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names are in lower case.
    pub headers: Vec<(String, String)>,
    /// A form that was sent; anything else is not read.
    pub form: String,
    /// What lies at the path.
    pub role: Role,
}

impl Request {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What Content-Length says, if not the truth.
    pub length: Option<u64>,
    pub end: End,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The connection is closed.
    Closed,
    /// Nothing more comes; the connection stays open.
    Stalled,
    /// Not even the first byte of the head comes.
    Silent,
    /// The body goes on for ever, in chunks.
    Endless,
    /// The body comes byte by byte, with a tenth of a second between two.
    Dripping,
    /// The head goes on for ever.
    EndlessHead,
    /// What comes is no HTTP.
    Garbage,
}

impl Answer {
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), length: None, end: End::Closed }
    }

    /// Sets a header, in place of one of the same name.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Makes this a redirect.
    pub fn redirect(&mut self, to: impl Into<String>) {
        *self = Self::new(307, "");
        self.set("location", to);
    }
}

pub(super) fn read(stream: &mut (impl Read + Write)) -> Option<Request> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
        // Servers of plain HTTP answer a TLS handshake like this.
        if head.len() > HEAD || !head[0].is_ascii_uppercase() {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").ok()?;
            return None;
        }
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers = lines.filter_map(header).collect();
    let mut request = Request { method, path, headers, form: String::new(), role: Role::Other };
    if request.header("content-type") == Some("application/x-www-form-urlencoded") {
        let mut form = vec![0; request.header("content-length")?.parse().ok().filter(|length| *length <= HEAD)?];
        stream.read_exact(&mut form).ok()?;
        request.form = String::from_utf8(form).ok()?;
    }
    Some(request)
}

pub(super) fn write(
    stream: &mut (impl Read + Write),
    request: &Request,
    answer: &Answer,
    sent: &AtomicU64,
) -> Option<()> {
    match answer.end {
        End::Silent => return wait_for_the_end(stream),
        End::Garbage => return stream.write_all(b"\x15\x03\x01\0\x02\x02\x16 what is this\r\n\r\n").ok(),
        End::EndlessHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").ok()?;
            loop {
                stream.write_all(b"x-filler: and so on, and so on, and so on\r\n").ok()?;
            }
        }
        _ => {}
    }
    let mut head = format!("HTTP/1.1 {} Said\r\nconnection: close\r\n", answer.status);
    head.extend(answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    if answer.end == End::Endless {
        head.push_str("transfer-encoding: chunked\r\n");
    } else {
        let length = answer.length.unwrap_or(answer.body.len() as u64);
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(b"\r\n").ok()?;
    if request.method != "HEAD" {
        match answer.end {
            End::Endless => loop {
                chunk(stream, &answer.body, sent)?;
            },
            End::Dripping => {
                for byte in &answer.body {
                    body(stream, &[*byte], sent)?;
                    stream.flush().ok()?;
                    std::thread::sleep(DROP);
                }
            }
            _ => body(stream, &answer.body, sent)?,
        }
    }
    stream.flush().ok()?;
    if answer.end == End::Stalled {
        return wait_for_the_end(stream);
    }
    Some(())
}

/// Counts what the peer took, in pieces, so that the count stops when the peer does.
fn body(stream: &mut impl Write, body: &[u8], sent: &AtomicU64) -> Option<()> {
    for piece in body.chunks(16 * 1024) {
        stream.write_all(piece).ok()?;
        sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    Some(())
}

fn chunk(stream: &mut impl Write, bytes: &[u8], sent: &AtomicU64) -> Option<()> {
    stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).ok()?;
    body(stream, bytes, sent)?;
    stream.write_all(b"\r\n").ok()
}

/// Until the peer has had enough.
fn wait_for_the_end(stream: &mut impl Read) -> Option<()> {
    while stream.read(&mut [0; 256]).ok()? > 0 {}
    Some(())
}
