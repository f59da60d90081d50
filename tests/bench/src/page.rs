//! The page `docs/performance.md`. The output of each group stands between two markers of its own.

use std::{fs, io, path::Path};

use crate::{
    report::{Group, Report},
    setting,
};

/// Returns the section of a group: its setting and its report.
pub fn section(group: &Group, report: &Report) -> String {
    format!("{}\n\n{}\n", setting::line(group.crates), report.markdown())
}

/// Replaces the section of a group in the page, and writes its plots.
///
/// The plots are in a folder beside the page.
pub fn write(docs: &Path, group: &Group, report: &Report) -> io::Result<()> {
    let page = docs.join("performance.md");
    let text = fs::read_to_string(&page)?;
    let text = replaced(&text, group.name, &section(group, report))
        .ok_or_else(|| io::Error::other(format!("the page has no `{}`", begin(group.name).trim())))?;
    fs::write(page, text)?;
    fs::create_dir_all(docs.join("performance"))?;
    for plot in report.plots() {
        fs::write(docs.join(format!("performance/{}.svg", plot.name())), plot.svg())?;
    }
    Ok(())
}

fn replaced(page: &str, group: &str, section: &str) -> Option<String> {
    let (begin, end) = (begin(group), end(group));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{section}{end}{after}"))
}

fn begin(group: &str) -> String {
    format!("<!-- {group}: written by the benchmark -->\n")
}

fn end(group: &str) -> String {
    format!("<!-- the end of {group} -->\n")
}

#[cfg(test)]
mod tests {
    use super::{begin, end, replaced};

    #[test]
    fn page_write_replaces_only_the_group_section() {
        let page = |section: &str| format!("# Page\n\n{}{section}{}after\n", begin("hits"), end("hits"));
        assert_eq!(replaced(&page("old\n"), "hits", "new\n"), Some(page("new\n")));
        assert_eq!(replaced(&page("old\n"), "tags", "new\n"), None);
    }
}
