//! What the door and the agent in a guest say to each other, as frames on a byte stream: a letter, a length, and so many bytes.

use crate::sh::Stream;
use serde_json::{Value, json};
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// The agent: here I am, on this kernel.
    Hello(String),
    /// The door: run this.
    Run(Order),
    /// The agent: a line that the command printed.
    Line(Stream, String),
    /// The agent: the command has ended so.
    End(Ended),
    /// The door: that was all, power off.
    Quit,
}

/// A command for a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Order {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// After this it is ended, with all it has started.
    pub(crate) limit: Duration,
}

/// How a command of a guest came to its end, as the guest saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself, with this status; by a signal it is 128 and the signal's number, as in a shell.
    Status(i32),
    /// It could not be begun.
    NotStarted,
    /// It was still there at its limit.
    TimedOut,
}

/// More than this is no message of ours.
const MOST: usize = 16 << 20;

impl Frame {
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let (letter, body) = match self {
            Frame::Hello(kernel) => (b'H', kernel.clone().into_bytes()),
            Frame::Run(order) => (b'R', order.to_json().to_string().into_bytes()),
            Frame::Line(Stream::Out, line) => (b'O', bounded(line).to_vec()),
            Frame::Line(Stream::Err, line) => (b'E', bounded(line).to_vec()),
            Frame::End(ended) => (b'X', ended.number().to_string().into_bytes()),
            Frame::Quit => (b'Q', Vec::new()),
        };
        let length = u32::try_from(body.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        let mut bytes = vec![letter];
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&body);
        to.write_all(&bytes)?;
        to.flush()
    }

    /// The next message. The end of the stream is an error too: nobody hangs up without a word.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Frame> {
        let mut head = [0; 5];
        from.read_exact(&mut head)?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > MOST {
            return Err(strange());
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(match head[0] {
            b'H' => Frame::Hello(text),
            b'R' => Frame::Run(Order::from_json(&text).ok_or_else(strange)?),
            b'O' => Frame::Line(Stream::Out, text),
            b'E' => Frame::Line(Stream::Err, text),
            b'X' => Frame::End(Ended::of(text.parse().map_err(|_| strange())?)),
            b'Q' => Frame::Quit,
            _ => return Err(strange()),
        })
    }
}

fn strange() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "a message that is none of ours")
}

fn bounded(line: &str) -> &[u8] {
    &line.as_bytes()[..line.len().min(MOST)]
}

impl Order {
    fn to_json(&self) -> Value {
        json!({"argv": self.argv, "env": self.env, "seconds": self.limit.as_secs()})
    }

    fn from_json(text: &str) -> Option<Order> {
        let value: Value = serde_json::from_str(text).ok()?;
        let word = |value: &Value| value.as_str().map(str::to_owned);
        let pair = |value: &Value| Some((word(&value[0])?, word(&value[1])?));
        Some(Order {
            argv: value["argv"].as_array()?.iter().map(word).collect::<Option<_>>()?,
            env: value["env"].as_array()?.iter().map(pair).collect::<Option<_>>()?,
            limit: Duration::from_secs(value["seconds"].as_u64()?),
        })
    }
}

impl Ended {
    fn number(self) -> i32 {
        match self {
            Ended::Status(status) => status,
            Ended::NotStarted => -1,
            Ended::TimedOut => -2,
        }
    }

    fn of(number: i32) -> Ended {
        match number {
            -1 => Ended::NotStarted,
            -2 => Ended::TimedOut,
            status => Ended::Status(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let order = Order {
            argv: vec!["sh".into(), "-c".into(), "echo 'it''s' \"ä\"\n".into(), String::new()],
            env: vec![("A".into(), "b=c".into())],
            limit: Duration::from_secs(7),
        };
        let frames = [
            Frame::Hello("6.12".into()),
            Frame::Run(order),
            Frame::Line(Stream::Out, String::new()),
            Frame::Line(Stream::Err, "ä".into()),
            Frame::End(Ended::Status(3)),
            Frame::End(Ended::TimedOut),
            Frame::End(Ended::NotStarted),
            Frame::Quit,
        ];
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes).unwrap());
        let mut rest = bytes.as_slice();
        for frame in &frames {
            assert_eq!(Frame::read(&mut rest).unwrap(), *frame);
        }
        assert_eq!(Frame::read(&mut rest).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn noise_is_an_error() {
        for noise in
            [&b"Q\xff\xff\xff\xff"[..], b"?\0\0\0\0", b"R\x02\0\0\0{}", b"X\x01\0\0\0x", b"H\x05\0\0\0abc", b"H"]
        {
            assert!(Frame::read(&mut &noise[..]).is_err(), "{noise:?}");
        }
    }
}
