//! The recipe: everything that is decided about the image and is not a file.

use core::fmt;

/// What artifacts are named after.
pub const NAME: &str = "zipnet";

/// The kernel's command line. A panic ends the guest: nobody is there to look at it.
/// Only modules that Debian signed with the kernel are loaded, and even root does not
/// look into the kernel or change it. Doors of old programs and of debuggers are shut,
/// places in memory are hard to guess, and the firmware's word is no entropy.
pub const CMDLINE: &str = "console=ttyS0 quiet panic=-1 oops=panic module.sig_enforce=1 init_on_alloc=1 \
    lockdown=confidentiality vsyscall=none ia32_emulation=0 debugfs=off slab_nomerge page_alloc.shuffle=1 \
    randomize_kstack_offset=on random.trust_bootloader=off";

/// When the recipe was last gone through, seconds since 1970 (2026-11-22): a
/// guest whose clock shows less refuses to start.
pub const DATE: &str = include_str!("../date");

/// Modules in the order in which they are loaded; a leading `-` marks one that
/// the guest can do without.
pub const MODULES: &str = include_str!("../modules");

/// The script that starts the image, without its payload.
pub const LAUNCHER: &str = include_str!("../run-qemu.sh");

/// Numbers of processors that the manifest has shapes for.
pub const CPUS: [u32; 4] = [1, 2, 4, 8];

/// Amounts of memory that the manifest has shapes for, in GiB.
pub const MEMORY: [u64; 4] = [1, 2, 4, 8];

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// A TDX host.
    Production,
    /// Trying things out: with simulated evidence, which proves nothing, and of the
    /// unoptimized programs that this machine runs itself.
    Local,
}

impl Flavor {
    /// Its name, as folders and versions have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Local => "local",
        }
    }

    /// The version of an image of this flavor.
    #[must_use]
    pub fn version(self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match self {
            Self::Production => version.to_owned(),
            Self::Local => format!("{version}-local"),
        }
    }

    /// How well zstd compresses its initramfs. Its window, at most 8 MiB, is one
    /// that the kernel takes. The local image is made anew after each build.
    #[must_use]
    pub const fn compression(self) -> i32 {
        match self {
            Self::Production => 19,
            Self::Local => -10,
        }
    }

    /// Most bytes of its initramfs.
    #[must_use]
    pub const fn max_initramfs(self) -> usize {
        match self {
            Self::Production => 9_000_000,
            Self::Local => 45_000_000,
        }
    }

    /// Most bytes of its kernel, firmware and initramfs together.
    #[must_use]
    pub const fn max_image(self) -> usize {
        self.max_initramfs() + 17_000_000
    }

    /// Features of the programs in it.
    #[must_use]
    pub const fn features(self) -> &'static [&'static str] {
        match self {
            Self::Production => &[],
            Self::Local => &["zipnet-server/simulation", "zipnet-init/simulation"],
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
