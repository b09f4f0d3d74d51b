//! Paging through a list that is whole in memory: which part a host asks for, and what it asks for next.

use flexvolume_protocol::{Id, Options, keys};

use crate::{OptionsExt, Result};

/// The page that `listvolumes` or `listsnapshots` is asked for.
///
/// The token is the last id of the page before, so a list that grows or shrinks between two pages neither repeats nor
/// loses what stays. A driver whose backend pages by itself reads the options instead.
///
/// ```
/// use flexvolume::{Id, Options, Page};
/// let ids: Vec<Id> = ["b", "c", "a"].iter().map(|id| Id::parse(id).unwrap()).collect();
/// let page = |options| Page::of(&Options::parse(options).unwrap()).unwrap().cut(ids.clone(), |id| id);
/// let (first, next) = page(r#"{"flexvol/max":"2"}"#);
/// assert_eq!((first.len(), first[0].as_str(), next.as_deref()), (2, "a", Some("b")));
/// let (last, next) = page(r#"{"flexvol/max":"2","flexvol/token":"b"}"#);
/// assert_eq!((last.len(), last[0].as_str(), next), (1, "c", None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    after: String,
    most: usize,
}

/// So many at most, whatever is asked for: an answer longer than a mebibyte is refused by the host.
const MOST: usize = 1000;

impl Page {
    /// Reads `flexvol/token` and `flexvol/max`.
    ///
    /// # Errors
    /// Code `invalid` if `flexvol/max` is no number.
    pub fn of(options: &Options) -> Result<Self> {
        let given = if options.get(keys::MAX) == Some("") { None } else { options.optional::<usize>(keys::MAX)? };
        let most = given.filter(|most| *most > 0).unwrap_or(MOST).min(MOST);
        Ok(Self { after: options.get(keys::TOKEN).unwrap_or_default().to_owned(), most })
    }

    /// The page of the whole list, by the order of ids, and the token of the next one.
    pub fn cut<T>(&self, mut all: Vec<T>, id: impl Fn(&T) -> &Id) -> (Vec<T>, Option<String>) {
        all.retain(|one| id(one).as_str() > self.after.as_str());
        all.sort_by(|one, other| id(one).cmp(id(other)));
        let is_last = all.len() <= self.most;
        all.truncate(self.most);
        let next = all.last().filter(|_| !is_last).map(|one| id(one).as_str().to_owned());
        (all, next)
    }
}

#[cfg(test)]
mod tests {
    use flexvolume_protocol::Code;

    use super::*;

    fn page(options: &str) -> Page {
        Page::of(&Options::parse(options).unwrap()).unwrap()
    }

    fn ids(numbers: impl IntoIterator<Item = u32>) -> Vec<Id> {
        numbers.into_iter().map(|number| Id::parse(&format!("v{number:05}")).unwrap()).collect()
    }

    /// All pages one after the other; between them the list becomes what `then` makes of it.
    fn walk(max: &str, mut list: Vec<Id>, then: impl Fn(&mut Vec<Id>)) -> Vec<Vec<Id>> {
        let mut pages = Vec::new();
        let mut token = String::new();
        loop {
            let options = serde_json::json!({"flexvol/max": max, "flexvol/token": token}).to_string();
            let (found, next) = page(&options).cut(list.clone(), |id| id);
            pages.push(found);
            match next {
                Some(next) => token = next,
                None => return pages,
            }
            then(&mut list);
        }
    }

    #[test]
    fn every_page_is_full_and_all_of_them_are_the_list() {
        for (count, max, pages) in [(0, "2", 1), (1, "2", 1), (2, "2", 1), (3, "2", 2), (4, "2", 2), (5, "", 1)] {
            let max = if max.is_empty() { "0" } else { max };
            let found = walk(max, ids((0..count).rev()), |_| {});
            assert_eq!(found.len(), pages, "{count} by {max}");
            assert_eq!(found.concat(), ids(0..count), "{count} by {max}");
        }
        assert_eq!(walk("99999", ids(0..2500), |_| {}).iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
    }

    #[test]
    fn a_list_that_changes_between_pages_repeats_and_loses_nothing_that_stays() {
        // What was given last is deleted, and something comes in before it.
        let found = walk("2", ids([1, 3, 5, 7, 9]), |list| {
            list.retain(|id| *id != ids([3])[0]);
            list.extend(ids([0]));
        });
        assert_eq!(found.concat(), ids([1, 3, 5, 7, 9]));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bad in [r#"{"flexvol/max":"ten"}"#, r#"{"flexvol/max":"-1"}"#, r#"{"flexvol/max":"1.5"}"#] {
            assert_eq!(Page::of(&Options::parse(bad).unwrap()).unwrap_err().code(), Some(Code::Invalid), "{bad}");
        }
        assert_eq!(page("{}"), page(r#"{"flexvol/max":"0","flexvol/token":""}"#));
        assert_eq!(page("{}"), page(r#"{"flexvol/max":""}"#));
    }
}
