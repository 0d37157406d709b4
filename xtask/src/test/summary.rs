//! How many tests ran, as test runners say it.

use std::fmt;
use std::ops::AddAssign;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// What a line adds: one of nextest's or of the standard test harness's summaries, or nothing.
pub(super) fn read(line: &str) -> Tally {
    let line = without_colours(line);
    let line = line.trim();
    let counts = if line.starts_with("Summary [") {
        line.split_once(" run: ").map(|(_, counts)| counts)
    } else {
        line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")).map(|(_, counts)| counts)
    };
    let mut tally = Tally::default();
    // "3 passed (1 slow), 1 failed, 2 timed out" and "3 passed; 1 failed; 0 ignored".
    for count in counts.unwrap_or_default().split([',', ';']) {
        let mut words = count.split_whitespace();
        let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else { continue };
        match words.next() {
            Some("passed") => tally.passed += number,
            // "timed out" and "exec failed" are failures as well.
            Some("failed" | "timed" | "exec") => tally.failed += number,
            _ => {}
        }
    }
    tally
}

/// The text without the escape sequences that colour it.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, sequence)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = sequence.trim_start_matches(|character: char| !character.is_ascii_alphabetic());
        rest = rest.get(1..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_nextest_are_read() {
        for (line, passed, failed) in [
            ("     Summary [   0.004s] 1 test run: 1 passed, 0 skipped\n", 1, 0),
            ("     Summary [   3.1s] 45 tests run: 45 passed (2 slow), 3 skipped", 45, 0),
            ("     Summary [   3.1s] 20/45 tests run: 18 passed, 1 failed, 1 timed out, 3 skipped", 18, 2),
            (
                "\u{1b}[32;1m     Summary\u{1b}[0m [   1.0s] \u{1b}[1m7\u{1b}[0m tests run: \u{1b}[1m7\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, \u{1b}[1m0\u{1b}[0m skipped",
                7,
                0,
            ),
        ] {
            assert_eq!(read(line), Tally { passed, failed }, "{line}");
        }
    }

    #[test]
    fn summaries_of_the_standard_harness_are_read() {
        let line = "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(read(line), Tally { passed: 5, failed: 0 });
        assert_eq!(read("test result: FAILED. 4 passed; 1 failed; 0 ignored"), Tally { passed: 4, failed: 1 });
    }

    #[test]
    fn other_lines_add_nothing() {
        for line in ["", "running 5 tests", "        PASS [   0.1s] suite a_test", "1 passed, 2 failed"] {
            assert_eq!(read(line), Tally::default(), "{line}");
        }
    }

    #[test]
    fn the_last_line_is_what_a_program_looks_for() {
        let mut tally = Tally { passed: 40, failed: 0 };
        tally += Tally { passed: 2, failed: 0 };
        assert_eq!(tally.to_string(), "42 passed, 0 failed");
    }
}
