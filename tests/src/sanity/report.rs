//! What a run of csi-sanity came to, read from the report that its test framework writes.

use std::{collections::BTreeMap, fmt, io::Write};

use serde_json::Value;

/// A case, and why it is where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// The full name: all headings above it, and its own.
    pub name: String,
    /// What failed and where, or why it did not run; empty for one that passed.
    pub why: String,
}

/// All cases, each in one of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Ran, and all was as the suite wants it.
    pub passed: Vec<Case>,
    /// Ran, and something was not, with all that was said about it.
    pub failed: Vec<Case>,
    /// Would have run, and saw that the driver does not announce what it is about.
    pub skipped: Vec<Case>,
    /// Left out by name, by who called the suite, or by the suite itself.
    pub left_out: Vec<Case>,
}

impl Report {
    /// Reads the report; it may hold several suites.
    ///
    /// # Errors
    /// It is no such report, or one of something that failed outside of every case; the text says what.
    pub fn read(text: &str) -> Result<Self, String> {
        let whole: Value = serde_json::from_str(text).map_err(|error| format!("the report is no JSON: {error}"))?;
        let suites = whole.as_array().ok_or("the report is no list of suites")?;
        let mut report = Self::default();
        for suite in suites {
            for one in suite["SpecReports"].as_array().ok_or("a suite has no list of cases")? {
                report.add(one)?;
            }
        }
        for list in [&mut report.passed, &mut report.failed, &mut report.skipped, &mut report.left_out] {
            list.sort();
        }
        Ok(report)
    }

    fn add(&mut self, one: &Value) -> Result<(), String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let headings = one["ContainerHierarchyTexts"].as_array().into_iter().flatten().map(text);
        let name = headings.chain([text(&one["LeafNodeText"])]).filter(|part| !part.is_empty());
        let name = name.collect::<Vec<_>>().join(" / ");
        let state = text(&one["State"]);
        let message = text(&one["Failure"]["Message"]);
        if one["LeafNodeType"] != "It" {
            // What frames the cases has no name, and is only of interest if it fails.
            return if state == "passed" { Ok(()) } else { Err(format!("{}: {message}", text(&one["LeafNodeType"]))) };
        }
        let (list, why) = match state.as_str() {
            "passed" => (&mut self.passed, String::new()),
            "pending" => (&mut self.left_out, "the suite itself leaves it out".to_owned()),
            // A case that skips itself says why; one that was filtered away says nothing.
            "skipped" if message.is_empty() => (&mut self.left_out, "left out by name".to_owned()),
            "skipped" => (&mut self.skipped, message),
            // Panicked, interrupted, aborted, timed out, or a word of a release to come.
            _ => (&mut self.failed, failure(one, &state)),
        };
        list.push(Case { name, why });
        Ok(())
    }

    /// How many cases ran.
    #[must_use]
    pub fn run(&self) -> usize {
        self.passed.len() + self.failed.len()
    }

    /// How many cases there are.
    #[must_use]
    pub fn all(&self) -> usize {
        self.run() + self.skipped.len() + self.left_out.len()
    }

    /// The cases that did not run, by what was said of it.
    #[must_use]
    pub fn not_run(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for case in self.skipped.iter().chain(&self.left_out) {
            reasons.entry(&case.why).or_default().push(&case.name);
        }
        reasons
    }

    /// The capabilities that cases missed, as CSI names them, and how many cases each; other reasons stand as they were given.
    #[must_use]
    pub fn missed(&self) -> BTreeMap<&str, usize> {
        let mut missed = BTreeMap::new();
        for case in &self.skipped {
            *missed.entry(capability(&case.why).unwrap_or(&case.why)).or_default() += 1;
        }
        missed
    }

    /// All of it in one line: how many cases ran, and how many did not for which capability or other reason.
    fn brief(&self) -> String {
        let mut missed: Vec<_> = self.missed().into_iter().map(|(why, count)| format!("{why} {count}")).collect();
        let mut left_out: BTreeMap<&str, usize> = BTreeMap::new();
        for case in &self.left_out {
            *left_out.entry(&case.why).or_default() += 1;
        }
        missed.extend(left_out.into_iter().map(|(why, count)| format!("{why} {count}")));
        let (run, all, passed) = (self.run(), self.all(), self.passed.len());
        format!("{run} of {all} cases run, {passed} passed; not run: {}", missed.join(", "))
    }

    /// Says that, as the doors show it of a case that passed.
    pub fn note(&self) {
        // A test that cannot say it has its result all the same.
        let _ = writeln!(std::io::stderr(), "note: {}", self.brief());
    }

    /// Insists that no case failed, and that none missed a capability but these, nor was left out for another reason than by name.
    ///
    /// # Panics
    /// With all failures in words.
    #[track_caller]
    pub fn assert(&self, missing: &[&str]) {
        assert!(self.failed.is_empty(), "{self}");
        let mut missed: Vec<_> = self.missed().into_keys().collect();
        missed.retain(|one| !missing.contains(one));
        assert!(missed.is_empty(), "announced, and yet not run: {missed:?}\n{self}");
        assert!(self.run() > 0, "nothing ran: {self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, all) = (self.failed.len(), self.all());
        writeln!(out, "csi-sanity: {} of {all} cases run, {} passed, {failed} failed", self.run(), self.passed.len())?;
        for case in &self.failed {
            writeln!(out, "failed: {}\n    {}", case.name, case.why.replace('\n', "\n    "))?;
        }
        for (why, cases) in self.not_run() {
            let needs = capability(why).map_or_else(String::new, |capability| format!(" ({capability})"));
            writeln!(out, "not run: {}, {why}{needs}", cases.len())?;
            for case in cases {
                writeln!(out, "    {case}")?;
            }
        }
        Ok(())
    }
}

