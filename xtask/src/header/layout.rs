//! Comments that keep within the page after their names have become longer.

const WIDTH: usize = 120;

/// The lines of one `///` comment, set anew when one of them has become too long.
pub(super) fn comment(lines: &[String]) -> Vec<String> {
    let Some(first) = lines.first().filter(|_| lines.iter().any(|line| line.chars().count() > WIDTH)) else {
        return lines.to_vec();
    };
    let margin = &first[..first.len() - first.trim_start().len()];
    let text: Vec<String> = lines.iter().map(|line| line.trim_start().trim_start_matches('/').to_owned()).collect();
    flowed(&text, &format!("{margin}///"))
}

/// Text in lines that begin with `prefix`. Paragraphs are filled; headings, list entries and empty lines stay alone.
pub(super) fn flowed(text: &[String], prefix: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut is_open = false;
    for source in text {
        let is_alone = source.trim().is_empty()
            || source.starts_with(" #")
            || source.starts_with(" -")
            || source.starts_with("   ");
        if is_alone {
            lines.push(format!("{prefix}{source}").trim_end().to_owned());
            is_open = false;
            continue;
        }
        for word in source.split_whitespace() {
            match lines.last_mut() {
                Some(line) if is_open && line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(format!("{prefix} {word}")),
            }
            is_open = true;
        }
    }
    lines
}

/// Text whose tables have become lists: an entry a row, with the titles of the columns in front of the cells.
pub(super) fn tables_as_lists(text: Vec<String>) -> Vec<String> {
    let mut lines = Vec::with_capacity(text.len());
    let mut titles: Option<Vec<String>> = None;
    for line in text {
        let Some(row) = line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            titles = None;
            lines.push(line);
            continue;
        };
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
        match &titles {
            None => titles = Some(cells),
            Some(_) if cells.iter().all(|cell| cell.starts_with("--")) => {}
            Some(titles) => {
                lines.extend(cells.first().map(|first| format!(" - {first}")));
                let rest = titles.iter().zip(&cells).skip(1);
                lines.extend(rest.map(|(title, cell)| format!("     {title}: {cell}")));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn only_a_comment_that_is_too_long_is_set_anew() {
        let short = lines("    /// One\n    /// two.");
        assert_eq!(comment(&short), short);
        let long = lines(&format!("    /// One {} end\n    /// of it.", "word ".repeat(22).trim_end()));
        let set = comment(&long);
        assert_eq!(set.len(), 2);
        assert!(set[0].chars().count() <= WIDTH && set[0].starts_with("    /// One word"), "{set:?}");
        assert!(set[1].ends_with("end of it."), "{set:?}");
    }

    #[test]
    fn headings_and_empty_lines_stay_alone() {
        let text = lines(" a\n b\n\n # Title\n c");
        assert_eq!(flowed(&text, " *"), [" * a b", " *", " * # Title", " * c"]);
    }

    #[test]
    fn tables_become_lists() {
        let text = lines(" before\n | item | owner |\n |---|---|\n | `Call` | host |\n after");
        assert_eq!(tables_as_lists(text), [" before", " - `Call`", "     owner: host", " after"]);
    }
}
