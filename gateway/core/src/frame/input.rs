//! Reads the fields of a packet body one after the other; every read is checked, none can panic.

use super::FrameError;

/// What is left of a packet body or of a property block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Takes all that is left.
    pub(super) const fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    pub(super) fn take(&mut self, bytes: usize, part: &'static str) -> Result<&'a [u8], FrameError> {
        let Some((taken, rest)) = self.rest.split_at_checked(bytes) else {
            return Err(FrameError::malformed(part, "runs over the end of the packet"));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, part: &'static str) -> Result<[u8; N], FrameError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(FrameError::malformed(part, "is missing"));
        };
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self, part: &'static str) -> Result<u8, FrameError> {
        self.array::<1>(part).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, part: &'static str) -> Result<u16, FrameError> {
        self.array(part).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, part: &'static str) -> Result<u32, FrameError> {
        self.array(part).map(u32::from_be_bytes)
    }

    /// Reads a variable byte integer in its shortest form (MQTT5 1.5.5).
    pub(super) fn varint(&mut self, part: &'static str) -> Result<u32, FrameError> {
        let mut value = 0;
        for position in 0..4 {
            let byte = self.u8(part)?;
            value |= u32::from(byte & 0x7f) << (7 * position);
            if byte < 0x80 {
                if byte == 0 && position > 0 {
                    return Err(FrameError::malformed(part, "is not written in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(FrameError::malformed(part, "has more than four bytes"))
    }

    /// Reads binary data with its two-byte length (MQTT5 1.5.6).
    pub(super) fn binary(&mut self, part: &'static str) -> Result<&'a [u8], FrameError> {
        let bytes = self.u16(part)?;
        self.take(usize::from(bytes), part)
    }

    /// Reads a string: UTF-8 without U+0000 (MQTT5 1.5.4-2). Control characters are the reader's taste and pass.
    pub(super) fn text(&mut self, part: &'static str) -> Result<&'a str, FrameError> {
        let text = self.any_text(part)?;
        if text.as_bytes().contains(&0) {
            return Err(FrameError::malformed(part, "contains the character U+0000"));
        }
        Ok(text)
    }

    /// Reads a string whose caller refuses U+0000 itself, as the topic and filter checks do.
    pub(super) fn any_text(&mut self, part: &'static str) -> Result<&'a str, FrameError> {
        str::from_utf8(self.binary(part)?).map_err(|_| FrameError::malformed(part, "is not UTF-8"))
    }

    /// Reads a packet id, which is never 0 (MQTT5 2.2.1-3).
    pub(super) fn packet_id(&mut self) -> Result<u16, FrameError> {
        match self.u16("packet id")? {
            0 => Err(FrameError::protocol("packet id", "is 0")),
            id => Ok(id),
        }
    }

    /// Refuses bytes after the last field.
    pub(super) fn finish(&self, part: &'static str) -> Result<(), FrameError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(FrameError::malformed(part, "has bytes after its last field"))
    }
}
