//! `potluck status`.
//!
//! Providers add members to the STATUS reply that this program has never heard of. So nothing here knows their names:
//! every object becomes a section, every list of objects a table.

use super::session::Session;
use crate::output::raw_json::{Members, elements, string};
use crate::output::table::Table;
use crate::output::{self, one_line, python_text, shorten, units};
use potluck_sdk::message::RawValue;
use std::process::ExitCode;

/// Objects within objects are told apart by their path down to this depth; what is deeper is shown as JSON.
const DEPTH_MAX: usize = 6;
/// Longest value in a section, in characters.
const VALUE_CHARACTERS_MAX: usize = 120;

/// Asks for the node's status and prints it.
pub(super) async fn run(session: &Session) -> anyhow::Result<ExitCode> {
    let reply = session.ask_json(r#"{"type":"STATUS"}"#).await?;
    if session.json {
        output::print_json(&reply.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (index, section) in sections(&reply.json).into_iter().enumerate() {
        if index > 0 {
            output::print_line("")?;
        }
        section.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A title, and below it values with their names, then tables.
#[derive(Debug, Default, PartialEq)]
struct Section {
    title: String,
    rows: Vec<(String, String)>,
    lists: Vec<List>,
}

/// A list of objects.
#[derive(Debug, PartialEq)]
struct List {
    name: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn sections(json: &str) -> Vec<Section> {
    // What stands beside the sections is about the node itself.
    let mut node = Section { title: "node".to_owned(), ..Section::default() };
    let mut others = Vec::new();
    for (name, value) in Members::of(json).map(|members| members.0).unwrap_or_default() {
        let is_structure = value.get().starts_with(['{', '[']);
        if is_structure {
            let mut section = Section { title: words(&name), ..Section::default() };
            section.add("", &name, value, 1);
            others.push(section);
        } else if !["type", "status", "id"].contains(&name.as_ref()) {
            node.add(&words(&name), &name, value, 0);
        }
    }
    others.insert(0, node);
    others
}

impl Section {
    /// Adds a value. `label` is what the row is called, `name` is the member's own name, which tells its unit.
    fn add(&mut self, label: &str, name: &str, value: &RawValue, depth: usize) {
        let text = value.get();
        if depth > DEPTH_MAX {
            self.rows.push((label.to_owned(), short(&one_line(text))));
        } else if let Some(members) = Members::of(text) {
            if members.0.is_empty() {
                self.rows.push((label.to_owned(), "none".to_owned()));
            }
            for (member, inner) in &members.0 {
                let label = if label.is_empty() { words(member) } else { format!("{label} / {}", words(member)) };
                self.add(&label, member, inner, depth + 1);
            }
        } else if let Some(items) = elements(text) {
            self.add_list(label, name, &items);
        } else {
            self.rows.push((label.to_owned(), scalar(name, value)));
        }
    }

    fn add_list(&mut self, label: &str, name: &str, items: &[&RawValue]) {
        let objects: Option<Vec<Members<'_>>> = items.iter().map(|item| Members::of(item.get())).collect();
        match objects {
            Some(objects) if !objects.is_empty() => self.lists.push(List::of(label, &objects)),
            _ if items.is_empty() => self.rows.push((label.to_owned(), "none".to_owned())),
            _ => {
                let texts: Vec<String> = items.iter().map(|item| scalar(name, item)).collect();
                self.rows.push((label.to_owned(), short(&texts.join(", "))));
            }
        }
    }

    fn print(self) -> anyhow::Result<()> {
        output::print_line(&output::printable(&self.title))?;
        if !self.rows.is_empty() {
            let mut table = Table::new::<&str>(&[]);
            for (name, value) in self.rows {
                table.row([name, value]);
            }
            table.print("  ")?;
        }
        for list in self.lists {
            if !list.name.is_empty() {
                output::print_line(&output::printable(&format!("  {}", list.name)))?;
            }
            let mut table = Table::new(&list.columns);
            for row in list.rows {
                table.row(row);
            }
            table.print("  ")?;
        }
        Ok(())
    }
}

impl List {
    /// The columns are all names that occur, in the order of their first use.
    fn of(name: &str, objects: &[Members<'_>]) -> List {
        let mut names: Vec<&str> = Vec::new();
        for (member, _) in objects.iter().flat_map(|object| &object.0) {
            if !names.contains(&member.as_ref()) {
                names.push(member);
            }
        }
        let cell = |object: &Members<'_>, name: &str| {
            let value = object.0.iter().find(|(member, _)| member == name);
            value.map_or_else(String::new, |(_, value)| scalar(name, value))
        };
        List {
            name: name.to_owned(),
            columns: names.iter().map(|name| words(name).to_uppercase()).collect(),
            rows: objects.iter().map(|object| names.iter().map(|name| cell(object, name)).collect()).collect(),
        }
    }
}

/// `queue_size` as `queue size`. A unit that stands beside the value need not stand in the name.
fn words(name: &str) -> String {
    let units = ["_bytes", "_seconds", "_milliseconds", "_microseconds"];
    units.iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name).replace('_', " ")
}

fn short(text: &str) -> String {
    shorten(text, VALUE_CHARACTERS_MAX).into_owned()
}

/// A value in one line. The end of its name tells the unit, as everywhere in the messages.
fn scalar(name: &str, value: &RawValue) -> String {
    let text = value.get();
    if let Some(text) = string(text) {
        return short(&text);
    }
    match text {
        "true" => return "yes".to_owned(),
        "false" => return "no".to_owned(),
        "null" => return "-".to_owned(),
        _ => {}
    }
    // The unit may be followed by a qualifier, as in `bytes_max`.
    let has_unit = |unit: &str| name.split('_').any(|word| word == unit);
    if let (true, Ok(count)) = (has_unit("bytes"), text.parse()) {
        return units::bytes(count);
    }
    let is_integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    match text.parse::<f64>() {
        Ok(number) if has_unit("microseconds") => units::seconds(number / 1e6),
        Ok(number) if has_unit("milliseconds") => units::seconds(number / 1e3),
        // Times have no unit in the names of the original protocol; they are in seconds.
        Ok(number) if has_unit("seconds") || name.ends_with("_time") => units::seconds(number),
        Ok(number) if !is_integer => units::number(number),
        _ => short(&python_text::repr_text(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn providers_that_nobody_knows_show_up() {
        let json = r#"{"type":"STATUS","status":"OK","peer_port":9000,"tracker_address":null,"uptime_seconds":7500.5,
            "oven":{"temperature_limit":250,"trays":{"top":{"used":true},"low":{}},"names":["a","b"],"size_bytes":2048,"bytes_max":1024,
                    "share":0.33333,"big":123456789012345678901234567890}}"#;
        let sections = sections(json);
        assert_eq!(sections[0].title, "node");
        assert_eq!(
            sections[0].rows,
            [row("peer port", "9000"), row("tracker address", "-"), row("uptime", "2 h 5 min")]
        );
        assert_eq!(sections[1].title, "oven");
        assert_eq!(
            sections[1].rows,
            [
                row("temperature limit", "250"),
                row("trays / top / used", "yes"),
                row("trays / low", "none"),
                row("names", "a, b"),
                row("size", "2.0 KiB"),
                row("bytes max", "1.0 KiB"),
                row("share", "0.333"),
                row("big", "123456789012345678901234567890"),
            ]
        );
    }

    #[test]
    fn a_list_of_objects_is_a_table() {
        let json = r#"{"peers":[{"ip":"127.0.0.1","port":9000},{"ip":"::1","cpu_load":0.5}]}"#;
        let sections = sections(json);
        assert_eq!(sections[1].title, "peers");
        let list = &sections[1].lists[0];
        assert_eq!(list.columns, ["IP", "PORT", "CPU LOAD"]);
        assert_eq!(list.rows, [["127.0.0.1", "9000", ""], ["::1", "", "0.5"]]);
    }

    #[test]
    fn depth_is_bounded() {
        let json = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        let sections = sections(&json);
        assert_eq!(sections[1].rows.len(), 1);
        assert!(sections[1].rows[0].1.starts_with('{'));
    }
}
