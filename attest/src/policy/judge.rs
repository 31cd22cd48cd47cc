//! What a policy says of a platform, a launch and measurements.

use super::{Image, Policy, Shape};
use crate::{
    genuine::Genuine,
    hexes::Hexes,
    origin::Origin,
    quote::{Registers, TdReport},
    rules::{Refusal, Rule},
    tcb::TcbRules,
};

const DAY: u64 = 86_400;

impl Policy {
    /// Judges platform, launch and measurements of a genuine quote; yields the
    /// image that runs and its shape.
    ///
    /// # Errors
    /// [`Refusal`] of the first rule that is broken, of ZA-307, ZA-308, ZA-4xx,
    /// ZA-5xx or ZA-6xx.
    pub(crate) fn judge(&self, found: &Genuine, now: u64) -> Result<(&Image, &Shape), Refusal> {
        self.judge_platform(found, now)?;
        self.judge_launch(&found.quote().report)?;
        self.judge_image(&found.quote().report.registers, now)
    }

    fn judge_platform(&self, found: &Genuine, now: u64) -> Result<(), Refusal> {
        let tcb = &self.tcb;
        let rules = TcbRules {
            accept: tcb.accept.clone(),
            min_evaluation: tcb.min_evaluation,
            max_evaluation: tcb.max_evaluation,
            reject_advisories: tcb.reject_advisories.clone(),
        };
        rules.check(found)?;
        let age = now.saturating_sub(found.issued());
        let oldest = u64::from(tcb.max_collateral_age_days).saturating_mul(DAY);
        if age > oldest {
            return Err(Rule::CollateralAge.refuse(
                format!("{} days", age / DAY),
                format!("at most {} days", tcb.max_collateral_age_days),
            ));
        }
        let flags = [
            ("SMT", found.smt(), tcb.smt),
            (
                "a dynamic platform",
                found.dynamic_platform(),
                tcb.dynamic_platform,
            ),
            ("cached keys", found.cached_keys(), tcb.cached_keys),
        ];
        for (what, is, may) in flags {
            if is && !may {
                return Err(Rule::PlatformFlags.refuse(what, "a platform without"));
            }
        }
        if !tcb
            .sgx_types
            .iter()
            .any(|kind| found.sgx_type() == Some(*kind))
        {
            return Err(Rule::SgxType.refuse(
                found
                    .sgx_type()
                    .map_or("another type".to_owned(), |kind| format!("{kind:?}")),
                format!("{:?}", tcb.sgx_types),
            ));
        }
        self.judge_machine(found.platform_instance())
    }

    /// Whether a machine is one of those that the policy lists, by its platform instance id.
    fn judge_machine(&self, id: Option<[u8; 16]>) -> Result<(), Refusal> {
        let Some(platforms) = &self.platforms else {
            return Ok(());
        };
        check_machine(Rule::PlatformUnlisted, id, platforms)
    }

    /// Whether the policy lets a transport identity be a server.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-408.
    pub(crate) fn judge_peer(&self, peer: &[u8; 32]) -> Result<(), Refusal> {
        match &self.servers {
            Some(servers) if self.server_of(peer).is_none() => Err(Rule::ServerUnlisted
                .refuse(hex::encode(peer), format!("one of {} named", servers.len()))),
            _ => Ok(()),
        }
    }

    /// Whether the policy lets a transport identity run on a machine.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-408 or ZA-409.
    pub(crate) fn judge_server(
        &self,
        peer: &[u8; 32],
        machine: Option<[u8; 16]>,
    ) -> Result<(), Refusal> {
        self.judge_peer(peer)?;
        match self.server_of(peer) {
            Some(server) => check_machine(Rule::ServerPlatform, machine, &server.platforms),
            None => Ok(()),
        }
    }

    /// Judges what can be judged before any collateral is there: machine, launch and measurements.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-406, ZA-5xx or ZA-6xx.
    pub(crate) fn judge_origin(&self, found: &Origin, now: u64) -> Result<(), Refusal> {
        let report = &found.quote().report;
        self.judge_machine(found.platform_instance())?;
        self.judge_launch(report)?;
        self.judge_image(&report.registers, now).map(|_| ())
    }

