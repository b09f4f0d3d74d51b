//! What a driver's own words tell of what is wrong with it: a script in the wrong shell, a missing program, a contract of
//! long ago.

use crate::call::VerbName;

/// What to say of a driver that seems to speak the contract before Kubernetes 1.6.
pub const OLD_CONTRACT: &str = "a driver for Kubernetes 1.2 to 1.5 expects other calls (`mount DIR DEVICE OPTIONS`, `detach DEVICE`), which ended with 1.6: \
     if this is one, it needs a newer version";

/// Words of bash that other shells take for programs.
const WORDS_OF_BASH: [&str; 8] = ["[[", "function", "source", "declare", "typeset", "shopt", "pushd", "let"];

/// What a person can do about words that are no answer, if they tell.
pub(crate) fn hint(verb: VerbName, text: &str) -> Option<String> {
    if let Some(program) = missing(text) {
        return Some(if WORDS_OF_BASH.contains(&program) { name_bash() } else { install(program) });
    }
    if text.contains(": Syntax error: ") || text.contains(": Bad substitution") {
        return Some(name_bash());
    }
    is_old(verb, text).then(|| OLD_CONTRACT.to_owned())
}

fn name_bash() -> String {
    "a shell other than bash does not understand the script: if it was written for bash, its first line must be #!/bin/bash"
        .to_owned()
}

fn install(program: &str) -> String {
    format!("the driver calls {program}, which is not found: install {program}, or put it on the PATH of flexvol")
}

/// The first program that a shell did not find: dash and bash say it in two ways.
fn missing(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let line = line.trim_end();
        let before = line.strip_suffix(": command not found").or_else(|| line.strip_suffix(": not found"))?;
        let program = before.rsplit(": ").next()?;
        let is_name = (1..=64).contains(&program.len()) && !program.contains(char::is_whitespace);
        is_name.then_some(program)
    })
}

/// Whether these words are the usage of a driver that knows no call of 1.6.
fn is_old(verb: VerbName, text: &str) -> bool {
    let text = text.to_lowercase();
    is_since_1_6(verb)
        && text.contains("usage")
        && text.contains("detach")
        && text.contains("unmount")
        && !text.contains(verb.as_str())
}

/// Whether the call came with Kubernetes 1.6 or later; what only extensions know never came with it.
pub(crate) fn is_since_1_6(verb: VerbName) -> bool {
    match verb {
        VerbName::Init
        | VerbName::Attach
        | VerbName::Detach
        | VerbName::Mount
        | VerbName::Unmount
        | VerbName::CreateVolume
        | VerbName::DeleteVolume
        | VerbName::CreateSnapshot
        | VerbName::DeleteSnapshot
        | VerbName::ListSnapshots
        | VerbName::GetCapacity
        | VerbName::ListVolumes
        | VerbName::GetHealth
        | VerbName::ModifyVolume => false,
        VerbName::GetVolumeName
        | VerbName::IsAttached
        | VerbName::WaitForAttach
        | VerbName::MountDevice
        | VerbName::UnmountDevice
        | VerbName::ExpandVolume
        | VerbName::ExpandFs => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(verb: VerbName, text: &str) -> String {
        hint(verb, text).unwrap_or_default()
    }

    #[test]
    fn a_missing_program_is_named_and_bashs_own_words_are_told_apart() {
        let mount = VerbName::Mount;
        assert!(told(mount, "/x/d: 3: jq: not found").contains("install jq"));
        assert!(told(mount, "first\n/x/d: line 3: mount.cifs: command not found\n{").contains("install mount.cifs"));
        for text in ["/x/d: 3: [[: not found", "/x/d: 1: source: not found", "d: 2: Syntax error: \"(\" unexpected"] {
            assert!(told(mount, text).contains("#!/bin/bash"), "{text}");
        }
        for text in
            ["", "file not found", "error: the volume a b: not found", ": not found", "mount.nfs: access denied"]
        {
            assert_eq!(hint(mount, text), None, "{text}");
        }
    }

    #[test]
    fn a_usage_without_the_calls_of_today_is_old() {
        let old =
            "Usage:\n\td init\n\td attach <json>\n\td detach <dev>\n\td mount <dir> <dev> <json>\n\td unmount <dir>";
        assert_eq!(told(VerbName::WaitForAttach, old), OLD_CONTRACT);
        assert_eq!(hint(VerbName::Mount, old), None, "mount is in every contract");
        for today in
            ["usage: init|attach|detach|waitforattach|mount|unmount", "usage: init|mount|unmount", "detach, unmount"]
        {
            assert_eq!(hint(VerbName::WaitForAttach, today), None, "{today}");
        }
    }
}
