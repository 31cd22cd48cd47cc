//! What predictions are made of: arguments to reports.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    Digest384, Inputs, Kernel, Memory, Register, Report, Shape, Unified,
    acpi::{MAX_ACPI, tables},
    digest::{sha256, sha384},
    machine::{AcpiFiles, FROZEN},
    mrtd::{EXPECTED, MeasuredFirmware, Order},
    pe::MAX_IMAGE,
    predict,
    profile::{self, Profile},
    report::Alternative,
    tdvf::{Firmware, MAX_FIRMWARE},
};
use clap::{Args, ValueEnum};

use crate::cli::{Failure, files};

/// Longest initramfs, in bytes.
const MAX_INITRD: usize = 1 << 30;

/// The files and settings of a guest.
#[derive(Debug, Args)]
pub struct GuestArguments {
    /// Firmware with TDX metadata (OVMF.fd)
    #[arg(long, value_name = "FILE")]
    pub firmware: PathBuf,
    /// Kernel, command line and initramfs in one image, which the firmware measures whole
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "initrd", "cmdline"])]
    pub image: Option<PathBuf>,
    /// Linux kernel (bzImage)
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Initramfs
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Command line, as QEMU gets it by -append
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub cmdline: Option<String>,
    /// Numbers of processors
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub cpus: Vec<u32>,
    /// Amounts of memory: 512M, 2G
    #[arg(long, value_name = "SIZE", value_delimiter = ',')]
    pub memory: Vec<Memory>,
    /// Folder with `loader`, `rsdp` and `tables`, QEMU's ACPI files for this
    /// shape, instead of those of the frozen machine
    #[arg(long, value_name = "DIR")]
    pub acpi: Option<PathBuf>,
    /// Treat an unknown firmware build like this known one
    #[arg(long, value_name = "BUILD", value_parser = build)]
    pub firmware_like: Option<&'static Profile>,
    /// The order in which the VMM adds and measures pages
    #[arg(long, value_name = "ORDER")]
    pub page_order: Option<PageOrder>,
    /// The kernel's header is patched, by a QEMU before 10.0 and not for a TD
    #[arg(long, requires_all = ["kernel", "initrd", "cmdline", "memory"])]
    pub qemu_patches_kernel: bool,
}

/// [`Order`] as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PageOrder {
    /// Linux from 6.16 on
    PageByPage,
    /// Kernels from before TDX was in mainline
    SectionBySection,
}

impl From<PageOrder> for Order {
    fn from(order: PageOrder) -> Self {
        match order {
            PageOrder::PageByPage => Self::PageByPage,
            PageOrder::SectionBySection => Self::SectionBySection,
        }
    }
}

fn build(id: &str) -> Result<&'static Profile, String> {
    profile::named(id).ok_or_else(|| {
        let known: Vec<_> = profile::PROFILES.iter().map(|known| known.id).collect();
        format!("known builds: {}", known.join(", "))
    })
}

/// Files in memory.
pub struct Guest<'a> {
    arguments: &'a GuestArguments,
    pub firmware: Vec<u8>,
    pub image: Option<Vec<u8>>,
    pub kernel: Option<Vec<u8>>,
    pub initrd: Option<Vec<u8>>,
    acpi: Option<AcpiFiles>,
}

impl<'a> Guest<'a> {
    /// Reads all files that are named.
    pub fn read(arguments: &'a GuestArguments) -> Result<Self, Failure> {
        let optional = |path: &Option<PathBuf>, limit| {
            path.as_ref()
                .map(|path| files::read(path, limit))
                .transpose()
        };
        let acpi = |dir: &PathBuf| -> Result<_, Failure> {
            let read = |name: &str| files::read(&dir.join(name), MAX_ACPI);
            let files = AcpiFiles {
                loader: read("loader")?,
                rsdp: read("rsdp")?,
                tables: read("tables")?,
            };
            match tables(&files.loader, &files.tables) {
                Ok(found) if found.is_empty() => Err(Failure::Usage(format!(
                    "{} names no table; QEMU's etc/table-loader would be right",
                    dir.join("loader").display()
                ))),
                Ok(_) => Ok(files),
                Err(error) => Err(Failure::input(dir, error)),
            }
        };
        Ok(Self {
            arguments,
            firmware: files::read(&arguments.firmware, MAX_FIRMWARE)?,
            image: optional(&arguments.image, MAX_IMAGE)?,
            kernel: optional(&arguments.kernel, MAX_IMAGE)?,
            initrd: optional(&arguments.initrd, MAX_INITRD)?,
            acpi: arguments.acpi.as_ref().map(acpi).transpose()?,
        })
    }

