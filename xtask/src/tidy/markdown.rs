//! Rules for the pages: every link leads to a file, and every page of the book can be reached from its summary.

use super::finding::{File, Finding};
use std::path::{Component, Path, PathBuf};

const SUMMARY: &str = "docs/SUMMARY.md";
/// Records of decisions are for those who work on the project; the book need not show them.
const NOT_IN_THE_BOOK: &[&str] = &["docs/decisions/"];

/// Links to files that are not there.
pub(super) fn links(file: &File, exists: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
    if !file.path.ends_with(".md") {
        return Vec::new();
    }
    let here = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (line, target) in targets(&file.text) {
        let Some(path) = local(&target) else { continue };
        let broken = match resolve(here, path) {
            Some(path) => (!exists(&path)).then(|| format!("the link to `{target}` leads to no file")),
            None => Some(format!("the link to `{target}` leads out of the project")),
        };
        if let Some(what) = broken {
            findings.push(Finding::new(&file.path, Some(line), what));
        }
    }
    findings
}

/// Pages of the book that its summary does not list.
pub(super) fn summary(files: &[File]) -> Vec<Finding> {
    let listed: Option<Vec<PathBuf>> = files.iter().find(|file| file.path == SUMMARY).map(|file| {
        let targets = targets(&file.text);
        targets.iter().filter_map(|(_, target)| resolve(Path::new("docs"), local(target)?)).collect()
    });
    let pages = files.iter().map(|file| file.path.as_str()).filter(|path| {
        path.starts_with("docs/")
            && path.ends_with(".md")
            && *path != SUMMARY
            && !NOT_IN_THE_BOOK.iter().any(|dir| path.starts_with(dir))
    });
    match listed {
        Some(listed) => pages
            .filter(|page| !listed.iter().any(|path| path == Path::new(page)))
            .map(|page| Finding::new(page, None, format!("this page is not listed in {SUMMARY}")))
            .collect(),
        None => {
            pages.take(1).map(|page| Finding::new(page, None, format!("there are pages but no {SUMMARY}"))).collect()
        }
    }
}

/// Every link of a page with its line: `[text](target)` and `[name]: target`, outside code.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    let mut fence = None;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let opens = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
        match (fence, opens) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => {}
            (None, None) => targets.extend(in_line(line).into_iter().map(|target| (number + 1, target))),
        }
    }
    targets
}

fn in_line(line: &str) -> Vec<String> {
    // What stands between backticks is code and links nowhere.
    let text: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let target = text[at + 2..].split([')', ' ']).next().unwrap_or_default();
        found.push(target.trim_matches(['<', '>']).to_owned());
    }
    let definition = text.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    if let Some((_, target)) = definition {
        found.push(target.split_whitespace().next().unwrap_or_default().to_owned());
    }
    found
}

/// The path of a link into the project; none if it leads elsewhere or stays on its page.
fn local(target: &str) -> Option<&str> {
    let path = target.split('#').next().unwrap_or_default();
    (!path.is_empty() && !path.contains("://") && !path.starts_with("mailto:")).then_some(path)
}

/// Joins a link to the folder of its page; none if it climbs out of the project or starts at a root.
fn resolve(here: &Path, link: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in here.join(link).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        let exists = |path: &Path| path == Path::new("docs/a.md") || path == Path::new("README.md");
        let good =
            page("docs/b.md", "[a](a.md#x) [r](../README.md \"title\") [w](https://x.org/y) [h](#here)\n\n[a]: a.md\n");
        assert_eq!(links(&good, &exists), []);
        for bad in ["[a](c.md)", "![p](c.png)", "[a]: c.md", "[a](../../x.md)", "[a](/docs/a.md)"] {
            assert_eq!(links(&page("docs/b.md", &format!("first\n{bad}\n")), &exists).len(), 1, "{bad}");
        }
    }

    #[test]
    fn code_links_nowhere() {
        let text = "```md\n[a](no.md)\n```\n`[a](no.md)` and ``x``\n~~~\n```\n[a](no.md)\n~~~\n";
        assert_eq!(links(&page("a.md", text), &|_| false), []);
    }

    #[test]
    fn a_page_that_nobody_lists_is_found() {
        let book = |summary: &str| {
            vec![
                page(SUMMARY, summary),
                page("docs/a.md", ""),
                page("docs/sub/b.md", ""),
                page("docs/decisions/c.md", ""),
            ]
        };
        assert_eq!(summary(&book("- [a](a.md)\n  - [b](sub/b.md)\n")), []);
        let findings = summary(&book("- [a](a.md)\n"));
        assert!(findings.len() == 1 && findings[0].path == "docs/sub/b.md", "{findings:?}");
        assert_eq!(summary(&[page("docs/a.md", "")]).len(), 1, "pages without a summary");
        assert_eq!(summary(&[page("README.md", "")]), []);
    }
}
