//! How far one word is from another, for whoever typed it wrong.

/// How many letters must be put in, left out or changed to come from one word to the other.
pub(crate) fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (n, letter) in one.chars().enumerate() {
        let mut before = row[0];
        row[0] = n + 1;
        for (place, wanted) in other.chars().enumerate() {
            let changed = before + usize::from(letter != wanted);
            before = row[place + 1];
            row[place + 1] = changed.min(row[place] + 1).min(before + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (one, other, wanted) in [("", "abc", 3), ("mount", "mount", 0), ("mont", "mount", 1), ("ab", "ba", 2)] {
            assert_eq!((distance(one, other), distance(other, one)), (wanted, wanted), "{one} {other}");
        }
    }
}
