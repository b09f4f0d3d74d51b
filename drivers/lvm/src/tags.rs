//! What a logical volume of ours says of itself, in LVM's own metadata: whose it is, and what is being done with it.
//!
//! | tag | |
//! |---|---|
//! | `flexvol.maker=lvm` | this driver made it, or was told to adopt it; without it the volume is somebody else's |
//! | `flexvol.name=NAME` | the volume's name, encoded |
//! | `flexvol.id=VG/LV` | what it is called in calls; another LV that was given this name is not it |
//! | `flexvol.state=creating` | never handed out: it may be removed and made again |
//! | `flexvol.state=deleting` | never to be handed out again: its deletion goes on |
//! | `flexvol.wipe=zero` | what becomes of its blocks when it is deleted: `zero`, `discard`, `none` |
//!
//! Other files have tags of their own for snapshots and clones; [`Tags::get`] reads them.

use std::str::FromStr;

use crate::names::{LvName, decoded, encoded};

/// What all our tags begin with.
pub(crate) const OURS: &str = "flexvol.";

/// Who made it.
const MAKER: &str = "maker";
const NAME: &str = "name";
const ID: &str = "id";
const STATE: &str = "state";
const WIPE: &str = "wipe";

/// This driver, as the tag says it.
const LVM: &str = "lvm";

/// All tags of one logical volume or volume group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tags(Vec<String>);

/// What is being done with a volume that is not to be handed out; the later of two counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// It was never handed out.
    Creating,
    /// It will never be handed out again.
    Deleting,
    /// A word of a later version of this driver: it is neither used nor removed.
    Unknown,
}

/// What becomes of a volume's blocks when it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wipe {
    /// They are overwritten with zeroes.
    #[default]
    Zero,
    /// The disk is told that they are not needed; whether it forgets them is the disk's affair.
    Discard,
    /// Nothing: the next owner can read them.
    None,
}

/// What a volume of ours says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ours {
    /// The name it was asked for by.
    pub(crate) name: String,
    /// What calls named it when it was made: `vg/lv`.
    pub(crate) id: String,
    /// `None`: it may be used.
    pub(crate) state: Option<State>,
    /// What becomes of its blocks.
    pub(crate) wipe: Wipe,
}

impl Tags {
    /// As LVM reports them: separated by commas, which no tag can hold.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect())
    }

    /// These very tags.
    pub(crate) fn of(tags: Vec<String>) -> Self {
        Self(tags)
    }

    /// All of them, as LVM has them.
    pub(crate) fn all(&self) -> &[String] {
        &self.0
    }

    /// The same without this one.
    pub(crate) fn without(self, tag: &str) -> Self {
        Self(self.0.into_iter().filter(|one| one != tag).collect())
    }

    /// The value of one of our tags, decoded; `key` without `flexvol.`.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.values(key).next()
    }

    /// Every value of one of our tags, decoded, for those that a volume may have several of.
    pub(crate) fn values(&self, key: &str) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(move |tag| {
            let value = tag.strip_prefix(OURS)?.strip_prefix(key)?.strip_prefix('=')?;
            decoded(value)
        })
    }

    /// What it says of itself if it is ours, else `None`.
    pub(crate) fn ours(&self) -> Option<Ours> {
        if self.get(MAKER).as_deref() != Some(LVM) {
            return None;
        }
        let state = self.values(STATE).map(|word| State::of(&word)).max();
        let wipe = self.get(WIPE).and_then(|text| text.parse().ok()).unwrap_or_default();
        Some(Ours { name: self.get(NAME).unwrap_or_default(), id: self.get(ID).unwrap_or_default(), state, wipe })
    }
}

impl Ours {
    /// Whether this is the volume that is called so. A group that was renamed takes its volumes along; a logical
    /// volume that was given another's name is still not that other.
    pub(crate) fn is_called(&self, lv: &LvName) -> bool {
        self.id.rsplit('/').next() == Some(lv.as_str())
    }

    /// The tags that say so.
    pub(crate) fn tags(&self) -> Vec<String> {
        let mut tags = vec![tag(MAKER, LVM), tag(NAME, &self.name), tag(ID, &self.id), tag(WIPE, self.wipe.as_str())];
        tags.extend(self.state.map(State::tag));
        tags
    }
}

impl State {
    fn of(word: &str) -> Self {
        [Self::Creating, Self::Deleting].into_iter().find(|one| one.as_str() == word).unwrap_or(Self::Unknown)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Deleting => "deleting",
            Self::Unknown => "unknown",
        }
    }

    /// The tag that says so.
    pub(crate) fn tag(self) -> String {
        tag(STATE, self.as_str())
    }
}

impl Wipe {
    /// The word of options and tags.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Discard => "discard",
            Self::None => "none",
        }
    }
}

impl FromStr for Wipe {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Zero, Self::Discard, Self::None]
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or("it must be \"zero\", \"discard\" or \"none\"")
    }
}

/// One of our tags, its value encoded; `key` without `flexvol.`.
pub(crate) fn tag(key: &str, value: &str) -> String {
    format!("{OURS}{key}={}", encoded(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(state: Option<State>) -> Ours {
        Ours { name: "a volume, ours".into(), id: "kube_vg/vol1".into(), state, wipe: Wipe::Discard }
    }

    #[test]
    fn what_is_written_is_read() {
        for state in [None, Some(State::Creating), Some(State::Deleting)] {
            let text = ours(state).tags().join(",");
            assert_eq!(Tags::parse(&text).ours(), Some(ours(state)), "{text}");
            assert_eq!(Tags::parse(&format!("theirs,{text},@x")).ours(), Some(ours(state)));
        }
    }

    #[test]
    fn without_a_maker_it_is_somebody_else_s() {
        for text in ["", "a,b", "flexvol.name=x", "flexvol.maker=nfs", "flexvol.maker", "xflexvol.maker=lvm"] {
            assert_eq!(Tags::parse(text).ours(), None, "{text}");
        }
    }

    #[test]
    fn the_later_state_counts_and_an_unknown_one_is_the_last() {
        let of = |states: &str| Tags::parse(&format!("flexvol.maker=lvm,{states}")).ours().unwrap().state;
        assert_eq!(of("flexvol.state=creating,flexvol.state=deleting"), Some(State::Deleting));
        assert_eq!(of("flexvol.state=copying,flexvol.state=deleting"), Some(State::Unknown));
        assert_eq!(of("x"), None);
    }

    #[test]
    fn a_renamed_group_keeps_its_volumes_and_a_renamed_volume_is_another() {
        let is_called = |lv: &str| ours(None).is_called(&LvName::parse(lv).unwrap());
        assert!(is_called("vol1"));
        assert!(!is_called("vol2") && !is_called("kube_vg"));
    }

    #[test]
    fn an_unknown_wipe_zeroes() {
        assert_eq!(Tags::parse("flexvol.maker=lvm,flexvol.wipe=x").ours().unwrap().wipe, Wipe::Zero);
        for wipe in [Wipe::Zero, Wipe::Discard, Wipe::None] {
            assert_eq!(wipe.as_str().parse(), Ok(wipe));
        }
        assert!("Zero".parse::<Wipe>().is_err());
    }
}
