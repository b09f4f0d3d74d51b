//! The contract as one table: a row gives the typed call, its argv, its parser and the type of its reply.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::extension::Extension;
use crate::fields::Answer;
use crate::options::Options;
use crate::reply::{Attached, InitReply, VolumeNameReply};
use crate::storage::{Capacity, Created, Expanded, Health, Snapshot, SnapshotList, VolumeList};
use crate::wire::{Arg, Bytes, Device, Dir, Wire};

/// One call of the contract as a value: it renders to argv and names the type of its reply.
pub trait Verb {
    /// Which call it is.
    const NAME: VerbName;
    /// What a Success says beyond status and message.
    type Reply: Answer;
    /// Appends the arguments, in the order of the contract.
    fn put(&self, wire: &mut Wire);
    /// Its options, if the call has any.
    fn options(&self) -> Option<&Options>;
}

/// What a driver was called with: the arguments after the verb, and standard input as read.
pub struct Args<'a> {
    argv: std::vec::IntoIter<&'a str>,
    stdin: &'a str,
    taken: usize,
}

/// A known verb was called with arguments that do not fit it. No secret is in here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Arguments are missing.
    #[error("{verb} was called without its {argument} (argument {position}); the call is `{}`", .verb.usage())]
    Missing {
        /// The verb called.
        verb: VerbName,
        /// The first argument missing.
        argument: &'static str,
        /// Its place, the first after the verb being 1.
        position: usize,
    },
    /// There are more arguments than the verb has.
    #[error("{verb} was called with {given} arguments; the call is `{}`", .verb.usage())]
    Extra {
        /// The verb called.
        verb: VerbName,
        /// How many came after the verb.
        given: usize,
    },
    /// One argument cannot be read.
    #[error("{verb} was called with a bad {argument} (argument {position}): {why}")]
    Bad {
        /// The verb called.
        verb: VerbName,
        /// Which argument.
        argument: &'static str,
        /// Its place, the first after the verb being 1.
        position: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl Wire {
    /// Renders one call. With `by_stdin` the options go to standard input and `-` stands in their place, so that
    /// secrets never show in a process list; only for drivers that announce the extension `stdin`.
    pub fn render<V: Verb>(verb: &V, by_stdin: bool) -> Self {
        let mut wire = Self::begin(V::NAME.as_str(), by_stdin);
        verb.put(&mut wire);
        wire
    }
}

impl<'a> Args<'a> {
    /// The arguments after the verb, and standard input (`""` when it was not read).
    pub fn new<S: AsRef<str>>(argv: &'a [S], stdin: &'a str) -> Self {
        let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        Self { argv: argv.into_iter(), stdin, taken: 0 }
    }

    fn take<A: Arg>(&mut self, verb: VerbName, argument: &'static str) -> Result<A, CallError> {
        self.taken += 1;
        let position = self.taken;
        let text = self.argv.next().ok_or(CallError::Missing { verb, argument, position })?;
        A::take(text, self.stdin).map_err(|why| CallError::Bad { verb, argument, position, why })
    }

    fn end(&mut self, verb: VerbName) -> Result<(), CallError> {
        match self.argv.len() {
            0 => Ok(()),
            more => Err(CallError::Extra { verb, given: self.taken + more }),
        }
    }
}

macro_rules! contract {
    ($($(#[$doc:meta])* $Verb:ident $name:literal ($($(#[$field_doc:meta])* $field:ident: $Arg:ty),* $(,)?) -> $Reply:ty;)*) => {
        /// The name of every call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum VerbName { $($(#[$doc])* $Verb,)* }

        impl VerbName {
            /// Every call, in the order of the contract.
            pub const ALL: &[Self] = &[$(Self::$Verb),*];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$Verb => $name,)* }
            }

            /// Whether the call carries options (and so could carry secrets).
            pub fn has_options(self) -> bool {
                match self { $(Self::$Verb => false $(|| <$Arg as Arg>::IS_OPTIONS)*,)* }
            }

            /// The names of the arguments, in their order.
            pub fn arguments(self) -> &'static [&'static str] {
                match self { $(Self::$Verb => &[$(stringify!($field)),*],)* }
            }
        }

        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $Verb { $($(#[$field_doc])* pub $field: $Arg,)* }

            impl Verb for $Verb {
                const NAME: VerbName = VerbName::$Verb;
                type Reply = $Reply;
                #[allow(unused_variables, reason = "a call without arguments")]
                fn put(&self, wire: &mut Wire) {
                    $(Arg::put(&self.$field, wire);)*
                }
                fn options(&self) -> Option<&Options> {
                    None$(.or(Arg::as_options(&self.$field)))*
                }
            }

            impl From<$Verb> for Call {
                fn from(call: $Verb) -> Self { Self::$Verb(call) }
            }
        )*

        /// Any call of the contract.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Call { $($(#[$doc])* $Verb($Verb),)* }

        impl Call {
            /// Reads the call back from what a driver was given. `Ok(None)` is a verb nobody knows, which a driver
            /// answers with "Not supported".
            ///
            /// # Errors
            /// [`CallError`] for arguments missing, too many, or unreadable; it says which.
            pub fn parse(verb: &str, args: &mut Args<'_>) -> Result<Option<Self>, CallError> {
                let Some(name) = VerbName::parse(verb) else { return Ok(None) };
                let call = match name {
                    $(VerbName::$Verb => Self::$Verb($Verb { $($field: args.take(name, stringify!($field))?,)* }),)*
                };
                args.end(name)?;
                Ok(Some(call))
            }

            /// Renders the call; see [`Wire::render`].
            pub fn render(&self, by_stdin: bool) -> Wire {
                match self { $(Self::$Verb(call) => Wire::render(call, by_stdin),)* }
            }

            /// Which call it is.
            pub fn verb(&self) -> VerbName {
                match self { $(Self::$Verb(_) => VerbName::$Verb,)* }
            }

            /// Its options, if the call has any.
            pub fn options(&self) -> Option<&Options> {
                match self { $(Self::$Verb(call) => call.options(),)* }
            }
        }
    };
}

contract! {
    /// Says what the driver can do; at every load, no arguments.
    Init "init" () -> InitReply;
    /// Asks for a name of the volume; only the status counts.
    GetVolumeName "getvolumename" (
        /// Options of the volume.
        options: Options,
    ) -> VolumeNameReply;
    /// Makes the volume reachable from a node.
    Attach "attach" (
        /// Options of the volume.
        options: Options,
        /// Name of the node object.
        node: String,
    ) -> Device;
    /// Asks whether the volume is still attached; a Success that does not say so means it is not.
    IsAttached "isattached" (
        /// Options of the volume.
        options: Options,
        /// Name of the node object.
        node: String,
    ) -> Attached;
    /// Waits, on the node, until the device is there; its answer replaces the device.
    WaitForAttach "waitforattach" (
        /// What `attach` answered.
        device: Device,
        /// Options of the volume.
        options: Options,
    ) -> Device;
    /// Mounts the device once per node.
    MountDevice "mountdevice" (
        /// Where to mount: the volume's directory of the node.
        dir: Dir,
        /// What `waitforattach` answered.
        device: Device,
        /// Options of the volume.
        options: Options,
    ) -> ();
    /// Mounts the volume for one pod; all or nothing.
    Mount "mount" (
        /// Where to mount: the pod's directory of the volume.
        dir: Dir,
        /// Options of the volume, keys of the pod, secrets.
        options: Options,
    ) -> ();
    /// Undoes `mount`; must succeed when nothing is mounted.
    Unmount "unmount" (
        /// The pod's directory of the volume.
        dir: Dir,
    ) -> ();
    /// Undoes `mountdevice`.
    UnmountDevice "unmountdevice" (
        /// The volume's directory of the node.
        dir: Dir,
    ) -> ();
    /// Undoes `attach`; must succeed when nothing is attached.
    Detach "detach" (
        /// The volume's name, never its device.
        name: String,
        /// Name of the node object.
        node: String,
    ) -> ();
    /// Grows what backs the volume. Kubernetes never calls it; a driver that announces `expand` means it.
    ExpandVolume "expandvolume" (
        /// Options of the volume.
        options: Options,
        /// The volume's directory of the node.
        dir: Dir,
        /// Size wanted.
        new: Bytes,
        /// Size so far, 0 if unknown.
        old: Bytes,
    ) -> Expanded;
    /// Grows the file system to its device.
    ExpandFs "expandfs" (
        /// Options of the volume.
        options: Options,
        /// The device, if any.
        device: Device,
        /// Where the file system is mounted.
        dir: Dir,
        /// Size wanted.
        new: Bytes,
        /// Size so far.
        old: Bytes,
    ) -> ();
    /// Extension `provision`: makes a volume; idempotent by its name. With the extension `clone` also one that begins
    /// with the content of another, or of a snapshot.
    CreateVolume "createvolume" (
        /// Parameters, `flexvol/name`, `flexvol/requiredBytes`, `flexvol/limitBytes`; `flexvol/sourceVolume` or
        /// `flexvol/sourceSnapshot`; `flexvol/mutable`.
        options: Options,
    ) -> Created;
    /// Extension `provision`: deletes a volume; an unknown id is a Success.
    DeleteVolume "deletevolume" (
        /// Parameters and `flexvol/id`.
        options: Options,
    ) -> ();
    /// Extension `snapshot`: keeps what a volume holds now; idempotent by the snapshot's name.
    CreateSnapshot "createsnapshot" (
        /// Parameters, `flexvol/name` (the snapshot's), `flexvol/id` (the volume's).
        options: Options,
    ) -> Snapshot;
    /// Extension `snapshot`: deletes a snapshot; an unknown id is a Success.
    DeleteSnapshot "deletesnapshot" (
        /// `flexvol/snapshot`.
        options: Options,
    ) -> ();
    /// Extension `snapshot`: one page of the snapshots there are.
    ListSnapshots "listsnapshots" (
        /// `flexvol/token` and `flexvol/max`; `flexvol/id` or `flexvol/snapshot` to ask for some only.
        options: Options,
    ) -> SnapshotList;
    /// Extension `capacity`: how much room there is for volumes made with these parameters.
    GetCapacity "getcapacity" (
        /// Parameters as for `createvolume`.
        options: Options,
    ) -> Capacity;
    /// Extension `list`: one page of the volumes there are.
    ListVolumes "listvolumes" (
        /// `flexvol/token` and `flexvol/max`.
        options: Options,
    ) -> VolumeList;
    /// Extension `health`: how a volume does, or the storage itself.
    GetHealth "gethealth" (
        /// `flexvol/id`, or none for the storage itself.
        options: Options,
    ) -> Health;
    /// Extension `modify`: changes what can be changed of a volume, all of it or nothing; the same again changes nothing.
    ModifyVolume "modifyvolume" (
        /// `flexvol/id`, and the parameters that shall be so from now on.
        options: Options,
    ) -> ();
}

impl VerbName {
    /// The call of that word, compared exactly.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|verb| verb.as_str() == word)
    }

    /// The extension that serves the call: whoever announces it and answers "Not supported" is at fault. `None` for the
    /// calls that Kubernetes makes, where that answer is a right one.
    pub fn extension(self) -> Option<Extension> {
        match self {
            Self::ExpandVolume => Some(Extension::Expand),
            Self::CreateVolume | Self::DeleteVolume => Some(Extension::Provision),
            Self::CreateSnapshot | Self::DeleteSnapshot | Self::ListSnapshots => Some(Extension::Snapshot),
            Self::GetCapacity => Some(Extension::Capacity),
            Self::ListVolumes => Some(Extension::List),
            Self::GetHealth => Some(Extension::Health),
            Self::ModifyVolume => Some(Extension::Modify),
            Self::Init
            | Self::GetVolumeName
            | Self::Attach
            | Self::IsAttached
            | Self::WaitForAttach
            | Self::MountDevice
            | Self::Mount
            | Self::Unmount
            | Self::UnmountDevice
            | Self::Detach
            | Self::ExpandFs => None,
        }
    }

    /// Whether an answer "In progress" counts: it does for the calls of extensions that change something, and is a
    /// failure for those that Kubernetes makes and for those that only ask.
    pub fn may_be_in_progress(self) -> bool {
        match self {
            Self::ExpandVolume
            | Self::CreateVolume
            | Self::DeleteVolume
            | Self::CreateSnapshot
            | Self::DeleteSnapshot
            | Self::ModifyVolume => true,
            Self::Init
            | Self::GetVolumeName
            | Self::Attach
            | Self::IsAttached
            | Self::WaitForAttach
            | Self::MountDevice
            | Self::Mount
            | Self::Unmount
            | Self::UnmountDevice
            | Self::Detach
            | Self::ExpandFs
            | Self::ListSnapshots
            | Self::GetCapacity
            | Self::ListVolumes
            | Self::GetHealth => false,
        }
    }

    /// The call as a usage line, for example `mount DIR OPTIONS`.
    pub(crate) fn usage(self) -> String {
        let mut usage = self.as_str().to_owned();
        for argument in self.arguments() {
            usage.push(' ');
            usage.push_str(&argument.to_uppercase());
        }
        usage
    }
}

impl fmt::Display for VerbName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<VerbName> for &'static str {
    fn from(verb: VerbName) -> Self {
        verb.as_str()
    }
}

impl TryFrom<String> for VerbName {
    type Error = String;
    fn try_from(word: String) -> Result<Self, String> {
        Self::parse(&word).ok_or_else(|| format!("{word:?} is no call of the contract"))
    }
}
