//! The pages are right about other files: links lead somewhere, paths exist, and each fact about the vendor has a
//! test or a probe.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use number7_core::probe::{Observed, Report};
use number7_tests::probes;

/// The columns of the tables in docs/vendor.md.
const COLUMNS: [&str; 3] = ["the vendor says", "so number7", "held by"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_fact_about_the_vendor_has_a_rule_and_every_rule_a_test_or_a_probe() {
    let (page, rules) = (read("docs/vendor.md"), names_of_rules());
    for section in page.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        let mut rows = text.lines().filter(|line| line.starts_with('|')).map(cells);
        if title == "Not published" {
            assert_eq!(rows.next(), None, "nothing can follow from what is not published");
            continue;
        }
        assert_eq!(rows.next().unwrap(), COLUMNS, "{title}");
        let facts: Vec<_> = rows.skip(1).collect();
        assert!(!facts.is_empty(), "{title}: no facts");
        for row in facts {
            let [fact, rule, held_by] = *row else { panic!("{title}: not three cells: {row:?}") };
            assert!(!fact.is_empty() && !rule.is_empty(), "{title}: an empty cell: {row:?}");
            let holders = in_backticks(held_by);
            assert!(!holders.is_empty(), "{title}: nothing holds {fact:?}");
            for holder in holders {
                let is_there = match holder.split_once("::") {
                    Some((file, function)) => is_test(&read(file), function),
                    None => rules.contains(&holder),
                };
                assert!(is_there, "{title}: neither a test nor a probe: {holder:?}, for {fact:?}");
            }
        }
    }
}

/// The probes, and the rules about several of their answers.
fn names_of_rules() -> Vec<&'static str> {
    let mut report = Report::default();
    for probe in probes().table() {
        let answer = Observed::answer(probe.answer().status());
        report.add(probe, answer);
    }
    report.findings().iter().map(|finding| finding.rule).collect()
}

/// Whether the file has a test with this name that is not ignored. A test of every store is only named in a macro.
fn is_test(source: &str, function: &str) -> bool {
    let Some((before, _)) = source.split_once(&format!("fn {function}(")) else { return false };
    let above = before.rsplit('\n').skip(1).map(str::trim);
    let above: Vec<_> =
        above.take_while(|line| line.starts_with("#[") || line.starts_with("///")).collect();
    let is_attributed = above.iter().any(|line| line.contains("test]") || line.contains("test("));
    let is_ignored = above.iter().any(|line| line.starts_with("#[ignore"));
    let of_stores = source.split_once("on_every_store!").map_or("", |(_, names)| names);
    let mut of_stores = of_stores.split(|c: char| !c.is_alphanumeric() && c != '_');
    (is_attributed && !is_ignored) || of_stores.any(|name| name == function)
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// The strings between backticks. A line has no escaped ones.
fn in_backticks(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_relative_link_leads_to_a_file_and_to_a_heading_in_it() {
    let mut links = 0;
    for page in pages() {
        for line in outside_code(&read(&page)).lines() {
            for rest in line.split("](").skip(1) {
                let target = rest.split([')', ' ']).next().unwrap();
                // rustdoc follows those into the code.
                let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
                if is_elsewhere || target.starts_with("crate::") {
                    continue;
                }
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let file = match file {
                    "" => page.clone(),
                    _ => page.parent().unwrap().join(file),
                };
                assert!(root().join(&file).exists(), "{}: {target}", page.display());
                let is_there = anchor.is_empty() || anchors(&read(&file)).contains(&anchor.into());
                assert!(is_there, "{}: no heading for {target}", page.display());
                links += 1;
            }
        }
    }
    assert!(links > 30, "only {links} links were found");
}

/// A path is, for example, `number7-core/src/lib.rs`: it begins with the folder of a crate.
#[test]
fn every_path_that_a_page_names_exists() {
    let mut paths = 0;
    for page in pages() {
        for line in outside_code(&read(&page)).lines() {
            for name in in_backticks(line) {
                let name = name.split("::").next().unwrap();
                let Some((folder, _)) = name.split_once('/') else { continue };
                let is_crate = root().join(folder).join("Cargo.toml").exists();
                if is_crate && !folder.is_empty() && !name.contains(char::is_whitespace) {
                    let is_there = root().join(name).exists();
                    assert!(is_there, "{}: {name} is not there", page.display());
                    paths += 1;
                }
            }
        }
    }
    assert!(paths > 30, "only {paths} paths were found");
}

/// Every Markdown file, relative to the root.
fn pages() -> Vec<PathBuf> {
    let mut folders = vec![root().to_owned()];
    let mut pages = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            if path.is_dir() && name != "target" && name != ".git" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    pages
}

/// The page without blocks of code.
fn outside_code(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

/// The names that GitHub gives the headings of a page in links.
fn anchors(page: &str) -> Vec<String> {
    let page = outside_code(page);
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let text = heading.trim_start_matches('#').trim().to_lowercase();
            let is_kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
            text.chars().filter(is_kept).collect::<String>().replace(' ', "-")
        })
        .collect()
}
