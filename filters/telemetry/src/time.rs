//! Points in time as text, in UTC.
//!
//! **Invariant:** no leap seconds and no time zones; both are the readers'.

use std::{fmt, time::Duration};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A point in time, by calendar and clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Utc {
    year: u64,
    month: u64,
    day: u64,
    second_of_day: u64,
    millis: u32,
}

impl Utc {
    /// The time since the Unix epoch.
    pub(crate) fn since_epoch(time: Duration) -> Self {
        let (year, month, day) = date(time.as_secs() / 86_400);
        Self { year, month, day, second_of_day: time.as_secs() % 86_400, millis: time.subsec_millis() }
    }

    /// As in `2026-01-31T23:59:59.999Z` (RFC 3339).
    pub(crate) fn rfc3339(self) -> impl fmt::Display {
        let (hour, minute, second) = self.clock();
        let Self { year, month, day, millis, .. } = self;
        fmt::from_fn(move |f| write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"))
    }

    /// As in `31/Jan/2026:23:59:59 +0000` (common log format).
    pub(crate) fn common(self) -> impl fmt::Display {
        let (hour, minute, second) = self.clock();
        let month = MONTHS[(self.month - 1) as usize];
        fmt::from_fn(move |f| {
            write!(f, "{:02}/{month}/{:04}:{hour:02}:{minute:02}:{second:02} +0000", self.day, self.year)
        })
    }

    fn clock(self) -> (u64, u64, u64) {
        (self.second_of_day / 3600, self.second_of_day / 60 % 60, self.second_of_day % 60)
    }
}

/// Year, month and day of a day since the Unix epoch: Howard Hinnant's `civil_from_days`, for days from 1970 on.
///
/// Years begin in March, so that a leap day is the last of its year; 400 years are an era of always the same length.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_FROM_MARCH_0000: u64 = 719_468;
    const DAYS_OF_ERA: u64 = 146_097;
    let days = days + DAYS_FROM_MARCH_0000;
    let (era, day_of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
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
    fn dates_are_those_of_the_calendar() {
        // From `date -u -d @SECONDS`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Utc::since_epoch(Duration::from_secs(seconds)).rfc3339().to_string(), expected);
        }
        let time = Utc::since_epoch(Duration::from_millis(1_709_251_199_007));
        assert_eq!(time.rfc3339().to_string(), "2024-02-29T23:59:59.007Z");
        assert_eq!(time.common().to_string(), "29/Feb/2024:23:59:59 +0000");
    }
}
