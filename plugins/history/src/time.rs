//! Points in time, as messages and people write them.

use crate::error::HistoryError;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use potluck_sdk::message::history::PointInTime;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// ISO 8601 with microseconds and no zone, as the original system writes it.
pub(crate) fn local_time(unix_ms: u64) -> String {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok())
        .map(|time| time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string())
        .unwrap_or_default()
}

/// Milliseconds since 1970; 0 for anything before.
pub(crate) fn point(time: &PointInTime) -> Result<u64, HistoryError> {
    match time {
        PointInTime::UnixSeconds(seconds) if seconds.is_finite() => Ok((seconds * 1000.0).max(0.0) as u64),
        PointInTime::UnixSeconds(seconds) => Err(HistoryError::Time(seconds.to_string())),
        PointInTime::Text(text) => {
            let with_zone = text.parse::<Timestamp>().ok();
            let time = with_zone.or_else(|| {
                let local = text.parse::<DateTime>().ok()?;
                local.to_zoned_datetime(TimeZone::system()).ok().map(|zoned| zoned.timestamp())
            });
            let time = time.ok_or_else(|| HistoryError::Time(text.clone()))?;
            Ok(u64::try_from(time.as_millisecond()).unwrap_or(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Result<u64, String> {
        point(&PointInTime::Text(text.to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_can_be_read() {
        let now = 1_767_323_045_678;
        assert_eq!(text(&local_time(now)), Ok(now));
        assert_eq!(text("2026-01-02T03:04:05.678Z"), Ok(now));
        assert_eq!(text("2026-01-02T04:04:05.678+01:00"), Ok(now));
        assert_eq!(text("2026-01-02"), text("2026-01-02T00:00:00"));
        assert_eq!(point(&PointInTime::UnixSeconds(1.5)).unwrap(), 1500);
        assert_eq!(point(&PointInTime::UnixSeconds(-1.5)).unwrap(), 0);
        assert_eq!(text("1960-01-01"), Ok(0));
        for wrong in ["", "yesterday", "2026-13-01", "12:00"] {
            assert!(text(wrong).is_err(), "{wrong:?}");
        }
        assert!(point(&PointInTime::UnixSeconds(f64::NAN)).is_err());
    }
}
