//! Whether what a driver says beside a Success is worth telling: many drivers only repeat there that they succeeded.

use flexvolume_protocol::VerbName;

/// Words of which a message that only repeats the status consists, whoever wrote it: "Volume has been mounted successfully".
const STOCK: &str = "success successful successfully succeeded ok okay done complete completed finished true none null mount \
    mounted mounting unmount unmounted unmounting umount umounted attach attached attaching detach detached \
    detaching expand expanded expanding resize resized bind bound volume device disk drive share fs filesystem \
    file system directory path point mountpoint node operation call command status result the a an this is was has \
    been already now to at on onto in into from of for with and by nothing do";

/// Whether `message`, beside the Success of a call for `volume`, tells more than that the call succeeded. Of calls that change
/// nothing, and of those that people make by hand and see the answer of, nothing is told.
pub(super) fn is_worth_telling(verb: VerbName, volume: &str, message: &str) -> bool {
    match verb {
        VerbName::Attach
        | VerbName::MountDevice
        | VerbName::Mount
        | VerbName::Unmount
        | VerbName::UnmountDevice
        | VerbName::Detach
        | VerbName::ExpandVolume
        | VerbName::ExpandFs => {}
        VerbName::Init
        | VerbName::GetVolumeName
        | VerbName::IsAttached
        | VerbName::WaitForAttach
        | VerbName::CreateVolume
        | VerbName::DeleteVolume
        | VerbName::CreateSnapshot
        | VerbName::DeleteSnapshot
        | VerbName::ListSnapshots
        | VerbName::GetCapacity
        | VerbName::ListVolumes
        | VerbName::GetHealth
        | VerbName::ModifyVolume => return false,
    }
    let names: Vec<String> = volume.split(['/', ':']).map(str::to_lowercase).collect();
    let says_nothing = |word: &str| {
        // Paths and the volume's own name say where, which is known.
        word.contains('/') || {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            word.is_empty()
                || word == verb.as_str()
                || STOCK.split(' ').any(|stock| stock == word)
                || names.contains(&word)
        }
    };
    !message.split_whitespace().all(says_nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: &str = "v/d/web-data";

    #[test]
    fn what_only_repeats_the_status_is_not_told() {
        for message in [
            "",
            " \n",
            "Success",
            "success!",
            "OK.",
            "mounted",
            "Volume mounted successfully",
            "Volume 'web-data' has been mounted on /var/lib/x/volumes/v~d/web-data.",
            "already mounted",
            "mount: done",
            "Nothing to do",
            "---",
        ] {
            assert!(!is_worth_telling(VerbName::Mount, VOLUME, message), "{message}");
        }
        assert!(!is_worth_telling(VerbName::MountDevice, VOLUME, "mountdevice: ok"));
    }

    #[test]
    fn what_says_more_is_told() {
        for message in [
            "the server does not answer: the mount was detached",
            "mounted read-only",
            "Volume mounted successfully, but not all files are there",
            "unmounted by force",
            "not mounted",
            "déjà monté",
            "挂载",
        ] {
            assert!(is_worth_telling(VerbName::Unmount, VOLUME, message), "{message}");
        }
    }

    #[test]
    fn only_calls_that_change_what_is_mounted_are_told_of() {
        let told: Vec<_> = VerbName::ALL
            .iter()
            .filter(|verb| is_worth_telling(**verb, VOLUME, "by force"))
            .map(|verb| verb.as_str())
            .collect();
        assert_eq!(
            told,
            ["attach", "mountdevice", "mount", "unmount", "unmountdevice", "detach", "expandvolume", "expandfs"]
        );
    }
}
