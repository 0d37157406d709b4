//! Figures, the budgets that they have to keep, and how both are shown.

use crate::samples::Pairs;
use std::fmt::{self, Display, Formatter};

/// What a benchmark found.
pub(crate) struct Report {
    /// Name of the benchmark.
    pub(crate) name: &'static str,
    /// What was measured, in one line.
    pub(crate) title: String,
    /// Head of the column for what the node is compared with; empty when it is compared with nothing.
    pub(crate) competitor: String,
    pub(crate) figures: Vec<Figure>,
    /// What a reader must know beside the figures.
    pub(crate) notes: Vec<String>,
}

/// One line of a report.
pub(crate) struct Figure {
    name: String,
    unit: Unit,
    /// Nothing when it could not be measured.
    value: Option<f64>,
    beside: Option<f64>,
    ratio: Option<f64>,
    budget: Option<Budget>,
    /// Why it is missing.
    remark: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    PerSecond,
    Mebibytes,
    /// 10^6 bytes, as disks and networks are sold.
    MegabytesPerSecond,
    Percent,
    Count,
}

/// What a figure has to keep.
#[derive(Clone, Copy)]
pub(crate) enum Budget {
    ValueBelow(f64),
    ValueAbove(f64),
    ValueAtMost(f64),
    RatioBelow(f64),
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: Unit, value: f64) -> Figure {
        Figure {
            name: name.into(),
            unit,
            value: Some(value),
            beside: None,
            ratio: None,
            budget: None,
            remark: String::new(),
        }
    }

    /// A line for what could not be measured, and why.
    pub(crate) fn missing(name: impl Into<String>, remark: impl Into<String>) -> Figure {
        Figure { value: None, remark: remark.into(), ..Figure::new(name, Unit::Count, 0.0) }
    }

    /// What the competitor achieved, and the ratio of the node's figure to it.
    pub(crate) fn beside(mut self, value: f64, ratio: f64) -> Figure {
        self.beside = Some(value);
        self.ratio = Some(ratio);
        self
    }

    /// Without the competitor, which was not there.
    pub(crate) fn alone(mut self) -> Figure {
        (self.beside, self.ratio) = (None, None);
        self
    }

    pub(crate) fn budget(mut self, budget: Budget) -> Figure {
        self.budget = Some(budget);
        self
    }

    /// Says why something of it is missing.
    pub(crate) fn remark(mut self, remark: impl Into<String>) -> Figure {
        self.remark = remark.into();
        self
    }

    fn judge(&self) -> Verdict {
        let Some(budget) = self.budget else { return Verdict::None };
        let judged = match budget {
            Budget::ValueBelow(_) | Budget::ValueAbove(_) | Budget::ValueAtMost(_) => self.value,
            Budget::RatioBelow(_) | Budget::RatioAtMost(_) | Budget::RatioAtLeast(_) => self.ratio,
        };
        match judged {
            None => Verdict::Unknown,
            Some(judged) if budget.is_kept_by(judged) => Verdict::Kept,
            Some(judged) => Verdict::Missed(format!("{} {}", self.show_judged(judged), budget.shortfall(judged))),
        }
    }

    fn show_judged(&self, judged: f64) -> String {
        match self.budget {
            Some(Budget::RatioBelow(_) | Budget::RatioAtMost(_) | Budget::RatioAtLeast(_)) => {
                format!("ratio {judged:.2}")
            }
            _ => self.unit.show(judged),
        }
    }

    fn show_budget(&self) -> String {
        match self.budget {
            None => String::new(),
            Some(Budget::ValueBelow(limit)) => format!("< {}", self.unit.show(limit)),
            Some(Budget::ValueAbove(limit)) => format!("> {}", self.unit.show(limit)),
            Some(Budget::ValueAtMost(limit)) => format!("<= {}", self.unit.show(limit)),
            Some(Budget::RatioBelow(limit)) => format!("ratio < {limit:.2}"),
            Some(Budget::RatioAtMost(limit)) => format!("ratio <= {limit:.2}"),
            Some(Budget::RatioAtLeast(limit)) => format!("ratio >= {limit:.2}"),
        }
    }

    fn cells(&self) -> [String; COLUMNS] {
        [
            self.name.clone(),
            self.value.map_or_else(|| "-".to_owned(), |value| self.unit.show(value)),
            self.beside.map(|value| self.unit.show(value)).unwrap_or_default(),
            self.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            self.show_budget(),
            if self.remark.is_empty() { self.judge().word().to_owned() } else { self.remark.clone() },
        ]
    }
}

enum Verdict {
    /// There is no budget.
    None,
    Kept,
    /// By how much.
    Missed(String),
    /// What the figure had to be compared with was not there.
    Unknown,
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Verdict::None => "",
            Verdict::Kept => "ok",
            Verdict::Missed(_) => "missed",
            Verdict::Unknown => "not compared",
        }
    }
}

