//! A frame from another node: what is understood is written in the same way by whoever passes it on, and takes no more
//! than came in.

#![no_main]

use adapter_redis::{Frame, MAX_ATTACHMENTS, Message, Phase, Stored};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(Some(stored)) = Stored::decode(&bytes) {
        // Flags that a later build may add are all that is not kept.
        let again = stored.encode();
        assert_eq!((again.len(), &again[3..]), (bytes.len(), &bytes[3..]));
        assert_eq!(Stored::decode(&again), Ok(Some(stored)));
        return;
    }
    let message = match Message::decode(&bytes) {
        Ok(message) => message,
        Err(error) => {
            assert!(error.reason().starts_with("frame_"));
            return;
        }
    };
    let encoded = message.frame.encode(&message.sender);
    assert!(
        encoded.len() <= bytes.len(),
        "a frame grows when it is written again"
    );
    assert_eq!(Message::decode(&encoded).as_ref(), Ok(&message));

    if let Frame::Publication {
        publication,
        handling,
    } = &message.frame
    {
        let (all, part) = (bytes.as_ptr_range(), publication.args.json().as_ptr_range());
        assert!(
            all.start <= part.start && part.end == all.end,
            "copied, not the rest of the frame"
        );
        if let Phase::Begins(ending) = &handling.phase {
            let ending = ending.args.json().as_ptr_range();
            assert!(
                all.start <= ending.start && ending.end <= part.start,
                "copied, not a part of the frame"
            );
        }
        // A peer may send what is not JSON: clients must not lose their connection by it, and nothing may panic.
        let packet = publication.args.to_packet(&publication.event);
        assert!(packet.attachments.len() <= MAX_ATTACHMENTS);
        assert!(packet.text.starts_with('[') && packet.text.ends_with(']'));
    } else if matches!(
        message.frame,
        Frame::Question { .. } | Frame::Answer { .. } | Frame::Heartbeat { about: None, .. }
    ) || matches!(&message.frame, Frame::Heartbeat { about: Some(about), .. } if about.load.admission.is_none())
    {
        // What follows belongs to it, or tells about the node.
    } else {
        // Fields that a later build adds, which are ignored.
        let longer = Bytes::from([&bytes[..], b"more"].concat());
        assert_eq!(Message::decode(&longer), Ok(message));
    }
});
