//! Which collateral a document is, and which of two is newer.
//!
//! CRLs are read with `x509-cert`, which dcap-qvl reads them with: issuer and
//! number come from the same signed list. The PEM chain beside it is signed as
//! a whole by nobody, and dcap-qvl does not look at it.

use x509_cert::{
    crl::CertificateList,
    der::{Decode as _, oid::AssociatedOid as _},
    ext::pkix::CrlNumber,
};

use crate::{
    collateral::{Collateral, days_between},
    platforms::{Ca, Platforms},
    rules::{Refusal, Rule},
};

/// Collateral by what it is for and how new its parts are, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition {
    /// What it is for.
    pub platforms: Platforms,
    /// Number of the TCB evaluation: the lower of TCB info and QE identity, as
    /// verifiers count it. Intel raises them one by one, so that they differ
    /// for some hours.
    pub evaluation: u32,
    /// The higher of the two.
    pub highest: u32,
    /// That of the QE identity, which is one of them.
    pub qe_evaluation: u32,
    /// When the TCB info was issued, seconds since 1970.
    pub tcb_info: u64,
    /// When the QE identity was issued, seconds since 1970.
    pub qe_identity: u64,
    /// The revocation list for PCK certificates.
    pub pck_crl: List,
    /// The root CA's revocation list.
    pub root_crl: List,
    /// When the first of these four parts expires, seconds since 1970.
    /// Certificates may sooner.
    pub expires: u64,
}

/// A revocation list, by how new it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List {
    /// When it was issued, seconds since 1970.
    pub issued: u64,
    /// Its number, 0 if it has none. Intel's lists all have the number 1.
    pub number: u64,
}

impl List {
    const fn is_older(self, other: Self) -> bool {
        self.issued < other.issued || self.number < other.number
    }
}

/// A revocation list, by its issuer's common name, its age and its end.
struct Crl {
    issuer: String,
    list: List,
    expires: Option<u64>,
}

impl Crl {
    fn parse(der: &[u8]) -> Result<Self, Refusal> {
        let refuse = |found: &str| {
            Rule::CollateralForm.refuse(found, "an X.509 CRL with a named issuer and a number")
        };
        let list: CertificateList = CertificateList::from_der(der)
            .map_err(|error| refuse("another revocation list").because(error))?;
        let list = list.tbs_cert_list;
        let name = list.issuer.common_name();
        let name = name.map_err(|error| refuse("an unreadable issuer").because(error))?;
        let mut extensions = list.crl_extensions.iter().flatten();
        let number = match extensions.find(|extension| extension.extn_id == CrlNumber::OID) {
            None => 0,
            Some(extension) => {
                let CrlNumber(number) = CrlNumber::from_der(extension.extn_value.as_bytes())
                    .map_err(|error| refuse("an unreadable CRL number").because(error))?;
                let digits = number.as_bytes();
                if digits.len() > 8 {
                    return Err(refuse("a CRL number of more than 64 bits"));
                }
                digits
                    .iter()
                    .fold(0, |number, digit| number << 8 | u64::from(*digit))
            }
        };
        Ok(Self {
            issuer: name.map_or_else(String::new, |name| name.value().into_owned()),
            list: List {
                issued: list.this_update.to_unix_duration().as_secs(),
                number,
            },
            expires: list.next_update.map(|end| end.to_unix_duration().as_secs()),
        })
    }

    fn ca(&self) -> Result<Ca, Refusal> {
        Ca::named(&self.issuer).ok_or_else(|| {
            Rule::CollateralForm.refuse(
                format!("a PCK CRL of {:?}", self.issuer),
                "one of a Platform CA or a Processor CA",
            )
        })
    }
}