/// All that is said of a failure, with the line of the suite that noticed it.
fn failure(one: &Value, state: &str) -> String {
    let more = one["AdditionalFailures"].as_array().into_iter().flatten().map(|more| &more["Failure"]);
    let said = |failure: &Value| {
        let at = &failure["Location"];
        let file = at["FileName"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let panic = failure["ForwardedPanic"].as_str().unwrap_or_default();
        let message = failure["Message"].as_str().unwrap_or_default();
        format!("{state} at {file}:{}: {message} {panic}", at["LineNumber"]).trim_end().to_owned()
    };
    std::iter::once(&one["Failure"]).chain(more).map(said).collect::<Vec<_>>().join("\n")
}

/// What a driver would have to announce for a case that says this, in CSI's words.
fn capability(why: &str) -> Option<&'static str> {
    REASONS.iter().find(|(reason, _)| *reason == why).map(|(_, capability)| *capability)
}

/// The words with which cases skip themselves for want of a capability, and the capability.
const REASONS: &[(&str, &str)] = &[
    ("Controller Service not provided: CreateVolume not supported", "CONTROLLER_SERVICE"),
    ("CreateVolume not supported", "CREATE_DELETE_VOLUME"),
    ("DeleteVolume not supported", "CREATE_DELETE_VOLUME"),
    ("ControllerPublishVolume not supported", "PUBLISH_UNPUBLISH_VOLUME"),
    ("ControllerUnpublishVolume not supported", "PUBLISH_UNPUBLISH_VOLUME"),
    ("Controller Publish, UnpublishVolume not supported", "PUBLISH_UNPUBLISH_VOLUME"),
    ("ControllerPublishVolume.readonly field not supported", "PUBLISH_READONLY"),
    ("GetCapacity not supported", "GET_CAPACITY"),
    ("ListVolumes not supported", "LIST_VOLUMES"),
    ("Snapshot not supported", "CREATE_DELETE_SNAPSHOT"),
    ("CreateSnapshot not supported", "CREATE_DELETE_SNAPSHOT"),
    ("DeleteSnapshot not supported", "CREATE_DELETE_SNAPSHOT"),
    ("ListSnapshots not supported", "LIST_SNAPSHOTS"),
    ("GetSnapshot not supported", "GET_SNAPSHOT"),
    ("SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported", "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS"),
    ("Volume Cloning not supported", "CLONE_VOLUME"),
    ("ControllerExpandVolume not supported", "controller EXPAND_VOLUME"),
    ("Modify volume not supported", "MODIFY_VOLUME"),
    ("Modify Volume not supported", "MODIFY_VOLUME"),
    ("ControllerModifyVolume not supported", "MODIFY_VOLUME"),
    ("ControllerGetVolumeHealth not supported", "controller GET_VOLUME_HEALTH"),
    ("ControllerListVolumeHealth not supported", "LIST_VOLUME_HEALTH"),
    ("GroupControllerService not supported", "GROUP_CONTROLLER_SERVICE"),
    ("VolumeGroupSnapshots not supported", "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"),
    ("Service does not have single node multi writer capability", "node SINGLE_NODE_MULTI_WRITER"),
    ("NodeStageVolume not supported", "STAGE_UNSTAGE_VOLUME"),
    ("NodeUnstageVolume not supported", "STAGE_UNSTAGE_VOLUME"),
    ("NodeGetVolume not supported", "GET_VOLUME_STATS"),
    ("NodeExpandVolume not supported", "node EXPAND_VOLUME"),
    ("NodeGetVolumeHealth not supported", "node GET_VOLUME_HEALTH"),
    ("NodeGetStorageHealth not supported", "GET_STORAGE_HEALTH"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn case(name: &str, state: &str, message: &str) -> Value {
        json!({"ContainerHierarchyTexts": ["Node Service", "NodeStage"], "LeafNodeType": "It", "LeafNodeText": name, "State": state,
            "Failure": {"Message": message, "Location": {"FileName": "/x/node.go", "LineNumber": 7}}})
    }

    #[test]
    fn each_case_is_where_its_state_puts_it() {
        let cases = [
            case("a", "passed", ""),
            case("b", "failed", "expected one\nfound two"),
            case("c", "skipped", "NodeUnstageVolume not supported"),
            case("d", "skipped", ""),
            case("e", "pending", ""),
            case("f", "timedout", "hangs"),
            case("g", "skipped", "No MaxVolumesPerNode"),
            json!({"LeafNodeType": "ReportAfterSuite", "State": "passed"}),
        ];
        let report = Report::read(&json!([{ "SpecReports": cases }]).to_string()).unwrap();
        assert_eq!(
            (report.run(), report.all(), report.passed[0].name.as_str()),
            (3, 7, "Node Service / NodeStage / a")
        );
        assert_eq!(report.failed[0].why, "failed at node.go:7: expected one\nfound two");
        assert_eq!(report.failed[1].why, "timedout at node.go:7: hangs");
        assert_eq!(report.missed(), BTreeMap::from([("STAGE_UNSTAGE_VOLUME", 1), ("No MaxVolumesPerNode", 1)]));
        assert_eq!(report.not_run().len(), 4);
        let brief = "3 of 7 cases run, 1 passed; not run: No MaxVolumesPerNode 1, STAGE_UNSTAGE_VOLUME 1, left out by name 1, the suite itself \
                     leaves it out 1";
        assert_eq!(report.brief(), brief);
        let said = report.to_string();
        assert!(said.starts_with("csi-sanity: 3 of 7 cases run, 1 passed, 2 failed\n"), "{said}");
        assert!(said.contains("not run: 1, NodeUnstageVolume not supported (STAGE_UNSTAGE_VOLUME)\n"), "{said}");
    }

    #[test]
    fn what_is_no_report_or_failed_outside_of_cases_is_an_error() {
        for text in ["", "{}", "[{}]", r#"[{"SpecReports": [{"LeafNodeType": "AfterSuite", "State": "failed"}]}]"#] {
            assert!(Report::read(text).is_err(), "{text}");
        }
    }

    #[test]
    #[should_panic(expected = "announced, and yet not run: [\"STAGE_UNSTAGE_VOLUME\"]")]
    fn a_case_of_an_announced_capability_must_run() {
        let cases = [case("a", "passed", ""), case("c", "skipped", "NodeUnstageVolume not supported")];
        Report::read(&json!([{ "SpecReports": cases }]).to_string()).unwrap().assert(&["GET_CAPACITY"]);
    }
}
