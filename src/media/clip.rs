//! The beginning of a sound file, read into memory for those who cannot ask a disk.

use super::codec::g711;
use super::file::Root;
use super::order::Sound;
use super::player::{Player, Stock};
use super::record;
use std::sync::Arc;

/// So much of it is read: five seconds, 40 kB.
const BYTES_MAX: usize = 5 * record::RATE as usize;

/// One that is being read.
#[derive(Debug)]
pub(super) struct Clip {
    player: Box<Player>,
    bytes: Vec<u8>,
}

impl Clip {
    /// Of a file of the spool.
    pub fn new(file: &str, stock: &Arc<Stock>) -> Self {
        let sound = Sound::File {
            root: Root::Spool,
            path: file.into(),
        };
        let player = Player::new(vec![sound], Some(1), record::RATE, Arc::clone(stock));
        Self {
            player: Box::new(player),
            bytes: Vec::new(),
        }
    }

    /// What asks the disk for it.
    pub fn player(&mut self) -> &mut Player {
        &mut self.player
    }

    /// Takes in what the disk has answered; whether that is all.
    pub fn take_in(&mut self) -> bool {
        while self.bytes.len() < BYTES_MAX && !self.player.is_over() {
            let (mut samples, mut bytes) = ([0; record::FRAME], [0; record::FRAME]);
            let made = self.player.fill(&mut samples);
            let samples = samples.get(..made).unwrap_or_default();
            let made = g711::alaw_encode(samples, &mut bytes);
            if made == 0 {
                break;
            }
            self.bytes.extend(bytes.get(..made).unwrap_or_default());
        }
        self.bytes.len() >= BYTES_MAX || self.player.is_over()
    }

    /// What was read; nothing of a file that is not there, or no sound.
    pub fn sound(self) -> Option<Sound> {
        (!self.bytes.is_empty()).then(|| Sound::Clip(self.bytes.into()))
    }
}