impl Edition {
    /// Reads what `collateral` says of itself. Verifies nothing.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-301.
    pub fn of(collateral: &Collateral) -> Result<Self, Refusal> {
        let parts = &collateral.parts;
        let fmspc = collateral.model().ok_or_else(|| {
            Rule::CollateralForm.refuse(collateral.fmspc(), "an fmspc of 12 hex digits")
        })?;
        let pck_crl = Crl::parse(&parts.pck_crl)?;
        let root_crl = Crl::parse(&parts.root_ca_crl)?;
        let lists = [pck_crl.expires, root_crl.expires];
        Ok(Self {
            platforms: Platforms {
                fmspc,
                ca: pck_crl.ca()?,
            },
            evaluation: collateral.evaluations.0,
            highest: collateral.evaluations.1,
            qe_evaluation: collateral.qe_evaluation,
            tcb_info: collateral.tcb_info.0,
            qe_identity: collateral.qe_identity.0,
            pck_crl: pck_crl.list,
            root_crl: root_crl.list,
            expires: lists.into_iter().flatten().fold(
                collateral.tcb_info.1.min(collateral.qe_identity.1),
                u64::min,
            ),
        })
    }

    /// When the newest of its parts was issued, seconds since 1970: that time
    /// has passed, if the parts are signed.
    #[must_use]
    pub fn latest(&self) -> u64 {
        let lists = self.pck_crl.issued.max(self.root_crl.issued);
        self.tcb_info.max(self.qe_identity).max(lists)
    }

    /// Whole days until the first part expires, rounded down: negative once it
    /// has. `now` is in seconds since 1970.
    #[must_use]
    pub fn days_left(&self, now: u64) -> i64 {
        days_between(now, self.expires)
    }

