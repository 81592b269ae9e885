use super::transform::{Purpose, Session, derive};
use super::*;
use crate::base::Rng;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn master(profile: Profile, text: &str) -> MasterKey {
    MasterKey::new(profile, &hex(text)).unwrap()
}

/// RFC 3711 B.3.
const MASTER_128: &str = "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6";
/// RFC 6188 §7.2.
const MASTER_256: &str = "f0f04914b513f2763a1b1fa130f10e29 98f6f6e43e4309d1e622a0e332b9f1b6
    3b04803de51ee7c96423ab5b78d2";

fn derived(master: &MasterKey, label: u8, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    derive(master, label, &mut out);
    out
}

#[test]
fn keys_are_derived_as_in_rfc_3711_b_3() {
    let master = master(Profile::AesCm128HmacSha1_80, MASTER_128);
    assert_eq!(
        derived(&master, 0, 16),
        hex("C61E7A93744F39EE10734AFE3FF7A087")
    );
    assert_eq!(derived(&master, 2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
    let authentication = "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE
        E049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC25
        6D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2";
    assert_eq!(derived(&master, 1, 94), hex(authentication));
}

#[test]
fn keys_are_derived_as_in_rfc_6188_7_2() {
    let master = master(Profile::AesCm256HmacSha1_80, MASTER_256);
    let key = "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4";
    assert_eq!(derived(&master, 0, 32), hex(key));
    assert_eq!(derived(&master, 2, 14), hex("fa31791685ca444a9e07c6c64e93"));
    let authentication = "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05";
    assert_eq!(derived(&master, 1, 20), hex(authentication));
}

#[test]
fn the_keystreams_are_those_of_rfc_3711_b_2_and_rfc_6188_7_1() {
    let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
    for (profile, key, blocks) in [
        (
            Profile::AesCm128HmacSha1_80,
            "2B7E151628AED2A6ABF7158809CF4F3C",
            "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
             41E95B3BB0A2E8DD477901E4FCA894C0",
        ),
        (
            Profile::AesCm256HmacSha1_80,
            "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98",
            "92bdd28a93c3f52511c677d08b5515a4 9da71b2378a854f67050756ded165bac
             63c4868b7096d88421b563b8c94c9a31",
        ),
    ] {
        let session = Session::with_keys(profile, &hex(key), &[0; 20], salt).unwrap();
        let mut stream = [0; 48];
        session.apply(0, 0, &mut stream);
        assert_eq!(stream, hex(blocks)[..]);
    }
}

/// RFC 7714 §16 and §17: the session keys are given, so the derivation is passed by.
#[test]
fn packets_are_sealed_as_in_rfc_7714() {
    let rtp = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
        69736120 696e2070 61727465 73207472 6573";
    let rtcp = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
        deadbeef deadbeef deadbeef deadbeef deadbeef";
    for (profile, key, sealed_rtp, sealed_rtcp) in [
        (
            Profile::AeadAes128Gcm,
            "000102030405060708090a0b0c0d0e0f",
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
             0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
             c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872
             45d9eade 800005d4",
        ),
        (
            Profile::AeadAes256Gcm,
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238
             9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
            "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50
             a2eaa5c1 110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c
             b26ac3be 800005d4",
        ),
    ] {
        let mut salt = [0; 14];
        salt[..12].copy_from_slice(&hex("517569642070726f2071756f"));
        let sessions =
            || [(); 2].map(|()| Session::with_keys(profile, &hex(key), &[], salt).unwrap());
        let mut protector = Protector::with_sessions(profile, sessions(), 0x5d4);
        let mut unprotector = Unprotector::with_sessions(profile, sessions());
        let mut buffer = [0; 200];
        let plain = hex(rtp);
        buffer[..plain.len()].copy_from_slice(&plain);
        let length = protector.protect_rtp(&mut buffer, plain.len()).unwrap();
        assert_eq!(buffer[..length], hex(sealed_rtp));
        let length = unprotector.unprotect_rtp(&mut buffer[..length]).unwrap();
        assert_eq!(buffer[..length], plain);
        let plain = hex(rtcp);
        buffer[..plain.len()].copy_from_slice(&plain);
        let length = protector.protect_rtcp(&mut buffer, plain.len()).unwrap();
        assert_eq!(buffer[..length], hex(sealed_rtcp));
        let length = unprotector.unprotect_rtcp(&mut buffer[..length]).unwrap();
        assert_eq!(buffer[..length], plain);
    }
}

/// The packets by which libsrtp's driver checks its counter modes.
#[test]
fn packets_of_the_counter_modes_are_those_of_another_implementation() {
    let rtp = hex(&format!("800f1234decafbadcafebabe{}", "ab".repeat(16)));
    for (profile, key, body) in [
        (
            Profile::AesCm128HmacSha1_80,
            MASTER_128,
            "4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
        ),
        (
            Profile::AesCm256HmacSha1_80,
            MASTER_256,
            "f1d9de17ff251ff1aa007774b0b4b40da08d9d9a5b3a55d8873b",
        ),
    ] {
        let mut protector = Protector::new(&master(profile, key), None, None);
        let mut buffer = [0; 100];
        buffer[..28].copy_from_slice(&rtp);
        assert_eq!(protector.protect_rtp(&mut buffer, 28), Ok(38));
        assert_eq!(buffer[..12], rtp[..12]);
        assert_eq!(buffer[12..38], hex(body));
    }
    // Its first index is one.
    let rtcp = hex(&format!("81c8000bcafebabe{}", "ab".repeat(16)));
    let profile = Profile::AesCm128HmacSha1_80;
    let mut protector = Protector::new(&master(profile, MASTER_128), None, None);
    let mut buffer = [0; 100];
    for _ in 0..2 {
        buffer[..24].copy_from_slice(&rtcp);
        assert_eq!(protector.protect_rtcp(&mut buffer, 24), Ok(38));
    }
    let wanted = "81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8
        80000001 993e08cd54d6c1230798";
    assert_eq!(buffer[..38], hex(wanted));
}

fn pair(profile: Profile, seed: u64, mki: Option<Mki>) -> (Protector, Unprotector) {
    let mut rng = Rng::from_u64(seed);
    let master = MasterKey::generate(profile, |bytes| rng.fill(bytes));
    (
        Protector::new(&master, mki, None),
        Unprotector::new(&master, mki, None),
    )
}

fn packet(sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, 0];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn protect(protector: &mut Protector, plain: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + OVERHEAD_MAX, 0);
    let length = protector.protect_rtp(&mut buffer, plain.len())?;
    buffer.truncate(length);
    Ok(buffer)
}

fn unprotect(unprotector: &mut Unprotector, sealed: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = sealed.to_vec();
    let length = unprotector.unprotect_rtp(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

#[test]
fn all_profiles_round_trip_and_refuse_what_was_changed_anywhere() {
    for (seed, profile) in Profile::ALL.into_iter().enumerate() {
        for mki in [None, Mki::new(0x0102, 2), Mki::new(u64::MAX, 8)] {
            let (mut protector, mut unprotector) = pair(profile, seed as u64, mki);
            let mut plain = packet(7, 9, b"speech that nobody hears");
            // CSRC and extension stay clear.
            plain[0] |= 0x11;
            plain.splice(12..12, [1, 2, 3, 4, 0xbe, 0xde, 0, 1, 5, 6, 7, 8]);
            let sealed = protect(&mut protector, &plain).unwrap();
            assert_eq!(sealed[..24], plain[..24]);
            assert_ne!(sealed[24..40], plain[24..40]);
            for place in 0..sealed.len() * 8 {
                let mut forged = sealed.clone();
                forged[place / 8] ^= 1 << (place % 8);
                assert!(unprotect(&mut unprotector, &forged).is_err(), "bit {place}");
            }
            for length in 0..sealed.len() {
                assert!(unprotect(&mut unprotector, &sealed[..length]).is_err());
            }
            assert_eq!(unprotect(&mut unprotector, &sealed), Ok(plain));
            assert_eq!(
                unprotect(&mut unprotector, &sealed),
                Err(SrtpError::Replayed)
            );
            let mut report = hex("80c90001 00000009 01020304 05060708");
            report.resize(16 + OVERHEAD_MAX, 0);
            let length = protector.protect_rtcp(&mut report, 16).unwrap();
            for place in 0..length * 8 {
                let mut forged = report[..length].to_vec();
                forged[place / 8] ^= 1 << (place % 8);
                assert!(
                    unprotector.unprotect_rtcp(&mut forged).is_err(),
                    "bit {place}"
                );
            }
            let mut again = report.clone();
            assert_eq!(unprotector.unprotect_rtcp(&mut report[..length]), Ok(16));
            assert_eq!(report[..8], again[..8]);
            assert_eq!(report[8..16], [1, 2, 3, 4, 5, 6, 7, 8]);
            let replayed = unprotector.unprotect_rtcp(&mut again[..length]);
            assert_eq!(replayed, Err(SrtpError::Replayed));
        }
    }
}

#[test]
fn numbers_wrap_and_packets_may_come_in_any_order_within_the_window() {
    let (mut protector, mut unprotector) = pair(Profile::AesCm128HmacSha1_80, 1, None);
    let mut rng = Rng::from_u64(2);
    let mut under_way: Vec<(u64, Vec<u8>, Vec<u8>)> = Vec::new();
    // Three times around.
    for n in 0..200_000u64 {
        let plain = packet((n + 65_000) as u16, 1, &n.to_be_bytes());
        let sealed = protect(&mut protector, &plain).unwrap();
        let arrival = n + rng.below(100);
        if !rng.chance(1, 10) {
            under_way.push((arrival, plain, sealed));
        }
        if under_way.len() > 200 {
            under_way.sort();
            for (_, plain, sealed) in under_way.drain(..100) {
                assert_eq!(unprotect(&mut unprotector, &sealed), Ok(plain));
                assert_eq!(
                    unprotect(&mut unprotector, &sealed),
                    Err(SrtpError::Replayed)
                );
            }
        }
    }
}

#[test]
fn a_number_is_not_used_twice_and_old_ones_are_refused() {
    let (mut protector, mut unprotector) = pair(Profile::AeadAes128Gcm, 3, None);
    let first = protect(&mut protector, &packet(10, 1, b"a")).unwrap();
    assert_eq!(
        protect(&mut protector, &packet(10, 1, b"b")),
        Err(SrtpError::Replayed)
    );
    let far = protect(&mut protector, &packet(200, 1, b"c")).unwrap();
    assert_eq!(
        protect(&mut protector, &packet(11, 1, b"d")),
        Err(SrtpError::Replayed)
    );
    assert!(unprotect(&mut unprotector, &far).is_ok());
    assert_eq!(
        unprotect(&mut unprotector, &first),
        Err(SrtpError::Replayed)
    );
    // Before the beginning of the stream.
    assert_eq!(
        protect(&mut protector, &packet(65_500, 1, b"e")),
        Err(SrtpError::Replayed)
    );
}

#[test]
fn keys_end_with_their_lifetime() {
    let master = master(Profile::AesCm128HmacSha1_32, MASTER_128);
    let mut protector = Protector::new(&master, None, Some(2));
    let mut unprotector = Unprotector::new(&master, None, Some(1));
    let sealed = [1, 2, 3].map(|n| protect(&mut protector, &packet(n, 1, b"x")));
    assert_eq!(sealed[2], Err(SrtpError::KeyExpired));
    assert!(unprotect(&mut unprotector, sealed[0].as_ref().unwrap()).is_ok());
    let expired = unprotect(&mut unprotector, sealed[1].as_ref().unwrap());
    assert_eq!(expired, Err(SrtpError::KeyExpired));
    // The buffer must have room for the most.
    let mut short = packet(4, 1, b"x");
    assert_eq!(
        protector.protect_rtp(&mut short, 13),
        Err(SrtpError::NoRoom)
    );
}

#[test]
fn sources_are_bounded_and_forged_ones_take_no_place() {
    let (mut protector, mut unprotector) = pair(Profile::AesCm256HmacSha1_80, 4, None);
    for ssrc in 0..1000 {
        let forged = packet(1, ssrc, &[0; 40]);
        assert_eq!(unprotect(&mut unprotector, &forged), Err(SrtpError::Forged));
    }
    let all = (SOURCES_MAX + RETIRED_MAX) as u32;
    for ssrc in 0..all {
        let sealed = protect(&mut protector, &packet(1, ssrc, b"x")).unwrap();
        assert!(unprotect(&mut unprotector, &sealed).is_ok(), "{ssrc}");
        // Those of before are not forgotten, however many there were.
        let first = protect(&mut protector, &packet(1, 0, b"y"));
        assert_eq!(first, Err(SrtpError::Replayed), "{ssrc}");
    }
    let more = protect(&mut protector, &packet(1, all, b"x"));
    assert_eq!(more, Err(SrtpError::TooManySources));
    // One that retired goes on where it was.
    let on = protect(&mut protector, &packet(2, 0, b"z")).unwrap();
    assert_eq!(unprotect(&mut unprotector, &on), Ok(packet(2, 0, b"z")));
}

/// Sixty sources take turns at random, some of them for long, with wraps in between: nothing is
/// ever sent under a key stream that was used, and nothing is taken twice.
/// A call of more than 65,536 packets gets another key by a re-INVITE. Some peers keep the roll-over
/// counter then (RFC 3711 §3.3.1), others begin at zero (RFC 4568 §7.1.4): both are heard.
#[test]
fn a_new_key_is_heard_with_the_roll_over_counter_of_before_and_without() {
    for (seed, profile) in Profile::ALL.into_iter().enumerate() {
        for keeps in [true, false] {
            let key = |seed| Crypto {
                tag: 1,
                master: {
                    let mut rng = Rng::from_u64(seed);
                    MasterKey::generate(profile, |bytes| rng.fill(bytes))
                },
                lifetime: None,
                mki: None,
            };
            let keys = [
                key(seed as u64),
                key(100 + seed as u64),
                key(200 + seed as u64),
            ];
            let [first, silent, second] = &keys;
            let mut ours = Secure::default();
            let renew = |ours: &mut Secure, theirs: &Crypto| {
                let theirs = Some(theirs.clone());
                ours.renew(&Keys { ours: None, theirs });
            };
            let hears = |ours: &mut Secure, by: &mut Protector, sequence| {
                let plain = packet(sequence, 7, b"sound");
                let mut sealed = protect(by, &plain).unwrap();
                let length = ours.open(&mut sealed, false);
                length.map(|length| sealed[..length] == plain[..])
            };
            let sender = |key: &Crypto| Protector::new(&key.master, None, None);
            let mut phone = sender(first);
            renew(&mut ours, first);
            for sequence in [65_534, 65_535, 0, 1, 2] {
                assert_eq!(
                    hears(&mut ours, &mut phone, sequence),
                    Ok(true),
                    "{profile:?}"
                );
            }
            // Under one of the keys nothing came.
            renew(&mut ours, silent);
            renew(&mut ours, second);
            let mut phone = sender(second);
            if keeps {
                protect(&mut phone, &packet(65_535, 7, b"")).unwrap();
            }
            for sequence in [3, 4, 6, 5] {
                let heard = hears(&mut ours, &mut phone, sequence);
                assert_eq!(heard, Ok(true), "{profile:?} {keeps}");
            }
            // A replay is one, and who has another key is not heard.
            let again = protect(&mut sender(second), &packet(5, 7, b"sound")).unwrap();
            assert!(ours.open(&mut again.clone(), false).is_err());
            let forged = protect(&mut sender(first), &packet(9, 7, b"sound")).unwrap();
            let mut left = forged.clone();
            assert_eq!(ours.open(&mut left, false), Err(SrtpError::Forged));
            assert_eq!(left, forged, "a forged packet stays as it is");
            let stranger = protect(&mut sender(first), &packet(9, 8, b"sound")).unwrap();
            assert_eq!(
                ours.open(&mut stranger.clone(), false),
                Err(SrtpError::Forged)
            );
        }
    }
}

#[test]
fn sources_that_come_back_use_no_key_stream_again() {
    for (seed, profile) in Profile::ALL.into_iter().enumerate() {
        let mut rng = Rng::from_u64(seed as u64);
        let (mut protector, mut unprotector) = pair(profile, seed as u64, None);
        let mut next = [65_000u16; 60];
        let (mut streams, mut sent) = (std::collections::BTreeSet::new(), Vec::new());
        let mut refused = 0;
        for turn in 0..4000 {
            let ssrc = match rng.chance(1, 3) {
                true => rng.below(60) as usize,
                false => turn / 60 % 60,
            };
            // One in ten begins anew, as far as it knows.
            let sequence = match rng.chance(1, 10) {
                true => rng.next_u64() as u16,
                false => next[ssrc],
            };
            let plain = packet(sequence, ssrc as u32, &[0; 24]);
            let Ok(sealed) = protect(&mut protector, &plain) else {
                refused += 1;
                continue;
            };
            next[ssrc] = sequence.wrapping_add(1);
            let stream = (ssrc, sealed[12..36].to_vec());
            assert!(
                streams.insert(stream),
                "{profile:?} {turn} {ssrc} {sequence}"
            );
            assert_eq!(
                unprotect(&mut unprotector, &sealed),
                Ok(plain),
                "{profile:?} {turn}"
            );
            sent.push(sealed);
            let again = &sent[rng.below(sent.len() as u64) as usize];
            let again = unprotect(&mut unprotector, again);
            assert!(matches!(
                again,
                Err(SrtpError::Replayed | SrtpError::Forged)
            ));
        }
        assert!(
            sent.len() > 2000 && refused > 50,
            "{} {refused}",
            sent.len()
        );
    }
}

#[test]
fn clear_reports_are_refused_even_with_a_right_tag() {
    let profile = Profile::AesCm128HmacSha1_80;
    let key = master(profile, MASTER_128);
    let mut report = hex("80c90001 00000009 00000000");
    let mut tag = [0; 10];
    let session = Session::new(&key, Purpose::Rtcp).unwrap();
    session.sign([&report, &[]], &mut tag);
    report.extend(tag);
    let mut unprotector = Unprotector::new(&key, None, None);
    assert_eq!(
        unprotector.unprotect_rtcp(&mut report),
        Err(SrtpError::Clear)
    );
}

#[test]
fn garbage_is_refused_without_panic() {
    for seed in 0..20_000 {
        let mut rng = Rng::from_u64(seed);
        let profile = Profile::ALL[rng.below(6) as usize];
        let mki = Mki::new(rng.below(256), rng.below(9) as usize);
        let (mut protector, mut unprotector) = pair(profile, seed, mki);
        let mut bytes = vec![0; rng.below(120) as usize];
        rng.fill(&mut bytes);
        if let Some(first) = bytes.first_mut() {
            *first = 0x80 | (*first & 0x3f);
        }
        assert!(unprotector.unprotect_rtp(&mut bytes.clone()).is_err());
        assert!(unprotector.unprotect_rtcp(&mut bytes.clone()).is_err());
        let length = rng.below(bytes.len() as u64 + 1) as usize;
        let _ = protector.protect_rtp(&mut bytes.clone(), length);
        let _ = protector.protect_rtcp(&mut bytes, length);
    }
}

// ---------------------------------------------------------------- SDES

#[test]
fn the_attributes_of_rfc_4568_are_read_and_written() {
    // §9.1's examples' shape, keys of the right length.
    let key = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    for value in [
        format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}"),
        format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^20|1:4"),
        format!("999999999 AES_CM_128_HMAC_SHA1_32 inline:{key}|2^48"),
        format!("2 AES_CM_128_HMAC_SHA1_32 inline:{key}|1000|66051:4"),
        format!("0 AES_CM_128_HMAC_SHA1_80 inline:{key}|1:1"),
    ] {
        let crypto = Crypto::parse(&value).unwrap();
        assert_eq!(crypto.to_string(), value);
        assert!(!format!("{crypto:?}").contains(key));
    }
    let crypto = Crypto::parse(&format!(
        "1 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^20|1:4 WSH=64 -later=1"
    ));
    let crypto = crypto.unwrap();
    assert_eq!(
        (crypto.lifetime, crypto.mki),
        (Some(1 << 20), Mki::new(1, 4))
    );
}

#[test]
fn keys_of_all_suites_round_trip() {
    let mut rng = Rng::from_u64(6);
    for profile in Profile::ALL {
        for _ in 0..100 {
            let crypto = Crypto {
                tag: rng.below(1_000_000_000) as u32,
                master: MasterKey::generate(profile, |bytes| rng.fill(bytes)),
                lifetime: rng.chance(1, 2).then(|| 1 + rng.below(RTP_PACKETS_MAX)),
                mki: Mki::new(rng.below(256), rng.below(9) as usize),
            };
            assert_eq!(Crypto::parse(&crypto.to_string()), Ok(crypto));
        }
    }
}

#[test]
fn what_the_grammar_does_not_have_is_refused() {
    let key = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    let suite = "AES_CM_128_HMAC_SHA1_80";
    for bad in [
        String::new(),
        format!(" 1 {suite} inline:{key}"),
        format!("1  {suite} inline:{key}"),
        format!("1 {suite} inline:{key} "),
        format!("1 {suite}"),
        format!("x {suite} inline:{key}"),
        format!("+1 {suite} inline:{key}"),
        format!("1234567890 {suite} inline:{key}"),
        format!("1 {suite} inline"),
        format!("1 {suite} inline:"),
        format!("1 {suite} inline:{}", &key[1..]),
        format!("1 {suite} inline:{}", &key[4..]),
        format!("1 {suite} inline:{}=", &key[1..]),
        format!("1 {suite} inline:{}*", &key[1..]),
        format!("1 {suite} inline:{key}|"),
        format!("1 {suite} inline:{key}|0"),
        format!("1 {suite} inline:{key}|2^49"),
        format!("1 {suite} inline:{key}|2^99999999999"),
        format!("1 {suite} inline:{key}|1:4|2^20"),
        format!("1 {suite} inline:{key}|2^20|256:1"),
        format!("1 {suite} inline:{key}|2^20|1:0"),
        format!("1 {suite} inline:{key}|2^20|1:4|2:4"),
        format!("1 {suite} inline:{key} WSH=63"),
        format!("1 {suite} inline:{key} -"),
        format!("1 AEAD_AES_128_GCM inline:{key}"),
        "9".repeat(VALUE_MAX_PLUS_ONE),
    ] {
        let refused = Crypto::parse(&bad);
        assert!(
            matches!(refused, Err(CryptoError::Malformed(_))),
            "{bad}: {refused:?}"
        );
    }
    for (other, what) in [
        (
            format!("1 {suite} inline:{key};inline:{key}"),
            "more than one key",
        ),
        (format!("1 {suite} uri:{key}"), "key method uri"),
        (
            format!("1 {suite} inline:{key}|2^20|1:16"),
            "an MKI of 16 bytes",
        ),
        (
            format!("1 {suite} inline:{key} KDR=1"),
            "session parameter KDR=1",
        ),
        (
            format!("1 {suite} inline:{key} UNENCRYPTED_SRTP"),
            "session parameter UNENCRYPTED_SRTP",
        ),
    ] {
        let refused = Crypto::parse(&other);
        assert_eq!(refused, Err(CryptoError::Unsupported(what.to_owned())));
    }
    let unknown = Crypto::parse(&format!("1 F8_128_HMAC_SHA1_80 inline:{key}"));
    let name = "F8_128_HMAC_SHA1_80".to_owned();
    assert_eq!(unknown, Err(CryptoError::UnknownSuite(name)));
}

const VALUE_MAX_PLUS_ONE: usize = 513;

#[test]
fn base64_has_one_spelling() {
    let mut rng = Rng::from_u64(7);
    for profile in Profile::ALL {
        let crypto = Crypto {
            tag: 1,
            master: MasterKey::generate(profile, |bytes| rng.fill(bytes)),
            lifetime: None,
            mki: None,
        };
        let text = crypto.to_string();
        // Each other last digit is refused or means another key.
        if let Some(unpadded) = text.strip_suffix('=') {
            let unpadded = unpadded.trim_end_matches('=');
            assert_eq!(Crypto::parse(unpadded), Ok(crypto.clone()));
            if text.ends_with("==") {
                assert!(Crypto::parse(&text[..text.len() - 1]).is_err());
            }
            let at = text.find('=').unwrap();
            for digit in "ABCDabcd0123+/=".chars() {
                let other = format!("{}{digit}{}", &text[..at - 1], &text[at..]);
                assert!(other == text || Crypto::parse(&other) != Ok(crypto.clone()));
            }
        }
    }
}
