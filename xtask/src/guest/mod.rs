//! The door to guests: throw-away virtual machines with a kernel that has what this machine's may lack, for suites and for people.
//!
//! The interface for other doors: [`Ground::ready`](ground::Ground::ready) says whether there can be guests here, [`Machine::boot`](machine::Machine::boot)
//! starts one as a [`Spec`](qemu::Spec) wants it, [`Machine::run`](machine::Machine::run) runs a command in it, [`suites`] runs all suites into a tally, and [`Begun`] begins them beside other tests.

mod agent;
mod apt;
mod args;
mod case;
mod deal;
mod folder;
mod ground;
mod host;
mod image;
mod kernel;
mod kit;
mod lanes;
mod link;
mod machine;
mod places;
mod qemu;
mod report;
mod run;
mod running;
mod suite;
mod times;

use crate::{say, tally::Tally};
use anyhow::{Context, Result};
use args::Verb;
use std::time::Instant;

pub(crate) use ground::Ground;
pub(crate) use host::NoGuest;
pub(crate) use kit::Kit;
pub(crate) use link::{Ended, Order};
pub(crate) use machine::{Machine, Outcome};
pub(crate) use qemu::{Cache, Disk, Spec};
pub(crate) use suite::{Begun, suites, targets};

/// The door. What is given with it is `None` if it is no verb of this door.
pub(crate) fn main(words: &[String]) -> Result<Option<()>> {
    match args::parse(words) {
        Err(why) => {
            eprintln!("error: {why}\n");
            return Ok(None);
        }
        Ok(Verb::Agent(port)) => agent::main(&port)?,
        Ok(Verb::Image { fresh }) => {
            let start = Instant::now();
            let ground = required(Ground::with_image(Kit::default(), fresh)?)?;
            println!("the image is there: {} ({} s)", ground.about(), start.elapsed().as_secs());
        }
        Ok(Verb::Run(wish)) => {
            let mut kit = match &wish.bin {
                Some(dir) => Kit::of(dir)?,
                None => {
                    suite::build()?;
                    Kit::of_build()?
                }
            };
            for program in &wish.programs {
                let name = program.file_name().with_context(|| format!("{} is no file", program.display()))?;
                kit.add(program, &name.to_string_lossy());
            }
            let status = run::main(&required(Ground::ready(kit)?)?, &wish)?;
            say::flush();
            std::process::exit(status);
        }
        Ok(Verb::Suite { suite, filter, here, limit }) => {
            let mut tally = Tally::default();
            suite::one(suite, filter.as_deref(), here, limit, &mut tally)?;
            tally.explain();
            println!("{}", tally.line());
            if tally.failed > 0 {
                say::flush();
                std::process::exit(1);
            }
        }
    }
    Ok(Some(()))
}

fn required(ground: Result<Ground, NoGuest>) -> Result<Ground> {
    ground.map_err(|NoGuest(why)| anyhow::anyhow!("no guest here: {why}"))
}

/// Does the filter begin with the name of a suite?
pub(crate) fn is_suite(filter: &str) -> bool {
    case::SUITES.iter().any(|suite| filter.split("::").next() == Some(suite.name))
}
