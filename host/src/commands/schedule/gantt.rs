//! A Gantt chart as text: a line for each slot, and the times below.

use potluck_sdk::message::scheduler::Schedule;

/// A slot that nobody has.
const IDLE: char = '.';
/// A slot that somebody still has.
const BUSY: char = '=';

/// The lines of a chart that is `width` characters wide.
pub(super) fn lines(schedule: &Schedule, slots: usize, width: usize) -> Vec<String> {
    let width = width.max(10);
    if schedule.end_ms <= 0.0 {
        return Vec::new();
    }
    let column = |millis: f64| ((millis / schedule.end_ms * width as f64).round() as usize).min(width);
    let mut lines = Vec::with_capacity(slots + 1);
    for slot in 0..slots {
        let mut cells = vec![IDLE; width];
        for segment in schedule.segments.iter().filter(|segment| segment.slot == slot) {
            let from = column(segment.from_ms).min(width - 1);
            // Even the shortest is seen, unless the next one covers it.
            let to = column(segment.to_ms).max(from + 1);
            label(&mut cells[from..to], &segment.name);
        }
        lines.push(cells.into_iter().chain(['|']).collect());
    }
    lines.push(times(schedule, width, column));
    lines
}

/// Writes a name into the cells of a segment: as much of its end as fits.
fn label(cells: &mut [char], name: &str) {
    let name: Vec<char> = name.chars().collect();
    cells.fill(BUSY);
    let is_bordered = cells.len() > 1;
    if is_bordered {
        cells[0] = '|';
    }
    let room = &mut cells[usize::from(is_bordered)..];
    let shown = &name[name.len().saturating_sub(room.len())..];
    for (cell, letter) in room.iter_mut().zip(shown) {
        *cell = *letter;
    }
}

/// The times at which something changes, as far as they fit.
fn times(schedule: &Schedule, width: usize, column: impl Fn(f64) -> usize) -> String {
    let mut marks: Vec<f64> =
        schedule.segments.iter().flat_map(|segment| [segment.from_ms, segment.to_ms]).chain([0.0]).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    let end = short(schedule.end_ms);
    // The end is always told.
    let room = width.saturating_sub(end.len() / 2);
    let mut line = String::new();
    for mark in marks {
        let text = short(mark);
        let at = column(mark);
        let is_free = at >= line.len() + usize::from(!line.is_empty()) && at + text.len() < room;
        if is_free && mark < schedule.end_ms {
            line.extend(std::iter::repeat_n(' ', at - line.len()));
            line += &text;
        }
    }
    line.extend(std::iter::repeat_n(' ', room.saturating_sub(line.len())));
    line + &end
}

/// Milliseconds, without digits that nobody can see in a chart.
fn short(millis: f64) -> String {
    if millis >= 100.0 || millis.fract() == 0.0 { format!("{millis:.0}") } else { format!("{millis:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_sdk::message::scheduler::Segment;

    fn schedule(segments: &[(usize, &str, f64, f64)]) -> Schedule {
        let segment = |&(slot, name, from_ms, to_ms): &(usize, &str, f64, f64)| Segment {
            slot,
            name: name.to_owned(),
            from_ms,
            to_ms,
        };
        let end_ms = segments.iter().map(|segment| segment.3).fold(0.0, f64::max);
        Schedule { segments: segments.iter().map(segment).collect(), end_ms, ..Schedule::default() }
    }

    #[test]
    fn segments_are_as_long_as_they_take() {
        let schedule = schedule(&[(0, "P1", 0.0, 24.0), (0, "P2", 24.0, 27.0), (0, "P3", 27.0, 30.0)]);
        assert_eq!(
            lines(&schedule, 1, 60),
            [
                "|P1=============================================|P2===|P3===|",
                "0                                               24    27   30",
            ]
        );
    }

    #[test]
    fn each_slot_has_a_line_and_idles_visibly() {
        let schedule = schedule(&[(0, "A", 0.0, 10.0), (1, "B", 5.0, 10.0)]);
        assert_eq!(
            lines(&schedule, 2, 20),
            ["|A==================|", "..........|B========|", "0         5        10"]
        );
    }

    #[test]
    fn short_segments_show_the_end_of_their_name_and_nothing_overflows() {
        let segments: Vec<_> = (0..50).map(|index| (0, "P7", f64::from(index), f64::from(index + 1))).collect();
        for width in [1, 10, 20, 49, 80] {
            let lines = lines(&schedule(&segments), 1, width);
            assert_eq!(lines[0].chars().count(), width.max(10) + 1);
            assert!(lines[1].chars().count() <= width.max(10) + 1, "{lines:?}");
            assert!(lines[0].contains('7'));
        }
        assert!(lines(&Schedule::default(), 1, 80).is_empty());
    }
}
