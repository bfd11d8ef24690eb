//! A compressed message from a client: never more than allowed, the same as by anybody else, and what is sent comes back.

#![no_main]

use std::io::Read;

use flate2::read::DeflateDecoder;
use gateway::engine::websocket::{
    deflate::{deflate, inflate},
    messages::Broken,
};
use libfuzzer_sys::fuzz_target;

/// What a message ends with and is not sent of it, and a last block without anything.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

// The first two bytes say how long a message may be.
fuzz_target!(|input: &[u8]| {
    let Some((max, bytes)) = input.split_first_chunk::<2>() else {
        return;
    };
    let max = usize::from(u16::from_be_bytes(*max));
    let whole = [bytes, &END].concat();
    match inflate(bytes, max) {
        Ok(inflated) => {
            assert!(inflated.len() <= max, "more than allowed");
            assert!(inflated.capacity() <= max + 1, "more memory than allowed");
            let mut other = Vec::new();
            let read = DeflateDecoder::new(whole.as_slice()).read_to_end(&mut other);
            assert!(read.is_ok() && other == inflated, "others read something else");
            if let Some(deflated) = deflate(&[b"4", &inflated]) {
                assert!(deflated.len() < inflated.len() + 1, "longer than before");
                assert_eq!(
                    inflate(&deflated, inflated.len() + 1),
                    Ok([b"4", inflated.as_slice()].concat())
                );
            }
        }
        Err(Broken::TooLong) => {
            let mut other = Vec::new();
            let read = DeflateDecoder::new(whole.as_slice()).read_to_end(&mut other);
            assert!(read.is_err() || other.len() > max, "it was not too long");
        }
        Err(broken) => assert_eq!(broken, Broken::Deflated),
    }
});
