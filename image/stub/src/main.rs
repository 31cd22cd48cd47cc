//! The EFI program that starts the guest's kernel: see the crate `zipnet_stub`.
//!
//! It gives the kernel its command line as load options and its initramfs by the
//! protocol that Linux asks for one (`LINUX_EFI_INITRD_MEDIA_GUID`, kernel
//! `drivers/firmware/efi/libstub/efi-stub-helper.c`), starts it, and powers the guest
//! off if that fails, or if the firmware already offers an initramfs: that would be the
//! host's (QEMU's `-initrd`), and the kernel takes whichever it finds first.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the interface of EFI is one of pointers")]

use core::{
    ffi::c_void,
    mem, ptr,
    slice::{self},
};

use uefi_raw::{
    Boolean, Guid, Handle, Status, guid,
    protocol::{
        device_path::{DevicePathProtocol, DeviceSubType, DeviceType},
        loaded_image::LoadedImageProtocol,
        media::LoadFile2Protocol,
    },
    table::{
        boot::{BootServices, InterfaceType, MemoryType},
        runtime::ResetType,
        system::SystemTable,
    },
};
use zipnet_stub::Parts;

/// Where Linux looks for an initramfs.
const INITRD: Guid = guid!("5568e427-68fc-4f3d-ac74-ca555231cc68");

/// A device path of one vendor's medium.
#[repr(C, packed)]
struct Medium {
    node: DevicePathProtocol,
    vendor: Guid,
    end: DevicePathProtocol,
}

/// A device path of memory.
#[repr(C, packed)]
struct Memory {
    node: DevicePathProtocol,
    kind: u32,
    start: u64,
    end_address: u64,
    end: DevicePathProtocol,
}

const END: DevicePathProtocol = node(DeviceType::END, DeviceSubType::END_ENTIRE, 4);

static MEDIUM: Medium = Medium {
    node: node(DeviceType::MEDIA, DeviceSubType::MEDIA_VENDOR, 20),
    vendor: INITRD,
    end: END,
};

const fn node(kind: DeviceType, sub: DeviceSubType, length: u8) -> DevicePathProtocol {
    DevicePathProtocol {
        major_type: kind,
        sub_type: sub,
        length: [length, 0],
    }
}

/// What hands the initramfs out.
#[repr(C)]
struct Loader {
    protocol: LoadFile2Protocol,
    boot: *const BootServices,
    data: *const u8,
    length: usize,
}

/// The kernel asks twice: for the length, and for the bytes.
unsafe extern "efiapi" fn load_file(
    this: *mut LoadFile2Protocol,
    _: *const DevicePathProtocol,
    boot_policy: Boolean,
    size: *mut usize,
    buffer: *mut c_void,
) -> Status {
    if this.is_null() || size.is_null() {
        return Status::INVALID_PARAMETER;
    }
    if boot_policy != Boolean::FALSE {
        return Status::UNSUPPORTED;
    }
    // SAFETY: `this` is the first field of the loader that was installed.
    let loader = unsafe { &*this.cast::<Loader>() };
    // SAFETY: the caller's own variable.
    let room = unsafe { size.replace(loader.length) };
    if buffer.is_null() || room < loader.length {
        return Status::BUFFER_TOO_SMALL;
    }
    // SAFETY: the caller's buffer has room. Boot services are there: this is one.
    unsafe { ((*loader.boot).copy_mem)(buffer.cast(), loader.data, loader.length) };
    Status::SUCCESS
}

/// Where the firmware hands over.
#[unsafe(no_mangle)]
unsafe extern "efiapi" fn efi_main(image: Handle, table: *const SystemTable) -> Status {
    // SAFETY: the firmware's tables stay until boot services end.
    let system = unsafe { &*table };
    // SAFETY: as above.
    let boot = unsafe { &*system.boot_services };
    // SAFETY: as the caller promises.
    let Err(why) = unsafe { start(image, boot) };
    say(system, why);
    // SAFETY: runtime services stay for ever.
    let runtime = unsafe { &*system.runtime_services };
    // SAFETY: boot services are still there.
    let _ = unsafe { (boot.stall)(1_000_000) };
    // SAFETY: no data go with it.
    unsafe { (runtime.reset_system)(ResetType::SHUTDOWN, Status::ABORTED, 0, ptr::null()) }
}

