//! `init`: without it a driver is not there.

use flexvolume_linux::process;
use flexvolume_protocol::{Init, InitReply};
use serde_json::Value;

use crate::{
    bed::Bed,
    check::{Check, row},
    level::Severity::{Must, Should},
    stop::{Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[
    row(
        "init.answers",
        Must,
        "`init` succeeds: a driver whose `init` fails does not exist for a host",
        "contract: Call-outs",
        "answer {\"status\": \"Success\", \"capabilities\": {...}} to `init`, whatever else is missing",
        &[],
        |bed| ask(bed).map(drop),
    ),
    row(
        "init.capabilities",
        Must,
        "`capabilities` is an object of booleans: Kubernetes' host dies of a null there, and refuses other types",
        "contract: Capabilities",
        "write `\"capabilities\": {\"attach\": false}` or leave the member out",
        &["init.answers"],
        capabilities,
    ),
    row(
        "init.again",
        Must,
        "`init` says the same each time: it is called at every load, by two programs at once",
        "contract: Demands on drivers, 1",
        "let `init` look at nothing that changes, and change nothing",
        &["init.answers"],
        |bed| {
            let (one, other) = (ask(bed)?, ask(bed)?);
            if one == other { Ok(()) } else { fault("two answers to `init` are not the same") }
        },
    ),
    row(
        "init.bare",
        Should,
        "`init` succeeds with a bare environment: hosts run drivers with little more than a PATH",
        "contract: A call",
        "set what the driver needs itself, and rely neither on HOME nor on the working directory",
        &["init.answers"],
        |bed| through(bed, "env", &["-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]),
    ),
    row(
        "init.offline",
        Must,
        "`init` needs no network: a host that starts before the network is there would lose the driver",
        "contract: Demands on drivers, 8",
        "look for servers and credentials in `mount` or `attach`, not in `init`",
        &["init.answers"],
        |bed| through(bed, "unshare", &["--net", "--"]),
    ),
];

fn ask(bed: &mut Bed<'_>) -> Result<InitReply, crate::stop::Stop> {
    bed.caller.ask(&Init {})?.success("init")
}

fn capabilities(bed: &mut Bed<'_>) -> Verdict {
    let heard = bed.caller.ask(&Init {})?;
    let Ok(answer) = serde_json::from_slice::<serde_json::Map<String, Value>>(&heard.raw) else {
        return skip("the answer is dressed in other text, which answer.one-json tells");
    };
    let said = answer.iter().find(|(key, _)| key.eq_ignore_ascii_case("capabilities"));
    let Some((_, capabilities)) = said else { return Ok(()) };
    let Some(members) = capabilities.as_object() else {
        return fault(format!("`capabilities` is {capabilities}"));
    };
    match members.iter().find(|(_, value)| !value.is_boolean()) {
        Some((key, value)) => fault(format!("`capabilities.{key}` is {value}")),
        None => Ok(()),
    }
}

/// `init` run by another program.
fn through(bed: &mut Bed<'_>, tool: &str, words: &[&str]) -> Verdict {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(exe) = process::on_path(tool, &path) else { return skip(format!("there is no {tool} to do it with")) };
    let driver = bed.job.driver.to_string_lossy().into_owned();
    let words: Vec<&str> = words.iter().copied().chain([driver.as_str(), "init"]).collect();
    let heard = bed.caller.ask_program(exe.clone(), &words)?;
    if heard.came.is_err() && tool == "unshare" {
        let words = ["--net", "--", "true"];
        if bed.caller.ask_program(exe, &words)?.how != process::How::Exited(0) {
            return skip("a namespace without network cannot be made here");
        }
    }
    heard.success("init").map(drop)
}
