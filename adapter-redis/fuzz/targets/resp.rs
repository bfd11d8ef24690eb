//! What a Redis, or something in its place, says to the subscriber: nothing that comes can break the reader, and how it
//! is cut into reads makes no difference.

#![no_main]

use adapter_redis::read_replies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = read_replies([bytes]);
    let (before, after) = bytes.split_at(bytes.len() / 2);
    assert_eq!(read_replies([before, after]), whole);
    if bytes.len() < 512 {
        assert_eq!(read_replies(bytes.chunks(1)), whole);
    }
});
