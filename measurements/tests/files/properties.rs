//! A measurement moves with what it depends on, and with nothing else.

use proptest::{prelude::*, sample::select};
use zipnet_measurements::{
    DependsOn, Prediction, Shape,
    mrtd::{Order, mrtd},
    pe::Image,
    tdvf::{Firmware, SectionKind},
};

use crate::{guest::Guest, vectors::read};

/// One thing about a guest that may change.
#[derive(Debug, Clone)]
enum Change {
    Memory(u64),
    Cpus(u32),
    Initrd(Vec<u8>),
    Cmdline(String),
    /// A byte of the kernel that its digest covers.
    Kernel(usize),
    /// A byte of the variable store.
    Store(usize),
    /// A byte of the code.
    Code(usize),
}

impl Change {
    fn apply(&self, guest: &mut Guest) {
        match self {
            Self::Memory(memory) => guest.shape.memory = *memory,
            Self::Cpus(cpus) => guest.shape.cpus = *cpus,
            Self::Initrd(initrd) => guest.initrd.clone_from(initrd),
            Self::Cmdline(cmdline) => guest.cmdline.clone_from(cmdline),
            // Behind all headers, in front of the certificates.
            Self::Kernel(at) => guest.kernel[0x1000 + at % 0x1e00] ^= 1,
            Self::Store(at) => guest.firmware[at % 0x1000] ^= 1,
            Self::Code(at) => guest.firmware[0x1000 + at % 0x2000] ^= 1,
        }
    }

    const fn cause(&self) -> DependsOn {
        match self {
            Self::Memory(_) => DependsOn::Memory,
            Self::Cpus(_) => DependsOn::Cpus,
            Self::Initrd(_) => DependsOn::Initrd,
            Self::Cmdline(_) => DependsOn::Cmdline,
            Self::Kernel(_) => DependsOn::Kernel,
            Self::Store(_) | Self::Code(_) => DependsOn::Firmware,
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (8_u64..512).prop_map(|units| Change::Memory(units * (64 << 20))),
        select(vec![1, 2, 4, 8, 16, 32]).prop_map(Change::Cpus),
        proptest::collection::vec(any::<u8>(), 1..64).prop_map(Change::Initrd),
        "[ -~]{0,64}".prop_map(Change::Cmdline),
        any::<usize>().prop_map(Change::Kernel),
        any::<usize>().prop_map(Change::Store),
        any::<usize>().prop_map(Change::Code),
    ]
}

/// Registers whose events do not name a cause stay; events that move name it.
fn moves_only_by(cause: DependsOn, before: &Prediction, after: &Prediction) {
    assert_eq!(before.events.len(), after.events.len());
    for (a, b) in before.events.iter().zip(&after.events) {
        assert_eq!(a.event, b.event);
        if a.digest != b.digest {
            assert!(
                a.depends_on.contains(&cause),
                "{} moved by {cause}",
                a.event
            );
        }
    }
    for register in zipnet_measurements::Register::ALL {
        let depends = before
            .events
            .iter()
            .filter(|event| event.register == register)
            .any(|event| event.depends_on.contains(&cause));
        if !depends {
            assert_eq!(before.value(register), after.value(register), "{register}");
        }
    }
}

proptest! {
    #[test]
    fn registers_move_only_by_what_their_events_depend_on(change in change()) {
        let guest = Guest::default();
        let mut other = guest.clone();
        change.apply(&mut other);
        moves_only_by(change.cause(), &guest.predict(), &other.predict());
    }

    /// And they do move: no change of a guest goes unseen, but two amounts of
    /// memory or the same value.
    #[test]
    fn no_change_goes_unseen(change in change()) {
        let guest = Guest::default();
        let mut other = guest.clone();
        change.apply(&mut other);
        let same = guest.firmware == other.firmware
            && guest.kernel == other.kernel
            && guest.initrd == other.initrd
            && guest.cmdline == other.cmdline
            && guest.shape == other.shape;
        prop_assert_eq!(guest.predict().values == other.predict().values, same);
    }

    #[test]
    fn mrtd_does_not_move_with_the_variable_store(at in 0_usize..0x1000, bit in 0_u8..8) {
        let bytes = read("tdvf/guid-table.fd");
        let mut other = bytes.clone();
        other[at] ^= 1 << bit;
        let (a, b) = (Firmware::parse(&bytes).unwrap(), Firmware::parse(&other).unwrap());
        for order in [Order::PageByPage, Order::SectionBySection] {
            prop_assert_eq!(mrtd(&a, order), mrtd(&b, order));
        }
        let store = |firmware: &Firmware<'_>| {
            firmware.data(firmware.section(SectionKind::Cfv).unwrap()).to_vec()
        };
        prop_assert_ne!(store(&a), store(&b));
    }

    /// Every byte of an image counts but checksum, certificates and the entry
    /// that names them; those that the parser reads may make it refuse.
    #[test]
    fn authenticode_covers_every_other_byte(at in 0_usize..0x3000, bit in 0_u8..8) {
        let bytes = read("kernel/kernel.bz");
        let optional = 0x80 + 24;
        let uncovered = (optional + 64..optional + 68).contains(&at)
            || (optional + 144..optional + 152).contains(&at)
            || at >= 0x3000 - 0x200;
        let mut other = bytes.clone();
        other[at] ^= 1 << bit;
        let digest = Image::parse(&bytes).unwrap().sha384();
        match Image::parse(&other) {
            // Another size of the certificates covers more or less of the tail.
            Ok(image) if uncovered && at < 0x1000 && at >= optional + 148 => {
                prop_assert_ne!(image.sha384(), digest);
            }
            Ok(image) => prop_assert_eq!(image.sha384() == digest, uncovered),
            Err(_) => prop_assert!(at < 0x200),
        }
    }

    #[test]
    fn low_and_high_memory_are_all_memory(memory in (64_u64 << 20)..(1 << 44)) {
        let shape = Shape { cpus: 1, memory };
        prop_assert_eq!(shape.low_memory() + shape.high_memory(), memory);
        prop_assert!(shape.low_memory() < 0xb000_0000);
    }
}