impl Budget {
    fn limit(self) -> f64 {
        let (Budget::ValueBelow(limit)
        | Budget::ValueAbove(limit)
        | Budget::ValueAtMost(limit)
        | Budget::RatioBelow(limit)
        | Budget::RatioAtMost(limit)
        | Budget::RatioAtLeast(limit)) = self;
        limit
    }

    fn is_kept_by(self, judged: f64) -> bool {
        match self {
            Budget::ValueBelow(limit) | Budget::RatioBelow(limit) => judged < limit,
            Budget::ValueAbove(limit) => judged > limit,
            Budget::ValueAtMost(limit) | Budget::RatioAtMost(limit) => judged <= limit,
            Budget::RatioAtLeast(limit) => judged >= limit,
        }
    }

    fn shortfall(self, judged: f64) -> String {
        let limit = self.limit();
        if limit == 0.0 {
            return "instead of none".to_owned();
        }
        let percent = 100.0 * (judged / limit - 1.0).abs();
        let side = if judged > limit { "over" } else { "under" };
        format!("is {percent:.0} % {side} the budget")
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds => format!("{value:.0} ns"),
            Unit::Microseconds => format!("{value:.0} us"),
            Unit::Milliseconds => format!("{value:.1} ms"),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::PerSecond => format!("{} /s", with_commas(value)),
            Unit::MegabytesPerSecond => format!("{value:.1} MB/s"),
            Unit::Mebibytes => format!("{value:.1} MiB"),
            Unit::Percent => format!("{value:.1} %"),
            Unit::Count => with_commas(value),
        }
    }
}

fn with_commas(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Report {
    /// The budgets that were missed, a line each.
    pub(crate) fn missed(&self) -> Vec<String> {
        let line = |figure: &Figure| match figure.judge() {
            Verdict::Missed(by) => Some(format!("{}: {}: {by}", self.name, figure.name)),
            _ => None,
        };
        self.figures.iter().filter_map(line).collect()
    }

    fn summary(&self) -> String {
        let missed = self.missed();
        if !missed.is_empty() {
            return format!("MISSED  {}", missed.join("; "));
        }
        let unknown = self.figures.iter().filter(|figure| matches!(figure.judge(), Verdict::Unknown)).count();
        match (unknown, self.figures.iter().filter(|figure| figure.budget.is_some()).count()) {
            (_, 0) => format!("OK  {}: measured; there is no budget for it", self.name),
            (0, 1) => format!("OK  {}: the budget is kept", self.name),
            (0, budgets) => format!("OK  {}: all {budgets} budgets kept", self.name),
            (unknown, budgets) => format!("OPEN  {}: {unknown} of {budgets} budgets were not compared", self.name),
        }
    }
}

/// Lines that grow by a pair of values a round.
#[derive(Default)]
pub(crate) struct Table(Vec<(String, Unit, Pairs)>);

impl Table {
    pub(crate) fn put(&mut self, name: impl Into<String>, unit: Unit, ours: f64, theirs: f64) {
        let name = name.into();
        let index = self.0.iter().position(|(known, ..)| *known == name).unwrap_or_else(|| {
            self.0.push((name, unit, Pairs::default()));
            self.0.len() - 1
        });
        self.0[index].2.push(ours, theirs);
    }

    /// The medians, and the budgets of some of them by name.
    pub(crate) fn figures(&self, budgets: &[(&str, Budget)]) -> Vec<Figure> {
        let figure = |(name, unit, pairs): &(String, Unit, Pairs)| {
            let figure = Figure::new(name, *unit, pairs.ours()).beside(pairs.theirs(), pairs.ratio());
            match budgets.iter().find(|(of, _)| of == name) {
                Some((_, budget)) => figure.budget(*budget),
                None => figure,
            }
        };
        self.0.iter().map(figure).collect()
    }
}

const COLUMNS: usize = 6;

impl Display for Report {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}: {}", self.name, self.title)?;
        let ratio = if self.competitor.is_empty() { "" } else { "ratio" };
        let mut rows = vec![["", "potluck", &self.competitor, ratio, "budget", ""].map(str::to_owned)];
        rows.extend(self.figures.iter().map(Figure::cells));
        let mut widths = [0; COLUMNS];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.len().max(*width);
            }
        }
        for row in &rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate().filter(|(_, (_, width))| *width > 0) {
                // Names to the left, numbers to the right, words about them to the left.
                line +=
                    &if (1..4).contains(&column) { format!("  {cell:>width$}") } else { format!("  {cell:<width$}") };
            }
            writeln!(formatter, "{}", line.trim_end())?;
        }
        for note in &self.notes {
            writeln!(formatter, "  {note}")?;
        }
        formatter.write_str(&self.summary())
    }
}
