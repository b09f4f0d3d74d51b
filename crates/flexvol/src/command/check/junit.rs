//! The report as JUnit's XML, which build servers read: a suite for each group, a case for each check.

use std::io;

use flexvolume_conformance::{Finding, Outcome, Report, Severity};
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};

/// The whole document.
pub(super) fn text(report: &Report) -> String {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    // Nothing that is written to memory fails.
    let _ = document(&mut writer, report);
    String::from_utf8(writer.into_inner()).unwrap_or_default() + "\n"
}

fn document(writer: &mut Writer<Vec<u8>>, report: &Report) -> io::Result<()> {
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let name = format!("{} ({})", report.driver, report.level.as_str());
    writer.create_element("testsuites").with_attribute(("name", name.as_str())).write_inner_content(|writer| {
        let mut rest = report.findings.as_slice();
        while let Some(first) = rest.first() {
            let group = first.name.split('.').next().unwrap_or_default();
            let end = rest.iter().position(|one| !one.name.starts_with(&format!("{group}."))).unwrap_or(rest.len());
            let (here, after) = rest.split_at(end);
            suite(writer, group, here)?;
            rest = after;
        }
        Ok(())
    })?;
    Ok(())
}

fn suite(writer: &mut Writer<Vec<u8>>, group: &str, findings: &[Finding]) -> io::Result<()> {
    let number = |wanted: fn(&Finding) -> bool| findings.iter().filter(|finding| wanted(finding)).count().to_string();
    let element = writer.create_element("testsuite").with_attributes([
        ("name", group),
        ("tests", findings.len().to_string().as_str()),
        ("failures", number(is_failure).as_str()),
        ("skipped", number(|finding| matches!(finding.outcome, Outcome::Skipped { .. })).as_str()),
    ]);
    element.write_inner_content(|writer| findings.iter().try_for_each(|finding| case(writer, group, finding)))?;
    Ok(())
}

/// What only should not be is no failure of the build.
fn is_failure(finding: &Finding) -> bool {
    matches!((&finding.outcome, finding.severity), (Outcome::Failed { .. }, Severity::Must))
}

fn case(writer: &mut Writer<Vec<u8>>, group: &str, finding: &Finding) -> io::Result<()> {
    let element = writer.create_element("testcase").with_attributes([("classname", group), ("name", finding.name)]);
    match &finding.outcome {
        Outcome::Passed => element.write_empty()?,
        Outcome::Skipped { reason } => element.write_inner_content(|writer| {
            writer.create_element("skipped").with_attribute(("message", plain(reason).as_str())).write_empty()?;
            Ok(())
        })?,
        Outcome::Failed { seen, .. } => {
            let tag = if is_failure(finding) { "failure" } else { "system-out" };
            element.write_inner_content(|writer| {
                let element = writer.create_element(tag);
                let message = plain(seen);
                let element =
                    if tag == "failure" { element.with_attribute(("message", message.as_str())) } else { element };
                element.write_text_content(BytesText::new(&plain(&finding.to_string())))?;
                Ok(())
            })?
        }
    };
    Ok(())
}

/// Without what XML cannot hold.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !"\n\t".contains(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use flexvolume_conformance::{Level, Report};

    use super::*;

    #[test]
    fn every_outcome_is_written_and_text_is_escaped() {
        let finding = |name, severity, outcome| Finding {
            name,
            severity,
            why: "because",
            section: "contract: A call",
            mend: "mend it",
            outcome,
        };
        let failed = || Outcome::Failed { seen: "<&\"\u{7}".into(), calls: Vec::new() };
        let report = Report {
            driver: "a/b".into(),
            level: Level::Kubernetes,
            findings: vec![
                finding("init.answers", Severity::Must, Outcome::Passed),
                finding("init.again", Severity::Must, failed()),
                finding("mount.mounts", Severity::Should, failed()),
                finding("mount.again", Severity::Must, Outcome::Skipped { reason: "no".into() }),
            ],
            refused: None,
            judged: true,
            ended: false,
            earlier: Vec::new(),
            left: Vec::new(),
            times: Vec::new(),
        };
        let text = text(&report);
        for part in [
            r#"<testsuite name="init" tests="2" failures="1" skipped="0">"#,
            r#"<testsuite name="mount" tests="2" failures="0" skipped="1">"#,
            r#"<testcase classname="init" name="init.answers"/>"#,
            "&lt;&amp;",
            "<system-out>",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains('\u{7}'));
    }
}
