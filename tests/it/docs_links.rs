//! Links between the project's own pages lead to files and headings that are there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::tidy_source::{files_below, root};

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].iter().map(|name| root().join(name)).collect();
    pages.extend(files_below("docs", "md"));
    pages
}

/// Lines of a page outside of its blocks of code.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let mut kept = String::new();
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if !is_code && !is_fence {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// What a heading is called in a link: as GitHub makes it.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|one| one.is_alphanumeric() || [' ', '-', '_'].contains(one));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    targets.map(str::to_owned).collect()
}

/// Why a link leads nowhere.
fn fault(page: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { page.to_path_buf() } else { page.parent()?.join(file) };
    if !target.exists() {
        return Some(format!("{}: there is no {link}", page.display()));
    }
    let is_page = target.extension().is_some_and(|end| end == "md");
    if anchor.is_empty() || !is_page {
        return None;
    }
    let text = prose(&std::fs::read_to_string(&target).ok()?);
    (!anchors(&text).contains(anchor)).then(|| format!("{}: {link} has no such heading", page.display()))
}

#[test]
fn docs_link_to_pages_and_headings_that_are_there() {
    let mut count = 0;
    let mut faults = Vec::new();
    for page in pages() {
        for link in links(&prose(&std::fs::read_to_string(&page).unwrap())) {
            count += 1;
            faults.extend(fault(&page, &link));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 100, "only {count} links were found");
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let page = root().join("README.md");
    for wrong in ["docs/nothing.txt", "#no-such-heading", "docs/reasons.md#nothing"] {
        assert!(fault(&page, wrong).is_some(), "{wrong}");
    }
    for right in
        ["docs/reasons.md#limits-of-a-step", "#security-honestly", "https://example.org/x", "docs/adr/"]
    {
        assert_eq!(fault(&page, right), None);
    }
    assert_eq!(links("a [b](c.txt) [d](e#f)"), ["c.txt", "e#f"]);
    assert_eq!(anchors("## `/docs`: it's *all* there\n"), ["docs-its-all-there".to_owned()].into());
}
