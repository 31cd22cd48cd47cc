//! Where things are in the guest.

/// This program: stages are the same file under another argument.
pub const INIT: &str = "/init";
/// The committee server.
pub const SERVER: &str = "/usr/bin/zipnet-server";
/// Kernel modules, as `NAME.ko`.
pub const MODULES: &str = "/lib/modules";
/// Their names in the order to load them, one a line.
pub const MODULE_ORDER: &str = "/lib/modules/order";
/// Where QEMU's `-fw_cfg name=opt/org.zipnet/config,file=FILE` shows up.
pub const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/org.zipnet/config/raw";
/// Where configfs is mounted.
pub const CONFIGFS: &str = "/sys/kernel/config";
/// Everything that this guest writes is below; it is memory.
pub const RUN: &str = "/run/zipnet";
/// The public configuration, as QEMU gave it.
pub const CONFIG: &str = "/run/zipnet/config";
/// The only folder that the server may write to.
pub const STATE: &str = "/run/zipnet/state";
/// What DHCP or the configuration said of the network.
pub const NETWORK: &str = "/run/zipnet/network";
/// There once the network has an address; holds it.
pub const ADDRESS: &str = "/run/zipnet/network/address";
/// Name servers; `/etc/resolv.conf` is a link to it.
pub const RESOLV_CONF: &str = "/run/zipnet/network/resolv.conf";
/// Secrets and policy, all of them or not there.
pub const PROVISIONED: &str = "/run/zipnet/provisioned";
