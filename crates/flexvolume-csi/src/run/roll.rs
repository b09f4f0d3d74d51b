//! Which drivers are to be served now, of those that come and go in the plugin directory: decided here, done by `fleet`.

use std::collections::{BTreeMap, BTreeSet};

use flexvolume_protocol::DriverName;

use crate::request::name::{CsiName, NameTrouble};

/// What is known of drivers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// They are there and have answered `init`.
    pub(crate) ready: BTreeSet<DriverName>,
    /// They are there and cannot be used; one that is served stays so, and its calls fail.
    pub(crate) broken: BTreeSet<DriverName>,
    /// They have a program in the plugin directory, looked at or not yet.
    pub(crate) listed: BTreeSet<DriverName>,
    /// They have volumes on this node. `None` if that cannot be told: then any might.
    pub(crate) holders: Option<BTreeSet<DriverName>>,
}

/// What is to be done; in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    /// They are served no more: neither they nor a volume of them is there.
    pub(crate) retire: Vec<DriverName>,
    /// They are served from now on.
    pub(crate) serve: Vec<(DriverName, CsiName)>,
    /// They cannot be served, though they are there.
    pub(crate) refuse: Vec<(DriverName, NameTrouble)>,
}

impl Known {
    /// Takes in that a driver answered.
    pub(crate) fn answered(&mut self, driver: DriverName) {
        self.broken.remove(&driver);
        self.ready.insert(driver);
    }

    /// Takes in that a driver cannot be used.
    pub(crate) fn failed(&mut self, driver: DriverName) {
        self.ready.remove(&driver);
        self.broken.insert(driver);
    }

    /// Takes in that a driver is not there any more.
    pub(crate) fn gone(&mut self, driver: &DriverName) {
        self.ready.remove(driver);
        self.broken.remove(driver);
    }

    /// Whether its program is there.
    pub(crate) fn is_there(&self, driver: &DriverName) -> bool {
        self.ready.contains(driver) || self.broken.contains(driver)
    }

    fn may_hold(&self, driver: &DriverName) -> bool {
        self.holders.as_ref().is_none_or(|holders| holders.contains(driver))
    }

    /// What is to be done where `served` are served.
    ///
    /// Of two drivers that would have one name it is had by the one that has it already, else by the one that has volumes, else by the
    /// first in the alphabet: so it is the same one after a restart, and no volume is ever looked for with the wrong driver.
    pub(crate) fn orders(
        &self,
        served: &BTreeMap<DriverName, CsiName>,
        name: impl Fn(&DriverName) -> Result<CsiName, NameTrouble>,
    ) -> Orders {
        let retire: Vec<_> =
            served.keys().filter(|driver| !self.is_there(driver) && !self.may_hold(driver)).cloned().collect();
        let mut orders = Orders { retire, ..Orders::default() };
        let nobody = BTreeSet::new();
        let holders = self.holders.as_ref().unwrap_or(&nobody);
        let mut owners: BTreeMap<CsiName, &DriverName> = BTreeMap::new();
        let stay = served.iter().filter(|(driver, _)| !orders.retire.contains(driver));
        owners.extend(stay.map(|(driver, name)| (name.clone(), driver)));
        for driver in holders.iter().chain(&self.listed).chain(&self.ready) {
            if let Ok(name) = name(driver) {
                owners.entry(name).or_insert(driver);
            }
        }
        // What has volumes is served though its program may be broken, or gone: they have to be taken away.
        for driver in holders.union(&self.ready).filter(|driver| !served.contains_key(*driver)) {
            match name(driver) {
                Ok(name) => match owners.get(&name) {
                    Some(owner) if *owner != driver => {
                        let trouble = NameTrouble::Taken { name, one: (*owner).clone(), other: driver.clone() };
                        orders.refuse.push((driver.clone(), trouble));
                    }
                    Some(_) | None => orders.serve.push((driver.clone(), name)),
                },
                Err(trouble) => orders.refuse.push((driver.clone(), trouble)),
            }
        }
        orders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &str) -> BTreeSet<DriverName> {
        names.split_whitespace().map(|name| DriverName::parse(name).unwrap()).collect()
    }