    /// What is known of the firmware build.
    pub fn profile(&self) -> Option<&'static Profile> {
        profile::of(&sha256(&self.firmware)).or(self.arguments.firmware_like)
    }

    /// Every combination of processors and memory; `None` if one is not given.
    fn shapes(&self) -> Vec<Option<Shape>> {
        let arguments = self.arguments;
        let mut shapes = Vec::new();
        for &cpus in &arguments.cpus {
            for memory in &arguments.memory {
                let memory = memory.0;
                shapes.push(Some(Shape { cpus, memory }));
            }
        }
        if shapes.is_empty() {
            shapes.push(None);
        }
        shapes
    }

    /// A report for each shape.
    pub fn reports(&self) -> Result<Vec<Report>, Failure> {
        let arguments = self.arguments;
        let firmware = Firmware::parse(&self.firmware)
            .map_err(|error| Failure::input(&arguments.firmware, error))?;
        let measured = MeasuredFirmware::new(&firmware);
        let order = arguments.page_order.map_or(EXPECTED, Order::from);
        let unified = self.unified()?;
        let (file_kernel, initrd, cmdline) = match &unified {
            Some(unified) => (
                Some(unified.kernel.clone()),
                Some(unified.initrd),
                Some(unified.cmdline),
            ),
            None => (
                self.kernel()?,
                self.initrd.as_deref(),
                arguments.cmdline.as_deref(),
            ),
        };
        let initrd = initrd.map(|bytes| (sha384(bytes), bytes.len() as u64));
        let mut patched_kernels = BTreeMap::new();
        let mut reports = Vec::new();
        for shape in self.shapes() {
            let patched = match shape {
                Some(shape) => self.patched(&mut patched_kernels, shape)?,
                None => None,
            };
            if arguments.qemu_patches_kernel && patched.is_none() {
                return Err(Failure::Usage(
                    "An old QEMU would not boot this kernel and initramfs in that memory, or the command line has a vga= that it evaluates"
                        .to_owned(),
                ));
            }
            let (kernel, other) = if arguments.qemu_patches_kernel {
                (patched.as_ref(), file_kernel.as_ref())
            } else {
                (file_kernel.as_ref(), patched.as_ref())
            };
            let inputs = Inputs {
                firmware: &measured,
                profile: self.profile(),
                order,
                unified: unified.as_ref().map(|unified| unified.digest),
                kernel,
                initrd,
                cmdline,
                shape,
            };
            let acpi = self.acpi(shape);
            let prediction = predict(&inputs, acpi.as_ref().map_err(Clone::clone));
            let alternatives = other
                .map(|kernel| self.alternative(kernel.digest()))
                .into_iter();
            reports.push(Report::new(&inputs, prediction, alternatives.collect()));
        }
        Ok(reports)
    }

    /// What the image holds.
    pub fn unified(&self) -> Result<Option<Unified<'_>>, Failure> {
        let Some((bytes, path)) = self.image.as_ref().zip(self.arguments.image.as_ref()) else {
            return Ok(None);
        };
        Unified::parse(bytes)
            .map(Some)
            .map_err(|error| Failure::input(path, error))
    }

    fn kernel(&self) -> Result<Option<Kernel>, Failure> {
        let Some(bytes) = &self.kernel else {
            return Ok(None);
        };
        Kernel::parse(bytes)
            .map(Some)
            .map_err(|error| Failure::input(self.kernel_path(), error))
    }

    /// The kernel as an old QEMU patches it; the same for all shapes with as much
    /// low memory.
    fn patched(
        &self,
        known: &mut BTreeMap<u64, Option<Kernel>>,
        shape: Shape,
    ) -> Result<Option<Kernel>, Failure> {
        let (Some(kernel), Some(initrd)) = (&self.kernel, &self.initrd) else {
            return Ok(None);
        };
        if let Some(patched) = known.get(&shape.low_memory()) {
            return Ok(patched.clone());
        }
        let length = u32::try_from(initrd.len()).unwrap_or(u32::MAX);
        let cmdline = self.arguments.cmdline.as_deref().unwrap_or_default();
        let patched = Kernel::parse_patched(kernel, shape, length, cmdline)
            .map_err(|error| Failure::input(self.kernel_path(), error))?;
        known.insert(shape.low_memory(), patched.clone());
        Ok(patched)
    }

    fn alternative(&self, digest: &Digest384) -> Alternative {
        let cause = if self.arguments.qemu_patches_kernel {
            "QEMU leaves the kernel's header alone, as it does for TDs and from 10.0 on"
        } else {
            "an old QEMU patches the kernel's header for this memory size and initramfs"
        };
        Alternative {
            register: Register::Rtmr1,
            event: "kernel".to_owned(),
            digest: *digest,
            cause: cause.to_owned(),
        }
    }

    fn acpi(&self, shape: Option<Shape>) -> Result<AcpiFiles, String> {
        if let Some(files) = &self.acpi {
            return Ok(files.clone());
        }
        let shape = shape.ok_or_else(|| "processors and memory are not given".to_owned())?;
        FROZEN.acpi(shape).map_err(|error| error.to_string())
    }

    fn kernel_path(&self) -> &Path {
        self.arguments.kernel.as_deref().unwrap_or(Path::new(""))
    }
}
