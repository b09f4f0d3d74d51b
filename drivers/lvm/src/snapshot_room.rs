//! How much of its volume may change before a thick snapshot has lost everything.

use std::str::FromStr;

use flexvolume::{Options, OptionsExt, Result, Size};

/// The option that says how much of its volume may change before a thick snapshot is lost.
pub(crate) const ROOM: &str = "snapshotSize";

/// The room of a thick snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// In hundredths of its volume.
    Percent(u64),
    /// In bytes.
    Bytes(u64),
}

impl Room {
    /// As a call's options say, else a fifth of the volume.
    ///
    /// # Errors
    /// `invalid`: it is neither a size nor a percentage.
    pub(crate) fn of(options: &Options) -> Result<Self> {
        Ok(options.optional(ROOM)?.unwrap_or(Self::Percent(20)))
    }

    /// For a volume of that size.
    pub(crate) fn bytes(self, volume: u64) -> u64 {
        match self {
            Self::Percent(percent) => (volume / 100).saturating_add(1).saturating_mul(percent),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl FromStr for Room {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.trim().strip_suffix('%') {
            Some(number) => match number.trim().parse::<u64>() {
                Ok(percent @ 1..=1000) => Ok(Self::Percent(percent)),
                Ok(_) | Err(_) => Err("a percentage is a whole number from 1 to 1000".to_owned()),
            },
            None => text.parse().map(|size: Size| Self::Bytes(size.bytes())).map_err(|error| error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_size_or_a_part_and_a_fifth_unless_somebody_says() {
        let of = |text: Option<&str>| {
            let mut options = Options::default();
            if let Some(text) = text {
                options.insert(ROOM, text);
            }
            Room::of(&options)
        };
        assert_eq!(of(None), Ok(Room::Percent(20)));
        assert_eq!(of(Some("35 %")), Ok(Room::Percent(35)));
        assert_eq!(of(Some("1000m")), Ok(Room::Bytes(1000 << 20)));
        for bad in ["", "0%", "1001%", "x%", "%", "0", "-1m", "1.5%"] {
            let failure = of(Some(bad)).unwrap_err();
            assert!(failure.to_string().contains(ROOM), "{bad}: {failure}");
        }
        assert_eq!(Room::Percent(20).bytes(1000 << 20) >> 20, 200);
        assert!(Room::Percent(1000).bytes(u64::MAX) == u64::MAX && Room::Percent(100).bytes(7) >= 7);
        assert_eq!(Room::Bytes(7).bytes(1 << 40), 7);
    }
}
