//! Sizes and durations as people read them.

/// `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

/// `2 h 5 min`, `12.3 s`, `1.5 ms`, `20 µs` or `250 ns`: two figures that matter.
pub(crate) fn seconds(value: f64) -> String {
    if value < 0.0 {
        return format!("-{}", seconds(-value));
    }
    if value < 60.0 {
        return match value {
            0.0 => "0 s".to_owned(),
            _ if value < 1e-9 => "<1 ns".to_owned(),
            // What would round up to 1000 ns is said in the larger unit.
            _ if value < 0.999_5e-6 => format!("{:.0} ns", value * 1e9),
            _ if value < 0.001 => format!("{:.1} µs", value * 1e6),
            _ if value < 1.0 => format!("{:.1} ms", value * 1e3),
            _ => format!("{value:.1} s"),
        };
    }
    // A cast to an integer saturates, so infinity does no harm.
    let whole = value as u64;
    match whole {
        0..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// At most three digits behind the point, and none that say nothing; a smaller number with its exponent.
pub(crate) fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.001 {
        return format!("{value:.1e}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A moment as RFC 3339 in UTC, with milliseconds.
pub(crate) fn utc_time(unix_milliseconds: u64) -> String {
    let (days, in_day) = (unix_milliseconds / 86_400_000, unix_milliseconds % 86_400_000);
    let (year, month, day) = civil_date(days);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, millisecond) = (in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// Year, month and day of a number of days since 1970. Years are counted from March here, so that the leap day is the last.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_BEFORE_1970: u64 = 719_468;
    const DAYS_PER_400_YEARS: u64 = 146_097;
    let days = days_since_1970 + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days / DAYS_PER_400_YEARS, days % DAYS_PER_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        assert_eq!([bytes(0), bytes(1023), bytes(1024), bytes(3 << 29)], ["0 B", "1023 B", "1.0 KiB", "1.5 GiB"]);
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn durations_are_read_at_a_glance() {
        for (value, text) in [
            (0.0, "0 s"),
            (0.000_02, "20.0 µs"),
            (1e-12, "<1 ns"),
            (0.000_000_007, "7 ns"),
            (0.000_000_25, "250 ns"),
            (0.000_000_999_9, "1.0 µs"),
            (0.0015, "1.5 ms"),
            (12.34, "12.3 s"),
            (-1.0, "-1.0 s"),
            (125.0, "2 min 5 s"),
            (7500.0, "2 h 5 min"),
            (90_000.0, "1 d 1 h"),
        ] {
            assert_eq!(seconds(value), text);
        }
        seconds(f64::INFINITY);
        seconds(f64::NAN);
    }

    #[test]
    fn numbers_carry_no_empty_digits() {
        assert_eq!([number(0.0), number(0.33333), number(12.5), number(100.0)], ["0", "0.333", "12.5", "100"]);
        assert_eq!(number(0.000_25), "2.5e-4");
    }

    #[test]
    fn moments_are_rfc_3339() {
        assert_eq!(utc_time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc_time(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(utc_time(1_767_225_599_999), "2025-12-31T23:59:59.999Z");
        utc_time(u64::MAX);
    }
}
