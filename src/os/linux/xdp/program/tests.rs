//! The program, run by an interpreter of the instructions that it has. Access beyond the frame's
//! end, the stack or a port's slot is a failure, as it is for the kernel's verifier.

use super::*;

const PORTS_MAP: RawFd = 7;
const SOCKETS_MAP: RawFd = 8;
const REDIRECT: u64 = 4;

// Where the program finds things; a mask of what they are.
const FRAME_AT: u64 = 0x1000_0000;
const STACK_AT: u64 = 0x2000_0000;
const CONTEXT_AT: u64 = 0x3000_0000;
const SLOT_AT: u64 = 0x4000_0000;
const REGION: u64 = 0xf000_0000;
const STACK_BYTES: u64 = 512;

/// A machine with one open port.
struct Machine {
    registers: [u64; 11],
    stack: [u8; STACK_BYTES as usize],
    frame: Vec<u8>,
    context: Vec<u8>,
    slot: Vec<u8>,
    port: u16,
}

impl Machine {
    fn new(ours: SocketAddr, vlan: Option<u16>, frame: Vec<u8>) -> Self {
        let end = FRAME_AT + frame.len() as u64;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index.
        let context = [FRAME_AT as u32, end as u32, FRAME_AT as u32, 2, 3];
        let mut registers = [0; 11];
        registers[1] = CONTEXT_AT;
        registers[usize::from(STACK)] = STACK_AT + STACK_BYTES;
        let slot = Slot {
            address: Default::default(),
            kind: AtomicU32::new(0),
            vlan: AtomicU32::new(0),
        };
        slot.open(ours.ip(), vlan);
        let words = slot.address.iter().chain([&slot.kind, &slot.vlan]);
        Self {
            registers,
            stack: [0; STACK_BYTES as usize],
            frame,
            context: context.into_iter().flat_map(u32::to_ne_bytes).collect(),
            slot: words
                .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
                .collect(),
            port: ours.port(),
        }
    }

    fn load(&self, address: u64, bytes: usize) -> u64 {
        let memory: &[u8] = match address & REGION {
            FRAME_AT => &self.frame,
            STACK_AT => &self.stack,
            CONTEXT_AT => &self.context,
            SLOT_AT => &self.slot,
            _ => panic!("a load from {address:#x}"),
        };
        let at = (address & !REGION) as usize;
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(&memory[at..at + bytes]);
        u64::from_le_bytes(value)
    }

    fn call(&mut self, helper: i32) {
        let [_, one, two, three, ..] = self.registers;
        self.registers[0] = match helper {
            HELPER_MAP_LOOKUP => {
                assert_eq!(one, PORTS_MAP as u64);
                match self.load(two, 4) == u64::from(self.port) {
                    true => SLOT_AT,
                    // A slot of a port that is not open would do as well.
                    false => 0,
                }
            }
            HELPER_REDIRECT_MAP => {
                assert_eq!(
                    (one, two, three),
                    (SOCKETS_MAP as u64, 3, ACTION_PASS as u64)
                );
                REDIRECT
            }
            _ => panic!("helper {helper}"),
        };
        // As the verifier has it: they hold nothing after a call.
        self.registers[1..6].fill(u64::MAX);
    }

    /// What it says of the frame.
    fn run(mut self) -> u64 {
        let code = instructions(PORTS_MAP, SOCKETS_MAP);
        let mut at = 0;
        loop {
            let word = code[at];
            let [opcode, registers, ..] = word.to_le_bytes();
            let (to, from) = (usize::from(registers & 15), usize::from(registers >> 4));
            let offset = i64::from((word >> 16) as u16 as i16);
            let value = i64::from((word >> 32) as u32 as i32) as u64;
            let jump = at.checked_add_signed(offset as isize).unwrap();
            let (a, b) = (self.registers[to], self.registers[from]);
            let source = b.wrapping_add_signed(offset);
            match opcode {
                0x61 => self.registers[to] = self.load(source, 4),
                0x69 => self.registers[to] = self.load(source, 2),
                0x71 => self.registers[to] = self.load(source, 1),
                0x63 => {
                    let place = a.wrapping_add_signed(offset) - STACK_AT;
                    let bytes = (b as u32).to_le_bytes();
                    self.stack[place as usize..][..4].copy_from_slice(&bytes);
                }
                0xbf => self.registers[to] = b,
                0xb7 => self.registers[to] = value,
                0x07 => self.registers[to] = a.wrapping_add(value),
                0x57 => self.registers[to] = a & value,
                0xdc => self.registers[to] = u64::from((a as u16).swap_bytes()),
                0x18 => {
                    self.registers[to] = value;
                    at += 1;
                }
                0x85 => self.call(value as i32),
                0x95 => return self.registers[0],
                0x05 => at = jump,
                0x15 if a == value => at = jump,
                0x55 if a != value => at = jump,
                0x5d if a != b => at = jump,
                0x2d if a > b => at = jump,
                0x15 | 0x55 | 0x5d | 0x2d => {}
                _ => panic!("instruction {opcode:#x}"),
            }
            at += 1;
        }
    }
}