    fn judge_launch(&self, report: &TdReport) -> Result<(), Refusal> {
        let td = &self.td;
        report.has_attributes(&td.attributes)?;
        if !td.xfam.iter().any(|xfam| xfam.0 == report.xfam) {
            let listed: Vec<_> = td.xfam.iter().map(ToString::to_string).collect();
            return Err(Rule::Xfam.refuse(hex::encode(report.xfam), listed.join(" or ")));
        }
        let fields = [
            (Rule::ConfigId, report.mr_config_id, td.mr_config_id),
            (Rule::Owner, report.mr_owner, td.mr_owner),
            (
                Rule::OwnerConfig,
                report.mr_owner_config,
                td.mr_owner_config,
            ),
        ];
        for (rule, is, wanted) in fields {
            if is != wanted.0 {
                return Err(rule.refuse(hex::encode(is), wanted));
            }
        }
        match &td.mr_seam {
            Some(modules) if !modules.iter().any(|module| module.0 == report.mr_seam) => {
                Err(Rule::Module.refuse(
                    hex::encode(report.mr_seam),
                    format!("one of {} listed", modules.len()),
                ))
            }
            _ => Ok(()),
        }
    }

    fn judge_image(&self, registers: &Registers, now: u64) -> Result<(&Image, &Shape), Refusal> {
        let fitting = self.images.iter().find_map(|image| {
            let shape = image.shape_of(registers)?;
            Some((image, shape))
        });
        let Some((image, shape)) = fitting else {
            return Err(self.no_image(registers));
        };
        let ended = image.not_after.is_some_and(|end| now >= end);
        if now < image.not_before || ended {
            let end = image
                .not_after
                .map_or_else(|| "no end".to_owned(), |end| end.to_string());
            return Err(Rule::ImageWindow.refuse(
                format!("{} at {now}", image.id),
                format!("from {} to {end}", image.not_before),
            ));
        }
        Ok((image, shape))
    }

    /// Names the image that comes nearest, and the registers that differ.
    fn no_image(&self, registers: &Registers) -> Refusal {
        let nearest = self
            .images
            .iter()
            .map(|image| (image.differing(registers), &image.id))
            .min_by_key(|(differing, _)| differing.len());
        let found = format!("MRTD {}", hex::encode(registers.mrtd));
        match nearest {
            Some((differing, id)) => Rule::Measurements.refuse(
                found,
                format!("{id}, which differs in {}", differing.join(", ")),
            ),
            None => Rule::Measurements.refuse(found, "an image, but the policy lists none"),
        }
    }
}

/// Whether a machine is one of a list.
///
/// # Errors
/// [`Refusal`] of `rule`.
pub(crate) fn check_machine(
    rule: Rule,
    id: Option<[u8; 16]>,
    listed: &[Hexes<16>],
) -> Result<(), Refusal> {
    if listed.iter().any(|listed| Some(listed.0) == id) {
        return Ok(());
    }
    let ids: Vec<_> = listed.iter().map(ToString::to_string).collect();
    Err(rule.refuse(
        id.map_or_else(|| "no platform instance id".to_owned(), hex::encode),
        match ids.as_slice() {
            [] => "none".to_owned(),
            [id] => id.clone(),
            [one, ..] if ids.len() > 4 => format!("one of {} listed, such as {one}", ids.len()),
            ids => format!("one of {}", ids.join(", ")),
        },
    ))
}

impl Image {
    fn shape_of(&self, registers: &Registers) -> Option<&Shape> {
        let [rtmr0, rtmr1, rtmr2, rtmr3] = &registers.rtmr;
        let image = registers.mrtd == self.mrtd.0
            && *rtmr1 == self.rtmr1.0
            && *rtmr2 == self.rtmr2.0
            && *rtmr3 == self.rtmr3.0;
        self.shapes
            .iter()
            .find(|shape| image && shape.rtmr0.0 == *rtmr0)
    }

    fn differing(&self, registers: &Registers) -> Vec<&'static str> {
        let [rtmr0, rtmr1, rtmr2, rtmr3] = &registers.rtmr;
        let shape = self.shapes.iter().any(|shape| shape.rtmr0.0 == *rtmr0);
        [
            ("MRTD", registers.mrtd == self.mrtd.0),
            ("RTMR0", shape),
            ("RTMR1", *rtmr1 == self.rtmr1.0),
            ("RTMR2", *rtmr2 == self.rtmr2.0),
            ("RTMR3", *rtmr3 == self.rtmr3.0),
        ]
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| name)
        .collect()
    }
}
