//! Threads that stay on one CPU, so that a ring of a card, its thread and what that has in its
//! caches stay together.

#![allow(unsafe_code)]

use std::io;

/// The most CPUs: CPU_MAXSIZE of sys/_cpuset.h.
const CPUS_MAX: usize = 1024;

/// A bit for each CPU.
pub(super) type Mask = [u64; CPUS_MAX / 64];

/// Has the calling thread run on one CPU alone: the `number`-th of those that it may use, counted
/// anew behind the last one. Gives the CPU.
pub fn pin(number: usize) -> io::Result<usize> {
    let cpu = choose(&system::allowed()?, number).ok_or(io::ErrorKind::NotFound)?;
    let mut one: Mask = [0; CPUS_MAX / 64];
    if let Some(word) = one.get_mut(cpu / 64) {
        *word = 1 << (cpu % 64);
    }
    system::allow(&one)?;
    Ok(cpu)
}

/// The CPUs that the calling thread may use.
#[cfg(test)]
pub(super) fn allowed() -> io::Result<Mask> {
    system::allowed()
}

fn choose(allowed: &Mask, number: usize) -> Option<usize> {
    let is_set = |cpu: &usize| {
        allowed
            .get(cpu / 64)
            .is_some_and(|w| w >> (cpu % 64) & 1 == 1)
    };
    let count = (0..CPUS_MAX).filter(is_set).count();
    (0..CPUS_MAX).filter(is_set).nth(number.checked_rem(count)?)
}

#[cfg(target_os = "linux")]
mod system {
    use super::{CPUS_MAX, Mask};
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;
    use std::io;

    pub(super) fn allowed() -> io::Result<Mask> {
        let set = sched_getaffinity(Pid::from_raw(0))?;
        let mut mask = Mask::default();
        for cpu in 0..CPUS_MAX.min(CpuSet::count()) {
            if let Some(word) = mask.get_mut(cpu / 64) {
                *word |= u64::from(set.is_set(cpu)?) << (cpu % 64);
            }
        }
        Ok(mask)
    }

    pub(super) fn allow(mask: &Mask) -> io::Result<()> {
        let mut set = CpuSet::new();
        for (at, word) in mask.iter().enumerate() {
            for bit in (0..64).filter(|bit| word >> bit & 1 == 1) {
                set.set(at * 64 + bit)?;
            }
        }
        Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
    }
}

/// cpuset(2). Capability mode allows both calls for the thread itself, which -1 stands for
/// (cpuset_check_capabilities in sys/kern/kern_cpuset.c). The size is told, since that of cpuset_t
/// differs between releases.
#[cfg(target_os = "freebsd")]
mod system {
    use super::Mask;
    use libc::{CPU_LEVEL_WHICH, CPU_WHICH_TID, cpuset_t};
    use std::io;

    pub(super) fn allowed() -> io::Result<Mask> {
        let mut mask = Mask::default();
        let to = std::ptr::from_mut(&mut mask).cast::<cpuset_t>();
        // SAFETY: the mask is as long as is told, and outlives the call.
        let got = unsafe {
            libc::cpuset_getaffinity(CPU_LEVEL_WHICH, CPU_WHICH_TID, -1, size_of::<Mask>(), to)
        };
        match got {
            0 => Ok(mask),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(super) fn allow(mask: &Mask) -> io::Result<()> {
        let from = std::ptr::from_ref(mask).cast::<cpuset_t>();
        // SAFETY: as above.
        let set = unsafe {
            libc::cpuset_setaffinity(CPU_LEVEL_WHICH, CPU_WHICH_TID, -1, size_of::<Mask>(), from)
        };
        match set {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_counted_among_those_that_are_allowed() {
        let mut allowed = Mask::default();
        allowed[0] = 0b1010;
        allowed[2] = 1;
        let chosen = [0, 1, 2, 3, 7].map(|number| choose(&allowed, number));
        assert_eq!(chosen, [1, 3, 128, 1, 3].map(Some));
        assert_eq!(choose(&Mask::default(), 0), None);
    }

    #[test]
    fn a_thread_stays_where_it_was_put() {
        // On a thread of its own, so that the tests' others keep their CPUs.
        let pinned = std::thread::spawn(|| {
            let last = (0..CPUS_MAX).rev().find(|n| {
                let word = system::allowed().unwrap()[n / 64];
                word >> (n % 64) & 1 == 1
            });
            let count: u32 = system::allowed()
                .unwrap()
                .iter()
                .map(|w| w.count_ones())
                .sum();
            let cpu = pin(count as usize - 1).unwrap();
            assert_eq!(Some(cpu), last);
            let now = system::allowed().unwrap();
            assert_eq!(now.iter().map(|w| w.count_ones()).sum::<u32>(), 1);
            // What is allowed by now is what is counted.
            assert_eq!(pin(5).unwrap(), cpu);
        });
        pinned.join().unwrap();
    }
}
