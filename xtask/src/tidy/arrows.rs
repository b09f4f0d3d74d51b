//! The arrows between our crates: who may use whom, as the floor plan draws it, held against what cargo sees.

use super::finding::Finding;
use crate::sh;
use anyhow::{Context, Result, anyhow};
use serde_json::Value;

/// One of our packages and the packages of ours it uses.
#[derive(Clone, Debug)]
pub(super) struct Package {
    name: String,
    /// Where its manifest lies, relative to the project.
    manifest: String,
    uses: Vec<Use>,
}

#[derive(Clone, Debug)]
struct Use {
    name: String,
    /// Only its tests use it.
    dev: bool,
}

/// Every arrow there may be, from a package to those it may use. A driver has what a stranger would have.
const ARROWS: &[(&str, &[&str])] = &[
    ("flexvolume-protocol", &[]),
    ("flexvolume-linux", &[]),
    ("flexvolume", &["flexvolume-protocol", "flexvolume-linux"]),
    ("flexvolume-host", &["flexvolume-protocol", "flexvolume-linux"]),
    ("flexvolume-conformance", &["flexvolume-protocol", "flexvolume-linux"]),
    ("flexvolume-csi", &["flexvolume-host", "flexvolume-protocol"]),
    (
        "flexvol",
        &["flexvolume-protocol", "flexvolume-linux", "flexvolume-host", "flexvolume-conformance", "flexvolume-csi"],
    ),
    (TESTKIT, &["flexvolume-protocol", "flexvolume-linux"]),
    ("xtask", &[]),
];
const DRIVER: &[&str] = &["flexvolume", "flexvolume-linux"];
/// For tests alone.
const TESTKIT: &str = "flexvolume-testkit";
/// The package of tests that need more than one crate: it may use all.
const TESTS: &str = "flexvol-tests";

/// Asks cargo for our packages.
pub(super) fn read() -> Result<Vec<Package>> {
    let mut metadata = sh::cargo();
    let text = sh::output(metadata.args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata wrote no JSON")?;
    parse(&metadata).ok_or_else(|| anyhow!("cargo metadata has another shape than it had"))
}

fn parse(metadata: &Value) -> Option<Vec<Package>> {
    let root = format!("{}/", metadata["workspace_root"].as_str()?);
    let packages = metadata["packages"].as_array()?;
    packages
        .iter()
        .map(|package| {
            let manifest = package["manifest_path"].as_str()?;
            let uses = package["dependencies"].as_array()?.iter().filter(|dependency| dependency["path"].is_string());
            Some(Package {
                name: package["name"].as_str()?.to_owned(),
                manifest: manifest.strip_prefix(&root).unwrap_or(manifest).to_owned(),
                uses: uses
                    .map(|dependency| {
                        let dev = dependency["kind"].as_str() == Some("dev");
                        Some(Use { name: dependency["name"].as_str()?.to_owned(), dev })
                    })
                    .collect::<Option<_>>()?,
            })
        })
        .collect()
}

pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        if package.name == TESTS {
            continue;
        }
        let row = ARROWS.iter().find(|(name, _)| *name == package.name).map(|(_, uses)| *uses);
        let is_driver = package.manifest.starts_with("drivers/");
        let Some(allowed) = row.or(is_driver.then_some(DRIVER)) else {
            let what = format!("`{}` has no row in the table of arrows (xtask/src/tidy/arrows.rs)", package.name);
            findings.push(Finding::new(&package.manifest, None, what));
            continue;
        };
        for used in &package.uses {
            let for_tests = used.dev && used.name == TESTKIT;
            if !for_tests && !allowed.contains(&used.name.as_str()) {
                let what = format!(
                    "`{}` may not use `{}`{}",
                    package.name,
                    used.name,
                    if used.dev { ", not even in tests" } else { "" }
                );
                findings.push(Finding::new(&package.manifest, None, what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, folder: &str, uses: &[(&str, bool)]) -> Package {
        let uses = uses.iter().map(|(name, dev)| Use { name: (*name).into(), dev: *dev }).collect();
        Package { name: name.into(), manifest: format!("{folder}/{name}/Cargo.toml"), uses }
    }

    #[test]
    fn the_drawn_arrows_hold() {
        let good = [
            package("flexvolume-host", "crates", &[("flexvolume-linux", false), (TESTKIT, true)]),
            package("tmpfs", "drivers", &[("flexvolume", false)]),
            package(TESTS, "tests", &[("flexvolume", false), ("flexvol", false)]),
        ];
        assert_eq!(check(&good), []);
    }

    #[test]
    fn every_other_arrow_is_found() {
        let bad = [
            package("flexvolume", "crates", &[("flexvolume-host", false)]),
            package("flexvolume-host", "crates", &[("flexvolume", true)]),
            package("flexvolume-host", "crates", &[(TESTKIT, false)]),
            package("flexvol", "crates", &[("flexvolume", false)]),
            package("flexvolume-protocol", "crates", &[("flexvolume-linux", false)]),
            package("tmpfs", "drivers", &[("flexvolume-protocol", false)]),
            package("newcomer", "crates", &[]),
        ];
        for package in bad {
            assert_eq!(check(std::slice::from_ref(&package)).len(), 1, "{package:?}");
        }
    }

    #[test]
    fn what_cargo_says_is_understood() {
        let text = r#"{"workspace_root":"/p","packages":[{"name":"a","manifest_path":"/p/crates/a/Cargo.toml","dependencies":[
            {"name":"serde","kind":null},{"name":"b","kind":null,"path":"/p/crates/b"},{"name":"c","kind":"dev","path":"/p/crates/c"}]}]}"#;
        let packages = parse(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(packages[0].manifest, "crates/a/Cargo.toml");
        assert_eq!(
            packages[0].uses.iter().map(|used| (used.name.as_str(), used.dev)).collect::<Vec<_>>(),
            [("b", false), ("c", true)]
        );
        assert!(parse(&serde_json::json!({"packages": 1})).is_none());
    }
}
