//! One packet in a buffer that may have room for more.

use crate::srtp::OVERHEAD_MAX;

/// A packet in the first bytes of a buffer. To become SRTP it needs [`Datagram::ROOM`] more.
#[derive(Debug)]
pub struct Datagram<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl<'a> Datagram<'a> {
    /// How much a packet grows at the most.
    pub const ROOM: usize = OVERHEAD_MAX;

    /// The first `length` bytes of a buffer, or all of it.
    pub fn new(buffer: &'a mut [u8], length: usize) -> Self {
        let length = length.min(buffer.len());
        Self { buffer, length }
    }

    /// The packet.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    /// The packet.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.length).unwrap_or_default()
    }

    /// The packet, and behind it what room there is.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.buffer
    }

    /// Puts another packet in its place, if there is room.
    pub(super) fn replace(&mut self, packet: &[u8]) -> bool {
        let Some(place) = self.buffer.get_mut(..packet.len()) else {
            return false;
        };
        place.copy_from_slice(packet);
        self.length = packet.len();
        true
    }

    pub(super) fn set_length(&mut self, length: usize) {
        self.length = length.min(self.buffer.len());
    }
}
