//! The agent: this same executable inside a guest, where it runs one command after the other and says what each prints.

use super::link::{Ended, Frame, Order};
use crate::sh::{self, End, Stream};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// The port to the host. Reads nothing for as long as the host has not taken up its end.
struct Port(File);

impl Read for Port {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // Some ten seconds; whoever has not come by then does not come.
        for _ in 0..500 {
            match self.0.read(into)? {
                0 => std::thread::sleep(Duration::from_millis(20)),
                some => return Ok(some),
            }
        }
        Ok(0)
    }
}

/// Runs what it is told to, until it is told to quit.
pub(super) fn main(port: &str) -> Result<()> {
    let port = File::options().read(true).write(true).open(port).with_context(|| format!("cannot open {port}"))?;
    let mut from = Port(port.try_clone().context("cannot share the port")?);
    let mut to = port;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Frame::Hello(kernel.trim().to_owned()).write(&mut to).context("cannot greet")?;
    loop {
        match Frame::read(&mut from).context("the host is gone")? {
            Frame::Run(order) => {
                let ended = run(&order, &mut to);
                Frame::End(ended).write(&mut to).context("the host is gone")?;
            }
            Frame::Quit => return Ok(()),
            Frame::Hello(_) | Frame::Line(..) | Frame::End(_) => {}
        }
    }
}

fn run(order: &Order, to: &mut File) -> Ended {
    let Some((program, args)) = order.argv.split_first() else { return Ended::NotStarted };
    let mut command = Command::new(program);
    // Its own group, as if a person had typed it.
    command.args(args).envs(order.env.iter().map(|(name, value)| (name, value))).process_group(0);
    // A line that the host does not take is lost; that it is gone is seen at the end.
    let mut tell = |stream, line: &str| drop(Frame::Line(stream, line.to_owned()).write(to));
    match sh::watch(&mut command, order.limit, &mut tell) {
        Ok(End::Status(status)) => Ended::Status(number(status)),
        Ok(End::TimedOut) => Ended::TimedOut,
        Err(error) => {
            tell(Stream::Err, &format!("{error:#}"));
            Ended::NotStarted
        }
    }
}

fn number(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
