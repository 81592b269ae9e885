//! How many INVITEs one core parses, with the seven usual headers typed, and what that allocates;
//! rsip's figure for the same work beside it.
//!
//! Run: `cargo bench --bench parser`. Prints `metric value`, one a line. `parser` as argument runs
//! our side only, for a profile.

// A global allocator is an unsafe trait; this one counts and hands on.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rsip::prelude::*;
use voip::wire::sip::{Contacts, Edit, HeaderName, Message};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BODY: &str = "v=0\r\no=- 20518 0 IN IP4 203.0.113.1\r\ns=call\r\nc=IN IP4 203.0.113.1\r\n\
t=0 0\r\nm=audio 54400 RTP/AVP 0 8 9 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:9 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=sendrecv\r\n";

/// An INVITE of about 900 bytes as a phone sends it; `number` keeps the processor from learning
/// one message by heart.
fn invite(number: usize) -> String {
    let body = BODY.replace("20518", &format!("2{number:04}"));
    format!(
        "INVITE sip:bob{number}@biloxi.example.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP client{number}.atlanta.example.com:5060;\
         branch=z9hG4bK74bf9{number};rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Alice {number}\" <sip:alice{number}@atlanta.example.com>;tag=9fxced76sl{number}\r\n\
         To: \"Bob\" <sip:bob{number}@biloxi.example.com>\r\n\
         Call-ID: 3848276298220188511{number}@atlanta.example.com\r\n\
         CSeq: {cseq} INVITE\r\n\
         Contact: <sip:alice{number}@client{number}.atlanta.example.com;transport=udp>\r\n\
         Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, INFO\r\n\
         Supported: replaces, timer, 100rel\r\n\
         Session-Expires: 1800\r\nMin-SE: 90\r\n\
         X-Line: office-{number}\r\n\
         User-Agent: Phone/4.{number}\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {length}\r\n\r\n{body}",
        cseq = number + 1,
        length = body.len(),
    )
}

const MESSAGES: usize = 64;
const ROUNDS: usize = 20_000;

fn main() {
    let only_ours = std::env::args().any(|argument| argument == "parser");
    let texts: Vec<String> = (0..MESSAGES).map(|number| invite(1000 + number)).collect();
    let total: usize = texts.iter().map(String::len).sum();
    println!("parser_message_bytes {}", total / MESSAGES);
    let messages: Vec<Bytes> = texts.iter().map(|text| Bytes::from(text.clone())).collect();
    measure("parser", ROUNDS, &messages, ours);
    if only_ours {
        return;
    }
    measure("parser_validated", ROUNDS, &messages, |bytes| {
        let message = Message::parse(bytes.clone()).expect("good");
        message.validate().expect("good");
    });
    measure("parser_forwarded", ROUNDS, &messages, forward);
    measure("rsip", ROUNDS / 20, &messages, theirs);
}

fn measure(name: &str, rounds: usize, messages: &[Bytes], work: impl Fn(&Bytes)) {
    messages.iter().for_each(&work);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    let start = cpu_time();
    for _ in 0..rounds {
        for bytes in messages {
            work(bytes);
        }
    }
    let seconds = (cpu_time() - start).as_secs_f64();
    let count = (rounds * messages.len()) as f64;
    let allocations = (ALLOCATIONS.load(Ordering::Relaxed) - allocations) as f64;
    println!("{name}_messages_per_second {:.0}", count / seconds);
    println!("{name}_allocations_per_message {:.2}", allocations / count);
}

/// Of this thread: other programs on the same core do not count.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(done, 0, "the thread's clock can be read");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Parse, and type the seven usual headers.
fn ours(bytes: &Bytes) {
    let message = Message::parse(bytes.clone()).expect("good");
    black_box(message.top_via().expect("via"));
    black_box(message.from().expect("from").uri().expect("uri"));
    black_box(message.to().expect("to").uri().expect("uri"));
    black_box(message.call_id());
    black_box(message.cseq().expect("cseq"));
    let Ok(Contacts::List(contacts)) = message.contacts() else {
        panic!("contacts")
    };
    for contact in contacts {
        black_box(contact.expect("contact").uri().expect("uri"));
    }
    black_box(message.max_forwards().expect("hops"));
}

/// What a proxy does to each request on its way.
fn forward(bytes: &Bytes) {
    let message = Message::parse(bytes.clone()).expect("good");
    message.validate().expect("good");
    let mut edit = Edit::new(&message);
    edit.set_request_uri("sip:bob@192.0.2.4:5060")
        .prepend(
            HeaderName::Via,
            "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK0123456789abcdef",
        )
        .prepend(HeaderName::RecordRoute, "<sip:192.0.2.1:5060;lr>")
        .set(HeaderName::MaxForwards, "69");
    black_box(edit.render());
}

fn theirs(bytes: &Bytes) {
    let message = rsip::SipMessage::try_from(bytes.as_ref()).expect("good");
    black_box(message.via_header().expect("via").typed().expect("via"));
    black_box(message.from_header().expect("from").typed().expect("from"));
    black_box(message.to_header().expect("to").typed().expect("to"));
    black_box(message.call_id_header().expect("call id"));
    black_box(message.cseq_header().expect("cseq").typed().expect("cseq"));
    black_box(
        message
            .contact_header()
            .expect("contact")
            .typed()
            .expect("contact"),
    );
    black_box(
        message
            .max_forwards_header()
            .expect("hops")
            .num()
            .expect("hops"),
    );
}
