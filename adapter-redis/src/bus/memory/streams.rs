//! Streams inside one process. Nobody but tests reads them.

use std::collections::{HashMap, VecDeque};

use crate::bus::Fields;

/// All of them, by their names.
#[derive(Default)]
pub(super) struct Streams(HashMap<String, Stream>);

#[derive(Default)]
struct Stream {
    entries: VecDeque<(String, Fields)>,
    last: u64,
}

impl Streams {
    /// Appends an entry, and answers with its place. The oldest beyond `most` go.
    pub(super) fn append(&mut self, name: &str, fields: Fields, most: u32) -> String {
        let stream = self.0.entry(name.to_owned()).or_default();
        stream.last += 1;
        let id = format!("{}-0", stream.last);
        stream.entries.push_back((id.clone(), fields));
        while stream.entries.len() > most as usize {
            stream.entries.pop_front();
        }
        id
    }

    pub(super) fn read(&self, name: &str) -> Vec<(String, Fields)> {
        let stream = self.0.get(name);
        stream.map_or_else(Vec::new, |s| s.entries.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let mut streams = Streams::default();
        for number in 0..5 {
            streams.append("a", vec![("n", Bytes::from(number.to_string()))], 2);
        }
        let ids: Vec<_> = streams.read("a").into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["4-0", "5-0"]);
        assert!(streams.read("b").is_empty());
    }
}