/// Starts the kernel. It does not come back.
///
/// # Safety
/// `image` and `boot` are the firmware's.
unsafe fn start(
    image: Handle,
    boot: &BootServices,
) -> Result<core::convert::Infallible, &'static str> {
    // SAFETY: the firmware gives every image this protocol.
    let own = unsafe { loaded_image(boot, image) }.ok_or("it does not know itself")?;
    // SAFETY: the firmware's word of where it has put the image.
    let bytes = unsafe {
        let length = usize::try_from((*own).image_size).unwrap_or(0);
        slice::from_raw_parts((*own).image_base.cast::<u8>(), length)
    };
    let parts = Parts::find(bytes).ok_or("its kernel, command line or initramfs is missing")?;
    // SAFETY: a path that stays.
    if unsafe { initramfs_is_offered(boot) } {
        return Err("the host offers an initramfs, which is not measured");
    }
    let loader = Loader {
        protocol: LoadFile2Protocol { load_file },
        boot: ptr::from_ref(boot),
        data: parts.initrd.as_ptr(),
        length: parts.initrd.len(),
    };
    // SAFETY: loader and path stay until the kernel has ended boot services.
    unsafe { offer(boot, &loader) }?;
    // SAFETY: the kernel's bytes are in this image.
    let kernel = unsafe { load(boot, image, parts.linux) }?;
    // SAFETY: as above.
    let options = unsafe { wide(boot, parts.cmdline) }.ok_or("there is no memory")?;
    // SAFETY: the image was just loaded.
    let record = unsafe { loaded_image(boot, kernel) }.ok_or("the kernel is not known")?;
    // SAFETY: the firmware gives this record out to be filled in.
    unsafe {
        (*record).load_options = options.0.cast();
        (*record).load_options_size = options.1;
    }
    // SAFETY: the image was just loaded.
    let _ = unsafe { (boot.start_image)(kernel, ptr::null_mut(), ptr::null_mut()) };
    Err("the kernel came back")
}

unsafe fn loaded_image(boot: &BootServices, handle: Handle) -> Option<*mut LoadedImageProtocol> {
    let mut found = ptr::null_mut();
    // SAFETY: both are variables of ours.
    let status =
        unsafe { (boot.handle_protocol)(handle, &LoadedImageProtocol::GUID, &raw mut found) };
    (status == Status::SUCCESS && !found.is_null()).then_some(found.cast())
}

unsafe fn initramfs_is_offered(boot: &BootServices) -> bool {
    let mut path: *const DevicePathProtocol = (&raw const MEDIUM).cast();
    let mut handle = ptr::null_mut();
    // SAFETY: variables of ours, and a path with an end.
    let status = unsafe {
        (boot.locate_device_path)(&LoadFile2Protocol::GUID, &raw mut path, &raw mut handle)
    };
    status != Status::NOT_FOUND
}

unsafe fn offer(boot: &BootServices, loader: &Loader) -> Result<(), &'static str> {
    let mut handle = ptr::null_mut();
    let interfaces: [(Guid, *const c_void); 2] = [
        (DevicePathProtocol::GUID, (&raw const MEDIUM).cast()),
        (LoadFile2Protocol::GUID, ptr::from_ref(loader).cast()),
    ];
    for (guid, interface) in interfaces {
        let native = InterfaceType::NATIVE_INTERFACE;
        // SAFETY: the interface outlives boot services.
        let status = unsafe {
            (boot.install_protocol_interface)(&raw mut handle, &raw const guid, native, interface)
        };
        if status != Status::SUCCESS {
            return Err("the firmware takes no initramfs");
        }
    }
    Ok(())
}

unsafe fn load(boot: &BootServices, parent: Handle, kernel: &[u8]) -> Result<Handle, &'static str> {
    let start = kernel.as_ptr() as u64;
    let path = Memory {
        node: node(
            DeviceType::HARDWARE,
            DeviceSubType::HARDWARE_MEMORY_MAPPED,
            24,
        ),
        kind: MemoryType::LOADER_DATA.0,
        start,
        end_address: start + kernel.len() as u64,
        end: END,
    };
    let mut handle = ptr::null_mut();
    // SAFETY: path and bytes are there for the length of the call.
    let status = unsafe {
        (boot.load_image)(
            Boolean::FALSE,
            parent,
            (&raw const path).cast(),
            kernel.as_ptr(),
            kernel.len(),
            &raw mut handle,
        )
    };
    if status == Status::SUCCESS {
        Ok(handle)
    } else {
        Err("the firmware does not take the kernel")
    }
}

/// ASCII as 16-bit characters with a NUL, and its length in bytes.
unsafe fn wide(boot: &BootServices, text: &[u8]) -> Option<(*mut u16, u32)> {
    let length = text
        .len()
        .checked_add(1)?
        .checked_mul(mem::size_of::<u16>())?;
    let mut memory = ptr::null_mut();
    // SAFETY: a variable of ours.
    let status = unsafe { (boot.allocate_pool)(MemoryType::LOADER_DATA, length, &raw mut memory) };
    if status != Status::SUCCESS {
        return None;
    }
    let wide: *mut u16 = memory.cast();
    for (at, byte) in text.iter().chain(&[0]).enumerate() {
        // SAFETY: the memory was allocated for as many.
        unsafe { wide.add(at).write(u16::from(*byte)) };
    }
    Some((wide, u32::try_from(length).ok()?))
}

/// Writes a line on the console.
fn say(system: &SystemTable, why: &str) {
    if system.stdout.is_null() {
        return;
    }
    for text in ["zipnet: the guest does not start: ", why, "\r\n"] {
        for byte in text.bytes() {
            let text = [u16::from(byte), 0];
            // SAFETY: the console is the firmware's, the text ends with a NUL.
            let _ = unsafe { ((*system.stdout).output_string)(system.stdout, text.as_ptr()) };
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
