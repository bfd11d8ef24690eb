//! Moments as JavaScript writes them in JSON. Pure.

/// Milliseconds before and after 1970 that JavaScript has dates for.
const FARTHEST: i64 = 8_640_000_000_000_000;

const DAY: i64 = 86_400_000;

/// A moment, in milliseconds since 1970; `None` = beyond the calendar.
pub(super) fn iso(moment: i64) -> Option<String> {
    if !(-FARTHEST..=FARTHEST).contains(&moment) {
        return None;
    }
    let (year, month, day) = date(moment.div_euclid(DAY));
    let rest = moment.rem_euclid(DAY);
    let (seconds, millis) = (rest / 1000, rest % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    Some(format!(
        "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
    ))
}

/// Year, month and day of a day since 1970, in the Gregorian calendar before its beginning, too. Years are taken to begin in
/// March, so that the day that some of them have is their last.
fn date(day: i64) -> (i64, i64, i64) {
    const UNTIL_1970: i64 = 719_468;
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let day = day + UNTIL_1970;
    let (era, day) = (
        day.div_euclid(DAYS_OF_400_YEARS),
        day.rem_euclid(DAYS_OF_400_YEARS),
    );
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, is_next) = match month {
        0..=9 => (month + 3, 0),
        _ => (month - 9, 1),
    };
    (year + 400 * era + is_next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Node.js prints them.
    #[test]
    fn moments() {
        for (moment, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_785_000_000_123, "2026-07-25T17:20:00.123Z"),
            (-62_135_596_800_001, "0000-12-31T23:59:59.999Z"),
            (-62_167_219_200_001, "-000001-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
            (FARTHEST, "+275760-09-13T00:00:00.000Z"),
            (-FARTHEST, "-271821-04-20T00:00:00.000Z"),
        ] {
            assert_eq!(iso(moment).as_deref(), Some(text));
        }
        for moment in [FARTHEST + 1, -FARTHEST - 1, i64::MAX, i64::MIN] {
            assert_eq!(iso(moment), None);
        }
    }
}
