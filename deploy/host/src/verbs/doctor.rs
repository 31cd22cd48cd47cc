//! `doctor`: whether this host has what a TD needs.

use std::{path::PathBuf, time::SystemTime};

use clap::Args;
use serde_json::json;

use super::launch::ImageArguments;
use crate::{
    doctor::{Host, Purpose, examine, is_fit},
    http::Url,
    image::Image,
    output,
    quotes::Quotes,
};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    image: ImageArguments,
    /// Processors and memory of the guest
    #[arg(long, value_name = "ID", default_value = "2c2G")]
    shape: String,
    /// QEMU
    #[arg(
        long,
        value_name = "PROGRAM",
        env = "QEMU",
        default_value = "qemu-system-x86_64"
    )]
    qemu: PathBuf,
    /// Where QEMU reaches the quote generation service: `unix:PATH` or `vsock:CID:PORT`
    #[arg(long, value_name = "WHERE", default_value = "vsock:2:4050")]
    quotes: Quotes,
    /// The PCCS that the host's quoting asks [default: that of
    /// `/etc/sgx_default_qcnl.conf`]
    #[arg(long, value_name = "URL")]
    pccs: Option<Url>,
    /// Look at the files of a host whose root is here
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Looks at this host; whether it is fit.
#[must_use]
pub fn run(arguments: &Arguments) -> bool {
    let host = Host {
        root: arguments.root.clone(),
        now: SystemTime::now(),
    };
    let image = &arguments.image;
    let purpose = Purpose {
        image: image
            .image
            .as_ref()
            .map(|path| Image::open(path, image.manifest.as_deref())),
        shape: arguments.shape.clone(),
        qemu: arguments.qemu.clone(),
        quotes: arguments.quotes.clone(),
        pccs: arguments.pccs.clone(),
    };
    let checks = examine(&host, &purpose);
    let fit = is_fit(&checks);
    if arguments.json {
        output::say(&json!({ "fit": fit, "checks": checks }).to_string());
        return fit;
    }
    for check in &checks {
        output::say(&check.to_string());
    }
    output::say(if fit {
        "This host has what a TD of this image needs, as far as can be seen without one."
    } else {
        "This host does not have what a TD of this image needs: see what failed."
    });
    fit
}
