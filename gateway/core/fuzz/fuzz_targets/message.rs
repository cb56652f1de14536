//! The message's encoding: no bytes make `decode` panic, and what decodes says the same when it is encoded again.

#![no_main]

use bytes::Bytes;
use causeway_core::message::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(message) = Message::decode(&Bytes::copy_from_slice(input)) {
        assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
    }
});