const OURS: &str = "192.0.2.1:16384";
const OURS_SIX: &str = "[2001:db8::1]:16384";

/// A frame to this address with these tags; what is of no matter to the program is zero.
fn frame(to: &str, tags: &[(u16, u16)]) -> Vec<u8> {
    let to: SocketAddr = to.parse().unwrap();
    let mut frame = vec![2; 12];
    for (kind, tag) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(tag.to_be_bytes());
    }
    match to.ip() {
        IpAddr::V4(ip) => {
            frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0]);
            frame.extend([198, 51, 100, 9]);
            frame.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
            frame.extend([0x20; 16]);
            frame.extend(ip.octets());
        }
    }
    frame.extend([0x0f, 0xa0]);
    frame.extend(to.port().to_be_bytes());
    frame.extend([0, 8, 0, 0]);
    frame
}

/// Whether a frame comes to us where this port is open in this VLAN.
fn comes(ours: &str, vlan: Option<u16>, frame: Vec<u8>) -> bool {
    match Machine::new(ours.parse().unwrap(), vlan, frame).run() {
        REDIRECT => true,
        action => {
            assert_eq!(action, ACTION_PASS as u64);
            false
        }
    }
}

#[test]
fn frames_to_an_open_port_come() {
    for ours in [OURS, OURS_SIX] {
        assert!(comes(ours, None, frame(ours, &[])), "{ours}");
        // The address, the port or the family is another.
        assert!(!comes(ours, None, frame("192.0.2.2:16384", &[])));
        assert!(!comes(ours, None, frame("[2001:db8::1:0]:16384", &[])));
        assert!(!comes(ours, None, frame("192.0.2.1:16385", &[])));
    }
    assert!(!comes(OURS, None, frame(OURS_SIX, &[])));
    assert!(!comes(OURS_SIX, None, frame(OURS, &[])));
}

#[test]
fn the_vlan_is_the_flow_s() {
    const TAG: u16 = 0x8100;
    for ours in [OURS, OURS_SIX] {
        let tagged = |tag| frame(ours, &[(TAG, tag)]);
        assert!(comes(ours, Some(100), tagged(100)));
        // Priority 5 and DEI are no part of the number.
        assert!(comes(ours, Some(100), tagged(0xb064)));
        assert!(!comes(ours, Some(100), tagged(101)));
        assert!(!comes(ours, Some(100), frame(ours, &[])));
        assert!(!comes(ours, None, tagged(100)));
        // A priority alone names no VLAN.
        assert!(comes(ours, None, tagged(0xa000)));
        assert!(!comes(ours, Some(100), tagged(0xa000)));
        // Two tags, and one of IEEE 802.1ad.
        let double = frame(ours, &[(TAG, 100), (TAG, 100)]);
        assert!(!comes(ours, Some(100), double));
        assert!(!comes(ours, Some(100), frame(ours, &[(0x88a8, 100)])));
    }
}

#[test]
fn what_is_no_whole_datagram_is_the_kernel_s() {
    type Harm = fn(&mut Vec<u8>);
    let harms: [Harm; 4] = [
        |frame| frame[14] = 0x46,
        |frame| frame[23] = 6,
        |frame| frame[20] |= 0x20,
        |frame| frame[21] = 1,
    ];
    for harm in harms {
        let mut harmed = frame(OURS, &[]);
        harm(&mut harmed);
        assert!(!comes(OURS, None, harmed));
    }
    for (ours, tags) in [
        (OURS, [].as_slice()),
        (OURS, &[(0x8100, 5)]),
        (OURS_SIX, &[(0x8100, 5)]),
    ] {
        let vlan = (!tags.is_empty()).then_some(5);
        let whole = frame(ours, tags);
        assert!(comes(ours, vlan, whole.clone()));
        for length in 0..whole.len() {
            assert!(
                !comes(ours, vlan, whole[..length].to_vec()),
                "{length} bytes"
            );
        }
    }
}
