//! A guest as a domain of libvirt, which has known TDX since 11.6.

use core::fmt::Write as _;
use std::path::Path;

use zipnet_measurements::Shape;

use crate::{plan::Forward, quotes::Quotes};

/// The machine that QEMU 11.1 calls q35.
const MACHINE: &str = "pc-q35-11.1";

/// What a domain is made of.
#[derive(Debug)]
pub struct Domain<'a> {
    /// Its name.
    pub name: &'a str,
    /// Processors and memory.
    pub shape: Shape,
    /// The firmware's file.
    pub firmware: &'a Path,
    /// The image's file.
    pub unified: &'a Path,
    /// The settings' file.
    pub config: &'a Path,
    /// QEMU, if not the one that libvirt knows.
    pub qemu: Option<&'a Path>,
    /// A tap interface; without one, passt with the forwards.
    pub tap: Option<&'a str>,
    /// The hardware address.
    pub mac: Option<&'a str>,
    /// Ports that lead to the guest.
    pub forward: &'a [Forward],
    /// The quote generation service: libvirt knows sockets in the file system only.
    pub quotes: &'a Quotes,
}

/// libvirt has no words for something.
#[derive(Debug, thiserror::Error)]
pub enum LibvirtError {
    /// Quotes over vsock.
    #[error(
        "libvirt reaches a quote generation service by a socket in the file system only; --quotes unix:PATH would be right, with qgsd started without a port"
    )]
    Vsock,
    /// A path.
    #[error("{0} is no path from the root in plain text, which libvirt asks for")]
    Path(String),
}

impl Domain<'_> {
    /// The domain's XML.
    ///
    /// # Errors
    /// [`LibvirtError`].
    pub fn xml(&self) -> Result<String, LibvirtError> {
        let Quotes::Unix(quotes) = self.quotes else {
            return Err(LibvirtError::Vsock);
        };
        let mut xml = String::new();
        // Writing to a string does not fail.
        let _ = write!(
            xml,
            "<domain type='kvm'>
  <name>{name}</name>
  <memory unit='KiB'>{memory}</memory>
  <vcpu placement='static'>{cpus}</vcpu>
  <sysinfo type='fwcfg'>
    <entry name='opt/org.zipnet/config' file='{config}'/>
  </sysinfo>
  <os>
    <type arch='x86_64' machine='{MACHINE}'>hvm</type>
    <loader type='rom' readonly='yes'>{firmware}</loader>
    <kernel>{unified}</kernel>
  </os>
  <features>
    <acpi/>
    <apic/>
    <smm state='off'/>
    <ioapic driver='qemu'/>
  </features>
  <cpu mode='host-passthrough' migratable='off'/>
  <clock offset='utc'>
    <timer name='hpet' present='no'/>
  </clock>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
",
            name = escaped(self.name),
            memory = self.shape.memory >> 10,
            cpus = self.shape.cpus,
            config = path(self.config)?,
            firmware = path(self.firmware)?,
            unified = path(self.unified)?,
        );
        if let Some(qemu) = self.qemu {
            let _ = writeln!(xml, "    <emulator>{}</emulator>", path(qemu)?);
        }
        self.interface(&mut xml);
        let _ = write!(
            xml,
            "    <controller type='usb' model='none'/>
    <serial type='pty'>
      <target type='isa-serial' port='0'/>
    </serial>
    <console type='pty'>
      <target type='serial' port='0'/>
    </console>
    <audio id='1' type='none'/>
    <memballoon model='none'/>
  </devices>
  <launchSecurity type='tdx'>
    <policy>0x10000000</policy>
    <quoteGenerationService path='{}'/>
  </launchSecurity>
</domain>
",
            path(quotes)?,
        );
        Ok(xml)
    }

    fn interface(&self, xml: &mut String) {
        let kind = if self.tap.is_some() {
            "ethernet"
        } else {
            "user"
        };
        let _ = writeln!(xml, "    <interface type='{kind}'>");
        if let Some(mac) = self.mac {
            let _ = writeln!(xml, "      <mac address='{}'/>", escaped(mac));
        }
        if let Some(tap) = self.tap {
            let _ = writeln!(xml, "      <target dev='{}' managed='no'/>", escaped(tap));
        } else {
            xml.push_str("      <backend type='passt'/>\n");
        }
        xml.push_str("      <model type='virtio'/>\n      <rom enabled='no'/>\n");
        for forward in self.forward {
            let address = forward
                .address
                .map(|address| format!(" address='{address}'"))
                .unwrap_or_default();
            let _ = writeln!(
                xml,
                "      <portForward proto='{}'{address}>\n        <range start='{}' to='{}'/>\n      </portForward>",
                escaped(&forward.protocol),
                forward.port,
                forward.guest
            );
        }
        xml.push_str("      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>\n    </interface>\n");
    }
}

fn path(path: &Path) -> Result<String, LibvirtError> {
    let text = path
        .to_str()
        .filter(|text| path.is_absolute() && !text.chars().any(char::is_control));
    text.map(escaped).ok_or_else(|| {
        LibvirtError::Path(zipnet_attest::report::plain(&path.display().to_string()))
    })
}

fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '\'' => xml.push_str("&apos;"),
            '"' => xml.push_str("&quot;"),
            other => xml.push(other),
        }
    }
    xml
}
