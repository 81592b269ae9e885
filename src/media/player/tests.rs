use super::super::goertzel::amplitude;
use super::super::shelf::{answer, tests::Memory};
use super::super::wav::{self, Encoding, Layout, Writer};
use super::*;

const HZ: f32 = 500.0;

fn tone(rate: u32, samples: usize) -> Vec<i16> {
    let angle = std::f32::consts::TAU * HZ / rate as f32;
    (0..samples)
        .map(|n| (8000.0 * (angle * n as f32).sin()) as i16)
        .collect()
}

/// Two seconds of the tone as a file.
fn file(encoding: Encoding, rate: u32) -> Vec<u8> {
    let samples = tone(rate, rate as usize * 2);
    let mut writer = Writer::new(encoding);
    let mut bytes = vec![0; writer.size(samples.len())];
    let size = writer.write(&samples, &mut bytes);
    bytes.truncate(size);
    bytes
}

fn as_wav(encoding: Encoding, rate: u32) -> Vec<u8> {
    let sound = file(encoding, rate);
    let layout = Layout::mono(encoding, rate);
    let header = wav::header(layout, Some(sound.len() as u64)).unwrap();
    [&header[..], &sound].concat()
}

/// Answers after so many frames.
fn play(player: &mut Player, disk: &mut Memory, rate: u32, late: u32, frames: usize) -> Vec<i16> {
    let mut heard = Vec::new();
    let mut waiting: Option<(u32, FileWish)> = None;
    let mut ticket = 0;
    for _ in 0..frames {
        if waiting.is_none()
            && let Some(wish) = player.poll_wish()
        {
            ticket += 1;
            player.asked(ticket);
            waiting = Some((late, wish));
        }
        if let Some((left, wish)) = waiting.take() {
            match left {
                0 => player.handle_answer(ticket, answer(disk, wish)),
                left => waiting = Some((left - 1, wish)),
            }
        }
        assert!(player.asked.is_none_or(|asked| asked == ticket));
        let mut frame = vec![0; rate as usize / 50];
        let made = player.fill(&mut frame);
        heard.extend(&frame[..made]);
        if player.is_over() {
            break;
        }
    }
    heard
}

fn player(sounds: Vec<Sound>, rate: u32, site: bool) -> Player {
    Player::new(sounds, Some(1), rate, Arc::new(Stock::new(site)))
}

fn spool(path: &str) -> Sound {
    Sound::File {
        root: Root::Spool,
        path: path.into(),
    }
}

#[test]
fn every_kind_of_file_is_played_whole_at_every_rate() {
    let mut disk = Memory::default();
    for (name, bytes) in [
        ("a.wav", as_wav(Encoding::Pcm16, 8000)),
        ("b.wav", as_wav(Encoding::Alaw, 8000)),
        ("c.wav", as_wav(Encoding::Ulaw, 8000)),
        ("d.wav", as_wav(Encoding::Pcm16, 48_000)),
        ("e.wav", as_wav(Encoding::Pcm8, 16_000)),
        ("f.alaw", file(Encoding::Alaw, 8000)),
        ("g.ulaw", file(Encoding::Ulaw, 8000)),
        ("h.gsm", file(Encoding::Gsm, 8000)),
        ("i.g722", file(Encoding::G722, 16_000)),
        ("j.sln", file(Encoding::Pcm16, 8000)),
    ] {
        disk.put(Root::Spool, name, &bytes);
        for rate in [8000, 16_000] {
            for late in [0, 3] {
                let mut player = player(vec![spool(name)], rate, false);
                let heard = play(&mut player, &mut disk, rate, late, 300);
                assert!(player.is_over(), "{name}");
                let seconds = heard.len() as f32 / rate as f32;
                assert!((seconds - 2.0).abs() < 0.03, "{name} {rate}: {seconds} s");
                let loud = amplitude(&heard[rate as usize / 2..rate as usize], HZ, rate);
                assert!((6500.0..9000.0).contains(&loud), "{name} {rate}: {loud}");
            }
        }
    }
}

#[test]
fn little_of_a_long_file_is_in_memory() {
    let mut disk = Memory::default();
    // Half an hour of A-law.
    disk.put(Root::Spool, "long.alaw", &vec![0x55; 30 * 60 * 8000]);
    let mut player = player(vec![spool("long.alaw")], 8000, false);
    let (mut asked, mut ticket) = (0, 0);
    for _ in 0..500 {
        while let Some(wish) = player.poll_wish() {
            if let FileWish::Read { length, .. } = wish {
                asked += length;
            }
            ticket += 1;
            player.asked(ticket);
            player.handle_answer(ticket, answer(&mut disk, wish));
        }
        assert_eq!(player.fill(&mut [0; 160]), 160);
    }
    // Ten seconds were played.
    assert!((80_000..=96_000).contains(&asked), "{asked}");
}

