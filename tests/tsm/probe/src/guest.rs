//! What the kernel has to be asked for: mounts, modules, the end.

use std::{
    convert::Infallible,
    ffi::{CStr, CString},
    fs::{self, File},
    io,
};

use nix::{
    kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module},
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
    unistd::Pid,
};

/// Mounts a file system that is the kernel's own.
pub fn mount_kernels(kind: &str, at: &str) -> io::Result<()> {
    fs::create_dir_all(at)?;
    mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)?;
    Ok(())
}

/// Loads `/NAME.ko` with its parameters.
pub fn load(name: &str, parameters: &CStr) -> io::Result<()> {
    let module = File::open(format!("/{name}.ko"))?;
    finit_module(&module, parameters, ModuleInitFlags::empty())?;
    Ok(())
}

/// Unloads a module that nobody uses.
pub fn unload(name: &str) -> io::Result<()> {
    let name = CString::new(name).map_err(io::Error::other)?;
    delete_module(&name, DeleteModuleFlags::O_NONBLOCK)?;
    Ok(())
}

/// Whether a thread of this process waits for a lock of the kernel (state `D`,
/// `Documentation/filesystems/proc.rst`).
pub fn is_blocked(thread: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
    stat.is_ok_and(|stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('D'))
    })
}

/// Ends the guest.
pub fn power_off() -> io::Result<Infallible> {
    Ok(reboot(RebootMode::RB_POWER_OFF)?)
}
