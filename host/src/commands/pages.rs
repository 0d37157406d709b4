//! Lists that a node answers a page at a time: for programs they are one reply again.

use crate::output::raw_json::{Members, elements};
use crate::output::{self, OutputError};

/// Most bytes of the pages of one list. One that goes on behind them is cut, and says where.
const BYTES_MAX: usize = 256 << 20;

/// The pages of a list so far.
pub(super) struct Pages {
    /// Name of the member that is the list.
    list: &'static str,
    /// Whether the entries are kept, for a program.
    json: bool,
    /// The entries, each as the node has said it.
    pub(super) entries: Vec<String>,
    /// The members of the first page, in their order.
    members: Vec<(String, String)>,
    /// The `next` of the last page.
    next: String,
    bytes: usize,
    bytes_max: usize,
}

impl Pages {
    /// No page yet, of a list in the member `list`. Entries are kept for `json` only.
    pub(super) fn new(list: &'static str, json: bool) -> Pages {
        let (entries, members, next) = (Vec::new(), Vec::new(), "null".to_owned());
        Pages { list, json, entries, members, next, bytes: 0, bytes_max: BYTES_MAX }
    }

    /// Adds the entries of the next page behind those that are there.
    pub(super) fn add(&mut self, reply: &str) {
        let page = self.read(reply);
        self.entries.extend(page);
    }

    /// Adds the entries of the next page before those that are there: of a list that comes from its end.
    pub(super) fn add_before(&mut self, reply: &str) {
        let page = self.read(reply);
        self.entries.splice(0..0, page);
    }

    fn read(&mut self, reply: &str) -> Vec<String> {
        self.bytes = self.bytes.saturating_add(reply.len());
        // Who asks has read the reply already, so it is an object.
        let Some(page) = Members::of(reply) else { return Vec::new() };
        self.next = page.get("next").unwrap_or("null").to_owned();
        if !self.json {
            return Vec::new();
        }
        let list = page.get(self.list).and_then(elements).unwrap_or_default();
        if self.members.is_empty() {
            // The list itself is put in later.
            let text = |name: &str, value: &str| if name == self.list { String::new() } else { value.to_owned() };
            let members = page.0.iter().map(|(name, value)| (name.to_string(), text(name, value.get())));
            self.members = members.collect();
        }
        list.into_iter().map(|entry| entry.get().to_owned()).collect()
    }

    /// Whether no page fits any more.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Says where a list goes on that is cut behind its entries.
    pub(super) fn cut_before(&mut self, next: &str) {
        self.next = serde_json::Value::from(next).to_string();
    }

    /// Prints them for a program: one reply, with the entries of all pages. To people it says only whether some are
    /// missing.
    pub(super) fn finish(self) -> Result<(), OutputError> {
        if self.json {
            return output::print_json(&self.text());
        }
        if self.is_full() && self.next != "null" {
            output::note("The list is too long to be shown whole; it goes on");
        }
        Ok(())
    }

    /// The one reply.
    pub(super) fn text(&self) -> String {
        let members = self.members.iter().map(|(name, value)| {
            let name_text = serde_json::Value::from(name.as_str());
            match name.as_str() {
                "next" => format!("{name_text}:{}", self.next),
                list if list == self.list => format!("{name_text}:[{}]", self.entries.join(",")),
                _ => format!("{name_text}:{value}"),
            }
        });
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"{"type":"L","next":"b","l":[{"n":1.00},{"n":"b"}],"count":3}"#;
    const LAST: &str = r#"{"type":"L","next":null,"l":[{"n":123456789012345678901234567890}],"count":4}"#;

    #[test]
    fn one_page_stays_as_it_is() {
        let mut pages = Pages::new("l", true);
        pages.add(FIRST);
        assert_eq!(pages.text(), FIRST);
        let empty = r#"{"l":[],"next":null}"#;
        let mut pages = Pages::new("l", true);
        pages.add(empty);
        assert_eq!(pages.text(), empty);
    }

    #[test]
    fn several_pages_are_one_reply() {
        let mut pages = Pages::new("l", true);
        pages.add(FIRST);
        pages.add(LAST);
        let whole =
            r#"{"type":"L","next":null,"l":[{"n":1.00},{"n":"b"},{"n":123456789012345678901234567890}],"count":3}"#;
        assert_eq!(pages.text(), whole);
        let mut pages = Pages::new("l", true);
        pages.add_before(FIRST);
        pages.add_before(LAST);
        assert!(pages.text().contains(r#""l":[{"n":123456789012345678901234567890},{"n":1.00},{"n":"b"}]"#));
    }

    #[test]
    fn a_list_without_an_end_is_cut_and_says_where() {
        let mut pages = Pages { bytes_max: FIRST.len() + 1, ..Pages::new("l", true) };
        pages.add(FIRST);
        assert!(!pages.is_full());
        pages.add(FIRST);
        assert!(pages.is_full() && pages.text().contains(r#""next":"b""#));
        pages.cut_before("a\"");
        assert!(pages.text().contains(r#""next":"a\"","#));
    }

    #[test]
    fn for_people_nothing_is_kept() {
        let mut pages = Pages::new("l", false);
        pages.add(FIRST);
        assert!(pages.entries.is_empty() && pages.members.is_empty());
    }
}
