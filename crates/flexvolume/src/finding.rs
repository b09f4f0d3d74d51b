//! What a driver finds out about a volume or its storage, put together as one answer of `gethealth`.

use flexvolume_protocol::{Condition, Health};

/// Something that a person should know, and how bad it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding(pub Condition, pub String);

/// So many are told in words.
const MOST_TOLD: usize = 8;

impl Finding {
    /// The same of a storage of which other parts do well.
    #[must_use]
    pub fn of_a_part(self) -> Self {
        Self(self.0.min(Condition::Degraded), self.1)
    }

    /// The worst of them in a word, and all of them in words; none is well.
    pub fn told(found: Vec<Finding>) -> Health {
        let condition = found.iter().map(|finding| finding.0).max().unwrap_or(Condition::Ok);
        let more = found.len().saturating_sub(MOST_TOLD);
        let mut words: Vec<String> = found.into_iter().take(MOST_TOLD).map(|finding| finding.1).collect();
        if more > 0 {
            words.push(format!("and {more} more of the kind"));
        }
        Health { condition, message: words.join("; ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_the_word_and_not_all_are_told() {
        assert_eq!(Finding::told(Vec::new()), Health { condition: Condition::Ok, message: String::new() });
        let of = |condition, n: u32| Finding(condition, n.to_string());
        let told =
            Finding::told(vec![of(Condition::Degraded, 1), of(Condition::DataLoss, 2), of(Condition::Degraded, 3)]);
        assert_eq!((told.condition, told.message.as_str()), (Condition::DataLoss, "1; 2; 3"));
        let told = Finding::told((0..20).map(|n| of(Condition::Degraded, n)).collect());
        assert!(told.message.ends_with("; 7; and 12 more of the kind"), "{}", told.message);
        assert_eq!(of(Condition::DataLoss, 1).of_a_part().0, Condition::Degraded);
        assert_eq!(of(Condition::Ok, 1).of_a_part().0, Condition::Ok);
    }
}
