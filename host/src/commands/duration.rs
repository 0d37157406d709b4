//! Durations on the command line, such as `30m` or `7d`.

/// A duration in seconds: a whole number and its unit. Without a unit, 24 could be seconds or hours.
pub(crate) fn duration_seconds(text: &str) -> Result<u64, String> {
    let mistake = || format!("{text:?} is no duration; write a number and its unit, such as 90s, 30m, 24h or 7d");
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(mistake)?;
    let (number, unit) = text.split_at(digits_end);
    let number: u64 = number.parse().map_err(|_| mistake())?;
    let unit_seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(mistake()),
    };
    match number.checked_mul(unit_seconds) {
        Some(0) => Err("a duration of nothing is of no use; write at least 1s".to_owned()),
        Some(seconds) => Ok(seconds),
        None => Err(mistake()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_its_unit() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600)] {
            assert_eq!(duration_seconds(text), Ok(seconds), "{text}");
        }
        for text in [
            "",
            "24",
            "h",
            "-1h",
            "1.5h",
            "1h30m",
            "1 h",
            "1H",
            "0d",
            "18446744073709551615d",
            "99999999999999999999s",
            "１h",
        ] {
            assert!(duration_seconds(text).is_err(), "{text}");
        }
    }
}
