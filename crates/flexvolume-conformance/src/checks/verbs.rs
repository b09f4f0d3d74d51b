//! Verbs that a driver does not know, and calls that make no sense.

use crate::{
    bed::Bed,
    check::{Check, row},
    level::Severity::{Must, Note, Should},
    life::make,
    stop::{Verdict, fault},
};
use flexvolume_protocol::{Came, GetVolumeName};

pub(crate) const CHECKS: &[Check] = &[
    row(
        "verbs.unknown",
        Should,
        "a verb that the driver does not know is \"Not supported\": hosts then do what they do by default, and new hosts have new verbs",
        "contract: Call-outs",
        "end the case statement with `*) echo '{\"status\": \"Not supported\"}' ;;`",
        &["init.answers"],
        |bed| {
            let heard = bed.caller.ask_words(&["flexvolcheck", "{}"])?;
            match heard.came {
                Ok(Came::NotSupported) => Ok(()),
                Ok(Came::Done(()) | Came::InProgress) => fault("the verb `flexvolcheck` was answered with Success"),
                Err(_) if heard.raw.trim_ascii().is_empty() => fault("the verb `flexvolcheck` was not answered at all"),
                Err(why) => fault(format!("the verb `flexvolcheck`: {why}")),
            }
        },
    ),
    row(
        "verbs.bad-options",
        Note,
        "options that are no JSON are a Failure in JSON: what fails must be told",
        "contract: Options",
        "look whether the options could be read before anything is done with them",
        &["init.answers"],
        bad_options,
    ),
    row(
        "verbs.getvolumename",
        Must,
        "`getvolumename` never fails: hosts look at its status alone, and a failure keeps the volume from being attached and mounted",
        "contract: Call-outs",
        "answer \"Not supported\", which is the best answer",
        &["init.answers"],
        |bed| {
            bed.attaching()?;
            let volume = bed.volume()?;
            let call = GetVolumeName { options: bed.options(&volume) };
            bed.caller.ask(&call)?.done("getvolumename").map(drop)
        },
    ),
];

fn bad_options(bed: &mut Bed<'_>) -> Verdict {
    let volume = bed.volume()?;
    let pod = bed.pod(90, &volume)?;
    make(pod.dir.as_path())?;
    bed.up.pods.insert(90);
    let heard = bed.caller.ask_words(&["mount", pod.dir.as_str(), "{\"broken"])?;
    // What its tools say of such a text on standard error is another matter.
    let mut said = serde_json::Deserializer::from_slice(&heard.raw).into_iter::<serde_json::Map<_, _>>();
    if bed.mounted(&pod.dir)?.is_some() {
        return fault("`mount` with options that are no JSON mounted something");
    }
    match (said.next().transpose(), heard.came) {
        (Ok(Some(answer)), Err(_)) if answer.contains_key("status") => Ok(()),
        // A driver for which the host mounts by default does not look at them.
        (Ok(Some(_)), Ok(Came::NotSupported)) => Ok(()),
        (_, Ok(_)) => fault("`mount` with options that are no JSON succeeded"),
        (Ok(None) | Err(_), Err(_)) if heard.raw.trim_ascii().is_empty() => {
            fault("`mount` with options that are no JSON was not answered at all")
        }
        (_, Err(why)) => fault(format!("`mount` with options that are no JSON was not answered in JSON: {why}")),
    }
}
