//! The system calls that a stage may make; to any other the kernel answers that it does
//! not know it (`ENOSYS`), as libraries expect of an older one.
//!
//! The lists are what the server was seen to call (`strace` over a deployment), and what
//! the same libraries call at other times. Not in them: whatever mounts, traces, loads
//! code into the kernel, changes the machine, or makes name spaces.

use std::collections::BTreeMap;

use nix::libc::{self, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// Memory, time, threads, and what every program does.
const EVERY: &[c_long] = &[
    libc::SYS_arch_prctl,
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getcwd,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_ioctl,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mlock,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munlock,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_pipe2,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_tgkill,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_uname,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Files, as far as Landlock lets them be touched.
const FILES: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fchmod,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_rmdir,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_umask,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
];

/// Sockets that are there; which ones can be made is another list.
const SOCKETS: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
];

/// What a stage calls besides.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    /// Kinds of sockets that it makes (`AF_*`).
    pub sockets: &'static [i32],
    /// Whether it becomes another program.
    pub execute: bool,
}

/// A filter could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum CallsError {
    /// The filter.
    #[error("The list of system calls makes no filter")]
    Filter(#[source] BackendError),
    /// The kernel.
    #[error("The kernel takes no filter of system calls; one with seccomp would be right")]
    Apply(#[source] seccompiler::Error),
    /// It lets through what it must not.
    #[error("The filter of system calls is not in force")]
    Open,
}

impl Calls {
    /// The kernel's filter.
    ///
    /// # Errors
    /// [`CallsError::Filter`].
    pub fn filter(&self) -> Result<BpfProgram, CallsError> {
        let always = [EVERY, FILES, SOCKETS].concat().into_iter();
        let mut rules: BTreeMap<_, Vec<SeccompRule>> =
            always.map(|call| (call, Vec::new())).collect();
        // Threads, but neither processes nor name spaces. `clone3`, whose flags no filter
        // sees, is not known here, and libc takes `clone` then.
        let flag = libc::CLONE_THREAD.unsigned_abs().into();
        rules.insert(
            libc::SYS_clone,
            vec![rule(SeccompCmpOp::MaskedEq(flag), flag)?],
        );
        let sockets = self.sockets.iter();
        let sockets = sockets.map(|kind| rule(SeccompCmpOp::Eq, kind.unsigned_abs().into()));
        rules.insert(libc::SYS_socket, sockets.collect::<Result<_, _>>()?);
        if self.execute {
            rules.insert(libc::SYS_execve, Vec::new());
        }
        let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        SeccompFilter::new(rules, unknown, SeccompAction::Allow, TargetArch::x86_64)
            .and_then(BpfProgram::try_from)
            .map_err(CallsError::Filter)
    }

    /// Lets this process and what it becomes make no other calls. Needs "no new
    /// privileges".
    ///
    /// # Errors
    /// [`CallsError`].
    pub fn enter(&self) -> Result<(), CallsError> {
        seccompiler::apply_filter(&self.filter()?).map_err(CallsError::Apply)?;
        // Nobody here may do this; with the filter, the kernel does not even know it.
        let refused = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS);
        if refused == Err(nix::errno::Errno::ENOSYS) {
            Ok(())
        } else {
            Err(CallsError::Open)
        }
    }
}

/// A call whose first argument is such.
fn rule(how: SeccompCmpOp, value: u64) -> Result<SeccompRule, CallsError> {
    SeccompCondition::new(0, SeccompCmpArgLen::Dword, how, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(CallsError::Filter)
}

#[cfg(test)]
mod tests {
    use std::{io, net::UdpSocket, os::fd::OwnedFd, process::Command, thread};

    use nix::{
        errno::Errno,
        sys::{
            prctl::set_no_new_privs,
            socket::{AddressFamily, SockFlag, SockType, socket},
        },
    };

    use super::*;

    const SERVER: Calls = Calls {
        sockets: &[libc::AF_INET],
        execute: false,
    };

    fn unknown<T>(done: io::Result<T>) -> bool {
        done.is_err_and(|error| error.raw_os_error() == Some(libc::ENOSYS))
    }

    /// A filter is one of the thread that enters it, and of what that starts.
    #[test]
    fn d6_a_stage_makes_the_calls_of_its_list_and_no_others() {
        let made = thread::spawn(|| {
            set_no_new_privs().unwrap();
            SERVER.enter().unwrap();
            // What a server does.
            let own = UdpSocket::bind("127.0.0.1:0").unwrap();
            own.send_to(b"x", own.local_addr().unwrap()).unwrap();
            assert!(!std::fs::read("/proc/self/stat").unwrap().is_empty());
            assert_eq!(thread::spawn(|| 3).join().unwrap(), 3);
            // What it has no reason to.
            let flags = SockFlag::empty();
            let raw = |family| -> Result<OwnedFd, Errno> {
                socket(family, SockType::Datagram, flags, None)
            };
            assert_eq!(raw(AddressFamily::Unix).unwrap_err(), Errno::ENOSYS);
            assert_eq!(raw(AddressFamily::Packet).unwrap_err(), Errno::ENOSYS);
            assert!(unknown(Command::new("/bin/true").status()));
            assert!(unknown(std::os::unix::fs::chroot("/")));
            assert!(unknown(nix::mount::umount("/nowhere").map_err(Into::into)));
        });
        made.join().unwrap();
    }

    #[test]
    fn no_stage_may_do_what_changes_the_machine() {
        let never = [
            libc::SYS_bpf,
            libc::SYS_finit_module,
            libc::SYS_init_module,
            libc::SYS_io_uring_setup,
            libc::SYS_kexec_load,
            libc::SYS_keyctl,
            libc::SYS_mount,
            libc::SYS_perf_event_open,
            libc::SYS_process_vm_readv,
            libc::SYS_ptrace,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_userfaultfd,
            libc::SYS_setuid,
            libc::SYS_execveat,
            libc::SYS_clone3,
        ];
        let all = [EVERY, FILES, SOCKETS].concat();
        assert!(!never.iter().any(|call| all.contains(call)));
    }
}