    /// Whether this is newer than `other`, and nothing in it older.
    ///
    /// Its order is: evaluation, date of TCB info, date of QE identity, date
    /// and number of the PCK CRL, of the root CRL. The order alone would not
    /// do: the parts are signed one by one, so that anybody can put last
    /// month's revocation list beside today's TCB info. Therefore no list may
    /// be older, nor have a lower number (Intel's never has another one); and
    /// no date may be earlier, except under a higher evaluation, because Intel
    /// publishes several evaluations side by side.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        let [info, identity] = self.evaluations();
        let [their_info, their_identity] = other.evaluations();
        // Of two mixes of two evaluations neither part goes back.
        let older = self.lists_are_older(other) || info < their_info || identity < their_identity;
        let dates = self.tcb_info >= other.tcb_info && self.qe_identity >= other.qe_identity;
        let evaluation = self.evaluation > other.evaluation;
        !older && (evaluation || dates) && self.order() > other.order()
    }

    /// The numbers of TCB info and QE identity.
    const fn evaluations(&self) -> [u32; 2] {
        if self.qe_evaluation == self.evaluation {
            [self.highest, self.qe_evaluation]
        } else {
            [self.evaluation, self.qe_evaluation]
        }
    }

    /// Whether a revocation list is older than that of `other`.
    const fn lists_are_older(&self, other: &Self) -> bool {
        self.pck_crl.is_older(other.pck_crl) || self.root_crl.is_older(other.root_crl)
    }

    /// Whether what is kept gives way to `new` at a time in seconds since 1970,
    /// if what counts are evaluations up to `highest`: it does if it has
    /// expired, or is beyond that, or is older. What helps nobody any more
    /// blocks nothing that does; but no list goes back, whatever has expired
    /// beside it: lists are of no track, and what was revoked stays so.
    #[must_use]
    pub fn gives_way(&self, new: &Self, now: u64, highest: Option<u32>) -> bool {
        let beyond = highest.is_some_and(|highest| self.highest > highest);
        let useless = self.expires < now || beyond;
        (useless && !new.lists_are_older(self)) || new.replaces(self)
    }

    const fn order(&self) -> [u64; 7] {
        let (pck, root) = (self.pck_crl, self.root_crl);
        [
            self.evaluation as u64,
            self.tcb_info,
            self.qe_identity,
            pck.issued,
            pck.number,
            root.issued,
            root.number,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: List = List {
        issued: 100,
        number: 5,
    };
    const OLD: Edition = Edition {
        platforms: Platforms {
            fmspc: [0; 6],
            ca: Ca::Platform,
        },
        evaluation: 20,
        highest: 20,
        qe_evaluation: 20,
        tcb_info: 100,
        qe_identity: 100,
        pck_crl: LIST,
        root_crl: LIST,
        expires: 200,
    };

    fn changed(change: impl FnOnce(&mut Edition)) -> Edition {
        let mut edition = OLD;
        change(&mut edition);
        edition
    }

    #[test]
    fn each_part_that_is_newer_makes_an_edition_newer_and_never_the_reverse() {
        assert!(!OLD.replaces(&OLD));
        let next = |edition: &mut Edition| {
            (edition.evaluation, edition.highest, edition.qe_evaluation) = (21, 21, 21);
        };
        for newer in [
            changed(next),
            changed(|edition| edition.tcb_info += 1),
            changed(|edition| edition.qe_identity += 1),
            changed(|edition| edition.pck_crl.issued += 1),
            changed(|edition| edition.pck_crl.number += 1),
            changed(|edition| edition.root_crl.issued += 1),
            changed(|edition| edition.root_crl.number += 1),
            // Evaluations are published side by side, each with its dates.
            changed(|edition| {
                next(edition);
                edition.tcb_info = 50;
            }),
        ] {
            assert!(newer.replaces(&OLD), "{newer:?}");
            assert!(!OLD.replaces(&newer), "{newer:?}");
        }
    }

    #[test]
    fn za_303_what_has_expired_blocks_nothing() {
        let early = changed(|edition| {
            (edition.evaluation, edition.highest, edition.qe_evaluation) = (21, 21, 21);
        });
        assert!(!OLD.replaces(&early));
        assert!(!early.gives_way(&OLD, 200, None), "until then it holds");
        assert!(early.gives_way(&OLD, 201, None));
    }

    #[test]
    fn za_309_what_is_beyond_the_track_blocks_nothing() {
        let early = changed(|edition| (edition.evaluation, edition.highest) = (21, 21));
        // Intel raises the two one by one; either counts.
        let half = changed(|edition| (edition.tcb_info, edition.highest) = (150, 21));
        for beyond in [early, half] {
            assert!(!beyond.gives_way(&OLD, 100, Some(21)));
            assert!(beyond.gives_way(&OLD, 100, Some(20)));
        }
    }

    #[test]
    fn za_202_no_revocation_list_goes_back_with_what_has_expired_or_is_beyond() {
        for before in [
            changed(|edition| edition.pck_crl.issued -= 1),
            changed(|edition| edition.pck_crl.number -= 1),
            changed(|edition| edition.root_crl.issued -= 1),
            changed(|edition| edition.root_crl.number -= 1),
        ] {
            assert!(!OLD.gives_way(&before, 201, None), "{before:?}");
            assert!(!OLD.gives_way(&before, 100, Some(19)), "{before:?}");
        }
        assert!(OLD.gives_way(&OLD, 201, None), "the same ones do no harm");
    }

    #[test]
    fn parts_of_two_editions_put_together_do_not_roll_one_of_them_back() {
        for mixed in [
            changed(|edition| (edition.tcb_info, edition.pck_crl.number) = (200, 4)),
            changed(|edition| (edition.tcb_info, edition.root_crl.number) = (200, 4)),
            changed(|edition| (edition.tcb_info, edition.pck_crl.issued) = (200, 99)),
            changed(|edition| (edition.tcb_info, edition.root_crl.issued) = (200, 99)),
            changed(|edition| (edition.tcb_info, edition.qe_identity) = (200, 99)),
            changed(|edition| {
                (edition.evaluation, edition.highest, edition.qe_evaluation) = (21, 21, 21);
                edition.pck_crl.number = 4;
            }),
            changed(|edition| {
                (edition.evaluation, edition.highest, edition.qe_evaluation) = (21, 21, 21);
                edition.root_crl.issued = 99;
            }),
        ] {
            assert!(!mixed.replaces(&OLD), "{mixed:?}");
        }
        // TCB info of 21 and QE identity of 20, and the reverse of a later date.
        let condemning = changed(|edition| (edition.highest, edition.tcb_info) = (21, 110));
        assert!(condemning.replaces(&OLD));
        let praising = changed(|edition| {
            (edition.highest, edition.qe_evaluation) = (21, 21);
            (edition.tcb_info, edition.qe_identity) = (120, 120);
        });
        assert!(!praising.replaces(&condemning));
    }
}
