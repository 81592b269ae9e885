//! A leg in a conference room: what it hears goes in, what the others say comes out, one turn per
//! frame by a deadline of its own.
//!
//! A room asks no disk: the recorded name that is said of a leg is read by the leg, as it comes.

use super::clip::Clip;
use super::ear::{Ear, Heard};
use super::jitter::JitterBuffer;
use super::order::{Format, News, Sound};
use super::player::{Player, Stock};
use super::room::{FRAME_MS, Join, Name, RoomOrder, Rooms, Seat, Taken};
use crate::base::{Instant, mix64};
use std::sync::Arc;

const FRAME_NS: u64 = FRAME_MS as u64 * 1_000_000;
/// The turns of a room's legs lie in the first half of each frame, so that a worker may be late by
/// the other half before somebody is left out.
const PHASES_NS: u64 = FRAME_NS / 2;
/// Behind by more frames, what was heard meanwhile is not caught up with: the ear drops it.
const CATCH_UP_MAX: u64 = 10;

#[derive(Debug)]
pub(super) struct Meeting {
    seat: Seat,
    ear: Ear,
    /// Of the next turn.
    frame: u64,
    phase_ns: u64,
    /// What is said when it comes and goes, while its recorded name is being read.
    called: Option<Box<Called>>,
    whisper: Option<(Box<Player>, u32)>,
    /// The task of a whisper that is over.
    whispered: Option<u32>,
    stock: Arc<Stock>,
    samples: Box<[i16]>,
}

/// What is said of a leg with its name before it, and without.
#[derive(Debug)]
struct Called {
    clip: Clip,
    name: Name,
    arrival: Vec<Sound>,
    farewell: Vec<Sound>,
}

impl Meeting {
    /// Takes a place; none where the room or the table of rooms is full.
    pub fn join(
        now: Instant,
        session: u64,
        format: &Format,
        join: Join,
        (rooms, stock): (&Arc<Rooms>, &Arc<Stock>),
    ) -> Option<Self> {
        let mut seat = rooms.join(&join.room, join.rate)?;
        seat.set_muted(join.muted);
        seat.set_deafened(join.deafened);
        seat.set_volume(join.volume);
        let called = match join.name {
            Some(name) => Some(Box::new(Called {
                clip: Clip::new(&name.file, stock),
                name,
                arrival: join.arrival,
                farewell: join.farewell,
            })),
            None => {
                seat.announce(join.arrival);
                seat.set_farewell(join.farewell);
                None
            }
        };
        let phase_ns = mix64(session) % PHASES_NS;
        Some(Self {
            ear: Ear::new(format, seat.rate()),
            frame: now.as_nanos().saturating_sub(phase_ns) / FRAME_NS + 1,
            phase_ns,
            called,
            whisper: None,
            whispered: None,
            stock: Arc::clone(stock),
            samples: vec![0; seat.frame_samples()].into_boxed_slice(),
            seat,
        })
    }

    /// When its next turn is.
    pub fn due(&self) -> Instant {
        Instant::from_nanos(self.frame * FRAME_NS + self.phase_ns)
    }

    /// Its sound.
    pub fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }

    /// What asks the disk for it: its name, then what it alone hears.
    pub fn reader(&mut self) -> Option<&mut Player> {
        match &mut self.called {
            Some(called) => Some(called.clip.player()),
            None => self.whisper.as_mut().map(|(player, _)| &mut **player),
        }
    }

    /// Whether its name is being read.
    pub fn is_named(&self) -> bool {
        self.called.is_some()
    }

    /// The disk has answered [`Meeting::reader`].
    pub fn on_read(&mut self) {
        if let Some(called) = self.called.take_if(|called| called.clip.take_in()) {
            let Called {
                clip,
                name,
                mut arrival,
                mut farewell,
            } = *called;
            if let Some(said) = clip.sound() {
                arrival = [vec![said.clone()], name.comes].concat();
                farewell = [vec![said], name.goes].concat();
            }
            self.seat.announce(arrival);
            self.seat.set_farewell(farewell);
        }
    }

    /// The buffer behind its ear.
    pub fn buffer(&self) -> &JitterBuffer {
        self.ear.buffer()
    }

    /// Another format was agreed on.
    pub fn reformat(&mut self, format: &Format) {
        if !self.ear.fits(format) {
            self.ear = Ear::new(format, self.seat.rate());
        }
    }

    pub fn order(&mut self, what: RoomOrder) {
        match what {
            RoomOrder::Mute(muted) => self.seat.set_muted(muted),
            RoomOrder::Deafen(deafened) => self.seat.set_deafened(deafened),
            RoomOrder::Volume(volume) => self.seat.set_volume(volume),
            RoomOrder::Announce(sounds) => self.seat.announce(sounds),
            RoomOrder::Whisper(task, sounds) => {
                let (rate, stock) = (self.seat.rate(), Arc::clone(&self.stock));
                self.whisper = (!sounds.is_empty()).then(|| {
                    let player = Player::new(sounds, Some(1), rate, stock);
                    (Box::new(player), task)
                });
                self.whispered = None;
            }
            RoomOrder::EndRecord => self.seat.end_record(),
            // The studio's affair.
            RoomOrder::Record(..) => {}
        }
    }

    /// A place for what records the room; none if it is recorded already.
    pub fn record(&self) -> Option<Seat> {
        self.seat.record()
    }

    /// Leaves out the turns whose frames are over; how many.
    pub fn skip(&mut self, now: Instant) -> u32 {
        let present = now.as_nanos() / FRAME_NS;
        let behind = present.saturating_sub(self.frame);
        for _ in 0..behind.min(CATCH_UP_MAX) {
            self.ear.frame(now, &mut self.samples);
        }
        self.frame += behind;
        u32::try_from(behind).unwrap_or(u32::MAX)
    }

    /// Its turn, and what came of it. Who is not `heard` (a caller that has put us on
    /// hold, and may send music) puts nothing in.
    pub fn turn(
        &mut self,
        now: Instant,
        format: &Format,
        heard: bool,
        payload: &mut [u8],
    ) -> Taken {
        let frame = self.frame;
        self.frame += 1;
        let said = match self.ear.frame(now, &mut self.samples) {
            Heard::Sound if heard => &*self.samples,
            Heard::Sound | Heard::Nothing => &[],
        };
        let over = self.whisper.as_mut().map(|(player, _)| &mut **player);
        let how = (format.coding, format.comfort.is_some());
        let taken = self.seat.turn(frame, said, how, over, payload);
        if self.whisper.as_ref().is_some_and(|(p, _)| p.is_over()) {
            self.whispered = self.whisper.take().map(|(_, task)| task);
        }
        taken
    }

    /// What is to be told of it since the last turn.
    pub fn news(&mut self, session: u64) -> Option<News> {
        if let Some(task) = self.whispered.take() {
            let played_ms = 0;
            return Some(News::Done {
                session,
                task,
                played_ms,
            });
        }
        let talks = self.seat.talk_change()?;
        Some(News::Talking { session, talks })
    }
}
