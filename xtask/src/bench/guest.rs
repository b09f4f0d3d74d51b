//! Scripts that measure in a guest: one machine for each, with the drivers of this build and the one they are measured against.

use super::measure::LeftOut;
use crate::guest::{Disk, Ended, Ground, Kit, Machine, NoGuest, Order, Outcome, Spec};
use crate::sh;
use anyhow::{Result, bail};
use std::path::Path;
use std::time::Duration;

/// After this a script in a guest is taken for hung.
const LIMIT: Duration = Duration::from_secs(3600);

/// What every script begins with: executables where starting one costs no look into a shared folder, and our own folders.
const BEGIN: &str = r#"
cp /vm/bin/flexvol /vm/bin/bench-helper /vm/bin/classic /tmp
export FLEXVOL_ROOT=/srv/root FLEXVOL_PLUGIN_DIR=/srv/plugins FLEXVOL_CONFIG=/srv/flexvol.json FLEXVOL_STATE=/srv/state
export FLEXVOL_RUN=/run/flexvol-bench FLEXVOL_SETTINGS=/srv/settings
mkdir -p /run/flexvol-bench
"#;

/// The ground for guests with the executables of this build, and a shell driver as `classic`; an error is a [`LeftOut`] where there
/// can be no guest.
pub(super) fn ground(release: &Path, classic: &str) -> Result<Ground> {
    let mut kit = Kit::of(release)?;
    kit.add(&sh::project().join(classic), "classic");
    match Ground::ready(kit)? {
        Ok(ground) => Ok(ground),
        Err(NoGuest(why)) => Err(LeftOut(format!("there is no guest: {why}")).into()),
    }
}

/// Runs a script in a machine of its own, and keeps what it prints.
pub(super) fn run(
    ground: &Ground,
    disks: Vec<Disk>,
    env: &[(&str, String)],
    script: &str,
    heard: &mut String,
) -> Result<()> {
    let spec = Spec { disks, memory: 1536, smp: 2, ..Spec::plain("bench") };
    let mut machine = Machine::boot(ground, &spec)?;
    let argv = ["bash", "-euc", &format!("{BEGIN}{script}")].map(str::to_owned).to_vec();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let order = Order { argv, env, limit: LIMIT };
    let outcome = machine.run(&order, &mut |stream, line| match stream {
        sh::Stream::Out => {
            heard.push_str(line);
            heard.push('\n');
        }
        sh::Stream::Err => eprintln!("guest: {line}"),
    });
    match outcome {
        Outcome::Ended(Ended::Status(0)) => machine.off(),
        Outcome::Ended(ended) => bail!("a script in the guest did not end well: {ended:?}"),
        Outcome::Died(why) => bail!("the guest died: {why}"),
    }
}
