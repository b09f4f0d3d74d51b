//! Which calls may be ended in their middle: never one that may be formatting or making something whose owner did not say that
//! it may be lost.

use flexvolume_protocol::VerbName;

/// What a call may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    /// The person said that what there is may be lost.
    pub(crate) all: bool,
    /// The volumes in use were made by the judge.
    pub(crate) volumes: bool,
}

/// Whether a call that takes too long may be ended. One that the contract does not have begins nothing.
pub(crate) fn may_end(word: &str, leave: Leave) -> bool {
    let Some(verb) = VerbName::parse(word) else { return true };
    match verb {
        VerbName::Init
        | VerbName::GetVolumeName
        | VerbName::IsAttached
        | VerbName::WaitForAttach
        | VerbName::Unmount
        | VerbName::UnmountDevice
        | VerbName::Detach
        | VerbName::ListSnapshots
        | VerbName::GetCapacity
        | VerbName::ListVolumes
        | VerbName::GetHealth => true,
        // They make what is missing and format what is empty.
        VerbName::Attach | VerbName::MountDevice | VerbName::Mount | VerbName::ExpandFs => leave.all || leave.volumes,
        // They change what other volumes lie in as well.
        VerbName::ExpandVolume
        | VerbName::CreateVolume
        | VerbName::DeleteVolume
        | VerbName::CreateSnapshot
        | VerbName::DeleteSnapshot
        | VerbName::ModifyVolume => leave.all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ended_that_may_cost_what_is_not_ours() {
        let (none, own, all) = (
            Leave { all: false, volumes: false },
            Leave { all: false, volumes: true },
            Leave { all: true, volumes: false },
        );
        let ended = |leave| VerbName::ALL.iter().filter(|verb| may_end(verb.as_str(), leave)).count();
        assert_eq!((ended(none), ended(own), ended(all)), (11, 15, VerbName::ALL.len()));
        assert!(!may_end("mount", none) && may_end("mount", own) && !may_end("createvolume", own));
        assert!(may_end("flexvolcheck", none));
    }
}
