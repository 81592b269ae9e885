use super::super::codec::g711;
use super::super::file::{FileAnswer, Root};
use super::super::shelf::{Shelf, answer, tests::Memory};
use super::super::wav::Wav;
use super::*;
use crate::base::Rng;

const NAME: &str = "mail/201/1.wav";

fn limits(max_ms: u32, silence_ms: u32) -> Limits {
    Limits { max_ms, silence_ms }
}

fn voice(rng: &mut Rng) -> [i16; FRAME] {
    std::array::from_fn(|_| rng.below(8000) as i16 - 4000)
}

/// Answers what waits; how many questions that were.
fn serve(recorder: &mut Recorder, disk: &mut Memory) -> usize {
    let mut asked = 0;
    while let Some(wish) = recorder.poll_wish() {
        assert_eq!(recorder.poll_wish(), None, "one at a time");
        let done = answer(disk, wish);
        recorder.handle_answer(done.map(|a| assert_eq!(a, FileAnswer::Written)));
        asked += 1;
    }
    asked
}

fn sound(disk: &mut Memory) -> Vec<u8> {
    let size = disk.size(Root::Spool, NAME).unwrap();
    let bytes = disk.read(Root::Spool, NAME, 0, size as u32).unwrap();
    let wav = Wav::parse(&bytes, size).unwrap();
    assert_eq!(wav.layout, layout());
    bytes[wav.data.start as usize..wav.data.end as usize].to_vec()
}

#[test]
fn what_was_said_is_in_the_file_each_second() {
    let (mut rng, mut disk) = (Rng::from_u64(1), Memory::default());
    let mut recorder = Recorder::new(NAME.into(), limits(60_000, 0));
    let mut said = Vec::new();
    let mut asked = 0;
    for n in 0..175u64 {
        let frame = voice(&mut rng);
        let mut bytes = [0; FRAME];
        g711::alaw_encode(&frame, &mut bytes);
        said.extend(bytes);
        assert!(recorder.push(&frame));
        asked += serve(&mut recorder, &mut disk);
        let part = disk.size(Root::Spool, &format!("{NAME}.part"));
        if n >= 10 {
            assert!(part.unwrap() + 8000 > said.len() as u64, "{n}");
        }
    }
    assert_eq!(asked, 4);
    recorder.close(RecordEnd::Key);
    assert!(!recorder.push(&[0; FRAME]));
    assert_eq!(serve(&mut recorder, &mut disk), 2);
    assert_eq!(recorder.outcome(), Some((3500, RecordEnd::Key)));
    assert_eq!(sound(&mut disk), said);
}

#[test]
fn length_and_silence_end_it() {
    let (mut rng, mut disk) = (Rng::from_u64(2), Memory::default());
    let mut recorder = Recorder::new(NAME.into(), limits(1000, 5000));
    while recorder.push(&voice(&mut rng)) {}
    serve(&mut recorder, &mut disk);
    assert_eq!(recorder.outcome(), Some((1000, RecordEnd::Limit)));

    let mut recorder = Recorder::new(NAME.into(), limits(0, 3000));
    for _ in 0..100 {
        assert!(recorder.push(&voice(&mut rng)));
    }
    let mut silent = 0;
    while recorder.push(&[3; FRAME]) {
        serve(&mut recorder, &mut disk);
        silent += 1;
    }
    serve(&mut recorder, &mut disk);
    let hang = super::super::activity::HANG_MS;
    assert_eq!(silent, (3000 + hang) / 20 - 1);
    // The silence is not kept, but for the hang-over and a breath.
    assert_eq!(
        recorder.outcome(),
        Some((2000 + hang + 250, RecordEnd::Silence))
    );
    assert_eq!(sound(&mut disk).len(), (2000 + hang as usize + 250) * 8);
}

#[test]
fn of_nothing_no_file_is_left() {
    let mut disk = Memory::default();
    let mut recorder = Recorder::new(NAME.into(), limits(0, 0));
    recorder.close(RecordEnd::Closed);
    assert_eq!(serve(&mut recorder, &mut disk), 0);
    assert_eq!(recorder.outcome(), Some((0, RecordEnd::Closed)));
    // Nobody said a word.
    let mut recorder = Recorder::new(NAME.into(), limits(0, 3000));
    while recorder.push(&[0; FRAME]) {
        serve(&mut recorder, &mut disk);
    }
    serve(&mut recorder, &mut disk);
    assert_eq!(recorder.outcome(), Some((0, RecordEnd::Silence)));
    assert!(disk.files.is_empty(), "{:?}", disk.files.keys());
}

