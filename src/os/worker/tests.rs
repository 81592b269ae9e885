//! How datagrams are told apart.

use super::*;

#[test]
fn datagrams_are_sorted_by_their_first_bytes() {
    assert_eq!(sort(b"OPTIONS sip:a SIP/2.0\r\n\r\n"), Sort::Message);
    assert_eq!(sort(b"\r\nOPTIONS sip:a SIP/2.0\r\n\r\n"), Sort::Message);
    assert_eq!(sort(b"!interesting sip:a SIP/2.0\r\n\r\n"), Sort::Message);
    assert_eq!(sort(b""), Sort::Keepalive);
    assert_eq!(sort(b"\r\n\r\n"), Sort::Keepalive);
    assert_eq!(sort(&[0; 4]), Sort::Keepalive);
    assert_eq!(sort(b"hello"), Sort::Garbage);
    assert_eq!(sort(&[0xff; 40]), Sort::Garbage);
    let mut binding = [0u8; 20];
    binding[1] = 1;
    binding[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
    assert_eq!(sort(&binding), Sort::Stun);
}
