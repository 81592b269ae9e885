//! How much memory the bindings take: a process of its own, so that nothing else is counted.
#![cfg(target_os = "linux")]

use voip::base::{Anchor, Flow, Instant, Transport};
use voip::location::{Clock, ContactUpdate, Limits, Location, Requested, Update};

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Phones as they are: behind NAT, with instance, feature tags and a Call-ID of their own.
fn register(location: &Location, n: u32) {
    let aor = format!("57003{n:05}@voztele.example.com");
    let uri = format!(
        "sip:57003{n:05}@192.168.{}.{}:5060;transport=udp",
        n >> 8 & 255,
        n & 255
    );
    let call_id = format!("fe57e466-1acd{n:08x}@192.168.{}.{}", n >> 8 & 255, n & 255);
    let instance = format!("urn:uuid:00000000-0000-1000-8000-{n:012x}");
    let parameters =
        format!(";+sip.instance=\"<{instance}>\";methods=\"INVITE, ACK, BYE, CANCEL, OPTIONS\"");
    let agent = format!("Linksys/SPA2102-3.3.{}", n % 40);
    let contacts = [ContactUpdate {
        uri: &uri,
        parameters: &parameters,
        q: 1000,
        expires: 3600,
        instance: &instance,
        reg_id: 0,
        behind_nat: true,
    }];
    let update = Update {
        aor: &aor,
        call_id: &call_id,
        cseq: 1,
        flow: Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: ([198, 51, (n >> 8) as u8, n as u8], 40_000).into(),
            connection: None,
        },
        path: "",
        user_agent: &agent,
        requested: Requested::Contacts(&contacts),
    };
    let clock = Clock {
        now: Instant::from_millis(u64::from(n)),
        anchor: Anchor::default(),
    };
    drop(location.update(clock, &update).unwrap());
}

#[test]
fn a_contact_takes_less_than_a_kilobyte() {
    const CONTACTS: u32 = 100_000;
    let before = resident_bytes();
    let location = Location::new(Limits {
        contacts_per_aor: 10,
        contacts: 200_000,
    });
    for n in 0..CONTACTS {
        register(&location, n);
        // The pinger takes them up; here nobody pings.
        drop(location.take_fresh());
    }
    let each = (resident_bytes() - before) / CONTACTS as usize;
    assert_eq!(location.len(), CONTACTS as usize);
    println!("{each} bytes per contact");
    assert!(each < 1024, "{each} bytes per contact");
}
