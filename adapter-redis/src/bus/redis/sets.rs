//! What nodes keep together, as sorted sets: the texts by their ends. A set is the one key `<prefix>:<name>`.
//!
//! Reading goes by `ZSCAN`, which gives everything that is there all the while, and never holds Redis up for long.

use bytes::Bytes;
use fred::interfaces::ClientLike as _;
use fred::types::{ClusterHash, CustomCommand, Value as FredValue};

use super::{RedisBus, Shared, bus_error};
use crate::bus::BusError;
use crate::sets::{Item, MAX_ITEMS, Part, SetWork, SharedSets};

impl SharedSets for RedisBus {
    fn put<'a>(&'a self, set: &'a str, items: &'a [Item]) -> SetWork<'a, ()> {
        // Of two ends the later one stays.
        let mut args = vec![FredValue::from_static_str("GT")];
        for Item { text, until_ms } in items {
            args.extend([until_ms.to_string().into(), FredValue::Bytes(text.clone())]);
        }
        Box::pin(async move {
            if items.is_empty() {
                return Ok(());
            }
            self.shared.set_command("ZADD", set, args).await.map(drop)
        })
    }

    fn remove<'a>(&'a self, set: &'a str, texts: &'a [Bytes]) -> SetWork<'a, ()> {
        let args = texts.iter().cloned().map(FredValue::Bytes).collect();
        Box::pin(async move {
            if texts.is_empty() {
                return Ok(());
            }
            self.shared.set_command("ZREM", set, args).await.map(drop)
        })
    }

    fn read<'a>(&'a self, set: &'a str, from: Option<u64>) -> SetWork<'a, Part> {
        let args = vec![
            from.unwrap_or_default().to_string().into(),
            FredValue::from_static_str("COUNT"),
            MAX_ITEMS.to_string().into(),
        ];
        Box::pin(async move { part(self.shared.set_command("ZSCAN", set, args).await?) })
    }

    fn count<'a>(&'a self, set: &'a str, after_ms: u64) -> SetWork<'a, u64> {
        let args = vec![format!("({after_ms}").into(), FredValue::from_static_str("+inf")];
        Box::pin(async move {
            let answer = self.shared.set_command("ZCOUNT", set, args).await?;
            answer.as_u64().ok_or_else(unexpected)
        })
    }

    fn trim<'a>(&'a self, set: &'a str, before_ms: u64) -> SetWork<'a, ()> {
        let args = vec![FredValue::from_static_str("-inf"), format!("({before_ms}").into()];
        Box::pin(async move {
            let trimmed = self.shared.set_command("ZREMRANGEBYSCORE", set, args).await;
            trimmed.map(drop)
        })
    }
}

impl Shared {
    async fn set_command(
        &self,
        command: &'static str,
        set: &str,
        args: Vec<FredValue>,
    ) -> Result<FredValue, BusError> {
        let (client, _permit) = self.begin()?;
        let key = format!("{}:{set}", self.config.prefix).into();
        let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
        let args: Vec<FredValue> = std::iter::once(key).chain(args).collect();
        let answer = client.custom(command, args).await;
        self.suspect(answer.map_err(|error| bus_error(&error)))
    }
}

/// The answer is `[cursor, [text, end, text, end, …]]`. Ends that are no whole number are nobody's of ours.
fn part(answer: FredValue) -> Result<Part, BusError> {
    let mut parts = answer.into_array().into_iter();
    let (Some(cursor), Some(FredValue::Array(found))) = (parts.next(), parts.next()) else {
        return Err(unexpected());
    };
    let cursor = cursor.as_u64().ok_or_else(unexpected)?;
    let mut found = found.into_iter();
    let mut items = Vec::new();
    while let (Some(text), Some(end)) = (found.next(), found.next()) {
        if let (Some(text), Some(until_ms)) = (text.into_bytes(), whole(&end)) {
            items.push(Item { text, until_ms });
        }
    }
    Ok(Part {
        items,
        next: (cursor != 0).then_some(cursor),
    })
}

/// Redis writes large numbers with an exponent.
fn whole(end: &FredValue) -> Option<u64> {
    let end = end.as_f64()?;
    (0.0..=Item::LATEST as f64).contains(&end).then_some(end as u64)
}

fn unexpected() -> BusError {
    BusError::Refused("a shared set answered what it should not".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn texts(texts: &[&str]) -> FredValue {
        FredValue::Array(texts.iter().map(|text| (*text).into()).collect())
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let item = |text: &'static str, until_ms| Item {
            text: Bytes::from_static(text.as_bytes()),
            until_ms,
        };
        let latest = Item::LATEST.to_string();
        let found = texts(&[
            "a",
            "1700000000000",
            "b",
            "1.7e+12",
            "c",
            "x",
            "d",
            "-1",
            "e",
            &latest,
        ]);
        let expected = Part {
            items: vec![
                item("a", 1_700_000_000_000),
                item("b", 1_700_000_000_000),
                item("e", Item::LATEST),
            ],
            next: Some(17),
        };
        assert_eq!(part(FredValue::Array(vec!["17".into(), found])), Ok(expected));
        let last = part(FredValue::Array(vec!["0".into(), texts(&[])]));
        assert_eq!(last, Ok(Part::default()));
        for nothing in [
            FredValue::Null,
            texts(&["0"]),
            texts(&["0", "x"]),
            texts(&["x", "y"]),
        ] {
            assert!(part(nothing).is_err());
        }
    }
}
