//! Clients let in that send the path of the socket as the name of the server.
//!
//! Those on grpc-core (Python, C++, Ruby), grpc-java and old grpc-go do so: `:authority` is then no name of a host, and the server
//! beneath us refuses the request (hyperium/h2#487). Nobody reads it here, so it is made one (`hpack`) in the blocks of headers as they
//! come in. All other bytes pass as they are, and what breaks the rules of HTTP/2 is left to the server to refuse.

use std::{
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};
use tonic::transport::server::Connected;

use super::hpack;

/// What a client says before its first frame (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// What comes before each frame's body: its length, kind, flags and stream (section 4.1).
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// More headers than this are passed as they are; the server takes no more than a quarter.
const MOST: usize = 64 << 10;
/// So much is read at once.
const PORTION: usize = 8 << 10;

/// What comes from a client, frame by frame.
#[derive(Debug)]
struct Frames {
    at: At,
    /// The frames of a block that is not whole yet, or the head of one.
    held: Vec<u8>,
    /// Where the last of them begins.
    frame: usize,
    /// Where the parts of the block lie in them.
    parts: Vec<Range<usize>>,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// In the head of a frame.
    Head,
    /// In a frame of headers, of which so much is to come.
    Held(usize),
    /// In what is passed as it is, of which so much is to come.
    Passing(usize),
}

impl Default for Frames {
    fn default() -> Self {
        Self { at: At::Passing(PREFACE), held: Vec::new(), frame: 0, parts: Vec::new() }
    }
}

impl Frames {
    /// Takes in what came, and puts out what can be passed on.
    fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let wanted = match self.at {
                At::Head => self.frame + HEAD - self.held.len(),
                At::Held(left) | At::Passing(left) => left,
            };
            let (now, later) = bytes.split_at(wanted.min(bytes.len()));
            bytes = later;
            let left = wanted - now.len();
            match self.at {
                At::Passing(_) => {
                    out.extend_from_slice(now);
                    self.at = if left == 0 { At::Head } else { At::Passing(left) };
                }
                At::Held(_) => {
                    self.held.extend_from_slice(now);
                    self.at = At::Held(left);
                    if left == 0 {
                        self.whole(out);
                    }
                }
                At::Head => {
                    self.held.extend_from_slice(now);
                    if left == 0 {
                        self.begin(out);
                    }
                }
            }
        }
    }

    /// Nothing more comes.
    fn end(&mut self, out: &mut Vec<u8>) {
        self.pass(out);
    }

    /// The head of a frame is there.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let head = &self.held[self.frame..];
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        // A block is one frame of headers and what continues it, with nothing between them (section 6.10).
        let is_of_a_block = head[3] == if self.parts.is_empty() { HEADERS } else { CONTINUATION };
        if is_of_a_block && self.held.len() + length <= MOST {
            self.at = At::Held(length);
            if length == 0 {
                self.whole(out);
            }
        } else {
            self.pass(out);
            self.at = if length == 0 { At::Head } else { At::Passing(length) };
        }
    }

    /// A frame of a block is there.
    fn whole(&mut self, out: &mut Vec<u8>) {
        let (kind, flags) = (self.held[self.frame + 3], self.held[self.frame + 4]);
        self.parts.push(part(kind, flags, &self.held, self.frame + HEAD));
        self.at = At::Head;
        if flags & END_HEADERS == 0 {
            self.frame = self.held.len();
            return;
        }
        match &self.parts[..] {
            [one] => hpack::mend(&mut self.held[one.clone()]),
            several => {
                let mut block: Vec<u8> = several.iter().flat_map(|part| &self.held[part.clone()]).copied().collect();
                hpack::mend(&mut block);
                let mut rest = &block[..];
                for part in several {
                    let (now, later) = rest.split_at(part.len());
                    self.held[part.clone()].copy_from_slice(now);
                    rest = later;
                }
            }
        }
        self.pass(out);
    }

    /// Passes on what is held.
    fn pass(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.frame = 0;
        self.parts.clear();
    }
}

/// Where the part of a block lies in a frame whose body begins at `body` and ends with `held` (sections 6.2 and 6.10).
fn part(kind: u8, flags: u8, held: &[u8], body: usize) -> Range<usize> {
    let (mut begin, mut end) = (body, held.len());
    if kind == HEADERS && flags & PADDED != 0 {
        let padding = held.get(body).copied().unwrap_or(0);
        begin += 1;
        end = end.saturating_sub(usize::from(padding));
    }
    if kind == HEADERS && flags & PRIORITY != 0 {
        begin += 5;
    }
    if begin <= end { begin..end } else { body..body }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    frames: Frames,
    ready: Vec<u8>,
    given: usize,
    ended: bool,
}

impl Client {
    /// Over a connection of which nothing was read.
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, frames: Frames::default(), ready: Vec::new(), given: 0, ended: false }
    }
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let client = self.get_mut();
        while client.given == client.ready.len() && !client.ended {
            client.ready.clear();
            client.given = 0;
            let mut portion = [0; PORTION];
            let mut into = ReadBuf::new(&mut portion);
            ready!(Pin::new(&mut client.stream).poll_read(cx, &mut into))?;
            match into.filled() {
                [] => {
                    client.ended = true;
                    client.frames.end(&mut client.ready);
                }
                came => client.frames.feed(came, &mut client.ready),
            }
        }
        let rest = &client.ready[client.given..];
        let now = &rest[..rest.len().min(buf.remaining())];
        buf.put_slice(now);
        client.given += now.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Client {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
