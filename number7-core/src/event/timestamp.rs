use std::{
    cmp::Ordering,
    error::Error,
    fmt,
    hash::{Hash, Hasher},
    str::{self, FromStr},
    time::SystemTime,
};

/// The longest text that is kept as it was sent. Nanoseconds and an offset take 35 bytes. The room for more costs nothing,
/// because a [`Timestamp`] would be as large without it.
const MAX_LEN: usize = "2026-04-22T10:00:00.000000000000000000Z".len();

/// How many digits of a fraction of a second an instant keeps.
const NANOSECONDS: usize = 9;

/// An instant, to the nanosecond, with the text that was sent.
///
/// RFC 3339 allows any number of digits in a fraction of a second. Digits after the ninth do not count.
/// Two timestamps are equal, and are ordered, as instants: `10:00:00Z` equals `10:00:00.000Z` and
/// `12:00:00+02:00`. [`Display`](fmt::Display) and serialization write the text that was sent. If it is
/// longer than 39 bytes, they write it without the last digits, or without the name of its time zone.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use number7_core::Timestamp;
///
/// let timestamp: Timestamp = "1970-01-01T00:00:01.500Z".parse()?;
/// assert_eq!(timestamp.to_system_time(), SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
/// assert_eq!(timestamp.to_string(), "1970-01-01T00:00:01.500Z");
///
/// assert!("yesterday".parse::<Timestamp>().is_err());
/// # Ok::<(), number7_core::TimestampError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Timestamp {
    instant: jiff::Timestamp,
    text: [u8; MAX_LEN],
    len: u8,
}

impl Timestamp {
    /// `None` if the text is too long to keep.
    fn new(instant: jiff::Timestamp, text: &str) -> Option<Self> {
        let mut copy = [0; MAX_LEN];
        copy.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { instant, text: copy, len: text.len() as u8 })
    }

    /// Reads a text that is too long, because it has more digits than an instant keeps, or the name of a time zone,
    /// such as `[Asia/Kolkata]`.
    #[cold]
    fn from_long(text: &str) -> Option<Self> {
        let (time, zone) = text.split_at(text.find('[').unwrap_or(text.len()));
        let fraction = time.find(['.', ',']).map_or(time.len(), |point| point + 1);
        let (seconds, fraction) = time.split_at(fraction);
        let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
        let (digits, offset) = fraction.split_at(end);
        let with = |most: usize| [seconds, &digits[..end.min(most)], offset].concat();
        let instant = (with(NANOSECONDS) + zone).parse().ok()?;
        Self::new(instant, &with(MAX_LEN.saturating_sub(seconds.len() + offset.len())))
    }

    /// The text that was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The bytes are a copy of a whole `str`, so they are UTF-8.
        str::from_utf8(&self.text[..self.len.into()]).unwrap_or_default()
    }

    /// The instant, for arithmetic and for the time types of other crates. If the platform cannot represent it (Windows, before
    /// the year 1601), it is the Unix epoch.
    #[must_use]
    pub fn to_system_time(self) -> SystemTime {
        let since = self.instant.as_duration();
        let distance = since.unsigned_abs();
        match since.is_negative() {
            true => SystemTime::UNIX_EPOCH.checked_sub(distance),
            false => SystemTime::UNIX_EPOCH.checked_add(distance),
        }
        .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(instant) => Self::new(instant, text).or_else(|| Self::from_long(text)),
            Err(_) => Self::from_long(text),
        }
        .ok_or(TimestampError(()))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.instant == other.instant
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.instant.cmp(&other.instant)
    }
}

impl Hash for Timestamp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.instant.hash(state);
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.to_system_time()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// A string that is not a date and time of RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampError(());

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an RFC 3339 timestamp")
    }
}

impl Error for TimestampError {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn it_is_compared_as_an_instant_and_written_as_it_came() {
        let instants =
            ["2026-04-22T10:00:00Z", "2026-04-22T10:00:00.000Z", "2026-04-22T15:30:00+05:30"];
        for text in instants {
            assert_eq!(at(text), at(instants[0]));
            assert_eq!(at(text).to_string(), text);
        }
        assert!(at("2026-04-22T10:00:00.001Z") > at(instants[0]));
    }

    #[test]
    fn any_number_of_digits_and_any_time_zone_is_taken() {
        let nine = at("2026-04-22T10:00:00.123456789Z");
        for (text, kept) in [
            ("2026-04-22T10:00:00.1234567891Z", 0),
            ("2026-04-22T10:00:00.123456789999999999Z", 0),
            ("2026-04-22T15:30:00.1234567891234+05:30", 0),
            ("2026-04-22T15:30:00.12345678912345+05:30", 1),
            ("2026-04-22T10:00:00.1234567890000000000000000000000Z", 13),
            ("2026-04-22T15:30:00.123456789+05:30[Asia/Kolkata]", "[Asia/Kolkata]".len()),
        ] {
            assert_eq!(at(text), nine, "{text}");
            assert_eq!(at(text).as_str().len(), text.len() - kept, "{text}");
            assert_eq!(at(at(text).as_str()), nine, "{text}");
        }
        for no in ["2026-04-22T10:00:00.Z", "2026-04-22T10:00:00.12345678901234567890", ".1Z", "é"]
        {
            assert!(no.parse::<Timestamp>().is_err(), "{no}");
        }
        assert_eq!(size_of::<Timestamp>(), 56);
    }

    #[test]
    fn other_forms_of_rfc_3339_are_taken() {
        let instant = at("2026-04-22T10:00:00Z");
        for text in [
            "2026-04-22t10:00:00z",
            "2026-04-22 10:00:00Z",
            "2026-04-22T10:00:00-00:00",
            "2026-04-22T10:00:00,000Z",
        ] {
            assert_eq!(at(text), instant, "{text}");
        }
        at("2016-12-31T23:59:60Z");
    }

    #[test]
    fn the_longest_and_the_oldest_are_taken() {
        let longest = "2026-04-22T10:00:00.123456789+05:30";
        assert_eq!(at(longest).to_string(), longest);
        let before_1970 = at("1969-12-31T23:59:59.500Z").to_system_time();
        assert_eq!(before_1970, SystemTime::UNIX_EPOCH - Duration::from_millis(500));
    }
}