#[test]
fn a_disk_that_refuses_ends_it_with_what_it_had_taken() {
    let (mut rng, mut disk) = (Rng::from_u64(3), Memory::default());
    let mut recorder = Recorder::new(NAME.into(), limits(0, 0));
    for n in 0..200 {
        if n == 120 {
            disk.refuses = Some(FileFailure::Disk);
        }
        if !recorder.push(&voice(&mut rng)) {
            break;
        }
        serve(&mut recorder, &mut disk);
        if recorder.has_ended() {
            disk.refuses = None;
        }
    }
    // It could not say whether the end is well, so the file waits to be salvaged.
    assert_eq!(recorder.outcome(), Some((0, RecordEnd::Failed)));
    // From the start nothing can be written.
    disk.refuses = Some(FileFailure::Disk);
    let mut recorder = Recorder::new("b.wav".into(), limits(0, 0));
    let mut frames = 0;
    while recorder.push(&voice(&mut rng)) {
        serve(&mut recorder, &mut disk);
        frames += 1;
    }
    assert!(frames <= 10, "{frames}");
    assert_eq!(recorder.outcome(), Some((0, RecordEnd::Failed)));
}

/// A full disk makes the file and takes nothing of it: it goes.
#[test]
fn an_empty_file_is_left_of_no_full_disk() {
    let mut rng = Rng::from_u64(4);
    let mut recorder = Recorder::new(NAME.into(), limits(0, 0));
    let asked = loop {
        assert!(recorder.push(&voice(&mut rng)));
        if let Some(wish) = recorder.poll_wish() {
            break wish;
        }
    };
    assert!(matches!(asked, FileWish::Append { at: 0, .. }), "{asked:?}");
    recorder.handle_answer(Err(FileFailure::Disk));
    let asked = recorder.poll_wish();
    assert!(matches!(asked, Some(FileWish::Finish { data_size: 0, .. })));
    recorder.handle_answer(Ok(()));
    assert_eq!(recorder.poll_wish(), None);
    assert_eq!(recorder.outcome(), Some((0, RecordEnd::Failed)));
}

#[test]
fn a_disk_that_is_behind_is_waited_for_but_not_for_ever() {
    let mut rng = Rng::from_u64(4);
    let mut recorder = Recorder::new(NAME.into(), limits(0, 0));
    let (mut frames, mut disk) = (0, Memory::default());
    for _ in 0..100 {
        assert!(recorder.push(&voice(&mut rng)));
        if recorder.poll_wish().is_some() {
            recorder.handle_answer(Err(FileFailure::Busy));
        }
    }
    serve(&mut recorder, &mut disk);
    // It never answers.
    while recorder.push(&voice(&mut rng)) {
        let _ = recorder.poll_wish();
        frames += 1;
    }
    assert!((400..500).contains(&frames), "{frames}");
    assert_eq!(recorder.outcome(), None);
    // The answer after all: the two seconds, the eight that waited, and the piece in between.
    let flying = recorder.flying.clone();
    let at = recorder.written;
    append(&mut disk, at, flying);
    recorder.handle_answer(Ok(()));
    serve(&mut recorder, &mut disk);
    let (ms, end) = recorder.outcome().unwrap();
    assert_eq!((ms, end), (2000 + frames * 20, RecordEnd::Behind));
    assert_eq!(sound(&mut disk).len() as u32, ms * 8);
}

fn append(disk: &mut Memory, at: u64, bytes: Vec<u8>) {
    let (name, layout) = (NAME.into(), layout());
    let wish = FileWish::Append {
        name,
        layout,
        at,
        bytes,
    };
    assert_eq!(answer(disk, wish), Ok(FileAnswer::Written));
}

/// Whatever of the end the disk has no time for comes to the disk later; one that never has time is
/// left alone in the end.
#[test]
fn a_disk_without_time_is_asked_for_the_end_again() {
    let (mut rng, mut disk) = (Rng::from_u64(5), Memory::default());
    let mut recorder = Recorder::new(NAME.into(), limits(0, 0));
    for _ in 0..70 {
        assert!(recorder.push(&voice(&mut rng)));
        serve(&mut recorder, &mut disk);
    }
    recorder.close(RecordEnd::Closed);
    for _ in 0..2 {
        for _ in 0..20 {
            assert!(recorder.poll_wish().is_some());
            recorder.handle_answer(Err(FileFailure::Busy));
            assert_eq!(recorder.outcome(), None);
        }
        // The last piece, and the finish.
        let wish = recorder.poll_wish().unwrap();
        let done = answer(&mut disk, wish);
        recorder.handle_answer(done.map(drop));
    }
    assert_eq!(recorder.outcome(), Some((1400, RecordEnd::Closed)));
    assert_eq!(sound(&mut disk).len(), 1400 * 8);

    let mut recorder = Recorder::new("b.wav".into(), limits(0, 0));
    for _ in 0..70 {
        assert!(recorder.push(&voice(&mut rng)));
        serve(&mut recorder, &mut disk);
    }
    recorder.close(RecordEnd::Closed);
    let mut asked = 0;
    while recorder.poll_wish().is_some() {
        recorder.handle_answer(Err(FileFailure::Busy));
        asked += 1;
    }
    // For the last piece, and for the finish.
    assert_eq!(asked, 2 * (BUSY_MAX + 1));
    assert_eq!(recorder.outcome(), Some((0, RecordEnd::Failed)));
    assert!(disk.size(Root::Spool, "b.wav.part").unwrap() > 8000);
}