#[test]
fn what_is_missing_broken_or_cut_is_left_out() {
    let mut disk = Memory::default();
    disk.put(Root::Spool, "broken.wav", b"RIFF nonsense");
    disk.put(Root::Spool, "odd.wav", &as_wav(Encoding::Pcm16, 11_025));
    disk.put(Root::Spool, "empty.alaw", b"");
    disk.put(Root::Spool, "good.alaw", &file(Encoding::Alaw, 8000));
    let sounds = [
        "missing.wav",
        "broken.wav",
        "odd.wav",
        "empty.alaw",
        "../x.wav",
        "good.alaw",
    ];
    let sounds = sounds.map(spool).to_vec();
    let mut all = player(sounds, 8000, false);
    let heard = play(&mut all, &mut disk, 8000, 0, 300);
    assert!(all.is_over());
    assert_eq!((heard.len(), all.skipped()), (16_000, 4));
    // It goes in the middle.
    let mut player = player(vec![spool("good.alaw")], 8000, false);
    play(&mut player, &mut disk, 8000, 0, 10);
    disk.files.clear();
    let rest = play(&mut player, &mut disk, 8000, 0, 300);
    assert!(player.is_over() && rest.len() < 16_000);
}

#[test]
fn a_prompt_of_the_site_comes_before_the_built_in_one() {
    let prompt = |name: &str| Sound::Prompt {
        language: Language::Es,
        name: name.into(),
    };
    let mut disk = Memory::default();
    disk.put(
        Root::Prompts,
        "es/vm-goodbye.ulaw",
        &file(Encoding::Ulaw, 8000),
    );
    let ours = super::super::prompts::find(Language::Es, "digits/1").unwrap();
    let length = ours.len() / gsm::FRAME_SIZE * 160;
    for (site, name, expected) in [
        (true, "vm-goodbye", 16_000),
        (true, "digits/1", length),
        (false, "digits/1", length),
    ] {
        let mut player = player(vec![prompt(name)], 8000, site);
        let heard = play(&mut player, &mut disk, 8000, 2, 300);
        assert!(player.is_over());
        assert_eq!(heard.len(), expected, "{site} {name}");
    }
}

#[test]
fn music_is_the_sites_or_ours_and_does_not_end() {
    let mut disk = Memory::default();
    for (files, site) in [(0, false), (0, true), (2, true), (3, true)] {
        disk.files.clear();
        for n in 0..files.min(2) {
            disk.put(
                Root::Prompts,
                &format!("moh/{n}.alaw"),
                &file(Encoding::Alaw, 8000)[..16_000 - n * 4000],
            );
        }
        if files == 3 {
            disk.put(Root::Prompts, "moh/broken.wav", b"");
            disk.put(Root::Prompts, "moh/notes.txt", b"no sound");
        }
        let mut player = player(vec![Sound::Music], 8000, site);
        let heard = play(&mut player, &mut disk, 8000, 0, 2000);
        assert!(!player.is_over());
        assert!(heard.len() > 1950 * 160, "{}", heard.len());
        let piece = &heard[20 * 8000..][..8000];
        let power: f32 = piece.iter().map(|s| f32::from(*s).powi(2)).sum();
        assert!(power / 8000.0 > 100_000.0);
        let theirs = amplitude(piece, HZ, 8000) > 5000.0;
        assert_eq!(theirs, files > 0, "{files}");
    }
    // Nothing of the site's can be played.
    disk.files.clear();
    disk.put(Root::Prompts, "moh/broken.wav", b"");
    let mut player = player(vec![Sound::Music], 16_000, true);
    let heard = play(&mut player, &mut disk, 16_000, 0, 200);
    assert!(heard.len() > 190 * 320);
}

#[test]
fn an_answer_to_an_old_question_is_none() {
    let mut disk = Memory::default();
    disk.put(Root::Spool, "a.alaw", &file(Encoding::Alaw, 8000));
    let mut player = player(vec![spool("a.alaw")], 8000, false);
    let wish = player.poll_wish().unwrap();
    player.asked(1);
    // A new format: the sound ends, and with it what was asked for it.
    player.set_rate(16_000);
    player.handle_answer(1, answer(&mut disk, wish));
    assert!(player.is_over());
    assert_eq!(player.fill(&mut [0; 320]), 0);
}