    fn known(ready: &str, broken: &str, listed: &str, holders: &str) -> Known {
        let holders = (holders != "?").then(|| set(holders));
        Known { ready: set(ready), broken: set(broken), listed: set(listed), holders }
    }

    /// The orders in words: `-` retired, `+` served, `!` refused.
    fn orders(known: &Known, served: &str) -> String {
        let served = set(served).into_iter().map(|driver| (driver.clone(), CsiName::usual(&driver).unwrap())).collect();
        let orders = known.orders(&served, CsiName::usual);
        let retired = orders.retire.iter().map(|driver| format!("-{driver}"));
        let begun = orders.serve.iter().map(|(driver, _)| format!("+{driver}"));
        let refused = orders.refuse.iter().map(|(driver, _)| format!("!{driver}"));
        retired.chain(begun).chain(refused).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_there_or_has_volumes_is_served() {
        for (ready, broken, holders, served, wanted) in [
            ("", "", "", "", ""),
            ("a/x", "", "", "", "+a/x"),
            ("a/x", "", "", "a/x", ""),
            ("", "a/x", "", "", ""),
            // Broken since: its calls fail, and say why.
            ("", "a/x", "", "a/x", ""),
            // Gone, with and without volumes, and where nobody can tell.
            ("", "", "a/x", "a/x", ""),
            ("", "", "", "a/x", "-a/x"),
            ("", "", "?", "a/x", ""),
            // Gone before we began, or not looked at yet.
            ("", "", "a/x", "", "+a/x"),
            ("", "a/x", "a/x", "", "+a/x"),
            // Several at once.
            ("a/x b/y", "", "c/z", "d/w", "-d/w +a/x +b/y +c/z"),
        ] {
            let known = known(ready, broken, &format!("{ready} {broken}"), holders);
            assert_eq!(orders(&known, served), wanted, "{ready}; {broken}; {holders}; {served}");
        }
    }

    #[test]
    fn one_of_two_with_one_name_has_it_and_it_is_always_the_same() {
        let both = "a/X-1 a/x_1";
        for (ready, listed, holders, served, wanted) in [
            (both, both, "", "", "+a/X-1 !a/x_1"),
            // The other one has answered sooner.
            ("a/x_1", both, "", "", "!a/x_1"),
            ("a/x_1", "a/x_1", "", "", "+a/x_1"),
            (both, both, "", "a/x_1", "!a/X-1"),
            (both, both, "a/x_1", "", "+a/x_1 !a/X-1"),
            // The one that has volumes is gone.
            ("a/X-1", "a/X-1", "a/x_1", "", "+a/x_1 !a/X-1"),
            // It gives way when they are gone.
            ("a/X-1", "a/X-1", "", "a/x_1", "-a/x_1 +a/X-1"),
        ] {
            assert_eq!(
                orders(&known(ready, "", listed, holders), served),
                wanted,
                "{ready}; {listed}; {holders}; {served}"
            );
        }
    }

    #[test]
    fn one_without_a_name_is_left_out_and_the_others_are_served() {
        assert_eq!(orders(&known("a/b-.c a/x", "", "a/b-.c a/x", ""), ""), "+a/x !a/b-.c");
    }

    #[test]
    fn what_is_heard_of_a_driver_last_counts() {
        let mut known = Known::default();
        let driver = DriverName::parse("a/x").unwrap();
        known.failed(driver.clone());
        assert!(known.is_there(&driver) && known.ready.is_empty());
        known.answered(driver.clone());
        assert!(known.ready.contains(&driver) && known.broken.is_empty());
        known.gone(&driver);
        assert!(!known.is_there(&driver));
    }
}
